//! Gives made-up transactions to the windows and prints what that costs, as JSON lines: what
//! `cargo xtask bench windows` runs.
//!
//! `windows ordinary|attack TRANSACTIONS REPETITIONS`. Each repetition goes through the same minute of transactions
//! without windows, with them, with them, and without; then once more, with the records
//! written as well.

use dnscribe_benches::cpu;
mod traffic;

use cpu::cpu_time;
use dnscribe::analysis::window::{Groups, Span, Windows};
use dnscribe::record::Identity;
use dnscribe_record::time::Timestamp;
use std::collections::HashMap;
use std::error::Error;
use std::hint::black_box;
use std::io::{Write as _, stdout};
use std::time::Duration;
use tikv_jemallocator::Jemalloc;
use traffic::{EPOCH_SECONDS, Given, Kind};

/// As in the agent.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

const LATENESS: Duration = Duration::from_secs(6);
const MINUTE: u64 = 60;
/// How many transactions may pass between two looks at the clock, at most; as the pipeline does.
const LOOK: Duration = Duration::from_millis(500);
/// Without windows or with them, so that a drift of the machine weighs on both alike.
const ORDER: [bool; 4] = [false, true, true, false];

const USAGE: &str = "usage: windows ordinary|attack TRANSACTIONS REPETITIONS";

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (kind, transactions, repetitions) = match words.as_slice() {
        [kind, transactions, repetitions] => (kind, transactions.parse()?, repetitions.parse()?),
        _ => return Err(USAGE.into()),
    };
    let all: Vec<Given> = match kind.as_str() {
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

/// One repetition: the inner part of a JSON object.
fn measure(all: &[Given], resident_before: usize) -> Result<String, Failure> {
    let (mut without, mut with) = (0.0, 0.0);
    for windows in ORDER {
        let took = pass(all, windows, &mut |_, _| {})?.nanoseconds;
        *if windows { &mut with } else { &mut without } += took / 2.0;
    }
    let (mut records, mut octets, mut failed) = (0, 0, None);
    let epoch = Timestamp::from_nanos(EPOCH_SECONDS * 1_000_000_000);
    let identity = Identity::new("bench".into(), None, epoch, HashMap::new());
    let whole = pass(all, true, &mut |span, groups| {
        for (group, tally) in groups.sorted() {
            records += 1;
            match serde_json::to_vec(&identity.window(span, group, tally, records)) {
                Ok(record) => octets += record.len(),
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
         \"records\":{records},\"record_bytes\":{octets}",
        all.len(),
        whole.nanoseconds,
        whole.bytes,
        whole.resident.saturating_sub(resident_before),
    ))
}

/// What a pass took: for each transaction, and at most.
struct Took {
    nanoseconds: f64,
    /// As the windows count.
    bytes: usize,
    /// As the system counts, of the whole process.
    resident: usize,
}

fn pass(all: &[Given], with: bool, each: &mut dyn FnMut(&Span, &Groups)) -> Result<Took, Failure> {
    let epoch = Timestamp::from_nanos(EPOCH_SECONDS * 1_000_000_000);
    let mut windows = Windows::new(epoch, LATENESS);
    let mut next_look = epoch;
    let mut peak = Took { nanoseconds: 0.0, bytes: 0, resident: 0 };
    let mut looking = Duration::ZERO;
    let start = cpu_time();
    for given in all {
        let observation = black_box(given.observation());
        if !with {
            continue;
        }
        if given.ts() >= next_look {
            let look = cpu_time();
            peak.bytes = peak.bytes.max(windows.bytes());
            peak.resident = peak.resident.max(resident()?);
            looking += cpu_time().saturating_sub(look);
            windows.expire(given.ts(), each);
            next_look = given.ts().plus(LOOK);
        }
        windows.observe(&observation);
    }
    if with {
        windows.finish(epoch.plus(Duration::from_secs(MINUTE)), each);
    }
    let count = u32::try_from(all.len()).unwrap_or(u32::MAX);
    let took = cpu_time().saturating_sub(start + looking);
    peak.nanoseconds = took.as_secs_f64() * 1e9 / f64::from(count.max(1));
    Ok(peak)
}

/// Octets of memory that this process holds, what the allocator keeps for later included.
fn resident() -> Result<usize, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kibibytes: usize = line.split_whitespace().next().ok_or("an empty VmRSS")?.parse()?;
    Ok(kibibytes * 1024)
}
