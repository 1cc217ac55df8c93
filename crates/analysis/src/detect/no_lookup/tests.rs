use super::*;
use crate::detect::tests::uses::{Program, findings};
use crate::heap;
use std::net::Ipv4Addr;

/// Since when connections are captured.
const SINCE_NS: u64 = 1_000;
const OLD: Program = Program { comm: "old", pid: 1, start_ns: 10 };
const NEW: Program = Program { comm: "beacon", pid: 2, start_ns: 2_000 };
const CACHE: Program = Program { comm: "nscd", pid: 3, start_ns: 10 };
const REMOTE: &str = "203.0.113.9:443";
/// Behind the hour of grace.
const LATER: u64 = 4_000;

fn detector(ignored: &[&str], hosts: &[&str]) -> NoLookup {
    let mut options = DetectOptions::default();
    options.no_lookup.ignored = ignored.iter().map(|prefix| prefix.parse().unwrap()).collect();
    let hosts = hosts.iter().map(|address| address.parse().unwrap()).collect();
    let facts = HostFacts { hosts, ..HostFacts::default() };
    let mut detector = NoLookup::new(&options, &facts, SINCE_NS);
    assert_eq!(findings(&mut detector, 0), []);
    detector
}

/// Connections to `remote` once a minute, and what is found then.
fn connect(detector: &mut NoLookup, program: Program, from: u64, remote: &str) -> Vec<Finding> {
    (0..20).for_each(|number| detector.used(&program.connects(from + number * 60, remote)));
    findings(detector, from + 1_200)
}

#[test]
fn connections_without_any_lookup_are_a_warning() {
    let mut detector = detector(&[], &[]);
    let [found] = connect(&mut detector, NEW, 0, REMOTE).try_into().unwrap();
    assert_eq!(found.level, Severity::Warning);
    assert_eq!(found.entity.to_string(), "process=beacon");
    assert_eq!(
        found.summary,
        "beacon connects to addresses that no lookup gave: 20 connections within 60 min to 203.0.113.9:443, 100 % of \
         those to public addresses"
    );
    assert_eq!(found.evidence.processes, ["beacon[2]".into()]);
    assert_eq!(findings(&mut detector, 1_200 + 3_601), [], "the last was an hour ago");
}

#[test]
fn a_small_share_is_an_info_unless_dns_is_encrypted() {
    let mut detector = detector(&[], &[]);
    for number in 0..30 {
        detector.used(&NEW.uses(number, "www.example", "198.51.100.1:443", 0));
    }
    let [found] = connect(&mut detector, NEW, 100, REMOTE).try_into().unwrap();
    assert_eq!(found.level, Severity::Info);
    assert!(found.summary.ends_with(" 40 % of those to public addresses"), "{}", found.summary);
    let refused = Use { outcome: UseOutcome::Refused, ..NEW.connects(1_290, "192.0.2.54:853") };
    detector.used(&refused);
    detector.used(&NEW.connects(1_300, "192.0.2.53:853"));
    let [found] = findings(&mut detector, 1_310).try_into().unwrap();
    assert_eq!(found.level, Severity::Warning);
    assert!(found.summary.ends_with("; it uses encrypted DNS of 192.0.2.53"), "{}", found.summary);
    assert_eq!(found.evidence.resolvers, ["192.0.2.53".into()]);
    assert_eq!(found.evidence.figures[0].value.to_string(), "20", "without port 853");
}

#[test]
fn what_was_looked_up_before_the_capture_is_none() {
    let mut detector = detector(&[], &[]);
    assert_eq!(connect(&mut detector, OLD, 0, REMOTE), [], "it is older than the capture");
    assert_eq!(connect(&mut detector, OLD, LATER, REMOTE), [], "the same address, later");
    let worker = Program { pid: 9, start_ns: 2_000, ..OLD };
    assert_eq!(connect(&mut detector, worker, LATER, REMOTE), [], "forked by an older process");
    let other = connect(&mut detector, OLD, LATER, "203.0.113.10:443");
    assert_eq!(other.len(), 1, "an address that it did not know in the first hour");
    assert_eq!(other[0].evidence.figures[0].value.to_string(), "20");
}

