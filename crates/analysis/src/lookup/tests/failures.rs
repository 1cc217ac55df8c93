//! Behaviour of stub resolvers after failures.

use super::*;

const FOUND: Reply<'static> = Reply::Address("192.0.2.7");

/// glibc asks the next server after a timeout, from another socket with the same ids.
#[test]
fn query_to_next_server_after_timeout_joins_lookup() {
    let mut bench = Bench::new();
    let dead = [A, AAAA].map(|qtype| bench.ask(0, Ask::new("web.test", qtype).from(40_000, qtype)));
    let again = |qtype| Ask::new("web.test", qtype).from(40_001, qtype).to(54);
    let alive = [A, AAAA].map(|qtype| bench.ask(1000, again(qtype)));
    for id in alive {
        bench.end(1002, id, &FOUND);
    }
    bench.expire(4000);
    assert!(bench.given.is_empty(), "the first queries still wait");
    for id in dead {
        bench.end(5100, id, &Reply::Timeout);
    }
    bench.expire(6000);
    let lookup = bench.only(6000);
    assert_eq!(figures(&lookup), [4, 4, 2, 0, 2]);
    assert_eq!((lookup.outcome, lookup.fields.servers_tried), (Outcome::Answered, 2));
    assert_eq!(waited(&lookup), Duration::from_millis(1002), "nobody waited for the dead one");
    assert!(!lookup.fields.partial);
}

/// The query timeout here is shorter than the stub's.
#[test]
fn retry_after_query_timeout_joins_lookup() {
    let options =
        LookupOptions { query_timeout: Duration::from_millis(500), ..LookupOptions::DEFAULT };
    for (pause, lookups) in [(5000, 1), (9000, 2)] {
        let mut bench = Bench::with(options);
        let first = bench.ask(0, Ask::new("web.test", A).from(40_000, 1));
        bench.end(600, first, &Reply::Timeout);
        bench.expire(pause);
        bench.exchange(pause, Ask::new("web.test", A).from(40_000, 1), &FOUND);
        assert_eq!(bench.finish(10_000).len(), lookups, "{pause}");
    }
}

/// A late response may show that a query was a resolver's own.
#[test]
fn late_parent_withdraws_timed_out_query() {
    let options =
        LookupOptions { query_timeout: Duration::from_millis(500), ..LookupOptions::DEFAULT };
    let mut bench = Bench::with(options);
    let [first, second] =
        [A, AAAA].map(|qtype| bench.ask(0, Ask::new("web.test", qtype).from(40_000, qtype)));
    bench.end(600, first, &Reply::Timeout);
    bench.end(700, first, &Reply::Parented);
    bench.expire(710);
    assert!(bench.given.is_empty(), "the other query still waits");
    bench.end(800, second, &FOUND);
    let lookup = bench.only(9000);
    assert_eq!(*lookup.members, [second]);
}

#[test]
fn late_response_replaces_timeout() {
    let options =
        LookupOptions { query_timeout: Duration::from_millis(500), ..LookupOptions::DEFAULT };
    let mut bench = Bench::with(options);
    let query = bench.ask(0, Ask::new("web.test", A));
    bench.end(600, query, &Reply::Timeout);
    let response = MessageId { packet: PacketId { cpu: 0, seq: 99 }, index: 0 };
    bench.lookups.observe(
        at(2000),
        &TransactionView {
            id: response,
            query: Some(query),
            response_ts: Some(at(2000)),
            status: Status::Late,
            resolver: "late",
            rcode: Some(NXDOMAIN),
            ..example(at(0))
        },
    );
    let lookup = bench.only(3000);
    assert_eq!((lookup.outcome, waited(&lookup)), (Outcome::Nxdomain, Duration::from_secs(2)));
    assert_eq!(figures(&lookup), [1, 1, 0, 0, 0]);
}

#[test]
fn retransmissions_are_wasted_packets() {
    let mut bench = Bench::new();
    let query = bench.ask(0, Ask::new("web.test", A));
    bench.end_after(1100, query, &FOUND, 2);
    let lookup = bench.only(2000);
    assert_eq!(figures(&lookup), [1, 3, 2, 0, 2]);
    assert_eq!(waited(&lookup), Duration::from_millis(1100));
}

/// Go uses another id and socket for each attempt, and retries after SERVFAIL.
#[test]
fn retries_after_servfail_join_lookup() {
    let mut bench = Bench::new();
    for (n, server) in (0_u16..).zip([53, 54, 53, 54]) {
        let ask = Ask::new("web.test", A).from(40_000 + n, 7 * n).to(server);
        bench.exchange(u64::from(n) * 2, ask, &Reply::Rcode(SERVFAIL));
    }
    // The next call.
    bench.exchange(20, Ask::new("web.test", A).from(41_000, 999), &Reply::Rcode(SERVFAIL));
    let lookups = bench.finish(1000);
    assert_eq!(lookups.len(), 2, "{lookups:#?}");
    assert_eq!((lookups[0].outcome, figures(&lookups[0])), (Outcome::Servfail, [4, 4, 3, 0, 3]));
    assert_eq!(
        (lookups[0].fields.servers_tried, lookups[0].fields.rcode.as_deref()),
        (2, Some("SERVFAIL"))
    );
    assert_eq!(figures(&lookups[1]), [1, 1, 0, 0, 0]);
}

