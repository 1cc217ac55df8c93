//! The schedule under a clock of the tests.

use super::*;
use crate::dns::Resolver;
use crate::target::{
    AddressFamily, DnsTarget, Host as TargetHost, HostName, TargetKind, TcpTarget,
};
use hickory_proto::rr::{Name, RecordType};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

const INTERVAL: Duration = Duration::from_mins(1);

const LIMITS: Limits = Limits {
    rounds: 1000,
    rounds_per_host: 1000,
    rate_per_host: 1000.0,
    burst_per_host: 1000.0,
    breaker: BreakerOptions {
        failures: 3,
        rounds: 2,
        backoff: Duration::from_secs(30),
        max_backoff: Duration::from_mins(2),
    },
};

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn target(name: &str, interval: Duration, kind: TargetKind) -> Arc<Target> {
    let timeout = Duration::from_secs(5);
    let (service, name, retries) = ("shop".into(), name.to_owned(), 0);
    Arc::new(Target { service, name, interval, timeout, retries, kind })
}

fn tcp(name: &str, address: [u8; 4], interval: Duration) -> Arc<Target> {
    let name_of_host = HostName::Address(IpAddr::from(address));
    let (family, source) = (AddressFamily::Any, crate::source::Source::default());
    let host = TargetHost { name: name_of_host, port: 443, resolver: None, family, source };
    target(name, interval, TargetKind::Tcp(TcpTarget { host, query_response: Vec::new() }))
}

fn dns(name: &str, resolvers: &[[u8; 4]]) -> Arc<Target> {
    let resolver = |address: &[u8; 4]| {
        Arc::new(Resolver::udp(&format!("{address:?}"), SocketAddr::from((*address, 53))))
    };
    let kind = TargetKind::Dns(DnsTarget {
        name: Name::root(),
        record_type: RecordType::A,
        resolvers: resolvers.iter().map(resolver).collect(),
        rcodes: Vec::new(),
        dnssec: false,
        require_secure: false,
        recursion_desired: true,
        expected: None,
    });
    target(name, INTERVAL, kind)
}

fn service(targets: &[Arc<Target>]) -> [Service; 1] {
    [Service { name: "shop".into(), targets: targets.to_vec() }]
}

fn scheduler(limits: Limits, targets: &[Arc<Target>]) -> Scheduler {
    let mut scheduler = Scheduler::new(limits, Repeat::Always);
    scheduler.set_services(Duration::ZERO, limits, &service(targets));
    scheduler
}

fn balances(scheduler: &Scheduler) -> bool {
    let Probing { rounds, completed, running, skipped, .. } = scheduler.probing();
    *rounds == completed + running + skipped.values().sum::<u64>()
}

fn skipped(scheduler: &Scheduler, reason: &str) -> u64 {
    scheduler.probing().skipped[reason]
}

/// Runs a schedule until `end`, where each round takes `duration` and ends as `reach` says; returns the starts.
fn simulate(
    scheduler: &mut Scheduler,
    end: Duration,
    duration: impl Fn(&Target) -> Duration,
    reach: impl Fn(&Target, Duration) -> Reach,
) -> Vec<(Duration, Arc<Target>)> {
    let mut running = BinaryHeap::new();
    let (mut now, mut starts) = (Duration::ZERO, Vec::new());
    let mut targets = HashMap::new();
    while now <= end {
        for start in scheduler.poll(now) {
            starts.push((now, Arc::clone(&start.target)));
            running.push(Reverse((now + duration(&start.target), start.id)));
            targets.insert(start.id, start.target);
        }
        assert!(balances(scheduler), "{:?}", scheduler.probing());
        let next_end = running.peek().map(|Reverse((at, _))| *at);
        let Some(next) = [scheduler.next_poll(), next_end].into_iter().flatten().min() else {
            break;
        };
        now = next.max(now);
        while let Some(Reverse((_, id))) =
            running.peek().copied().filter(|Reverse((at, _))| *at <= now)
        {
            running.pop();
            let outcome = reach(&targets[&id], now);
            scheduler.finish(now, id, 1, &[outcome]);
        }
    }
    starts
}

