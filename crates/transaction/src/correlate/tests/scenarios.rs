//! Typical lookups of resolvers, message by message.

use super::*;

#[test]
fn links_first_lookup_as_tree() {
    let mut host = TestHost::new();
    let (left, arrived) = host.ask(4000, "www.example.com", A);
    let root = host.send(5000, "com", A);
    host.receive(5000, "com", A, None);
    let whole = host.send(5001, "www.example.com", A);
    host.receive(5001, "www.example.com", A, None);
    host.reply(4000, "www.example.com", A, |_| ());
    assert_eq!(host.parent(left), None);
    assert_eq!(host.parent(arrived), Some((left, ParentMatch::Exchange)));
    assert_eq!(host.parent(root), Some((arrived, ParentMatch::Ancestor)));
    assert_eq!(host.parent(whole), Some((arrived, ParentMatch::Question)));
    assert_eq!([host.cache(left), host.cache(arrived)], [Some(AnswerSource::Miss); 2]);
}

#[test]
fn answer_without_upstream_query_is_hit_after_a_miss() {
    let mut host = TestHost::new();
    let (_, unproven) = host.ask(4000, "www.example.com", A);
    host.reply(4000, "www.example.com", A, |_| ());
    assert_eq!(host.cache(unproven), None, "its upstream may be encrypted");
    host.warm_up();
    let (left, arrived) = host.ask(4001, "www.example.com", A);
    host.reply(4001, "www.example.com", A, |_| ());
    assert_eq!([host.cache(left), host.cache(arrived)], [Some(AnswerSource::Hit); 2]);
    host.pass(3_700_000_000);
    let (_, later) = host.ask(4002, "www.example.com", A);
    host.reply(4002, "www.example.com", A, |_| ());
    assert_eq!(host.cache(later), None, "the last miss was too long ago");
}

#[test]
fn second_query_for_same_question_is_miss() {
    let mut host = TestHost::new();
    host.warm_up();
    let (_, first) = host.ask(4000, "www.example.com", A);
    let sent = host.send(5000, "www.example.com", A);
    let (_, second) = host.ask(4001, "www.example.com", A);
    let again = host.send(5001, "www.example.com", A);
    host.receive(5001, "www.example.com", A, None);
    host.reply(4000, "www.example.com", A, |_| ());
    host.reply(4001, "www.example.com", A, |_| ());
    host.receive(5000, "www.example.com", A, None);
    assert_eq!(host.parent(sent), Some((first, ParentMatch::Question)));
    assert_eq!(host.parent(again), Some((first, ParentMatch::Question)));
    assert_eq!([host.cache(first), host.cache(second)], [Some(AnswerSource::Miss); 2]);
}

#[test]
fn follows_cnames() {
    let mut host = TestHost::new();
    let (_, arrived) = host.ask(4000, "www.example.com", A);
    host.send(5000, "www.example.com", A);
    host.receive(5000, "www.example.com", A, Some("WWW.cdn.example.net"));
    let target = host.send(5001, "www.cdn.example.net", A);
    host.receive(5001, "www.cdn.example.net", A, None);
    let key = host.send(5002, "example.net", DNSKEY);
    host.receive(5002, "example.net", DNSKEY, None);
    host.reply(4000, "www.example.com", A, |answer| answer.cname = Some("www.cdn.example.net"));
    assert_eq!(host.parent(target), Some((arrived, ParentMatch::Cname)));
    assert_eq!(host.parent(key), Some((arrived, ParentMatch::Ancestor)));
    // Later, only the target has expired. Another query waits for it without an upstream query.
    let (_, first) = host.ask(4001, "www.example.com", A);
    let (_, second) = host.ask(4002, "shop.example.com", A);
    let target = host.send(5003, "www.cdn.example.net", A);
    host.receive(5003, "www.cdn.example.net", A, None);
    host.reply(4001, "www.example.com", A, |answer| answer.cname = Some("www.cdn.example.net"));
    host.reply(4002, "shop.example.com", A, |answer| answer.cname = Some("www.cdn.example.net"));
    assert_eq!(host.parent(target), Some((first, ParentMatch::Cname)));
    assert_eq!([host.cache(first), host.cache(second)], [Some(AnswerSource::Miss); 2]);
}

