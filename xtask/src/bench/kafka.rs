//! What the Kafka sink gets acknowledged, beside two producers that others wrote: kcat, which is
//! librdkafka too, and Kafka's own `ProducerPerformance`. The same records to the same broker, all
//! with acks=all, idempotent, in zstd, each time into a new topic.
//!
//! dnscribe is measured twice. `sink` is the agent's Kafka sink fed as the others are, with records
//! from a file. `replay` is a whole `dnscribe replay`, which decodes a capture and
//! makes the records too; what that costs without Kafka, to NDJSON that is thrown away, is measured beside it.
//! `topics` is what each stream of the same capture takes on the broker's disk, compressed, with keys and headers.

mod rivals;

use super::Bench;
use super::case::{Figures, Plan};
use super::report::{Report, Row};
use super::statistics::per_million;
use super::timed::{self, Took};
use super::usage;
use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::environment;
use dnscribe_tests::kafka::{Broker, Tool};
use dnscribe_tests::realistic::Realistic;
use rivals::Rivals;
use std::cell::Cell;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Partitions of each topic.
const PARTITIONS: u32 = 6;
/// How long the broker may take to come to rest.
const SETTLE: Duration = Duration::from_millis(300);

const RATE: &str = "records_per_second";
const CPU: &str = "cpu_seconds_per_million_records";
const BROKER_CPU: &str = "broker_cpu_seconds_per_million_records";
const WITHOUT: &str = "dnscribe-replay without Kafka";
const SIZES: &str = "topics";

/// Streams of which the broker's octets are measured, and how the environment calls their topics.
const STREAMS: [&str; 5] = ["transactions", "metrics", "alerts", "ledger", "lookups"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Producer {
    Sink,
    Kcat,
    Performance,
    Replay,
}

impl Producer {
    const ALL: [Self; 4] = [Self::Sink, Self::Kcat, Self::Performance, Self::Replay];

    const fn name(self) -> &'static str {
        match self {
            Self::Sink => "dnscribe-sink",
            Self::Replay => "dnscribe-replay",
            Self::Kcat => "kcat",
            Self::Performance => "kafka-producer-perf-test",
        }
    }
}

/// Measures it.
pub fn main(bench: &Bench) -> Result<Report> {
    // Gigabytes: not where temporary files may be kept in memory.
    let folder = tempfile::tempdir_in(environment::target())?;
    let capture = folder.path().join("capture.pcap");
    let messages = bench.count(1_000_000);
    let file = BufWriter::new(File::create(&capture)?);
    Realistic { messages, ..Realistic::default() }.write(file)?;
    let subject = Subject {
        binary: bench.binary(),
        sink: &bench.example("kafka_sink"),
        folder: folder.path(),
        capture,
        broker: Broker::up(&folder.path().join("broker"))?,
        topics: Cell::new(0),
    };
    let (subject, rivals) = (&subject, &subject.prepare()?);
    let mut plan = Plan::new("kafka");
    for producer in Producer::ALL {
        plan.case(producer.name(), move || subject.measure(producer, rivals));
    }
    plan.case(WITHOUT, move || subject.without_kafka(rivals.records()));
    plan.slow_case(SIZES, move || subject.sizes());
    rows(&mut plan);
    bench.run(plan)
}

fn rows(plan: &mut Plan<'_>) {
    let (sink, replay) = (Producer::Sink.name(), Producer::Replay.name());
    for figure in [RATE, CPU, BROKER_CPU] {
        for rival in [Producer::Kcat, Producer::Performance] {
            plan.row(Row::of(sink, figure).beside(rival.name()));
        }
    }
    plan.row(Row::of(replay, RATE).beside(Producer::Kcat.name()));
    plan.row(Row::of(replay, CPU).beside(WITHOUT));
    plan.row(Row::of(WITHOUT, CPU));
    for rival in [Producer::Kcat, Producer::Performance] {
        for figure in [RATE, CPU, BROKER_CPU] {
            plan.row(Row::of(rival.name(), figure));
        }
    }
    plan.row(Row::of(sink, "bytes_per_record"));
    for stream in STREAMS {
        plan.row(Row::of(SIZES, &format!("{stream}_records")));
        plan.row(Row::of(SIZES, &format!("{stream}_broker_bytes_per_record")));
    }
}

/// What is measured, and with what.
struct Subject<'a> {
    binary: &'a Path,
    /// The program around the sink alone.
    sink: &'a Path,
    folder: &'a Path,
    capture: PathBuf,
    broker: Broker,
    topics: Cell<u32>,
}