fn quick(_: &Target) -> Duration {
    Duration::from_millis(20)
}

fn good(_: &Target, _: Duration) -> Reach {
    Reach::Reached
}

#[test]
fn spreads_targets_evenly_over_their_interval() {
    let address = |number: u16| [10, 0, number.to_be_bytes()[0], number.to_be_bytes()[1]];
    let targets: Vec<_> =
        (0..5000).map(|number| tcp(&format!("t{number}"), address(number), INTERVAL)).collect();
    let mut scheduler = scheduler(LIMITS, &targets);
    let starts = simulate(&mut scheduler, at(119), quick, good);
    let mut seconds = [0_u32; 60];
    for (start, _) in starts.iter().filter(|(start, _)| *start < INTERVAL) {
        seconds[usize::try_from(start.as_secs()).unwrap()] += 1;
    }
    assert_eq!(seconds.iter().sum::<u32>(), 5000, "each target once in its interval");
    // 83 on average; Poisson's law gives values beyond these bounds once in 10⁵ runs.
    assert!(seconds.iter().all(|count| (40..=130).contains(count)), "{seconds:?}");
    // Pearson's chi-squared test, 59 degrees of freedom: 98 is the bound of one in a thousand.
    let expected = 5000.0 / 60.0;
    let chi: f64 =
        seconds.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
    assert!(chi < 98.0, "{chi}");
    let within_100_ms = starts
        .windows(50)
        .filter(|of| of[49].0.checked_sub(of[0].0).unwrap() < Duration::from_millis(100));
    assert_eq!(within_100_ms.count(), 0, "no herd");
}

#[test]
fn keeps_to_the_grid() {
    let targets = [tcp("a", [192, 0, 2, 1], at(7)), tcp("b", [192, 0, 2, 2], at(11))];
    let mut scheduler = scheduler(LIMITS, &targets);
    let starts = simulate(&mut scheduler, at(3600), |_| Duration::from_millis(1300), good);
    for target in &targets {
        let own: Vec<_> = starts.iter().filter(|(_, of)| of == target).map(|(at, _)| *at).collect();
        for (number, start) in own.iter().enumerate() {
            assert_eq!(*start, own[0] + target.interval * u32::try_from(number).unwrap());
        }
    }
    // The first rounds come somewhere in the first interval.
    assert!((841..=843).contains(&starts.len()), "{}", starts.len());
}

#[test]
fn slow_targets_delay_no_others_and_overrun() {
    let slow = tcp("slow", [192, 0, 2, 1], at(10));
    let others: Vec<_> = (0..20).map(|n| tcp(&format!("t{n}"), [192, 0, 3, n], at(10))).collect();
    let limits = Limits { rounds_per_host: 1, ..LIMITS };
    let mut scheduler = scheduler(limits, &[others.clone(), vec![slow.clone()]].concat());
    let takes = |target: &Target| if target.name == "slow" { at(25) } else { quick(target) };
    let starts = simulate(&mut scheduler, at(300), takes, good);
    let count = |of: &Arc<Target>| starts.iter().filter(|(_, target)| target == of).count();
    assert!(others.iter().all(|other| (30..=31).contains(&count(other))));
    assert!((9..=11).contains(&count(&slow)), "every third round");
    assert!((19..=21).contains(&skipped(&scheduler, "overrun")), "{:?}", scheduler.probing());
    assert_eq!(scheduler.probing().late, 0);
}

