//! Memory is bounded, and evicted lookups are emitted.

use super::*;

#[test]
fn evicts_oldest_lookup_when_table_is_full() {
    let options = LookupOptions { max_lookups: 2, ..LookupOptions::DEFAULT };
    let mut bench = Bench::with(options);
    let names = ["a.test", "b.test", "c.test"];
    let asked = names.map(|name| bench.ask(0, Ask::new(name, A)));
    assert_eq!(bench.given.len(), 1);
    assert_eq!((bench.given[0].fields.qname, bench.given[0].evicted), ("a.test", true));
    assert_eq!((bench.given[0].outcome, bench.given[0].fields.transactions), (Outcome::Open, 1));
    // The outcome comes after the eviction.
    for id in asked {
        bench.end(5, id, &Reply::Nodata);
    }
    assert_eq!(bench.lookups.counters.evicted, 1);
    let lookups = bench.finish(1000);
    assert_eq!(lookups.iter().map(|lookup| lookup.fields.transactions).sum::<u32>(), 3);
    assert!(lookups[1..].iter().all(|lookup| lookup.outcome == Outcome::Nodata && !lookup.evicted));
}

#[test]
fn memory_is_bounded() {
    let options = LookupOptions { max_bytes: 1 << 20, ..LookupOptions::DEFAULT };
    let mut bench = Bench::with(options);
    for n in 0..20_000_u64 {
        let name = format!("{n:060}.{n:060}.{n:060}.test");
        bench.ask(n / 100, Ask::new(&name, A));
        assert!(bench.lookups.bytes <= options.max_bytes);
    }
    assert!(bench.lookups.counters.open > 500, "{:?}", bench.lookups.counters);
    assert_eq!(bench.finish(1000).len(), 20_000);
}

#[test]
fn number_of_transactions_per_lookup_is_bounded() {
    let mut bench = Bench::new();
    for n in 0..1000 {
        let name = format!("web.{n}.a.test");
        bench.exchange(n, Ask::new(&name, A), &Reply::Rcode(NXDOMAIN));
    }
    let lookups = bench.finish(5000);
    assert!(lookups.iter().all(|lookup| lookup.members.len() <= MAX_TRANSACTIONS));
    assert_eq!(lookups.iter().map(|lookup| lookup.fields.transactions).sum::<u32>(), 1000);
}

#[test]
fn emits_lookup_after_pause() {
    let mut bench = Bench::new();
    bench.exchange(0, Ask::new("web.test", A), &Reply::Address("192.0.2.7"));
    bench.expire(400);
    assert!(bench.given.is_empty());
    bench.expire(600);
    assert_eq!(bench.given.len(), 1);
    assert_eq!(bench.finish(700).len(), 1);
}
