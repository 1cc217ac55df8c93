mod floods;
mod histories;
mod model;
mod multicast;

use super::established_pairs::EstablishedPairs;
use super::key::Endpoints;
use super::pairer::TransactionSink;
use super::table::{EntryRef, Table};
use super::*;
use crate::decode::testing::{Draft, DraftDns, DraftQuestion};
use crate::decode::{Envelope, MessageId, Unreachable};
use crate::packet::net::UnreachableReason;
use crate::packet::{PacketId, Transport};
use dnscribe_dns::{Answer, Flags};
use dnscribe_record::ledger;
use dnscribe_record::time::Timestamp;
use proptest::prelude::*;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

fn at(ms: u64) -> Timestamp {
    Timestamp::from_nanos(1_000_000_000_000 + ms * 1_000_000)
}

fn client(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn server() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 53], 53))
}

fn message(ms: u64, id: u16, qname: Option<&str>, response: bool) -> Draft {
    let (src, dst) = if response { (server(), client(4000)) } else { (client(4000), server()) };
    let question = qname.map(|qname| DraftQuestion { qname: qname.into(), qtype: 1, qclass: 1 });
    Draft {
        envelope: Envelope {
            id: MessageId { packet: PacketId { cpu: 0, seq: ms }, index: 0 },
            ts: at(ms),
            scope: 0,
            direction: Direction::Passive,
            task: None,
            cgroup_id: 0,
            transport: Transport::Udp,
            src,
            dst,
            report: None,
            seen_by: None,
        },
        dns: DraftDns {
            id,
            flags: Flags(if response { 0x8000 } else { 0 }),
            question,
            ..DraftDns::default()
        },
        wire_bytes: 30,
    }
}

fn query(ms: u64, id: u16, qname: &str) -> Draft {
    message(ms, id, Some(qname), false)
}

fn response(ms: u64, id: u16, qname: &str) -> Draft {
    message(ms, id, Some(qname), true)
}

/// Passes a message to a pairer.
fn observe(pairer: &mut Pairer, message: &Draft, each: TransactionSink<'_>) -> bool {
    pairer.observe(&message.to_message().message(), each)
}

/// Runs messages through a pairer. Returns status, latency in ms, retries and conflict of each
/// transaction.
fn run(
    pairer: &mut Pairer,
    messages: impl IntoIterator<Item = Draft>,
) -> Vec<(Status, Option<u128>, u32, bool)> {
    let mut outcomes = Vec::new();
    for message in messages {
        observe(pairer, &message, &mut |t| {
            outcomes.push((t.status, t.latency().map(|l| l.as_millis()), t.retries, t.conflict));
        });
    }
    outcomes
}

fn balanced(c: &ledger::Pairing) -> bool {
    c.queries == c.answered + c.timeout + c.icmp_error + c.evicted + c.open + c.retransmitted
        && c.responses == c.answered + c.late + c.duplicate + c.orphan
}

#[test]
fn response_in_time_answers_query() {
    let mut pairer = Pairer::new(PairOptions::default());
    let outcomes = run(&mut pairer, vec![query(0, 7, "a.test"), response(12, 7, "a.test")]);
    assert_eq!(outcomes, [(Status::Answered, Some(12), 0, false)]);
}

/// An answer that is as fast as possible is another thing than one whose time is not known.
#[test]
fn response_before_its_query_has_no_latency() {
    let mut pairer = Pairer::new(PairOptions::default());
    let messages = [query(500, 7, "a.test"), response(12, 7, "a.test"), query(600, 8, "b.test")];
    let outcomes = run(&mut pairer, messages.into_iter().chain([response(600, 8, "b.test")]));
    let expected = [None, Some(0)].map(|latency| (Status::Answered, latency, 0, false));
    assert_eq!(outcomes, expected);
}

#[test]
fn one_way_message_starts_no_transaction() {
    let mut pairer = Pairer::new(PairOptions::default());
    let mut keepalive = query(0, 0, ".");
    keepalive.dns.question = None;
    keepalive.dns.flags = Flags(6 << 11);
    let mut subscribe = keepalive.clone();
    subscribe.dns.id = 1;
    assert_eq!(run(&mut pairer, vec![keepalive, subscribe]), []);
    let counters = pairer.counters();
    assert!(balanced(&counters));
    assert_eq!((counters.one_way, counters.queries, counters.open), (1, 1, 1));
}

#[test]
fn queries_to_unwatched_ports_stay_open() {
    let mut pairer = Pairer::new(PairOptions::default());
    let mut other = query(1, 8, "b.test");
    other.envelope.dst.set_port(5300);
    assert_eq!(run(&mut pairer, vec![query(0, 7, "a.test"), other]), []);
    let mut outcomes = Vec::new();
    let mut emit =
        |t: &Transaction<'_>| outcomes.push((t.status, t.query.map(|query| query.dns.id)));
    pairer.drop_unwatched_ports(|port| port == 5300, at(2), &mut emit);
    assert_eq!(outcomes, [(Status::Open, Some(7))]);
    assert_eq!((pairer.counters().open, pairer.counters().queries), (2, 2));
    // The first query is gone; the other is unchanged.
    let mut emit = |t: &Transaction<'_>| assert_eq!(t.status, Status::Timeout);
    pairer.expire(at(60_000), &mut emit);
    let counters = pairer.counters();
    assert!(balanced(&counters));
    assert_eq!((counters.open, counters.timeout), (1, 1));
    assert_eq!(run(&mut pairer, vec![query(60_001, 7, "a.test")]), [], "the id may be reused");
    assert_eq!(pairer.counters().open, 2);
}

