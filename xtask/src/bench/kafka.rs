//! Throughput and cost of the Kafka sink, compared with kcat (also librdkafka) and Kafka's own
//! `ProducerPerformance`. All send the same records to the same broker, with acks=all, idempotent, compressed
//! with zstd, each time into a new topic.
//!
//! `dnscribe-sink` is the agent's Kafka sink, which like the others reads records from a file.
//! `dnscribe-replay` is a whole `dnscribe replay`, which also decodes a capture and makes the records;
//! `dnscribe-replay without Kafka` writes NDJSON to /dev/null instead. `topics` measures the disk space of each
//! stream at the broker, compressed, with keys and headers.

mod peers;

use super::Bench;
use super::case::{Figures, Plan};
use super::report::{Report, Row};
use super::statistics::per_million;
use super::timed::{self, RunCost};
use super::usage;
use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::environment;
use dnscribe_tests::kafka::{Broker, Tool};
use dnscribe_tests::realistic::Realistic;
use peers::PeerProducers;
use std::cell::Cell;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Partitions of each topic.
const PARTITIONS: u32 = 6;
/// Time for the broker to become idle.
const SETTLE: Duration = Duration::from_millis(300);

const RATE: &str = "records_per_second";
const CPU: &str = "cpu_seconds_per_million_records";
const BROKER_CPU: &str = "broker_cpu_seconds_per_million_records";
const RSS: &str = "rss_peak_bytes";
const WITHOUT: &str = "dnscribe-replay without Kafka";
const SIZES: &str = "topics";

/// Streams whose disk space at the broker is measured, by the names of their topics in environment variables.
const STREAMS: [&str; 6] = ["messages", "transactions", "metrics", "alerts", "ledger", "lookups"];

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

/// Runs this part of the benchmark and returns its report.
pub fn main(bench: &Bench) -> Result<Report> {
    // Gigabytes: not in /tmp, which may be in memory.
    let folder = tempfile::tempdir_in(environment::target())?;
    let capture = folder.path().join("capture.pcap");
    let messages = bench.count(1_000_000);
    let file = BufWriter::new(File::create(&capture)?);
    Realistic { messages, ..Realistic::default() }.write(file)?;
    let target = KafkaBench {
        binary: bench.binary(),
        sink: &bench.program("kafka_sink"),
        folder: folder.path(),
        capture,
        broker: Broker::up(&folder.path().join("broker"))?,
        topics: Cell::new(0),
    };
    let (target, peers) = (&target, &target.prepare()?);
    let mut plan = Plan::new("kafka");
    for producer in Producer::ALL {
        plan.case(producer.name(), move || target.measure(producer, peers));
    }
    plan.case(WITHOUT, move || target.without_kafka(peers.records()));
    plan.slow_case(SIZES, move || target.sizes());
    rows(&mut plan);
    bench.run(plan)
}

fn rows(plan: &mut Plan<'_>) {
    let (sink, replay) = (Producer::Sink.name(), Producer::Replay.name());
    for figure in [RATE, CPU, BROKER_CPU] {
        for peer in [Producer::Kcat, Producer::Performance] {
            plan.row(Row::new(sink, figure).relative_to(peer.name()));
        }
    }
    plan.row(Row::new(replay, RATE).relative_to(Producer::Kcat.name()));
    plan.row(Row::new(replay, CPU).relative_to(WITHOUT));
    plan.row(Row::new(replay, RSS));
    plan.row(Row::new(WITHOUT, CPU));
    for peer in [Producer::Kcat, Producer::Performance] {
        for figure in [RATE, CPU, BROKER_CPU] {
            plan.row(Row::new(peer.name(), figure));
        }
    }
    plan.row(Row::new(sink, "bytes_per_record"));
    for stream in STREAMS {
        plan.row(Row::new(SIZES, &format!("{stream}_records")));
        plan.row(Row::new(SIZES, &format!("{stream}_broker_bytes_per_record")));
    }
}

