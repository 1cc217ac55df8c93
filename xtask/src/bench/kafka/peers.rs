//! Producers that the Kafka sink is compared with, and the files with the records that all of them send.

use super::super::timed::{self, RunCost};
use anyhow::{Context as _, Result};
use dnscribe_tests::kafka::Broker;
use dnscribe_tests::shell;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Settings of all producers. They are dnscribe's defaults.
const DURABLE: [(&str, &str); 4] = [
    ("acks", "all"),
    ("enable.idempotence", "true"),
    ("compression.type", "zstd"),
    ("linger.ms", "50"),
];
/// Settings of Kafka's own producer, which by default sends requests of 16 KiB and is slower.
const PERFORMANCE: [(&str, &str); 2] = [("batch.size", "1000000"), ("buffer.memory", "134217728")];
/// Java's partitioner, which dnscribe uses, too.
const KCAT: (&str, &str) = ("partitioner", "murmur2_random");
/// Headers of kcat's records. All records get the same ones, as long as dnscribe's.
const HEADERS: [&str; 3] =
    ["schema=dns.transaction/1", "node=replay", "event_id=0123456789abcdef0123456789abcdef"];
/// Number of records that Kafka's own producer chooses from; it keeps them in memory.
const PAYLOADS: u32 = 50_000;

/// Files with the records, and commands of the producers.
pub struct PeerProducers {
    /// File with keys and records, in their original order.
    keyed: PathBuf,
    /// File with records that contain their key and headers.
    payloads: PathBuf,
    report: PathBuf,
    records: u32,
    /// Bytes of all records, without keys and headers.
    bytes: u64,
}

impl PeerProducers {
    /// Reads the records from a topic that dnscribe has written.
    pub fn new(broker: &Broker, topic: &str, folder: &Path) -> Result<Self> {
        let keyed = folder.join("keyed");
        let mut read = kcat(broker);
        read.args(["-C", "-q", "-e", "-o", "beginning", "-t", topic, "-f", "%k\\t%s\\n"]);
        timed::run(read.stdout(Stdio::from(File::create(&keyed)?)))?;
        let payloads = folder.join("payloads");
        let mut out = BufWriter::new(File::create(&payloads)?);
        let (mut records, mut bytes) = (0, 0);
        for line in BufReader::new(File::open(&keyed)?).lines() {
            let line = line?;
            if records < PAYLOADS {
                writeln!(out, "{}", payload(&line)?)?;
            }
            records += 1;
            bytes += line.split_once('\t').map_or(0, |(_, record)| record.len() as u64);
        }
        out.flush()?;
        Ok(Self { keyed, payloads, report: folder.join("report"), records, bytes })
    }

    /// Number of records.
    pub const fn records(&self) -> u32 {
        self.records
    }

    /// Mean bytes of a record, without key and headers.
    #[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^53")]
    pub fn bytes_per_record(&self) -> f64 {
        self.bytes as f64 / f64::from(self.records.max(1))
    }

    /// Runs `kafka_sink`. Returns its cost, and the seconds that it reports, which exclude the producer's start
    /// and end.
    pub fn sink(&self, program: &Path, broker: &Broker, topic: &str) -> Result<(RunCost, f64)> {
        let mut command = Command::new(program);
        command.args([&broker.bootstrap(), topic]).arg(&self.keyed);
        let (took, output) = self.reported(&mut command)?;
        Ok((took, output.trim().parse().with_context(|| format!("no seconds: {output}"))?))
    }

    /// Returns a command that sends each line of the file with kcat.
    pub fn kcat(&self, broker: &Broker, topic: &str) -> Command {
        let mut command = kcat(broker);
        command.args(["-P", "-t", topic, "-K", "\\t", "-l"]).arg(&self.keyed);
        for (key, value) in DURABLE.into_iter().chain([KCAT]) {
            command.arg("-X").arg(format!("{key}={value}"));
        }
        for header in HEADERS {
            command.args(["-H", header]);
        }
        command
    }

    /// Runs Kafka's own producer benchmark. Returns its cost, and the records per second that it reports, which
    /// exclude the start of Java.
    pub fn performance(&self, broker: &Broker, topic: &str) -> Result<(RunCost, f64)> {
        let mut command = broker.producer_performance()?;
        command.args(["--topic", topic, "--num-records", &self.records.to_string()]);
        command.args(["--throughput", "-1", "--payload-file"]).arg(&self.payloads);
        command.args(["--producer-props", &format!("bootstrap.servers={}", broker.bootstrap())]);
        for (key, value) in DURABLE.into_iter().chain(PERFORMANCE) {
            command.arg(format!("{key}={value}"));
        }
        let (took, output) = self.reported(&mut command)?;
        let rate = rate(&output).with_context(|| format!("no rate in its report: {output}"))?;
        Ok((took, rate))
    }

    /// Runs a program and returns its cost and its standard output.
    fn reported(&self, command: &mut Command) -> Result<(RunCost, String)> {
        let took = timed::run(command.stdout(Stdio::from(File::create(&self.report)?)))?;
        Ok((took, fs::read_to_string(&self.report)?))
    }
}

/// Returns the number of records in a topic.
pub fn arrived(broker: &Broker, topic: &str, partitions: u32) -> Result<u64> {
    let mut query = kcat(broker);
    query.arg("-Q");
    for partition in 0..partitions {
        query.args(["-t", &format!("{topic}:{partition}:-1")]);
    }
    let output = String::from_utf8(shell::output(&mut query)?.stdout)?;
    let ends = output.lines().map(|line| {
        let end = line.rsplit_once("offset ").and_then(|(_, end)| end.trim().parse::<u64>().ok());
        end.with_context(|| format!("kcat printed no offset: {line}"))
    });
    ends.sum()
}

fn kcat(broker: &Broker) -> Command {
    let mut command = Command::new("kcat");
    command.args(["-b", &broker.bootstrap()]);
    command
}

/// Joins key, headers and record to one value of as many bytes: Kafka's own producer has neither keys nor headers.
fn payload(line: &str) -> Result<String> {
    let (key, record) = line.split_once('\t').context("a record without a key")?;
    let fields: Value = serde_json::from_str(record)?;
    let field = |name: &str| fields[name].as_str().with_context(|| format!("no {name}: {record}"));
    let (schema, node, id) = (field("schema")?, field("node")?, field("event_id")?);
    Ok(format!("{key}schema{schema}node{node}event_id{id}{record}"))
}

/// Parses the rate in the last line of a report such as `9 records sent, 3.5 records/sec (1.2 MB/sec), …`.
fn rate(report: &str) -> Option<f64> {
    let line = report.lines().rfind(|line| line.contains(" records sent, "))?;
    line.split(", ").nth(1)?.split_once(" records/sec")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_rate_of_the_whole_run() {
        let report = "Number of messages read: 3\n5 records sent, 1.0 records/sec (0.1 MB/sec), 9 ms\n\
                      9 records sent, 288517.04 records/sec (216.68 MB/sec), 12.36 ms avg latency\n";
        assert!((rate(report).unwrap() - 288_517.04).abs() < 1e-6);
        assert!(rate("Reading payloads\n").is_none());
    }

    #[test]
    fn payload_has_all_bytes_of_record() {
        let line = "0123\t{\"schema\":\"s/1\",\"node\":\"n\",\"event_id\":\"ab\"}";
        let whole = payload(line).unwrap();
        assert!(whole.starts_with("0123schemas/1nodenevent_idab{") && whole.ends_with('}'));
        assert!(payload("no key").is_err());
    }
}
