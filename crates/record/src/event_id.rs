//! Event ids: reproducible 128-bit names of records.

use crate::Stream;
use crate::time::Timestamp;
use dnscribe_dns::hex_digits;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};
use serde_with::DeserializeFromStr;
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

/// Position of a packet in its capture. Unique together with the node and the capture epoch;
/// `event_id`s are derived from it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct PacketId {
    /// The CPU whose sequence `seq` counts; 0 in replay.
    pub cpu: u32,
    /// Live: the packet's number on its CPU, from 1, lost ones included. Replay: the frame's
    /// number in the capture file, from 1.
    pub seq: u64,
}

/// Identifies a DNS message: the packet that completed it and its index among that packet's
/// messages.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct MessageId {
    /// The packet that completed the message.
    pub packet: PacketId,
    /// 0 for the first message that the packet completed.
    pub index: u32,
}

/// Bits of an id after its tag.
const HASH_BITS: u32 = 96;

/// Identifies a record: 128 bits, printed as 32 hex digits. A pure function of node, capture epoch,
/// CPU, sequence number and index within the packet, so a resend or a second replay has the same
/// id.
///
/// The first 32 bits (8 digits) are the [`Namespace::tag`] of node and epoch, the other 96 a hash
/// of all inputs. So an id tells which capture it belongs to, although only the ledger names the
/// epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, DeserializeFromStr)]
pub struct EventId(pub u128);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(hex_digits(&mut [0; 32], &self.0.to_be_bytes()))
    }
}

impl EventId {
    /// Returns the tag of the namespace that the id belongs to.
    #[must_use]
    pub const fn tag(self) -> u32 {
        // The shifted value fits into 32 bits.
        (self.0 >> HASH_BITS) as u32
    }

    /// Returns the id of the dead letter for a record of `stream`, in the same namespace. Records
    /// of two streams may share an id; their dead letters never do.
    #[must_use]
    pub fn dead_letter(self, stream: Stream) -> Self {
        const HASH: u128 = (1 << HASH_BITS) - 1;
        let hash = xxh3_128_with_seed(&self.0.to_be_bytes(), 1 + stream as u64);
        Self(self.0 & !HASH | hash & HASH)
    }
}

/// Parses exactly 32 hex digits.
impl FromStr for EventId {
    type Err = BadEventId;

    fn from_str(text: &str) -> Result<Self, BadEventId> {
        // `from_str_radix` would accept a sign.
        let digits = Some(text).filter(|text| text.len() == 32 && !text.starts_with('+'));
        let id = digits.and_then(|digits| u128::from_str_radix(digits, 16).ok());
        id.map(Self).ok_or_else(|| BadEventId(text.into()))
    }
}

/// A text is not an event id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event_id \"{0}\" is not 32 hex digits")]
pub struct BadEventId(String);

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(hex_digits(&mut [0; 32], &self.0.to_be_bytes()))
    }
}

impl JsonSchema for EventId {
    fn schema_name() -> Cow<'static, str> {
        "event_id".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9a-f]{32}$" })
    }
}

/// The scope of event ids: a node and a capture epoch.
#[derive(Clone, Copy, Debug)]
pub struct Namespace(u64);

impl Namespace {
    /// Creates the namespace of a node and the start of its capture.
    #[must_use]
    pub fn new(node: &str, epoch: Timestamp) -> Self {
        Self(xxh3_64_with_seed(node.as_bytes(), epoch.as_nanos()))
    }

    /// Returns the first 32 bits of all ids in this namespace: a hash of node and epoch.
    #[must_use]
    pub const fn tag(self) -> u32 {
        // The shifted value fits into 32 bits.
        (self.0 >> 32) as u32
    }

    /// Returns the id of a message, or of a transaction or connection that the message began.
    #[must_use]
    pub fn message(self, id: MessageId) -> EventId {
        self.number(id.packet.cpu, id.packet.seq, id.index)
    }

    /// Returns the id of the lookup that a message began. The index is inverted; no packet
    /// completes so many messages that another message could have this id.
    #[must_use]
    pub fn lookup(self, first: MessageId) -> EventId {
        self.number(first.packet.cpu, first.packet.seq, !first.index)
    }

