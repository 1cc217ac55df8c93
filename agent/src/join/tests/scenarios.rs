//! Lookups as resolvers make them, message by message.

use super::*;

#[test]
fn the_first_lookup_is_one_tree() {
    let mut bench = Bench::new();
    let (left, arrived) = bench.ask(4000, "www.example.com", A);
    let root = bench.send(5000, "com", A);
    bench.receive(5000, "com", A, None);
    let whole = bench.send(5001, "www.example.com", A);
    bench.receive(5001, "www.example.com", A, None);
    bench.reply(4000, "www.example.com", A, |_| ());
    assert_eq!(bench.parent(left), None);
    assert_eq!(bench.parent(arrived), Some((left, Match::Exchange)));
    assert_eq!(bench.parent(root), Some((arrived, Match::Ancestor)));
    assert_eq!(bench.parent(whole), Some((arrived, Match::Question)));
    assert_eq!([bench.cache(left), bench.cache(arrived)], [Some(Cache::Miss); 2]);
}

#[test]
fn an_answer_without_upstream_is_a_hit_once_misses_were_seen() {
    let mut bench = Bench::new();
    let (_, unproven) = bench.ask(4000, "www.example.com", A);
    bench.reply(4000, "www.example.com", A, |_| ());
    assert_eq!(bench.cache(unproven), None, "its upstream may be encrypted");
    bench.warm_up();
    let (left, arrived) = bench.ask(4001, "www.example.com", A);
    bench.reply(4001, "www.example.com", A, |_| ());
    assert_eq!([bench.cache(left), bench.cache(arrived)], [Some(Cache::Hit); 2]);
    bench.pass(3_700_000_000);
    let (_, later) = bench.ask(4002, "www.example.com", A);
    bench.reply(4002, "www.example.com", A, |_| ());
    assert_eq!(bench.cache(later), None, "the last miss was too long ago");
}

#[test]
fn who_waits_for_the_same_has_missed_too() {
    let mut bench = Bench::new();
    bench.warm_up();
    let (_, first) = bench.ask(4000, "www.example.com", A);
    let sent = bench.send(5000, "www.example.com", A);
    let (_, second) = bench.ask(4001, "www.example.com", A);
    let again = bench.send(5001, "www.example.com", A);
    bench.receive(5001, "www.example.com", A, None);
    bench.reply(4000, "www.example.com", A, |_| ());
    bench.reply(4001, "www.example.com", A, |_| ());
    bench.receive(5000, "www.example.com", A, None);
    assert_eq!(bench.parent(sent), Some((first, Match::Question)));
    assert_eq!(bench.parent(again), Some((first, Match::Question)));
    assert_eq!([bench.cache(first), bench.cache(second)], [Some(Cache::Miss); 2]);
}

#[test]
fn cnames_lead_to_other_names_and_their_keys() {
    let mut bench = Bench::new();
    let (_, arrived) = bench.ask(4000, "www.example.com", A);
    bench.send(5000, "www.example.com", A);
    bench.receive(5000, "www.example.com", A, Some("WWW.cdn.example.net"));
    let target = bench.send(5001, "www.cdn.example.net", A);
    bench.receive(5001, "www.cdn.example.net", A, None);
    let key = bench.send(5002, "example.net", DNSKEY);
    bench.receive(5002, "example.net", DNSKEY, None);
    bench.reply(4000, "www.example.com", A, |answer| answer.cname = Some("www.cdn.example.net"));
    assert_eq!(bench.parent(target), Some((arrived, Match::Cname)));
    assert_eq!(bench.parent(key), Some((arrived, Match::Ancestor)));
    // Later only the target has expired; another one waits for it that nothing was asked for.
    let (_, first) = bench.ask(4001, "www.example.com", A);
    let (_, second) = bench.ask(4002, "shop.example.com", A);
    let target = bench.send(5003, "www.cdn.example.net", A);
    bench.receive(5003, "www.cdn.example.net", A, None);
    bench.reply(4001, "www.example.com", A, |answer| answer.cname = Some("www.cdn.example.net"));
    bench.reply(4002, "shop.example.com", A, |answer| answer.cname = Some("www.cdn.example.net"));
    assert_eq!(bench.parent(target), Some((first, Match::Cname)));
    assert_eq!([bench.cache(first), bench.cache(second)], [Some(Cache::Miss); 2]);
}

#[test]
fn where_several_fit_and_none_exactly_nothing_is_said() {
    let mut bench = Bench::new();
    bench.warm_up();
    bench.ask(4000, "a.example.com", A);
    bench.ask(4001, "b.example.com", A);
    let either = bench.send(5000, "example.com", A);
    bench.receive(5000, "example.com", A, None);
    assert_eq!(bench.parent(either), None);
    let unrelated = bench.send(5001, "ns.example.org", A);
    bench.receive(5001, "ns.example.org", A, None);
    assert_eq!(bench.parent(unrelated), None);
}