#[test]
fn what_anybody_on_this_host_looked_up_is_none() {
    let mut detector = detector(&[], &[]);
    CACHE.looks_up(10, "www.example", "203.0.113.9", |view| detector.observe(view));
    assert_eq!(connect(&mut detector, NEW, 20, REMOTE), [], "by nscd");
    detector.used(&NEW.uses(1_300, "db.example", "203.0.113.11:443", 0));
    let child = Program { pid: 7, ..NEW };
    assert_eq!(connect(&mut detector, child, 1_400, "203.0.113.11:443"), [], "by its parent");
    // Half a day later, the cache's answer is forgotten, but not that the process may have it.
    assert_eq!(findings(&mut detector, 50_000), []);
    assert_eq!(connect(&mut detector, NEW, 50_000, REMOTE), []);
    let stranger = Program { comm: "other", ..NEW };
    assert_eq!(connect(&mut detector, stranger, 50_000, REMOTE).len(), 1);
}

#[test]
fn private_known_and_ignored_addresses_are_none() {
    let mut detector = detector(&["198.51.100.0/24"], &["203.0.113.80"]);
    for remote in [
        "127.0.0.1:80",
        "10.0.0.1:80",
        "100.64.0.1:80",
        "169.254.169.254:80",
        "224.0.0.1:80",
        "[fe80::1]:80",
        "[fd00::1]:80",
        "[::ffff:10.0.0.1]:80",
        "[64:ff9b::cb00:7109]:80",
        "198.51.100.7:80",
        "203.0.113.80:80",
    ] {
        assert_eq!(connect(&mut detector, NEW, 0, remote), [], "{remote}");
    }
    assert_eq!(connect(&mut detector, NEW, 0, "[2001:db8::1]:80").len(), 1);
}

#[test]
fn a_few_or_a_burst_are_chance() {
    let mut detector = detector(&[], &[]);
    for number in 0..9 {
        detector.used(&NEW.connects(number * 300, REMOTE));
    }
    assert_eq!(findings(&mut detector, 2_500), [], "nine");
    let burst = Program { comm: "ab", ..NEW };
    detector.used(&Use { count: 500, ..burst.connects(2_500, REMOTE) });
    assert_eq!(findings(&mut detector, 2_510), [], "all at once");
}

#[test]
fn resolvers_and_hours_with_sampling_are_not_judged() {
    let mut resolver = detector(&[], &[]);
    NEW.looks_up(0, "a.example", "192.0.2.1", |view| {
        resolver.observe(&TransactionView { vantage: Vantage::Server, ..*view });
    });
    assert_eq!(connect(&mut resolver, NEW, 10, REMOTE), []);
    let mut sampled = detector(&[], &[]);
    NEW.looks_up(0, "a.example", "192.0.2.1", |view| {
        sampled.observe(&TransactionView { sample_ratio: 0.5, ..*view });
    });
    assert_eq!(connect(&mut sampled, NEW, 10, REMOTE), []);
    assert_eq!(connect(&mut sampled, NEW, LATER, "203.0.113.10:443").len(), 1);
}

#[test]
fn other_thresholds_apply_at_once() {
    let mut detector = detector(&[], &[]);
    assert_eq!(connect(&mut detector, NEW, 0, REMOTE).len(), 1);
    let mut options = DetectOptions::default();
    options.no_lookup.min_connections = 21;
    detector.reconfigure(&options, &HostFacts::default());
    assert_eq!(findings(&mut detector, 1_210), []);
}

#[test]
fn memory_is_bounded() {
    let (detector, bytes) = heap::measure(|| {
        let mut detector = detector(&[], &[]);
        for number in 0..200_000_u32 {
            let address = Ipv4Addr::from(0xC000_0000 + number).to_string();
            let program = Program { pid: number, ..NEW };
            program.looks_up(1, "a.example", &address, |view| detector.observe(view));
            detector.used(&program.connects(number.into(), &format!("203.0.{}.9:1", number % 256)));
        }
        detector
    });
    assert!(detector.users.iter().count() <= MAX_USERS);
    assert!(bytes < 4 << 20, "{bytes}");
    let user = detector.users.iter().next().unwrap();
    assert!(user.pids.len() <= MAX_NAMED);
}

/// A host's day: what a program does in each minute of it.
type Habit = fn(&mut NoLookup, minute: u64);

