//! Behaviour of stub resolvers without failures, and along search lists.

use super::*;

const DENIED: Reply<'static> = Reply::Rcode(NXDOMAIN);
const FOUND: Reply<'static> = Reply::Address("192.0.2.7");

#[test]
fn glibc_queries_both_families_from_one_socket() {
    let mut bench = Bench::new();
    let a = bench.ask(0, Ask::new("www.example.com", A).from(40_000, 7));
    let aaaa = bench.ask(0, Ask::new("www.example.com", AAAA).from(40_000, 8));
    bench.end(12, a, &FOUND);
    bench.end(15, aaaa, &Reply::Address("2001:db8::7"));
    let lookup = bench.only(1000);
    assert_eq!(figures(&lookup), [2, 2, 0, 0, 0]);
    assert_eq!((lookup.fields.qname, lookup.outcome), ("www.example.com", Outcome::Answered));
    assert_eq!(lookup.fields.answered_name, Some("www.example.com"));
    assert_eq!((&*lookup.qtypes, waited(&lookup)), (&[A, AAAA][..], Duration::from_millis(15)));
    assert_eq!(*lookup.fields.addresses, ["192.0.2.7", "2001:db8::7"]);
    assert_eq!((lookup.fields.address_count, lookup.fields.partial), (2, false));
    assert_eq!(*lookup.members, [a, aaaa]);
    assert_eq!(lookup.attribution.process.as_ref().unwrap().pid, 4242);
}

/// A name asked for again after an answer is another call.
#[test]
fn repeated_calls_are_separate_lookups() {
    let mut bench = Bench::new();
    for call in 0..3 {
        bench.pair(call * 2, "www.example.com", 40_000 + u16::try_from(call).unwrap(), [&FOUND; 2]);
    }
    let lookups = bench.finish(1000);
    assert_eq!(lookups.len(), 3);
    for lookup in lookups {
        assert_eq!(figures(&lookup), [2, 2, 0, 0, 0]);
    }
}

#[test]
fn concurrent_calls_for_one_name_are_separate_lookups() {
    let mut bench = Bench::new();
    let mut asks = Vec::new();
    for (qtype, dns_id) in [(A, 0), (AAAA, 1)] {
        for port in [20_000, 20_001, 20_002] {
            asks.push(
                bench.ask(0, Ask::new("www.example.com", qtype).from(port, port * 2 + dns_id)),
            );
        }
    }
    for id in &asks {
        bench.end(3, *id, &FOUND);
    }
    let lookups = bench.finish(1000);
    assert_eq!(lookups.len(), 3, "{lookups:#?}");
    for (lookup, first) in lookups.iter().zip(0..) {
        assert_eq!(*lookup.members, [asks[first], asks[first + 3]]);
    }
}

/// With `ndots:5`, as in Kubernetes, the name itself is queried last.
#[test]
fn search_list_is_one_lookup_and_misses_are_wasted() {
    let mut bench = Bench::new();
    let tail = ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"];
    for (step, domain) in (0_u16..).zip(tail) {
        let name = format!("www.example.com.{domain}");
        bench.pair(u64::from(step) * 2, &name, 40_000 + step, [&DENIED; 2]);
    }
    bench.pair(6, "www.example.com", 40_009, [&FOUND, &Reply::Nodata]);
    let lookup = bench.only(1000);
    assert_eq!(figures(&lookup), [8, 8, 6, 3, 0]);
    assert_eq!((lookup.fields.qname, lookup.outcome), ("www.example.com", Outcome::Answered));
    assert_eq!(lookup.fields.answered_name, Some("www.example.com"));
    assert_eq!(lookup.names[0], "www.example.com.default.svc.cluster.local");
    assert_eq!((lookup.names.len(), waited(&lookup)), (4, Duration::from_millis(7)));
    assert!(!lookup.fields.partial, "the other family has no records, and that is known");
}

