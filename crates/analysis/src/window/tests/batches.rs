//! Counting transactions in a batch equals counting them one by one.

use super::*;

/// Returns everything that a record contains of a window's groups, as text.
fn contents(groups: &Groups) -> Vec<String> {
    let each = groups.sorted().into_iter().map(|(group, tally)| {
        let distinct =
            [&tally.qnames, &tally.clients, &tally.resolvers].map(DistinctSketch::serialize);
        let tops = tally.tops.as_ref().map(|tops| {
            [&tops.qnames, &tops.zones, &tops.clients, &tops.processes].map(|top| top.serialize(10))
        });
        let counts = Tally { tops: None, ..tally.clone() };
        let counts = (
            (counts.transactions, counts.statuses, counts.rcodes.sorted(), counts.qtypes.sorted()),
            (counts.query_bytes, counts.response_bytes, counts.successes, counts.retries),
            (counts.entropy, counts.label_lengths, counts.min_ttl, counts.latency.serialize()),
        );
        format!("{group:?} {counts:?} {distinct:?} {tops:?}")
    });
    each.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn batch_equals_one_by_one(all in given(0..10)) {
        // No sketch of most frequent values evicts anything.
        let (mut together, mut one_by_one) = (Groups::default(), Groups::default());
        let mut measurer = Measurer::default();
        for (number, given) in all.iter().enumerate() {
            let resolver = format!("192.0.2.{}", number % 3);
            given.with(|event| {
                let event = TransactionView {
                    resolver: &resolver,
                    qname: event.qname.filter(|_| given.client != 7),
                    qtype: Some(u16::from(given.client) % 5),
                    ..*event
                };
                together.add(&event, &measurer.measure(&event));
                one_by_one.add(&event, &Measurer::default().measure(&event));
                one_by_one.finish();
            });
        }
        together.finish();
        prop_assert_eq!(together.iter().count(), one_by_one.iter().count());
        let keeps_all = |groups: &Groups| {
            let tops = groups.iter().filter_map(|(_, tally)| tally.tops.as_deref());
            tops.flat_map(|tops| [&tops.qnames, &tops.zones, &tops.clients])
                .all(|top| top.ranked(usize::MAX).iter().all(|row| row.lower == row.upper))
        };
        if keeps_all(&one_by_one) {
            prop_assert_eq!(contents(&together), contents(&one_by_one));
        }
        let totals = |groups: &Groups| -> Vec<[u64; 4]> {
            let tops = groups.sorted().into_iter().filter_map(|(_, tally)| tally.tops.as_deref());
            tops.map(|tops| [&tops.qnames, &tops.zones, &tops.clients, &tops.processes].map(TopSketch::total)).collect()
        };
        prop_assert_eq!(totals(&together), totals(&one_by_one));
    }
}

/// More values than a table of the buffer has rows, in more transactions than a batch holds.
#[test]
fn frequent_values_keep_bounds_during_flood() {
    let (mut groups, mut measurer) = (Groups::default(), Measurer::default());
    for number in 0..20_000_u32 {
        let often = number % 4 == 0;
        let qname = if often { "often.test".into() } else { format!("x{number}.test") };
        let [.., a, b, c] = number.to_be_bytes();
        let client = if often { [10, 0, 0, 1] } else { [11, a, b, c] };
        let event = TransactionView {
            client: SocketAddr::from((client, 40_000)),
            qname: Some(&qname),
            zone: Some(&qname),
            ..example(at(1))
        };
        groups.add(&event, &measurer.measure(&event));
    }
    groups.finish();
    for (group, tally) in groups.iter().filter(|(_, tally)| tally.tops.is_some()) {
        let tops = tally.tops.as_deref().unwrap();
        assert_eq!(tally.transactions, 20_000, "{group:?}");
        for (top, value) in
            [(&tops.qnames, "often.test"), (&tops.zones, "often.test"), (&tops.clients, "10.0.0.1")]
        {
            assert_eq!(top.total(), 20_000);
            let first = &top.ranked(1)[0];
            assert!(
                &*first.value == value && (first.lower..=first.upper).contains(&5_000),
                "{first:?}"
            );
        }
    }
}
