//! `bench`: measures parts of dnscribe. Standard output gets JSON lines, one per run and a summary of each figure;
//! standard error gets a table per part. Compare the ratios within a run: absolute figures depend on the machine.

mod case;
mod compare;
mod detect;
mod dnstap;
mod e2e;
mod kafka;
mod kernel;
mod kpi;
mod latency;
mod machine;
mod memory;
mod pipeline;
mod pressure;
mod probe;
mod report;
mod scale;
mod statistics;
mod stream;
mod table;
mod threads;
mod timed;
mod usage;
mod windows;

use crate::interrupt::Interrupt;
use crate::{build, console, process, setup};
use anyhow::{Result, bail, ensure};
use case::Plan;
use clap::ValueEnum;
use compare::Comparison;
use report::Report;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Arguments of `bench`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Parts to run [default: all]
    parts: Vec<Part>,
    /// Repetitions; each runs all cases forward and then backward
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=50))]
    repetitions: u32,
    /// Number of messages, transactions or queries of each case [default: depends on the part]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1000..=5_000_000))]
    count: Option<u32>,
    /// Only cases whose name contains this text, and only the table's rows about them; may be repeated
    #[arg(long = "case", value_name = "TEXT", conflicts_with = "write")]
    cases: Vec<String>,
    /// One repetition, with a quarter of the default number
    #[arg(long, conflicts_with_all = ["count", "repetitions", "write"])]
    quick: bool,
    /// Also write the tables into docs/bench
    #[arg(long)]
    write: bool,
    /// Also build this commit, and measure its programs in the same runs: ratios are those of this tree to it
    #[arg(long, value_name = "COMMIT", conflicts_with_all = ["write", "binary"])]
    compare: Option<String>,
    /// Agent binary to measure [default: build one]
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Cargo profile to build with
    #[arg(long, default_value = "release")]
    profile: String,
    /// Parts that failed before this command restarted itself as root
    #[arg(long, hide = true)]
    failed: Vec<Part>,
}

/// A part of the benchmark.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Precision and recall of the detectors, on generated incidents and quiet days, and on the corpus
    Detect,
    /// CPU time from packets in memory to transactions and records, and of other programs on the same capture
    Pipeline,
    /// CPU time of reading dnstap, beside other readers, and what sending it costs servers
    Dnstap,
    /// CPU time per transaction and memory of windows
    Windows,
    /// CPU time per message as tables grow
    Scale,
    /// Resident memory of the agent
    Memory,
    /// CPU time and memory of the probe with 5,000 targets, and the delay of its rounds
    Probe,
    /// The Flink jobs compared with a job that only copies a topic, and with `ClickHouse`'s Kafka engine
    Stream,
    /// KPIs of a sample registrar's year, beside pandas, Polars and `ClickHouse`, and answers of their API
    Kpi,
    /// The Kafka sink compared with kcat and Kafka's own producer, at one broker
    Kafka,
    /// CPU time per packet in the kernel
    Kernel,
    /// The agent's latencies compared with tshark's and dnsperf's
    Latency,
    /// knot under dnsperf's load, at full speed and paced, without and with the agent
    E2e,
    /// Overload: more events than the agent can handle
    Pressure,
    /// Throughput by number of threads
    Threads,
}

impl Part {
    /// Whether the part captures packets, which needs root.
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