impl Subject<'_> {
    /// Has dnscribe write its records to a topic of one partition, which keeps their order, and
    /// lets the others have what stands there. Warms up the broker too; none of it is counted.
    fn prepare(&self) -> Result<Rivals> {
        let topic = self.topic(1)?;
        self.replay(&topic)?;
        let rivals = Rivals::new(&self.broker, &topic, self.folder)?;
        self.forget(&topic)?;
        Ok(rivals)
    }

    /// A new topic.
    fn topic(&self, partitions: u32) -> Result<String> {
        self.topics.set(self.topics.get() + 1);
        let name = format!("bench-{}", self.topics.get());
        self.broker.create_topic(&name, partitions)?;
        Ok(name)
    }

    fn forget(&self, topic: &str) -> Result<()> {
        self.broker.tool(Tool::Topics, &["--delete", "--topic", topic]).map(drop)
    }

    fn measure(&self, producer: Producer, rivals: &Rivals) -> Result<Figures> {
        let topic = self.topic(PARTITIONS)?;
        let records = rivals.records();
        let before = self.broker_cpu_seconds()?;
        let (took, own_rate) = match producer {
            Producer::Sink => {
                let (took, seconds) = rivals.sink(self.sink, &self.broker, &topic)?;
                (took, Some(f64::from(records) / seconds))
            }
            Producer::Replay => (self.replay(&topic)?, None),
            Producer::Kcat => (timed::run(&mut rivals.kcat(&self.broker, &topic))?, None),
            Producer::Performance => {
                let (took, rate) = rivals.performance(&self.broker, &topic)?;
                (took, Some(rate))
            }
        };
        let broker = self.broker_cpu_seconds()? - before;
        let arrived = rivals::arrived(&self.broker, &topic, PARTITIONS)?;
        ensure!(
            arrived == u64::from(records),
            "{} has had {arrived} of {records} records acknowledged",
            producer.name(),
        );
        self.forget(&topic)?;
        let rate = own_rate.unwrap_or(f64::from(records) / took.wall_seconds);
        #[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^53")]
        let peak = took.rss_peak_bytes as f64;
        Ok(Figures::default()
            .with(RATE, rate)
            .with(CPU, per_million(took.cpu_seconds, arrived)?)
            .with(BROKER_CPU, per_million(broker, arrived)?)
            .with("bytes_per_record", rivals.bytes_per_record())
            .with("rss_peak_bytes", peak))
    }

    /// What each stream takes on the broker's disk.
    fn sizes(&self) -> Result<Figures> {
        let mut command = self.replay_to_kafka(&STREAMS.join(","));
        let mut topics = Vec::new();
        for stream in STREAMS {
            let topic = self.topic(PARTITIONS)?;
            let variable = format!("DNSCRIBE_KAFKA__TOPICS__{}", stream.to_uppercase());
            command.env(variable, &topic);
            topics.push((stream, topic));
        }
        timed::run(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
        let mut figures = Figures::default();
        for (stream, topic) in topics {
            let records = rivals::arrived(&self.broker, &topic, PARTITIONS)?;
            let bytes = self.broker.stored_bytes(&topic)?;
            self.forget(&topic)?;
            #[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^53")]
            let (records, bytes) = (records as f64, bytes as f64);
            figures = figures.with(&format!("{stream}_records"), records);
            if records > 0.0 {
                let name = format!("{stream}_broker_bytes_per_record");
                figures = figures.with(&name, bytes / records);
            }
        }
        Ok(figures)
    }

    /// A replay ends when all is acknowledged; its own words say so too.
    fn replay(&self, topic: &str) -> Result<Took> {
        let said = self.folder.join("summary");
        let mut command = self.replay_to_kafka("transactions");
        command.env("DNSCRIBE_KAFKA__TOPICS__TRANSACTIONS", topic);
        timed::run(command.stdout(Stdio::null()).stderr(Stdio::from(File::create(&said)?)))
            .with_context(|| fs::read_to_string(&said).unwrap_or_default())
    }

    /// Decodes the capture and makes the records, and throws them away.
    fn without_kafka(&self, records: u32) -> Result<Figures> {
        let mut command = self.dnscribe("transactions");
        command.args(["--sink", "stdout", "--output", "json"]);
        let took = timed::run(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
        Ok(Figures::default().with(CPU, per_million(took.cpu_seconds, records.into())?))
    }

    fn replay_to_kafka(&self, streams: &str) -> Command {
        let mut command = self.dnscribe(streams);
        command.args(["--sink", "kafka", "--brokers", &self.broker.bootstrap()]);
        command
    }

    fn dnscribe(&self, streams: &str) -> Command {
        let mut command = Command::new(self.binary);
        command.arg("replay").arg(&self.capture).args(["--stream", streams]);
        command
    }

    /// CPU seconds that the broker has used, once it has nothing left to do.
    fn broker_cpu_seconds(&self) -> Result<f64> {
        std::thread::sleep(SETTLE);
        usage::cpu_seconds(self.broker.pid().context("the broker runs in a container")?)
    }
}