#[test]
fn derives_stem_that_was_never_queried() {
    let mut bench = Bench::new();
    bench.pair(0, "web.default.svc.cluster.local", 40_000, [&DENIED; 2]);
    bench.pair(1, "web.svc.cluster.local", 40_001, [&FOUND; 2]);
    let lookup = bench.only(1000);
    assert_eq!(figures(&lookup), [4, 4, 2, 2, 0]);
    assert_eq!(lookup.fields.qname, "web");
    assert_eq!(lookup.fields.answered_name, Some("web.svc.cluster.local"));
}

#[test]
fn unrelated_search_domains_match_without_pause_or_once_learned() {
    let search = |bench: &mut Bench, ms: u64, pause: u64, stem: &str| {
        for (step, domain) in ["corp.test", "corp.example"].iter().enumerate() {
            let reply = if step == 0 { &DENIED } else { &FOUND };
            let name = format!("{stem}.{domain}");
            bench.pair(ms + step as u64 * pause, &name, 40_000, [reply; 2]);
        }
    };
    let mut bench = Bench::new();
    search(&mut bench, 0, 2, "web");
    let lookups = bench.finish(5_000);
    assert_eq!(lookups.len(), 1, "{lookups:#?}");
    assert_eq!(lookups[0].fields.qname, "web.corp", "as far as anybody can tell");

    let mut bench = Bench::new();
    search(&mut bench, 0, 300, "web");
    assert_eq!(bench.finish(5_000).len(), 2, "too late to belong together");

    let mut bench = Bench::new();
    for (ms, name) in [(0, "no.corp.test"), (2, "no.corp.example"), (4, "no")] {
        bench.pair(ms, name, 40_000, [&DENIED; 2]);
    }
    search(&mut bench, 2_000, 300, "web");
    let lookups = bench.finish(5_000);
    assert_eq!(lookups.len(), 2, "{lookups:#?}");
    assert_eq!(lookups[0].fields.qname, "no");
    assert_eq!(figures(&lookups[0]), [6, 6, 4, 2, 0]);
    assert_eq!((lookups[1].fields.qname, figures(&lookups[1])), ("web", [4, 4, 2, 2, 0]));
}

#[test]
fn absolute_name_may_come_first() {
    let mut bench = Bench::new();
    for (ms, name) in [(0, "www.x.test"), (2, "www.x.test.a.test"), (4, "www.x.test.b.example")] {
        bench.pair(ms, name, 40_000, [&DENIED; 2]);
    }
    let lookup = bench.only(1000);
    assert_eq!((lookup.fields.qname, lookup.outcome), ("www.x.test", Outcome::Nxdomain));
    assert_eq!(figures(&lookup), [6, 6, 4, 2, 0]);
    assert_eq!(
        (lookup.fields.rcode.as_deref(), lookup.fields.answered_name),
        (Some("NXDOMAIN"), None)
    );
}

/// gethostbyname2 queries one family along the whole list, then the other.
#[test]
fn families_in_sequence_are_one_lookup() {
    let mut bench = Bench::new();
    let names = ["web.a.test", "web.b.test", "web"];
    for (step, name) in (0_u16..).zip(names) {
        bench.exchange(u64::from(step) * 2, Ask::new(name, AAAA).from(40_000, step), &DENIED);
    }
    bench.exchange(8, Ask::new("web.a.test", A).from(40_001, 9), &FOUND);
    let lookup = bench.only(1000);
    assert_eq!((lookup.fields.qname, lookup.outcome), ("web", Outcome::Answered));
    assert_eq!(figures(&lookup), [4, 4, 2, 2, 0]);
    assert_eq!(lookup.fields.answered_name, Some("web.a.test"));
}

