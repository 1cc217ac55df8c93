//! Slots and memory during a flood.

use super::*;
use crate::view::ProcessView;

/// Number of zones that are queried all the time.
const STEADY: u32 = 40;

/// One of this many transactions of the flood belongs to a new group that stays; in each pane, it
/// starts after this many.
const NEW: u32 = 20;
const NEW_FROM: u32 = 1000;

/// Steady traffic and, from the second pane on, a flood of new names, zones, resolvers, clients and
/// processes with one new group that stays.
fn flood(panes: u64, each_pane: u32) -> (Vec<ClosedWindow>, Windows) {
    let mut windows = Windows::new(at(0), LATENESS);
    let mut closed = Vec::new();
    let mut keep = |span: &Span, groups: &Groups| {
        closed.push(ClosedWindow { span: *span, groups: groups.clone() });
    };
    let mut number = 0_u32;
    for pane in 0..panes {
        let ts = at(pane * 10 + 1);
        windows.expire(ts, &mut keep);
        for turn in 0..each_pane {
            number += 1;
            let steady = turn % 10 == 9;
            if pane == 0 && !steady {
                continue;
            }
            let zone = match turn {
                _ if steady => format!("steady{}.test", turn / 10 % STEADY),
                _ if turn >= NEW_FROM && turn % NEW == 0 => "new.test".into(),
                _ => format!("zone{number}.test"),
            };
            let (qname, other) = (format!("x{number}.{zone}"), format!("{number:015}"));
            let [.., a, b, c] = number.to_be_bytes();
            let observation = TransactionView {
                client: SocketAddr::from(([10, a, b, c], 40_000)),
                resolver: if steady { "192.0.2.53" } else { &other },
                qname: Some(&qname),
                zone: Some(&zone),
                latency_ms: Some(f64::from(number % 100_000) / 100.0 + 0.001),
                process: Some(ProcessView { pid: 1, comm: if steady { "curl" } else { &other } }),
                pod: Some(&zone),
                ..example(ts)
            };
            windows.observe(&observation);
        }
    }
    windows.finish(at(panes * 10), &mut keep);
    (closed, windows)
}

fn named<'a>(closed: &'a ClosedWindow, value: &str) -> Option<&'a Tally> {
    let mut groups = closed.groups.iter();
    groups.find(|(group, _)| group.value.as_deref() == Some(value)).map(|(_, tally)| tally)
}

#[test]
fn steady_groups_keep_slots_during_flood() {
    let each = 5_000;
    let (closed, _) = flood(8, each);
    let whole = |closed: &&ClosedWindow| !closed.span.partial && closed.span.start >= at(10);
    for closed in closed.iter().filter(whole) {
        let panes = closed.span.length.as_secs() / 10;
        for zone in 0..STEADY {
            let tally = named(closed, &format!("steady{zone}.test")).unwrap();
            let exact = panes * u64::from(each / 10 / STEADY);
            assert!(tally.transactions.abs_diff(exact) <= panes && !tally.undercounted);
        }
        for value in ["192.0.2.53", "curl"] {
            assert_eq!(named(closed, value).unwrap().transactions, panes * u64::from(each / 10));
        }
        for grouping in [Grouping::Resolver, Grouping::Zone, Grouping::Process, Grouping::Pod] {
            let groups = closed.groups.iter().filter(|(group, _)| group.grouping == grouping);
            let sum: u64 = groups.map(|(_, tally)| tally.transactions).sum();
            assert_eq!(sum, panes * u64::from(each));
        }
    }
}

#[test]
fn large_new_group_gets_slot_in_next_pane() {
    let each = 5_000;
    // In the first pane of the flood all slots are taken before it arrives.
    let (closed, _) = flood(8, each);
    for closed in closed.iter().filter(|closed| closed.span.start >= at(20)) {
        let tally = named(closed, "new.test").unwrap();
        let panes = closed.span.length.as_secs() / 10;
        assert!(
            closed.span.partial || tally.transactions == panes * u64::from((each - NEW_FROM) / NEW)
        );
    }
}

#[test]
fn slot_assignment_is_reproducible() {
    let list = || {
        let (closed, _) = flood(7, 1_000);
        let all = closed.iter().flat_map(|closed| closed.groups.sorted());
        all.map(|(group, tally)| format!("{group:?} {}", tally.transactions)).collect::<Vec<_>>()
    };
    assert_eq!(list(), list());
}

#[test]
fn memory_bound_is_below_64_mib() {
    assert!(Windows::max_bytes(LATENESS) <= 64 << 20, "{}", Windows::max_bytes(LATENESS));
}

/// The largest possible traffic: every group, every bin, and all sketches full of the longest
/// names.
#[test]
fn memory_bound_holds() {
    let (mut groups, mut measurer) = (Groups::default(), Measurer::default());
    measurer.pairs = true;
    let long = "x".repeat(300);
    let mut number = 0_u32;
    for round in 0..1100_u32 {
        for group in 0..110_u32 {
            number += 1;
            let vantage = Vantage::ALL[group as usize % 3];
            let (name, zone) = (format!("{number:06}{long}"), format!("{group:03}{long}"));
            let [.., a, b, c] = number.to_be_bytes();
            let observation = TransactionView {
                vantage,
                client: SocketAddr::from(([10, a, b, c], 40_000)),
                resolver: &zone,
                qname: Some(&name),
                zone: Some(&zone),
                qtype: Some(u16::try_from(number % 60_000).unwrap()),
                rcode: Some(u16::try_from(round % 4096).unwrap()),
                latency_ms: Some(1e-3 * 1.02_f64.powi(i32::try_from(round).unwrap())),
                process: Some(ProcessView { pid: 1, comm: &zone }),
                pod: Some(&zone),
                ..example(at(1))
            };
            groups.add(&observation, &measurer.measure(&observation));
        }
    }
    assert!(groups.bytes() <= Groups::MAX_BYTES_WITH_PAIRS + Groups::MAX_OPEN_BYTES);
    groups.finish();
    let (bytes, bound) = (groups.bytes(), Groups::MAX_BYTES_WITH_PAIRS);
    assert!(bytes <= bound && bytes > bound / 2, "{bytes} {bound}");
    assert!(measurer.bytes() <= Measurer::MAX_BYTES);
}
