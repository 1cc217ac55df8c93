use super::*;
use crate::view::testing::example;
use dnscribe_dns::{Answer, Answers};
use dnscribe_transaction::packet::PacketId;
use proptest::prelude::*;

const SHARED: &str = "198.51.100.1";

fn at(ms: u64) -> Timestamp {
    Timestamp::from_nanos(1_000_000_000_000 + ms * 1_000_000)
}

fn task(pid: u32) -> Task {
    Task { pid, start_ns: u64::from(pid), ..Task::default() }
}

const ESTABLISHED: ConnectStep = ConnectStep::Established { rtt: None, awaits_byte: false };

/// A table with what it emitted.
struct Bench {
    table: UseTable,
    uses: Vec<Use>,
    seq: u64,
    /// Start times in /proc.
    started: HashMap<u32, u64>,
}

/// A process without attribution.
struct Forked<'a> {
    parent: u32,
    started: &'a HashMap<u32, u64>,
}

impl Connecting for Forked<'_> {
    fn attribute(&mut self) -> (Attribution, u32) {
        (Attribution::default(), self.parent)
    }

    fn start_ns(&mut self, pid: u32) -> Option<u64> {
        self.started.get(&pid).copied()
    }

    fn is_same_start(&self, a_ns: u64, b_ns: u64) -> bool {
        a_ns / 10_000_000 == b_ns / 10_000_000
    }
}

impl Bench {
    fn new() -> Self {
        Self::with(UseOptions::DEFAULT)
    }

    fn with(options: UseOptions) -> Self {
        let (table, uses) = (UseTable::new(options), Vec::new());
        Self { table, uses, seq: 0, started: HashMap::new() }
    }

    /// A process gets addresses of a name, with a TTL of 60 s.
    fn answer(&mut self, pid: u32, ms: u64, name: &str, addresses: &[&str]) {
        let records: Vec<_> = addresses.iter().map(|one| (1, 60, *one)).collect();
        self.answer_of(pid, ms, name, &records);
    }

    fn answer_of(&mut self, pid: u32, ms: u64, name: &str, records: &[(u16, u32, &str)]) {
        let mut answers = Answers::default();
        for (rtype, ttl_seconds, data) in records.iter().copied() {
            let rtype = if data.contains(':') { AAAA } else { rtype };
            answers.push(&Answer { name, rtype, class: 1, ttl_seconds, data });
        }
        let view = TransactionView {
            qname: Some(name),
            response_ts: Some(at(ms)),
            answers: &answers,
            ..example(at(ms.saturating_sub(12)))
        };
        self.table.observe(Some(&task(pid)), &view, None);
    }

    fn step(&mut self, pid: u32, ms: u64, cookie: u64, step: ConnectStep, parent: u32) {
        self.seq += 1;
        let connect = Connect {
            id: PacketId { cpu: 0, seq: self.seq },
            ts: at(ms),
            scope: 0,
            task: Some(task(pid)),
            cgroup_id: 0,
            cookie,
            step,
        };
        let Self { table, uses, started, .. } = self;
        let mut forked = Forked { parent, started };
        table.connect(&connect, &mut forked, None, &mut |one| uses.push(one.clone()));
    }

    /// A process that `parent` forked sends a datagram.
    fn send(&mut self, pid: u32, ms: u64, parent: u32) {
        let remote = SocketAddr::new(SHARED.parse().unwrap(), 443);
        let begun = ConnectStep::Begun { transport: Transport::Udp, remote, is_discarded: false };
        self.step(pid, ms, ms, begun, parent);
    }

    fn begin(&mut self, pid: u32, ms: u64, cookie: u64, address: &str) {
        let remote = SocketAddr::new(address.parse().unwrap(), 443);
        let begun = ConnectStep::Begun { transport: Transport::Tcp, remote, is_discarded: false };
        self.step(pid, ms, cookie, begun, 0);
    }

    /// A process connects, and the peer accepts a millisecond later.
    fn connect(&mut self, pid: u32, ms: u64, cookie: u64, address: &str) {
        self.begin(pid, ms, cookie, address);
        self.step(pid, ms + 1, cookie, ESTABLISHED, 0);
    }

    fn expire(&mut self, ms: u64) {
        let Self { table, uses, .. } = self;
        table.expire(at(ms), &mut |one| uses.push(one.clone()));
    }

    fn finish(&mut self, ms: u64) -> &[Use] {
        let Self { table, uses, .. } = self;
        table.finish(at(ms), &mut |one| uses.push(one.clone()));
        uses
    }

