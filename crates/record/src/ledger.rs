//! Ledger counters: what every stage received, passed on and lost, and the identities between them.
//!
//! Each stage owns its counters as plain numbers and reports them when a ledger record is due. The
//! types here are those of the `dns.ledger/1` record, which are written and read back with the same
//! types.

mod identity;
mod path;
mod senders;

pub use identity::Imbalance;
pub use path::{Followed, Path};
pub use senders::DnstapSender;

use crate::merged_struct;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Counts by reason, such as packets by why they were skipped.
pub type Reasons = BTreeMap<String, u64>;

/// Counters of the eBPF programs of one hook, or in replay of the file reader. Identity 1: `seen =
/// submitted + lost_ring_full + sampled_out + Σ skipped`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Kernel {
    /// Packets that matched the ports.
    pub seen: u64,
    /// Packets submitted to the ring.
    pub submitted: u64,
    /// Packets lost because the ring was full.
    pub lost_ring_full: u64,
    /// Packets left out by sampling.
    pub sampled_out: u64,
    /// Packets that matched the ports but cannot carry a DNS message, by reason.
    pub skipped: Reasons,
    /// Packets submitted with fewer bytes than they had on the wire.
    pub clipped: u64,
}

/// Counters of the ring. Identity 2: `submitted = received + in_ring`; `sequence_gaps` equals the
/// packets that the kernel counted as lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ring {
    /// Packets that the kernel put into the ring, all hooks together.
    pub submitted: u64,
    /// Packets that the agent took out of the ring.
    pub received: u64,
    /// Packets that wait in the ring.
    pub in_ring: u64,
    /// Numbers missing in the per-CPU sequences of the received packets.
    pub sequence_gaps: u64,
}

merged_struct! {
    /// Counters of decoding. Identity 3: `received = decoded_packets + Σ malformed + held`; `messages =
    /// queries + responses`.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    pub struct Decode {
        /// Packets taken from the ring.
        pub received: u64,
        /// Packets decoded completely: messages, parts of messages, TCP control, ICMP errors.
        pub decoded_packets: u64,
        /// Packets that were not exported.
        pub malformed: Reasons,
        /// TCP segments and IP fragments that wait for missing parts, and packets that wait for what becomes of a response.
        pub held: u64,
        /// DNS messages decoded.
        pub messages: u64,
        /// Messages that are queries.
        pub queries: u64,
        /// Messages that are responses.
        pub responses: u64,
        /// TCP streams (one direction each) that were evicted from the full table; their waiting
        /// packets count as malformed.
        #[serde(default)]
        pub evicted_streams: u64,
        /// ICMP errors about queries.
        #[serde(default)]
        pub icmp_about_queries: u64,
        /// ICMP errors about responses: no query failed, so no transaction reports them.
        #[serde(default)]
        pub icmp_about_responses: u64,
    }
}

merged_struct! {
    /// Counters of pairing. Identity 4: `queries = answered + timeout + icmp_error + evicted + open +
    /// retransmitted`; `responses = answered + late + duplicate + orphan`. With decode: `decode.queries
    /// = queries + one_way`; `decode.responses + shared = responses + continued`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    pub struct Pairing {
        /// Queries received from decoding.
        pub queries: u64,
        /// Responses received from decoding: a zone transfer of many messages counts once, and a
        /// response to several queries once for each.
        pub responses: u64,
        /// Queries answered in time.
        pub answered: u64,
        /// Queries without a response within the query timeout.
        pub timeout: u64,
        /// Queries that could not be delivered, reported by ICMP.
        pub icmp_error: u64,
        /// Queries evicted from the full table.
        pub evicted: u64,
        /// Queries that wait for a response.
        pub open: u64,
        /// Queries sent again before an answer, counted with the first one's transaction.
        pub retransmitted: u64,
        /// Responses that came after their timeout record was written.
        pub late: u64,
        /// Further responses to answered queries.
        pub duplicate: u64,
        /// Responses without a known query.
        pub orphan: u64,
        /// Messages of zone transfers after the first one of each.
        #[serde(default, skip_serializing_if = "never")]
        pub continued: u64,
        /// Further queries that one response answered (mDNS), each counted as one more response.
        #[serde(default, skip_serializing_if = "never")]
        pub shared: u64,
        /// DSO messages that expect no response (RFC 8490, 5.4.1); they make no transaction.
        #[serde(default, skip_serializing_if = "never")]
        pub one_way: u64,
    }
}

/// Counters are always written. `skip_serializing_if` makes the schemas call the counters optional
/// that were added after the first release, because older records lack them.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn never(_: &u64) -> bool {
    false
}

merged_struct! {
    /// Counters of encrypted DNS connections, each counted once: `connections = closed + reset +
    /// refused + timeout + handshake_failed + idle + evicted + open`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    pub struct Connections {
        /// Packets of encrypted DNS.
        pub packets: u64,
        /// Packets that belong to no connection: after the end of one, or of one that began before the
        /// capture.
        pub stray: u64,
        /// Connections seen.
        pub connections: u64,
        /// Connections that ended in order.
        pub closed: u64,
        /// Connections that were reset.
        pub reset: u64,
        /// Connection attempts that the server's host refused.
        pub refused: u64,
        /// Connection attempts without an answer.
        pub timeout: u64,
        /// Connections that ended before the handshake did.
        pub handshake_failed: u64,
        /// Connections that were idle for too long.
        pub idle: u64,
        /// Connections evicted from the full table.
        pub evicted: u64,
        /// Connections that are open.
        pub open: u64,
        /// Interim reports of open connections.
        pub interim: u64,
    }
}