#[test]
fn limits_rounds_in_all_and_per_host_and_their_rate() {
    let targets: Vec<_> =
        (0..40).map(|n| tcp(&format!("t{n}"), [192, 0, 2, n % 4], at(10))).collect();
    let limits =
        Limits { rounds: 6, rounds_per_host: 2, rate_per_host: 5.0, burst_per_host: 3.0, ..LIMITS };
    let mut scheduler = Scheduler::new(limits, Repeat::Once);
    scheduler.set_services(Duration::ZERO, limits, &service(&targets));
    let first = scheduler.poll(Duration::ZERO);
    assert_eq!(first.len(), 6, "as many as may run in all");
    let hosts: Vec<_> = first.iter().map(|start| start.target.name.clone()).collect();
    assert_eq!(hosts, ["t0", "t1", "t2", "t3", "t4", "t5"], "in order");
    for start in &first {
        scheduler.finish(at(0), start.id, 1, &[Reach::Reached]);
    }
    let mut starts = first.len();
    let mut now = Duration::ZERO;
    while let Some(next) = scheduler.next_poll() {
        now = now.max(next);
        for start in scheduler.poll(now) {
            starts += 1;
            scheduler.finish(now, start.id, 1, &[Reach::Reached]);
        }
    }
    assert_eq!(starts, 40);
    assert!(scheduler.is_done());
    // Each of four hosts has ten rounds: three at once, and five each second.
    assert_eq!(now, Duration::from_millis(1400));
}

#[test]
fn waits_for_all_resolvers_and_holds_up_no_others() {
    let (one, other) = ([192, 0, 2, 1], [192, 0, 2, 2]);
    let targets =
        [dns("a", &[one]), dns("b", &[one, other]), dns("c", &[other]), dns("d", &[one, other])];
    let limits = Limits { rounds_per_host: 1, ..LIMITS };
    let mut scheduler = Scheduler::new(limits, Repeat::Once);
    scheduler.set_services(Duration::ZERO, limits, &service(&targets));
    let names =
        |starts: &[Start]| starts.iter().map(|start| start.target.name.clone()).collect::<Vec<_>>();
    let first = scheduler.poll(at(0));
    assert_eq!(names(&first), ["a", "c"]);
    assert_eq!(scheduler.probing().running, 4, "those that wait, too");
    scheduler.finish(at(2), first[0].id, 1, &[Reach::Reached]);
    assert_eq!(names(&scheduler.poll(at(2))), Vec::<String>::new(), "the other resolver is busy");
    scheduler.finish(at(3), first[1].id, 1, &[Reach::Reached]);
    let second = scheduler.poll(at(3));
    assert_eq!(names(&second), ["b"]);
    assert_eq!((second[0].delay, scheduler.probing().late), (at(3), 1));
    scheduler.finish(at(4), second[0].id, 2, &[Reach::Reached; 2]);
    assert_eq!(names(&scheduler.poll(at(4))), ["d"]);
    assert_eq!(scheduler.probing().records, 4);
}

#[test]
fn spaces_rounds_of_unreachable_endpoints() {
    let down = tcp("down", [192, 0, 2, 1], at(10));
    let mut scheduler = scheduler(LIMITS, &[down, tcp("up", [192, 0, 2, 2], at(10))]);
    let recovery = at(1800);
    let reach = |target: &Target, now| match target.name.as_str() {
        "down" if now < recovery => Reach::Unreached,
        _ => Reach::Reached,
    };
    let starts = simulate(&mut scheduler, at(3600), quick, reach);
    let of = |name: &str| {
        starts.iter().filter(|(_, t)| t.name == name).map(|(at, _)| *at).collect::<Vec<_>>()
    };
    assert_eq!(of("up").len(), 360, "not concerned");
    let down = of("down");
    let before = down.iter().filter(|at| **at < recovery).count();
    assert!((17..=21).contains(&before), "three, then after 30 s, 60 s and every 120 s: {before}");
    let seen = down.iter().find(|at| **at >= recovery).unwrap();
    assert!(*seen < recovery + LIMITS.breaker.max_backoff, "{seen:?}");
    let after = down.iter().filter(|at| **at > *seen).count() as u64;
    assert!(after.abs_diff((3600 - seen.as_secs()) / 10) <= 1, "each round from then on: {after}");
    let probing = scheduler.probing();
    assert_eq!(
        skipped(&scheduler, "breaker"),
        probing.rounds - probing.completed - probing.running
    );
}

