//! Compares transactions with a simple, slow model of pairing, and with tshark's pairs.

use super::agent_records::text;
use super::fields::{Difference, moment};
use super::golden::{Content, Message};
use anyhow::Result;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};

/// Number of transactions by outcome, in the names of the corpus.
pub type Outcomes = BTreeMap<String, u64>;

const NAMES: [&str; 5] = ["answered", "unanswered", "orphan", "duplicate", "retransmitted"];

/// Models pairing by the contract's key without a timeout. Multicast DNS and LLMNR have other rules
/// and are left out.
pub fn expected(messages: &[&Message], with_multicast: bool) -> Outcomes {
    let mut outcomes: Outcomes = NAMES.map(|name| (name.to_owned(), 0)).into();
    let mut open: Vec<PairingKey> = Vec::new();
    let mut done = HashSet::new();
    for message in messages.iter().filter(|message| with_multicast || message.proto.is_none()) {
        let Some(content) = &message.content else { continue };
        let key = PairingKey::of(message, content);
        if content.qr == 0 {
            let again = open.contains(&key);
            *outcomes.entry("retransmitted".into()).or_default() += u64::from(again);
            done.remove(&key);
            if !again {
                open.push(key);
            }
            continue;
        }
        let matching = |waiting: &PairingKey| {
            waiting.ends == key.ends && (content.qdcount == 0 || waiting.question == key.question)
        };
        let outcome = if let Some(place) = open.iter().position(matching) {
            done.insert(open.remove(place));
            "answered"
        } else if done.contains(&key) {
            "duplicate"
        } else {
            "orphan"
        };
        *outcomes.entry(outcome.into()).or_default() += 1;
    }
    outcomes.insert("unanswered".into(), open.len() as u64);
    outcomes
}

/// Endpoints, transport, id and question of a query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PairingKey {
    ends: String,
    question: String,
}

impl PairingKey {
    fn of(message: &Message, content: &Content) -> Self {
        let source = (message.src, message.src_port);
        let target = (message.dst, message.dst_port);
        let (client, server) = if content.qr == 0 { (source, target) } else { (target, source) };
        Self {
            ends: format!("{:?} {client:?} {server:?} {}", message.transport, content.id),
            question: format!("{:?} {:?} {:?}", content.qname, content.qtype, content.qclass),
        }
    }
}

/// Ports of multicast DNS and LLMNR.
const MULTICAST: [u64; 2] = [5353, 5355];

/// Counts the agent's transactions by outcome, in the names of the corpus.
pub fn found(transactions: &[Value]) -> Outcomes {
    let mut outcomes: Outcomes = NAMES.map(|name| (name.to_owned(), 0)).into();
    for transaction in transactions {
        let multicast = transaction["server_port"].as_u64().is_some_and(|p| MULTICAST.contains(&p));
        // Over TCP, port 5353 has no special meaning.
        if multicast && transaction["transport"] == "udp" {
            continue;
        }
        let status = text(&transaction["status"]);
        let outcome = match status.as_str() {
            "timeout" | "open" | "icmp_error" => "unanswered",
            other => other,
        };
        *outcomes.entry(outcome.to_owned()).or_default() += 1;
        // A duplicate is reported in addition to its query's transaction.
        if outcome != "duplicate" {
            *outcomes.entry("retransmitted".into()).or_default() +=
                transaction["retries"].as_u64().unwrap_or_default();
        }
    }
    outcomes
}

/// Compares the counts of each outcome.
pub fn compare(expected: &Outcomes, found: &Outcomes) -> (usize, Vec<Difference>) {
    let names: std::collections::BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    let differences: Vec<_> = names
        .iter()
        .filter(|name| expected.get(**name) != found.get(**name))
        .map(|name| Difference {
            frame: 0,
            field: format!("transactions.{name}"),
            expected: expected.get(*name).copied().unwrap_or_default().to_string(),
            found: found.get(*name).copied().unwrap_or_default().to_string(),
        })
        .collect();
    (names.len() - differences.len(), differences)
}

/// Compares the latencies of tshark's pairs: the agent's transaction with this query must have the
/// same latency, to the nanosecond.
pub fn latencies(golden: &[&Message], transactions: &[Value]) -> Result<(usize, Vec<Difference>)> {
    let mut differences = Vec::new();
    let mut equal = 0;
    for response in golden.iter().filter(|message| message.proto.is_none()) {
        let (Some(query), Some(content), Some(latency)) =
            (response.response_to, &response.content, &response.latency_s)
        else {
            continue;
        };
        let asked = golden.iter().find(|message| {
            message.frame == query && message.content.as_ref().is_some_and(|c| c.id == content.id)
        });
        // Absent if the agent could not decode it.
        let Some(asked) = asked else { continue };
        let asked = moment(&asked.ts)?;
        let expected = moment(latency)?;
        let found = transactions
            .iter()
            .find_map(|transaction| latency_of(transaction, response, content.id, asked));
        if found == Some(expected) {
            equal += 1;
            continue;
        }
        differences.push(Difference {
            frame: response.frame,
            field: "latency".into(),
            expected: expected.to_string(),
            found: found.map_or_else(String::new, |found| found.to_string()),
        });
    }
    Ok((equal, differences))
}

/// Returns the latency in nanoseconds, if this is the transaction of that response and of a query
/// at that time.
fn latency_of(transaction: &Value, response: &Message, id: u16, asked: i128) -> Option<i128> {
    let is_it = transaction["status"] == "answered"
        && transaction["id"].as_u64() == Some(id.into())
        && Some(text(&transaction["transport"])) == response.transport
        && text(&transaction["client_ip"]) == response.dst?.to_string()
        && transaction["client_port"].as_u64() == response.dst_port.map(Into::into)
        && moment(transaction["ts"].as_str()?).ok()? == asked;
    let milliseconds = transaction["latency_ms"].as_f64()?;
    // Nanoseconds below 104 days are exact in a double.
    #[expect(clippy::cast_possible_truncation, reason = "rounded, and far below the limit")]
    let nanoseconds = (milliseconds * 1e6).round() as i128;
    is_it.then_some(nanoseconds)
}
