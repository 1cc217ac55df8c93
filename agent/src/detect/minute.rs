//! What rules want to know of a window, by whom it concerns.

use super::finding::Entity;
use super::samples::is_failure;
use crate::pair::{Status, Vantage};
use crate::window::{Grouping, Groups, Tally};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

const SERVFAIL: u16 = 2;
const NXDOMAIN: u16 = 3;

/// Whom a group of transactions concerns, over UDP and TCP together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) grouping: Grouping,
    pub(super) vantage: Vantage,
    /// Empty for all that a node saw.
    pub(super) value: Box<str>,
}

impl From<&Place> for Entity {
    fn from(place: &Place) -> Self {
        let of = |grouping| (place.grouping == grouping).then(|| place.value.clone());
        Self {
            vantage: Some(place.vantage),
            resolver: of(Grouping::Resolver),
            zone: of(Grouping::Zone),
            process: of(Grouping::Process),
            pod: of(Grouping::Pod),
            ..Self::default()
        }
    }
}

/// For a sentence: `Resolver 192.0.2.53`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.grouping {
            Grouping::Node => write!(f, "This node ({})", self.vantage.name()),
            Grouping::Resolver => write!(f, "Resolver {}", self.value),
            Grouping::Zone => write!(f, "Zone {}", self.value),
            Grouping::Qtype => write!(f, "Type {}", self.value),
            Grouping::Process => write!(f, "Process {}", self.value),
            Grouping::Pod => write!(f, "Pod {}", self.value),
        }
    }
}

/// Numbers of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Minute {
    pub(super) queries: u64,
    pub(super) answered: u64,
    /// Ended by silence or an ICMP error.
    pub(super) unanswered: u64,
    /// Responses that are errors.
    pub(super) errors: u64,
    pub(super) responses: u64,
    pub(super) servfail: u64,
    pub(super) nxdomain: u64,
    /// Median and 95th percentile in milliseconds, over the transport with more answers.
    pub(super) latency: Option<[f64; 2]>,
    /// How many answers that is.
    pub(super) measured: u64,
    /// Queries that were not told, as the kernel counted them.
    pub(super) untold: u64,
    /// Whether only a share was told, and nobody counted the rest: how many there were is not known.
    pub(super) is_thinned: bool,
}

impl Minute {
    /// The numbers of all groups of these groupings; of `other`, which is nobody, none.
    pub(super) fn of(groups: &Groups, groupings: &[Grouping]) -> BTreeMap<Place, Self> {
        let mut minutes: BTreeMap<Place, Self> = BTreeMap::new();
        for (group, tally) in groups.sorted() {
            let Some(value) = group.value.as_ref().filter(|_| groupings.contains(&group.grouping))
            else {
                continue;
            };
            // Nobody need answer a group (mDNS, LLMNR).
            if group.grouping == Grouping::Resolver && is_multicast(value) {
                continue;
            }
            let place =
                Place { grouping: group.grouping, vantage: group.vantage, value: value.clone() };
            minutes.entry(place).or_default().add(tally);
        }
        minutes
    }

    fn add(&mut self, tally: &Tally) {
        let of = |status: Status| tally.statuses[status as usize];
        let strays = of(Status::Late) + of(Status::Duplicate) + of(Status::Orphan);
        self.queries += tally.transactions - strays;
        // Of a node and a resolver the rest is counted, of others not.
        match &tally.untold {
            Some(untold) => self.untold += untold.queries,
            None => self.is_thinned |= tally.thinned.is_thinned(),
        }
        self.answered += of(Status::Answered);
        self.unanswered += of(Status::Timeout) + of(Status::IcmpError);
        self.responses += tally.rcodes.total();
        self.servfail += tally.rcodes.of(SERVFAIL);
        self.nxdomain += tally.rcodes.of(NXDOMAIN);
        let errors = tally.rcodes.sorted().into_iter().filter(|(rcode, _)| is_failure(*rcode));
        self.errors += errors.map(|(_, count)| count).sum::<u64>();
        if tally.latency.count() > self.measured {
            self.measured = tally.latency.count();
            let quantile = |q| tally.latency.quantile(q);
            self.latency = quantile(0.5).zip(quantile(0.95)).map(Into::into);
        }
    }

    /// Queries of which the outcome is known and good. Errors of strays count against it.
    pub(super) const fn succeeded(&self) -> u64 {
        let unknown = self.queries - self.answered - self.unanswered;
        self.answered.saturating_sub(self.errors) + unknown
    }
}

fn is_multicast(resolver: &str) -> bool {
    resolver.parse().is_ok_and(|address: IpAddr| address.is_multicast())
}