#[test]
fn skips_no_target_before_its_own_rounds_have_failed() {
    let targets: Vec<_> = (0..20).map(|n| tcp(&format!("t{n}"), [192, 0, 2, 1], at(10))).collect();
    let mut scheduler = scheduler(LIMITS, &targets);
    let (outage, recovery) = (at(100), at(400));
    let reach = |_: &Target, now| {
        if (outage..recovery).contains(&now) { Reach::Unreached } else { Reach::Reached }
    };
    let starts = simulate(&mut scheduler, at(600), quick, reach);
    let count = |target: &Arc<Target>, from: Duration, to: Duration| {
        starts.iter().filter(|(at, of)| of == target && (from..to).contains(at)).count()
    };
    for target in &targets {
        assert_eq!(
            count(target, outage, at(120)),
            2,
            "{}: as many as a verdict needs",
            target.name
        );
        assert!(count(target, at(540), at(600)) >= 6, "all rounds again");
    }
    let during = starts.iter().filter(|(time, _)| (at(120)..recovery).contains(time)).count();
    assert!((3..=12).contains(&during), "trials alone: {during}");
}

#[test]
fn counts_what_could_not_be_measured_as_skipped() {
    let limits =
        Limits { breaker: BreakerOptions { failures: 1, rounds: 1, ..LIMITS.breaker }, ..LIMITS };
    let mut scheduler = scheduler(limits, &[tcp("a", [192, 0, 2, 1], at(600))]);
    for round in 0..3 {
        let now = scheduler.next_poll().unwrap();
        let starts = scheduler.poll(now);
        assert_eq!(starts.len(), 1, "not even if the round was a trial");
        match round {
            0 => scheduler.finish(now, starts[0].id, 1, &[Reach::Unreached]),
            _ => scheduler.finish_skipped(now, starts[0].id, "unsupported"),
        }
    }
    let probing = scheduler.probing();
    assert_eq!((probing.completed, probing.running, probing.records), (1, 0, 1));
    assert_eq!(skipped(&scheduler, "unsupported"), 2);
    assert!(balances(&scheduler));
}

#[test]
fn asks_all_resolvers_while_one_answers() {
    let mut scheduler = scheduler(LIMITS, &[dns("a", &[[192, 0, 2, 1], [192, 0, 2, 2]])]);
    for _ in 0..20 {
        let now = scheduler.next_poll().unwrap();
        let starts = scheduler.poll(now);
        assert_eq!(starts.len(), 1);
        scheduler.finish(now, starts[0].id, 2, &[Reach::Unreached, Reach::Reached]);
    }
    assert_eq!(scheduler.open_breakers(), 1);
}

#[test]
fn reload_keeps_phases_and_breakers() {
    let kept = tcp("kept", [192, 0, 2, 1], at(10));
    let before = tcp("changed", [192, 0, 2, 4], at(10));
    let changed = Target { timeout: at(1), ..(*before).clone() };
    let gone = tcp("gone", [192, 0, 2, 2], at(10));
    let breaker = BreakerOptions { failures: 1, rounds: 1, ..LIMITS.breaker };
    let limits = Limits { breaker, ..LIMITS };
    let mut scheduler = scheduler(limits, &[kept.clone(), before, gone]);
    let starts = simulate(&mut scheduler, at(11), quick, |_, _| Reach::Unreached);
    let first = starts.iter().find(|(_, target)| target.name == "kept").unwrap().0;
    let new = tcp("new", [192, 0, 2, 3], at(10));
    scheduler.set_services(at(12), limits, &service(&[kept, Arc::new(changed), new]));
    assert_eq!(scheduler.open_breakers(), 2, "the one of the removed target is forgotten");
    let mut seen = BTreeSet::new();
    let mut due = Vec::new();
    for second in 12..60 {
        for start in scheduler.poll(at(second)) {
            if start.target.name == "kept" {
                due.push(at(second).checked_sub(start.delay).unwrap());
            } else if start.target.name == "changed" && !seen.contains("changed") {
                assert_eq!(start.target.timeout, at(1), "the new settings");
                assert!(at(second) < at(22), "another target, of which no round has failed");
            }
            seen.insert(start.target.name.clone());
            scheduler.finish(at(second), start.id, 1, &[Reach::Reached]);
        }
    }
    assert_eq!(seen, BTreeSet::from(["changed", "kept", "new"].map(str::to_owned)));
    let since = due[0].checked_sub(first).unwrap();
    assert!(since.as_secs().is_multiple_of(10) && since.subsec_nanos() == 0, "{since:?}");
    assert!(due[0] >= first + limits.breaker.backoff, "the breaker stays open: {due:?} {first:?}");
}

