//! Output of commands beside records: the result of a command on stdout, the balance of a run on stderr.

use crate::cli::exit::Exit;
use dnscribe_record::ledger::{Counters, Reasons};
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};

/// Writes the result of a command to stdout. A closed pipe is no error.
pub(super) fn print(text: &str) -> Result<(), Exit> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Exit::failed(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Formats the balance of a run as text.
pub(super) fn balance(counters: &Counters) -> String {
    let mut text = String::from("summary\n");
    // Writing to a String cannot fail.
    let _ = write_balance(&mut text, counters);
    text
}

fn write_balance(text: &mut String, counters: &Counters) -> std::fmt::Result {
    for (hook, kernel) in &counters.kernel {
        writeln!(
            text,
            "  kernel {hook:<8} seen {} = submitted {} + lost_ring_full {} + sampled_out {}{}",
            kernel.seen,
            kernel.submitted,
            kernel.lost_ring_full,
            kernel.sampled_out,
            reasons("skipped", &kernel.skipped),
        )?;
    }
    let ring = &counters.ring;
    writeln!(
        text,
        "  ring            submitted {} = received {} + in_ring {}; sequence_gaps {}",
        ring.submitted, ring.received, ring.in_ring, ring.sequence_gaps
    )?;
    let decode = &counters.decode;
    writeln!(
        text,
        "  decode          received {} = decoded_packets {} + held {}{}; messages {} = queries {} + responses {}",
        decode.received,
        decode.decoded_packets,
        decode.held,
        reasons("malformed", &decode.malformed),
        decode.messages,
        decode.queries,
        decode.responses
    )?;
    let (queries, responses) = (decode.icmp_about_queries, decode.icmp_about_responses);
    if queries + responses > 0 {
        writeln!(
            text,
            "                  icmp_about_queries {queries}, icmp_about_responses {responses}"
        )?;
    }
    let pairing = &counters.pairing;
    writeln!(
        text,
        "  pairing         queries {} = answered {} + timeout {} + icmp_error {} + evicted {} + open {} + retransmitted {}",
        pairing.queries,
        pairing.answered,
        pairing.timeout,
        pairing.icmp_error,
        pairing.evicted,
        pairing.open,
        pairing.retransmitted
    )?;
    write!(
        text,
        "                  responses {} = answered {} + late {} + duplicate {} + orphan {}",
        pairing.responses, pairing.answered, pairing.late, pairing.duplicate, pairing.orphan
    )?;
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
    if let Some(connections) = &counters.connections {
        writeln!(
            text,
            "  connections     found {} = closed {} + idle {} + reset {} + refused {} + timeout {} + handshake_failed {} + evicted {} + open {}",
            connections.connections,
            connections.closed,
            connections.idle,
            connections.reset,
            connections.refused,
            connections.timeout,
            connections.handshake_failed,
            connections.evicted,
            connections.open
        )?;
    }
    for (sink, streams) in &counters.delivery {
        for (stream, delivery) in streams.iter().filter(|(_, delivery)| delivery.records > 0) {
            writeln!(
                text,
                "  {sink:<8} {stream:<13} records {} = delivered {} + spooled {} + in_flight {} + filtered {}{}",
                delivery.records,
                delivery.delivered,
                delivery.spooled,
                delivery.in_flight,
                delivery.filtered,
                reasons("dropped", &delivery.dropped),
            )?;
        }
    }
    let imbalances = counters.imbalances();
    for imbalance in &imbalances {
        writeln!(text, "  {imbalance}")?;
    }
    let verdict = if imbalances.is_empty() { "every identity closes" } else { "NOT BALANCED" };
    writeln!(text, "  {verdict}")
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
