//! The Flink jobs with one slot: records per second, and CPU seconds per million of task manager and `ClickHouse`
//! together. The floor is a job that only copies one topic to another; for `ClickHouse` also its own Kafka engine. Each
//! run reads the same records; the first of them, while Java compiles, are not counted: three million transactions, for
//! `ClickHouse` half of them, for `fleet` all minutes but the last.
//!
//! The checkpoint that is measured is the last of the run: every event id is in its state. The windows of the job
//! `fleet` are those of five minutes of all nodes, which it finds in the topic at once, and the last minute's are
//! counted: the lag at a window's end is the time that these take.

mod kafka_engine;
mod windows;

use super::Bench;
use super::case::{Figures, Plan};
use super::report::{Report, Row};
use super::statistics::per_million;
use super::usage;
use anyhow::{Context as _, Result, bail, ensure};
use dnscribe_tests::flink_job::FlinkJob;
use dnscribe_tests::realistic::Realistic;
use dnscribe_tests::stack::{Component, Stack, jobs};
use dnscribe_tests::{environment, geo, shell};
use kafka_engine::KafkaEngine;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
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
/// Lag of `fleet` at the window's end.
const LAG: &str = "seconds_for_10000_nodes";
/// Aim of that.
const MAX_LAG: f64 = 10.0;
/// Topic of the transactions for jobs that write to a topic.
const TRANSACTIONS: &str = "bench.normalized";
/// Messages of a node, and half as many transactions.
const MESSAGES: u32 = 2_000_000;
/// Nodes whose transactions are not counted, whatever `--count` says: until then, Java compiles the job. After them come
/// as many that are.
const WARM_UP_NODES: u32 = 3;
/// Topic of the transactions of one node, for `ClickHouse`, which is slower.
const FEW_TRANSACTIONS: &str = "bench.normalized.few";
/// Topic of the same, enriched.
const FEW_ENRICHED: &str = "bench.enriched.few";
/// Topic of the windows.
const WINDOWS: &str = "bench.metrics";
/// Nodes whose windows the job `fleet` merges.
const NODES: u32 = 10_000;
/// Time limit of a run.
const LIMIT: Duration = Duration::from_mins(10);
/// Time between two readings of the counters. Flink writes all of its metrics for each: one a second took up to 8 % of
/// the task manager's time.
const READ_EVERY: Duration = Duration::from_secs(2);

/// Case of the floor, for transactions and for windows.
const COPY: &str = "copy";
const COPY_WINDOWS: &str = "copy of windows";
const TO_TOPIC: &str = "enrich to a topic";
const TO_CLICKHOUSE: &str = "store to ClickHouse";
const KAFKA_ENGINE: &str = "ClickHouse's Kafka engine";
const FLEET: &str = "fleet to topics";

/// Records of a topic.
#[derive(Clone, Copy)]
struct Input {
    records: u64,
    /// Records before measuring begins: Java compiles what runs often.
    warm_up: u64,
}

/// A job to measure.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    command: &'static str,
    /// Operator that reads `topic`.
    source: &'static str,
    topic: &'static str,
}

const STORE_TO_CLICKHOUSE: Case = Case {
    name: TO_CLICKHOUSE,
    command: "store-clickhouse",
    source: "enriched",
    topic: FEW_ENRICHED,
};

const CASES: [Case; 5] = [
    Case { name: COPY, command: "copy", source: "transactions", topic: TRANSACTIONS },
    Case { name: TO_TOPIC, command: "enrich", source: "transactions", topic: TRANSACTIONS },
    STORE_TO_CLICKHOUSE,
    Case { name: COPY_WINDOWS, command: "copy", source: "transactions", topic: WINDOWS },
    Case { name: FLEET, command: "fleet", source: "windows", topic: WINDOWS },
];

/// Runs this part of the benchmark and returns its report.
pub fn main(bench: &Bench) -> Result<Report> {
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
        task_manager: process(folder, "TaskManagerRunner")?,
        clickhouse: process(folder, "tests/clickhouse/server.py")?,
        inputs: RefCell::default(),
        nodes: bench.scaled(NODES),
        runs: Cell::new(0),
    };
    target.prepare(bench)?;
    let mut plan = Plan::new("stream");
    for case in CASES {
        plan.slow_case(case.name, move || target.run(case));
    }
    plan.slow_case(KAFKA_ENGINE, || target.run_kafka_engine());
    for (case, base) in [
        (COPY, None),
        (TO_TOPIC, Some(COPY)),
        (TO_CLICKHOUSE, Some(KAFKA_ENGINE)),
        (KAFKA_ENGINE, Some(COPY)),
        (COPY_WINDOWS, None),
        (FLEET, Some(COPY_WINDOWS)),
    ] {
        for figure in [RATE, CPU] {
            let row = Row::new(case, figure);
            let row = base.map_or_else(|| row.clone(), |base| row.clone().relative_to(base));
            let has_aim = case == TO_TOPIC && figure == RATE;
            plan.row(if has_aim { row.at_least(SHARE_OF_COPY) } else { row });
        }
    }
    plan.row(Row::new(FLEET, LAG).at_most(MAX_LAG));
    for case in [TO_TOPIC, FLEET] {
        for figure in ["records", "state_bytes", "checkpoint_ms"] {
            plan.row(Row::new(case, figure));
        }
    }
    bench.run(plan)
}

