//! `dns.trace/1`: what `dnscribe trace -o json` writes. It is no stream: no sink and no topic has it.

use crate::fields::{LostAt, PathFields};
use crate::named_enum;
use crate::time::Timestamp;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use serde_with::skip_serializing_none;

/// The result of a trace. Times are in milliseconds since its start.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Trace {
    /// `dns.trace/1`.
    pub schema: &'static str,
    /// Name of what was traced.
    pub subject: String,
    /// Words of the command.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Start of the trace.
    pub started: Timestamp,
    /// Duration of the trace.
    pub duration_ms: f64,
    /// Exit code of the command; 128 and the number of the signal that ended it.
    pub exit_code: Option<i32>,
    /// Time in which at least one query waited.
    pub wait_ms: f64,
    /// Time in which no query waited, and at least one connection was being opened; absent where connections are not
    /// captured.
    pub connect_ms: Option<f64>,
    /// Time besides, in which at least one established connection waited for the first byte of its peer; absent where
    /// none did.
    pub first_byte_ms: Option<f64>,
    /// Number of lookups.
    pub lookups: usize,
    /// Number of query messages sent, retransmissions included.
    pub queries: u64,
    /// Number of query messages that contributed nothing (`packets_wasted` of the lookups).
    pub queries_wasted: u64,
    /// Waits by server and cause, the longest first.
    pub waits: Vec<Wait>,
    /// Processes that sent or answered queries.
    pub processes: Vec<TracedProcess>,
    /// Packets of the host that the kernel could not hand over, or that sampling left out, during the trace: if above 0, queries may
    /// be missing.
    pub lost_packets: u64,
    /// Records that were left out because there were too many.
    pub not_kept: u64,
}

/// A process with its lookups.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TracedProcess {
    /// Process id.
    pub pid: u32,
    /// Name of the process.
    pub comm: String,
    /// Path of the executable.
    pub exe: Option<String>,
    /// Time in which at least one of its queries waited.
    pub wait_ms: f64,
    /// Its lookups, in the order of their first queries.
    pub lookups: Vec<TracedLookup>,
    /// Transactions that belong to no lookup: late and duplicate responses, UPDATE and NOTIFY, and, if the process is
    /// a server, what it was asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<TracedQuery>,
    /// Connections of encrypted DNS, in which queries are not visible.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub encrypted: Vec<TracedConnection>,
    /// Connections that used no lookup of the trace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uses: Vec<TracedUse>,
}

/// Connections that are alike, as in `dns.use/1`.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TracedUse {
    /// Time of the first.
    pub start_ms: f64,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Address that the program connected to.
    pub address: String,
    /// Port.
    pub port: u16,
    /// How the name was found: `sole`, `newest`, `ambiguous` or `none`.
    #[serde(rename = "match")]
    pub matched: String,
    /// Name that was looked up.
    pub name: Option<String>,
    /// Names that fit, if it is ambiguous.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<String>,
    /// `established`, `refused`, `timeout`, `reset` or `unknown`.
    pub outcome: String,
    /// Time until the connection was established or had failed.
    pub connect_ms: Option<f64>,
    /// Time from then until the first byte of the peer arrived.
    pub first_byte_ms: Option<f64>,
    /// Time that the address might still be used; negative if the answer was stale.
    pub ttl_left_ms: Option<f64>,
    /// Number of connections.
    pub count: u64,
}

/// What an application looked up with one call.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TracedLookup {
    /// Time of the first query.
    pub start_ms: f64,
    /// Time in which at least one of its queries waited.
    pub wait_ms: f64,
    /// Name that the application looked up.
    pub qname: String,
    /// Query types: mnemonics.
    pub qtypes: Vec<String>,
    /// Outcome, as in `dns.lookup/1`.
    pub outcome: String,
    /// True if one of A and AAAA was answered, and no server said anything about the other.
    pub partial: bool,
    /// Name that had records, if it differs from `qname`.
    pub answered_name: Option<String>,
    /// Addresses in the answers.
    pub addresses: Vec<String>,
    /// Number of query messages.
    pub packets: u32,
    /// Number of query messages that contributed nothing.
    pub packets_wasted: u32,
    /// Number of names of the search list that were queried.
    pub search_expansions: u32,
    /// Number of query messages that repeated an earlier question.
    pub retries: u32,
    /// Its queries, in order.
    pub queries: Vec<TracedQuery>,
    /// Connections to its addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uses: Vec<TracedUse>,
}

/// One query with its outcome.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TracedQuery {
    /// Time of the query.
    pub start_ms: f64,
    /// Query name.
    pub qname: Option<String>,
    /// Query type: mnemonic.
    pub qtype: Option<String>,
    /// `client`, `server` or `passive`.
    pub vantage: String,
    /// `udp` or `tcp`; from dnstap also `dot`, `doh`, `doq` or `dnscrypt`.
    pub transport: String,
    /// Server: its configured name, else its address.
    pub resolver: String,
    /// Response code; without a response, the status of the transaction.
    pub outcome: String,
    /// Time until the response; absent without one.
    pub latency_ms: Option<f64>,
    /// Time that the application waited: until the response, the next attempt, the end of the command or the timeout.
    pub wait_ms: f64,
    /// How often the query was sent.
    pub sent: u32,
    /// Data of the answers, without signatures.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<String>,
    /// Where a resolver on this host had the answer from: hit, miss, stale or local.
    pub cache: Option<String>,
    /// Where the kernel of this host discarded the query or its response.
    pub lost_at: Option<LostAt>,
    /// Times on the way through this host.
    pub path: Option<PathFields>,
    /// True if the name is one of the search list that had no records.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub search_miss: bool,
    /// Queries of resolvers on this host that this one caused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub upstream: Vec<TracedQuery>,
}

/// A connection of encrypted DNS.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TracedConnection {
    /// `dot`, `doq`, `doh` or `doh3`.
    pub protocol: String,
    /// Server: its configured name, else its address.
    pub resolver: String,
    /// Server name that the client requested.
    pub sni: Option<String>,
    /// Status, as in `dns.connection/1`.
    pub status: String,
    /// Time until both sides sent encrypted data.
    pub handshake_ms: Option<f64>,
}

named_enum! {
    /// Reason for a wait.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum WaitCause {
        /// No response came.
        NoAnswer = "no_answer",
        /// ICMP reported that the server cannot be reached.
        Unreachable = "unreachable",
        /// The response was a failure, such as SERVFAIL.
        Failure = "failure",
        /// A name of the search list had no records.
        SearchList = "search_list",
        /// The answer took its time.
        Answer = "answer",
    }
}

/// Time spent waiting for a server for one reason.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Wait {
    /// Server: its configured name, else its address.
    pub resolver: String,
    /// Reason: `no_answer`, `unreachable`, `failure`, `search_list` or `answer`.
    #[schemars(with = "String")]
    pub cause: WaitCause,
    /// Time in which at least one such query waited, in milliseconds.
    pub wait_ms: f64,
    /// Number of queries.
    pub queries: usize,
    /// Longest wait for one of them, in milliseconds.
    pub longest_ms: f64,
    /// Their query types: mnemonics.
    pub qtypes: Vec<String>,
    /// Response codes, if the cause is `failure`.
    pub rcodes: Vec<String>,
    /// True if the server answered no query of these types during the trace.
    pub never_answered: bool,
    /// Where the kernel of this host discarded the first of them that it discarded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_at: Option<LostAt>,
}

impl Serialize for WaitCause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