    /// Programs of `tests/benches` that the part runs.
    const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Detect => &["detect_quality"],
            Self::Pipeline | Self::Scale => &["pipeline"],
            Self::Windows => &["windows", "pipeline"],
            Self::Kafka => &["kafka_sink"],
            Self::Probe => &["probe_load"],
            Self::Kernel => &["kernel_cost"],
            Self::Kpi => &["kpi_load"],
            Self::Threads => &["threads"],
            _ => &[],
        }
    }

    /// Whether each case starts programs of [`Part::programs`], or the agent, anew, so that those of another commit can take
    /// their place.
    const fn can_compare(self) -> bool {
        matches!(
            self,
            Self::Pipeline
                | Self::Windows
                | Self::Scale
                | Self::Memory
                | Self::Kernel
                | Self::Latency
                | Self::Threads
        )
    }

    /// Name on the command line.
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Runs the part. Returns `None` if the part prints its own lines and has no cases to compare.
    fn measure(self, bench: &Bench) -> Result<Option<Report>> {
        match self {
            Self::Detect => detect::main(bench).map(|()| None),
            Self::Pipeline => pipeline::main(bench).map(Some),
            Self::Dnstap => dnstap::main(bench).map(Some),
            Self::Windows => windows::main(bench).map(Some),
            Self::Scale => scale::main(bench).map(Some),
            Self::Memory => memory::main(bench).map(Some),
            Self::Kafka => kafka::main(bench).map(Some),
            Self::Kernel => kernel::main(bench).map(Some),
            Self::Kpi => kpi::main(bench).map(Some),
            Self::Latency => latency::main(bench).map(Some),
            Self::E2e => e2e::main(bench).map(Some),
            Self::Probe => probe::main(bench).map(Some),
            Self::Pressure => pressure::main(bench).map(Some),
            Self::Stream => stream::main(bench).map(Some),
            Self::Threads => threads::main(bench).map(Some),
        }
    }
}

/// Settings that all parts share.
pub struct Bench {
    /// Agent binary.
    binary: PathBuf,
    profile: String,
    repetitions: u32,
    /// Value of `--count`.
    count: Option<u32>,
    /// Value of `--quick`.
    quick: bool,
    /// Values of `--case`; empty for all cases.
    cases: Vec<String>,
    /// Value of `--compare`.
    comparison: Option<Comparison>,
    interrupt: Interrupt,
}

impl Bench {
    /// Path of the agent binary to measure.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Cargo profile that programs are built with.
    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// Path of the probe's binary.
    pub fn probe(&self) -> PathBuf {
        self.program("dnscribe-probe")
    }

    /// Path of a program of `tests/benches`, one of [`Part::programs`].
    pub fn program(&self, name: &str) -> PathBuf {
        match &self.comparison {
            Some(comparison) => comparison.program(name),
            None => build::path(name, &self.profile),
        }
    }

    /// Number of messages, transactions or queries: `--count`, or else `default`, or a quarter of it with `--quick`.
    pub fn count(&self, default: u32) -> u32 {
        self.count.unwrap_or_else(|| self.scaled(default))
    }

    /// Returns a number, or a quarter of it with `--quick`.
    pub const fn scaled(&self, number: u32) -> u32 {
        if self.quick { number / 4 } else { number }
    }

    /// Runs all cases of a part, or those that `--case` names, in every repetition.
    pub fn run(&self, plan: Plan<'_>) -> Result<Report> {
        let plan = if self.cases.is_empty() { plan } else { plan.only(&self.cases)? };
        let plan = match &self.comparison {
            Some(comparison) => plan.compared(&comparison.commit, |side| comparison.select(side)),
            None => plan,
        };
        plan.run(self.repetitions, &self.interrupt)
    }
}

