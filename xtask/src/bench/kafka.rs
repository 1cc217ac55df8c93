//! What the Kafka sink gets acknowledged, beside two producers that others wrote: kcat, which is
//! librdkafka too, and Kafka's own `ProducerPerformance`. The same records to the same broker, all
//! with acks=all, idempotent, in zstd, each time into a new topic.
//!
//! dnscribe is measured twice. `sink` is the agent's Kafka sink fed as the others are, with records
//! from a file. `replay` is a whole `dnscribe replay`, which decodes a capture and
//! makes the records too; what that costs without Kafka is measured beside it.

mod rivals;

use super::statistics::{median, per_million};
use super::timed::{self, Took};
use super::usage;
use crate::interrupt::Interrupt;
use crate::say;
use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::kafka::{Broker, Tool};
use dnscribe_tests::{environment, pcap};
use rivals::{Rivals, settings};
use serde_json::{Map, Value, json};
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Zones in the capture.
const ZONES: u32 = 100;

/// Forth and back, so that a drift of the machine weighs on all alike.
const ORDER: [Producer; 8] = [
    Producer::Sink,
    Producer::Kcat,
    Producer::Performance,
    Producer::Replay,
    Producer::Replay,
    Producer::Performance,
    Producer::Kcat,
    Producer::Sink,
];
/// Partitions of each topic.
const PARTITIONS: u32 = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Producer {
    Sink,
    Replay,
    Kcat,
    Performance,
}

impl Producer {
    const fn name(self) -> &'static str {
        match self {
            Self::Sink => "dnscribe-sink",
            Self::Replay => "dnscribe-replay",
            Self::Kcat => "kcat",
            Self::Performance => "kafka-producer-perf-test",
        }
    }
}

/// What one run of a producer gave and cost.
struct Figures {
    producer: Producer,
    records_per_second: f64,
    cpu_seconds_per_million: f64,
    broker_cpu_seconds_per_million: f64,
    rss_peak_bytes: u64,
}

/// What is measured, and with what.
struct Bench<'a> {
    binary: &'a Path,
    /// The program around the sink alone.
    sink: &'a Path,
    folder: &'a Path,
    capture: PathBuf,
    /// Transactions in the capture.
    records: u32,
    broker: Broker,
    topics: u32,
}

/// Runs the benchmark and prints its lines. There are two messages of the capture for each record.
pub fn main(settings: &super::Bench) -> Result<()> {
    let (binary, sink) = (settings.binary(), &settings.example("kafka_sink"));
    let (repetitions, messages) = (settings.repetitions(), settings.count(2_000_000));
    // Gigabytes: not where temporary files may be kept in memory.
    let folder = tempfile::tempdir_in(environment::target())?;
    let capture = folder.path().join("capture.pcap");
    pcap::write(BufWriter::new(File::create(&capture)?), messages, ZONES)?;
    let interrupt = Interrupt::listen()?;
    let broker = Broker::up(&folder.path().join("broker"))?;
    let records = messages / 2;
    let folder = folder.path();
    let mut bench = Bench { binary, sink, folder, capture, records, broker, topics: 0 };
    let rivals = bench.prepare()?;
    let (mut all, mut bare) = (Vec::new(), Vec::new());
    for repetition in 0..repetitions {
        for producer in ORDER {
            interrupt.check()?;
            let figures = bench.measure(producer, &rivals)?;
            say::result(&line(repetition, &figures).to_string());
            all.push(figures);
        }
        bare.push(per_million(bench.replay_bare()?.cpu_seconds, records.into())?);
    }
    say::result(&summary(&all, median(bare), records, repetitions).to_string());
    Ok(())
}

fn line(repetition: u32, figures: &Figures) -> Value {
    json!({
        "bench": "kafka", "repetition": repetition, "producer": figures.producer.name(),
        "records_per_second": figures.records_per_second,
        "cpu_seconds_per_million_records": figures.cpu_seconds_per_million,
        "broker_cpu_seconds_per_million_records": figures.broker_cpu_seconds_per_million,
        "rss_peak_bytes": figures.rss_peak_bytes,
    })
}

