//! The host's clock is set while capture runs, back and forward, at any time: nothing but the times of records may
//! depend on it.

use super::*;
use crate::capture::live::{Clock, Measurement};
use dnscribe_record::time::ClockShift;

/// Time between two turns of the thread that reads, at most.
const TURN: Duration = Duration::from_secs(1);

const SECOND_NS: i64 = 1_000_000_000;

/// `CLOCK_REALTIME` minus `CLOCK_MONOTONIC` at the start, in nanoseconds.
const START_NS: i64 = 1_800_000_000 * SECOND_NS;

/// A setting of the clock: before which packet, by how many nanoseconds.
type Setting = (usize, i64);

fn settings() -> impl Strategy<Value = Vec<Setting>> {
    let hour = 3600 * SECOND_NS;
    let by_ns = prop_oneof![
        -2 * hour..2 * hour,
        -15 * SECOND_NS..15 * SECOND_NS,
        Just(-hour),
        Just(hour),
        Just(20 * 365 * 24 * hour),
    ];
    prop::collection::vec((0..40_usize, by_ns), 1..6)
}

/// A live capture with clocks that the test drives.
struct Capture {
    clock: Clock,
    /// `CLOCK_MONOTONIC`, in nanoseconds.
    monotonic: u64,
    /// `CLOCK_REALTIME` minus `CLOCK_MONOTONIC`.
    offset_ns: i64,
    pipeline: Pipeline,
    flow: FlowStage,
    packets: u64,
    kept: Arc<Mutex<Vec<u8>>>,
    /// `CLOCK_MONOTONIC` at each ledger record, and `CLOCK_REALTIME`.
    ledgers: Vec<(u64, Timestamp)>,
}

impl Capture {
    fn new() -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let streams = Stream::ALL.into_iter().collect();
        let keeper =
            Keeper { inner: NullSink::new("keeper".into(), streams), kept: Arc::clone(&kept) };
        let clock = Clock::from_offset(START_NS);
        let identity = RecordBuilder::new("node".into(), None, clock.at(0), HashMap::new());
        let mut pipeline = Pipeline::new(PipelineOptions::new(identity), vec![Box::new(keeper)]);
        let flow = pipeline.flow_stage(flow_options());
        Self {
            clock,
            monotonic: 0,
            offset_ns: START_NS,
            pipeline,
            flow,
            packets: 0,
            kept,
            ledgers: vec![(0, Timestamp::default())],
        }
    }

    fn input(&self) -> InputCounters {
        input(self.packets, vec![self.flow.counters(&[])])
    }

    /// What the thread that reads does between packets.
    fn turn(&mut self) -> Result<(), TestCaseError> {
        let now = self.clock.at(self.monotonic);
        self.flow.ring_drained(now, &mut self.pipeline);
        let measured = Measurement { error_ns: 0, offset_ns: self.offset_ns };
        if let Some(step) = self.clock.step(measured) {
            let control = Control::SetClock(step.shift);
            self.flow.apply(&control);
            self.pipeline.apply(&control).unwrap();
        }
        let counters = self.pipeline.counters(&self.input());
        prop_assert_eq!(counters.imbalances(), []);
        if self.pipeline.ledger_due(now) {
            let input = self.input();
            self.pipeline.write_ledger(&input, now, false);
            self.ledgers.push((self.monotonic, self.time_of_day()));
        }
        let since = self.monotonic - self.ledgers.last().unwrap().0;
        prop_assert!(Duration::from_nanos(since) < LEDGER_INTERVAL, "no ledger for {since} ns");
        prop_assert!(self.pipeline.ledger_in(now) <= LEDGER_INTERVAL);
        Ok(())
    }

    fn time_of_day(&self) -> Timestamp {
        ClockShift::from_nanos(self.offset_ns).apply(Timestamp::from_nanos(self.monotonic))
    }

    /// Lets time pass, and sets the clock in the middle of it.
    fn wait(&mut self, pause: Duration, set_ns: i64) -> Result<(), TestCaseError> {
        let end = self.monotonic + u64::try_from(pause.as_nanos()).unwrap();
        let middle = self.monotonic.midpoint(end);
        let mut set_ns = Some(set_ns);
        while self.monotonic < end {
            self.monotonic = (self.monotonic + u64::try_from(TURN.as_nanos()).unwrap()).min(end);
            if self.monotonic >= middle {
                self.offset_ns += set_ns.take().unwrap_or_default();
            }
            self.turn()?;
        }
        self.offset_ns += set_ns.unwrap_or_default();
        Ok(())
    }
}

