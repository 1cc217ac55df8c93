//! Cost of the windows with generated transactions, as JSON lines (`cargo xtask bench windows`).
//!
//! `windows ordinary|attack TRANSACTIONS REPETITIONS`. Each repetition runs the same minute of transactions
//! without windows, with them, with them, and without; then once more with window records.

use dnscribe_benches::cpu;
mod traffic;

use cpu::cpu_time;
use dnscribe_agent::record::RecordBuilder;
use dnscribe_analysis::window::{Groups, Span, Windows};
use dnscribe_record::time::Timestamp;
use std::collections::HashMap;
use std::error::Error;
use std::hint::black_box;
use std::io::{Write as _, stdout};
use std::time::Duration;
use tikv_jemallocator::Jemalloc;
use traffic::{EPOCH_SECONDS, Kind, Transaction};

/// Allocator of the agent.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

const LATENESS: Duration = Duration::from_secs(6);
const MINUTE: u64 = 60;
/// Interval between two calls of `expire`, as in the pipeline.
const EXPIRE_INTERVAL: Duration = Duration::from_millis(500);
/// Whether windows run, in each pass; the order makes a drift of the machine affect both alike.
const ORDER: [bool; 4] = [false, true, true, false];

const USAGE: &str = "usage: windows ordinary|attack TRANSACTIONS REPETITIONS";

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (kind, transactions, repetitions) = match words.as_slice() {
        [kind, transactions, repetitions] => (kind, transactions.parse()?, repetitions.parse()?),
        _ => return Err(USAGE.into()),
    };
    let all: Vec<Transaction> = match kind.as_str() {
        "ordinary" => traffic::transactions(Kind::Ordinary, transactions, MINUTE).collect(),
        "attack" => traffic::transactions(Kind::Attack, transactions, MINUTE).collect(),
        _ => return Err(USAGE.into()),
    };
    let resident_before = resident()?;
    for repetition in 0..repetitions {
        let line = measure(&all, resident_before)?;
        writeln!(stdout(), "{{\"traffic\":\"{kind}\",\"repetition\":{repetition},{line}}}")?;
    }
    Ok(())
}

/// Runs one repetition and returns the fields of a JSON object.
fn measure(all: &[Transaction], resident_before: usize) -> Result<String, Failure> {
    let (mut without, mut with) = (0.0, 0.0);
    for windows in ORDER {
        let took = run_pass(all, windows, &mut |_, _| {})?.nanoseconds;
        *if windows { &mut with } else { &mut without } += took / 2.0;
    }
    let (mut records, mut record_bytes, mut failed) = (0, 0, None);
    let epoch = Timestamp::from_nanos(EPOCH_SECONDS * 1_000_000_000);
    let identity = RecordBuilder::new("bench".into(), None, epoch, HashMap::new());
    let whole = run_pass(all, true, &mut |span, groups| {
        for (group, tally) in groups.sorted() {
            records += 1;
            match serde_json::to_vec(&identity.window(span, group, tally, records)) {
                Ok(record) => record_bytes += record.len(),
                Err(error) => failed = Some(error),
            }
        }
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    Ok(format!(
        "\"transactions\":{},\"ns_without\":{without:.1},\"ns_with\":{with:.1},\
         \"ns_with_records\":{:.1},\"window_bytes\":{},\"rss_growth_bytes\":{},\
         \"records\":{records},\"record_bytes\":{record_bytes}",
        all.len(),
        whole.nanoseconds,
        whole.bytes,
        whole.resident.saturating_sub(resident_before),
    ))
}

/// Cost of a pass: time per transaction, and peak memory.
struct PassCost {
    nanoseconds: f64,
    /// Memory as counted by the windows.
    bytes: usize,
    /// Resident memory of the process.
    resident: usize,
}

fn run_pass(
    all: &[Transaction],
    with: bool,
    each: &mut dyn FnMut(&Span, &Groups),
) -> Result<PassCost, Failure> {
    let epoch = Timestamp::from_nanos(EPOCH_SECONDS * 1_000_000_000);
    let mut windows = Windows::new(epoch, LATENESS);
    let mut next_expiry = epoch;
    let mut peak = PassCost { nanoseconds: 0.0, bytes: 0, resident: 0 };
    let mut overhead = Duration::ZERO;
    let start = cpu_time();
    for transaction in all {
        let observation = black_box(transaction.observation());
        if !with {
            continue;
        }
        if transaction.ts() >= next_expiry {
            let before = cpu_time();
            peak.bytes = peak.bytes.max(windows.bytes());
            peak.resident = peak.resident.max(resident()?);
            overhead += cpu_time().saturating_sub(before);
            windows.expire(transaction.ts(), each);
            next_expiry = transaction.ts().plus(EXPIRE_INTERVAL);
        }
        windows.observe(&observation);
    }
    if with {
        windows.finish(epoch.plus(Duration::from_secs(MINUTE)), each);
    }
    let count = u32::try_from(all.len()).unwrap_or(u32::MAX);
    let took = cpu_time().saturating_sub(start + overhead);
    peak.nanoseconds = took.as_secs_f64() * 1e9 / f64::from(count.max(1));
    Ok(peak)
}

/// Resident memory in bytes, including the allocator's caches.
fn resident() -> Result<usize, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kibibytes: usize = line.split_whitespace().next().ok_or("an empty VmRSS")?.parse()?;
    Ok(kibibytes * 1024)
}
