//! Groups: how transactions are grouped, and how many groups there may be.

use super::measured::Measured;
use super::tally::{Tally, TopSlots};
use crate::view::TransactionView;
use dnscribe_dns::type_name;
use dnscribe_sketch::hash_of;
use dnscribe_transaction::pair::Vantage;

dnscribe_record::named_enum! {
    /// Dimension by which transactions are grouped, besides the vantage.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Grouping: "a grouping" {
        /// All transactions of the node.
        Node = "node",
        /// By resolver and transport.
        Resolver = "resolver",
        /// By registrable domain.
        Zone = "zone",
        /// By the type asked for.
        Qtype = "qtype",
        /// By the process's name.
        Process = "process",
        /// By pod, else container.
        Pod = "pod",
        /// By resolver and registrable domain; only if it is configured.
        ResolverZone = "resolver+zone",
    }
}

impl Grouping {
    /// Maximum number of groups, not counting one `other` per class.
    #[must_use]
    pub const fn max_groups(self) -> usize {
        match self {
            Self::Node => Vantage::ALL.len(),
            Self::Resolver => 36,
            Self::Zone | Self::ResolverZone => 96,
            Self::Qtype => 24,
            Self::Process => 48,
            // Default maximum number of pods per Kubernetes node.
            Self::Pod => 110,
        }
    }

    /// Number of classes: vantages, multiplied by transports if they are distinguished.
    pub(super) const fn classes(self) -> usize {
        match self {
            // Every group has a slot: there is no `other`.
            Self::Node => 0,
            Self::Resolver => 2 * Vantage::ALL.len(),
            Self::Zone | Self::Qtype | Self::Process | Self::Pod | Self::ResolverZone => {
                Vantage::ALL.len()
            }
        }
    }

    /// Returns the sizes of the tables of most frequent values, if its groups have them.
    pub(super) const fn top_slots(self) -> Option<TopSlots> {
        match self {
            Self::Node => Some([10, 8, 9, 7]),
            Self::Resolver => Some([6, 5, 6, 4]),
            Self::Zone | Self::Qtype | Self::Process | Self::Pod | Self::ResolverZone => None,
        }
    }

    pub(super) fn new_tally(self) -> Tally {
        self.top_slots().map_or_else(Tally::default, Tally::with_tops)
    }
}

/// Identity of a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// Grouping.
    pub grouping: Grouping,
    /// Vantage of its transactions.
    pub vantage: Vantage,
    /// `udp` or `tcp`, if the grouping distinguishes transports.
    pub transport: Option<&'static str>,
    /// Resolver, zone, type, process, pod, or resolver and zone with a space between them; empty for
    /// the node; `None` for `other`.
    pub value: Option<Box<str>>,
}

/// Groups that share one `other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupClass {
    pub grouping: Grouping,
    pub vantage: Vantage,
    pub transport: Option<&'static str>,
}

/// Borrowed identity of a group with its hash. Groups with equal 64-bit hashes are the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupRef<'a> {
    pub class: GroupClass,
    pub value: Option<GroupValue<'a>>,
    pub hash: u64,
}

/// Value that identifies a group within its class.
#[derive(Clone, Copy, Debug)]
pub(super) enum GroupValue<'a> {
    Text(&'a str),
    /// Query type; its name is created when the group gets a slot.
    Type(u16),
    /// Resolver and zone.
    Pair(&'a str, &'a str),
}

impl Group {
    /// Returns the value of one dimension, where the group has it.
    #[must_use]
    pub fn value_of(&self, grouping: Grouping) -> Option<&str> {
        let value = self.value.as_deref()?;
        // Names of zones contain no spaces (RFC 1035, 5.1): those are escaped.
        match (self.grouping, grouping) {
            (Grouping::ResolverZone, Grouping::Resolver) => Some(value.rsplit_once(' ')?.0),
            (Grouping::ResolverZone, Grouping::Zone) => Some(value.rsplit_once(' ')?.1),
            (own, grouping) => (own == grouping).then_some(value),
        }
    }

    pub(super) const fn class(&self) -> GroupClass {
        GroupClass { grouping: self.grouping, vantage: self.vantage, transport: self.transport }
    }
}

impl<'a> GroupRef<'a> {
    /// Returns the group of a value with this hash.
    fn named(class: GroupClass, value: GroupValue<'a>, hash: u64) -> Self {
        Self { class, value: Some(value), hash: class.mix(hash) }
    }

