//! Figures of groups of transactions: by resolver, zone, name, process.

use super::timeline::Timeline;
use crate::top::{Counts, OutcomeKind};
use dnscribe_sketch::{Binned, QuantileSketch};
use std::collections::BTreeMap;

/// Outcome of one transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    /// Time of the query in seconds since the Unix epoch.
    pub(super) second: u64,
    pub(super) kind: OutcomeKind,
    pub(super) latency_ms: Option<f64>,
    pub(super) retries: u32,
}

/// Figures of a group.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    pub(super) counts: Counts,
    pub(super) latencies: QuantileSketch,
    pub(super) retries: u64,
}

/// Outcomes for which the client has no use: neither an answer nor the statement that there is none.
const FAILURES: [OutcomeKind; 4] = [
    OutcomeKind::Servfail,
    OutcomeKind::OtherError,
    OutcomeKind::Timeout,
    OutcomeKind::Unreachable,
];

impl Figures {
    pub(super) fn add(&mut self, outcome: &Outcome) {
        self.counts.0[outcome.kind as usize] += 1;
        // The latency of a duplicate or late response is not the client's waiting time; its query was counted.
        if outcome.kind == OutcomeKind::Stray {
            return;
        }
        self.retries += u64::from(outcome.retries);
        if let Some(latency) = outcome.latency_ms {
            self.latencies.add(Binned::new(latency));
        }
    }

    /// Returns the number of queries that failed: NXDOMAIN is an answer.
    pub(super) fn failures(&self) -> u64 {
        FAILURES.iter().map(|kind| self.counts.get(*kind)).sum()
    }

    pub(super) fn queries(&self) -> u64 {
        self.counts.queries()
    }

    /// Queries with a known outcome, of which failures are a share.
    pub(super) fn settled(&self) -> u64 {
        self.counts.settled()
    }

    pub(super) fn nxdomain(&self) -> u64 {
        self.counts.get(OutcomeKind::Nxdomain)
    }
}

/// Groups by key, up to a number; the rest is counted together.
#[derive(Clone, Debug)]
pub(super) struct Groups {
    capacity: usize,
    figures: BTreeMap<String, Figures>,
    /// Transactions of further keys.
    pub(super) others: u64,
}

impl Groups {
    pub(super) const fn new(capacity: usize) -> Self {
        Self { capacity, figures: BTreeMap::new(), others: 0 }
    }

    pub(super) fn add(&mut self, key: &str, outcome: &Outcome) {
        if let Some(figures) = self.figures.get_mut(key) {
            return figures.add(outcome);
        }
        if self.figures.len() >= self.capacity {
            self.others += 1;
            return;
        }
        self.figures.entry(key.to_owned()).or_default().add(outcome);
    }

    /// Returns the number of groups whose `rank` is above zero.
    pub(super) fn count_ranked(&self, rank: impl Fn(&Figures) -> u64) -> usize {
        self.figures.values().filter(|figures| rank(figures) > 0).count()
    }

    /// Returns the groups with the highest `rank`, which is above zero, the highest first.
    pub(super) fn top(&self, rows: usize, rank: impl Fn(&Figures) -> u64) -> Vec<(&str, &Figures)> {
        let mut ranked: Vec<_> =
            self.figures.iter().map(|(key, figures)| (rank(figures), &**key, figures)).collect();
        ranked.retain(|(rank, ..)| *rank > 0);
        // Equal ones stay in the order of their keys.
        ranked.sort_by_key(|(rank, ..)| std::cmp::Reverse(*rank));
        ranked.into_iter().take(rows).map(|(_, key, figures)| (key, figures)).collect()
    }
}

/// Timelines of the resolvers.
#[derive(Clone, Debug, Default)]
pub(super) struct ResolverTimelines(BTreeMap<String, Timeline>);

impl ResolverTimelines {
    /// Number of resolvers with a timeline; those that come first have one.
    const CAPACITY: usize = 256;

    pub(super) fn add(&mut self, resolver: &str, outcome: &Outcome) {
        if let Some(timeline) = self.0.get_mut(resolver) {
            timeline.add(outcome);
        } else if self.0.len() < Self::CAPACITY {
            self.0.entry(resolver.to_owned()).or_default().add(outcome);
        }
    }

    pub(super) fn get(&self, resolver: &str) -> Option<&Timeline> {
        self.0.get(resolver)
    }
}