#[test]
fn both_addresses_of_a_name_are_one_lookup() {
    let mut bench = Bench::new();
    bench.warm_up();
    let (_, first) = bench.ask(4000, "www.example.com", A);
    bench.ask(4001, "www.example.com", AAAA);
    let zone = bench.send(5000, "example.com", A);
    bench.receive(5000, "example.com", A, None);
    assert_eq!(bench.parent(zone), Some((first, Match::Ancestor)));
}

#[test]
fn an_unrelated_name_belongs_to_the_only_one_that_has_asked() {
    let mut bench = Bench::new();
    bench.warm_up();
    let (_, arrived) = bench.ask(4000, "www.example.com", A);
    let before = bench.send(5000, "ns.example.org", A);
    bench.receive(5000, "ns.example.org", A, None);
    bench.send(5001, "com", A);
    bench.receive(5001, "com", A, None);
    let after = bench.send(5002, "ns.example.net", A);
    bench.receive(5002, "ns.example.net", A, None);
    assert_eq!(bench.parent(before), None);
    assert_eq!(bench.parent(after), Some((arrived, Match::Only)));
}

#[test]
fn renewing_the_cache_is_a_hit() {
    let mut bench = Bench::new();
    bench.warm_up();
    let (_, arrived) = bench.ask(4000, "www.example.com", A);
    bench.reply(4000, "www.example.com", A, |_| ());
    let renewed = bench.send(5000, "www.example.com", A);
    bench.receive(5000, "www.example.com", A, None);
    assert_eq!(bench.cache(arrived), Some(Cache::Hit));
    assert_eq!(bench.parent(renewed), Some((arrived, Match::Prefetch)));
    // Before the answer, but with nothing from upstream in it: from the cache all the same.
    let (_, impatient) = bench.ask(4001, "warm.test", A);
    bench.send(5001, "warm.test", A);
    bench.reply(4001, "warm.test", A, |_| ());
    assert_eq!(bench.cache(impatient), Some(Cache::Hit));
    let (_, stale) = bench.ask(4002, "www.example.com", A);
    bench.reply(4002, "www.example.com", A, |answer| answer.stale = true);
    assert_eq!(bench.cache(stale), Some(Cache::Stale));
}

#[test]
fn says_nothing_of_what_no_cache_decides() {
    let mut bench = Bench::new();
    bench.warm_up();
    let verdict = |bench: &mut Bench, port, flags: u16| {
        let (_, arrived) = bench.ask(port, "www.example.com", A);
        bench.reply(port, "www.example.com", A, |answer| answer.flags = flags);
        bench.cache(arrived)
    };
    assert_eq!(verdict(&mut bench, 4000, TO_CLIENT | 3), Some(Cache::Hit), "NXDOMAIN");
    assert_eq!(verdict(&mut bench, 4001, TO_CLIENT | 5), None, "REFUSED");
    assert_eq!(verdict(&mut bench, 4002, TO_CLIENT | 2), None, "SERVFAIL");
    assert_eq!(verdict(&mut bench, 4003, TO_CLIENT | 0x400), Some(Cache::Local), "AA");
    assert_eq!(verdict(&mut bench, 4004, 0x8100), None, "no recursion here");
}

#[test]
fn a_failure_after_asking_is_a_miss() {
    let mut bench = Bench::new();
    bench.warm_up();
    let (_, arrived) = bench.ask(4000, "www.example.com", A);
    bench.send(5000, "www.example.com", A);
    bench.reply(4000, "www.example.com", A, |answer| answer.flags = TO_CLIENT | 2);
    assert_eq!(bench.cache(arrived), Some(Cache::Miss));
}

#[test]
fn a_server_that_asks_nobody_has_no_cache() {
    let mut bench = Bench::new();
    let (left, arrived) = bench.ask(4000, "www.example.com", A);
    bench.reply(4000, "www.example.com", A, |answer| answer.flags = FROM_SERVER);
    assert_eq!(bench.parent(arrived), Some((left, Match::Exchange)));
    assert_eq!([bench.cache(left), bench.cache(arrived)], [None; 2]);
}

#[test]
fn a_query_sent_again_is_not_waited_for_twice() {
    let mut bench = Bench::new();
    bench.warm_up();
    let (left, arrived) = bench.ask(4000, "www.example.com", A);
    bench.ask(4000, "www.example.com", A);
    let sent = bench.send(5000, "example.com", A);
    bench.receive(5000, "example.com", A, None);
    bench.reply(4000, "www.example.com", A, |_| ());
    assert_eq!(bench.parent(sent), Some((arrived, Match::Ancestor)));
    assert_eq!(bench.parent(arrived), Some((left, Match::Exchange)));
    assert_eq!(bench.joiner.waiting(), 0);
}

