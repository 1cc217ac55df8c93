//! Generates `docs/probe-metrics.md` from the dictionary.

use super::dictionary::ALL;
use dnscribe_admin::metric::Metric;

const INTRODUCTION: &str = "\
# Metrics of dnscribe-probe

```
curl -s http://127.0.0.1:9354/metrics | grep probe_success
curl -s 'http://127.0.0.1:9354/probe?module=http_2xx&target=https://shop.example.com/'
```

This page is generated from the code (`cargo xtask bless`).

`/metrics` has the last result of every configured target, with labels. `/probe` measures one target at once and \
returns its results without labels, as blackbox_exporter does ([switching from it](blackbox.md)). Metrics whose names \
begin with `probe_` are named as blackbox_exporter names them and mean the same; differences are listed as caveats. At \
most 20,000 results have labels of their own.
";

/// Returns the page as Markdown.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(INTRODUCTION);
    let titles = [
        "Compatible with blackbox_exporter",
        "Results",
        "The program",
        "Records",
        "Sinks",
        "The process",
    ];
    for (title, metrics) in titles.into_iter().zip(ALL) {
        page.extend(["\n## ", title, "\n"]);
        page.extend(metrics.iter().map(Metric::markdown));
    }
    page
}
