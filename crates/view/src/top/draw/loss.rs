//! The page of losses: the ledger in words.

use super::{Scene, span};
use crate::top::column::Tone;
use crate::top::text::{clean, group};
use dnscribe_record::LedgerRecord;
use dnscribe_record::ledger::{Counters, Delivery, Kernel, Reasons};
use ratatui::text::Line;

/// A text with its tone.
type TonedText = (Tone, String);

pub(super) fn lines(scene: &Scene<'_>) -> Vec<Line<'static>> {
    let theme = scene.theme;
    let mut words = Vec::new();
    if scene.model.ledgers.is_empty() {
        words.push((Tone::Dim, "no ledger yet: one comes every few seconds".to_owned()));
    }
    for (node, ledger) in &scene.model.ledgers {
        of_node(node, ledger, &mut words);
    }
    let unreadable = &scene.model.unreadable;
    if unreadable.lines() > 0 {
        words.push((Tone::Warning, unreadable.to_string()));
    }
    if !scene.status.log.is_empty() {
        words.push((Tone::Plain, String::new()));
        words.push((Tone::Plain, "Log".to_owned()));
        words.extend(scene.status.log.iter().map(|line| (Tone::Dim, format!("  {line}"))));
    }
    let lines = words
        .into_iter()
        .map(|(tone, text)| Line::from(span(theme, tone, format!(" {}", theme.shown(&text)))));
    lines.collect()
}

fn of_node(node: &str, ledger: &LedgerRecord, words: &mut Vec<TonedText>) {
    let counters = &ledger.counters;
    let imbalances = counters.imbalances();
    let verdict = match imbalances.as_slice() {
        [] => (Tone::Plain, format!("Node {node}: every packet is accounted for")),
        some => (Tone::Bad, format!("Node {node}: {} IDENTITIES DO NOT CLOSE", some.len())),
    };
    words.push(verdict);
    words
        .extend(imbalances.iter().map(|one| (Tone::Bad, format!("  {}", clean(&one.to_string())))));
    for (hook, kernel) in &counters.kernel {
        of_kernel(&clean(hook), kernel, words);
    }
    of_packets(counters, words);
    of_pairing(counters, words);
    for (sink, streams) in &counters.delivery {
        for (stream, delivery) in streams.iter().filter(|(_, delivery)| delivery.records > 0) {
            let to = if sink == crate::top::SINK { "this view" } else { &*clean(sink) };
            of_delivery(&format!("{} to {to}", clean(stream)), delivery, words);
        }
    }
}

/// Formats a count with its description. `tone` is used where the count is not zero.
fn number(count: u64, what: &str, tone: Tone) -> TonedText {
    let tone = if count == 0 { Tone::Dim } else { tone };
    (tone, format!("  {:>15}  {what}", group(count)))
}

fn of_kernel(hook: &str, kernel: &Kernel, words: &mut Vec<TonedText>) {
    let (things, seen) = match hook {
        "connect" | "sock_ops" => ("Connections", "seen:"),
        "icmp" => ("ICMP errors", "seen:"),
        _ => ("Packets", "seen on the ports of DNS:"),
    };
    words.push((Tone::Plain, format!("{things} at hook {hook}")));
    words.push(number(kernel.seen, seen, Tone::Plain));
    words.push(number(kernel.submitted, "handed to the agent", Tone::Plain));
    words.push(number(kernel.lost_ring_full, "lost: the ring was full", Tone::Bad));
    words.push(number(kernel.sampled_out, "left out by sampling", Tone::Warning));
    reasons("skipped: ", &kernel.skipped, Tone::Dim, words);
    if kernel.clipped > 0 {
        words.push(number(kernel.clipped, "clipped: longer than the snap length", Tone::Warning));
    }
}

fn of_packets(counters: &Counters, words: &mut Vec<TonedText>) {
    let decode = &counters.decode;
    words.push((Tone::Plain, "Packets decoded".to_owned()));
    words.push(number(counters.ring.in_ring, "wait in the ring", Tone::Plain));
    words.push(number(decode.decoded_packets, "understood", Tone::Plain));
    words.push(number(decode.held, "held: parts of TCP streams and fragments", Tone::Plain));
    reasons("malformed, no DNS: ", &decode.malformed, Tone::Warning, words);
}

fn of_pairing(counters: &Counters, words: &mut Vec<TonedText>) {
    let pairing = &counters.pairing;
    words.push((Tone::Plain, "Queries".to_owned()));
    words.push(number(pairing.queries, "seen:", Tone::Plain));
    words.push(number(pairing.answered, "answered in time", Tone::Plain));
    words.push(number(pairing.timeout, "not answered in time", Tone::Warning));
    words.push(number(pairing.icmp_error, "turned away: ICMP unreachable", Tone::Warning));
    words.push(number(pairing.evicted, "evicted: too many waited", Tone::Bad));
    words.push(number(pairing.open, "wait for a response", Tone::Plain));
    words.push(number(pairing.retransmitted, "sent again, and counted as one", Tone::Plain));
    words.push((Tone::Plain, "Responses without a query of their own".to_owned()));
    words.push(number(pairing.late, "late: the query had timed out", Tone::Warning));
    words.push(number(pairing.duplicate, "duplicate: the query had been answered", Tone::Warning));
    words.push(number(pairing.orphan, "orphan: no query was seen", Tone::Warning));
}

fn of_delivery(title: &str, delivery: &Delivery, words: &mut Vec<TonedText>) {
    words.push((Tone::Plain, format!("Records: {title}")));
    words.push(number(delivery.delivered, "delivered", Tone::Plain));
    words.push(number(delivery.in_flight, "on their way", Tone::Plain));
    if delivery.spooled > 0 {
        words.push(number(delivery.spooled, "wait on disk", Tone::Warning));
    }
    if delivery.filtered > 0 {
        words.push(number(delivery.filtered, "filtered", Tone::Plain));
    }
    reasons("dropped: ", &delivery.dropped, Tone::Bad, words);
}

/// Adds a line for each reason with a count.
fn reasons(what: &str, reasons: &Reasons, tone: Tone, words: &mut Vec<TonedText>) {
    for (reason, count) in reasons.iter().filter(|(_, count)| **count > 0) {
        words.push(number(*count, &format!("{what}{}", describe_reason(reason)), tone));
    }
}

/// Returns a reason in words; an unknown one as it is.
fn describe_reason(reason: &str) -> String {
    let words = match reason {
        "tcp_no_payload" => "TCP segments without data",
        "loopback_copy" => "second sight of a packet on loopback",
        "tunnel_depth" => "too many tunnels or headers",
        "fragment_early" => "fragments before their first one",
        "encrypted_fragment" => "fragments of encrypted DNS",
        "queue_full" => "too slow, and the queue was full",
        "shutdown" => "not delivered before the end",
        "dns_header" => "not a DNS header",
        "dns_question" => "no whole question",
        "tcp_incomplete" => "TCP streams with holes",
        "fragment_incomplete" => "fragments without the others",
        other => return clean(&other.replace('_', " ")).into_owned(),
    };
    words.to_owned()
}
