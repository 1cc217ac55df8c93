//! Lookups as resolvers make them, message by message.

use super::*;

#[test]
fn the_first_lookup_is_one_tree() {
    let mut host = TestHost::new();
    let (left, arrived) = host.ask(4000, "www.example.com", A);
    let root = host.send(5000, "com", A);
    host.receive(5000, "com", A, None);
    let whole = host.send(5001, "www.example.com", A);
    host.receive(5001, "www.example.com", A, None);
    host.reply(4000, "www.example.com", A, |_| ());
    assert_eq!(host.parent(left), None);
    assert_eq!(host.parent(arrived), Some((left, Match::Exchange)));
    assert_eq!(host.parent(root), Some((arrived, Match::Ancestor)));
    assert_eq!(host.parent(whole), Some((arrived, Match::Question)));
    assert_eq!([host.cache(left), host.cache(arrived)], [Some(Cache::Miss); 2]);
}

#[test]
fn an_answer_without_upstream_is_a_hit_once_misses_were_seen() {
    let mut host = TestHost::new();
    let (_, unproven) = host.ask(4000, "www.example.com", A);
    host.reply(4000, "www.example.com", A, |_| ());
    assert_eq!(host.cache(unproven), None, "its upstream may be encrypted");
    host.warm_up();
    let (left, arrived) = host.ask(4001, "www.example.com", A);
    host.reply(4001, "www.example.com", A, |_| ());
    assert_eq!([host.cache(left), host.cache(arrived)], [Some(Cache::Hit); 2]);
    host.pass(3_700_000_000);
    let (_, later) = host.ask(4002, "www.example.com", A);
    host.reply(4002, "www.example.com", A, |_| ());
    assert_eq!(host.cache(later), None, "the last miss was too long ago");
}

#[test]
fn who_waits_for_the_same_has_missed_too() {
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
    assert_eq!(host.parent(sent), Some((first, Match::Question)));
    assert_eq!(host.parent(again), Some((first, Match::Question)));
    assert_eq!([host.cache(first), host.cache(second)], [Some(Cache::Miss); 2]);
}

#[test]
fn cnames_lead_to_other_names_and_their_keys() {
    let mut host = TestHost::new();
    let (_, arrived) = host.ask(4000, "www.example.com", A);
    host.send(5000, "www.example.com", A);
    host.receive(5000, "www.example.com", A, Some("WWW.cdn.example.net"));
    let target = host.send(5001, "www.cdn.example.net", A);
    host.receive(5001, "www.cdn.example.net", A, None);
    let key = host.send(5002, "example.net", DNSKEY);
    host.receive(5002, "example.net", DNSKEY, None);
    host.reply(4000, "www.example.com", A, |answer| answer.cname = Some("www.cdn.example.net"));
    assert_eq!(host.parent(target), Some((arrived, Match::Cname)));
    assert_eq!(host.parent(key), Some((arrived, Match::Ancestor)));
    // Later only the target has expired; another one waits for it that nothing was asked for.
    let (_, first) = host.ask(4001, "www.example.com", A);
    let (_, second) = host.ask(4002, "shop.example.com", A);
    let target = host.send(5003, "www.cdn.example.net", A);
    host.receive(5003, "www.cdn.example.net", A, None);
    host.reply(4001, "www.example.com", A, |answer| answer.cname = Some("www.cdn.example.net"));
    host.reply(4002, "shop.example.com", A, |answer| answer.cname = Some("www.cdn.example.net"));
    assert_eq!(host.parent(target), Some((first, Match::Cname)));
    assert_eq!([host.cache(first), host.cache(second)], [Some(Cache::Miss); 2]);
}