/// Runs the command.
pub fn main(args: &Args) -> Result<()> {
    let wanted = |part: &Part| {
        let is_possible = args.compare.is_none() || part.can_compare();
        args.parts.contains(part) || args.parts.is_empty() && is_possible
    };
    let other = |part: &&Part| args.compare.is_some() && !part.can_compare();
    if let Some(part) = args.parts.iter().find(other) {
        bail!(
            "--compare: {} has programs that run through all cases, or stores of its own",
            part.name()
        );
    }
    let parts: Vec<Part> = Part::value_variants().iter().copied().filter(wanted).collect();
    let commands: Vec<String> = parts.iter().map(|part| format!("bench {}", part.name())).collect();
    setup::install(&commands)?;
    if parts.contains(&Part::Pipeline) && !process::is_elevated() {
        setup::peers();
    }
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => build::agent(&args.profile)?,
    };
    if parts.contains(&Part::Probe) {
        build::program("dnscribe-probe", &args.profile)?;
    }
    for program in parts.iter().flat_map(|part| part.programs()) {
        build::benchmark(program, &args.profile)?;
    }
    let programs = ["dnscribe"]
        .into_iter()
        .chain(parts.iter().flat_map(|part| part.programs().iter().copied()));
    let programs: Vec<&str> = programs.collect();
    let comparison = args.compare.as_ref();
    let comparison = comparison
        .map(|commit| Comparison::prepare(commit, &args.profile, &programs))
        .transpose()?;
    let binary = comparison.as_ref().map_or(binary, |comparison| comparison.program("dnscribe"));
    let bench = Bench {
        binary,
        profile: args.profile.clone(),
        repetitions: if args.quick { 1 } else { args.repetitions },
        count: args.count,
        quick: args.quick,
        cases: args.cases.clone(),
        comparison,
        interrupt: Interrupt::listen()?,
    };
    // Parts that need root run last, because the process that restarts as root runs only those.
    let (as_root, as_user): (Vec<Part>, Vec<Part>) =
        parts.into_iter().partition(|part| part.needs_root());
    let mut failed = args.failed.clone();
    if !process::is_elevated() {
        failed.extend(measure(&as_user, &bench, args.write)?);
    }
    if !as_root.is_empty() {
        become_root(args, &as_root, &failed, &bench)?;
        failed.extend(measure(&as_root, &bench, args.write)?);
    }
    let names: Vec<String> = failed.into_iter().map(Part::name).collect();
    ensure!(names.is_empty(), "failed parts: {} (see above)", names.join(", "));
    Ok(())
}

/// Runs some parts and prints their tables at the end. Returns the parts that failed; a failure is printed and
/// does not stop the other parts.
///
/// # Errors
/// If the command was interrupted.
fn measure(parts: &[Part], bench: &Bench, write: bool) -> Result<Vec<Part>> {
    let (mut tables, mut failed) = (Vec::new(), Vec::new());
    for part in parts {
        let start = Instant::now();
        match run_part(*part, bench, write) {
            Ok(table) => tables.extend(table),
            Err(error) => {
                bench.interrupt.check()?;
                console::progress(&format!("{} failed: {error:#}", part.name()));
                failed.push(*part);
            }
        }
        console::progress(&format!("{} took {:.0} s", part.name(), start.elapsed().as_secs_f64()));
    }
    for table in &tables {
        console::progress(table);
    }
    Ok(failed)
}

/// Runs a part and returns its table, if it has one. `write` also writes the table into its page in `docs/bench`.
fn run_part(part: Part, bench: &Bench, write: bool) -> Result<Option<String>> {
    let Some(report) = part.measure(bench)? else { return Ok(None) };
    let text = markdown(&report);
    if write {
        table::write(report.part(), &text)?;
    }
    Ok(Some(text))
}

/// Formats a report as in `docs/bench`.
fn markdown(report: &Report) -> String {
    let missed = match report.missed() {
        0 => String::new(),
        1 => " One aim was missed.".to_owned(),
        many => format!(" {many} aims were missed."),
    };
    format!(
        "\n`cargo xtask bench {}` on {}.{missed}\n\n{}\n",
        report.part(),
        machine::description(),
        report.table()
    )
}

/// Restarts this command as root, unless it is root, with these parts and the same agent.
fn become_root(args: &Args, parts: &[Part], failed: &[Part], bench: &Bench) -> Result<()> {
    let mut arguments = vec!["bench".to_owned()];
    arguments.extend(parts.iter().copied().map(Part::name));
    arguments.extend(failed.iter().map(|part| format!("--failed={}", part.name())));
    if args.quick {
        arguments.push("--quick".to_owned());
    } else {
        arguments.push(format!("--repetitions={}", args.repetitions));
    }
    arguments.push(format!("--profile={}", args.profile));
    arguments.push(match &bench.comparison {
        Some(comparison) => format!("--compare={}", comparison.commit),
        None => format!("--binary={}", bench.binary.display()),
    });
    arguments.extend(args.count.map(|count| format!("--count={count}")));
    arguments.extend(args.cases.iter().map(|text| format!("--case={text}")));
    arguments.extend(args.write.then(|| "--write".to_owned()));
    process::become_root_with("capturing", arguments.into_iter().map(Into::into))
}