#[test]
fn retransmissions_count_as_retries_of_first_query() {
    let mut pairer = Pairer::new(PairOptions::default());
    let messages =
        vec![query(0, 7, "a.test"), query(1000, 7, "a.test"), response(1500, 7, "a.test")];
    assert_eq!(run(&mut pairer, messages), [(Status::Answered, Some(1500), 1, false)]);
    assert_eq!(pairer.counters().retransmitted, 1);
}

#[test]
fn response_is_late_by_packet_time() {
    let mut pairer = Pairer::new(PairOptions::default());
    let messages =
        vec![query(0, 7, "a.test"), response(5001, 7, "a.test"), response(5002, 7, "a.test")];
    let outcomes = run(&mut pairer, messages);
    let statuses: Vec<_> = outcomes.iter().map(|outcome| outcome.0).collect();
    assert_eq!(statuses, [Status::Timeout, Status::Late, Status::Late]);
    assert_eq!(outcomes[1].1, Some(5001));
    let at_the_limit = vec![query(9000, 8, "a.test"), response(14_000, 8, "a.test")];
    assert_eq!(run(&mut pairer, at_the_limit), [(Status::Answered, Some(5000), 0, false)]);
}

/// A capture may have no packet in between.
#[test]
fn response_is_late_for_a_minute_whatever_else_is_captured() {
    for between in [None, Some(5500), Some(30_000)] {
        let others = || between.map(|ms| query(ms, 8, "b.test"));
        for (ms, status) in [(65_000, Status::Late), (65_100, Status::Orphan)] {
            let mut pairer = Pairer::new(PairOptions::default());
            let messages = [query(0, 7, "a.test")].into_iter().chain(others());
            let last = response(ms, 7, "a.test");
            let outcomes = run(&mut pairer, messages.chain([last]));
            assert_eq!(outcomes.last().unwrap().0, status, "{between:?} {ms}");
            assert_eq!(outcomes[0].0, Status::Timeout);
        }
    }
}

#[test]
fn query_repeated_after_timeout_starts_transaction() {
    let mut pairer = Pairer::new(PairOptions::default());
    let messages =
        vec![query(0, 7, "a.test"), query(5001, 7, "a.test"), response(5002, 7, "a.test")];
    let outcomes = run(&mut pairer, messages);
    assert_eq!(
        outcomes,
        [(Status::Timeout, None, 0, false), (Status::Answered, Some(1), 0, false)]
    );
}

#[test]
fn further_responses_are_duplicates() {
    let mut pairer = Pairer::new(PairOptions::default());
    let mut other = response(3, 7, "a.test");
    let data = "192.0.2.66";
    other.dns.answers.push(&Answer { name: "a.test", rtype: 1, class: 1, ttl_seconds: 1, data });
    let messages =
        vec![query(0, 7, "a.test"), response(1, 7, "a.test"), response(2, 7, "a.test"), other];
    assert_eq!(
        run(&mut pairer, messages)[1..],
        [(Status::Duplicate, Some(2), 0, false), (Status::Duplicate, Some(3), 0, true)]
    );
}

#[test]
fn response_without_question_matches() {
    let mut pairer = Pairer::new(PairOptions::default());
    let messages = vec![query(0, 7, "a.test"), response(1, 7, "b.test"), message(2, 7, None, true)];
    let statuses: Vec<_> = run(&mut pairer, messages).iter().map(|outcome| outcome.0).collect();
    assert_eq!(statuses, [Status::Orphan, Status::Answered]);
}

#[test]
fn full_table_evicts_oldest() {
    let options = PairOptions { max_transactions: 2, ..PairOptions::default() };
    let mut pairer = Pairer::new(options);
    let messages =
        vec![query(0, 1, "a"), query(100, 2, "a"), query(200, 3, "a"), response(201, 1, "a")];
    let mut outcomes = Vec::new();
    for message in messages {
        observe(&mut pairer, &message, &mut |t| {
            outcomes.push((t.status, t.query.map(|q| q.dns.id)));
        });
    }
    assert_eq!(outcomes, [(Status::Evicted, Some(1)), (Status::Late, Some(1))]);
    assert!(balanced(&pairer.counters()));
}

#[test]
fn full_table_causes_no_timeouts() {
    let options = PairOptions { max_transactions: 2, ..PairOptions::default() };
    let mut pairer = Pairer::new(options);
    run(&mut pairer, (1..=9).map(|id| query(0, id, "a")));
    let counters = pairer.counters();
    assert_eq!((counters.evicted, counters.timeout, counters.open), (7, 0, 2));
}

