//! What a message costs as one size grows and nothing else changes (`dnscribe_tests::scale`): queries that
//! wait, open TCP connections, resolvers, zones, processes. Measured in one thread, once all is there that
//! ever will be and until the last query (`agent/examples/pipeline --after --until`): as many queries as
//! responses, and the same number of them, whatever the size.
//!
//! Queries wait in two ways. *Standing* ones are never answered, as when servers are dead, while others
//! are answered in a millisecond. *Waiting* ones are all answered, in any order: each response is for a query
//! that nobody has touched since it came, and so not in any cache. Beside them a plain hash map of as
//! many octets for each query takes the same packets: what memory alone costs.

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
/// How much more a message may cost at the largest size than at the smallest.
const FLAT: f64 = 1.3;

/// Streams of which a size is measured.
const TRANSACTIONS: &str = "transactions";
const ANALYSIS: &str = "transactions,metrics,alerts";

/// Bounds that let the sizes be; the defaults hold 262,144 waiting queries.
const CONFIG: &str = "version: 1\npairing:\n  query_timeout: 60s\n  max_transactions: 2000000\n";

/// Something that grows.
struct Size {
    name: &'static str,
    streams: &'static str,
    steps: &'static [u32],
    /// The capture of a step.
    scale: fn(Scale, u32) -> Scale,
    /// Whether the step is a number of processes.
    tasks: bool,
    /// Whether a hash map takes the same packets.
    floor: bool,
}

const SIZES: [Size; 6] = [
    Size {
        name: "standing",
        streams: TRANSACTIONS,
        steps: &[1_000, 10_000, 100_000, 1_000_000],
        scale: |base, standing| Scale { standing, ..base },
        tasks: false,
        floor: true,
    },
    Size {
        name: "waiting",
        streams: TRANSACTIONS,
        steps: &[1_000, 10_000, 100_000, 1_000_000],
        scale: |base, waiting| Scale { waiting, ..base },
        tasks: false,
        floor: true,
    },
    Size {
        name: "connections",
        streams: TRANSACTIONS,
        steps: &[100, 1_000, 10_000],
        scale: |base, connections| Scale { connections, ..base },
        tasks: false,
        floor: false,
    },
    Size {
        name: "resolvers",
        streams: ANALYSIS,
        steps: &[10, 1_000, 10_000],
        scale: |base, resolvers| Scale { resolvers, ..base },
        tasks: false,
        floor: false,
    },
    Size {
        name: "zones",
        streams: ANALYSIS,
        steps: &[10, 1_000, 10_000],
        scale: |base, zones| Scale { zones, ..base },
        tasks: false,
        floor: false,
    },
    Size {
        name: "processes",
        streams: ANALYSIS,
        steps: &[10, 10_000],
        scale: |base, _| base,
        tasks: true,
        floor: false,
    },
];

/// Measures it.
pub fn main(bench: &Bench) -> Result<Report> {
    // Gigabytes: not where temporary files may be kept in memory.
    let folder = tempfile::tempdir_in(environment::target())?;
    let config = folder.path().join("config.yaml");
    fs::write(&config, CONFIG)?;
    let base = Scale { messages: bench.count(300_000), ..Scale::default() };
    let program = &bench.example("pipeline");
    let mut plan = Plan::new("scale");
    for size in &SIZES {
        let mut smallest: Option<u32> = None;
        for step in size.steps {
            let scale = (size.scale)(base, *step);
            let capture = folder.path().join(format!("{}-{step}", size.name));
            scale
                .write(BufWriter::new(File::create(&capture)?))
                .context("cannot write a capture")?;
            let run = Run {
                capture,
                config: &config,
                after: scale.warm_up_seconds(),
                until: scale.end_seconds(),
                streams: size.streams,
                tasks: size.tasks.then_some(*step),
            };
            for who in WHO.into_iter().filter(|who| who.is_agent || size.floor) {
                let name = |step| format!("{}-{step}{}", size.name, who.suffix);
                let run = run.clone();
                plan.case(&name(*step), move || run.measure(program, who.name));
                let row = Row::of(&name(*step), US);
                plan.row(match smallest {
                    None => row,
                    Some(smallest) if who.is_agent => row.beside(&name(smallest)).at_most(FLAT),
                    Some(smallest) => row.beside(&name(smallest)),
                });
            }
            smallest.get_or_insert(*step);
        }
    }
    bench.run(plan)
}

/// Who takes the packets.
#[derive(Clone, Copy)]
struct Who {
    /// What the example calls it.
    name: &'static str,
    suffix: &'static str,
    is_agent: bool,
}

const WHO: [Who; 2] = [
    Who { name: "agent", suffix: "", is_agent: true },
    Who { name: "map", suffix: ", hash map", is_agent: false },
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
    fn measure(&self, program: &Path, who: &str) -> Result<Figures> {
        let mut command = Command::new(program);
        command.arg(who).arg(&self.capture).args(["--sink", "null", "--stream", self.streams]);
        command.arg("--config").arg(self.config).args(["--after", &self.after.to_string()]);
        command.args(["--until", &self.until.to_string()]);
        if let Some(tasks) = self.tasks {
            command.args(["--tasks", &tasks.to_string()]);
        }
        Figures::of(&mut command)
    }
}