struct StreamBench<'a> {
    stack: &'a Stack,
    folder: PathBuf,
    brokers: String,
    task_manager: u32,
    clickhouse: u32,
    /// By topic.
    inputs: RefCell<BTreeMap<&'static str, Input>>,
    /// Nodes with windows.
    nodes: u32,
    /// Runs so far: each has a topic and a database of its own.
    runs: Cell<u32>,
}

impl StreamBench<'_> {
    /// Writes the records to the topics.
    fn prepare(&self, bench: &Bench) -> Result<()> {
        let capture = self.folder.join("capture.pcap");
        let write = |messages| {
            let file = BufWriter::new(File::create(&capture)?);
            Realistic { messages, ..Realistic::default() }.write(file)
        };
        let replay = |topic: &str, node: u32| {
            let mut replay = Command::new(bench.binary());
            replay.arg("replay").arg(&capture).args(["--sink", "kafka"]);
            replay.args(["--stream", "transactions", "--brokers", &self.brokers]);
            replay.env("DNSCRIBE_KAFKA__TOPICS__TRANSACTIONS", topic);
            replay.env("DNSCRIBE_NODE", format!("node-{node}"));
            shell::output(&mut replay)
        };
        write(MESSAGES)?;
        for node in 0..WARM_UP_NODES {
            replay(TRANSACTIONS, node)?;
        }
        let warm_up = self.count(TRANSACTIONS)?;
        write(bench.count(MESSAGES))?;
        for node in WARM_UP_NODES..2 * WARM_UP_NODES {
            replay(TRANSACTIONS, node)?;
        }
        replay(FEW_TRANSACTIONS, 0)?;
        fs::remove_file(&capture)?;
        let records = self.count(TRANSACTIONS)?;
        self.inputs.borrow_mut().insert(TRANSACTIONS, Input { records, warm_up });
        let records = self.count(FEW_TRANSACTIONS)?;
        self.inputs.borrow_mut().insert(FEW_TRANSACTIONS, Input { records, warm_up: records / 2 });
        self.enrich_few()?;
        let (records, warm_up) =
            windows::produce(bench, &self.folder, &self.brokers, WINDOWS, self.nodes)?;
        ensure!(self.count(WINDOWS)? == records, "not all windows are in the topic");
        self.inputs.borrow_mut().insert(WINDOWS, Input { records, warm_up });
        Ok(())
    }

    /// Writes the enriched records of one node.
    fn enrich_few(&self) -> Result<()> {
        let case = Case { command: "enrich", topic: FEW_TRANSACTIONS, ..STORE_TO_CLICKHOUSE };
        let mut config = self.config(case)?;
        config["kafka"]["topics"]["enriched"] = FEW_ENRICHED.into();
        let input = self.input(FEW_TRANSACTIONS)?;
        let job = FlinkJob::submit(self.stack, &self.folder, case.command, &config)?;
        let written = || Ok((self.count(FEW_ENRICHED)? >= input.records).then_some(()));
        let written = shell::wait_for("enriched records", LIMIT, written);
        job.cancel()?;
        self.inputs.borrow_mut().insert(FEW_ENRICHED, input);
        written
    }

    /// Returns the number of records in a topic.
    fn count(&self, topic: &str) -> Result<u64> {
        let mut kcat = Command::new("kcat");
        kcat.args(["-b", &self.brokers, "-C", "-t", topic, "-e", "-q", "-f", "\n"]);
        let mut child = kcat.stdout(Stdio::piped()).spawn().context("cannot start kcat")?;
        let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let count = u64::try_from(lines.count())?;
        child.wait()?;
        Ok(count)
    }

    fn input(&self, topic: &str) -> Result<Input> {
        self.inputs.borrow().get(topic).copied().with_context(|| format!("no topic {topic}"))
    }

    fn database(&self) -> String {
        format!("bench{}", self.runs.get())
    }

    fn config(&self, case: Case) -> Result<Value> {
        let databases = geo::prepare()?;
        let run = self.runs.get();
        let enriched = format!("bench.enriched.{run}");
        let enriched = if case.topic == FEW_ENRICHED { FEW_ENRICHED } else { &enriched };
        Ok(json!({
            "version": 1,
            "kafka": {
                "brokers": self.brokers,
                "topics": {
                    "transactions": case.topic,
                    "metrics": WINDOWS,
                    "enriched": enriched,
                    "alerts": format!("bench.alerts.{run}"),
                    "fleet": format!("bench.fleet.{run}"),
                    "fleet_rollups": format!("bench.fleet.rollups.{run}"),
                },
            },
            "enrich": {
                "group": format!("bench-{run}"),
                "geo": {
                    "city": databases.join("GeoLite2-City-Test.mmdb"),
                    "asn": databases.join("GeoLite2-ASN-Test.mmdb"),
                },
            },
            "fleet": { "group": format!("bench-{run}") },
            "store": { "group": format!("bench-store-{run}"), "stores": ["clickhouse"] },
            "clickhouse": {
                "url": self.stack.address(Component::ClickHouse),
                "database": self.database(),
                "retention": "18250d",
            },
        }))
    }

    fn run(&self, case: Case) -> Result<Figures> {
        self.runs.set(self.runs.get() + 1);
        let config = self.config(case)?;
        let job = FlinkJob::submit(self.stack, &self.folder, case.command, &config)?;
        let source = format!("Source:_{}", case.source);
        let mut input = self.input(case.topic)?;
        if case.name == COPY_WINDOWS {
            input.warm_up = input.records / 2;
        }
        let measured = self.observe(input, || {
            job.check()?;
            job.records_out(&source)
        });
        let figures = measured.and_then(|figures| Self::checkpoint(&job, figures));
        job.cancel()?;
        let figures = figures?;
        if case.name != FLEET {
            return Ok(figures);
        }
        let Input { records, warm_up } = input;
        let windows_of_a_node = share(records - warm_up, self.nodes.into());
        let rate = figures.get(RATE).context("no rate")?;
        Ok(figures.with(LAG, f64::from(NODES) * windows_of_a_node / rate))
    }

    fn run_kafka_engine(&self) -> Result<Figures> {
        self.runs.set(self.runs.get() + 1);
        let file = self.folder.join("kafka-engine.yaml");
        // Its table is that of the job. JSON is YAML.
        let config = self.config(STORE_TO_CLICKHOUSE)?;
        fs::write(&file, config.to_string())?;
        jobs::run("migrate", &file)?;
        let url = self.stack.address(Component::ClickHouse).context("ClickHouse does not run")?;
        let url = url.as_str().context("no address")?;
        let engine = KafkaEngine::start(url, &self.database(), &self.brokers, FEW_TRANSACTIONS)?;
        let figures = self.observe(self.input(FEW_TRANSACTIONS)?, || engine.rows());
        engine.stop()?;
        figures
    }

    /// Follows a count of records until it has reached those of the input.
    fn observe(&self, input: Input, count: impl Fn() -> Result<u64>) -> Result<Figures> {
        let Input { records: all, warm_up } = input;
        let begun = Instant::now();
        let mut first: Option<(Instant, u64, f64)> = None;
        let mut last = first;
        loop {
            let records = count()?;
            let now = Instant::now();
            let cpu = usage::cpu_seconds(self.task_manager)? + usage::cpu_seconds(self.clickhouse)?;
            let reading = (now, records, cpu);
            if records >= all {
                // The job has waited since it had read all: what counts is the last reading before.
                let readings = first.zip(last).filter(|((_, base, _), (_, last, _))| last > base);
                let ((since, base, base_cpu), (until, counted, cpu)) =
                    readings.context("the records were read too fast to be measured")?;
                let counted = counted - base;
                let seconds = until.duration_since(since).as_secs_f64();
                return Ok(Figures::default()
                    .with(RATE, share(counted, 1) / seconds)
                    .with(CPU, per_million(cpu - base_cpu, counted)?)
                    .with("records", share(all, 1)));
            }
            if records >= warm_up {
                first = first.or(Some(reading));
                last = Some(reading);
            }
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

/// Id of the process with `program` and `folder` on its command line.
fn process(folder: &Path, program: &str) -> Result<u32> {
    let folder = folder.canonicalize()?.display().to_string();
    for process in fs::read_dir("/proc")? {
        let process = process?;
        let Ok(pid) = process.file_name().to_string_lossy().parse() else { continue };
        // A process may have ended meanwhile.
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        if command.contains(program) && command.contains(&folder) {
            return Ok(pid);
        }
    }
    bail!("{program} does not run")
}