    /// How each name was found, and the name.
    fn found(&mut self) -> Vec<(Match, String)> {
        self.finish(1_000_000);
        self.uses.sort_by_key(|one| one.first);
        let name = |one: &Use| one.name.as_deref().unwrap_or("-").to_owned();
        self.uses.iter().map(|one| (one.matched, name(one))).collect()
    }
}

fn found(expected: &[(Match, &str)]) -> Vec<(Match, String)> {
    expected.iter().map(|(matched, name)| (*matched, (*name).to_owned())).collect()
}

#[test]
fn one_name_for_an_address_is_sole() {
    let mut bench = Bench::new();
    bench.answer(1, 0, "a.example", &[SHARED, "2001:db8::1"]);
    bench.connect(1, 5, 1, SHARED);
    bench.connect(1, 90_000, 2, "2001:db8::1");
    bench.connect(1, 91_000, 3, "203.0.113.9");
    bench.connect(2, 92_000, 4, SHARED);
    let sole = (Match::Sole, "a.example");
    let none = (Match::None, "-");
    assert_eq!(bench.found(), found(&[sole, sole, none, none]));
    let age = |one: &Use| one.age_and_ttl.map(|(age, _)| age.as_millis());
    assert_eq!(bench.uses.iter().map(age).collect::<Vec<_>>(), [Some(5), Some(90_000), None, None]);
    assert_eq!(
        bench.uses.iter().map(Use::is_stale).collect::<Vec<_>>(),
        [false, true, false, false]
    );
}