merged_struct! {
    /// Counters of connections that processes opened, where these are captured. Identity 8: `connects = matched +
    /// ambiguous + none + held + lost`. With an empty ring, `kernel.connect.seen = connects + Σ kernel.connect.skipped`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    pub struct Uses {
        /// Connections that began.
        pub connects: u64,
        /// Connections to an address with one name that fits.
        pub matched: u64,
        /// Connections to an address with several names that fit.
        pub ambiguous: u64,
        /// Connections to an address that no known lookup gave.
        pub none: u64,
        /// Connections that did not fit into the ring.
        pub lost: u64,
        /// Connections that are matched once it is known what became of a response before them; see `decode.held`.
        #[serde(default, skip_serializing_if = "never")]
        pub held: u64,
    }
}

merged_struct! {
    /// Transactions by who saw them, and those that were another view of one. At the end, the outcomes in `pairing` are those
    /// of `both + socket + dnstap` records and of `merged`.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    pub struct SeenBy {
        /// Transactions that a socket and the server saw.
        pub both: u64,
        /// Transactions that only a socket saw.
        pub socket: u64,
        /// Transactions that only the server saw.
        pub dnstap: u64,
        /// Second views of a transaction, which have no record, by their status.
        pub merged: BTreeMap<String, u64>,
    }
}

merged_struct! {
    /// Counters of one stream at one sink. Identity 5: `records = delivered + spooled + in_flight +
    /// filtered + Σ dropped`.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    pub struct Delivery {
        /// Records made for this sink and stream.
        pub records: u64,
        /// Records acknowledged by the broker, or written to the file.
        pub delivered: u64,
        /// Records on disk, waiting for the broker.
        pub spooled: u64,
        /// Records in queues or sent without an acknowledgement yet.
        pub in_flight: u64,
        /// Records that a filter of the configuration left out.
        pub filtered: u64,
        /// Records dropped, by reason.
        pub dropped: Reasons,
    }
}

/// Sampling: transactions that the agent left out because it was overloaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sampling {
    /// Ratio of UDP transactions that are exported now; 1 if sampling is off.
    pub ratio: f64,
    /// Start of the current sampling, RFC 3339; absent if sampling is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Number of times that sampling began.
    pub episodes: u64,
    /// Packets that were not exported.
    pub not_exported: NotExported,
}

/// Packets of the hooks `cgroup` and `socket` that were sampled out or did not fit into the ring,
/// classified by the kernel by their first bytes, up to the last time the kernel's counters were
/// read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotExported {
    /// Queries over UDP.
    pub queries: u64,
    /// Responses over UDP.
    pub responses: u64,
    /// TCP segments; the number of messages in them is unknown.
    pub segments: u64,
    /// Fragments, ICMP errors, encrypted DNS, and packets too short for a header.
    pub other: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { ratio: 1.0, since: None, episodes: 0, not_exported: NotExported::default() }
    }
}

merged_struct! {
    /// Counters of active probes. Identities: `rounds = completed + running + Σ skipped`, and
    /// `records` are those of the stream `probes` at each sink that gets it.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    pub struct Probing {
        /// Rounds that were due.
        pub rounds: u64,
        /// Rounds that ended; each made at least one record.
        pub completed: u64,
        /// Rounds that are running, or wait until the limits let them begin.
        pub running: u64,
        /// Rounds that began more than a second after they were due.
        pub late: u64,
        /// Rounds that were not begun, and those cut off by the end of the process, by reason.
        pub skipped: Reasons,
        /// Records made.
        pub records: u64,
    }
}

/// Counters of all stages at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Counters {
    /// Capture in the kernel, by hook: `cgroup`, `socket`, `icmp`, `replay`.
    pub kernel: BTreeMap<String, Kernel>,
    /// Ring between kernel and agent.
    pub ring: Ring,
    /// Decoding of packets into messages.
    pub decode: Decode,
    /// Pairing of messages into transactions.
    pub pairing: Pairing,
    /// Connections of encrypted DNS; present if they are captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<Connections>,
    /// Connections that processes opened; present if they are captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<Uses>,
    /// DNS packets on their way through this host; present if their path is captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Path>,
    /// Who saw the transactions; present if a hook and servers that send dnstap are captured together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_by: Option<SeenBy>,
    /// Servers that send dnstap, in order of their names; present if they can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub senders: Option<Vec<DnstapSender>>,
    /// Sampling; present in live capture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampling>,
    /// Active probes; present in ledgers of `dnscribe-probe`, which captures nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probing: Option<Probing>,
    /// Delivery by sink (`stdout`, `file`, `kafka`, `null`; a second one of a kind is `file_2`),
    /// then by stream.
    pub delivery: BTreeMap<String, BTreeMap<String, Delivery>>,
}