#[test]
fn ambiguous_ancestor_has_no_parent() {
    let mut host = TestHost::new();
    host.warm_up();
    host.ask(4000, "a.example.com", A);
    host.ask(4001, "b.example.com", A);
    let either = host.send(5000, "example.com", A);
    host.receive(5000, "example.com", A, None);
    assert_eq!(host.parent(either), None);
    let unrelated = host.send(5001, "ns.example.org", A);
    host.receive(5001, "ns.example.org", A, None);
    assert_eq!(host.parent(unrelated), None);
}

#[test]
fn a_and_aaaa_queries_share_ancestor() {
    let mut host = TestHost::new();
    host.warm_up();
    let (_, first) = host.ask(4000, "www.example.com", A);
    host.ask(4001, "www.example.com", AAAA);
    let zone = host.send(5000, "example.com", A);
    host.receive(5000, "example.com", A, None);
    assert_eq!(host.parent(zone), Some((first, ParentMatch::Ancestor)));
}

#[test]
fn unrelated_name_belongs_to_only_waiting_query() {
    let mut host = TestHost::new();
    host.warm_up();
    let (_, arrived) = host.ask(4000, "www.example.com", A);
    let before = host.send(5000, "ns.example.org", A);
    host.receive(5000, "ns.example.org", A, None);
    host.send(5001, "com", A);
    host.receive(5001, "com", A, None);
    let after = host.send(5002, "ns.example.net", A);
    host.receive(5002, "ns.example.net", A, None);
    assert_eq!(host.parent(before), None);
    assert_eq!(host.parent(after), Some((arrived, ParentMatch::Only)));
}

#[test]
fn prefetch_is_hit() {
    let mut host = TestHost::new();
    host.warm_up();
    let (_, arrived) = host.ask(4000, "www.example.com", A);
    host.reply(4000, "www.example.com", A, |_| ());
    let renewed = host.send(5000, "www.example.com", A);
    host.receive(5000, "www.example.com", A, None);
    assert_eq!(host.cache(arrived), Some(AnswerSource::Hit));
    assert_eq!(host.parent(renewed), Some((arrived, ParentMatch::Prefetch)));
    // Answered before the upstream response came: from the cache.
    let (_, impatient) = host.ask(4001, "warm.test", A);
    host.send(5001, "warm.test", A);
    host.reply(4001, "warm.test", A, |_| ());
    assert_eq!(host.cache(impatient), Some(AnswerSource::Hit));
    let (_, stale) = host.ask(4002, "www.example.com", A);
    host.reply(4002, "www.example.com", A, |answer| answer.stale = true);
    assert_eq!(host.cache(stale), Some(AnswerSource::Stale));
}

#[test]
fn uncacheable_answers_have_no_source() {
    let mut host = TestHost::new();
    host.warm_up();
    let verdict = |host: &mut TestHost, port, flags: u16| {
        let (_, arrived) = host.ask(port, "www.example.com", A);
        host.reply(port, "www.example.com", A, |answer| answer.flags = flags);
        host.cache(arrived)
    };
    assert_eq!(verdict(&mut host, 4000, TO_CLIENT | 3), Some(AnswerSource::Hit), "NXDOMAIN");
    assert_eq!(verdict(&mut host, 4001, TO_CLIENT | 5), None, "REFUSED");
    assert_eq!(verdict(&mut host, 4002, TO_CLIENT | 2), None, "SERVFAIL");
    assert_eq!(verdict(&mut host, 4003, TO_CLIENT | 0x400), Some(AnswerSource::Local), "AA");
    assert_eq!(verdict(&mut host, 4004, 0x8100), None, "no recursion here");
}

