//! dnscap's text output: one block per packet. Blocks with a `dns` line hold a message.

use super::{ComparedCapture, Statements, absolute, has_flag, list, written_qname};
use crate::conformance::agent_records::text;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::fs;

/// Compares each block of every dnscap output for this capture.
pub fn compare(capture: &ComparedCapture<'_>, statements: &mut Statements) -> Result<()> {
    for entry in fs::read_dir(capture.peer.join("dnscap"))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).context("no name")?;
        if name.starts_with(&format!("{}.", capture.file)) {
            for block in fs::read_to_string(&path)?.replace("\\\n", "").lines() {
                compare_block(capture, statements, block)?;
            }
        }
    }
    Ok(())
}

fn compare_block(
    capture: &ComparedCapture<'_>,
    statements: &mut Statements,
    block: &str,
) -> Result<()> {
    let Some((before, behind)) = block.split_once("dns ") else { return Ok(()) };
    let (ends, mut words) = (before.split_whitespace().rev(), behind.split_whitespace());
    let ends: Vec<(&str, &str)> = ends.take(2).filter_map(end).collect();
    let [(dst_ip, dst_port), (src_ip, src_port)] = ends[..] else { anyhow::bail!("{block}") };
    let mut header = words.next().context("no header")?.split(',');
    let [opcode, rcode, id, flags] = [(); 4].map(|()| header.next().unwrap_or_default());
    if id.is_empty() {
        // The reason why dnscap cannot read the message, in place of a header.
        return Ok(());
    }
    let qr = if flags.contains("qr") { "response" } else { "query" };
    let wanted = [
        ("src_ip", src_ip),
        ("src_port", src_port),
        ("dst_ip", dst_ip),
        ("dst_port", dst_port),
        ("id", id),
        ("qr", qr),
    ];
    let is_it =
        |message: &&Value| wanted.iter().all(|(name, value)| text(&message[*name]) == *value);
    let Some(message) = capture.actual.messages.iter().find(is_it) else {
        statements.check("dnscap message", format!("{wanted:?}"), "");
        return Ok(());
    };
    statements.check("dnscap opcode", opcode, text(&message["opcode"]));
    if qr == "response" {
        statements.check("dnscap rcode", rcode, text(&message["rcode"]));
    }
    for flag in ["aa", "tc", "rd", "ra", "ad", "cd"] {
        statements.check(
            "dnscap flag",
            flags.split('|').any(|set| set == flag),
            has_flag(message, flag),
        );
    }
    sections(statements, message, words)
}

/// Parses an endpoint such as `[172.17.0.6].58541`.
fn end(word: &str) -> Option<(&str, &str)> {
    word.strip_prefix('[')?.split_once("].")
}

/// Returns the count of each section and its records, one word each.
fn sections<'a>(
    statements: &mut Statements,
    message: &Value,
    mut words: impl Iterator<Item = &'a str>,
) -> Result<()> {
    for section in ["question_count", "answer_count", "authority_count", "additional_count"] {
        let count: usize = words.next().context("no count")?.parse()?;
        statements.check(&format!("dnscap {section}"), count, text(&message[section]));
        for place in 0..count {
            let record = words.next().context("no record")?;
            match section {
                // dnscap escapes a dot in a label like others, but not every other character.
                "question_count" if place == 0 && !record.contains('\\') => {
                    let name = absolute(&written_qname(message));
                    let actual =
                        format!("{name},{},{}", text(&message["qclass"]), text(&message["qtype"]));
                    statements.check("dnscap question", record, actual);
                }
                "answer_count" => answer(statements, record, &list(message, "answers")[place]),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Compares an answer, if dnscap writes its type like other programs.
fn answer(statements: &mut Statements, record: &str, actual: &Value) {
    let rtype = text(&actual["type"]);
    let data = text(&actual["data"]);
    let data = match rtype.as_str() {
        "A" | "AAAA" => data,
        "NS" | "CNAME" | "PTR" => absolute(&data),
        _ => return,
    };
    let class = actual["class"].as_str().unwrap_or("IN");
    let name = absolute(&text(&actual["name"]));
    let ttl = text(&actual["ttl"]);
    statements.check("dnscap answer", record, format!("{name},{class},{rtype},{ttl},{data}"));
}