/// Programs that connect to addresses which they have no answer for, and are right.
const HABITS: [Habit; 7] = [
    // nginx looked up its upstream when it started, before the capture; its workers are replaced.
    |detector, minute| {
        let worker = Program {
            comm: "nginx",
            pid: 100 + u32::try_from(minute / 90).unwrap(),
            start_ns: 10 + minute / 90 * 1_000,
        };
        detector.used(&worker.connects(minute * 60, "203.0.113.20:443"));
    },
    // Java asks by nscd when it begins, and keeps two addresses for ever.
    |detector, minute| {
        if minute == 5 {
            for address in ["203.0.113.21", "203.0.113.22"] {
                CACHE.looks_up(300, "pay.example", address, |view| detector.observe(view));
            }
        }
        let java = Program { comm: "java", pid: 200, start_ns: 2_000 };
        let remote = ["203.0.113.21:443", "203.0.113.22:443"][usize::try_from(minute % 2).unwrap()];
        if minute > 5 {
            detector.used(&java.connects(minute * 60, remote));
        }
    },
    // A script asks nscd each time, for a name whose address changes each hour.
    |detector, minute| {
        let remote = format!("203.0.113.{}", 100 + minute / 60);
        CACHE.looks_up(minute * 60, "cdn.example", &remote, |view| detector.observe(view));
        let script = Program {
            comm: "python3",
            pid: 300 + u32::try_from(minute).unwrap(),
            start_ns: 2_000 + minute,
        };
        detector.used(&script.connects(minute * 60 + 1, &format!("{remote}:443")));
    },
    // A server of applications looks names up itself; a backup address of a tenth is a literal, in bursts.
    |detector, minute| {
        let app = Program { comm: "app", pid: 400, start_ns: 2_000 };
        detector.used(&app.uses(minute * 60, "db.example", "198.51.100.40:5432", 0));
        if minute % 240 == 0 {
            detector.used(&Use { count: 20, ..app.connects(minute * 60, "203.0.113.40:5432") });
        }
    },
    // An administrator logs in somewhere a few times an hour.
    |detector, minute| {
        if minute % 15 == 0 {
            let ssh = Program {
                comm: "ssh",
                pid: 500 + u32::try_from(minute).unwrap(),
                start_ns: 2_000 + minute,
            };
            detector.used(&ssh.connects(minute * 60, "203.0.113.50:22"));
        }
    },
    // A forwarder uses DNS over TLS at an address, and answers the host.
    |detector, minute| {
        let forwarder = Program { comm: "unbound", pid: 600, start_ns: 2_000 };
        forwarder.looks_up(minute * 60, "a.example", "192.0.2.1", |view| {
            detector.observe(&TransactionView { vantage: Vantage::Server, ..*view });
        });
        detector.used(&forwarder.connects(minute * 60, "203.0.113.60:853"));
        detector.used(&forwarder.connects(minute * 60, "203.0.113.61:443"));
    },
    // Agents of a cluster talk to private addresses and to the metadata service.
    |detector, minute| {
        let agent = Program { comm: "kubelet", pid: 700, start_ns: 2_000 };
        detector.used(&agent.connects(minute * 60, "10.96.0.1:443"));
        detector.used(&agent.connects(minute * 60, "169.254.169.254:80"));
    },
];

/// Beacons are found, and nobody else, in a day of a host.
#[test]
fn a_day_has_no_false_alarm_and_every_beacon() {
    for interval in [10, 60, 180, 300] {
        let mut detector = detector(&[], &[]);
        // Begins in the third hour.
        let (begin, mut found) = (3 * 3_600, None);
        for minute in 0..24 * 60 {
            for habit in HABITS {
                habit(&mut detector, minute);
            }
            for second in (minute * 60..minute * 60 + 60).filter(|second| second % interval == 0) {
                if second >= begin {
                    detector.used(&NEW.connects(second, REMOTE));
                }
            }
            for finding in findings(&mut detector, minute * 60 + 59) {
                assert_eq!(finding.entity.process.as_deref(), Some("beacon"), "{finding:?}");
                found.get_or_insert(minute * 60 + 59 - begin);
            }
        }
        let delay = found.unwrap();
        // Ten connections, and five minutes.
        assert!(delay <= (interval * 10).max(300) + 60, "every {interval} s: after {delay} s");
    }
}
