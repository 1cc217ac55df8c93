//! `bench`: measurements, as JSON lines: one per run, then a summary of each figure; and a table of each
//! part. What counts are the ratios within a run; absolute figures are the machine's.

mod case;
mod detect;
mod e2e;
mod kafka;
mod kernel;
mod latency;
mod machine;
mod memory;
mod pipeline;
mod pressure;
mod report;
mod scale;
mod statistics;
mod table;
mod threads;
mod timed;
mod usage;
mod windows;

use crate::interrupt::Interrupt;
use crate::{build, process, say, setup};
use anyhow::{Result, ensure};
use case::Plan;
use clap::ValueEnum;
use report::Report;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What to measure, and how often.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Which parts; all of them where none is given
    parts: Vec<Part>,
    /// Repetitions, each of which goes through all cases forth and back
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=50))]
    repetitions: u32,
    /// How many messages, transactions or queries each case is about; each part has its own number
    /// where this is not given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1000..=5_000_000))]
    count: Option<u32>,
    /// Write the tables into docs/performance.md, too
    #[arg(long)]
    write: bool,
    /// The agent to measure, instead of one built now
    #[arg(long)]
    binary: Option<PathBuf>,
    /// The cargo profile to build with
    #[arg(long, default_value = "release")]
    profile: String,
    /// Parts that have failed already, before this went on as root
    #[arg(long, hide = true)]
    failed: Vec<Part>,
}

/// A part of the benchmark.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Precision and recall of the detectors, on incidents and quiet days that are made, and on the corpus
    Detect,
    /// Packets in memory to transactions and records, beside other programs on the same capture
    Pipeline,
    /// What windows cost for each transaction, and hold
    Windows,
    /// What a message costs as tables grow
    Scale,
    /// What the agent holds
    Memory,
    /// The Kafka sink beside kcat and Kafka's own producer, at one broker
    Kafka,
    /// What a packet costs in the kernel
    Kernel,
    /// The agent's latencies against tshark's and dnsperf's
    Latency,
    /// knot and dnsperf, flat out and at a pace, without and with the agent
    E2e,
    /// More events than can be handled
    Pressure,
    /// Throughput with more threads
    Threads,
}

impl Part {
    /// Whether it captures.
    const fn needs_root(self) -> bool {
        matches!(
            self,
            Self::Kernel
                | Self::Latency
                | Self::E2e
                | Self::Pressure
                | Self::Threads
                | Self::Memory
        )
    }

    /// Examples of the agent that it runs.
    const fn examples(self) -> &'static [&'static str] {
        match self {
            Self::Detect => &["detect_quality"],
            Self::Pipeline | Self::Scale => &["pipeline"],
            Self::Windows => &["windows"],
            Self::Kafka => &["kafka_sink"],
            Self::Kernel => &["kernel_cost"],
            Self::Threads => &["threads"],
            _ => &[],
        }
    }

    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Measures it. What has no cases to compare tells its lines itself and gives no report.
    fn measure(self, bench: &Bench) -> Result<Option<Report>> {
        match self {
            Self::Detect => detect::main(bench).map(|()| None),
            Self::Pipeline => pipeline::main(bench).map(Some),
            Self::Windows => windows::main(bench).map(Some),
            Self::Scale => scale::main(bench).map(Some),
            Self::Memory => memory::main(bench).map(Some),
            Self::Kafka => kafka::main(bench).map(Some),
            Self::Kernel => kernel::main(bench).map(Some),
            Self::Latency => latency::main(bench).map(Some),
            Self::E2e => e2e::main(bench).map(Some),
            Self::Pressure => pressure::main(bench).map(Some),
            Self::Threads => threads::main(bench).map(Some),
        }
    }
}

/// What all parts are given.
pub struct Bench {
    /// The agent.
    binary: PathBuf,
    profile: String,
    repetitions: u32,
    /// How much of what a part counts, where that was said.
    count: Option<u32>,
    interrupt: Interrupt,
}

impl Bench {
    /// The agent to measure.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// An example of the agent, one of [`Part::examples`].
    pub fn example(&self, name: &str) -> PathBuf {
        build::example_path(name, &self.profile)
    }

