//! Zeek's `dns.log`: one line per query and per additional response.

use super::{ComparedCapture, Statements, has_flag, list};
use crate::conformance::agent_records::text;
use anyhow::{Context as _, Result};
use dnscribe_dns::{class_name, rcode_name, type_name};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fs;

/// A line by field names; unset fields are left out.
type Row = HashMap<String, String>;

/// Fields that a query and its response have in common.
const KEY: [(&str, &str); 6] = [
    ("id.orig_h", "client_ip"),
    ("id.orig_p", "client_port"),
    ("id.resp_h", "server_ip"),
    ("id.resp_p", "server_port"),
    ("proto", "transport"),
    ("trans_id", "id"),
];

/// Compares the lines of every `dns.log` of the capture.
pub fn compare(capture: &ComparedCapture<'_>, statements: &mut Statements) -> Result<()> {
    let stem = capture.file.split('.').next().unwrap_or_default();
    let Ok(tests) = fs::read_dir(capture.peer.join("zeek").join(stem)) else { return Ok(()) };
    for test in tests {
        let Ok(log) = fs::read_to_string(test?.path().join("dns.log")) else { continue };
        let mut by_key: BTreeMap<Vec<String>, Vec<Row>> = BTreeMap::new();
        for row in rows(&log)? {
            let key = KEY.iter().map(|(name, _)| row.get(*name).cloned().unwrap_or_default());
            by_key.entry(key.collect()).or_default().push(row);
        }
        for (key, rows) in by_key {
            compare_key(capture, statements, &key, &rows)?;
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

/// Compares the lines with one id between two endpoints: one per query and per additional response.
fn compare_key(
    capture: &ComparedCapture<'_>,
    statements: &mut Statements,
    key: &[String],
    rows: &[Row],
) -> Result<()> {
    let actual: Vec<&Value> = capture
        .actual
        .transactions
        .iter()
        .filter(|one| KEY.iter().zip(key).all(|((_, name), value)| text(&one[*name]) == *value))
        .collect();
    let sent: u64 = actual
        .iter()
        .map(|one| if one["status"] == "duplicate" { 1 } else { 1 + number(one, "retries") })
        .sum();
    statements.check("zeek rows", rows.len(), sent);
    for row in rows {
        let status = if row.contains_key("rtt") { Some("answered") } else { None };
        let same = |one: &&&Value| {
            status.is_none_or(|status| one["status"] == status)
                && row
                    .get("query")
                    .is_none_or(|query| row["opcode"] == "5" || text(&one["qname"]) == *query)
        };
        let Some(transaction) = actual.iter().find(same) else {
            statements.check("zeek row", format!("{row:?}"), "");
            continue;
        };
        compare_row(statements, row, transaction)?;
    }
    Ok(())
}

fn compare_row(statements: &mut Statements, row: &Row, actual: &Value) -> Result<()> {
    // A line with a query that was answered, or with an additional response.
    if let Some(qtype) = row.get("qtype") {
        statements.check("zeek qtype", type_name(qtype.parse()?), text(&actual["qtype"]));
        statements.check(
            "zeek qclass",
            class_name(row["qclass"].parse()?),
            text(&actual["qclass"]),
        );
    }
    if let Some(original) = row.get("original_query") {
        statements.check("zeek original_query", original, text(&actual["qname_case"]));
    }
    if let Some(rcode) = row.get("rcode") {
        statements.check("zeek rcode", rcode_name(rcode.parse()?), text(&actual["rcode"]));
    }
    let Some(rtt) = row.get("rtt") else { return Ok(()) };
    let latency = actual["latency_ms"].as_f64().context("no latency")?;
    statements.check("zeek rtt", rtt, format!("{:.6}", latency / 1e3));
    for (name, flag) in [("AA", "aa"), ("TC", "tc"), ("RD", "rd"), ("RA", "ra")] {
        statements.check(
            &format!("zeek {name}"),
            &row[name],
            if has_flag(actual, flag) { "T" } else { "F" },
        );
    }
    if row["opcode"] == "0" {
        answers(statements, row, actual);
    }
    Ok(())
}

/// Compares the TTLs of all answers, and in lower case the data of types that Zeek writes like
/// other programs.
fn answers(statements: &mut Statements, row: &Row, actual: &Value) {
    let answers = list(actual, "answers");
    let seconds = |answer: &Value| format!("{}.000000", text(&answer["ttl"]));
    let ttls: Vec<String> = answers.iter().map(seconds).collect();
    statements.check("zeek TTLs", row.get("TTLs").map_or("", String::as_str), ttls.join(","));
    let theirs: Vec<&str> = row.get("answers").map_or("", String::as_str).split(',').collect();
    for (answer, theirs) in answers.iter().zip(theirs) {
        if ["A", "AAAA", "CNAME"].iter().any(|plain| answer["type"] == *plain) {
            statements.check("zeek answers", theirs, text(&answer["data"]).to_lowercase());
        }
    }
}

fn number(record: &Value, name: &str) -> u64 {
    record[name].as_u64().unwrap_or_default()
}