#[test]
fn icmp_error_ends_quoted_or_oldest_query() {
    let mut pairer = Pairer::new(PairOptions::default());
    run(&mut pairer, vec![query(0, 1, "a"), query(1, 2, "a"), query(2, 3, "a")]);
    let mut outcomes = Vec::new();
    for query_id in [Some(2), None, Some(9)] {
        let error = Unreachable {
            id: MessageId::default(),
            ts: at(3),
            scope: 0,
            transport: Transport::Udp,
            client: client(4000),
            server: server(),
            query_id,
            cause: UnreachableReason::from_code(false, 3),
        };
        pairer.observe_icmp_error(&error, &mut |t| {
            assert_eq!(t.icmp, Some(error.cause));
            outcomes.push((t.status, t.query.map(|q| q.dns.id)));
        });
    }
    assert_eq!(outcomes, [(Status::IcmpError, Some(2)), (Status::IcmpError, Some(1))]);
}

#[test]
fn finish_reports_open_and_timed_out_queries() {
    let mut pairer = Pairer::new(PairOptions::default());
    run(&mut pairer, vec![query(0, 1, "a"), query(4000, 2, "a")]);
    let mut outcomes = Vec::new();
    pairer.finish(at(5001), &mut |t| outcomes.push(t.status));
    assert_eq!(outcomes, [Status::Timeout, Status::Open]);
    assert_eq!(pairer.counters().open, 1);
    assert!(balanced(&pairer.counters()));
}

#[test]
fn flood_with_one_id_is_linear() {
    let mut pairer = Pairer::new(PairOptions::default());
    let names: Vec<String> = (0..20_000).map(|n| format!("{n}.test")).collect();
    let queries = names.iter().map(|name| query(0, 7, name));
    assert!(run(&mut pairer, queries).is_empty());
    let answers = names.iter().map(|name| response(1, 7, name));
    assert_eq!(run(&mut pairer, answers).len(), 20_000);
}

proptest! {
    /// Each message is counted exactly once, in any order.
    #[test]
    fn conserves_queries_and_responses(
        events in proptest::collection::vec((0_u64..400, 0_u16..4, 0_u8..3, 0_u8..5), 0..300),
        max_transactions in 1_usize..6,
    ) {
        let mut pairer = Pairer::new(PairOptions { max_transactions, ..PairOptions::default() });
        let mut emitted: HashMap<Status, u64> = HashMap::new();
        let mut now = 0;
        for (step, id, name, kind) in events {
            now += step * 10;
            let name = ["a", "b", "c"][usize::from(name)];
            let mut count = |t: &Transaction<'_>| *emitted.entry(t.status).or_default() += 1;
            match kind {
                0 | 1 => observe(&mut pairer, &query(now, id, name), &mut count),
                2 | 3 => observe(&mut pairer, &response(now, id, name), &mut count),
                _ => observe(&mut pairer, &message(now, id, None, true), &mut count),
            };
            prop_assert!(balanced(&pairer.counters()), "{:?}", pairer.counters());
            prop_assert!(pairer.counters().open <= max_transactions as u64);
        }
        pairer.finish(at(now), &mut |t| *emitted.entry(t.status).or_default() += 1);
        let counters = pairer.counters();
        let of = |status| emitted.get(&status).copied().unwrap_or_default();
        prop_assert!(balanced(&counters));
        prop_assert_eq!(of(Status::Answered), counters.answered);
        prop_assert_eq!(of(Status::Timeout), counters.timeout);
        prop_assert_eq!(of(Status::Evicted), counters.evicted);
        prop_assert_eq!(of(Status::Open), counters.open);
        prop_assert_eq!(of(Status::Late), counters.late);
        prop_assert_eq!(of(Status::Duplicate), counters.duplicate);
        prop_assert_eq!(of(Status::Orphan), counters.orphan);
    }
}

proptest! {
    /// Compares the chains of the table with a list that is searched from the front.
    #[test]
    fn finds_oldest_query_between_endpoints(
        steps in proptest::collection::vec((any::<bool>(), 0_u16..4, 0_u16..3, 0_usize..20), 0..200),
    ) {
        let mut table = Table::default();
        let mut model: Vec<(EntryRef, u16, u16)> = Vec::new();
        for (number, (add, port, id, victim)) in (0_u64..).zip(steps) {
            if add {
                let mut query = query(number, id, "a.test");
                query.envelope.src = client(port);
                let entry_ref = table.insert(number, &query.to_message().message(), at(number));
                model.push((entry_ref, port, id));
            } else if !model.is_empty() {
                let (entry_ref, ..) = model.remove(victim % model.len());
                table.forget(entry_ref);
            }
            for port in 0..4 {
                let mut probe = query(0, 0, "a.test");
                probe.envelope.src = client(port);
                let endpoints = Endpoints::of(&probe.to_message().message());
                for id in [None, Some(0), Some(1), Some(2)] {
                    let first = model.iter().find(|(_, p, i)| *p == port && id.is_none_or(|id| id == *i));
                    prop_assert_eq!(table.oldest_waiting(&endpoints, id), first.map(|(entry_ref, ..)| *entry_ref));
                }
            }
            prop_assert_eq!(table.waiting, model.len());
        }
    }
}
