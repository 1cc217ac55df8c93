//! Every capture of the corpus through replay, decoder and pairing, against what the contract's
//! pairing key makes of tshark's messages (`by_key` in the corpus, computed without a timeout).

#[path = "conformance/reasons.rs"]
#[expect(dead_code, reason = "shared with the comparison of messages, which uses all of it")]
mod reasons;

use anyhow::{Context, Result, ensure};
use dnscribe::capture::ports::PortSet;
use dnscribe::capture::replay::Replay;
use dnscribe::decode::{Decoded, Decoder, DecoderOptions};
use dnscribe::ledger;
use dnscribe::pair::{PairOptions, Pairer};
use dnscribe::time::Timestamp;
use dnscribe_tests::environment;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

#[derive(Deserialize)]
struct Summary {
    malformed: u64,
    icmp_quoted: u64,
    by_key: ByKey,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
struct ByKey {
    answered: u64,
    orphan: u64,
    duplicate: u64,
    retransmitted: u64,
    unanswered: u64,
}

/// Captures whose messages agree and whose pairs do not, with the reason.
const DIFFERENT: &[(&str, &str)] = &[(
    "made/tcp-snaplen-80.pcap",
    "no message is whole; the reference pairs what tshark decodes of clipped headers",
)];

#[test]
fn pairs_as_the_key_demands() -> Result<()> {
    let Some(corpus) = environment::corpus() else { return Ok(()) };
    let summaries: BTreeMap<String, Summary> =
        serde_json::from_str(&fs::read_to_string(corpus.join("golden/summary.json"))?)?;
    let mut compared = 0;
    let mut wrong = Vec::new();
    for (name, summary) in &summaries {
        // Where the messages differ, or some are refused, or ICMP ends queries, so do the pairs.
        let incomparable =
            reasons::difference(name).is_some() || summary.malformed > 0 || summary.icmp_quoted > 0;
        if incomparable || DIFFERENT.iter().any(|(different, _)| different == name) {
            continue;
        }
        let ours = pairs(&corpus.join("pcap").join(name), name).with_context(|| name.clone())?;
        compared += 1;
        if ours != summary.by_key {
            wrong.push(format!("{name}: by key {:?}, ours {ours:?}", summary.by_key));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(compared > 100, "only {compared} captures could be compared");
    Ok(())
}

fn pairs(path: &Path, name: &str) -> Result<ByKey> {
    let ports: PortSet = reasons::ports(name).parse()?;
    let options = DecoderOptions { ports: ports.clone(), ..DecoderOptions::default() };
    let mut decoder = Decoder::new(options);
    // The reference knows no timeout.
    let query_timeout = Duration::from_secs(100 * 365 * 24 * 3600);
    let mut pairer = Pairer::new(PairOptions { query_timeout, ..PairOptions::default() });
    let mut pair = |decoded| {
        if let Decoded::Message(message) = decoded {
            pairer.observe(message, &mut |_| {});
        }
    };
    let mut last = Timestamp::default();
    Replay::new(ports).file(path, &mut |packet, _| {
        decoder.expire(packet.ts, &mut pair);
        decoder.observe(packet, &mut pair);
        last = packet.ts;
        ControlFlow::Continue(())
    })?;
    decoder.finish(&mut pair);
    pairer.finish(last, &mut |_| {});
    let ledger::Pairing { answered, timeout, open, retransmitted, duplicate, orphan, .. } =
        pairer.counters();
    Ok(ByKey { answered, orphan, duplicate, retransmitted, unanswered: open + timeout })
}