/// musl asks all servers at once, from one socket with the same ids, and takes the first answer.
#[test]
fn musl_queries_all_servers_at_once() {
    let mut bench = Bench::new();
    let asks: Vec<_> = [(A, 5), (AAAA, 6)]
        .into_iter()
        .flat_map(|(qtype, dns_id)| [53, 54].map(|server| (qtype, dns_id, server)))
        .map(|(qtype, dns_id, server)| {
            bench.ask(0, Ask::new("www.example.com", qtype).from(40_000, dns_id).to(server))
        })
        .collect();
    for (id, ms) in asks.into_iter().zip([3, 9, 4, 8]) {
        bench.end(ms, id, &FOUND);
    }
    let lookup = bench.only(1000);
    assert_eq!(figures(&lookup), [4, 4, 2, 0, 2]);
    assert_eq!((lookup.fields.servers_tried, waited(&lookup)), (2, Duration::from_millis(4)));
    assert_eq!(*lookup.fields.resolvers, ["192.0.2.53", "192.0.2.54"]);
}

/// Go queries both families at once from different sockets, and continues after both answers.
#[test]
fn go_uses_one_socket_per_query() {
    let mut bench = Bench::new();
    for (step, name) in (0_u16..).zip(["web.ns.svc.test", "web.svc.test"]) {
        let (ms, reply) = (u64::from(step) * 5, if step == 0 { &DENIED } else { &FOUND });
        let port = 40_000 + step * 2;
        let a = bench.ask(ms, Ask::new(name, A).from(port, 100 + port));
        let aaaa = bench.ask(ms, Ask::new(name, AAAA).from(port + 1, 500 + port));
        bench.end(ms + 1, aaaa, reply);
        bench.end(ms + 4, a, reply);
    }
    let lookup = bench.only(1000);
    assert_eq!((lookup.fields.qname, figures(&lookup)), ("web", [4, 4, 2, 2, 0]));
}

/// The JVM calls getaddrinfo in several threads; lookups of other names run at the same time.
#[test]
fn concurrent_lookups_of_other_names_stay_separate() {
    let mut bench = Bench::new();
    let names = ["db.shop.svc.test", "cache.shop.svc.test", "mq.shop.svc.test"];
    let steps = [(".shop.svc.test", &DENIED), (".svc.test", &DENIED), ("", &FOUND)];
    for (step, (suffix, reply)) in (0_u16..).zip(steps) {
        for (place, name) in (0_u16..).zip(names) {
            let port = 40_000 + step * 10 + place;
            bench.pair(u64::from(step) * 3, &format!("{name}{suffix}"), port, [reply; 2]);
        }
    }
    let lookups = bench.finish(1000);
    assert_eq!(lookups.len(), 3, "{lookups:#?}");
    for (lookup, name) in lookups.iter().zip(names) {
        assert_eq!((lookup.fields.qname, figures(lookup)), (name, [6, 6, 4, 2, 0]));
    }
}

/// The application asks a resolver on loopback, which asks upstream.
#[test]
fn queries_of_resolver_for_clients_are_no_lookups() {
    let mut bench = Bench::new();
    let application = bench.ask(0, Ask::new("www.example.com", A));
    let upstream = Ask { pid: Some(600), ..Ask::new("www.example.com", A).from(50_000, 9) };
    let upstream = bench.ask(1, upstream);
    bench.end(5, upstream, &Reply::Parented);
    bench.end(6, application, &FOUND);
    // A query without a client's query is the resolver's own.
    let own = Ask { pid: Some(600), ..Ask::new("time.example.net", A).from(50_001, 10) };
    bench.exchange(7, own, &FOUND);
    let lookups = bench.finish(1000);
    assert_eq!(lookups.len(), 2, "{lookups:#?}");
    assert_eq!(
        (lookups[0].members.as_slice(), lookups[0].fields.transactions),
        (&[application][..], 1)
    );
    assert_eq!(lookups[1].fields.qname, "time.example.net");
}

