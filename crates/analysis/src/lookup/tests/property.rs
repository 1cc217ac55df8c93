//! Property: each transaction is in exactly one lookup, and the fields of a lookup are consistent.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const NAMES: [&str; 8] = [
    "web.ns.svc.test",
    "web.svc.test",
    "web.test",
    "web",
    "web.corp.example",
    "www.example.com",
    "cdn.example.net",
    ".",
];

/// A query, and the outcome of a pending one.
#[derive(Clone, Debug)]
struct Step {
    pause: u64,
    ask: Ask<'static>,
    end: usize,
    reply: usize,
    retries: u32,
}

prop_compose! {
    fn step()(
        pause in prop_oneof![6 => 0..4_u64, 2 => 40..1_200_u64, 1 => 3_000..9_000_u64],
        name in 0..NAMES.len(), qtype in prop::sample::select(vec![A, AAAA, 15]),
        pid in prop::sample::select(vec![None, Some(1), Some(2)]), port in 1..4_u16,
        dns_id in 0..3_u16, server in 1..4_u8, tcp: bool,
        end in 0..4_usize, reply in 0..10_usize, retries in 0..3_u32,
    ) -> Step {
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        let ask = Ask { name: NAMES[name], qtype, pid, port, dns_id, server, transport };
        Step { pause, ask, end, reply, retries }
    }
}

fn reply(which: usize) -> Reply<'static> {
    match which {
        0 => Reply::Address("192.0.2.7"),
        1 => Reply::Alias(&["cdn.example.net"], None),
        2 => Reply::Nodata,
        3 | 4 => Reply::Rcode(NXDOMAIN),
        5 => Reply::Rcode(SERVFAIL),
        6 => Reply::Truncated,
        7 => Reply::Timeout,
        8 => Reply::Icmp,
        _ => Reply::Parented,
    }
}

/// Returns the lookups of a history and the transactions that are only a resolver's own.
fn run(
    history: &[Step],
    options: LookupOptions,
) -> (Vec<Lookup<'static>>, BTreeSet<MessageId>, u64) {
    let mut bench = Bench::with(options);
    let (mut waiting, mut parented, mut packets, mut now) = (Vec::new(), BTreeSet::new(), 0, 0);
    for step in history {
        now += step.pause;
        bench.expire(now);
        waiting.push(bench.ask(now, step.ask));
        assert!(bench.lookups.counters.open <= options.max_lookups as u64);
        if step.end < waiting.len() {
            let id = waiting.remove(step.end);
            let reply = reply(step.reply);
            if matches!(reply, Reply::Parented) {
                parented.insert(id);
            } else {
                packets += u64::from(step.retries);
            }
            bench.end_after(now, id, &reply, step.retries);
        }
    }
    for id in waiting {
        bench.end(now, id, &Reply::Open);
    }
    (bench.finish(now), parented, packets)
}

fn check(lookup: &Lookup<'_>) -> Result<(), TestCaseError> {
    let LookupFields { transactions, packets, packets_wasted, retries, .. } = lookup.fields;
    prop_assert_eq!(transactions as usize, lookup.members.len());
    prop_assert!(packets_wasted < packets, "one query at least was needed: {:?}", lookup);
    prop_assert!(retries < packets, "the first query repeats nothing: {:?}", lookup);
    let expansions = lookup.names.iter().filter(|name| **name != lookup.fields.qname).count();
    prop_assert_eq!(lookup.fields.search_expansions as usize, expansions);
    prop_assert_eq!(lookup.fields.answered_name.is_some(), lookup.outcome == Outcome::Answered);
    prop_assert!(!lookup.fields.partial || lookup.outcome == Outcome::Answered);
    prop_assert!(lookup.fields.servers_tried as usize >= lookup.fields.resolvers.len());
    prop_assert_eq!(Some(&lookup.id), lookup.members.first());
    Ok(())
}

proptest! {
    #[test]
    fn each_transaction_is_in_one_lookup(history in prop::collection::vec(step(), 1..80)) {
        let options = LookupOptions::DEFAULT;
        let (lookups, parented, resent) = run(&history, options);
        let mut members: Vec<MessageId> =
            lookups.iter().flat_map(|lookup| lookup.members.to_vec()).collect();
        prop_assert_eq!(members.len() + parented.len(), history.len());
        members.sort_unstable();
        members.dedup();
        prop_assert_eq!(members.len() + parented.len(), history.len());
        prop_assert!(members.iter().all(|id| !parented.contains(id)));
        let packets: u64 = lookups.iter().map(|lookup| u64::from(lookup.fields.packets)).sum();
        prop_assert_eq!(packets, members.len() as u64 + resent);
        for lookup in &lookups {
            check(lookup)?;
        }
        let ids: BTreeSet<MessageId> = lookups.iter().map(|lookup| lookup.id).collect();
        prop_assert_eq!(ids.len(), lookups.len(), "each has a name of its own");
        prop_assert_eq!(run(&history, options).0, lookups, "another result the second time");
    }

    /// Nothing is lost in a table that is too small, although a resolver's own query may be emitted
    /// before it is recognized.
    #[test]
    fn small_table_loses_no_transaction(history in prop::collection::vec(step(), 1..80)) {
        let options = LookupOptions { max_lookups: 2, ..LookupOptions::DEFAULT };
        let (lookups, parented, _) = run(&history, options);
        let members: BTreeSet<MessageId> =
            lookups.iter().flat_map(|lookup| lookup.members.to_vec()).collect();
        let counted: usize = lookups.iter().map(|lookup| lookup.members.len()).sum();
        prop_assert_eq!(counted, members.len());
        let missing = history.len() - counted;
        prop_assert!(missing <= parented.len());
        for lookup in &lookups {
            check(lookup)?;
        }
    }
}
