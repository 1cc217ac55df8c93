//! Generates `docs/metrics.md` from the dictionary, the window schema and the window limits.

use super::ALL;
use dnscribe_analysis::window::{Grouping, Groups, WindowOptions, Windows};
use dnscribe_record::json_schema;
use serde_json::Value;
use std::fmt::Write as _;

const WINDOW: &str = "dns.window/1";

const INTRODUCTION: &str = "\
# Metrics

```
curl -s http://127.0.0.1:9353/metrics | grep dns_transactions_total
```

This page is generated from the code (`cargo xtask bless`); a test compares it with `/metrics` and with the schema of \
`dns.window/1`.

The agent exports numbers in two places. `/metrics` is for dashboards and alerts of one node: counters since the start, few \
labels, no names. `dns.window/1` (stream metrics) is for aggregation over nodes: numbers per time window and group of \
transactions, with [sketches](sketches.md) that can be merged.
";

const PROMETHEUS: &str = "
## Prometheus

Labels never contain a query name, a client address or a process id.

**Native histograms** are served to a scraper that prefers Protobuf: Prometheus with `--enable-feature=native-histograms` or
`scrape_native_histograms: true`. They have eight buckets from a number to its double (schema 3, at most 9 % wide), from a nanosecond on, beside the
buckets of the text format; `histogram_quantile(0.99, sum(rate(dns_transaction_duration_seconds[5m])))` reads them. Prometheus then drops
`_bucket`, `_sum` and `_count`, which the boards and rules of dnscribe read, unless it has `always_scrape_classic_histograms: true`. The chart's
PodMonitor of the agent has it.
";

const WINDOWS: &str = "
## Windows

A transaction belongs to the window that contains its `ts`: the time of the query, or of the response if no query was seen. A \
window is exported when the capture's clock has passed its end by the query timeout and `windows.lateness`, because only then \
every outcome is known. A transaction that comes after the first window with its `ts` was exported, such as a late response \
or a duplicate, is in no window, in none of the longer ones that are still open either, and counts in `late_total`. If the host's \
clock is set by a second or more, or that of a capture file steps back by more than five minutes, the open windows are exported \
as `partial` and new ones begin.

Ratios are computed from the counts beside them. For several windows or nodes, add the counts and divide again.

**Success** is a response in time with NOERROR or NXDOMAIN: the resolver worked, whether or not the name exists. The outcome of \
`evicted` and `open` queries is unknown, so they are not part of `success_ratio`.

";

const GROUPS: &str = "
### Groups and `other`

For each vantage, a transaction belongs to one group of each grouping for which it has a value; without a process it \
belongs to no group of `process`. The groups of a grouping, `other` included, add up exactly to all transactions with such \
a value.

Each grouping has a limited number of groups, `other` not counted:

";

const SLOTS: &str = "
In each ten seconds, up to three quarters of the slots are reserved for the groups that were the largest in the ten \
seconds before (eight transactions or more), those counted in `other` included; the rest goes to new groups in order of \
arrival. So a flood of new names cannot displace permanent ones. In windows longer than ten seconds the largest groups of \
all have the slots. A group that had no slot for a part of the window is marked `undercounted`.

";

/// Returns the page as Markdown.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(INTRODUCTION);
    page.push_str(PROMETHEUS);
    let titles = ["Traffic", "The agent", "Records", "Sinks", "The process"];
    for (title, metrics) in titles.into_iter().zip(ALL) {
        write_line(&mut page, format_args!("\n### {title}"));
        for metric in metrics {
            page.push_str(&metric.markdown());
        }
    }
    page.push_str(WINDOWS);
    write_fields(&mut page);
    page.push_str(GROUPS);
    page.push_str("| grouping | groups |\n|---|---|\n");
    for grouping in Grouping::ALL {
        write_line(&mut page, format_args!("| {} | {} |", grouping.name(), grouping.max_groups()));
    }
    page.push_str(SLOTS);
    write_memory(&mut page);
    page
}

/// Writes the fields of a window record, from its schema.
fn write_fields(page: &mut String) {
    let schema = json_schema(WINDOW).unwrap_or_default();
    page.push_str("| field | type | description |\n|---|---|---|\n");
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        write_row(page, name, field);
        let inner =
            [field, &field["items"]].into_iter().find_map(|field| definition(&schema, field));
        let list = if field["type"] == "array" { "[]" } else { "" };
        for (inner_name, field) in inner.into_iter().flatten() {
            write_row(page, &format!("{name}{list}.{inner_name}"), field);
        }
    }
}

/// Returns the properties of the definition that a field refers to.
fn definition<'a>(schema: &'a Value, field: &Value) -> Option<&'a serde_json::Map<String, Value>> {
    let name = field["$ref"].as_str()?.rsplit('/').next()?;
    schema["$defs"][name]["properties"].as_object()
}

fn write_row(page: &mut String, name: &str, field: &Value) {
    let fixed = field["const"].as_str();
    let kind = field["type"].as_str().unwrap_or(if fixed.is_some() { "string" } else { "object" });
    let text = fixed.map_or_else(
        || field["description"].as_str().unwrap_or_default().replace('\n', " "),
        |value| format!("Always `{value}`."),
    );
    write_line(page, format_args!("| `{name}` | {kind} | {} |", text.replace('|', "\\|")));
}

fn write_memory(page: &mut String) {
    let lateness = WindowOptions::DEFAULT.lateness;
    let mebibytes = |bytes: usize| bytes.div_ceil(1 << 20);
    write_line(
        page,
        format_args!(
            "### Memory\n\nEverything that a group stores is bounded: all groups of ten seconds need at most {} MiB, if each of \
             them has its maximum size. With a query timeout of {} s there are never more than {} such sets at a time (the \
             open panes, the six that make a minute, those of five minutes, and the sum being computed), so all windows \
             together need at most **{} MiB, whatever the traffic**. Each further ten seconds of `pairing.query_timeout` and \
             `windows.lateness` add one set. The grouping `resolver+zone`, which is off by default, makes a set up to {} MiB \
             larger. A flood of a million different names, zones, resolvers, clients and processes a \
             minute needs a tenth of that (`cargo xtask bench windows`).",
            mebibytes(Groups::MAX_BYTES),
            lateness.as_secs() - 1,
            Windows::max_bytes(lateness) / Groups::MAX_BYTES,
            mebibytes(Windows::max_bytes(lateness)),
            mebibytes(Groups::MAX_BYTES_WITH_PAIRS - Groups::MAX_BYTES),
        ),
    );
}

fn write_line(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(page, "{text}");
}