#[test]
fn icmp_error_is_unreachable() {
    let mut bench = Bench::new();
    for (ms, port) in [(0, 40_000), (3, 40_001)] {
        for qtype in [A, AAAA] {
            bench.exchange(ms, Ask::new("web.test", qtype).from(port, qtype), &Reply::Icmp);
        }
    }
    let lookup = bench.only(1000);
    assert_eq!((lookup.outcome, figures(&lookup)), (Outcome::Unreachable, [4, 4, 2, 0, 2]));
    assert_eq!((lookup.fields.rcode.as_deref(), waited(&lookup)), (None, Duration::from_millis(4)));
}

#[test]
fn tcp_query_joins_lookup_after_truncation() {
    let mut bench = Bench::new();
    let udp = bench.exchange(0, Ask::new("big.test", A).from(40_000, 1), &Reply::Truncated);
    let tcp = bench.exchange(3, Ask::new("big.test", A).from(40_001, 2).over_tcp(), &FOUND);
    let lookup = bench.only(1000);
    assert_eq!((lookup.outcome, figures(&lookup)), (Outcome::Answered, [2, 2, 0, 0, 0]));
    assert!(lookup.fields.tcp_fallback);
    assert_eq!((&*lookup.members, waited(&lookup)), (&[udp, tcp][..], Duration::from_millis(4)));

    let mut bench = Bench::new();
    bench.exchange(0, Ask::new("big.test", A), &Reply::Truncated);
    let lookup = bench.only(1000);
    assert_eq!((lookup.outcome, lookup.fields.tcp_fallback), (Outcome::Truncated, false));
}

/// glibc does not wait for the second answer if the first is truncated, and repeats both questions
/// over TCP.
#[test]
fn one_truncated_answer_explains_tcp_for_both_families() {
    let mut bench = Bench::new();
    let [a, aaaa] =
        [A, AAAA].map(|qtype| bench.ask(0, Ask::new("big.test", qtype).from(40_000, qtype)));
    bench.end(1, a, &Reply::Truncated);
    for (ms, qtype) in [(2, A), (3, AAAA)] {
        let ask = Ask::new("big.test", qtype).from(40_001, qtype).over_tcp();
        bench.exchange(ms, ask, &FOUND);
    }
    bench.end(5000, aaaa, &Reply::Timeout);
    let lookup = bench.only(6000);
    assert_eq!((lookup.outcome, figures(&lookup)), (Outcome::Answered, [4, 4, 0, 0, 0]));
    assert_eq!((lookup.fields.tcp_fallback, waited(&lookup)), (true, Duration::from_millis(4)));
    assert!(!lookup.fields.partial);
}

/// glibc repeats both questions if only one was answered.
#[test]
fn lookup_without_answer_for_one_family_is_partial() {
    let mut bench = Bench::new();
    let [a, aaaa] =
        [A, AAAA].map(|qtype| bench.ask(0, Ask::new("web.test", qtype).from(40_000, qtype)));
    bench.end(1, a, &FOUND);
    bench.end(5000, aaaa, &Reply::Timeout);
    bench.exchange(5001, Ask::new("web.test", A).from(40_000, A), &FOUND);
    let again = bench.ask(5003, Ask::new("web.test", AAAA).from(40_000, AAAA));
    bench.end(10_100, again, &Reply::Timeout);
    // Another attempt from a new socket.
    bench.exchange(10_101, Ask::new("web.test", A).from(40_001, A), &FOUND);
    let lookup = bench.only(20_000);
    assert_eq!((lookup.outcome, lookup.fields.partial), (Outcome::Answered, true));
    assert_eq!(figures(&lookup), [5, 5, 3, 0, 3]);
    assert_eq!(waited(&lookup), Duration::from_millis(10_003), "until the last try had ended");
}

#[test]
fn search_list_continues_after_timeout() {
    let mut bench = Bench::new();
    let first = bench.ask(0, Ask::new("web.a.test", A).from(40_000, 1));
    bench.exchange(1000, Ask::new("web", A).from(40_001, 2), &FOUND);
    bench.end(5100, first, &Reply::Timeout);
    let lookup = bench.only(9000);
    assert_eq!((lookup.fields.qname, figures(&lookup)), ("web", [2, 2, 1, 1, 0]));
    assert_eq!(waited(&lookup), Duration::from_millis(1001));
}

/// A load generator repeats a question to a dead server, in parallel and without a pause.
#[test]
fn parallel_repetitions_are_separate_lookups() {
    let mut bench = Bench::new();
    let mut asked = Vec::new();
    for n in 0..3000 {
        let ask = Ask::new("web.test", A).from(40_000, n);
        asked.push(bench.ask(n.into(), ask));
    }
    for (id, ms) in asked.into_iter().zip(5000..) {
        bench.end(ms, id, &Reply::Timeout);
    }
    let lookups = bench.finish(20_000);
    assert_eq!(lookups.len(), 3000);
    assert!(lookups.iter().all(|lookup| lookup.outcome == Outcome::Timeout));
}

