//! What is measured of the registrar's DNS and shop.

use super::{Sample, stamp};
use serde_json::json;

impl Sample {
    /// Writes a window of the fleet, and perhaps a revision of it.
    pub(super) fn dns(&mut self, at: i64) {
        let revisions = if self.plan.is_hostile { 1 + self.random.below(2) } else { 1 };
        for revision in 0..revisions {
            let queries = 50_000 + self.random.below(50_000);
            let (servfail, timeout) = (self.random.below(300), self.random.below(300));
            let row = json!({
                "schema": "dns.fleet/1", "ts": stamp(at), "node": "fleet", "window_seconds": 3600,
                "step_seconds": 3600, "nodes": 4, "revision": revision, "final": revision + 1 == revisions,
                "sketch_encoding": 1, "grouping": "all", "vantage": "client", "queries": queries,
                "successes": queries - servfail - timeout, "retries": self.random.below(900),
                "rcodes": [{"rcode": "NOERROR", "count": queries - servfail - timeout},
                    {"rcode": "SERVFAIL", "count": servfail}],
                "statuses": {"answered": queries - timeout, "timeout": timeout, "late": 0, "icmp_error": 0,
                    "duplicate": 0, "orphan": 0, "evicted": 0, "open": 0},
            });
            self.rows.push(row.to_string());
        }
    }

    /// Writes an alert of the fleet, and its end.
    pub(super) fn alert(&mut self, start: i64) {
        let at = self.time(start);
        self.number += 1;
        let rule = self.random.pick(&["servfail", "latency", "resolver_down"]);
        for (state, later) in [("firing", 0), ("resolved", 900_000_000)] {
            let row = json!({
                "schema": "dns.alert/1", "ts": stamp(at + later), "node": "fleet", "scope": "fleet", "alert_id": format!("{:032x}", self.number),
                "rule": rule, "entity": "all", "state": state, "severity": "warning", "started": stamp(at), "site": "fra",
            });
            self.rows.push(row.to_string());
        }
    }

    /// Writes a measurement of the registrar's shop.
    pub(super) fn probe(&mut self, at: i64, site: &str) {
        self.number += 1;
        let row = json!({
            "schema": "dns.probe/1", "event_id": format!("{:032x}", self.number), "ts": stamp(at), "node": site,
            "kind": "http", "service": "shop", "target": "https://shop.example/", "site": site,
            "duration_ms": 20 + self.random.below(400), "ok": !self.random.chance(10), "attempt": 1,
        });
        self.rows.push(row.to_string());
        if self.plan.is_hostile && self.random.chance(20) {
            self.rows.push(row.to_string());
        }
    }
}