#[test]
fn where_several_fit_and_none_exactly_nothing_is_said() {
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
fn both_addresses_of_a_name_are_one_lookup() {
    let mut host = TestHost::new();
    host.warm_up();
    let (_, first) = host.ask(4000, "www.example.com", A);
    host.ask(4001, "www.example.com", AAAA);
    let zone = host.send(5000, "example.com", A);
    host.receive(5000, "example.com", A, None);
    assert_eq!(host.parent(zone), Some((first, Match::Ancestor)));
}

#[test]
fn an_unrelated_name_belongs_to_the_only_one_that_has_asked() {
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
    assert_eq!(host.parent(after), Some((arrived, Match::Only)));
}

#[test]
fn renewing_the_cache_is_a_hit() {
    let mut host = TestHost::new();
    host.warm_up();
    let (_, arrived) = host.ask(4000, "www.example.com", A);
    host.reply(4000, "www.example.com", A, |_| ());
    let renewed = host.send(5000, "www.example.com", A);
    host.receive(5000, "www.example.com", A, None);
    assert_eq!(host.cache(arrived), Some(Cache::Hit));
    assert_eq!(host.parent(renewed), Some((arrived, Match::Prefetch)));
    // Before the answer, but with nothing from upstream in it: from the cache all the same.
    let (_, impatient) = host.ask(4001, "warm.test", A);
    host.send(5001, "warm.test", A);
    host.reply(4001, "warm.test", A, |_| ());
    assert_eq!(host.cache(impatient), Some(Cache::Hit));
    let (_, stale) = host.ask(4002, "www.example.com", A);
    host.reply(4002, "www.example.com", A, |answer| answer.stale = true);
    assert_eq!(host.cache(stale), Some(Cache::Stale));
}

#[test]
fn says_nothing_of_what_no_cache_decides() {
    let mut host = TestHost::new();
    host.warm_up();
    let verdict = |host: &mut TestHost, port, flags: u16| {
        let (_, arrived) = host.ask(port, "www.example.com", A);
        host.reply(port, "www.example.com", A, |answer| answer.flags = flags);
        host.cache(arrived)
    };
    assert_eq!(verdict(&mut host, 4000, TO_CLIENT | 3), Some(Cache::Hit), "NXDOMAIN");
    assert_eq!(verdict(&mut host, 4001, TO_CLIENT | 5), None, "REFUSED");
    assert_eq!(verdict(&mut host, 4002, TO_CLIENT | 2), None, "SERVFAIL");
    assert_eq!(verdict(&mut host, 4003, TO_CLIENT | 0x400), Some(Cache::Local), "AA");
    assert_eq!(verdict(&mut host, 4004, 0x8100), None, "no recursion here");
}

#[test]
fn a_failure_after_asking_is_a_miss() {
    let mut host = TestHost::new();
    host.warm_up();
    let (_, arrived) = host.ask(4000, "www.example.com", A);
    host.send(5000, "www.example.com", A);
    host.reply(4000, "www.example.com", A, |answer| answer.flags = TO_CLIENT | 2);
    assert_eq!(host.cache(arrived), Some(Cache::Miss));
}

#[test]
fn a_server_that_asks_nobody_has_no_cache() {
    let mut host = TestHost::new();
    let (left, arrived) = host.ask(4000, "www.example.com", A);
    host.reply(4000, "www.example.com", A, |answer| answer.flags = FROM_SERVER);
    assert_eq!(host.parent(arrived), Some((left, Match::Exchange)));
    assert_eq!([host.cache(left), host.cache(arrived)], [None; 2]);
}

#[test]
fn a_query_sent_again_is_not_waited_for_twice() {
    let mut host = TestHost::new();
    host.warm_up();
    let (left, arrived) = host.ask(4000, "www.example.com", A);
    host.ask(4000, "www.example.com", A);
    let sent = host.send(5000, "example.com", A);
    host.receive(5000, "example.com", A, None);
    host.reply(4000, "www.example.com", A, |_| ());
    assert_eq!(host.parent(sent), Some((arrived, Match::Ancestor)));
    assert_eq!(host.parent(arrived), Some((left, Match::Exchange)));
    assert_eq!(host.joiner.waiting(), 0);
}

#[test]
fn a_translated_address_is_found_where_it_is_the_only_one() {
    let mut host = TestHost::new();
    let service = SocketAddr::from(([10, 96, 0, 10], 53));
    let arriving = |port| TestMessage {
        sight: Sight::Ingress,
        pid: Some(UNBOUND),
        ..query(client(port), resolver(53), 7, "www.example.com")
    };
    let leaving =
        |port, to| TestMessage { sight: Sight::Egress, pid: Some(DIG), to, ..arriving(port) };
    let sure = host.see(leaving(4000, service));
    let arrived = host.see(arriving(4000));
    host.reply(4000, "www.example.com", A, |_| ());
    assert_eq!(host.parent(arrived), Some((sure, Match::Exchange)));
    // One query to two servers, as musl asks: neither is known to be the one.
    host.see(leaving(4001, service));
    host.see(leaving(4001, server()));
    let arrived = host.see(arriving(4001));
    host.reply(4001, "www.example.com", A, |_| ());
    assert_eq!(host.parent(arrived), None);
}

#[test]
fn another_process_is_another_resolver() {
    let mut host = TestHost::new();
    host.warm_up();
    host.ask(4000, "www.example.com", A);
    let query = query(resolver(5000), server(), 9, "www.example.com");
    let other = host.see(TestMessage { sight: Sight::Egress, pid: Some(DIG), ..query });
    let answer = TestMessage { from: server(), to: resolver(5000), flags: FROM_SERVER, ..query };
    host.see(TestMessage { sight: Sight::Ingress, pid: Some(DIG), ..answer });
    assert_eq!(host.parent(other), None);
}

#[test]
fn seen_from_outside_a_resolver_is_its_addresses() {
    let mut host = TestHost::new();
    let six = |port| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x53], port));
    let there = SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 53));
    let asked = host.see(query(client(4000), resolver(53), 7, "www.example.com"));
    let upstream = [
        (query(resolver(5000), server(), 9, "com"), Match::Ancestor),
        (query(six(5001), there, 9, "www.example.com"), Match::Question),
    ];
    for (query, by) in upstream {
        let sent = host.see(TestMessage { flags: 0, ..query });
        host.see(TestMessage { from: query.to, to: query.from, flags: FROM_SERVER, ..query });
        assert_eq!(host.parent(sent), Some((asked, by)));
    }
    let answer = query(resolver(53), client(4000), 7, "www.example.com");
    host.see(TestMessage { flags: TO_CLIENT, ..answer });
    assert_eq!(host.cache(asked), Some(Cache::Miss));
    // Two clients who ask the same of one resolver do not ask for each other.
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
fn when_off_only_tcp_after_truncation_is_joined() {
    let mut host = TestHost { joiner: Joiner::new(Joining::Off), ..TestHost::new() };
    host.warm_up();
    assert!(host.ended.values().all(|(_, links)| *links == Links::default()));
    assert_eq!(host.joiner.joined(), Joined::default());
}

#[test]
fn a_server_that_asks_nobody_for_long_may_still_turn_out_to_be_a_resolver() {
    let mut host = TestHost::new();
    for _ in 0..2000 {
        let (left, arrived) = host.ask(4000, "www.example.com", A);
        host.reply(4000, "www.example.com", A, |_| ());
        assert_eq!(host.parent(arrived), Some((left, Match::Exchange)));
    }
    host.warm_up();
    host.warm_up();
    let (left, arrived) = host.ask(4001, "www.example.com", A);
    let sent = host.send(5000, "www.example.com", A);
    host.receive(5000, "www.example.com", A, None);
    host.reply(4001, "www.example.com", A, |_| ());
    assert_eq!(host.parent(arrived), Some((left, Match::Exchange)));
    assert_eq!(host.parent(sent), Some((arrived, Match::Question)));
}
