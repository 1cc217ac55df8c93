//! Replays real captures through the detectors.

use crate::evaluate::{DetectedAlert, DetectorRun};
use dnscribe_agent::capture::replay::Replay;
use dnscribe_analysis::attribution::Attribution;
use dnscribe_analysis::detect::{HostFacts, Rule};
use dnscribe_analysis::view::{Facts, TransactionView};
use dnscribe_dns::AnswerLimits;
use dnscribe_record::RecordTail;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::correlate::TransactionLinks;
use dnscribe_transaction::decode::{Decoded, Decoder, DecoderOptions};
use dnscribe_transaction::encrypted::{ConnectionOptions, ConnectionTable};
use dnscribe_transaction::packet::encrypted::Encrypted;
use dnscribe_transaction::packet::ports::PortSet;
use dnscribe_transaction::pair::MessageTexts;
use dnscribe_transaction::pair::{PairOptions, Pairer, Transaction};
use std::error::Error;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Captures with an incident, and the rule that must detect it. All others of the corpus have no known incident.
const LABELS: &[(&str, Rule)] = &[
    ("ndpi/dns-tunnel-iodine.pcap", Rule::Tunnel),
    ("ndpi/bad-dns-traffic.pcap", Rule::Tunnel),
    ("suricata-verify/bug-1158.pcap", Rule::Tunnel),
    ("ndpi/dns_dot.pcap", Rule::EncryptedBypass),
    // Servers that answer few queries or none.
    ("ipfixprobe/mixed.pcap", Rule::ResolverDown),
    ("suricata-verify/sip-method.pcap", Rule::SuccessRatio),
    ("suricata-verify/datasets-06-state-long.pcap", Rule::Timeout),
];

/// Rule that must detect the incident in a capture, if it has one.
pub fn label(name: &str) -> Option<Rule> {
    LABELS.iter().find(|(known, _)| *known == name).map(|(_, rule)| *rule)
}

/// Returns name (`folder/file`) and path of the captures in a corpus.
pub fn captures(corpus: &Path) -> Result<Vec<(String, PathBuf)>, Box<dyn Error>> {
    let mut captures = Vec::new();
    for folder in std::fs::read_dir(corpus.join("pcap"))? {
        let folder = folder?.path();
        if !folder.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(&folder)? {
            let file = file?.path();
            let part =
                |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
            if let (Some(folder), Some(name)) = (part(&folder), part(&file)) {
                captures.push((format!("{folder}/{name}"), file));
            }
        }
    }
    captures.sort();
    Ok(captures)
}

/// Replays a capture. Returns the alerts and the number of transactions; `None` if it has no packets on port 53
/// or cannot be read.
pub fn replay(file: &Path, meant: &HostFacts) -> Option<(Vec<DetectedAlert>, u64)> {
    let encrypted = Encrypted::new(&PortSet::default(), &[853], &[443], Vec::new());
    let mut stages = Stages {
        pairer: Pairer::new(PairOptions::default()),
        connections: ConnectionTable::new(encrypted.clone(), ConnectionOptions::default()),
        watch: DetectorRun::new(meant),
        transactions: 0,
    };
    let options =
        DecoderOptions { encrypted: Some(encrypted.clone()), ..DecoderOptions::default() };
    let mut decoder = Decoder::new(options);
    let mut now = None;
    let mut reader = Replay::new(PortSet::default()).with_encrypted(Some(encrypted));
    let read = reader.file(file, &mut |packet, _| {
        now = Some(packet.ts);
        decoder.expire(packet.ts, &mut |decoded| stages.observe(decoded));
        stages.expire(packet.ts);
        decoder.observe(packet, &mut |decoded| stages.observe(decoded));
        ControlFlow::Continue(())
    });
    let now: Timestamp = now.filter(|_| read.is_ok())?;
    decoder.finish(&mut |decoded| stages.observe(decoded));
    stages.expire(now.plus(Duration::from_mins(1)));
    let transactions = stages.transactions;
    Some((stages.watch.end().0, transactions))
}

/// Stages between decoder and detectors.
struct Stages {
    pairer: Pairer,
    connections: ConnectionTable,
    watch: DetectorRun,
    transactions: u64,
}

impl Stages {
    fn observe(&mut self, decoded: Decoded<'_>) {
        let Self { pairer, connections, watch, transactions } = self;
        let mut each = |transaction: &Transaction<'_>| {
            *transactions += 1;
            observe_transaction(transaction, watch);
        };
        match decoded {
            Decoded::Message(message) => {
                pairer.observe(&message, &mut each);
            }
            Decoded::Unreachable(error) => {
                pairer.observe_icmp_error(&error, &mut each);
            }
            Decoded::Encrypted(sealed) => {
                connections.observe(&sealed, &mut |report| watch.connection(report));
            }
            Decoded::DeadLetter(_)
            | Decoded::Connect(_)
            | Decoded::Dropped(_)
            | Decoded::Step(_) => {}
        }
    }

    fn expire(&mut self, now: Timestamp) {
        let Self { pairer, connections, watch, transactions } = self;
        pairer.expire(now, &mut |transaction| {
            *transactions += 1;
            observe_transaction(transaction, watch);
        });
        connections.expire(now, &mut |report| watch.connection(report));
        watch.expire(now);
    }
}

/// Passes a transaction to the detectors. Captures have no processes and containers.
fn observe_transaction(transaction: &Transaction<'_>, watch: &mut DetectorRun) {
    let Some(first) = transaction.query.or(transaction.response) else { return };
    let resolver = first.client_and_server().1.ip().to_string();
    let mut texts = MessageTexts::default();
    texts.read_transaction(transaction, AnswerLimits::NONE);
    let (links, tail) = (TransactionLinks::default(), RecordTail::default());
    let attribution = &Attribution::default();
    let facts = Facts {
        resolver: &resolver,
        links: &links,
        sample_ratio: 1.0,
        attribution,
        tail: &tail,
        lost: None,
        indicators: &[],
    };
    if let Some(observation) = TransactionView::new(transaction, &texts, &facts) {
        watch.observe(&observation);
    }
}
