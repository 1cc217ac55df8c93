//! Names for events that hold for ever.

use crate::decode::MessageId;
use crate::time::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

/// 128 bits, printed as 32 hex digits; a pure function of node, capture epoch, CPU, sequence and
/// index within the packet, so that a resend or a second replay carries the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EventId(pub u128);

impl EventId {
    /// The id of the dead letter that a record becomes which nobody takes: of the same capture.
    #[must_use]
    pub fn of_dead_letter(self) -> Self {
        const CAPTURE: u128 = 0xFFFF_FFFF << 96;
        const SEED: u64 = 0x646C_7100;
        let hash = xxh3_128_with_seed(&self.0.to_be_bytes(), SEED);
        Self(self.0 & CAPTURE | hash & !CAPTURE)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
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

/// The node and capture epoch in which events are numbered.
#[derive(Clone, Copy, Debug)]
pub struct Namespace(u64);

impl Namespace {
    /// Of a node and the beginning of its capture.
    #[must_use]
    pub fn new(node: &str, epoch: Timestamp) -> Self {
        Self(xxh3_64_with_seed(node.as_bytes(), epoch.as_nanos()))
    }

    /// The id of a message, or of what the message stands for.
    #[must_use]
    pub fn message(self, id: MessageId) -> EventId {
        self.number(id.origin.cpu, id.origin.seq, id.index)
    }

    /// The id of the `ordinal`th ledger record, from 1: no CPU has this number.
    #[must_use]
    pub fn ledger(self, ordinal: u64) -> EventId {
        self.number(u32::MAX, ordinal, 0)
    }

    fn number(self, cpu: u32, seq: u64, index: u32) -> EventId {
        let mut octets = [0; 16];
        octets[..4].copy_from_slice(&cpu.to_le_bytes());
        octets[4..12].copy_from_slice(&seq.to_le_bytes());
        octets[12..].copy_from_slice(&index.to_le_bytes());
        EventId(xxh3_128_with_seed(&octets, self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Origin;

    #[test]
    fn is_the_same_for_the_same_and_different_for_another() {
        let id = |node, epoch, cpu, seq, index| {
            let message = MessageId { origin: Origin { cpu, seq }, index };
            Namespace::new(node, Timestamp::from_nanos(epoch)).message(message)
        };
        let first = id("a", 1, 0, 1, 0);
        assert_eq!(first, id("a", 1, 0, 1, 0));
        let others =
            [id("b", 1, 0, 1, 0), id("a", 2, 0, 1, 0), id("a", 1, 1, 1, 0), id("a", 1, 0, 2, 0)];
        assert!(!others.contains(&first) && first != id("a", 1, 0, 1, 1));
        assert_eq!(first.to_string().len(), 32);
    }
}
