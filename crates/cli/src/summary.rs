//! The balance of a run, for stderr.

use dnscribe_record::ledger::{Counters, DnstapSender, Probing, Reasons};
use std::fmt::Write as _;

/// Formats the balance of a run as text.
#[must_use]
pub fn balance(counters: &Counters) -> String {
    let mut text = String::from("summary\n");
    // Writing to a String cannot fail.
    let _ = write_balance(&mut text, counters);
    text
}

/// Formats counters of a struct as `name 1 + name 2`.
macro_rules! counts {
    ($counters:expr, $($name:ident),+) => {
        [$((stringify!($name), $counters.$name)),+]
            .map(|(name, count)| format!("{name} {count}"))
            .join(" + ")
    };
}

fn write_balance(text: &mut String, counters: &Counters) -> std::fmt::Result {
    match &counters.probing {
        Some(probing) => {
            let uses = counts!(probing, completed, running);
            let skipped = reasons("skipped", &probing.skipped);
            let Probing { rounds, late, records, .. } = probing;
            writeln!(
                text,
                "  rounds          due {rounds} = {uses}{skipped}; late {late}; records {records}"
            )?;
        }
        None => write_capture(text, counters)?,
    }
    for (sink, streams) in &counters.delivery {
        for (stream, delivery) in streams.iter().filter(|(_, delivery)| delivery.records > 0) {
            let uses = counts!(delivery, delivered, spooled, in_flight, filtered);
            let dropped = reasons("dropped", &delivery.dropped);
            let records = delivery.records;
            writeln!(text, "  {sink:<8} {stream:<13} records {records} = {uses}{dropped}")?;
        }
    }
    let imbalances = counters.imbalances();
    for imbalance in &imbalances {
        writeln!(text, "  {imbalance}")?;
    }
    let verdict = if imbalances.is_empty() { "every identity closes" } else { "NOT BALANCED" };
    writeln!(text, "  {verdict}")
}

/// Writes the counters of a capture.
fn write_capture(text: &mut String, counters: &Counters) -> std::fmt::Result {
    for (hook, kernel) in &counters.kernel {
        let uses = counts!(kernel, submitted, lost_ring_full, sampled_out);
        let skipped = reasons("skipped", &kernel.skipped);
        writeln!(text, "  kernel {hook:<8} seen {} = {uses}{skipped}", kernel.seen)?;
    }
    let Counters { ring, decode, pairing, .. } = counters;
    let uses = counts!(ring, received, in_ring);
    let (submitted, gaps) = (ring.submitted, ring.sequence_gaps);
    writeln!(text, "  ring            submitted {submitted} = {uses}; sequence_gaps {gaps}")?;
    writeln!(
        text,
        "  decode          received {} = {}{}; messages {} = {}",
        decode.received,
        counts!(decode, decoded_packets, held),
        reasons("malformed", &decode.malformed),
        decode.messages,
        counts!(decode, queries, responses)
    )?;
    let (queries, responses) = (decode.icmp_about_queries, decode.icmp_about_responses);
    if queries + responses > 0 {
        writeln!(
            text,
            "                  icmp_about_queries {queries}, icmp_about_responses {responses}"
        )?;
    }
    let ends = counts!(pairing, answered, timeout, icmp_error, evicted, open, retransmitted);
    writeln!(text, "  pairing         queries {} = {ends}", pairing.queries)?;
    let ends = counts!(pairing, answered, late, duplicate, orphan);
    write!(text, "                  responses {} = {ends}", pairing.responses)?;
    let more = [
        ("continued", pairing.continued),
        ("shared", pairing.shared),
        ("one_way", pairing.one_way),
    ];
    for (name, count) in more {
        if count > 0 {
            write!(text, "; {name} {count}")?;
        }
    }
    writeln!(text)?;
    if let Some(found) = &counters.seen_by {
        let both = counts!(found, both, socket, dnstap);
        let merged = reasons("merged", &found.merged);
        writeln!(
            text,
            "  seen_by         records of {both}; without a record{}",
            merged.replace(" +", ":")
        )?;
    }
    for sender in counters.senders.iter().flatten() {
        let frames = counts!(sender, decoded, malformed, in_ring, lost_ring_full);
        let ends = counts!(sender, closed, cut_off, refused, open);
        let DnstapSender { name, received, connections, .. } = sender;
        writeln!(
            text,
            "  sender          {name}: received {received} = {frames}; connections {connections} = {ends}"
        )?;
    }
    if let Some(found) = &counters.connections {
        let ends =
            counts!(found, closed, idle, reset, refused, timeout, handshake_failed, evicted, open);
        writeln!(text, "  connections     found {} = {ends}", found.connections)?;
    }
    if let Some(found) = &counters.uses {
        let ends = counts!(found, matched, ambiguous, none, lost);
        writeln!(text, "  uses            connects {} = {ends}", found.connects)?;
    }
    Ok(())
}

/// Formats counters by reason as ` + name 3 (reason 2, other 1)`, without zeros.
fn reasons(name: &str, reasons: &Reasons) -> String {
    let sum: u64 = reasons.values().sum();
    let parts: Vec<String> = reasons
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    if parts.is_empty() {
        format!(" + {name} 0")
    } else {
        format!(" + {name} {sum} ({})", parts.join(", "))
    }
}
