//! Short expected results: those of Arkime, Packetbeat, pktvisor, nmsg and compactor.

use super::{ComparedCapture, Statements, absolute, list};
use crate::conformance::agent_records::text;
use crate::conformance::fields::moment;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::fs;

fn read(capture: &ComparedCapture<'_>, file: &str) -> Result<Option<Value>> {
    let path = capture.peer.join(capture.source).join(file);
    let whole: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
    Ok(whole["expected"].get(capture.file).cloned())
}

/// Compares the questions of Arkime's sessions. Its answer counts are left out, because they
/// include other sections.
pub fn arkime(capture: &ComparedCapture<'_>, statements: &mut Statements) -> Result<()> {
    let path = capture.peer.join(format!("arkime/{}.test.json", capture.file));
    let Ok(sessions) = fs::read_to_string(path) else { return Ok(()) };
    let sessions: Value = serde_json::from_str(&sessions)?;
    for session in list(&sessions, "sessions3") {
        let body = &session["body"];
        let ends = ["source", "destination"].map(|end| &body[end]);
        for question in list(body, "dns") {
            // Arkime shows names in Unicode only.
            if question["queryHost"].as_str().is_some_and(str::is_ascii) {
                arkime_question(capture, statements, ends, question);
            }
        }
    }
    Ok(())
}

fn arkime_question(
    capture: &ComparedCapture<'_>,
    statements: &mut Statements,
    ends: [&Value; 2],
    question: &Value,
) {
    // A session whose response was captured first has its endpoints swapped.
    let [one, other] = ends;
    let is_it = |actual: &&Value| {
        [(one, other), (other, one)].into_iter().any(|(client, server)| {
            actual["client_ip"] == client["ip"]
                && actual["client_port"] == client["port"]
                && actual["server_ip"] == server["ip"]
        }) && actual["qname"] == question["queryHost"]
            && actual["qtype"] == question["qt"]
            && actual["rcode"].is_null() == question["status"].is_null()
    };
    let Some(actual) = capture.actual.transactions.iter().find(is_it) else {
        return statements.check("arkime question", question, "");
    };
    statements.check("arkime opcode", text(&question["opcode"]), text(&actual["opcode"]));
    statements.check("arkime qc", text(&question["qc"]), text(&actual["qclass"]));
    if let Some(status) = question["status"].as_str() {
        statements.check(
            "arkime status",
            status.replace("NOTIMPL", "NOTIMP"),
            text(&actual["rcode"]),
        );
    }
}

/// Compares Packetbeat's transactions, from its tests. Its `ext_rcode` is left out: it is computed
/// from the flags of the OPT record.
pub fn packetbeat(capture: &ComparedCapture<'_>, statements: &mut Statements) -> Result<()> {
    let Some(expected) = read(capture, "expected.json")? else { return Ok(()) };
    statements.check("packetbeat records", &expected["records"], capture.actual.transactions.len());
    let actual = capture.actual.transactions.first().context("no transaction")?;
    let name = absolute(&text(&actual["qname"]));
    let query =
        format!("class {}, type {}, {name}", text(&actual["qclass"]), text(&actual["qtype"]));
    let status = if actual["rcode"] == "NOERROR" { "OK" } else { "Error" };
    let pairs = [
        ("transport", text(&actual["transport"])),
        ("query", query),
        ("status", status.to_owned()),
        ("response_code", text(&actual["rcode"])),
        ("answers", list(actual, "answers").len().to_string()),
        ("answers_count", text(&actual["answer_count"])),
        ("authorities_count", text(&actual["authority_count"])),
    ];
    for (name, found) in pairs {
        if !expected[name].is_null() {
            statements.check(&format!("packetbeat {name}"), text(&expected[name]), found);
        }
    }
    for name in ["do", "version", "udp_size"] {
        if !expected["opt"][name].is_null() {
            let what = format!("packetbeat opt.{name}");
            statements.check(&what, &expected["opt"][name], &actual["edns"][name]);
        }
    }
    Ok(())
}

