//! Shared helpers of tests with a live agent and a real broker: start, metrics, and a compact form
//! of large numbers of records.

use crate::consume::consume_as;
use crate::replay::{column, verify_command};
use crate::{LEDGER, TRANSACTIONS, consume};
use dnscribe_tests::agent::Agent;
use dnscribe_tests::dnsperf::{DnsperfReport, Load};
use dnscribe_tests::kafka::Broker;
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::{environment, ledger, shell};
use rdkafka::message::{BorrowedMessage, Message as _};
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

/// Starts `dnscribe run` with a Kafka sink and the ledger on standard output. `settings` are
/// environment variables without `DNSCRIBE_`.
pub fn run(brokers: &str, settings: &[(&str, &str)]) -> Agent {
    run_to("kafka,stdout", brokers, settings)
}

/// Like [`run`], with these sinks.
pub fn run_to(sinks: &str, brokers: &str, settings: &[(&str, &str)]) -> Agent {
    let mut command = Command::new(environment::binary().unwrap());
    command.args(["run", "--brokers", brokers]);
    command.env("DNSCRIBE_SINKS", sinks).env("DNSCRIBE_STREAMS", "ledger");
    for (name, value) in settings {
        command.env(format!("DNSCRIBE_{name}"), value);
    }
    Agent::start(&mut command).unwrap()
}

/// Creates all topics as an operator does.
pub fn create_topics(broker: &Broker) {
    let mut command = Command::new(environment::binary().unwrap());
    command.args(["kafka", "init", "--brokers", &broker.bootstrap()]);
    shell::output(&mut command).unwrap();
}

/// A page of `/metrics`.
pub struct Scrape(String);

impl Scrape {
    pub fn of(agent: &Agent) -> Self {
        let (code, page) = agent.get("/metrics").unwrap();
        assert_eq!(code, 200, "{page}");
        Self(page)
    }

    /// Sum of a family's samples that have all these labels, written as on the page.
    pub fn sum(&self, family: &str, labels: &[&str]) -> u64 {
        let samples = self.0.lines().filter_map(|line| line.strip_prefix(family));
        let samples = samples.filter(|rest| rest.starts_with(['{', ' ']));
        let mut wanted = samples
            .filter(|rest| labels.iter().all(|label| rest.contains(label)))
            .map(|rest| rest.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .peekable();
        assert!(wanted.peek().is_some(), "no {family} {labels:?} in\n{}", self.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters")]
        let sum = wanted.sum::<f64>() as u64;
        sum
    }

    /// Records of a stream in a state: `delivered`, `dropped`, `spooled` or `in_flight`, for all
    /// sinks.
    pub fn records(&self, stream: &str, state: &str) -> u64 {
        let (family, label) = match state {
            "spooled" | "in_flight" => ("dnscribe_records_waiting", "place"),
            _ => ("dnscribe_records_total", "outcome"),
        };
        let [stream, state] = [format!("stream=\"{stream}\""), format!("{label}=\"{state}\"")];
        self.sum(family, &[&stream, &state])
    }

    /// Records that were dropped before the sinks for a reason.
    pub fn dropped(&self, reason: &str) -> u64 {
        let reason = format!("reason=\"{reason}\"");
        self.sum("dnscribe_dropped_records_total", &[&reason])
    }
}

/// Time limit for a page of `/metrics` to satisfy a condition, on a busy machine.
const LIMIT: Duration = Duration::from_mins(2);

/// Waits until a page of `/metrics` satisfies a condition, and returns it.
pub fn wait_for(agent: &Agent, what: &str, yes: impl Fn(&Scrape) -> bool) -> Scrape {
    shell::wait_for(what, LIMIT, || {
        let scrape = Scrape::of(agent);
        Ok(yes(&scrape).then_some(scrape))
    })
    .unwrap()
}

/// Waits until no transaction waits on disk or in memory, on a busy machine.
pub fn wait_until_delivered(agent: &Agent) {
    wait_for(agent, "the delivery of what waits", |scrape| {
        scrape.records("transactions", "spooled") + scrape.records("transactions", "in_flight") == 0
    });
}

/// Queries per second of [`load`]: each gives a transaction at the client and one at the server.
pub const QPS: u32 = 2500;

/// Returns a load of `seconds` seconds on the lab's authoritative server. The names are in many
/// zones, so that there are many keys; all answers are NXDOMAIN.
pub fn load(seconds: u64, name: &str) -> Load {
    Load {
        queries: u32::try_from(seconds).unwrap() * QPS,
        qps: Some(QPS),
        questions: (0..100).map(|zone| format!("www.{name}-{zone}.com A")).collect(),
        limit: Duration::from_secs(2 * seconds),
        ..Load::default()
    }
}

/// Starts a [`load`] and returns at once.
pub fn start(lab: &Lab, load: &Load) -> Child {
    lab.start_dnsperf(Host::Client, lab.server_addr(), load).unwrap()
}

/// Waits for the load's end; returns dnsperf's results.
pub fn finish(queries: Child) -> DnsperfReport {
    DnsperfReport::wait(queries).unwrap()
}

/// The fields of a transaction that tests need.
pub struct CompactTransaction {
    pub partition: i32,
    pub event_id: u128,
    pub ts: String,
    /// Vantage, if the transaction was answered and is one of the lab's client for a name of
    /// [`load`].
    pub vantage: Option<String>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    event_id: Cow<'a, str>,
    #[serde(borrow)]
    ts: Cow<'a, str>,
    #[serde(borrow)]
    vantage: Cow<'a, str>,
    #[serde(borrow)]
    client_ip: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow, default)]
    qname: Cow<'a, str>,
}

