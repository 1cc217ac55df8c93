//! Alerts, as metrics.

use super::text::Page;
use crate::detect::{AlertCounters, Rule};

/// Writes the families of alerts.
pub(super) fn write(page: &mut Page, counters: &AlertCounters) {
    let name = "dnscribe_alerts_total";
    page.family(name);
    for (rule, level, state, count) in counters.given() {
        let labels = &[("rule", rule.name()), ("severity", level.name()), ("state", state.name())];
        page.count(name, labels, count);
    }
    let name = "dnscribe_alerts_active";
    page.family(name);
    for (rule, level, count) in counters.active() {
        page.count(name, &[("rule", rule.name()), ("severity", level.name())], count);
    }
    let untold = [
        ("dnscribe_alerts_suppressed_total", &counters.suppressed),
        ("dnscribe_alerts_muted_total", &counters.muted),
    ];
    for (name, counts) in untold {
        page.family(name);
        for (rule, count) in Rule::ALL.into_iter().zip(counts).filter(|(_, count)| **count > 0) {
            page.count(name, &[("rule", rule.name())], *count);
        }
    }
    let name = "dnscribe_alerts_overflow_total";
    page.family(name);
    page.count(name, &[], counters.overflowed);
}
