//! The producers that the Kafka sink is measured beside, and the records that they get.

use super::super::timed::{self, Took};
use anyhow::{Context as _, Result};
use dnscribe_tests::kafka::Broker;
use dnscribe_tests::shell;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What all are told. dnscribe has the same by default.
const DURABLE: [(&str, &str); 4] = [
    ("acks", "all"),
    ("enable.idempotence", "true"),
    ("compression.type", "zstd"),
    ("linger.ms", "50"),
];
/// Without these Kafka's own producer makes requests of 16 KiB and is slower.
const PERFORMANCE: [(&str, &str); 2] = [("batch.size", "1000000"), ("buffer.memory", "134217728")];
/// Java's partitioner, which dnscribe has too.
const KCAT: (&str, &str) = ("partitioner", "murmur2_random");
/// kcat gives each record the same headers: ours, with an id as long as any.
const HEADERS: [&str; 3] =
    ["schema=dns.transaction/1", "node=replay", "event_id=0123456789abcdef0123456789abcdef"];
/// So many records does Kafka's own producer choose from: it keeps them in memory.
const PAYLOADS: u32 = 50_000;

/// The files with the records.
pub struct Rivals {
    /// Keys and records, in the order of their making.
    keyed: PathBuf,
    /// Records that have in them what is a key or a header elsewhere.
    payloads: PathBuf,
    report: PathBuf,
    records: u32,
    /// Octets of all records, without keys and headers.
    bytes: u64,
}

impl Rivals {
    /// Takes the records from a topic where dnscribe has put them.
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

    /// How many records there are.
    pub const fn records(&self) -> u32 {
        self.records
    }

    /// Octets of a record, without its key and headers.
    #[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^53")]
    pub fn bytes_per_record(&self) -> f64 {
        self.bytes as f64 / f64::from(self.records.max(1))
    }

    /// dnscribe's sink by itself, and the seconds that it says: ending a producer is not among them.
    pub fn sink(&self, program: &Path, broker: &Broker, topic: &str) -> Result<(Took, f64)> {
        let mut command = Command::new(program);
        command.args([&broker.bootstrap(), topic]).arg(&self.keyed);
        let (took, said) = self.reported(&mut command)?;
        Ok((took, said.trim().parse().with_context(|| format!("no seconds: {said}"))?))
    }

    /// kcat, sending each line of the file.
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

    /// Kafka's own producer benchmark, and the records per second that it says: it knows when Java
    /// was ready.
    pub fn performance(&self, broker: &Broker, topic: &str) -> Result<(Took, f64)> {
        let mut command = broker.producer_performance()?;
        command.args(["--topic", topic, "--num-records", &self.records.to_string()]);
        command.args(["--throughput", "-1", "--payload-file"]).arg(&self.payloads);
        command.args(["--producer-props", &format!("bootstrap.servers={}", broker.bootstrap())]);
        for (key, value) in DURABLE.into_iter().chain(PERFORMANCE) {
            command.arg(format!("{key}={value}"));
        }
        let (took, said) = self.reported(&mut command)?;
        let rate = rate(&said).with_context(|| format!("no rate in its report: {said}"))?;
        Ok((took, rate))
    }

    /// Runs a program that reports on its standard output.
    fn reported(&self, command: &mut Command) -> Result<(Took, String)> {
        let took = timed::run(command.stdout(Stdio::from(File::create(&self.report)?)))?;
        Ok((took, fs::read_to_string(&self.report)?))
    }
}

/// How many records a new topic has.
pub fn arrived(broker: &Broker, topic: &str, partitions: u32) -> Result<u64> {
    let mut ask = kcat(broker);
    ask.arg("-Q");
    for partition in 0..partitions {
        ask.args(["-t", &format!("{topic}:{partition}:-1")]);
    }
    let said = String::from_utf8(shell::output(&mut ask)?.stdout)?;
    let ends = said.lines().map(|line| {
        let end = line.rsplit_once("offset ").and_then(|(_, end)| end.trim().parse::<u64>().ok());
        end.with_context(|| format!("kcat tells no offset: {line}"))
    });
    ends.sum()
}

fn kcat(broker: &Broker) -> Command {
    let mut command = Command::new("kcat");
    command.args(["-b", &broker.bootstrap()]);
    command
}

/// A record as one value of the same octets: that producer knows neither keys nor headers.
fn payload(line: &str) -> Result<String> {
    let (key, record) = line.split_once('\t').context("a record without a key")?;
    let fields: Value = serde_json::from_str(record)?;
    let field = |name: &str| fields[name].as_str().with_context(|| format!("no {name}: {record}"));
    let (schema, node, id) = (field("schema")?, field("node")?, field("event_id")?);
    Ok(format!("{key}schema{schema}node{node}event_id{id}{record}"))
}

/// From the last line of a report such as `9 records sent, 3.5 records/sec (1.2 MB/sec), …`.
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
    fn a_payload_has_all_octets_of_a_record() {
        let line = "0123\t{\"schema\":\"s/1\",\"node\":\"n\",\"event_id\":\"ab\"}";
        let whole = payload(line).unwrap();
        assert!(whole.starts_with("0123schemas/1nodenevent_idab{") && whole.ends_with('}'));
        assert!(payload("no key").is_err());
    }
}