    /// How much of what a part counts.
    pub fn count(&self, default: u32) -> u32 {
        self.count.unwrap_or(default)
    }

    /// Runs all cases of a part as often as wanted.
    pub fn run(&self, plan: Plan<'_>) -> Result<Report> {
        plan.run(self.repetitions, &self.interrupt)
    }
}

/// Runs the command.
pub fn main(args: &Args) -> Result<()> {
    let wanted = |part: &Part| args.parts.is_empty() || args.parts.contains(part);
    let parts: Vec<Part> = Part::value_variants().iter().copied().filter(wanted).collect();
    setup::main(setup::Args { test: true })?;
    if parts.contains(&Part::Pipeline) && !process::elevated() {
        setup::rivals();
    }
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => build::agent(&args.profile)?,
    };
    for example in parts.iter().flat_map(|part| part.examples()) {
        build::example(example, &args.profile)?;
    }
    let bench = Bench {
        binary,
        profile: args.profile.clone(),
        repetitions: args.repetitions,
        count: args.count,
        interrupt: Interrupt::listen()?,
    };
    // What needs root comes last, and as root only that is left to do.
    let (as_root, as_user): (Vec<Part>, Vec<Part>) =
        parts.into_iter().partition(|part| part.needs_root());
    let mut failed = args.failed.clone();
    if !process::elevated() {
        failed.extend(measure(&as_user, &bench, args.write)?);
    }
    if !as_root.is_empty() {
        become_root(args, &as_root, &failed, &bench.binary)?;
        failed.extend(measure(&as_root, &bench, args.write)?);
    }
    let names: Vec<String> = failed.into_iter().map(Part::name).collect();
    ensure!(
        names.is_empty(),
        "parts that failed, of which the reason is above: {}",
        names.join(", ")
    );
    Ok(())
}

/// Measures some parts and shows their tables, at the end of all. Gives the parts that failed, of which the
/// reason is told: the others go on.
///
/// # Errors
/// Where it was interrupted.
fn measure(parts: &[Part], bench: &Bench, write: bool) -> Result<Vec<Part>> {
    let (mut tables, mut failed) = (Vec::new(), Vec::new());
    for part in parts {
        let start = Instant::now();
        match table_of(*part, bench, write) {
            Ok(table) => tables.extend(table),
            Err(error) => {
                bench.interrupt.check()?;
                say::progress(&format!("{} failed: {error:#}", part.name()));
                failed.push(*part);
            }
        }
        say::progress(&format!("{} took {:.0} s", part.name(), start.elapsed().as_secs_f64()));
    }
    for table in &tables {
        say::progress(table);
    }
    Ok(failed)
}

/// Measures a part: its table, where it has one, which is written, too, if it shall be.
fn table_of(part: Part, bench: &Bench, write: bool) -> Result<Option<String>> {
    let Some(report) = part.measure(bench)? else { return Ok(None) };
    let text = told(&report);
    if write {
        table::write(report.part(), &text)?;
    }
    Ok(Some(text))
}

/// A report as it stands in `docs/performance.md`.
fn told(report: &Report) -> String {
    let missed = match report.missed() {
        0 => String::new(),
        1 => " One aim was missed.".to_owned(),
        many => format!(" {many} aims were missed."),
    };
    format!(
        "\n`cargo xtask bench {}` on {}.{missed}\n\n{}\n",
        report.part(),
        machine::shown(),
        report.table()
    )
}

/// Goes on as root, where this is not, with these parts and the same agent.
fn become_root(args: &Args, parts: &[Part], failed: &[Part], binary: &Path) -> Result<()> {
    let mut again = vec!["bench".to_owned()];
    again.extend(parts.iter().copied().map(Part::name));
    again.extend(failed.iter().map(|part| format!("--failed={}", part.name())));
    again.push(format!("--repetitions={}", args.repetitions));
    again.push(format!("--profile={}", args.profile));
    again.push(format!("--binary={}", binary.display()));
    again.extend(args.count.map(|count| format!("--count={count}")));
    again.extend(args.write.then(|| "--write".to_owned()));
    process::become_root_with("capturing", again.into_iter().map(Into::into))
}
