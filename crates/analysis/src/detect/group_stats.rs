//! Values that rules use from a window, by entity: transports are merged.

use super::finding::Entity;
use super::samples::is_failure;
use crate::window::{Grouping, Groups, Tally};
use dnscribe_dns::rcode::{NXDOMAIN, SERVFAIL};
use dnscribe_transaction::pair::{Status, Vantage};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// Identifies an entity of a window; UDP and TCP are merged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupKey {
    pub(super) grouping: Grouping,
    pub(super) vantage: Vantage,
    /// Empty for all transactions of the node.
    pub(super) value: Box<str>,
}

impl From<&GroupKey> for Entity {
    fn from(key: &GroupKey) -> Self {
        let part = |grouping| (key.grouping == grouping).then(|| key.value.clone());
        Self {
            vantage: Some(key.vantage),
            resolver: part(Grouping::Resolver),
            zone: part(Grouping::Zone),
            process: part(Grouping::Process),
            pod: part(Grouping::Pod),
            ..Self::default()
        }
    }
}

/// Writes the subject of a sentence: `Resolver 192.0.2.53`.
impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.grouping {
            Grouping::Node => write!(f, "This node ({})", self.vantage.name()),
            Grouping::Resolver => write!(f, "Resolver {}", self.value),
            Grouping::Zone => write!(f, "Zone {}", self.value),
            Grouping::Qtype => write!(f, "Type {}", self.value),
            Grouping::Process => write!(f, "Process {}", self.value),
            Grouping::Pod => write!(f, "Pod {}", self.value),
            Grouping::ResolverZone => write!(f, "Resolver and zone {}", self.value),
        }
    }
}

/// Values of an entity in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct GroupStats {
    pub(super) queries: u64,
    pub(super) answered: u64,
    /// Queries that timed out or ended with an ICMP error; of resolvers and zones, without those that this host lost.
    pub(super) unanswered: u64,
    /// Responses with an error code; see [`is_failure`].
    pub(super) errors: u64,
    pub(super) responses: u64,
    pub(super) servfail: u64,
    pub(super) nxdomain: u64,
    /// Median and 95th percentile in milliseconds, of the transport with more answers.
    pub(super) latency: Option<[f64; 2]>,
    /// Number of answers from which the latency was computed.
    pub(super) measured: u64,
    /// Queries that were not exported, as counted by the kernel.
    pub(super) not_exported: u64,
    /// Whether transactions were sampled and the rest was not counted, so that the query rate is
    /// unknown.
    pub(super) is_thinned: bool,
}

impl GroupStats {
    /// Returns the values of all groups of `groupings`, without `other`.
    pub(super) fn by_group(groups: &Groups, groupings: &[Grouping]) -> BTreeMap<GroupKey, Self> {
        let mut stats: BTreeMap<GroupKey, Self> = BTreeMap::new();
        for (group, tally) in groups.sorted() {
            let Some(value) = group.value.as_ref().filter(|_| groupings.contains(&group.grouping))
            else {
                continue;
            };
            // Multicast queries (mDNS, LLMNR) need no answer.
            if group.grouping == Grouping::Resolver && is_multicast(value) {
                continue;
            }
            let key =
                GroupKey { grouping: group.grouping, vantage: group.vantage, value: value.clone() };
            stats.entry(key).or_default().add(group.grouping, tally);
        }
        stats
    }

    fn add(&mut self, grouping: Grouping, tally: &Tally) {
        let count = |status: Status| tally.statuses[status as usize];
        let strays = count(Status::Late) + count(Status::Duplicate) + count(Status::Orphan);
        self.queries += tally.transactions - strays;
        // Transactions that were not exported are counted for nodes and resolvers only.
        match &tally.not_exported {
            Some(not_exported) => self.not_exported += not_exported.queries,
            None => self.is_thinned |= tally.sampled.is_sampled(),
        }
        self.answered += count(Status::Answered);
        // What this host lost is no failure of them.
        let is_of_server =
            matches!(grouping, Grouping::Resolver | Grouping::Zone | Grouping::ResolverZone);
        let lost_here = if is_of_server { tally.lost_here } else { 0 };
        self.unanswered += count(Status::Timeout) + count(Status::IcmpError) - lost_here;
        self.responses += tally.rcodes.total();
        self.servfail += tally.rcodes.get(SERVFAIL);
        self.nxdomain += tally.rcodes.get(NXDOMAIN);
        let errors = tally.rcodes.sorted().into_iter().filter(|(rcode, _)| is_failure(*rcode));
        self.errors += errors.map(|(_, count)| count).sum::<u64>();
        if tally.latency.count() > self.measured {
            self.measured = tally.latency.count();
            let quantile = |q| tally.latency.quantile(q);
            self.latency = quantile(0.5).zip(quantile(0.95)).map(Into::into);
        }
    }

    /// Returns the number of queries that did not fail. Errors in responses without a pending query
    /// count as failures.
    pub(super) const fn succeeded(&self) -> u64 {
        let unknown = self.queries - self.answered - self.unanswered;
        self.answered.saturating_sub(self.errors) + unknown
    }
}

fn is_multicast(resolver: &str) -> bool {
    resolver.parse().is_ok_and(|address: IpAddr| address.is_multicast())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::TransactionView;
    use crate::view::testing::{example, lost};
    use crate::window::Windows;
    use dnscribe_record::time::Timestamp;
    use dnscribe_transaction::packet::LossStage;
    use std::time::Duration;

    /// It fails for those who asked, and says nothing about those who were not.
    #[test]
    fn what_this_host_loses_is_no_failure_of_resolver_and_zone() {
        let at = |seconds| {
            Timestamp::from_nanos(1_700_000_000_000_000_000).plus(Duration::from_secs(seconds))
        };
        let mut windows = Windows::new(at(0), Duration::from_secs(1));
        windows.expire(at(0), &mut |_, _| {});
        let lost = lost(false, LossStage::Netfilter, 1);
        for lost in [Some(&lost), Some(&lost), None] {
            let (status, pod) = (Status::Timeout, Some("shop/web"));
            windows.observe(&TransactionView { status, pod, rcode: None, lost, ..example(at(0)) });
        }
        let mut found = Vec::new();
        windows.finish(at(60), &mut |_, groups| {
            if found.is_empty() {
                let groupings = [Grouping::Resolver, Grouping::Zone, Grouping::Pod, Grouping::Node];
                found.extend(GroupStats::by_group(groups, &groupings));
            }
        });
        assert_eq!(found.len(), 4, "{found:?}");
        for (key, stats) in found {
            let is_of_server = matches!(key.grouping, Grouping::Resolver | Grouping::Zone);
            let unanswered = if is_of_server { 1 } else { 3 };
            assert_eq!((stats.queries, stats.unanswered), (3, unanswered), "{key}");
            assert_eq!(stats.succeeded(), 3 - unanswered, "{key}");
        }
    }
}