fn summary(all: &[Figures], bare: f64, records: u32, repetitions: u32) -> Value {
    let middle = |producer, of: fn(&Figures) -> f64| {
        median(all.iter().filter(|figures| figures.producer == producer).map(of))
    };
    let rate = |producer| middle(producer, |figures| figures.records_per_second);
    let cpu = |producer| middle(producer, |figures| figures.cpu_seconds_per_million);
    let broker = |producer| middle(producer, |figures| figures.broker_cpu_seconds_per_million);
    let of = |producer: Producer| {
        let figures = json!({
            "records_per_second": rate(producer),
            "cpu_seconds_per_million_records": cpu(producer),
            "broker_cpu_seconds_per_million_records": broker(producer),
        });
        (producer.name().to_owned(), figures)
    };
    let producers = [Producer::Sink, Producer::Kcat, Producer::Performance, Producer::Replay];
    let beside = |rival| {
        json!({
            "sink": rate(Producer::Sink) / rate(rival),
            "replay": rate(Producer::Replay) / rate(rival),
        })
    };
    json!({
        "bench": "kafka", "summary": true, "records": records, "repetitions": repetitions,
        "settings": settings(),
        "producers": producers.map(of).into_iter().collect::<Map<_, _>>(),
        "ratio_to_kcat": beside(Producer::Kcat),
        "ratio_to_kafka_producer_perf_test": beside(Producer::Performance),
        "replay_without_kafka_cpu_seconds_per_million_records": bare,
    })
}

impl Bench<'_> {
    /// Has dnscribe write its records to a topic of one partition, which keeps their order, and
    /// lets the others have what stands there. Warms up the broker too; none of it is counted.
    fn prepare(&mut self) -> Result<Rivals> {
        let topic = self.topic(1)?;
        self.replay(&topic)?;
        let rivals = Rivals::new(&self.broker, &topic, self.folder, self.records)?;
        for producer in [Producer::Sink, Producer::Kcat, Producer::Performance] {
            self.measure(producer, &rivals)?;
        }
        Ok(rivals)
    }

    /// A new topic.
    fn topic(&mut self, partitions: u32) -> Result<String> {
        self.topics += 1;
        let name = format!("bench-{}", self.topics);
        self.broker.create_topic(&name, partitions)?;
        Ok(name)
    }

    fn measure(&mut self, producer: Producer, rivals: &Rivals) -> Result<Figures> {
        let topic = self.topic(PARTITIONS)?;
        let before = self.broker_cpu_seconds()?;
        let (took, own_rate) = match producer {
            Producer::Sink => {
                let (took, seconds) = rivals.sink(self.sink, &self.broker, &topic)?;
                (took, Some(f64::from(self.records) / seconds))
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
            arrived == u64::from(self.records),
            "{} has had {arrived} of {} records acknowledged",
            producer.name(),
            self.records
        );
        self.broker.tool(Tool::Topics, &["--delete", "--topic", &topic])?;
        Ok(Figures {
            producer,
            records_per_second: own_rate.unwrap_or(f64::from(self.records) / took.wall_seconds),
            cpu_seconds_per_million: per_million(took.cpu_seconds, arrived)?,
            broker_cpu_seconds_per_million: per_million(broker, arrived)?,
            rss_peak_bytes: took.rss_peak_bytes,
        })
    }

    /// A replay ends when all is acknowledged; its own words say so too.
    fn replay(&self, topic: &str) -> Result<Took> {
        let said = self.folder.join("summary");
        let mut command = self.dnscribe();
        command.args(["--sink", "kafka", "--brokers", &self.broker.bootstrap()]);
        command.env("DNSCRIBE_KAFKA__TOPICS__TRANSACTIONS", topic);
        let took =
            timed::run(command.stdout(Stdio::null()).stderr(Stdio::from(File::create(&said)?)))?;
        let said = fs::read_to_string(said)?;
        let delivered = format!("records {0} = delivered {0} ", self.records);
        ensure!(said.contains(&delivered), "not all of {} was delivered: {said}", self.records);
        Ok(took)
    }

    /// Decodes the capture and makes the records, and throws them away.
    fn replay_bare(&self) -> Result<Took> {
        let mut command = self.dnscribe();
        command.args(["--sink", "stdout", "--output", "json"]);
        timed::run(command.stdout(Stdio::null()).stderr(Stdio::null()))
    }

    fn dnscribe(&self) -> Command {
        let mut command = Command::new(self.binary);
        command.arg("replay").arg(&self.capture).args(["--stream", "transactions"]);
        command
    }

    /// CPU seconds that the broker has used, once it has nothing left to do.
    fn broker_cpu_seconds(&self) -> Result<f64> {
        const SETTLE: Duration = Duration::from_millis(300);
        std::thread::sleep(SETTLE);
        usage::cpu_seconds(self.broker.pid().context("the broker runs in a container")?)
    }
}
