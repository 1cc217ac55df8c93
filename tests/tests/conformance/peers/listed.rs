//! Expected results that are few: Arkime's, Packetbeat's, pktvisor's, nmsg's, compactor's.

use super::{Subject, Tally, absolute, list};
use crate::conformance::fields::moment;
use crate::conformance::ours::text;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::fs;

fn read(subject: &Subject<'_>, file: &str) -> Result<Option<Value>> {
    let path = subject.peer.join(subject.source).join(file);
    let whole: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
    Ok(whole["expected"].get(subject.file).cloned())
}

/// What its sessions say of the questions in them. Its counts of answers are left out: they take in
/// other sections.
pub fn arkime(subject: &Subject<'_>, tally: &mut Tally) -> Result<()> {
    let path = subject.peer.join(format!("arkime/{}.test.json", subject.file));
    let Ok(sessions) = fs::read_to_string(path) else { return Ok(()) };
    let sessions: Value = serde_json::from_str(&sessions)?;
    for session in list(&sessions, "sessions3") {
        let body = &session["body"];
        let ends = ["source", "destination"].map(|end| &body[end]);
        for question in list(body, "dns") {
            // It shows names in Unicode only.
            if question["queryHost"].as_str().is_some_and(str::is_ascii) {
                arkime_question(subject, tally, ends, question);
            }
        }
    }
    Ok(())
}

fn arkime_question(subject: &Subject<'_>, tally: &mut Tally, ends: [&Value; 2], question: &Value) {
    // A session whose response was seen first has its ends the other way round.
    let [one, other] = ends;
    let is_it = |ours: &&Value| {
        [(one, other), (other, one)].into_iter().any(|(client, server)| {
            ours["client_ip"] == client["ip"]
                && ours["client_port"] == client["port"]
                && ours["server_ip"] == server["ip"]
        }) && ours["qname"] == question["queryHost"]
            && ours["qtype"] == question["qt"]
            && ours["rcode"].is_null() == question["status"].is_null()
    };
    let Some(ours) = subject.ours.transactions.iter().find(is_it) else {
        return tally.check("arkime question", question, "");
    };
    tally.check("arkime opcode", text(&question["opcode"]), text(&ours["opcode"]));
    tally.check("arkime qc", text(&question["qc"]), text(&ours["qclass"]));
    if let Some(status) = question["status"].as_str() {
        tally.check("arkime status", status.replace("NOTIMPL", "NOTIMP"), text(&ours["rcode"]));
    }
}

/// Its transactions, as its tests expect them. Its `ext_rcode` is left out: it reads the OPT
/// record's flags for it.
pub fn packetbeat(subject: &Subject<'_>, tally: &mut Tally) -> Result<()> {
    let Some(expected) = read(subject, "expected.json")? else { return Ok(()) };
    tally.check("packetbeat records", &expected["records"], subject.ours.transactions.len());
    let ours = subject.ours.transactions.first().context("no transaction")?;
    let name = absolute(&text(&ours["qname"]));
    let query = format!("class {}, type {}, {name}", text(&ours["qclass"]), text(&ours["qtype"]));
    let status = if ours["rcode"] == "NOERROR" { "OK" } else { "Error" };
    let pairs = [
        ("transport", text(&ours["transport"])),
        ("query", query),
        ("status", status.to_owned()),
        ("response_code", text(&ours["rcode"])),
        ("answers", list(ours, "answers").len().to_string()),
        ("answers_count", text(&ours["answer_count"])),
        ("authorities_count", text(&ours["authority_count"])),
    ];
    for (name, found) in pairs {
        if !expected[name].is_null() {
            tally.check(&format!("packetbeat {name}"), text(&expected[name]), found);
        }
    }
    for name in ["do", "version", "udp_size"] {
        if !expected["opt"][name].is_null() {
            let what = format!("packetbeat opt.{name}");
            tally.check(&what, &expected["opt"][name], &ours["edns"][name]);
        }
    }
    Ok(())
}

/// Its counters.
pub fn pktvisor(subject: &Subject<'_>, tally: &mut Tally) -> Result<()> {
    let Some(expected) = read(subject, "expected.json")? else { return Ok(()) };
    let messages = &subject.ours.messages;
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
            tally.check(&format!("pktvisor {name}"), &expected[name], found);
        }
    }
    let ends = [("start", messages.first()), ("end", messages.last())];
    for (name, message) in ends {
        if let Some(expected) = expected[name].as_str() {
            let ts = text(&message.context("no message")?["ts"]);
            tally.check(&format!("pktvisor {name}"), moment(expected)?, moment(&ts)?);
        }
    }
    Ok(())
}

/// Its query-response pairs.
pub fn nmsg(subject: &Subject<'_>, tally: &mut Tally) -> Result<()> {
    let stem = subject.file.split('.').next().unwrap_or_default();
    let path = subject.peer.join(format!("nmsg/{stem}.json"));
    let Ok(lines) = fs::read_to_string(path) else { return Ok(()) };
    for line in lines.lines() {
        let pair: Value = serde_json::from_str(line)?;
        let message = &pair["message"];
        let ours =
            subject.ours.transactions.iter().find(|one| {
                one["id"] == message["id"] && one["client_port"] == message["query_port"]
            });
        let Some(ours) = ours else {
            tally.check("nmsg pair", &message["id"], "");
            continue;
        };
        let pairs = [
            ("query_ip", text(&ours["client_ip"])),
            ("response_ip", text(&ours["server_ip"])),
            ("proto", text(&ours["transport"]).to_uppercase()),
            ("response_port", text(&ours["server_port"])),
            ("qname", absolute(&text(&ours["qname"]))),
            ("qclass", text(&ours["qclass"])),
            ("qtype", text(&ours["qtype"])),
            ("rcode", text(&ours["rcode"])),
        ];
        for (name, found) in pairs {
            tally.check(&format!("nmsg {name}"), text(&message[name]), found);
        }
        let delay = message["delay"].as_f64().context("no delay")?;
        let latency = ours["latency_ms"].as_f64().unwrap_or_default();
        tally.check("nmsg delay", format!("{delay:.6}"), format!("{:.6}", latency / 1e3));
    }
    Ok(())
}

/// Its counters of messages.
pub fn compactor(subject: &Subject<'_>, tally: &mut Tally) -> Result<()> {
    let stem = subject.file.split('.').next().unwrap_or_default();
    let path = subject.peer.join(format!("compactor/{stem}.info"));
    let Ok(info) = fs::read_to_string(path) else { return Ok(()) };
    let transactions = &subject.ours.transactions;
    let answered = transactions.iter().filter(|one| one["status"] == "answered").count();
    let orphans = transactions.iter().filter(|one| one["status"] == "orphan").count();
    let pairs = [
        ("Processed DNS messages", subject.ours.messages.len()),
        ("Matched DNS query/response pairs", answered),
        ("Unmatched DNS queries", transactions.len() - answered - orphans),
        ("Unmatched DNS responses", orphans),
        ("Malformed DNS messages", subject.ours.refused.len()),
    ];
    for (name, found) in pairs {
        let line = info.lines().find(|line| line.trim_start().starts_with(name));
        let count = line.and_then(|line| line.rsplit(' ').next()).context("no such counter")?;
        tally.check(&format!("compactor {name}"), count, found);
    }
    Ok(())
}
