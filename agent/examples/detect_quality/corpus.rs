//! Real captures, by what is known of them.

use crate::judge::{Found, Watch};
use dnscribe::capture::encrypted::Encrypted;
use dnscribe::capture::ports::PortSet;
use dnscribe::capture::replay::Replay;
use dnscribe::connection::{ConnectionOptions, Connections};
use dnscribe::decode::{Decoded, Decoder, DecoderOptions};
use dnscribe::detect::{Meant, Rule};
use dnscribe::observation::Observation;
use dnscribe::pair::{PairOptions, Pairer, Transaction};
use dnscribe::record::registrable;
use dnscribe::time::Timestamp;
use std::error::Error;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Captures in which something is wrong; in all others of the corpus nothing is that can be known.
const LABELS: &[(&str, Rule)] = &[
    ("ndpi/dns-tunnel-iodine.pcap", Rule::Tunnel),
    ("ndpi/bad-dns-traffic.pcap", Rule::Tunnel),
    ("suricata-verify/bug-1158.pcap", Rule::Tunnel),
    ("ndpi/dns_dot.pcap", Rule::EncryptedBypass),
    // Servers that answer none, or few, of many queries.
    ("ipfixprobe/mixed.pcap", Rule::ResolverDown),
    ("suricata-verify/sip-method.pcap", Rule::SuccessRatio),
    ("suricata-verify/datasets-06-state-long.pcap", Rule::Timeout),
];

/// What is wrong in a capture, if anything.
pub fn label(name: &str) -> Option<Rule> {
    LABELS.iter().find(|(known, _)| *known == name).map(|(_, rule)| *rule)
}

/// The captures of a corpus by their names, `folder/file`.
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

/// What is found in a capture, and how many transactions were in it; none where nothing is
/// on port 53, or where it cannot be read.
pub fn replay(file: &Path, meant: &Meant) -> Option<(Vec<Found>, u64)> {
    let encrypted = Encrypted::new(&PortSet::default(), &[853], &[443], Vec::new());
    let mut rooms = Rooms {
        pairer: Pairer::new(PairOptions::default()),
        connections: Connections::new(encrypted.clone(), ConnectionOptions::default()),
        watch: Watch::new(meant),
        taken: 0,
    };
    let options =
        DecoderOptions { encrypted: Some(encrypted.clone()), ..DecoderOptions::default() };
    let mut decoder = Decoder::new(options);
    let mut now = None;
    let mut reader = Replay::new(PortSet::default()).with_encrypted(Some(encrypted));
    let read = reader.file(file, &mut |packet, _| {
        now = Some(packet.ts);
        decoder.expire(packet.ts, &mut |decoded| rooms.take(decoded));
        rooms.expire(packet.ts);
        decoder.observe(packet, &mut |decoded| rooms.take(decoded));
        ControlFlow::Continue(())
    });
    let now: Timestamp = now.filter(|_| read.is_ok())?;
    decoder.finish(&mut |decoded| rooms.take(decoded));
    rooms.expire(now.plus(Duration::from_secs(60)));
    let taken = rooms.taken;
    Some((rooms.watch.end().0, taken))
}

/// The rooms between decoder and detectors.
struct Rooms {
    pairer: Pairer,
    connections: Connections,
    watch: Watch,
    taken: u64,
}

impl Rooms {
    fn take(&mut self, decoded: Decoded) {
        let Self { pairer, connections, watch, taken } = self;
        let mut each = |transaction: &Transaction<'_>| {
            *taken += 1;
            observed(transaction, watch);
        };
        match decoded {
            Decoded::Message(message) => {
                pairer.observe(message, &mut each);
            }
            Decoded::Unreachable(error) => pairer.unreachable(&error, &mut each),
            Decoded::Sealed(sealed) => {
                connections.observe(&sealed, &mut |report| watch.connection(report));
            }
            Decoded::DeadLetter(_) => {}
        }
    }

    fn expire(&mut self, now: Timestamp) {
        let Self { pairer, connections, watch, taken } = self;
        pairer.expire(now, &mut |transaction| {
            *taken += 1;
            observed(transaction, watch);
        });
        connections.expire(now, &mut |report| watch.connection(report));
        watch.expire(now);
    }
}

/// The flat view, without what a capture does not tell.
fn observed(transaction: &Transaction<'_>, watch: &mut Watch) {
    let (query, response) = (transaction.query, transaction.response);
    let (Some(first), Some(subject)) = (query.or(response), transaction.subject()) else { return };
    let (client, server) = first.ends();
    let resolver = server.ip().to_string();
    let question = transaction.question();
    let answered = response.map(|response| &response.dns);
    watch.observe(&Observation {
        id: subject.envelope.id,
        ts: first.envelope.ts,
        response_ts: response.map(|response| response.envelope.ts),
        vantage: transaction.vantage,
        transport: first.envelope.transport,
        client,
        server,
        resolver: &resolver,
        opcode: first.dns.flags.opcode(),
        qname: question.map(|question| &*question.qname),
        zone: question.and_then(|question| registrable(&question.qname)),
        qtype: question.map(|question| question.qtype),
        qclass: question.map(|question| question.qclass),
        status: transaction.status,
        rcode: answered.map(dnscribe::decode::dns::Dns::rcode),
        ede: None,
        flags: answered.unwrap_or(&first.dns).flags,
        latency_ms: transaction.latency().map(|latency| latency.as_secs_f64() * 1000.0),
        retries: transaction.retries,
        dnssec_ok: false,
        client_subnet: false,
        answers: answered.map_or(&[], |dns| &dns.answers),
        min_ttl_seconds: answered.and_then(|dns| dns.min_ttl_seconds),
        query_bytes: query.map(|query| query.wire_bytes),
        response_bytes: response.map(|response| response.wire_bytes.into()),
        conflict: transaction.conflict,
        rejected: transaction.rejected,
        orphan_reason: transaction.stray.map(|stray| stray.reason),
        resembles: transaction.stray.and_then(|stray| stray.resembles),
        tcp_fallback_of: None,
        parent: None,
        cache: None,
        process: None,
        pod: None,
    });
}