#[test]
fn a_ttl_is_that_of_the_shortest_link_on_the_way() {
    let mut bench = Bench::new();
    let chain = [(CNAME, 30, "edge.example"), (1, 300, SHARED)];
    bench.answer_of(1, 0, "a.example", &chain);
    bench.connect(1, 29_000, 1, SHARED);
    bench.connect(1, 31_000, 2, SHARED);
    assert_eq!(bench.found()[0].1, "a.example");
    assert_eq!(bench.uses.iter().map(Use::is_stale).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn the_only_fresh_name_of_several_is_newest() {
    let mut bench = Bench::new();
    for (number, name) in ["a.example", "b.example", "c.example"].into_iter().enumerate() {
        let ms = 100 * number as u64;
        bench.answer(1, ms, name, &[SHARED, "198.51.100.2"]);
        bench.connect(1, ms + 1, ms, SHARED);
    }
    // Used already.
    bench.connect(1, 302, 900, SHARED);
    assert_eq!(
        bench.found(),
        found(&[
            (Match::Sole, "a.example"),
            (Match::Newest, "b.example"),
            (Match::Newest, "c.example"),
            (Match::Ambiguous, "-"),
        ])
    );
    let candidates: Vec<_> = bench.uses[3].candidates.iter().map(|name| &**name).collect();
    assert_eq!(candidates, ["c.example", "b.example", "a.example"]);
    assert_eq!(bench.table.counters(0).matched, 3);
}

#[test]
fn a_second_address_of_an_answer_has_its_name() {
    let mut bench = Bench::new();
    bench.answer(1, 0, "a.example", &[SHARED, "198.51.100.2"]);
    bench.connect(1, 1, 1, SHARED);
    bench.answer(1, 100, "b.example", &["198.51.100.2", SHARED]);
    bench.connect(1, 101, 2, "198.51.100.2");
    bench.connect(1, 102, 3, SHARED);
    let names: Vec<_> = bench.found().into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["a.example", "b.example", "b.example"]);
}

#[test]
fn names_looked_up_at_once_are_ambiguous() {
    let mut bench = Bench::new();
    bench.answer(1, 0, "a.example", &[SHARED]);
    bench.answer(1, 1, "b.example", &[SHARED]);
    bench.connect(1, 2, 1, SHARED);
    // Long after both, nobody knows which.
    bench.connect(1, 500_000, 2, SHARED);
    assert_eq!(bench.found(), found(&[(Match::Ambiguous, "-"); 2]));
    assert_eq!(bench.uses[0].candidates.len(), 2);
    assert_eq!(bench.table.counters(0).ambiguous, 2);
}

#[test]
fn a_child_uses_what_its_parent_looked_up() {
    let mut bench = Bench::new();
    bench.answer(1, 0, "a.example", &[SHARED]);
    bench.send(2, 10, 1);
    bench.send(3, 11, 9);
    assert_eq!(bench.found(), found(&[(Match::Sole, "a.example"), (Match::None, "-")]));
}

#[test]
fn a_pid_that_another_process_has_now_is_no_parent() {
    let (sole, none) = ((Match::Sole, "a.example"), (Match::None, "-"));
    for (start_ns, expected) in [(Some(0), sole), (Some(5_000_000_000), none), (None, sole)] {
        let mut bench = Bench::new();
        bench.answer(1, 0, "a.example", &[SHARED]);
        bench.started.extend(start_ns.map(|start_ns| (1, start_ns)));
        bench.send(2, 10, 1);
        assert_eq!(bench.found(), found(&[expected]), "{start_ns:?}");
    }
    // It is seen to connect, and has ended before /proc was read.
    let mut bench = Bench::new();
    bench.answer(1, 0, "a.example", &[SHARED]);
    let later = ProcessKey { pid: 1, start_ns: 5_000_000_000 };
    bench.table.answers.note_process(later, |a, b| a == b);
    bench.send(2, 10, 1);
    assert_eq!(bench.found(), found(&[none]));
}

/// The names that eight lookups of one address gave, of which sampling or a full ring took some: whatever is missing may be the one.
#[test]
fn a_name_is_uncertain_while_answers_are_missed() {
    let ambiguous = (Match::Ambiguous, "-");
    let mut bench = Bench::new();
    bench.answer(1, 0, "a.example", &[SHARED]);
    bench.table.set_missing(at(1_000), true);
    bench.connect(1, 2_000, 1, SHARED);
    bench.table.set_missing(at(10_000), false);
    bench.answer(1, 10_100, "a.example", &[SHARED]);
    // What was missed may not be used yet.
    bench.connect(1, 10_101, 2, SHARED);
    bench.answer(1, 41_000, "a.example", &[SHARED]);
    bench.connect(1, 41_001, 3, SHARED);
    bench.connect(1, 41_002, 4, SHARED);
    // Its TTL is over.
    bench.connect(1, 311_000, 5, SHARED);
    let (newest, sole) = ((Match::Newest, "a.example"), (Match::Sole, "a.example"));
    assert_eq!(bench.found(), found(&[ambiguous, ambiguous, newest, sole]));
    assert_eq!(bench.uses[1].count, 2);
    assert_eq!(bench.uses[0].candidates, ["a.example".into()]);
    let counters = bench.table.counters(0);
    assert_eq!((counters.matched, counters.ambiguous), (2, 3));
}

#[test]
fn losses_are_learned_of_after_the_connection() {
    let mut bench = Bench::new();
    bench.answer(1, 0, "a.example", &[SHARED]);
    bench.connect(1, 2_000, 1, SHARED);
    bench.connect(1, 2_600, 2, SHARED);
    bench.send(2, 2_610, 1);
    bench.table.note_missing(at(2_500), at(3_000));
    let expected =
        [(Match::Sole, "a.example"), (Match::Ambiguous, "-"), (Match::Sole, "a.example")];
    assert_eq!(bench.found(), found(&expected), "a datagram has its record at once");
    assert_eq!(bench.uses[1].candidates, ["a.example".into()]);
    assert!(bench.uses[1].age_and_ttl.is_none());
    let counters = bench.table.counters(0);
    assert_eq!((counters.connects, counters.matched, counters.ambiguous), (3, 2, 1));
}

#[test]
fn losses_leave_the_names_of_the_parent() {
    let mut bench = Bench::new();
    bench.answer(1, 0, "a.example", &[SHARED]);
    bench.connect(1, 1, 1, SHARED);
    bench.answer(1, 2_400, "b.example", &[SHARED]);
    let remote = SocketAddr::new(SHARED.parse().unwrap(), 443);
    let begun = ConnectStep::Begun { transport: Transport::Tcp, remote, is_discarded: false };
    bench.step(2, 2_600, 2, begun, 1);
    bench.table.note_missing(at(2_500), at(3_000));
    let expected = [(Match::Sole, "a.example"), (Match::Ambiguous, "-")];
    assert_eq!(bench.found(), found(&expected));
    assert_eq!(bench.uses[1].candidates, ["b.example".into(), "a.example".into()]);
}

/// The program connects for the name that it looked up first, or for both at once.
#[test]
fn an_older_name_that_is_not_used_yet_may_be_the_one() {
    let (ambiguous, newest) = ((Match::Ambiguous, "-"), (Match::Newest, "b.example"));
    for (pause, expected) in [(1_200, ambiguous), (29_000, ambiguous), (31_000, newest)] {
        let mut bench = Bench::new();
        bench.answer(1, 0, "a.example", &[SHARED]);
        bench.answer(1, pause, "b.example", &[SHARED]);
        bench.connect(1, pause + 1, 1, SHARED);
        assert_eq!(bench.found(), found(&[expected]), "{pause}");
    }
    // By another address of the name.
    let mut bench = Bench::new();
    bench.answer(1, 0, "a.example", &["2001:db8::1"]);
    bench.answer(1, 1, "a.example", &[SHARED]);
    bench.connect(1, 2, 1, "2001:db8::1");
    bench.answer(1, 1_200, "b.example", &[SHARED]);
    bench.connect(1, 1_201, 2, SHARED);
    assert_eq!(bench.found(), found(&[(Match::Sole, "a.example"), newest]));
}

#[test]
fn connections_that_have_ended_take_no_memory() {
    let mut bench = Bench::new();
    for cookie in 0..200_000 {
        bench.begin(1, cookie / 50, cookie, SHARED);
        bench.step(1, cookie / 50, cookie, ConnectStep::Failed { errno: 111 }, 0);
    }
    assert!(bench.table.pending.is_empty());
    assert!(bench.table.due.len() <= 2 + MAX_ENDED, "{}", bench.table.due.len());
    // Those that have not ended keep their time.
    bench.begin(1, 4_000, 0, SHARED);
    for cookie in 1..10_000 {
        bench.connect(1, 4_000, cookie, SHARED);
        bench.step(1, 4_001, cookie, ConnectStep::Reset, 0);
    }
    assert!(bench.table.due.len() <= 4 + MAX_ENDED, "{}", bench.table.due.len());
    bench.expire(138_000);
    assert_eq!(bench.table.pending.len(), 1);
    bench.expire(140_000);
    assert!(bench.table.pending.is_empty());
}

/// The kernel may put an error aside that came at once, and keep nothing of it, or say it when it has tried again.
#[test]
fn icmp_errors_that_come_at_once_refuse() {
    let mut bench = Bench::new();
    let failed = |errno| Some(ConnectStep::Failed { errno });
    for (cookie, error_ms, ms, end) in [
        (1, 1, 2, failed(0)),
        (2, 1, 1_007, failed(113)),
        // ARP gave up.
        (3, 3_060, 3_070, failed(113)),
        (4, 1, 20, Some(ESTABLISHED)),
        (5, 1, 0, None),
    ] {
        bench.begin(cookie, 0, cookie.into(), SHARED);
        bench.step(cookie, error_ms, cookie.into(), ConnectStep::Unreachable, 0);
        if let Some(step) = end {
            bench.step(cookie, ms, cookie.into(), step, 0);
        }
    }
    bench.expire(140_000);
    bench.uses.sort_by_key(|one| one.id);
    let outcomes: Vec<_> = bench.uses.iter().map(|one| one.outcome.name()).collect();
    assert_eq!(outcomes, ["refused", "refused", "timeout", "established", "unknown"]);
}

/// The peer's data, of which later reports are about further segments.
#[test]
fn first_data_is_timed_within_its_window() {
    let mut bench = Bench::new();
    let rtt = Some(Duration::from_micros(700));
    for (pid, data_ms) in [(1, Some(60)), (2, Some(4_900)), (3, Some(5_100)), (4, None)] {
        bench.begin(pid, 0, pid.into(), SHARED);
        let established = ConnectStep::Established { rtt, awaits_byte: true };
        bench.step(pid, 1, pid.into(), established, 0);
        for later in [0, 1].into_iter().filter_map(|later| Some(1 + later + data_ms?)) {
            bench.expire(later);
            bench.step(pid, later, pid.into(), ConnectStep::FirstByte, 0);
        }
    }
    // Ended without data, and with a reset that is too late to be the outcome.
    bench.begin(5, 10_000, 5, SHARED);
    let established = ConnectStep::Established { rtt: None, awaits_byte: true };
    bench.step(5, 10_001, 5, established, 0);
    bench.step(5, 12_000, 5, ConnectStep::Reset, 0);
    bench.expire(20_000);
    assert!(bench.table.pending.is_empty());
    let of = |one: &Use| (one.first_byte_time.map(|time| time.as_millis()), one.rtt);
    let times: Vec<_> = bench.uses.iter().map(of).collect();
    // In the order in which they end.
    let none = (None, rtt);
    assert_eq!(times, [(Some(60), rtt), (Some(4_900), rtt), none, (None, None), none]);
    assert!(bench.uses.iter().all(|one| one.outcome == UseOutcome::Established));
}

#[test]
fn discarded_datagrams_are_refused() {
    let mut bench = Bench::new();
    let remote = SocketAddr::new(SHARED.parse().unwrap(), 443);
    for (pid, is_discarded) in [(1, true), (2, false)] {
        let begun = ConnectStep::Begun { transport: Transport::Udp, remote, is_discarded };
        bench.step(pid, 0, pid.into(), begun, 0);
    }
    let outcomes: Vec<_> = bench.uses.iter().map(|one| one.outcome).collect();
    assert_eq!(outcomes, [UseOutcome::Refused, UseOutcome::Unknown]);
    assert_eq!(bench.table.counters(0).connects, 2);
}

#[test]
fn outcomes_are_distinguished() {
    let mut bench = Bench::new();
    let failed = |errno| ConnectStep::Failed { errno };
    for (cookie, ms, step) in [
        (1, 2, failed(111)),
        (2, 900, failed(0)),
        (3, 3_000, failed(0)),
        (4, 90_000, failed(ETIMEDOUT)),
        (5, 2, failed(113)),
        // ARP gave up.
        (9, 3_070, failed(113)),
        (10, 1_010, failed(101)),
    ] {
        bench.begin(cookie, 0, cookie.into(), SHARED);
        bench.step(cookie, ms, cookie.into(), step, 0);
    }
    bench.connect(6, 0, 6, SHARED);
    bench.step(6, 1_000, 6, ConnectStep::Reset, 0);
    bench.connect(7, 0, 7, SHARED);
    bench.expire(1_500);
    bench.step(7, 1_501, 7, ConnectStep::Reset, 0);
    bench.begin(8, 0, 8, SHARED);
    bench.expire(140_000);
    bench.uses.sort_by_key(|one| one.id);
    let outcomes: Vec<_> = bench.uses.iter().map(|one| one.outcome.name()).collect();
    assert_eq!(
        outcomes,
        [
            "refused",
            "unknown",
            "timeout",
            "timeout",
            "refused",
            "timeout",
            "timeout",
            "reset",
            "established",
            "unknown"
        ]
    );
    let times: Vec<_> =
        bench.uses.iter().map(|one| one.connect_time.map(|one| one.as_millis())).collect();
    assert_eq!(
        times,
        [
            Some(2),
            Some(900),
            Some(3_000),
            Some(90_000),
            Some(2),
            Some(3_070),
            Some(1_010),
            Some(1),
            Some(1),
            None
        ]
    );
}

#[test]
fn further_uses_are_summed_up_for_a_minute() {
    let mut bench = Bench::new();
    bench.answer(1, 0, "a.example", &[SHARED]);
    for cookie in 0..10 {
        bench.connect(1, cookie * 100, cookie, SHARED);
    }
    bench.expire(5_000);
    assert_eq!(bench.uses.len(), 1, "the first");
    bench.expire(70_000);
    let [first, rest] = bench.uses.as_slice() else { panic!("{:?}", bench.uses) };
    assert_eq!((first.count, rest.count), (1, 9));
    assert_eq!((rest.first, rest.last), (at(100), at(900)));
    bench.connect(1, 71_000, 11, SHARED);
    let (age, _) = bench.finish(72_000)[2].age_and_ttl.unwrap();
    assert_eq!(age.as_millis(), 71_000, "stale uses are a sum of their own");
    assert_eq!(bench.uses.len(), 3);
}

#[test]
fn uses_of_long_stale_answers_are_a_sum_of_their_own() {
    let mut bench = Bench::new();
    bench.answer(1, 0, "one.example", &[SHARED]);
    // The answer expires after 60 s, and five times as long later it is long stale.
    for (cookie, seconds) in (1..).zip([100, 340, 350, 359, 361, 362]) {
        bench.connect(1, seconds * 1_000, cookie, SHARED);
    }
    let (long, other): (Vec<_>, Vec<_>) =
        bench.finish(400_000).iter().partition(|one| one.long_stale().is_some());
    let counts = [other, long].map(|uses| uses.iter().map(|one| one.count).collect::<Vec<_>>());
    assert_eq!(counts, [vec![1, 3], vec![1, 1]]);
}

#[test]
fn answers_to_others_lead_nowhere() {
    let mut bench = Bench::new();
    let mut answers = Answers::default();
    answers.push(&Answer { name: "a.example", rtype: A, class: 1, ttl_seconds: 60, data: SHARED });
    let view = TransactionView { answers: &answers, ..example(at(0)) };
    let server = TransactionView { vantage: Vantage::Server, ..view };
    let duplicate = TransactionView { status: Status::Duplicate, ..view };
    for view in [&server, &duplicate] {
        bench.table.observe(Some(&task(1)), view, None);
    }
    bench.table.observe(None, &view, None);
    bench.connect(1, 50, 1, SHARED);
    assert_eq!(bench.found(), found(&[(Match::None, "-")]));
}

/// A sum of connections would not say when each of them waited.
#[test]
fn without_kinds_each_connection_has_its_record() {
    let mut bench = Bench::with(UseOptions { max_kinds: 0, ..UseOptions::DEFAULT });
    bench.answer(1, 0, "a.example", &[SHARED]);
    let begun: Vec<u64> = (0..6).map(|number| 100 + number * 1_500).collect();
    for (cookie, ms) in (1..).zip(&begun) {
        bench.begin(1, *ms, cookie, SHARED);
        bench.step(1, ms + 1_100, cookie, ConnectStep::Failed { errno: ETIMEDOUT }, 0);
    }
    bench.finish(60_000);
    let firsts: Vec<_> = bench.uses.iter().map(|one| (one.first, one.count)).collect();
    assert_eq!(firsts, begun.iter().map(|ms| (at(*ms), 1)).collect::<Vec<_>>());
    let took = Some(Duration::from_millis(1_100));
    assert!(bench.uses.iter().all(|one| one.connect_time == took), "{:?}", bench.uses);
}

#[test]
fn memory_is_bounded_and_nothing_is_lost() {
    let options = UseOptions { max_answers: 64, max_pending: 8, max_kinds: 16 };
    let mut bench = Bench::with(options);
    for number in 0..2_000_u32 {
        let address = std::net::Ipv4Addr::from(0xC633_6400 | (number % 251)).to_string();
        let ms = u64::from(number) * 10;
        bench.answer(number % 7, ms, &format!("{number}.example"), &[&address]);
        bench.begin(number % 7, ms + 1, number.into(), &address);
    }
    bench.finish(3_000_000);
    assert_eq!(bench.uses.iter().map(|one| one.count).sum::<u64>(), 2_000);
    let counters = bench.table.counters(5);
    assert_eq!((counters.connects, counters.lost), (2_005, 5));
    assert_eq!(counters.connects, counters.matched + counters.ambiguous + counters.none + 5);
}

proptest! {
    /// Whatever comes in whatever order: each connection is in exactly one record, and a name that is given came in an answer to
    /// the process for that address.
    #[test]
    fn counts_every_connection_once(steps in prop::collection::vec((0..6_u8, 1..4_u32, 0..4_u8, 0..90_000_u64), 0..200)) {
        let mut bench = Bench::with(UseOptions { max_answers: 24, max_pending: 4, max_kinds: 4 });
        let (mut now, mut begun) = (0, 0);
        let mut given: Vec<(u32, String, String)> = Vec::new();
        for (index, (kind, pid, which, pause)) in steps.iter().enumerate() {
            now += if kind % 2 == 0 { pause / 100 } else { *pause };
            let address = format!("198.51.100.{which}");
            let cookie = index as u64 / 3;
            match kind {
                0 | 1 => {
                    let name = format!("{}.example", pause % 5);
                    bench.answer(*pid, now, &name, &[&address]);
                    given.push((*pid, name, address));
                }
                2 => { begun += 1; bench.begin(*pid, now, cookie, &address) }
                3 => { begun += 1; bench.connect(*pid, now, cookie, &address) }
                4 => bench.step(*pid, now, cookie, ConnectStep::Failed { errno: 111 }, 0),
                _ => bench.expire(now),
            }
        }
        bench.finish(now);
        prop_assert_eq!(bench.uses.iter().map(|one| one.count).sum::<u64>(), begun);
        prop_assert_eq!(bench.table.outcomes.iter().flatten().sum::<u64>(), begun);
        for one in &bench.uses {
            prop_assert_eq!(one.name.is_some(), matches!(one.matched, Match::Sole | Match::Newest));
            prop_assert_eq!(one.candidates.is_empty(), one.matched != Match::Ambiguous);
            let ip = one.remote.ip().to_string();
            for name in one.name.iter().chain(&one.candidates) {
                prop_assert!(given.iter().any(|(_, given, address)| *given == **name && *address == ip));
            }
        }
    }
}
