//! Runs packets from memory through the agent's stages in one thread, or through other parsers, and prints the
//! cost as a JSON object (`cargo xtask bench pipeline` and `scale`).
//!
//! `pipeline agent|map|hickory|domain FILE [--config FILE] [--sink DEST] [--stream LIST] [--output json] [--after SECONDS] [--until SECONDS] [--tasks N]
//! [--allocations]`.

mod allocations;
use dnscribe_benches::cpu;
mod hash_map;
mod load;
mod peers;
mod stages;
mod counting_sink;

use allocations::Counting;
use clap::{Parser, ValueEnum};
use dnscribe_agent::config::layer::Layer;
use dnscribe_agent::config::{Purpose, Sources};
use dnscribe_config::value::RecordOutput;
use dnscribe_delivery::{SinkSpec, StreamSet};
use load::Packets;
use std::error::Error;
use std::io::{Write as _, stdout};
use std::path::PathBuf;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

type Failure = Box<dyn Error>;

#[derive(Parser)]
struct Args {
    /// Program that reads the packets
    reader: Reader,
    /// Capture file
    file: PathBuf,
    /// Settings of the agent. If the sink is not `null`, records are made and counted
    #[command(flatten)]
    settings: Settings,
    /// Measure from this second of the capture on, and not the end of the capture
    #[arg(long, default_value_t = 0.0)]
    after: f64,
    /// Measure until this second of the capture
    #[arg(long, default_value_t = f64::from(u32::MAX))]
    until: f64,
    /// Number of processes to which the clients' ports are assigned
    #[arg(long)]
    tasks: Option<u32>,
    /// Count allocations instead of time
    #[arg(long)]
    allocations: bool,
}

/// Flags of `dnscribe replay` that are needed.
#[derive(clap::Args)]
struct Settings {
    #[arg(long)]
    config: Option<PathBuf>,
    #[arg(long)]
    stream: Option<StreamSet>,
    #[arg(long)]
    sink: Vec<SinkSpec>,
    #[arg(long)]
    output: Option<RecordOutput>,
}

impl Settings {
    fn sources(&self) -> Sources {
        let sinks = Some(self.sink.clone()).filter(|sinks| !sinks.is_empty());
        let flags = Layer { streams: self.stream, sinks, output: self.output, ..Layer::default() };
        let environment = std::env::vars_os().collect();
        Sources { purpose: Purpose::Replay, file: self.config.clone(), environment, flags }
    }
}

#[derive(ValueEnum, Clone, Copy)]
enum Reader {
    /// The agent
    Agent,
    /// A plain hash map of pending queries
    Map,
    /// hickory-proto, which parses the whole message
    Hickory,
    /// The crate `domain`, which walks over the records
    Domain,
}

/// Result of a measurement.
struct Measurement {
    messages: u64,
    cpu: Duration,
    /// Further figures, by name.
    more: Vec<(&'static str, f64)>,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let packets = Packets::load(&args.file, args.tasks)?;
    if args.allocations {
        allocations::count();
    }
    let took = match args.reader {
        Reader::Agent => stages::run(&packets, &args.settings.sources(), args.after..args.until)?,
        Reader::Map => hash_map::run(&packets, args.after..args.until)?,
        Reader::Hickory => peers::hickory(&packets),
        Reader::Domain => peers::domain(&packets),
    };
    let messages = real(took.messages.max(1));
    let micros = took.cpu.as_secs_f64() * 1e6 / messages;
    let mut figures = vec![("messages", real(took.messages)), ("us_per_message", micros)];
    if args.allocations {
        // The time would include the counting.
        let (count, bytes) = allocations::counted();
        figures.truncate(1);
        figures.push(("allocations_per_message", real(count) / messages));
        figures.push(("allocated_bytes_per_message", real(bytes) / messages));
    } else {
        figures.push(("messages_per_second", 1e6 / micros));
    }
    figures.extend(took.more);
    let fields: Vec<String> =
        figures.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    writeln!(stdout(), "{{{}}}", fields.join(","))?;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
const fn real(count: u64) -> f64 {
    count as f64
}
