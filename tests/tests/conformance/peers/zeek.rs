//! Zeek's `dns.log`: one line for each query sent and each further response.

use super::{Subject, Tally, has_flag, list};
use crate::conformance::ours::text;
use anyhow::{Context as _, Result};
use dnscribe_dns::{class_name, rcode_name, type_name};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fs;

/// A line by the names of its fields; what is unset is left out.
type Row = HashMap<String, String>;

/// What a query and its response have in common.
const KEY: [(&str, &str); 6] = [
    ("id.orig_h", "client_ip"),
    ("id.orig_p", "client_port"),
    ("id.resp_h", "server_ip"),
    ("id.resp_p", "server_port"),
    ("proto", "transport"),
    ("trans_id", "id"),
];

/// Compares the lines of every `dns.log` of the capture.
pub fn compare(subject: &Subject<'_>, tally: &mut Tally) -> Result<()> {
    let stem = subject.file.split('.').next().unwrap_or_default();
    let Ok(tests) = fs::read_dir(subject.peer.join("zeek").join(stem)) else { return Ok(()) };
    for test in tests {
        let Ok(log) = fs::read_to_string(test?.path().join("dns.log")) else { continue };
        let mut by_key: BTreeMap<Vec<String>, Vec<Row>> = BTreeMap::new();
        for row in rows(&log)? {
            let key = KEY.iter().map(|(name, _)| row.get(*name).cloned().unwrap_or_default());
            by_key.entry(key.collect()).or_default().push(row);
        }
        for (key, rows) in by_key {
            of_key(subject, tally, &key, &rows)?;
        }
    }
    Ok(())
}

fn rows(log: &str) -> Result<Vec<Row>> {
    let names = log.lines().find_map(|line| line.strip_prefix("#fields\t")).context("no fields")?;
    let names: Vec<&str> = names.split('\t').collect();
    let lines = log.lines().filter(|line| !line.starts_with('#'));
    Ok(lines
        .map(|line| {
            let values = names.iter().zip(line.split('\t'));
            values
                .filter(|(_, value)| *value != "-")
                .map(|(name, value)| ((*name).to_owned(), value.to_owned()))
                .collect()
        })
        .collect())
}

/// The lines of one id between two ends: as many as there were queries and further responses.
fn of_key(subject: &Subject<'_>, tally: &mut Tally, key: &[String], rows: &[Row]) -> Result<()> {
    let ours: Vec<&Value> = subject
        .ours
        .transactions
        .iter()
        .filter(|one| KEY.iter().zip(key).all(|((_, name), value)| text(&one[*name]) == *value))
        .collect();
    let sent: u64 = ours
        .iter()
        .map(|one| if one["status"] == "duplicate" { 1 } else { 1 + number(one, "retries") })
        .sum();
    tally.check("zeek rows", rows.len(), sent);
    for row in rows {
        let status = if row.contains_key("rtt") { Some("answered") } else { None };
        let same = |one: &&&Value| {
            status.is_none_or(|status| one["status"] == status)
                && row
                    .get("query")
                    .is_none_or(|query| row["opcode"] == "5" || text(&one["qname"]) == *query)
        };
        let Some(transaction) = ours.iter().find(same) else {
            tally.check("zeek row", format!("{row:?}"), "");
            continue;
        };
        of_row(tally, row, transaction)?;
    }
    Ok(())
}

fn of_row(tally: &mut Tally, row: &Row, ours: &Value) -> Result<()> {
    // Of a query that was answered, or of a further response.
    if let Some(qtype) = row.get("qtype") {
        tally.check("zeek qtype", type_name(qtype.parse()?), text(&ours["qtype"]));
        tally.check("zeek qclass", class_name(row["qclass"].parse()?), text(&ours["qclass"]));
    }
    if let Some(original) = row.get("original_query") {
        tally.check("zeek original_query", original, text(&ours["qname_case"]));
    }
    if let Some(rcode) = row.get("rcode") {
        tally.check("zeek rcode", rcode_name(rcode.parse()?), text(&ours["rcode"]));
    }
    let Some(rtt) = row.get("rtt") else { return Ok(()) };
    let latency = ours["latency_ms"].as_f64().context("no latency")?;
    tally.check("zeek rtt", rtt, format!("{:.6}", latency / 1e3));
    for (name, flag) in [("AA", "aa"), ("TC", "tc"), ("RD", "rd"), ("RA", "ra")] {
        tally.check(
            &format!("zeek {name}"),
            &row[name],
            if has_flag(ours, flag) { "T" } else { "F" },
        );
    }
    if row["opcode"] == "0" {
        answers(tally, row, ours);
    }
    Ok(())
}

/// TTLs of all answers, data of those that Zeek writes as others do, but in lower case.
fn answers(tally: &mut Tally, row: &Row, ours: &Value) {
    let answers = list(ours, "answers");
    let seconds = |answer: &Value| format!("{}.000000", text(&answer["ttl"]));
    let ttls: Vec<String> = answers.iter().map(seconds).collect();
    tally.check("zeek TTLs", row.get("TTLs").map_or("", String::as_str), ttls.join(","));
    let theirs: Vec<&str> = row.get("answers").map_or("", String::as_str).split(',').collect();
    for (answer, theirs) in answers.iter().zip(theirs) {
        if ["A", "AAAA", "CNAME"].iter().any(|plain| answer["type"] == *plain) {
            tally.check("zeek answers", theirs, text(&answer["data"]).to_lowercase());
        }
    }
}

fn number(record: &Value, name: &str) -> u64 {
    record[name].as_u64().unwrap_or_default()
}
