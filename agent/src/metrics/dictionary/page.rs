//! `docs/metrics.md`.

use super::{ALL, Metric};
use crate::record::json_schema;
use crate::window::{Grouping, Groups, WindowOptions, Windows};
use serde_json::Value;
use std::fmt::Write as _;

const WINDOW: &str = "dns.window/1";

const INTRODUCTION: &str = "\
# Metrics

Generated from the code (`cargo xtask bless`); a test holds it to what `/metrics` shows and to the schema of \
`dns.window/1`.

Two places have numbers. `/metrics` is for dashboards and alerts of one node: counters since the start, few labels, no \
names. `dns.window/1` (stream metrics) is for whoever adds up nodes: numbers of spans of time by what the transactions have \
in common, with [sketches](sketches.md) that merge.
";

const PROMETHEUS: &str = "
## Prometheus

Labels never hold a name asked for, a client's address or a process id.
";

const WINDOWS: &str = "
## Windows

A transaction is in the window that its `ts` is in: that of the query, or of the response where no query was seen. A window \
is told when the capture's clock has passed its end by the query timeout and `windows.lateness`, since only then every outcome is \
known. What comes later is in no window and counts in `late_total`. If the clock steps back by more than five minutes, the windows \
that were open are told as `partial` and new ones begin.

Ratios are made of the counts beside them. Of several windows or nodes, add the counts up and divide again.

**Success** is an answer with NOERROR or NXDOMAIN, in time: the resolver did its work, whether the name exists or not. Of \
`evicted` and `open` queries nobody knows, so they are not in `success_ratio`.

";

const GROUPS: &str = "
### Groups and `other`

Every transaction is in one group of each grouping, by vantage, of which it has a value: without a process, in none of \
`process`. Groups of a grouping, `other` included, add up exactly to all transactions with such a value.

Each grouping has seats for so many groups, `other` aside:

";

const SEATS: &str = "
In each ten seconds, three quarters of the seats at most are kept for the groups that were the heaviest in the ten before \
(eight transactions or more), those in `other` too; the rest goes to whoever comes first. So a flood of new names cannot push \
out what is always there. In windows of more than ten seconds the heaviest groups of all have the seats. A group that had none for \
a part of the window says so: `undercounted`.

";

/// The page, as Markdown.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(INTRODUCTION);
    page.push_str(PROMETHEUS);
    let titles = ["Traffic", "The agent", "Sinks", "The process"];
    for (title, metrics) in titles.into_iter().zip(ALL) {
        line(&mut page, format_args!("\n### {title}"));
        for metric in metrics {
            entry(&mut page, metric);
        }
    }
    page.push_str(WINDOWS);
    fields(&mut page);
    page.push_str(GROUPS);
    page.push_str("| grouping | seats |\n|---|---|\n");
    for grouping in Grouping::ALL {
        line(&mut page, format_args!("| {} | {} |", grouping.name(), grouping.seats()));
    }
    page.push_str(SEATS);
    memory(&mut page);
    page
}

fn entry(page: &mut String, metric: &Metric) {
    let Metric { name, kind, unit, help, labels, formula, source, caveat } = metric;
    line(page, format_args!("\n**`{name}`** · {} · {unit}\n\n{help}\n", kind.name()));
    if !labels.is_empty() {
        let labels: Vec<String> =
            labels.iter().map(|(label, values)| format!("`{label}` ({values})")).collect();
        line(page, format_args!("- Labels: {}.", labels.join(", ")));
    }
    let parts = [("Formula", formula), ("Source", source), ("Caveat", caveat)];
    for (title, text) in parts.into_iter().filter(|(_, text)| !text.is_empty()) {
        let dot = if text.ends_with('.') { "" } else { "." };
        line(page, format_args!("- {title}: {text}{dot}"));
    }
}

/// The fields of a window's record, as its schema has them.
fn fields(page: &mut String) {
    let schema = json_schema(WINDOW).unwrap_or_default();
    page.push_str("| field | type | what it is |\n|---|---|---|\n");
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        row(page, name, field);
        let inner =
            [field, &field["items"]].into_iter().find_map(|field| definition(&schema, field));
        let list = if field["type"] == "array" { "[]" } else { "" };
        for (inner_name, field) in inner.into_iter().flatten() {
            row(page, &format!("{name}{list}.{inner_name}"), field);
        }
    }
}

/// The properties of what a field refers to.
fn definition<'a>(schema: &'a Value, field: &Value) -> Option<&'a serde_json::Map<String, Value>> {
    let name = field["$ref"].as_str()?.rsplit('/').next()?;
    schema["$defs"][name]["properties"].as_object()
}

fn row(page: &mut String, name: &str, field: &Value) {
    let fixed = field["const"].as_str();
    let kind = field["type"].as_str().unwrap_or(if fixed.is_some() { "string" } else { "object" });
    let text = fixed.map_or_else(
        || field["description"].as_str().unwrap_or_default().replace('\n', " "),
        |value| format!("Always `{value}`."),
    );
    line(page, format_args!("| `{name}` | {kind} | {} |", text.replace('|', "\\|")));
}

fn memory(page: &mut String) {
    let lateness = WindowOptions::DEFAULT.lateness;
    let mebibytes = |bytes: usize| bytes.div_ceil(1 << 20);
    line(
        page,
        format_args!(
            "### Memory\n\nEverything that a group holds has a most: {} MiB for all groups of ten seconds, \
             were each of them as large as it can be. With a query timeout of {} s there are never more than {} such sets at \
             a time (those of the panes that are still open, of the six that make a minute, of five minutes, and of the sum that \
             is being made), so all windows together are bounded by **{} MiB, whatever the traffic**. Each further \
             ten seconds of `pairing.query_timeout` and `windows.lateness` add one set. \
             A flood of a million different names, zones, resolvers, clients and processes a minute takes a tenth of that \
             (`cargo xtask bench windows`).",
            mebibytes(Groups::MAX_BYTES),
            lateness.as_secs() - 1,
            Windows::max_bytes(lateness) / Groups::MAX_BYTES,
            mebibytes(Windows::max_bytes(lateness)),
        ),
    );
}

fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(page, "{text}");
}