#[test]
fn pending_query_at_end_of_capture_is_open() {
    let mut bench = Bench::new();
    let query = bench.ask(0, Ask::new("web.test", A));
    bench.end(700, query, &Reply::Open);
    let lookup = bench.only(700);
    assert_eq!((lookup.outcome, lookup.evicted), (Outcome::Open, false));
    assert_eq!(waited(&lookup), Duration::from_millis(700));
}

/// Two dead servers, asked twice each.
#[test]
fn failed_lookup_lasts_until_the_last_try_has_failed() {
    let mut bench = Bench::new();
    let asks = [(0, 53), (5_000, 54), (10_000, 53), (15_000, 54)];
    for (ms, server) in asks {
        let query = bench.ask(ms, Ask::new("web.test", A).to(server));
        bench.end(ms + 5_000, query, &Reply::Timeout);
    }
    let lookup = bench.only(60_000);
    assert_eq!(lookup.outcome, Outcome::Timeout);
    assert_eq!(waited(&lookup), Duration::from_secs(20));

    // A failure at once, and then a server that does not answer.
    let mut bench = Bench::new();
    bench.exchange(0, Ask::new("web.test", A), &Reply::Rcode(SERVFAIL));
    let second = bench.ask(2, Ask::new("web.test", A).to(54));
    bench.end(5_002, second, &Reply::Timeout);
    let lookup = bench.only(60_000);
    assert_eq!(lookup.outcome, Outcome::Servfail);
    assert_eq!(waited(&lookup), Duration::from_millis(5_002));

    // A search list, of which the first name had no response: the stub has given that up.
    let mut bench = Bench::new();
    let first = bench.ask(0, Ask::new("web.a.test", AAAA));
    bench.exchange(1_000, Ask::new("web", AAAA), &Reply::Nodata);
    bench.end(5_000, first, &Reply::Timeout);
    let lookup = bench.only(60_000);
    assert_eq!(waited(&lookup), Duration::from_millis(1_001), "{lookup:#?}");

    // Both servers are asked at once: nobody waits for the second after an answer.
    let mut bench = Bench::new();
    let asks = [53, 54].map(|server| bench.ask(0, Ask::new("web.test", A).to(server)));
    bench.end(3, asks[0], &Reply::Rcode(NXDOMAIN));
    bench.end(5_000, asks[1], &Reply::Timeout);
    let lookup = bench.only(60_000);
    assert_eq!((lookup.outcome, waited(&lookup)), (Outcome::Nxdomain, Duration::from_millis(3)));
}

/// A full buffer, or a filter of the socket: the stub waits for its timeout, and asks again from another socket.
#[test]
fn answer_that_the_kernel_discards_is_a_timeout() {
    let lost = Reply::Lost("SOCKET_FILTER");
    for again in [Ask::new("web.test", A).from(40_001, 1), Ask::new("web.test", A).from(40_001, 9)]
    {
        let mut bench = Bench::new();
        bench.exchange(0, Ask::new("web.test", A).from(40_000, 1), &lost);
        bench.exchange(2_000, again, &FOUND);
        let lookup = bench.only(20_000);
        assert_eq!((lookup.outcome, figures(&lookup)), (Outcome::Answered, [2, 2, 1, 0, 1]));
        assert_eq!(waited(&lookup), Duration::from_millis(2_001), "{lookup:#?}");
        assert_eq!(lookup.fields.addresses, ["192.0.2.7"]);
    }
    let mut bench = Bench::new();
    bench.exchange(0, Ask::new("web.test", A), &lost);
    let lookup = bench.only(20_000);
    assert_eq!((lookup.outcome, waited(&lookup)), (Outcome::Timeout, Duration::from_secs(5)));
    assert_eq!((lookup.fields.rcode.as_deref(), lookup.fields.addresses.len()), (None, 0));

    // Nobody waits for the second of two servers, and who has closed its socket waits no more.
    let mut bench = Bench::new();
    let asks = [53, 54].map(|server| bench.ask(0, Ask::new("web.test", A).to(server)));
    bench.end(3, asks[0], &FOUND);
    bench.end(4, asks[1], &Reply::Lost("NO_SOCKET"));
    bench.expire(600);
    assert_eq!(bench.given.len(), 1, "it has ended");
    assert_eq!(waited(&bench.given[0]), Duration::from_millis(3));
}

/// The firewall of this host refuses the query (EPERM), and glibc asks again at once.
#[test]
fn repetition_from_a_new_socket_joins_lookup_at_once() {
    let mut bench = Bench::new();
    let asks = [(0, 40_000), (10, 40_001)].map(|(ms, port)| {
        [A, AAAA].map(|qtype| bench.ask(ms, Ask::new("web.test", qtype).from(port, qtype)))
    });
    for id in asks.into_iter().flatten() {
        bench.end(5_100, id, &Reply::Timeout);
    }
    assert_eq!(figures(&bench.only(20_000)), [4, 4, 2, 0, 2]);
}
