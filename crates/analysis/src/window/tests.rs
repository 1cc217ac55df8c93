mod batches;
mod capacity;
mod clock;

use super::*;
use crate::view::testing::example;
use dnscribe_record::Merge;
use dnscribe_sketch::{DistinctSketch, TopSketch};
use dnscribe_transaction::pair::Status;
use proptest::prelude::*;
use std::net::SocketAddr;

const EPOCH: u64 = 1_700_000_000;
const LATENESS: Duration = Duration::from_secs(6);

/// Values of a test transaction.
#[derive(Clone, Debug)]
struct TestTransaction {
    millis: u64,
    zone: u16,
    client: u8,
    latency: f64,
}

impl TestTransaction {
    fn ts(&self) -> Timestamp {
        Timestamp::from_nanos(EPOCH * 1_000_000_000 + self.millis * 1_000_000)
    }

    fn with<T>(&self, take: impl FnOnce(&TransactionView<'_>) -> T) -> T {
        let zone = format!("zone{}.test", self.zone);
        take(&TransactionView {
            client: SocketAddr::from(([10, 0, 0, self.client], 40_000)),
            qname: Some(&zone),
            zone: Some(&zone),
            latency_ms: Some(self.latency),
            ..example(self.ts())
        })
    }
}

fn given(seconds: std::ops::Range<u64>) -> impl Strategy<Value = Vec<TestTransaction>> {
    let millis = seconds.start * 1000..seconds.end * 1000;
    let one = (millis, 0..300_u16, 0..20_u8, 0.1..500.0_f64).prop_map(
        |(millis, zone, client, latency)| TestTransaction { millis, zone, client, latency },
    );
    prop::collection::vec(one, 0..400).prop_map(|mut all| {
        all.sort_by_key(|given| given.millis);
        all
    })
}

/// A closed window.
struct ClosedWindow {
    span: Span,
    groups: Groups,
}

impl ClosedWindow {
    fn node(&self) -> &Tally {
        self.groups.iter().find(|(group, _)| group.grouping == Grouping::Node).unwrap().1
    }
}

/// A point in time, in seconds after the epoch.
fn at(seconds: u64) -> Timestamp {
    Timestamp::from_nanos((EPOCH + seconds) * 1_000_000_000)
}

fn run(all: &[TestTransaction]) -> (Vec<ClosedWindow>, Windows) {
    let mut windows = Windows::new(at(0), LATENESS);
    windows.count_pairs(true);
    let mut closed = Vec::new();
    let mut keep = |span: &Span, groups: &Groups| {
        closed.push(ClosedWindow { span: *span, groups: groups.clone() });
    };
    for given in all {
        windows.expire(given.ts(), &mut keep);
        given.with(|event| windows.observe(event));
    }
    let end = all.last().map_or(at(0), TestTransaction::ts);
    windows.finish(end, &mut keep);
    (closed, windows)
}

fn of(closed: &[ClosedWindow], length: u64, step: u64) -> impl Iterator<Item = &ClosedWindow> {
    closed.iter().filter(move |closed| {
        closed.span.length.as_secs() == length && closed.span.step.as_secs() == step
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn tumbling_windows_count_each_transaction_once(all in given(0..700)) {
        let (closed, windows) = run(&all);
        prop_assert_eq!(windows.late, 0);
        for length in [10, 60, 300] {
            let sum: u64 = of(&closed, length, length).map(|closed| closed.node().transactions).sum();
            prop_assert_eq!(sum, all.len() as u64, "{}", length);
            for closed in of(&closed, length, length) {
                prop_assert_eq!(closed.span.start.as_nanos() / 1_000_000_000 % length, 0);
                let inside = all.iter().filter(|given| {
                    let since = given.ts().as_nanos().wrapping_sub(closed.span.start.as_nanos());
                    since < length * 1_000_000_000
                });
                prop_assert_eq!(closed.node().transactions, inside.count() as u64);
            }
        }
    }

    #[test]
    fn sliding_window_covers_last_minute(all in given(0..200)) {
        let (closed, _) = run(&all);
        for closed in of(&closed, 60, 10) {
            let inside = all.iter().filter(|given| {
                let since = given.ts().as_nanos().wrapping_sub(closed.span.start.as_nanos());
                since < 60_000_000_000
            });
            prop_assert_eq!(closed.node().transactions, inside.count() as u64);
        }
    }

    #[test]
    fn groups_and_other_add_up(all in given(0..400)) {
        let (closed, _) = run(&all);
        for closed in &closed {
            for grouping in [
                Grouping::Resolver, Grouping::Zone, Grouping::Qtype, Grouping::Process,
                Grouping::ResolverZone,
            ] {
                let groups = || closed.groups.iter().filter(|(group, _)| group.grouping == grouping);
                let sum: u64 = groups().map(|(_, tally)| tally.transactions).sum();
                prop_assert_eq!(sum, closed.node().transactions);
                let different: std::collections::BTreeSet<_> = groups().map(|(group, _)| group).collect();
                prop_assert_eq!(different.len(), groups().count(), "one record for each group");
                let named = groups().filter(|(group, _)| group.value.is_some()).count();
                prop_assert!(named <= grouping.max_groups(), "{} {:?}", named, grouping);
            }
        }
    }

    #[test]
    fn named_group_is_complete_unless_marked_undercounted(all in given(0..400)) {
        let (closed, _) = run(&all);
        for closed in &closed {
            for (group, tally) in closed.groups.iter().filter(|(group, _)| group.grouping == Grouping::Zone) {
                let Some(zone) = &group.value else { continue };
                let of_zone = all.iter().filter(|given| {
                    let since = given.ts().as_nanos().wrapping_sub(closed.span.start.as_nanos());
                    u128::from(since) < closed.span.length.as_nanos()
                        && **zone == format!("zone{}.test", given.zone)
                });
                let exact = of_zone.count() as u64;
                prop_assert!(tally.transactions == exact || tally.undercounted && tally.transactions < exact);
                prop_assert!(!tally.undercounted || closed.span.length.as_secs() > 10);
            }
        }
    }

    #[test]
    fn two_nodes_merged_are_one_that_saw_both(one in given(0..10), other in given(0..10)) {
        let mut both = [one.clone(), other.clone()].concat();
        both.sort_by_key(|given| given.millis);
        let [one, other, both] = [&one, &other, &both].map(|all| run(all).0);
        let first = |closed: &[ClosedWindow]| of(closed, 10, 10).next().map(|closed| closed.node().clone());
        if let (Some(mut merged), Some(other), Some(both)) = (first(&one), first(&other), first(&both)) {
            merged.merge(&other);
            prop_assert_eq!(merged.transactions, both.transactions);
            prop_assert_eq!(merged.statuses, both.statuses);
            prop_assert_eq!(merged.latency.quantile(0.99), both.latency.quantile(0.99));
            prop_assert_eq!(merged.entropy, both.entropy);
            let [one, other] = [&merged, &both].map(|tally| tally.clients.estimate().value);
            prop_assert!((one - other).abs() < 0.01 * other + 0.01, "{} {}", one, other);
        }
    }
}

#[test]
fn second_responses_add_nothing_of_the_query() {
    let mut windows = Windows::new(at(0), LATENESS);
    let query = TransactionView { retries: 1, query_bytes: Some(54), ..example(at(1)) };
    windows.observe(&query);
    for status in [Status::Duplicate, Status::Late, Status::Orphan] {
        windows.observe(&TransactionView { status, ..query });
    }
    let mut found = Vec::new();
    windows.finish(at(2), &mut |span, groups| {
        let tally = ClosedWindow { span: *span, groups: groups.clone() };
        found.push((tally.node().transactions, tally.node().retries, tally.node().query_bytes));
    });
    assert!(!found.is_empty() && found.iter().all(|one| *one == (4, 1, 54)), "{found:?}");
}
