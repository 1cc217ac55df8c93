//! By `BPF_PROG_TEST_RUN`: a program on each packet, over and over, beside the baselines.

use crate::baseline::Baseline;
use crate::frames::{self, Frame, Kind};
use crate::{Failure, Figures, RING_BYTES, middle, options};
use dnscribe_agent::capture::live::testing::Bench;

/// Runs without reading the ring: as many records as fit, whatever their size.
const BATCH: u32 = 16_384;
/// Rounds, each forward and backward; the median counts.
const ROUNDS: usize = 9;

/// Runs one of the agent's programs.
pub fn measure(program: &str) -> Result<Figures, Failure> {
    let tap = program == "tap";
    let hook = if tap { "tap" } else { "cgroup" };
    let mut baseline = Baseline::load(RING_BYTES)?;
    let mut bench = Bench::load(&options(), tap)?;
    let mut figures = Figures::new();
    let info = |program: &str| bench.live.program_info(program);
    if let Some(count) = info(program).and_then(|info| info.verified_instruction_count()) {
        figures.insert("verified_instructions".to_owned(), count.into());
    }
    if let Some(bytes) = info(program).filter(|_| tap).and_then(|info| info.size_translated()) {
        figures.insert("attached_bytes".to_owned(), bytes.into());
    }
    if let Some(count) = info("tap_check").and_then(|info| info.verified_instruction_count()) {
        figures.insert("look_verified_instructions".to_owned(), count.into());
    }
    let empty = format!("empty_{hook}");
    for frame in frames::all() {
        let floor = frame.kind.floor(hook);
        // Forward and backward, so that a drift of the machine affects all alike.
        let (mut ours, mut empties, mut floors) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            empties.push(f64::from(baseline.time(&empty, &frame.bytes, BATCH)?));
            if let Some(floor) = &floor {
                floors.push(f64::from(baseline.time(floor, &frame.bytes, BATCH)?));
            }
            ours.push(batch(&mut bench, program, &frame)?);
            ours.push(batch(&mut bench, program, &frame)?);
            if let Some(floor) = &floor {
                floors.push(f64::from(baseline.time(floor, &frame.bytes, BATCH)?));
            }
            empties.push(f64::from(baseline.time(&empty, &frame.bytes, BATCH)?));
        }
        let (ours, empty) = (middle(ours), middle(empties));
        let mut add = |figure: &str, value: f64| {
            figures.insert(format!("{}_{figure}", frame.name), value.into());
        };
        add("ns", ours);
        add("empty_ns", empty);
        if floor.is_some() {
            let floor = middle(floors);
            add("floor_ns", floor);
            add("to_floor", ours / floor);
            add("net_to_floor", (ours - empty) / (floor - empty));
        } else {
            add("to_empty", ours / empty);
        }
    }
    if baseline.full()? != 0 {
        return Err("the baseline's ring was full".into());
    }
    Ok(figures)
}

impl Kind {
    /// The baseline of a record of this size.
    fn floor(self, hook: &str) -> Option<String> {
        match self {
            Self::Small => Some(format!("small_{hook}")),
            Self::Large => Some(format!("large_{hook}")),
            Self::Other | Self::Counted => None,
        }
    }
}

/// Runs one batch.
///
/// # Errors
/// If the ring was full, because full rings are faster.
fn batch(bench: &mut Bench, program: &str, frame: &Frame) -> Result<f64, Failure> {
    let before = lost(bench);
    let (_, nanoseconds) = bench.time(program, &frame.bytes, BATCH)?;
    while bench.live.drain(BATCH as usize, &mut |_| ()) > 0 {}
    if lost(bench) != before {
        return Err("the ring was full: the measurement is invalid".into());
    }
    Ok(f64::from(nanoseconds))
}

fn lost(bench: &Bench) -> u64 {
    bench.live.counters().0.values().map(|kernel| kernel.lost_ring_full).sum()
}