/// Programs, files and broker of this part.
struct KafkaBench<'a> {
    binary: &'a Path,
    /// The program `kafka_sink`.
    sink: &'a Path,
    folder: &'a Path,
    capture: PathBuf,
    broker: Broker,
    topics: Cell<u32>,
}

impl KafkaBench<'_> {
    /// Makes the records for all producers: dnscribe writes them to a topic of one partition, which keeps their
    /// order. This also warms up the broker and is not counted.
    fn prepare(&self) -> Result<PeerProducers> {
        let topic = self.topic(1)?;
        self.replay(&topic)?;
        let peers = PeerProducers::new(&self.broker, &topic, self.folder)?;
        self.delete_topic(&topic)?;
        Ok(peers)
    }

    /// Creates a topic with a new name.
    fn topic(&self, partitions: u32) -> Result<String> {
        self.topics.set(self.topics.get() + 1);
        let name = format!("bench-{}", self.topics.get());
        self.broker.create_topic(&name, partitions)?;
        Ok(name)
    }

    fn delete_topic(&self, topic: &str) -> Result<()> {
        self.broker.tool(Tool::Topics, &["--delete", "--topic", topic]).map(drop)
    }

    fn measure(&self, producer: Producer, peers: &PeerProducers) -> Result<Figures> {
        let topic = self.topic(PARTITIONS)?;
        let records = peers.records();
        let before = self.broker_cpu_seconds()?;
        let (took, own_rate) = match producer {
            Producer::Sink => {
                let (took, seconds) = peers.sink(self.sink, &self.broker, &topic)?;
                (took, Some(f64::from(records) / seconds))
            }
            Producer::Replay => (self.replay(&topic)?, None),
            Producer::Kcat => (timed::run(&mut peers.kcat(&self.broker, &topic))?, None),
            Producer::Performance => {
                let (took, rate) = peers.performance(&self.broker, &topic)?;
                (took, Some(rate))
            }
        };
        let broker = self.broker_cpu_seconds()? - before;
        let arrived = peers::arrived(&self.broker, &topic, PARTITIONS)?;
        ensure!(
            arrived == u64::from(records),
            "{}: {arrived} of {records} records arrived at the broker",
            producer.name(),
        );
        self.delete_topic(&topic)?;
        let rate = own_rate.unwrap_or(f64::from(records) / took.wall_seconds);
        #[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^53")]
        let peak = took.rss_peak_bytes as f64;
        Ok(Figures::default()
            .with(RATE, rate)
            .with(CPU, per_million(took.cpu_seconds, arrived)?)
            .with(BROKER_CPU, per_million(broker, arrived)?)
            .with("bytes_per_record", peers.bytes_per_record())
            .with(RSS, peak))
    }

    /// Measures the disk space of each stream at the broker.
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
            let records = peers::arrived(&self.broker, &topic, PARTITIONS)?;
            let bytes = self.broker.stored_bytes(&topic)?;
            self.delete_topic(&topic)?;
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

    /// Replays the capture to a topic. A replay ends when all records are acknowledged.
    fn replay(&self, topic: &str) -> Result<RunCost> {
        let summary = self.folder.join("summary");
        let mut command = self.replay_to_kafka("transactions");
        command.env("DNSCRIBE_KAFKA__TOPICS__TRANSACTIONS", topic);
        timed::run(command.stdout(Stdio::null()).stderr(Stdio::from(File::create(&summary)?)))
            .with_context(|| fs::read_to_string(&summary).unwrap_or_default())
    }

    /// Measures decoding the capture and making the records, without Kafka.
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

    /// CPU time of the broker so far, in seconds, read when it is idle.
    fn broker_cpu_seconds(&self) -> Result<f64> {
        std::thread::sleep(SETTLE);
        usage::cpu_seconds(self.broker.pid().context("the broker runs in a container")?)
    }
}