    /// Returns the identity of a stored group.
    pub(super) fn stored(group: &'a Group, hash: u64) -> Self {
        Self { class: group.class(), value: group.value.as_deref().map(GroupValue::Text), hash }
    }

    pub(super) fn other(class: GroupClass) -> Self {
        Self { class, value: None, hash: class.mix(u64::MAX) }
    }

    pub(super) fn group(&self) -> Group {
        let GroupClass { grouping, vantage, transport } = self.class;
        let value = self.value.map(|value| match value {
            GroupValue::Text(text) => text.into(),
            GroupValue::Type(number) => type_name(number).into(),
            GroupValue::Pair(resolver, zone) => format!("{resolver} {zone}").into(),
        });
        Group { grouping, vantage, transport, value }
    }

    /// Passes each group of a transaction to `show`.
    pub(super) fn each(
        observation: &TransactionView<'_>,
        measured: &Measured,
        mut show: impl FnMut(GroupRef<'_>),
    ) {
        let vantage = observation.vantage;
        let mut show_value = |grouping, value: GroupValue<'_>, hash| {
            let transport = (grouping == Grouping::Resolver).then(|| observation.transport.name());
            show(GroupRef::named(GroupClass { grouping, vantage, transport }, value, hash));
        };
        show_value(Grouping::Node, GroupValue::Text(""), 0);
        show_value(
            Grouping::Resolver,
            GroupValue::Text(observation.resolver),
            measured.resolver_hash,
        );
        if let Some(zone) = observation.zone {
            show_value(Grouping::Zone, GroupValue::Text(zone), measured.zone_hash);
            if measured.pairs {
                let hash = measured.resolver_hash.rotate_left(32) ^ measured.zone_hash;
                let pair = GroupValue::Pair(observation.resolver, zone);
                show_value(Grouping::ResolverZone, pair, hash);
            }
        }
        if let Some(qtype) = observation.qtype {
            show_value(Grouping::Qtype, GroupValue::Type(qtype), qtype.into());
        }
        if let Some(process) = observation.process {
            show_value(Grouping::Process, GroupValue::Text(process.comm), measured.process_hash);
        }
        if let Some(pod) = observation.pod {
            show_value(Grouping::Pod, GroupValue::Text(pod), measured.pod_hash);
        }
    }
}

impl GroupRef<'_> {
    /// Passes each group of messages that were not exported to `show`. Without a resolver, these
    /// are the node and `other` resolvers.
    pub(super) fn each_not_exported(
        vantage: Vantage,
        transport: &'static str,
        resolver: Option<&str>,
        mut show: impl FnMut(GroupRef<'_>),
    ) {
        let node = GroupClass { grouping: Grouping::Node, vantage, transport: None };
        show(GroupRef::named(node, GroupValue::Text(""), 0));
        let class =
            GroupClass { grouping: Grouping::Resolver, vantage, transport: Some(transport) };
        match resolver {
            Some(resolver) => {
                show(GroupRef::named(
                    class,
                    GroupValue::Text(resolver),
                    hash_of(resolver.as_bytes()),
                ));
            }
            None => show(GroupRef::other(class)),
        }
    }
}

impl GroupClass {
    /// Mixes the class into the hash of a value. The function is a bijection for each class.
    fn mix(self, hash: u64) -> u64 {
        let transport = match self.transport {
            None => 0,
            Some("udp") => 1,
            Some(_) => 2,
        };
        let number = (self.grouping as u64) << 8 | (self.vantage as u64) << 4 | transport;
        // Finalizer of MurmurHash3.
        let mut mixed = hash ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        mixed ^ (mixed >> 33)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_resolver_and_zone() {
        let value = GroupValue::Pair("corp dns", "example.com");
        let class = GroupClass {
            grouping: Grouping::ResolverZone,
            vantage: Vantage::Client,
            transport: None,
        };
        let group = GroupRef::named(class, value, 0).group();
        assert_eq!(group.value_of(Grouping::Resolver), Some("corp dns"));
        assert_eq!(group.value_of(Grouping::Zone), Some("example.com"));
        assert_eq!(group.value_of(Grouping::Qtype), None);
        assert_eq!(GroupRef::other(class).group().value_of(Grouping::Zone), None);
    }
}