/// Captures the packets while the clock is set. Returns the records, the counters, and the number of transactions that
/// were too late for their windows.
fn capture(
    pool: &[Vec<u8>],
    steps: &[Step],
    settings: &[Setting],
) -> Result<(Vec<Value>, Counters, u64), TestCaseError> {
    let mut capture = Capture::new();
    for (place, packet) in packets(pool, steps).enumerate() {
        let pause = Duration::from_millis(steps[place].2);
        let of_place = settings.iter().filter(|(before, _)| *before == place);
        capture.wait(pause, of_place.map(|(_, by_ns)| by_ns).sum())?;
        capture.packets += 1;
        let packet = Packet { ts: capture.clock.at(capture.monotonic), ..packet };
        let (flow, pipeline) = (&mut capture.flow, &mut capture.pipeline);
        flow.observe(&packet, pipeline);
        pipeline.router.offer();
        // No query waits longer than the timeout and a tick.
        capture.turn()?;
    }
    // Whatever waits times out.
    capture.wait(PAIRING.query_timeout * 2, 0)?;
    prop_assert_eq!(capture.flow.counters(&[]).pairing.open, 0);
    let now = capture.clock.at(capture.monotonic);
    capture.flow.finish(now, &mut capture.pipeline);
    capture.pipeline.finish(now);
    let counters = capture.pipeline.counters(&capture.input());
    prop_assert_eq!(counters.imbalances(), []);
    let kept = capture.kept.lock().unwrap().clone();
    let lines = kept.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let records: Vec<Value> = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
    let ledgers = records.iter().filter(|record| record["schema"] == "dns.ledger/1");
    let written: Vec<_> = ledgers.map(|ledger| ledger["ts"].as_str().unwrap()).collect();
    let expected: Vec<_> = capture.ledgers[1..].iter().map(|(_, ts)| ts.to_string()).collect();
    prop_assert_eq!(written, expected, "ledgers have the time of day");
    let late = capture.pipeline.analysis.late();
    Ok((records, counters, late))
}

/// Records other than windows, without their times, and without the number of records: windows that begin anew are
/// more.
fn without_times(records: &[Value]) -> Vec<Value> {
    let others = records.iter().filter(|record| record["schema"] != "dns.window/1");
    others
        .cloned()
        .map(|mut record| {
            record.as_object_mut().unwrap().remove("ts");
            if let Some(counters) = record.get_mut("delivery") {
                *counters = Value::Null;
            }
            record
        })
        .collect()
}

/// Number of transactions in the windows of ten seconds.
fn in_windows(records: &[Value]) -> u64 {
    let is_own = |record: &&Value| {
        record["schema"] == "dns.window/1"
            && record["window_seconds"] == 10
            && record["grouping"] == "node"
    };
    records.iter().filter(is_own).map(|record| record["transactions"].as_u64().unwrap()).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// A clock that is set changes neither the outcome of any query, nor when a ledger is written, nor any counter.
    #[test]
    fn setting_the_clock_changes_only_times(
        steps in prop::collection::vec(
            (0..pool().len(), Just(None), prop_oneof![12 => 0..20_u64, 2 => 400..600_u64, 1 => 5_000..25_000_u64]),
            1..40,
        ),
        settings in settings(),
    ) {
        let pool = pool();
        let (still, counters, late) = capture(&pool, &steps, &[])?;
        let (set, counters_too, late_too) = capture(&pool, &steps, &settings)?;
        prop_assert_eq!(counters.pairing, counters_too.pairing);
        prop_assert_eq!(counters.decode, counters_too.decode);
        prop_assert_eq!(without_times(&still), without_times(&set));
        // Each is in one window, or late: a response long after the timeout may be late for one window and in time for
        // another.
        prop_assert_eq!(in_windows(&still) + late, in_windows(&set) + late_too);
        for window in set.iter().filter(|record| record["schema"] == "dns.window/1") {
            let start: Timestamp = window["ts"].as_str().unwrap().parse().unwrap();
            let step = window["step_seconds"].as_u64().unwrap() * 1_000_000_000;
            prop_assert_eq!(start.as_nanos() % step, 0, "windows begin at times of day");
        }
    }
}

/// An hour back: what waits times out in time, and the records have the new time.
#[test]
fn clock_set_back_by_an_hour_delays_nothing() {
    let pool = pool();
    // A query that nobody answers, and a minute of silence in which the clock is set.
    let query = pool.iter().position(|packet| packet.get(9) == Some(&protocol::UDP)).unwrap();
    let steps = [(query, None, 1), (query, None, 60_000)];
    let (records, counters, _) = capture(&pool, &steps, &[(1, -3600 * SECOND_NS)]).unwrap();
    assert_eq!(counters.pairing.timeout, 2);
    let ledgers = records.iter().filter(|record| record["schema"] == "dns.ledger/1").count();
    assert_eq!(ledgers, 6);
    let of = |kind: &str| -> Vec<Timestamp> {
        let own = records.iter().filter(|record| record["schema"] == kind);
        own.map(|record| record["ts"].as_str().unwrap().parse().unwrap()).collect()
    };
    let [first, second] = of("dns.message/1")[..] else { panic!("two queries") };
    assert_eq!(first.since(second), Duration::from_mins(59));
}
