//! Runs the agent during a load and measures its cost.

use super::super::case::Figures;
use super::super::statistics::per_million;
use super::super::usage;
use anyhow::{Context as _, Result};
use dnscribe_tests::agent::{Agent, EndedAgent};
use dnscribe_tests::lab::Lab;
use dnscribe_tests::ledger;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// Time for the agent to write its last records before its CPU time is read.
const SETTLE: Duration = Duration::from_secs(1);
/// Bytes read from the end of the ledger file to find the last record.
const TAIL_BYTES: u64 = 256 * 1024;

/// Destination of the transactions.
#[derive(Clone)]
pub enum Sink {
    /// None; transactions are only counted.
    Null,
    /// A file.
    File,
    /// librdkafka's mock broker, which runs in the agent's process and stores nothing.
    KafkaMock,
    /// A real broker.
    Kafka {
        /// Bootstrap address.
        brokers: String,
        /// Existing topic.
        topic: String,
    },
}

/// Settings of the agent for one run.
pub struct AgentRun<'a> {
    pub binary: &'a Path,
    pub lab: &'a Lab,
    /// Cgroup to capture; the whole host if `None`.
    pub cgroup: Option<&'a Path>,
    pub sink: Sink,
    /// Keys of `capture` that do not keep their defaults.
    pub capture: Value,
}

impl AgentRun<'_> {
    /// Runs the agent during a load. Returns the figures of the load and of the agent.
    pub fn measure_during(&self, load: impl FnOnce() -> Result<Figures>) -> Result<Figures> {
        let config = self.lab.folder().join("agent.yaml");
        let records = self.lab.folder().join("records.ndjson");
        // JSON is YAML.
        fs::write(&config, self.config(&records).to_string())?;
        let mut command = Command::new(self.binary);
        command.args(["run", "--hook", "cgroup", "--config"]).arg(&config);
        // As users run it: tests switch sampling off.
        command.env("DNSCRIBE_SAMPLING__MODE", "auto");
        if let Some(cgroup) = self.cgroup {
            command.arg("--cgroup").arg(cgroup);
        }
        let agent = Agent::start(&mut command)?;
        let before = usage::cpu_seconds(agent.pid())?;
        let figures = load()?;
        thread::sleep(SETTLE);
        let cpu = usage::cpu_seconds(agent.pid())? - before;
        let peak = usage::peak_bytes(agent.pid())
            .with_context(|| format!("the agent ended too early: {}", agent.log()))?;
        let end = agent.terminate()?;
        let last = final_ledger(&records, &end)?;
        fs::remove_file(&records)?;
        let messages = ledger::counter(&last, &["decode", "messages"])?;
        let lost_messages: u64 = ledger::loss_places(&last)?.into_values().sum();
        #[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^53")]
        Ok(figures
            .with("cpu_seconds_per_million_messages", per_million(cpu, messages)?)
            .with("rss_peak_bytes", peak as f64)
            .with("messages", messages as f64)
            .with("lost_messages", lost_messages as f64))
    }

    /// Returns the agent's configuration. The ledger always goes to a file, one record every ten seconds.
    fn config(&self, records: &Path) -> Value {
        let file = format!("file:{}", records.display());
        let mut config = json!({
            "version": 1,
            "capture": self.capture,
            "streams": ["transactions"],
            "file": { "streams": ["ledger"] },
        });
        if self.capture["connections"] == true {
            config["streams"] = json!(["transactions", "uses"]);
        }
        match &self.sink {
            Sink::Null => config["sinks"] = json!(["null", file]),
            Sink::File => {
                config["sinks"] = json!([file]);
                config["file"]["streams"] = json!(["transactions", "ledger"]);
            }
            Sink::KafkaMock => {
                config["sinks"] = json!(["kafka", file]);
                // The mock broker listens in the agent's process, which the agent's sandbox forbids.
                config["privileges"] = json!({ "drop": "off" });
                // The address is required, but not used.
                config["kafka"] = json!({
                    "brokers": ["127.0.0.1:9092"],
                    "options": { "test.mock.num.brokers": "1" },
                });
            }
            Sink::Kafka { brokers, topic } => {
                config["sinks"] = json!(["kafka", file]);
                config["kafka"] =
                    json!({ "brokers": [brokers], "topics": { "transactions": topic } });
            }
        }
        config
    }
}

/// Returns the last ledger record of a file, which may be large.
///
/// # Errors
/// If it is not final or does not balance.
fn final_ledger(records: &Path, end: &EndedAgent) -> Result<Value> {
    let mut file = File::open(records)?;
    let start = file.metadata()?.len().saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let last = String::from_utf8_lossy(&tail)
        .lines()
        .rev()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|record| record["schema"] == "dns.ledger/1" && record["final"] == true)
        .with_context(|| format!("no final ledger record; {}", end.stderr))?;
    ledger::verify(&last)?;
    Ok(last)
}
