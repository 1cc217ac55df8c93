//! Examples: failed and slow transactions.

use crate::top::{OutcomeKind, TransactionView};
use dnscribe_record::time::Timestamp;
use std::collections::BTreeMap;

/// Failed transactions that are kept of each resolver, outcome and zone, the first ones.
const OF_EACH: usize = 3;

/// Failed transactions that are kept in all.
const FAILED: usize = 200;

/// Slow transactions that are kept.
const SLOW: usize = 50;

/// A transaction, as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Example {
    pub(super) ts: Timestamp,
    pub(super) latency_ms: Option<f64>,
    pub(super) resolver: String,
    pub(super) qname: String,
    pub(super) qtype: String,
    pub(super) outcome: String,
    pub(super) process: String,
    pub(super) event_id: String,
}

/// The examples.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    of_each: BTreeMap<(String, String, String), usize>,
    pub(super) failed: Vec<Example>,
    /// The slowest first.
    pub(super) slow: Vec<Example>,
}

impl Evidence {
    pub(super) fn add(
        &mut self,
        transaction: &TransactionView<'_>,
        ts: Timestamp,
        kind: OutcomeKind,
        process: &str,
    ) {
        let failed = kind.is_failure();
        let latency = transaction.latency_ms.filter(|_| kind != OutcomeKind::Stray);
        let least =
            self.slow.last().and_then(|last| last.latency_ms).filter(|_| self.slow.len() >= SLOW);
        let is_slow = latency.is_some_and(|latency| least.is_none_or(|least| latency > least));
        if !failed && !is_slow {
            return;
        }
        let text = |text: &Option<dnscribe_record::JsonText<'_>>| {
            text.as_deref().unwrap_or_default().to_owned()
        };
        let example = Example {
            ts,
            latency_ms: transaction.latency_ms,
            resolver: transaction.resolver.to_string(),
            qname: text(&transaction.qname),
            qtype: text(&transaction.qtype),
            outcome: match (&*transaction.status, &transaction.rcode) {
                ("answered", Some(rcode)) => rcode.to_string(),
                (status, _) => status.to_owned(),
            },
            process: process.to_owned(),
            event_id: transaction.event_id.to_string(),
        };
        if is_slow {
            let before = |other: &Example| other.latency_ms >= example.latency_ms;
            self.slow.insert(self.slow.partition_point(before), example.clone());
            self.slow.truncate(SLOW);
        }
        if failed && self.failed.len() < FAILED {
            let key = (example.resolver.clone(), example.outcome.clone(), text(&transaction.zone));
            let kept = self.of_each.entry(key).or_default();
            *kept += 1;
            if *kept <= OF_EACH {
                self.failed.push(example);
            }
        }
    }
}
