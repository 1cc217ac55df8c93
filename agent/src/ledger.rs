//! The balance sheet: what every stage took, gave and lost, and the identities that tie them.
//!
//! Each stage owns its counters as plain numbers and hands them over when a ledger record is due.
//! The shapes here are those of the `dns.ledger/1` record, written and read back with the same types.

mod identity;
mod sum;
pub mod verify;

pub use identity::Imbalance;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Packets by the reason for which they were turned away.
pub type Reasons = BTreeMap<String, u64>;

/// What the eBPF programs of one hook counted (or, in replay, what the file reader did).
/// Identity 1: `seen = submitted + lost_ring_full + sampled_out + Σ skipped`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Kernel {
    /// Packets that matched the ports.
    pub seen: u64,
    /// Packets handed to the ring.
    pub submitted: u64,
    /// Packets for which the ring had no room.
    pub lost_ring_full: u64,
    /// Packets left out by sampling.
    pub sampled_out: u64,
    /// Packets that matched the ports and cannot carry a DNS message, by reason.
    pub skipped: Reasons,
    /// Packets handed over with fewer octets than they had on the wire.
    pub clipped: u64,
}

/// Identity 2: `submitted = received + in_ring`; `sequence_gaps` equals the kernel's losses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ring {
    /// Records that the kernel put into the ring, all hooks together.
    pub submitted: u64,
    /// Records that the agent took out.
    pub received: u64,
    /// Records that wait in the ring.
    pub in_ring: u64,
    /// Numbers missing in the per-CPU sequences of the records received.
    pub sequence_gaps: u64,
}

/// Identity 3: `received = decoded_packets + Σ malformed + held`; `messages = queries + responses`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Decode {
    /// Packets taken from the ring.
    pub received: u64,
    /// Packets understood to their last octet: messages, parts of messages, TCP control, errors.
    pub decoded_packets: u64,
    /// Packets that were not DNS, by reason.
    pub malformed: Reasons,
    /// TCP segments and IP fragments that wait for what completes them.
    pub held: u64,
    /// DNS messages found.
    pub messages: u64,
    /// Of these, queries.
    pub queries: u64,
    /// Of these, responses.
    pub responses: u64,
    /// Directions of TCP connections that were forgotten to make room for others; packets of theirs
    /// that waited are malformed.
    #[serde(default)]
    pub evicted_streams: u64,
    /// ICMP errors about queries that came in packets.
    #[serde(default)]
    pub icmp_about_queries: u64,
    /// ICMP errors about responses: no query failed, and no transaction tells of it.
    #[serde(default)]
    pub icmp_about_responses: u64,
}

/// Identity 4: `queries = answered + timeout + icmp_error + evicted + open + retransmitted`;
/// `responses = answered + late + duplicate + orphan`. With decode:
/// `decode.queries = queries + one_way`; `decode.responses + shared = responses + continued`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pairing {
    /// Queries taken.
    pub queries: u64,
    /// Responses taken: a zone transfer of many messages is one, and a response to several queries is
    /// as many.
    pub responses: u64,
    /// Queries whose response came in time.
    pub answered: u64,
    /// Queries without a response within the query timeout.
    pub timeout: u64,
    /// Queries for which ICMP told that they cannot arrive.
    pub icmp_error: u64,
    /// Queries pushed out of the full table.
    pub evicted: u64,
    /// Queries that still wait.
    pub open: u64,
    /// Queries sent again before an answer, folded into the first.
    pub retransmitted: u64,
    /// Responses after their timeout record was written.
    pub late: u64,
    /// Further responses to answered queries.
    pub duplicate: u64,
    /// Responses to no query seen.
    pub orphan: u64,
    /// Messages of zone transfers behind the first one of each: of the response that it counts for.
    #[serde(default, skip_serializing_if = "never")]
    pub continued: u64,
    /// Further queries that a response to all answered (mDNS), each of them one more response.
    #[serde(default, skip_serializing_if = "never")]
    pub shared: u64,
    /// DSO messages that ask for no response (RFC 8490, 5.4.1): seen, and no transaction.
    #[serde(default, skip_serializing_if = "never")]
    pub one_way: u64,
}

/// Every counter is written; the schemas call those optional that came after the first release of
/// theirs, for records of before lack them.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn never(_: &u64) -> bool {
    false
}

/// Connections of encrypted DNS, each counted once:
/// `connections = closed + reset + refused + timeout + handshake_failed + idle + evicted + open`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Connections {
    /// Packets taken.
    pub packets: u64,
    /// Of these, packets that belong to no connection: after the end of one, or the end of one that
    /// began before the capture.
    pub stray: u64,
    /// Connections found.
    pub connections: u64,
    /// Ended in order.
    pub closed: u64,
    /// Broken off.
    pub reset: u64,
    /// Attempts that the server's host turned away.
    pub refused: u64,
    /// Attempts that nobody answered.
    pub timeout: u64,
    /// Ended before the handshake did.
    pub handshake_failed: u64,
    /// Silent for too long.
    pub idle: u64,
    /// Pushed out of the full table.
    pub evicted: u64,
    /// Not over.
    pub open: u64,
    /// Reports of connections that went on.
    pub interim: u64,
}

/// Identity 5: `records = delivered + spooled + in_flight + filtered + Σ dropped`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Delivery {
    /// Records made for this sink and stream.
    pub records: u64,
    /// Records that the broker acknowledged, or that the file took.
    pub delivered: u64,
    /// Records on disk, waiting for the broker.
    pub spooled: u64,
    /// Records on their way.
    pub in_flight: u64,
    /// Records that the configuration keeps from this sink.
    pub filtered: u64,
    /// Records given up, by reason.
    pub dropped: Reasons,
}

/// What the agent left out on purpose because more came than it could handle, and what is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sampling {
    /// The share of UDP transactions that is told now; 1 where none is left out.
    pub ratio: f64,
    /// Since when less than all is told, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// How often sampling began.
    pub episodes: u64,
    /// Packets that were not told.
    pub untold: Untold,
}

/// Packets of hooks `cgroup` and `socket` that were sampled out or found no room in the ring, as the
/// kernel counted them by their first octets, up to the last time that it was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Untold {
    /// Queries over UDP.
    pub queries: u64,
    /// Responses over UDP.
    pub responses: u64,
    /// Segments of TCP, of which nobody knows how many messages they held.
    pub segments: u64,
    /// Fragments, ICMP errors, encrypted DNS, and what is too short for a header.
    pub other: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { ratio: 1.0, since: None, episodes: 0, untold: Untold::default() }
    }
}

/// The counters of all stages at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Counters {
    /// By hook: `cgroup`, `socket`, `icmp`, `replay`.
    pub kernel: BTreeMap<String, Kernel>,
    /// The ring between kernel and agent.
    pub ring: Ring,
    /// Packets to messages.
    pub decode: Decode,
    /// Messages to transactions.
    pub pairing: Pairing,
    /// Packets to connections; there where encrypted DNS is looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<Connections>,
    /// What is left out on purpose; there where capture is live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampling>,
    /// By sink (`stdout`, `file`, `kafka`, `null`; a second one of a kind is `file_2`), then stream.
    pub delivery: BTreeMap<String, BTreeMap<String, Delivery>>,
}
