//! dnscap's text output: a block per packet, of which those with a `dns` line hold a message.

use super::{Subject, Tally, absolute, has_flag, list, written_qname};
use crate::conformance::ours::text;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::fs;

/// Compares each block of every run of dnscap on this capture.
pub fn compare(subject: &Subject<'_>, tally: &mut Tally) -> Result<()> {
    for entry in fs::read_dir(subject.peer.join("dnscap"))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).context("no name")?;
        if name.starts_with(&format!("{}.", subject.file)) {
            for block in fs::read_to_string(&path)?.replace("\\\n", "").lines() {
                of_block(subject, tally, block)?;
            }
        }
    }
    Ok(())
}

fn of_block(subject: &Subject<'_>, tally: &mut Tally, block: &str) -> Result<()> {
    let Some((before, behind)) = block.split_once("dns ") else { return Ok(()) };
    let (ends, mut words) = (before.split_whitespace().rev(), behind.split_whitespace());
    let ends: Vec<(&str, &str)> = ends.take(2).filter_map(end).collect();
    let [(dst_ip, dst_port), (src_ip, src_port)] = ends[..] else { anyhow::bail!("{block}") };
    let mut header = words.next().context("no header")?.split(',');
    let [opcode, rcode, id, flags] = [(); 4].map(|()| header.next().unwrap_or_default());
    if id.is_empty() {
        // Not a header but why it cannot read it.
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
    let Some(message) = subject.ours.messages.iter().find(is_it) else {
        tally.check("dnscap message", format!("{wanted:?}"), "");
        return Ok(());
    };
    tally.check("dnscap opcode", opcode, text(&message["opcode"]));
    if qr == "response" {
        tally.check("dnscap rcode", rcode, text(&message["rcode"]));
    }
    for flag in ["aa", "tc", "rd", "ra", "ad", "cd"] {
        tally.check(
            "dnscap flag",
            flags.split('|').any(|set| set == flag),
            has_flag(message, flag),
        );
    }
    sections(tally, message, words)
}

/// `[172.17.0.6].58541`.
fn end(word: &str) -> Option<(&str, &str)> {
    word.strip_prefix('[')?.split_once("].")
}

/// Each section's count, and its records in one word each.
fn sections<'a>(
    tally: &mut Tally,
    message: &Value,
    mut words: impl Iterator<Item = &'a str>,
) -> Result<()> {
    for section in ["question_count", "answer_count", "authority_count", "additional_count"] {
        let count: usize = words.next().context("no count")?.parse()?;
        tally.check(&format!("dnscap {section}"), count, text(&message[section]));
        for place in 0..count {
            let record = words.next().context("no record")?;
            match section {
                // It writes a dot in a label as others do, but not all else.
                "question_count" if place == 0 && !record.contains('\\') => {
                    let name = absolute(&written_qname(message));
                    let ours =
                        format!("{name},{},{}", text(&message["qclass"]), text(&message["qtype"]));
                    tally.check("dnscap question", record, ours);
                }
                "answer_count" => answer(tally, record, &list(message, "answers")[place]),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Of the types that it writes as others do.
fn answer(tally: &mut Tally, record: &str, ours: &Value) {
    let rtype = text(&ours["type"]);
    let data = text(&ours["data"]);
    let data = match rtype.as_str() {
        "A" | "AAAA" => data,
        "NS" | "CNAME" | "PTR" => absolute(&data),
        _ => return,
    };
    let class = ours["class"].as_str().unwrap_or("IN");
    let name = absolute(&text(&ours["name"]));
    let ttl = text(&ours["ttl"]);
    tally.check("dnscap answer", record, format!("{name},{class},{rtype},{ttl},{data}"));
}