#[test]
fn a_translated_address_is_found_where_it_is_the_only_one() {
    let mut bench = Bench::new();
    let service = SocketAddr::from(([10, 96, 0, 10], 53));
    let arriving = |port| Seen {
        sight: Sight::Ingress,
        pid: Some(UNBOUND),
        ..query(client(port), resolver(53), 7, "www.example.com")
    };
    let leaving = |port, to| Seen { sight: Sight::Egress, pid: Some(DIG), to, ..arriving(port) };
    let sure = bench.see(leaving(4000, service));
    let arrived = bench.see(arriving(4000));
    bench.reply(4000, "www.example.com", A, |_| ());
    assert_eq!(bench.parent(arrived), Some((sure, Match::Exchange)));
    // One query to two servers, as musl asks: neither is known to be the one.
    bench.see(leaving(4001, service));
    bench.see(leaving(4001, server()));
    let arrived = bench.see(arriving(4001));
    bench.reply(4001, "www.example.com", A, |_| ());
    assert_eq!(bench.parent(arrived), None);
}

#[test]
fn another_process_is_another_resolver() {
    let mut bench = Bench::new();
    bench.warm_up();
    bench.ask(4000, "www.example.com", A);
    let query = query(resolver(5000), server(), 9, "www.example.com");
    let other = bench.see(Seen { sight: Sight::Egress, pid: Some(DIG), ..query });
    let answer = Seen { from: server(), to: resolver(5000), flags: FROM_SERVER, ..query };
    bench.see(Seen { sight: Sight::Ingress, pid: Some(DIG), ..answer });
    assert_eq!(bench.parent(other), None);
}

#[test]
fn seen_from_outside_a_resolver_is_its_addresses() {
    let mut bench = Bench::new();
    let six = |port| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x53], port));
    let there = SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 53));
    let asked = bench.see(query(client(4000), resolver(53), 7, "www.example.com"));
    let upstream = [
        (query(resolver(5000), server(), 9, "com"), Match::Ancestor),
        (query(six(5001), there, 9, "www.example.com"), Match::Question),
    ];
    for (query, by) in upstream {
        let sent = bench.see(Seen { flags: 0, ..query });
        bench.see(Seen { from: query.to, to: query.from, flags: FROM_SERVER, ..query });
        assert_eq!(bench.parent(sent), Some((asked, by)));
    }
    let answer = query(resolver(53), client(4000), 7, "www.example.com");
    bench.see(Seen { flags: TO_CLIENT, ..answer });
    assert_eq!(bench.cache(asked), Some(Cache::Miss));
    // Two clients who ask the same of one resolver do not ask for each other.
    let first = bench.see(query(client(4001), resolver(53), 7, "www.example.org"));
    let other = SocketAddr::from(([192, 0, 2, 11], 4001));
    let second = bench.see(query(other, resolver(53), 7, "www.example.org"));
    bench.see(Seen { flags: TO_CLIENT, ..query(resolver(53), client(4001), 7, "www.example.org") });
    bench.see(Seen { flags: TO_CLIENT, ..query(resolver(53), other, 7, "www.example.org") });
    assert_eq!([bench.parent(first), bench.parent(second)], [None, None]);
}

#[test]
fn when_off_only_tcp_after_truncation_is_joined() {
    let mut bench = Bench { joiner: Joiner::new(Joining::Off), ..Bench::new() };
    bench.warm_up();
    assert!(bench.ended.values().all(|(_, links)| *links == Links::default()));
    assert_eq!(bench.joiner.joined(), Joined::default());
}

#[test]
fn a_server_that_asks_nobody_for_long_may_still_turn_out_to_be_a_resolver() {
    let mut bench = Bench::new();
    for _ in 0..2000 {
        let (left, arrived) = bench.ask(4000, "www.example.com", A);
        bench.reply(4000, "www.example.com", A, |_| ());
        assert_eq!(bench.parent(arrived), Some((left, Match::Exchange)));
    }
    bench.warm_up();
    bench.warm_up();
    let (left, arrived) = bench.ask(4001, "www.example.com", A);
    let sent = bench.send(5000, "www.example.com", A);
    bench.receive(5000, "www.example.com", A, None);
    bench.reply(4001, "www.example.com", A, |_| ());
    assert_eq!(bench.parent(arrived), Some((left, Match::Exchange)));
    assert_eq!(bench.parent(sent), Some((arrived, Match::Question)));
}
