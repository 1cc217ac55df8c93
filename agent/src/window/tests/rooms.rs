//! Who finds room in a flood, and how much memory it all takes.

use super::*;
use crate::observation::Process;

/// Zones that are asked for all the time.
const STEADY: u32 = 40;

/// Of so many transactions in the flood, one is of something new that stays; in each pane, it begins
/// after so many.
const NEW: u32 = 20;
const NEW_FROM: u32 = 1000;

/// Some steady traffic, and from the second pane on, a flood of new names, zones, resolvers, clients and
/// processes, with something in it that stays.
fn flood(panes: u64, each_pane: u32) -> (Vec<Told>, Windows) {
    let mut windows = Windows::new(at(0), LATENESS);
    let mut told = Vec::new();
    let mut keep =
        |span: &Span, groups: &Groups| told.push(Told { span: *span, groups: groups.clone() });
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
            let observation = Observation {
                client: SocketAddr::from(([10, a, b, c], 40_000)),
                resolver: if steady { "192.0.2.53" } else { &other },
                qname: Some(&qname),
                zone: Some(&zone),
                latency_ms: Some(f64::from(number % 100_000) / 100.0 + 0.001),
                process: Some(Process {
                    pid: 1,
                    uid: 1,
                    comm: if steady { "curl" } else { &other },
                    exe: None,
                }),
                pod: Some(&zone),
                ..example(ts)
            };
            windows.observe(&observation);
        }
    }
    windows.finish(at(panes * 10), &mut keep);
    (told, windows)
}

fn named<'a>(told: &'a Told, value: &str) -> Option<&'a Tally> {
    let mut groups = told.groups.iter();
    groups.find(|(group, _)| group.value.as_deref() == Some(value)).map(|(_, tally)| tally)
}

#[test]
fn a_flood_does_not_push_out_what_is_always_there() {
    let each = 5_000;
    let (told, _) = flood(8, each);
    let whole = |told: &&Told| !told.span.partial && told.span.start >= at(10);
    for told in told.iter().filter(whole) {
        let panes = told.span.length.as_secs() / 10;
        for zone in 0..STEADY {
            let tally = named(told, &format!("steady{zone}.test")).unwrap();
            let exact = panes * u64::from(each / 10 / STEADY);
            assert!(tally.transactions.abs_diff(exact) <= panes && !tally.undercounted);
        }
        for value in ["192.0.2.53", "curl"] {
            assert_eq!(named(told, value).unwrap().transactions, panes * u64::from(each / 10));
        }
        for grouping in [Grouping::Resolver, Grouping::Zone, Grouping::Process, Grouping::Pod] {
            let groups = told.groups.iter().filter(|(group, _)| group.grouping == grouping);
            let sum: u64 = groups.map(|(_, tally)| tally.transactions).sum();
            assert_eq!(sum, panes * u64::from(each));
        }
    }
}

#[test]
fn what_is_heavy_has_a_seat_ten_seconds_later() {
    let each = 5_000;
    // In the first pane of the flood all seats are taken before it comes.
    let (told, _) = flood(8, each);
    for told in told.iter().filter(|told| told.span.start >= at(20)) {
        let tally = named(told, "new.test").unwrap();
        let panes = told.span.length.as_secs() / 10;
        assert!(
            told.span.partial || tally.transactions == panes * u64::from((each - NEW_FROM) / NEW)
        );
    }
}

#[test]
fn the_same_traffic_finds_the_same_rooms() {
    let list = || {
        let (told, _) = flood(7, 1_000);
        let all = told.iter().flat_map(|told| told.groups.sorted());
        all.map(|(group, tally)| format!("{group:?} {}", tally.transactions)).collect::<Vec<_>>()
    };
    assert_eq!(list(), list());
}

#[test]
fn memory_is_bounded_by_less_than_is_promised() {
    assert!(Windows::max_bytes(LATENESS) <= 64 << 20, "{}", Windows::max_bytes(LATENESS));
}

/// As large as traffic can make it: every group is there, with every bin, and all sketches full of the
/// longest names.
#[test]
fn the_bound_is_one() {
    let (mut groups, mut measurer) = (Groups::default(), Measurer::default());
    let long = "x".repeat(300);
    let mut number = 0_u32;
    for round in 0..1100_u32 {
        for group in 0..110_u32 {
            number += 1;
            let vantage = Vantage::ALL[group as usize % 3];
            let (name, zone) = (format!("{number:06}{long}"), format!("{group:03}{long}"));
            let [.., a, b, c] = number.to_be_bytes();
            let observation = Observation {
                vantage,
                client: SocketAddr::from(([10, a, b, c], 40_000)),
                resolver: &zone,
                qname: Some(&name),
                zone: Some(&zone),
                qtype: Some(u16::try_from(number % 60_000).unwrap()),
                rcode: Some(u16::try_from(round % 4096).unwrap()),
                latency_ms: Some(1e-3 * 1.02_f64.powi(i32::try_from(round).unwrap())),
                process: Some(Process { pid: 1, uid: 1, comm: &zone, exe: None }),
                pod: Some(&zone),
                ..example(at(1))
            };
            groups.add(&observation, &measurer.measure(&observation));
        }
    }
    assert!(groups.bytes() <= Groups::MAX_BYTES + Groups::MAX_OPEN_BYTES);
    groups.settle();
    let (bytes, bound) = (groups.bytes(), Groups::MAX_BYTES);
    assert!(bytes <= bound && bytes > bound / 2, "{bytes} {bound}");
    assert!(measurer.bytes() <= Measurer::MAX_BYTES);
}