#[test]
fn reloads_leave_nothing_behind() {
    let mut scheduler = Scheduler::new(LIMITS, Repeat::Always);
    for reload in 0..50_u8 {
        let targets: Vec<_> =
            (0..20).map(|n| tcp(&format!("t{reload}-{n}"), [10, 0, reload, n], at(10))).collect();
        scheduler.set_services(at(0), LIMITS, &service(&targets));
        assert_eq!((scheduler.due.len(), scheduler.slots.len() <= 40), (20, true));
        assert!(scheduler.hosts.states().len() <= 40 && scheduler.endpoints.states().len() <= 40);
    }
    let now = scheduler.next_poll().unwrap();
    let starts = scheduler.poll(now);
    assert!(!scheduler.is_removed(starts[0].id));
    scheduler.set_services(now, LIMITS, &[]);
    assert!(scheduler.is_removed(starts[0].id), "its round still runs");
    scheduler.finish(now, starts[0].id, 1, &[Reach::Reached]);
    assert!(scheduler.is_done() && balances(&scheduler));
}

#[test]
fn a_round_that_waits_for_its_host_follows_its_target() {
    let limits = Limits { rounds_per_host: 1, ..LIMITS };
    let at_address = |n, address| tcp(&format!("t{n}"), [192, 0, 2, address], at(10));
    let targets = |address| -> Vec<_> { (0..3).map(|n| at_address(n, address)).collect() };
    let mut scheduler = Scheduler::new(limits, Repeat::Once);
    scheduler.set_services(at(0), limits, &service(&targets(1)));
    let running = scheduler.poll(at(0));
    assert_eq!(running.len(), 1, "two wait for the host");
    scheduler.set_services(at(1), limits, &service(&targets(2)));
    scheduler.finish(at(1), running[0].id, 1, &[Reach::Reached]);
    for second in 1..4 {
        for start in scheduler.poll(at(second)) {
            scheduler.finish(at(second), start.id, 1, &[Reach::Reached]);
        }
    }
    assert_eq!(scheduler.probing().completed, 3);
    assert!(scheduler.is_done() && balances(&scheduler));
}

#[test]
fn stop_accounts_for_every_round() {
    let targets: Vec<_> = (0..10).map(|n| tcp(&format!("t{n}"), [192, 0, 2, 1], at(10))).collect();
    let limits = Limits { rounds_per_host: 2, ..LIMITS };
    let mut scheduler = Scheduler::new(limits, Repeat::Once);
    scheduler.set_services(Duration::ZERO, limits, &service(&targets));
    let starts = scheduler.poll(at(0));
    scheduler.stop();
    assert_eq!(skipped(&scheduler, "shutdown"), 8);
    scheduler.finish(at(1), starts[0].id, 1, &[Reach::Reached]);
    assert!(scheduler.poll(at(1)).is_empty() && !scheduler.is_done());
    scheduler.give_up();
    assert_eq!((skipped(&scheduler, "shutdown"), scheduler.probing().completed), (9, 1));
    assert!(scheduler.is_done() && balances(&scheduler));
}

#[derive(Clone, Debug)]
enum Step {
    Advance(u16),
    Finish(prop::sample::Index, u8),
    Reload(Vec<(u8, u8, u8)>),
    Stop,
}