/// Compares pktvisor's counters.
pub fn pktvisor(capture: &ComparedCapture<'_>, statements: &mut Statements) -> Result<()> {
    let Some(expected) = read(capture, "expected.json")? else { return Ok(()) };
    let messages = &capture.actual.messages;
    let count = |is_one: &dyn Fn(&Value) -> bool| messages.iter().filter(|one| is_one(one)).count();
    let pairs = [
        ("events", messages.len()),
        ("udp", count(&|one| one["transport"] == "udp")),
        ("tcp", count(&|one| one["transport"] == "tcp")),
        ("ipv4", count(&|one| text(&one["src_ip"]).contains('.'))),
        ("queries", count(&|one| one["qr"] == "query")),
        ("replies", count(&|one| one["qr"] == "response")),
    ];
    for (name, found) in pairs {
        if !expected[name].is_null() {
            statements.check(&format!("pktvisor {name}"), &expected[name], found);
        }
    }
    let ends = [("start", messages.first()), ("end", messages.last())];
    for (name, message) in ends {
        if let Some(expected) = expected[name].as_str() {
            let ts = text(&message.context("no message")?["ts"]);
            statements.check(&format!("pktvisor {name}"), moment(expected)?, moment(&ts)?);
        }
    }
    Ok(())
}

/// Compares nmsg's query-response pairs.
pub fn nmsg(capture: &ComparedCapture<'_>, statements: &mut Statements) -> Result<()> {
    let stem = capture.file.split('.').next().unwrap_or_default();
    let path = capture.peer.join(format!("nmsg/{stem}.json"));
    let Ok(lines) = fs::read_to_string(path) else { return Ok(()) };
    for line in lines.lines() {
        let pair: Value = serde_json::from_str(line)?;
        let message = &pair["message"];
        let actual =
            capture.actual.transactions.iter().find(|one| {
                one["id"] == message["id"] && one["client_port"] == message["query_port"]
            });
        let Some(actual) = actual else {
            statements.check("nmsg pair", &message["id"], "");
            continue;
        };
        let pairs = [
            ("query_ip", text(&actual["client_ip"])),
            ("response_ip", text(&actual["server_ip"])),
            ("proto", text(&actual["transport"]).to_uppercase()),
            ("response_port", text(&actual["server_port"])),
            ("qname", absolute(&text(&actual["qname"]))),
            ("qclass", text(&actual["qclass"])),
            ("qtype", text(&actual["qtype"])),
            ("rcode", text(&actual["rcode"])),
        ];
        for (name, found) in pairs {
            statements.check(&format!("nmsg {name}"), text(&message[name]), found);
        }
        let delay = message["delay"].as_f64().context("no delay")?;
        let latency = actual["latency_ms"].as_f64().unwrap_or_default();
        statements.check("nmsg delay", format!("{delay:.6}"), format!("{:.6}", latency / 1e3));
    }
    Ok(())
}

/// Compares compactor's message counters.
pub fn compactor(capture: &ComparedCapture<'_>, statements: &mut Statements) -> Result<()> {
    let stem = capture.file.split('.').next().unwrap_or_default();
    let path = capture.peer.join(format!("compactor/{stem}.info"));
    let Ok(info) = fs::read_to_string(path) else { return Ok(()) };
    let transactions = &capture.actual.transactions;
    let answered = transactions.iter().filter(|one| one["status"] == "answered").count();
    let orphans = transactions.iter().filter(|one| one["status"] == "orphan").count();
    let pairs = [
        ("Processed DNS messages", capture.actual.messages.len()),
        ("Matched DNS query/response pairs", answered),
        ("Unmatched DNS queries", transactions.len() - answered - orphans),
        ("Unmatched DNS responses", orphans),
        ("Malformed DNS messages", capture.actual.refused.len()),
    ];
    for (name, found) in pairs {
        let line = info.lines().find(|line| line.trim_start().starts_with(name));
        let count = line.and_then(|line| line.rsplit(' ').next()).context("no such counter")?;
        statements.check(&format!("compactor {name}"), count, found);
    }
    Ok(())
}