    /// Returns the id of the `ordinal`th ledger record, from 1: no CPU has this number.
    #[must_use]
    pub fn ledger(self, ordinal: u64) -> EventId {
        self.number(u32::MAX, ordinal, 0)
    }

    /// Returns the id of the `ordinal`th window record, from 1: no CPU has this number.
    #[must_use]
    pub fn window(self, ordinal: u64) -> EventId {
        self.number(u32::MAX - 1, ordinal, 0)
    }

    /// Returns the id of the `ordinal`th alert record, from 1: no CPU has this number.
    #[must_use]
    pub fn alert(self, ordinal: u64) -> EventId {
        self.number(u32::MAX - 3, ordinal, 0)
    }

    /// Returns the id of the `ordinal`th probe record, from 1: no CPU has this number.
    #[must_use]
    pub fn probe(self, ordinal: u64) -> EventId {
        self.number(u32::MAX - 4, ordinal, 0)
    }

    /// Returns the id of something identified by name instead of a place in the capture.
    #[must_use]
    pub fn for_name(self, name: &[u8]) -> EventId {
        self.id(xxh3_128_with_seed(name, self.0))
    }

    /// Returns an id. A `cpu` that stands for a kind of record is never given to another; no kind has had `u32::MAX - 2`.
    fn number(self, cpu: u32, seq: u64, index: u32) -> EventId {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&cpu.to_le_bytes());
        bytes[4..12].copy_from_slice(&seq.to_le_bytes());
        bytes[12..].copy_from_slice(&index.to_le_bytes());
        self.id(xxh3_128_with_seed(&bytes, self.0))
    }

    fn id(self, hash: u128) -> EventId {
        EventId(u128::from(self.tag()) << HASH_BITS | hash & ((1 << HASH_BITS) - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn depends_on_every_input() {
        let id = |node, epoch, cpu, seq, index| {
            let message = MessageId { packet: PacketId { cpu, seq }, index };
            Namespace::new(node, Timestamp::from_nanos(epoch)).message(message)
        };
        let first = id("a", 1, 0, 1, 0);
        assert_eq!(first, id("a", 1, 0, 1, 0));
        let others =
            [id("b", 1, 0, 1, 0), id("a", 2, 0, 1, 0), id("a", 1, 1, 1, 0), id("a", 1, 0, 2, 0)];
        assert!(!others.contains(&first) && first != id("a", 1, 0, 1, 1));
        assert_eq!(first.to_string().len(), 32);
        assert_eq!(first.to_string().parse(), Ok(first));
    }

    #[test]
    fn lookup_id_differs_from_its_first_query() {
        let namespace = Namespace::new("a", Timestamp::from_nanos(1));
        let query = |seq| MessageId { packet: PacketId { cpu: 0, seq }, index: 0 };
        let ids: BTreeSet<_> = (1..100)
            .flat_map(|seq| [namespace.message(query(seq)), namespace.lookup(query(seq))])
            .map(|id| id.0)
            .collect();
        assert_eq!(ids.len(), 198);
        assert_eq!(namespace.lookup(query(1)), namespace.lookup(query(1)));
    }

    #[test]
    fn begins_with_namespace_tag() {
        let namespace = |node, epoch| Namespace::new(node, Timestamp::from_nanos(epoch));
        let here = namespace("a", 1);
        for seq in 0..100 {
            let message = here.message(MessageId { packet: PacketId { cpu: 3, seq }, index: 1 });
            assert_eq!([message.tag(), here.ledger(seq).tag()], [here.tag(); 2]);
            assert!(message.to_string().starts_with(&format!("{:08x}", here.tag())));
        }
        assert!(here.tag() != namespace("b", 1).tag() && here.tag() != namespace("a", 2).tag());
    }

    #[test]
    fn parses_32_hex_digits_only() {
        for wrong in ["", "1", "+0000000000000000000000000000001", &"0".repeat(33), &"g".repeat(32)]
        {
            assert!(wrong.parse::<EventId>().is_err(), "{wrong}");
        }
        assert_eq!("F".repeat(32).parse(), Ok(EventId(u128::MAX)));
    }
}
