//! What the transactions of a group have in common.

use super::measured::Measured;
use super::sketch::hash_of;
use super::tally::{Tally, TopSlots};
use crate::decode::dns::type_name;
use crate::observation::Observation;
use crate::pair::Vantage;

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

    /// Groups at a time, beside one `other` for each kind.
    #[must_use]
    pub const fn seats(self) -> usize {
        match self {
            Self::Node => Vantage::ALL.len(),
            Self::Resolver => 36,
            Self::Zone => 96,
            Self::Qtype => 24,
            Self::Process => 48,
            // As many as Kubernetes puts on a node, unless told otherwise.
            Self::Pod => 110,
        }
    }

    /// Kinds of group: vantages, and where it is grouped by that too, transports.
    pub(super) const fn kinds(self) -> usize {
        match self {
            // All are alike: there is no `other`.
            Self::Node => 0,
            Self::Resolver => 2 * Vantage::ALL.len(),
            Self::Zone | Self::Qtype | Self::Process | Self::Pod => Vantage::ALL.len(),
        }
    }

    /// Which of the most frequent values a group keeps.
    pub(super) const fn top_slots(self) -> Option<TopSlots> {
        match self {
            Self::Node => Some(TopSlots { qnames: 10, zones: 8, clients: 9, processes: 7 }),
            Self::Resolver => Some(TopSlots { qnames: 6, zones: 5, clients: 6, processes: 4 }),
            Self::Zone | Self::Qtype | Self::Process | Self::Pod => None,
        }
    }

    pub(super) fn tally(self) -> Tally {
        self.top_slots().map_or_else(Tally::default, Tally::with_tops)
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

/// What the groups of a grouping that share an `other` have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sort {
    pub grouping: Grouping,
    pub vantage: Vantage,
    pub transport: Option<&'static str>,
}

/// A group that need not be stored, with its hash. Two groups are the same if their hashes are: they have 64
/// bits, and of one value every sort has one of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key<'a> {
    pub sort: Sort,
    pub value: Option<Value<'a>>,
    pub hash: u64,
}

/// By what the groups of a sort are told apart.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Text(&'a str),
    /// A type by its number: its name is made where it gets a seat.
    Type(u16),
}

impl Group {
    pub(super) const fn sort(&self) -> Sort {
        Sort { grouping: self.grouping, vantage: self.vantage, transport: self.transport }
    }
}

impl<'a> Key<'a> {
    /// A group by its value, which has this hash.
    fn named(sort: Sort, value: Value<'a>, hash: u64) -> Self {
        Self { sort, value: Some(value), hash: sort.mix(hash) }
    }

    /// A group that is stored under this hash.
    pub(super) fn stored(group: &'a Group, hash: u64) -> Self {
        Self { sort: group.sort(), value: group.value.as_deref().map(Value::Text), hash }
    }

    pub(super) fn other(sort: Sort) -> Self {
        Self { sort, value: None, hash: sort.mix(u64::MAX) }
    }

    pub(super) fn group(&self) -> Group {
        let Sort { grouping, vantage, transport } = self.sort;
        let value = self.value.map(|value| match value {
            Value::Text(text) => text.into(),
            Value::Type(number) => type_name(number).into(),
        });
        Group { grouping, vantage, transport, value }
    }

    /// Shows each group that a transaction belongs to.
    pub(super) fn each(
        observation: &Observation<'_>,
        measured: &Measured,
        mut show: impl FnMut(Key<'_>),
    ) {
        let vantage = observation.vantage;
        let mut give = |grouping, value: Value<'_>, hash| {
            let transport = (grouping == Grouping::Resolver).then(|| observation.transport.name());
            show(Key::named(Sort { grouping, vantage, transport }, value, hash));
        };
        give(Grouping::Node, Value::Text(""), 0);
        give(Grouping::Resolver, Value::Text(observation.resolver), measured.resolver_hash);
        if let Some(zone) = observation.zone {
            give(Grouping::Zone, Value::Text(zone), measured.zone_hash);
        }
        if let Some(qtype) = observation.qtype {
            give(Grouping::Qtype, Value::Type(qtype), qtype.into());
        }
        if let Some(process) = observation.process {
            give(Grouping::Process, Value::Text(process.comm), measured.process_hash);
        }
        if let Some(pod) = observation.pod {
            give(Grouping::Pod, Value::Text(pod), measured.pod_hash);
        }
    }
}

impl Key<'_> {
    /// Shows each group that messages belong to which were not told; without a resolver, those of
    /// resolvers that have no group of their own.
    pub(super) fn each_untold(
        vantage: Vantage,
        transport: &'static str,
        resolver: Option<&str>,
        mut show: impl FnMut(Key<'_>),
    ) {
        let node = Sort { grouping: Grouping::Node, vantage, transport: None };
        show(Key::named(node, Value::Text(""), 0));
        let sort = Sort { grouping: Grouping::Resolver, vantage, transport: Some(transport) };
        match resolver {
            Some(resolver) => {
                show(Key::named(sort, Value::Text(resolver), hash_of(resolver.as_bytes())));
            }
            None => show(Key::other(sort)),
        }
    }
}

impl Sort {
    /// Of groups of the same value, each has a hash of its own: whatever is done to it can be undone.
    fn mix(self, hash: u64) -> u64 {
        let transport = match self.transport {
            None => 0,
            Some("udp") => 1,
            Some(_) => 2,
        };
        let number = (self.grouping as u64) << 8 | (self.vantage as u64) << 4 | transport;
        // The finalizer of MurmurHash3.
        let mut mixed = hash ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        mixed ^ (mixed >> 33)
    }
}
