//! CPU time per message as one dimension grows and the others stay (`dnscribe_tests::scale`): pending queries,
//! open TCP connections, resolvers, zones, processes. Measured in one thread after the warm-up of the capture
//! and until its last query (`tests/benches/src/bin/pipeline --after --until`). The number of queries and of
//! responses is always the same.
//!
//! There are two kinds of pending queries. *Standing* ones are never answered, as if servers were dead, while
//! other queries are answered within a millisecond. *Waiting* ones are all answered, in random order, so that
//! each response matches a query that is no longer in a CPU cache. For comparison, a plain hash map with as
//! many bytes per query handles the same packets: the cost of memory access alone.

use super::Bench;
use super::case::{Figures, Plan};
use super::report::{Report, Row};
use anyhow::{Context as _, Result};
use dnscribe_tests::environment;
use dnscribe_tests::scale::Scale;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

const US: &str = "us_per_message";
/// Aim: largest ratio of the cost per message at any size to that at the smallest size.
const FLAT: f64 = 1.3;

/// Streams of the dimensions that concern pairing.
const TRANSACTIONS: &str = "transactions";
/// Streams of the dimensions that concern windows and detection.
const ANALYSIS: &str = "transactions,metrics,alerts";

/// Configuration with limits above the sizes; by default 262,144 queries may be pending.
const CONFIG: &str = "version: 1\npairing:\n  query_timeout: 60s\n  max_transactions: 2000000\n";

/// A dimension that grows.
struct Dimension {
    name: &'static str,
    streams: &'static str,
    steps: &'static [u32],
    /// Returns the settings of the capture for a step.
    scale: fn(Scale, u32) -> Scale,
    /// Whether the step is the number of processes.
    tasks: bool,
    /// Whether a hash map handles the same packets for comparison.
    floor: bool,
}

const DIMENSIONS: [Dimension; 6] = [
    Dimension {
        name: "standing",
        streams: TRANSACTIONS,
        steps: &[1_000, 10_000, 100_000, 1_000_000],
        scale: |base, standing| Scale { standing, ..base },
        tasks: false,
        floor: true,
    },
    Dimension {
        name: "waiting",
        streams: TRANSACTIONS,
        steps: &[1_000, 10_000, 100_000, 1_000_000],
        scale: |base, waiting| Scale { waiting, ..base },
        tasks: false,
        floor: true,
    },
    Dimension {
        name: "connections",
        streams: TRANSACTIONS,
        steps: &[100, 1_000, 10_000],
        scale: |base, connections| Scale { connections, ..base },
        tasks: false,
        floor: false,
    },
    Dimension {
        name: "resolvers",
        streams: ANALYSIS,
        steps: &[10, 1_000, 10_000],
        scale: |base, resolvers| Scale { resolvers, ..base },
        tasks: false,
        floor: false,
    },
    Dimension {
        name: "zones",
        streams: ANALYSIS,
        steps: &[10, 1_000, 10_000],
        scale: |base, zones| Scale { zones, ..base },
        tasks: false,
        floor: false,
    },
    Dimension {
        name: "processes",
        streams: ANALYSIS,
        steps: &[10, 10_000],
        scale: |base, _| base,
        tasks: true,
        floor: false,
    },
];

/// Runs this part of the benchmark and returns its report.
pub fn main(bench: &Bench) -> Result<Report> {
    // Gigabytes: not in /tmp, which may be in memory.
    let folder = tempfile::tempdir_in(environment::target())?;
    let config = folder.path().join("config.yaml");
    fs::write(&config, CONFIG)?;
    let base = Scale { messages: bench.count(300_000), ..Scale::default() };
    let program = &bench.program("pipeline");
    let mut plan = Plan::new("scale");
    for dimension in &DIMENSIONS {
        let mut smallest: Option<u32> = None;
        for step in dimension.steps {
            let scale = (dimension.scale)(base, *step);
            let capture = folder.path().join(format!("{}-{step}", dimension.name));
            scale
                .write(BufWriter::new(File::create(&capture)?))
                .context("cannot write a capture")?;
            let run = Run {
                capture,
                config: &config,
                after: scale.warm_up_seconds(),
                until: scale.end_seconds(),
                streams: dimension.streams,
                tasks: dimension.tasks.then_some(*step),
            };
            for reader in PROGRAMS.into_iter().filter(|reader| reader.is_agent || dimension.floor) {
                let name = |step| format!("{}-{step}{}", dimension.name, reader.suffix);
                let run = run.clone();
                plan.case(&name(*step), move || run.measure(program, reader.name));
                let row = Row::new(&name(*step), US);
                plan.row(match smallest {
                    None => row,
                    Some(smallest) if reader.is_agent => {
                        row.relative_to(&name(smallest)).at_most(FLAT)
                    }
                    Some(smallest) => row.relative_to(&name(smallest)),
                });
            }
            smallest.get_or_insert(*step);
        }
    }
    bench.run(plan)
}

/// Program that handles the packets.
#[derive(Clone, Copy)]
struct Program {
    /// Argument of `pipeline`.
    name: &'static str,
    suffix: &'static str,
    is_agent: bool,
}

const PROGRAMS: [Program; 2] = [
    Program { name: "agent", suffix: "", is_agent: true },
    Program { name: "map", suffix: ", hash map", is_agent: false },
];

#[derive(Clone)]
struct Run<'a> {
    capture: PathBuf,
    config: &'a Path,
    after: f64,
    until: f64,
    streams: &'static str,
    tasks: Option<u32>,
}

impl Run<'_> {
    fn measure(&self, program: &Path, reader: &str) -> Result<Figures> {
        let mut command = Command::new(program);
        command.arg(reader).arg(&self.capture).args(["--sink", "null", "--stream", self.streams]);
        command.arg("--config").arg(self.config).args(["--after", &self.after.to_string()]);
        command.args(["--until", &self.until.to_string()]);
        if let Some(tasks) = self.tasks {
            command.args(["--tasks", &tasks.to_string()]);
        }
        Figures::measure(&mut command)
    }
}
