//! The Flink job `enrich` with one slot: records per second and CPU seconds per million of the task manager, from
//! Kafka to a topic and to `ClickHouse`, compared with a job that only copies one topic to another. Each run reads
//! the same transactions; the first part of them, while Java compiles, is not counted.
//!
//! The checkpoint that is measured is the last of the run: every event id is in its state.

use super::Bench;
use super::case::{Figures, Plan};
use super::report::{Report, Row};
use super::statistics::per_million;
use super::usage;
use anyhow::{Context as _, Result, bail};
use dnscribe_tests::flink_job::FlinkJob;
use dnscribe_tests::realistic::Realistic;
use dnscribe_tests::stack::{Component, Stack};
use dnscribe_tests::{environment, geo, shell};
use serde_json::{Value, json};
use std::cell::Cell;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const RATE: &str = "records_per_second";
const CPU: &str = "cpu_seconds_per_million_records";
/// Aim of the job that only copies, as a ratio.
const SHARE_OF_COPY: f64 = 0.5;
/// Topic of the transactions.
const INPUT: &str = "bench.normalized";
/// Share of the records after which measuring begins: Java compiles what runs often.
const WARM_UP: f64 = 0.4;
/// Time limit of a run.
const LIMIT: Duration = Duration::from_secs(600);
/// Time between two readings of the counters.
const READ_EVERY: Duration = Duration::from_millis(100);

/// A job to measure: name of the case, command, and sinks.
const CASES: [(&str, &str, &[&str]); 3] = [
    ("copy", "copy", &[]),
    ("enrich to a topic", "enrich", &["enriched"]),
    ("enrich to ClickHouse", "enrich", &["clickhouse"]),
];

/// Runs this part of the benchmark and returns its report.
pub fn main(bench: &Bench) -> Result<Report> {
    dnscribe_tests::stack::prepare()?;
    // Gigabytes: not in /tmp, which may be in memory.
    let folder = tempfile::tempdir_in(environment::target())?;
    let mut stack = Stack::open(&folder.path().join("stack"))?;
    for component in [Component::Kafka, Component::Flink, Component::ClickHouse] {
        stack.start(component)?;
    }
    let report = measure(bench, &stack, folder.path());
    stack.down()?;
    report
}

fn measure(bench: &Bench, stack: &Stack, folder: &Path) -> Result<Report> {
    let target = &StreamBench {
        stack,
        folder: folder.to_path_buf(),
        brokers: stack.kafka().context("Kafka does not run")?,
        task_manager: task_manager(folder)?,
        records: Cell::new(0),
        runs: Cell::new(0),
    };
    target.prepare(bench)?;
    let mut plan = Plan::new("stream");
    for (name, command, sinks) in CASES {
        plan.slow_case(name, move || target.run(command, sinks));
        for figure in [RATE, CPU] {
            let row = Row::new(name, figure);
            plan.row(match (name, figure) {
                ("copy", _) => row,
                ("enrich to a topic", RATE) => row.relative_to("copy").at_least(SHARE_OF_COPY),
                _ => row.relative_to("copy"),
            });
        }
    }
    for figure in ["keys", "state_bytes", "checkpoint_ms"] {
        plan.row(Row::new("enrich to a topic", figure));
    }
    bench.run(plan)
}

struct StreamBench<'a> {
    stack: &'a Stack,
    folder: PathBuf,
    brokers: String,
    task_manager: u32,
    /// Transactions in the topic.
    records: Cell<u64>,
    /// Runs so far: each has a topic and a database of its own.
    runs: Cell<u32>,
}

