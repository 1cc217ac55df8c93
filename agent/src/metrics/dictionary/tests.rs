mod page;

use super::*;
use dnscribe_admin::metric::MetricKind;
use page::page;
use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn follows_prometheus_conventions() {
    let mut names = BTreeSet::new();
    for metric in metrics() {
        assert!(names.insert(metric.name), "{} twice", metric.name);
        let is_total = metric.name.ends_with("_total");
        assert_eq!(is_total, metric.kind == MetricKind::Counter, "{}", metric.name);
        for unit in ["bytes", "seconds"] {
            let has_unit = metric.name.trim_end_matches("_total").ends_with(&format!("_{unit}"));
            assert_eq!(has_unit, metric.unit == unit, "{}", metric.name);
        }
        assert!(metric.help.ends_with('.') && !metric.source.is_empty(), "{}", metric.name);
    }
}

/// `docs/metrics.md` is what the code generates.
#[test]
fn golden_page() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    if std::env::var_os("DNSCRIBE_BLESS").is_some() {
        std::fs::write(&path, page()).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == page(),
        "docs/metrics.md is not what the code generates: `cargo xtask bless`"
    );
}
