//! Records as the trace keeps them: the fields that it shows.

use dnscribe_record::time::Timestamp;
use dnscribe_record::{LostAt, PathFields};
use serde::Deserialize;
use std::time::Duration;

/// The fields of `dns.transaction/1` that a trace shows.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TransactionFields {
    pub event_id: String,
    pub ts: Timestamp,
    pub vantage: String,
    pub transport: String,
    pub server_ip: String,
    pub resolver: String,
    pub opcode: String,
    pub qname: Option<String>,
    pub qtype: Option<String>,
    pub status: String,
    pub rcode: Option<String>,
    pub latency_ms: Option<f64>,
    pub retries: u32,
    pub answers: Vec<AnswerData>,
    pub parent_event_id: Option<String>,
    pub parent_match: Option<String>,
    pub cache: Option<String>,
    pub lost_at: Option<LostAt>,
    pub path: Option<PathFields>,
    pub process: Option<ProcessFields>,
}

impl TransactionFields {
    /// Returns the response code, or the status if there was no response.
    pub fn outcome(&self) -> &str {
        match (&*self.status, &self.rcode) {
            ("answered" | "late" | "duplicate" | "orphan", Some(rcode)) => rcode,
            (status, _) => status,
        }
    }

    /// Returns whether the kernel of this host discarded the answer. The loss of a query that was sent again may be that
    /// of another answer, and who closed its socket first did not wait for it.
    pub fn is_answer_lost(&self) -> bool {
        self.status == "answered"
            && self.retries == 0
            && self.lost_at.as_ref().is_some_and(|lost| {
                let is_closed = lost.reason == "NO_SOCKET"
                    || lost.function.as_deref() == Some("udp_destruct_common");
                lost.message == "response" && !is_closed
            })
    }

    /// Returns the moment at which the process could read the response; none without one.
    pub fn answered_at(&self) -> Option<Timestamp> {
        if self.is_answer_lost() {
            return None;
        }
        Some(self.ts.plus(Duration::try_from_secs_f64(self.latency_ms? / 1e3).ok()?))
    }
}

/// Data of a record in an answer section.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AnswerData {
    #[serde(rename = "type")]
    pub rtype: String,
    pub data: String,
}

/// The process of a record.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct ProcessFields {
    pub pid: u32,
    pub comm: String,
    pub exe: Option<String>,
}

/// The fields of `dns.lookup/1` that a trace shows.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct LookupFields {
    pub event_id: String,
    pub ts: Timestamp,
    pub qname: String,
    pub qtypes: Vec<String>,
    pub outcome: String,
    pub partial: bool,
    pub answered_name: Option<String>,
    pub cname_chain: Vec<String>,
    pub addresses: Vec<String>,
    pub packets: u32,
    pub packets_wasted: u32,
    pub search_expansions: u32,
    pub retries: u32,
    pub transaction_ids: Vec<String>,
    pub process: Option<ProcessFields>,
}

/// The fields of `dns.connection/1` that a trace shows.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ConnectionFields {
    pub connection_id: String,
    pub vantage: String,
    pub protocol: String,
    pub resolver: String,
    pub status: String,
    pub sni: Option<String>,
    pub handshake_ms: Option<f64>,
    pub process: Option<ProcessFields>,
}

/// The fields of `dns.use/1` that a trace shows.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct UseFields {
    pub ts: Timestamp,
    pub protocol: String,
    pub address: String,
    pub port: u16,
    #[serde(rename = "match")]
    pub matched: String,
    pub name: Option<String>,
    pub candidates: Vec<String>,
    pub lookup_event_id: Option<String>,
    pub outcome: String,
    pub connect_ms: Option<f64>,
    pub first_byte_ms: Option<f64>,
    pub ttl_left_ms: Option<f64>,
    pub count: u64,
    pub process: Option<ProcessFields>,
}

/// Returns the time that is so many milliseconds later.
fn after(ts: Timestamp, ms: Option<f64>) -> Timestamp {
    ts.plus(Duration::try_from_secs_f64(ms.unwrap_or(0.0) / 1e3).unwrap_or_default())
}

impl UseFields {
    /// Returns when the connection was being opened.
    pub fn span(&self) -> (Timestamp, Timestamp) {
        (self.ts, after(self.ts, self.connect_ms))
    }

    /// Returns when it waited for the first byte of its peer, if one came.
    pub fn first_byte_span(&self) -> Option<(Timestamp, Timestamp)> {
        let (_, established) = self.span();
        self.first_byte_ms.map(|ms| (established, after(established, Some(ms))))
    }
}
