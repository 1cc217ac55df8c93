//! Takes packets that are in memory already through the rooms of the agent, in one thread, and prints what
//! that took, as a JSON object: what `cargo xtask bench pipeline` and `scale` run. Beside it, other parsers
//! of the same messages.
//!
//! `pipeline agent|map|hickory|domain FILE [FLAGS OF REPLAY] [--after SECONDS] [--until SECONDS] [--tasks N]
//! [--allocations]`.

mod allocations;
use dnscribe_benches::cpu;
mod floor;
mod load;
mod peers;
mod rooms;
mod tally;

use allocations::Counting;
use clap::{Parser, ValueEnum};
use dnscribe::cli::ReplayArgs;
use load::Packets;
use std::error::Error;
use std::io::{Write as _, stdout};
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

type Failure = Box<dyn Error>;

#[derive(Parser)]
struct Args {
    /// Who reads the packets
    who: Who,
    /// What the agent is told; of its sink only whether it is `null` matters, else records are made
    #[command(flatten)]
    replay: ReplayArgs,
    /// What comes before this second of the capture is not measured, nor is what is left at its end
    #[arg(long, default_value_t = 0.0)]
    after: f64,
    /// Nothing is measured from this second of the capture on
    #[arg(long, default_value_t = f64::from(u32::MAX))]
    until: f64,
    /// So many processes ask, each on ports of its own
    #[arg(long)]
    tasks: Option<u32>,
    /// Count allocations; what is counted is slower
    #[arg(long)]
    allocations: bool,
}

#[derive(ValueEnum, Clone, Copy)]
enum Who {
    /// The agent
    Agent,
    /// A plain hash map of queries that wait, in which responses look for theirs
    Map,
    /// hickory-proto, which reads messages whole
    Hickory,
    /// The crate `domain`, which walks over them
    Domain,
}

/// What was measured.
struct Took {
    messages: u64,
    cpu: Duration,
    /// Each with its name.
    more: Vec<(&'static str, f64)>,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let [file] = args.replay.files.as_slice() else { return Err("one file, please".into()) };
    let packets = Packets::load(file, args.tasks)?;
    if args.allocations {
        allocations::count();
    }
    let took = match args.who {
        Who::Agent => rooms::pass(&packets, &args.replay, args.after..args.until)?,
        Who::Map => floor::pass(&packets, args.after..args.until)?,
        Who::Hickory => peers::hickory(&packets),
        Who::Domain => peers::domain(&packets),
    };
    let messages = real(took.messages.max(1));
    let micros = took.cpu.as_secs_f64() * 1e6 / messages;
    let mut figures = vec![("messages", real(took.messages)), ("us_per_message", micros)];
    if args.allocations {
        // The time is that of counting, too.
        let (count, bytes) = allocations::counted();
        figures.truncate(1);
        figures.push(("allocations_per_message", real(count) / messages));
        figures.push(("allocated_bytes_per_message", real(bytes) / messages));
    } else {
        figures.push(("messages_per_second", 1e6 / micros));
    }
    figures.extend(took.more);
    let shown: Vec<String> =
        figures.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    writeln!(stdout(), "{{{}}}", shown.join(","))?;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
const fn real(count: u64) -> f64 {
    count as f64
}