fn step() -> impl Strategy<Value = Step> {
    let target = (0_u8..30, 0_u8..4, 1_u8..5);
    prop_oneof![
        8 => (0_u16..5000).prop_map(Step::Advance),
        12 => (any::<prop::sample::Index>(), 0_u8..3).prop_map(|(index, reach)| Step::Finish(index, reach)),
        1 => prop::collection::vec(target, 0..30).prop_map(Step::Reload),
        1 => Just(Step::Stop),
    ]
}

proptest! {
    #[test]
    fn every_round_is_counted_at_every_moment(
        steps in prop::collection::vec(step(), 1..300),
        rounds in 1_usize..8,
        rounds_per_host in 1_usize..4,
        rate_per_host in 0.3_f64..10.0,
    ) {
        let limits = Limits { rounds, rounds_per_host, rate_per_host, burst_per_host: 2.0, ..LIMITS };
        let mut scheduler = Scheduler::new(limits, Repeat::Always);
        let (mut now, mut running) = (Duration::ZERO, Vec::<Start>::new());
        let initial = (0..20).map(|n| (n, n % 4, 1 + n % 5)).collect();
        let mut is_stopped = false;
        for step in std::iter::once(Step::Reload(initial)).chain(steps) {
            match step {
                Step::Advance(millis) => now += Duration::from_millis(millis.into()),
                Step::Finish(index, reach) if !running.is_empty() => {
                    let start = running.swap_remove(index.index(running.len()));
                    let reach = [Reach::Reached, Reach::Unreached, Reach::Unknown][usize::from(reach)];
                    scheduler.finish(now, start.id, 1, &[reach]);
                }
                Step::Reload(targets) if !is_stopped => {
                    // Names are unique.
                    let targets: BTreeMap<_, _> = targets.into_iter().map(|(name, host, interval)| {
                        (name, tcp(&format!("t{name}"), [192, 0, 2, host], at(interval.into())))
                    }).collect();
                    let targets: Vec<_> = targets.into_values().collect();
                    scheduler.set_services(now, limits, &service(&targets));
                }
                Step::Finish(..) | Step::Reload(_) => {}
                Step::Stop => {
                    is_stopped = true;
                    scheduler.stop();
                }
            }
            let started = scheduler.poll(now);
            prop_assert!(!is_stopped || started.is_empty());
            running.extend(started);
            prop_assert!(balances(&scheduler), "{:?}", scheduler.probing());
            prop_assert!(running.len() <= rounds);
            prop_assert_eq!(scheduler.running(), running.len());
            let ids: BTreeSet<_> = running.iter().map(|start| start.id).collect();
            prop_assert_eq!(ids.len(), running.len(), "a target runs once at a time");
        }
        // Whatever waits gets its turn once the others end.
        scheduler.set_services(now, limits, &[]);
        for start in running {
            scheduler.finish(now, start.id, 1, &[Reach::Reached]);
        }
        prop_assert!(scheduler.poll(now).is_empty());
        prop_assert!(balances(&scheduler) && scheduler.is_done(), "{:?}", scheduler);
    }

    #[test]
    fn no_round_is_forgotten(rounds in 1_usize..4, rounds_per_host in 1_usize..4, count in 1_u8..60) {
        let limits = Limits { rounds, rounds_per_host, rate_per_host: 3.0, burst_per_host: 2.0, ..LIMITS };
        let targets: Vec<_> = (0..count).map(|n| dns(&format!("t{n}"), &[[192, 0, 2, n % 3], [192, 0, 2, n % 5]])).collect();
        let mut scheduler = Scheduler::new(limits, Repeat::Once);
        scheduler.set_services(Duration::ZERO, limits, &service(&targets));
        let takes = |target: &Target| Duration::from_millis(target.name.len() as u64 * 700);
        let starts = simulate(&mut scheduler, at(3600), takes, good);
        prop_assert_eq!(starts.len(), usize::from(count));
        prop_assert!(scheduler.is_done());
    }
}