#[test]
fn servfail_after_upstream_query_is_miss() {
    let mut host = TestHost::new();
    host.warm_up();
    let (_, arrived) = host.ask(4000, "www.example.com", A);
    host.send(5000, "www.example.com", A);
    host.reply(4000, "www.example.com", A, |answer| answer.flags = TO_CLIENT | 2);
    assert_eq!(host.cache(arrived), Some(AnswerSource::Miss));
}

#[test]
fn server_without_upstream_queries_has_no_cache() {
    let mut host = TestHost::new();
    let (left, arrived) = host.ask(4000, "www.example.com", A);
    host.reply(4000, "www.example.com", A, |answer| answer.flags = FROM_SERVER);
    assert_eq!(host.parent(arrived), Some((left, ParentMatch::Exchange)));
    assert_eq!([host.cache(left), host.cache(arrived)], [None; 2]);
}

#[test]
fn retransmission_is_not_added_twice() {
    let mut host = TestHost::new();
    host.warm_up();
    let (left, arrived) = host.ask(4000, "www.example.com", A);
    host.ask(4000, "www.example.com", A);
    let sent = host.send(5000, "example.com", A);
    host.receive(5000, "example.com", A, None);
    host.reply(4000, "www.example.com", A, |_| ());
    assert_eq!(host.parent(sent), Some((arrived, ParentMatch::Ancestor)));
    assert_eq!(host.parent(arrived), Some((left, ParentMatch::Exchange)));
    assert_eq!(host.joiner.waiting(), 0);
}

#[test]
fn matches_translated_address_if_unambiguous() {
    let mut host = TestHost::new();
    let service = SocketAddr::from(([10, 96, 0, 10], 53));
    let arriving = |port| TestMessage {
        direction: Direction::Ingress,
        pid: Some(UNBOUND),
        ..query(client(port), resolver(53), 7, "www.example.com")
    };
    let leaving = |port, to| TestMessage {
        direction: Direction::Egress,
        pid: Some(DIG),
        to,
        ..arriving(port)
    };
    let sure = host.see(leaving(4000, service));
    let arrived = host.see(arriving(4000));
    host.reply(4000, "www.example.com", A, |_| ());
    assert_eq!(host.parent(arrived), Some((sure, ParentMatch::Exchange)));
    // One query to two servers, as musl sends: ambiguous.
    host.see(leaving(4001, service));
    host.see(leaving(4001, server()));
    let arrived = host.see(arriving(4001));
    host.reply(4001, "www.example.com", A, |_| ());
    assert_eq!(host.parent(arrived), None);
}

#[test]
fn processes_are_separate_resolvers() {
    let mut host = TestHost::new();
    host.warm_up();
    host.ask(4000, "www.example.com", A);
    let query = query(resolver(5000), server(), 9, "www.example.com");
    let other = host.see(TestMessage { direction: Direction::Egress, pid: Some(DIG), ..query });
    let answer = TestMessage { from: server(), to: resolver(5000), flags: FROM_SERVER, ..query };
    host.see(TestMessage { direction: Direction::Ingress, pid: Some(DIG), ..answer });
    assert_eq!(host.parent(other), None);
}