#[test]
fn unrelated_types_are_separate_lookups() {
    const MX: u16 = 15;
    const HTTPS: u16 = 65;
    let mut bench = Bench::new();
    for (ms, qtype) in [(0, A), (1, MX), (2, HTTPS)] {
        bench.exchange(ms, Ask::new("example.com", qtype).from(40_000, qtype), &FOUND);
    }
    let lookups = bench.finish(1000);
    let types: Vec<_> = lookups.iter().map(|lookup| lookup.qtypes.as_slice()).collect();
    assert_eq!(types, [&[MX][..], &[A, HTTPS]], "in the order of their ends");
}

#[test]
fn block_list_queries_are_separate_lookups() {
    let mut bench = Bench::new();
    for (ms, name) in [(0, "4.3.2.1.bl.example"), (2, "4.3.2.1.dnsbl.test"), (4, "_dmarc.a.test")] {
        bench.exchange(ms, Ask::new(name, A), &DENIED);
    }
    bench.exchange(6, Ask::new("_dmarc.test", A), &DENIED);
    assert_eq!(bench.finish(1000).len(), 4);
}

#[test]
fn follows_cnames_in_answer_and_in_further_queries() {
    let mut bench = Bench::new();
    let chain = ["Edge.example.net", "a.example.net"];
    bench.exchange(0, Ask::new("www.example.com", A), &Reply::Alias(&chain, Some("192.0.2.9")));
    let lookup = bench.only(1000);
    assert_eq!(*lookup.fields.cname_chain, ["edge.example.net", "a.example.net"]);
    assert_eq!((lookup.outcome, figures(&lookup)), (Outcome::Answered, [1, 1, 0, 0, 0]));

    let mut bench = Bench::new();
    bench.exchange(0, Ask::new("www.example.com", A), &Reply::Alias(&["cdn.example.net"], None));
    bench.exchange(2, Ask::new("cdn.example.net", A).from(40_001, 2), &FOUND);
    let lookup = bench.only(1000);
    assert_eq!((lookup.fields.qname, lookup.outcome), ("www.example.com", Outcome::Answered));
    assert_eq!(lookup.fields.answered_name, Some("www.example.com"));
    assert_eq!(*lookup.fields.cname_chain, ["cdn.example.net"]);
    assert_eq!((figures(&lookup), lookup.names.len()), ([2, 2, 0, 0, 0], 1));
}

#[test]
fn chain_of_cnames_has_no_name_twice() {
    let mut bench = Bench::new();
    let chain = ["b.test", "WWW.a.test", "b.test", "www.a.test", "b.test"];
    bench.exchange(0, Ask::new("www.a.test", A), &Reply::Alias(&chain, None));
    let lookup = bench.only(1000);
    assert_eq!(*lookup.fields.cname_chain, ["b.test", "www.a.test"], "round in a circle");

    // The second answer begins before the name that it is asked for.
    let mut bench = Bench::new();
    bench.exchange(0, Ask::new("www.a.test", A), &Reply::Alias(&["b.test"], None));
    let back = ["www.a.test", "b.test"];
    bench.exchange(
        2,
        Ask::new("b.test", A).from(40_001, 2),
        &Reply::Alias(&back, Some("192.0.2.9")),
    );
    let lookup = bench.only(1000);
    assert_eq!(*lookup.fields.cname_chain, ["b.test", "www.a.test"]);
}

#[test]
fn distinguishes_clients_without_process_by_address() {
    let mut bench = Bench::new();
    for (ms, name) in [(0, "web.a.test"), (2, "web.b.test"), (4, "web")] {
        for qtype in [A, AAAA] {
            let ask = Ask { pid: None, ..Ask::new(name, qtype).from(40_000, qtype) };
            bench.exchange(ms, ask, &DENIED);
        }
    }
    let lookup = bench.only(1000);
    assert_eq!((lookup.vantage, figures(&lookup)), (Vantage::Passive, [6, 6, 4, 2, 0]));
    assert_eq!(lookup.attribution.process, None);
}