impl StreamBench<'_> {
    /// Writes the transactions to the topic.
    fn prepare(&self, bench: &Bench) -> Result<()> {
        let capture = self.folder.join("capture.pcap");
        let messages = bench.count(2_000_000);
        let file = BufWriter::new(File::create(&capture)?);
        Realistic { messages, ..Realistic::default() }.write(file)?;
        let mut replay = Command::new(bench.binary());
        replay.arg("replay").arg(&capture).args(["--sink", "kafka", "--stream", "transactions"]);
        replay.args(["--brokers", &self.brokers]);
        replay.env("DNSCRIBE_KAFKA__TOPICS__TRANSACTIONS", INPUT);
        shell::output(&mut replay)?;
        fs::remove_file(&capture)?;
        let mut kcat = Command::new("kcat");
        kcat.args(["-b", &self.brokers, "-C", "-t", INPUT, "-e", "-q", "-f", "\n"]);
        let mut child = kcat.stdout(Stdio::piped()).spawn().context("cannot start kcat")?;
        let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        self.records.set(u64::try_from(lines.count())?);
        child.wait()?;
        Ok(())
    }

    fn config(&self, sinks: &[&str]) -> Result<Value> {
        let databases = geo::prepare()?;
        let run = self.runs.get();
        Ok(json!({
            "version": 1,
            "kafka": {
                "brokers": self.brokers,
                "topics": { "transactions": INPUT, "enriched": format!("bench.enriched.{run}") },
            },
            "enrich": {
                "group": format!("bench-{run}"),
                "sinks": sinks,
                "geo": {
                    "city": databases.join("GeoLite2-City-Test.mmdb"),
                    "asn": databases.join("GeoLite2-ASN-Test.mmdb"),
                },
            },
            "fleet": { "sinks": [] },
            "clickhouse": {
                "url": self.stack.address(Component::ClickHouse),
                "database": format!("bench{run}"),
                "retention": "18250d",
            },
            "checkpoints": { "interval": "5s" },
        }))
    }

    fn run(&self, command: &str, sinks: &[&str]) -> Result<Figures> {
        self.runs.set(self.runs.get() + 1);
        let config = self.config(sinks)?;
        let job = FlinkJob::submit(self.stack, &self.folder, command, &config)?;
        let figures = self.observe(&job);
        job.cancel()?;
        figures
    }

    fn observe(&self, job: &FlinkJob) -> Result<Figures> {
        let begun = Instant::now();
        let all = self.records.get();
        let mut first = None;
        loop {
            let records = job.records_out("Source:_transactions")?;
            let (now, cpu) = (Instant::now(), usage::cpu_seconds(self.task_manager)?);
            if share(records, all) < WARM_UP {
                first = None;
            }
            let (since, base, base_cpu) = *first.get_or_insert((now, records, cpu));
            if records == all {
                let counted = records - base;
                let seconds = now.duration_since(since).as_secs_f64();
                let figures = Figures::default()
                    .with(RATE, share(counted, 1) / seconds)
                    .with(CPU, per_million(cpu - base_cpu, counted)?);
                return Self::checkpoint(job, figures.with("keys", share(all, 1)));
            }
            job.check()?;
            if begun.elapsed() > LIMIT {
                bail!("{records} of {all} records after {LIMIT:?}");
            }
            thread::sleep(READ_EVERY);
        }
    }

    /// Adds size and duration of a checkpoint after all records.
    fn checkpoint(job: &FlinkJob, figures: Figures) -> Result<Figures> {
        let id = |one: &Value| one["id"].as_u64();
        let former = job.last_checkpoint()?.as_ref().and_then(id);
        // The next one may have begun before the last record.
        let wanted = former.unwrap_or_default() + 2;
        let last = shell::wait_for("a checkpoint", LIMIT, || {
            Ok(job.last_checkpoint()?.filter(|one| id(one).is_some_and(|id| id >= wanted)))
        })?;
        let number = |field: &str| last[field].as_f64().context("no figures of a checkpoint");
        Ok(figures
            .with("state_bytes", number("state_size")?)
            .with("checkpoint_ms", number("end_to_end_duration")?))
    }
}

#[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^53")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// Process id of the task manager whose files are below `folder`.
fn task_manager(folder: &Path) -> Result<u32> {
    let folder = folder.canonicalize()?.display().to_string();
    for process in fs::read_dir("/proc")? {
        let process = process?;
        let Ok(pid) = process.file_name().to_string_lossy().parse() else { continue };
        // A process may have ended meanwhile.
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        if command.contains("TaskManagerRunner") && command.contains(&folder) {
            return Ok(pid);
        }
    }
    bail!("the task manager does not run")
}
