//! Results of other programs for a capture, each checked as a statement against the agent's
//! records.
//!
//! Not used: nDPI's results, which count packets, and dns-probe's Parquet file.

#[path = "peers/dnscap.rs"]
mod dnscap;
#[path = "peers/short_results.rs"]
mod short_results;
#[path = "peers/suricata.rs"]
mod suricata;
#[path = "peers/tcpdump.rs"]
mod tcpdump;
#[path = "peers/zeek.rs"]
mod zeek;

use super::agent_records::{AgentRecords, text};
use super::fields::Difference;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::fmt::Display;
use std::path::Path;

/// Statements compared so far.
#[derive(Debug, Default)]
struct Statements {
    equal: usize,
    differences: Vec<Difference>,
}

impl Statements {
    /// Compares a value of the other program with the agent's.
    fn check(&mut self, what: &str, expected: impl Display, found: impl Display) {
        let (expected, found) = (expected.to_string(), found.to_string());
        if expected == found {
            self.equal += 1;
        } else {
            let field = what.to_owned();
            self.differences.push(Difference { frame: 0, field, expected, found });
        }
    }
}

/// The capture to compare.
struct ComparedCapture<'a> {
    peer: &'a Path,
    /// Folder of the capture's source, such as `zeek`.
    source: &'a str,
    /// File of the capture, such as `dns.pcap`.
    file: &'a str,
    actual: &'a AgentRecords,
}

/// Returns the number of confirmed statements of other programs, and the differences.
pub fn compare(
    corpus: &Path,
    name: &str,
    actual: &AgentRecords,
) -> Result<(usize, Vec<Difference>)> {
    let (source, file) = name.split_once('/').context("a capture without a source")?;
    let capture = ComparedCapture { peer: &corpus.join("peer"), source, file, actual };
    let mut statements = Statements::default();
    match source {
        "arkime" => short_results::arkime(&capture, &mut statements)?,
        "compactor" => short_results::compactor(&capture, &mut statements)?,
        "dnscap" => dnscap::compare(&capture, &mut statements)?,
        "nmsg" => short_results::nmsg(&capture, &mut statements)?,
        "packetbeat" => short_results::packetbeat(&capture, &mut statements)?,
        "pktvisor" => short_results::pktvisor(&capture, &mut statements)?,
        "suricata-verify" => suricata::compare(&capture, &mut statements)?,
        "tcpdump" => tcpdump::compare(&capture, &mut statements)?,
        "zeek" => zeek::compare(&capture, &mut statements)?,
        _ => {}
    }
    Ok((statements.equal, statements.differences))
}

/// Returns a list in a record; empty if it is absent.
fn list<'a>(record: &'a Value, name: &str) -> &'a [Value] {
    record[name].as_array().map_or(&[], Vec::as_slice)
}

/// Returns whether a record has a flag.
fn has_flag(record: &Value, flag: &str) -> bool {
    list(record, "flags").iter().any(|set| set == flag)
}

/// Returns a name with its final dot; the root is `.`.
fn absolute(name: &str) -> String {
    if name == "." { name.to_owned() } else { format!("{name}.") }
}

/// Returns the question's name in its original letter case.
fn written_qname(message: &Value) -> String {
    let name = if message["qname_case"].is_string() { "qname_case" } else { "qname" };
    text(&message[name])
}