#[test]
fn passive_resolver_is_identified_by_addresses() {
    let mut host = TestHost::new();
    let six = |port| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x53], port));
    let there = SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 53));
    let asked = host.see(query(client(4000), resolver(53), 7, "www.example.com"));
    let upstream = [
        (query(resolver(5000), server(), 9, "com"), ParentMatch::Ancestor),
        (query(six(5001), there, 9, "www.example.com"), ParentMatch::Question),
    ];
    for (query, by) in upstream {
        let sent = host.see(TestMessage { flags: 0, ..query });
        host.see(TestMessage { from: query.to, to: query.from, flags: FROM_SERVER, ..query });
        assert_eq!(host.parent(sent), Some((asked, by)));
    }
    let answer = query(resolver(53), client(4000), 7, "www.example.com");
    host.see(TestMessage { flags: TO_CLIENT, ..answer });
    assert_eq!(host.cache(asked), Some(AnswerSource::Miss));
    // Two clients with the same question are not parent and child.
    let first = host.see(query(client(4001), resolver(53), 7, "www.example.org"));
    let other = SocketAddr::from(([192, 0, 2, 11], 4001));
    let second = host.see(query(other, resolver(53), 7, "www.example.org"));
    host.see(TestMessage {
        flags: TO_CLIENT,
        ..query(resolver(53), client(4001), 7, "www.example.org")
    });
    host.see(TestMessage { flags: TO_CLIENT, ..query(resolver(53), other, 7, "www.example.org") });
    assert_eq!([host.parent(first), host.parent(second)], [None, None]);
}

#[test]
fn off_links_only_tcp_after_truncation() {
    let mut host =
        TestHost { joiner: CorrelateStage::new(CorrelationMode::Off), ..TestHost::new() };
    host.warm_up();
    assert!(host.ended.values().all(|(_, links)| *links == TransactionLinks::default()));
    assert_eq!(host.joiner.counters(), CorrelationCounters::default());
}

#[test]
fn quiet_server_becomes_resolver_with_first_upstream_query() {
    let mut host = TestHost::new();
    for _ in 0..2000 {
        let (left, arrived) = host.ask(4000, "www.example.com", A);
        host.reply(4000, "www.example.com", A, |_| ());
        assert_eq!(host.parent(arrived), Some((left, ParentMatch::Exchange)));
    }
    host.warm_up();
    host.warm_up();
    let (left, arrived) = host.ask(4001, "www.example.com", A);
    let sent = host.send(5000, "www.example.com", A);
    host.receive(5000, "www.example.com", A, None);
    host.reply(4001, "www.example.com", A, |_| ());
    assert_eq!(host.parent(arrived), Some((left, ParentMatch::Exchange)));
    assert_eq!(host.parent(sent), Some((arrived, ParentMatch::Question)));
}

#[test]
fn unanswered_queries_keep_their_links_however_many_follow() {
    let mut host = TestHost::new();
    let asked: Vec<_> = (0..12_000)
        .map(|port| {
            host.pass(1_000);
            let asked = host.ask(port, "www.example.com", A);
            if port % 10 != 0 {
                host.reply(port, "www.example.com", A, |_| ());
            }
            asked
        })
        .collect();
    host.finish();
    for (left, arrived) in asked {
        assert_eq!(host.parent(arrived), Some((left, ParentMatch::Exchange)));
    }
    let counters = host.joiner.counters();
    assert_eq!((counters.linked[ParentMatch::Exchange as usize], counters.overflowed), (12_000, 0));
    assert_eq!(host.joiner.waiting(), 0);
}

/// Many leave before the first arrives: those that have no link are counted.
#[test]
fn bursts_are_linked_or_counted() {
    for (burst, least, most) in [(1_000, 0, 0), (12_000, 3_000, 6_000)] {
        let mut host = TestHost::new();
        let query = |port| query(client(port), resolver(53), 7, "www.example.com");
        for (direction, pid) in [(Direction::Egress, DIG), (Direction::Ingress, UNBOUND)] {
            for port in 0..burst {
                host.see(TestMessage { direction, pid: Some(pid), ..query(port) });
            }
        }
        host.finish();
        let CorrelationCounters { linked, overflowed, .. } = host.joiner.counters();
        assert!((least..=most).contains(&overflowed), "{overflowed} of {burst}");
        let linked = linked[ParentMatch::Exchange as usize];
        let sum = u64::from(burst);
        // Few are replaced among the replaced.
        assert!((sum - sum / 10..=sum).contains(&(linked + overflowed)), "{linked}");
    }
}
