//! What other programs find in a capture: statements, and whether ours confirms them.
//!
//! Left out are nDPI's, which count packets, and dns-probe's Parquet file.

#[path = "peers/dnscap.rs"]
mod dnscap;
#[path = "peers/listed.rs"]
mod listed;
#[path = "peers/suricata.rs"]
mod suricata;
#[path = "peers/tcpdump.rs"]
mod tcpdump;
#[path = "peers/zeek.rs"]
mod zeek;

use super::fields::Difference;
use super::ours::{Ours, text};
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::fmt::Display;
use std::path::Path;

/// Statements compared so far.
#[derive(Debug, Default)]
struct Tally {
    equal: usize,
    differences: Vec<Difference>,
}

impl Tally {
    /// Compares what a peer says of something with what ours says.
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

/// The capture that a peer is asked about.
struct Subject<'a> {
    peer: &'a Path,
    /// `zeek`, the folder of its source.
    source: &'a str,
    /// `dns.pcap`, its file.
    file: &'a str,
    ours: &'a Ours,
}

/// Statements of other programs that ours confirms, and those that it does not.
pub fn compare(corpus: &Path, name: &str, ours: &Ours) -> Result<(usize, Vec<Difference>)> {
    let (source, file) = name.split_once('/').context("a capture without a source")?;
    let subject = Subject { peer: &corpus.join("peer"), source, file, ours };
    let mut tally = Tally::default();
    match source {
        "arkime" => listed::arkime(&subject, &mut tally)?,
        "compactor" => listed::compactor(&subject, &mut tally)?,
        "dnscap" => dnscap::compare(&subject, &mut tally)?,
        "nmsg" => listed::nmsg(&subject, &mut tally)?,
        "packetbeat" => listed::packetbeat(&subject, &mut tally)?,
        "pktvisor" => listed::pktvisor(&subject, &mut tally)?,
        "suricata-verify" => suricata::compare(&subject, &mut tally)?,
        "tcpdump" => tcpdump::compare(&subject, &mut tally)?,
        "zeek" => zeek::compare(&subject, &mut tally)?,
        _ => {}
    }
    Ok((tally.equal, tally.differences))
}

/// A list in a record; empty where it is left out.
fn list<'a>(record: &'a Value, name: &str) -> &'a [Value] {
    record[name].as_array().map_or(&[], Vec::as_slice)
}

/// Whether a flag is set in a record.
fn has_flag(record: &Value, flag: &str) -> bool {
    list(record, "flags").iter().any(|set| set == flag)
}

/// A name as written, with its last dot, the root being `.`.
fn absolute(name: &str) -> String {
    if name == "." { name.to_owned() } else { format!("{name}.") }
}

/// The question's name as it was written.
fn written_qname(message: &Value) -> String {
    let name = if message["qname_case"].is_string() { "qname_case" } else { "qname" };
    text(&message[name])
}
