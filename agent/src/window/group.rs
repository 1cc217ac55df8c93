//! Transactions by what they have in common, in bounded room: what finds none is counted in a group
//! `other` of its own, so that the groups of a grouping always add up to all transactions that have
//! such a value.

use super::measured::Measured;
use super::tally::Tally;
use crate::decode::dns::type_name;
use crate::observation::Observation;
use crate::pair::Vantage;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// By what transactions are grouped; always by vantage too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grouping {
    /// All that this node saw.
    Node,
    /// By resolver and transport.
    Resolver,
    /// By registrable domain.
    Zone,
    /// By the type asked for.
    Qtype,
    /// By the process's name.
    Process,
    /// By pod, else container.
    Pod,
}

impl Grouping {
    /// Every grouping.
    pub const ALL: [Self; 6] =
        [Self::Node, Self::Resolver, Self::Zone, Self::Qtype, Self::Process, Self::Pod];

    /// As records spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Resolver => "resolver",
            Self::Zone => "zone",
            Self::Qtype => "qtype",
            Self::Process => "process",
            Self::Pod => "pod",
        }
    }

    /// Groups at a time beside `other`.
    const fn limit(self) -> usize {
        match self {
            Self::Node => Vantage::ALL.len(),
            Self::Resolver | Self::Process | Self::Pod => 64,
            Self::Zone => 128,
            Self::Qtype => 32,
        }
    }

    fn tally(self) -> Tally {
        match self {
            Self::Node => Tally::with_tops(10),
            Self::Resolver => Tally::with_tops(6),
            Self::Zone | Self::Qtype | Self::Process | Self::Pod => Tally::default(),
        }
    }
}

/// What the transactions of a group have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// By what it is grouped.
    pub grouping: Grouping,
    /// The side that they were seen from.
    pub vantage: Vantage,
    /// `udp` or `tcp`, where it is grouped by that.
    pub transport: Option<&'static str>,
    /// The resolver, zone, type, process or pod; empty for all of a node; none for `other`.
    pub value: Option<Box<str>>,
}

/// A group that need not be stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key<'a> {
    grouping: Grouping,
    vantage: Vantage,
    transport: Option<&'static str>,
    value: Option<&'a str>,
}

impl Group {
    fn key(&self) -> Key<'_> {
        let Self { grouping, vantage, transport, ref value } = *self;
        Key { grouping, vantage, transport, value: value.as_deref() }
    }
}

impl Key<'_> {
    fn group(&self) -> Group {
        let Self { grouping, vantage, transport, value } = *self;
        Group { grouping, vantage, transport, value: value.map(Box::from) }
    }
}

/// The tallies of all groups.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    hasher: RandomState,
    table: HashTable<(Group, Tally)>,
    /// By grouping: how many groups have found room.
    named: [usize; Grouping::ALL.len()],
}

impl Groups {
    /// Counts a transaction in each group that it belongs to.
    pub fn add(&mut self, observation: &Observation<'_>, measured: &Measured) {
        let qtype = observation.qtype.map(type_name);
        let values = [
            (Grouping::Node, Some("")),
            (Grouping::Resolver, Some(observation.resolver)),
            (Grouping::Zone, observation.zone),
            (Grouping::Qtype, qtype.as_deref()),
            (Grouping::Process, observation.process.map(|process| process.comm)),
            (Grouping::Pod, observation.pod),
        ];
        for (grouping, value) in values {
            if value.is_some() {
                let transport =
                    (grouping == Grouping::Resolver).then_some(observation.transport.name());
                let key = Key { grouping, vantage: observation.vantage, transport, value };
                self.at(key).add(observation, measured);
            }
        }
    }

    /// Adds what others have counted.
    pub fn merge(&mut self, other: &Self) {
        for (group, tally) in other.iter() {
            self.at(group.key()).merge(tally);
        }
    }

    /// All groups with what they counted, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Group, &Tally)> {
        self.table.iter().map(|(group, tally)| (group, tally))
    }

    /// All groups, in their own order.
    #[must_use]
    pub fn sorted(&self) -> Vec<(&Group, &Tally)> {
        let mut all: Vec<_> = self.iter().collect();
        all.sort_unstable_by_key(|(group, _)| *group);
        all
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Octets that the tallies take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.iter().map(|(_, tally)| tally.bytes()).sum()
    }

    /// The tally of a group, or of `other` where there is no room for one more.
    fn at(&mut self, mut key: Key<'_>) -> &mut Tally {
        let hasher = &self.hasher;
        let mut hash = hasher.hash_one(key);
        let named = &mut self.named[key.grouping as usize];
        if *named >= key.grouping.limit()
            && self.table.find(hash, |(group, _)| group.key() == key).is_none()
        {
            key.value = None;
            hash = hasher.hash_one(key);
        }
        let entry = self.table.entry(
            hash,
            |(group, _)| group.key() == key,
            |(group, _)| hasher.hash_one(group.key()),
        );
        let new = || {
            *named += usize::from(key.value.is_some());
            (key.group(), key.grouping.tally())
        };
        &mut entry.or_insert_with(new).into_mut().1
    }
}