/// Returns every copy of every transaction, in the order of its partition.
pub fn transactions(broker: &Broker, lab: &Lab, name: &str) -> Vec<CompactTransaction> {
    let name = format!("www.{name}-");
    let client = lab.client_addr().to_string();
    consume_as(&broker.bootstrap(), TRANSACTIONS, |message: &BorrowedMessage<'_>| {
        let fields: Fields<'_> = serde_json::from_slice(message.payload().unwrap()).unwrap();
        let ours = fields.client_ip == client
            && fields.status == "answered"
            && fields.qname.starts_with(&name);
        CompactTransaction {
            partition: message.partition(),
            event_id: number(&fields.event_id),
            ts: fields.ts.into_owned(),
            vantage: ours.then(|| fields.vantage.into_owned()),
        }
    })
}

/// Parses an event id as a number.
pub fn number(event_id: &str) -> u128 {
    u128::from_str_radix(event_id, 16).unwrap()
}

/// Returns the node and epoch in an event id.
pub fn capture_id(event_id: u128) -> u128 {
    event_id >> 96
}

/// Counts distinct transactions of the load, from one vantage.
pub fn seen(records: &[CompactTransaction], vantage: &str) -> u64 {
    let ours = records.iter().filter(|record| record.vantage.as_deref() == Some(vantage));
    ours.map(|record| record.event_id).collect::<HashSet<_>>().len() as u64
}

/// Returns the event ids in a file, in order.
pub fn event_ids_in(file: &Path) -> Vec<u128> {
    fs::read_to_string(file).unwrap().lines().map(|line| event_id_in(line.as_bytes())).collect()
}

/// Returns the event id of a record.
pub fn event_id_in(record: &[u8]) -> u128 {
    let record: Id<'_> = serde_json::from_slice(record).unwrap();
    number(&record.event_id)
}

#[derive(Deserialize)]
struct Id<'a> {
    #[serde(borrow)]
    event_id: Cow<'a, str>,
}

/// Checks that `ledger verify` closes and that every ledger record balances; returns its report.
pub fn verify_ledger(broker: &Broker) -> Value {
    let records = consume(&broker.bootstrap(), LEDGER);
    assert!(!records.is_empty());
    for record in &records {
        ledger::verify(&record.value).unwrap();
    }
    let output = shell::output(&mut verify_command(broker)).unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Returns the number of duplicate transactions that `ledger verify` reports.
pub fn duplicates(report: &Value) -> u64 {
    let all = column(report, "duplicates").into_iter();
    all.filter(|(stream, _)| *stream == "transactions").map(|(_, copies)| copies).sum()
}
