//! Every capture of the corpus through replay and decoder, against what tshark finds in it.
//!
//! `DNSCRIBE_CORPUS` names the corpus (default: `../shared/corpus` beside the workspace). The
//! differences that are meant stand in [`reasons`], each with its reason; `DNSCRIBE_BLESS=1`
//! writes them to `docs/conformance.md`, which must be up to date otherwise.

#[path = "conformance/reasons.rs"]
mod reasons;

use anyhow::{Context, Result, bail, ensure};
use dnscribe::capture::Packet;
use dnscribe::capture::ports::PortSet;
use dnscribe::capture::replay::{Passed, Replay};
use dnscribe::decode::{Decoded, Decoder, DecoderOptions, Malformed};
use dnscribe_tests::environment;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

/// A DNS message, as far as two decoders must agree on it: the frame that completed it, whether
/// it is a response, its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    frame: u64,
    response: bool,
    id: u16,
}

#[derive(Deserialize)]
struct GoldenMessage {
    frame: u64,
    /// Left out where the message is shorter than a header.
    qr: Option<u8>,
    id: Option<u16>,
    malformed: bool,
}

#[derive(Deserialize)]
struct GoldenSummary {
    packets: u64,
    queries: u64,
    responses: u64,
    icmp_quoted: u64,
}

/// What replay and decoder make of a capture.
#[derive(Default)]
struct Ours {
    packets: u64,
    messages: Vec<Found>,
    /// Messages that were framed, but cannot be read.
    refused: Vec<Found>,
    unreachable: u64,
}

/// How a capture compares.
#[derive(Default)]
struct Comparison {
    golden: (u64, u64),
    ours: (usize, usize),
    refused: usize,
    missing: Vec<Found>,
    extra: Vec<Found>,
    quotes: (u64, u64),
}

impl Comparison {
    fn is_equal(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty() && self.quotes.0 == self.quotes.1
    }
}

#[test]
fn agrees_with_tshark() -> Result<()> {
    let Some(corpus) = environment::corpus() else { return Ok(()) };
    let summaries: BTreeMap<String, GoldenSummary> =
        serde_json::from_str(&fs::read_to_string(corpus.join("golden/summary.json"))?)?;
    let mut comparisons = BTreeMap::new();
    for (name, summary) in &summaries {
        comparisons.insert(name.as_str(), compare(&corpus, name, summary).context(name.clone())?);
    }
    check_reasons(&comparisons)?;
    check_derived(&corpus)?;
    check_page(&environment::workspace().join("docs/conformance.md"), &page(&comparisons))
}

fn compare(corpus: &Path, name: &str, summary: &GoldenSummary) -> Result<Comparison> {
    let lines = fs::read_to_string(corpus.join(format!("golden/{name}.tshark.ndjson")))?;
    let golden: Vec<GoldenMessage> =
        lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let ours = replay(&corpus.join("pcap").join(name), name)?;
    ensure!(ours.packets == summary.packets, "{} packets, not {}", ours.packets, summary.packets);
    let (mut messages, mut refused) = (ours.messages, ours.refused);
    let responses = messages.iter().filter(|found| found.response).count();
    let mut comparison = Comparison {
        golden: (summary.queries, summary.responses),
        ours: (messages.len() - responses, responses),
        refused: refused.len(),
        quotes: (summary.icmp_quoted, ours.unreachable),
        ..Comparison::default()
    };
    for message in golden {
        let (Some(qr), Some(id)) = (message.qr, message.id) else {
            refused.retain(|found| found.frame != message.frame);
            continue;
        };
        let found = Found { frame: message.frame, response: qr == 1, id };
        let is_there =
            take(&mut messages, found) || (message.malformed && take(&mut refused, found));
        if !is_there {
            comparison.missing.push(found);
        }
    }
    comparison.extra = messages;
    Ok(comparison)
}

fn take(from: &mut Vec<Found>, wanted: Found) -> bool {
    from.iter().position(|found| *found == wanted).map(|place| from.remove(place)).is_some()
}

fn replay(path: &Path, name: &str) -> Result<Ours> {
    let ports: PortSet = reasons::ports(name).parse()?;
    let mut decoder =
        Decoder::new(DecoderOptions { ports: ports.clone(), ..DecoderOptions::default() });
    let mut replay = Replay::new(ports);
    let mut ours = Ours::default();
    let mut each = |packet: &Packet<'_>, _: &Passed<'_>| {
        decoder.expire(packet.ts, &mut |decoded| ours.note(decoded));
        decoder.observe(packet, &mut |decoded| ours.note(decoded));
        let counters = decoder.counters();
        let ended = counters.decoded_packets + counters.malformed.values().sum::<u64>();
        assert_eq!(counters.received, ended + counters.held, "{name}: identity 3");
        ControlFlow::Continue(())
    };
    let summary = replay.file(path, &mut each)?;
    decoder.finish(&mut |decoded| ours.note(decoded));
    ours.packets = summary.packets;
    let (kernel, ring) = replay.counters();
    let kernel = kernel.get("replay").context("no counters")?;
    ensure!(kernel.seen == kernel.submitted + kernel.skipped.values().sum::<u64>(), "identity 1");
    ensure!(ring.received == decoder.counters().received, "identity 2");
    Ok(ours)
}

impl Ours {
    fn note(&mut self, decoded: Decoded) {
        match decoded {
            Decoded::Message(message) => self.messages.push(Found {
                frame: message.envelope.id.origin.seq,
                response: message.dns.flags.response(),
                id: message.dns.id,
            }),
            Decoded::Unreachable(_) => self.unreachable += 1,
            // None is looked for.
            Decoded::Sealed(_) => {}
            Decoded::DeadLetter(letter) => {
                let dns = [Malformed::DnsHeader, Malformed::DnsQuestion, Malformed::DnsRecord];
                if let ([high, low, flags, ..], true) =
                    (letter.bytes.as_slice(), dns.contains(&letter.reason))
                {
                    self.refused.push(Found {
                        frame: letter.envelope.id.origin.seq,
                        response: flags & 0x80 != 0,
                        id: u16::from_be_bytes([*high, *low]),
                    });
                }
            }
        }
    }
}

/// Every difference has its reason, and every reason its difference.
fn check_reasons(comparisons: &BTreeMap<&str, Comparison>) -> Result<()> {
    let mut wrong = String::new();
    for (name, comparison) in comparisons {
        match (comparison.is_equal(), reasons::difference(name)) {
            (false, None) => writeln!(
                wrong,
                "{name}: tshark {:?}, ours {:?}, quotes {:?}, missing {:?}, extra {:?}",
                comparison.golden,
                comparison.ours,
                comparison.quotes,
                comparison.missing.get(..5).unwrap_or(&comparison.missing),
                comparison.extra.get(..5).unwrap_or(&comparison.extra),
            )?,
            (true, Some(_)) => writeln!(wrong, "{name}: equal, though a difference is expected")?,
            _ => {}
        }
    }
    ensure!(wrong.is_empty(), "captures that compare otherwise than expected:\n{wrong}");
    Ok(())
}

/// What was made of a capture, by cutting, shuffling, clipping or wrapping it, has its messages.
fn check_derived(corpus: &Path) -> Result<()> {
    let ids = |name: &str| -> Result<Vec<(bool, u16)>> {
        let ours = replay(&corpus.join("pcap").join(name), name)?;
        let mut ids: Vec<_> =
            ours.messages.iter().map(|found| (found.response, found.id)).collect();
        ids.sort_unstable();
        Ok(ids)
    };
    for (source, derived) in reasons::DERIVED {
        let wanted = ids(source)?;
        for name in *derived {
            ensure!(ids(name)? == wanted, "{name}: other messages than {source}");
        }
    }
    Ok(())
}

fn page(comparisons: &BTreeMap<&str, Comparison>) -> String {
    let equal = comparisons.values().filter(|comparison| comparison.is_equal()).count();
    let mut page = format!(
        "# Conformance\n\n\
         Written by `DNSCRIBE_BLESS=1 cargo test -p dnscribe-tests --test conformance`; do not \
         edit.\n\n\
         Each capture of the corpus goes through replay and decoder. A message agrees with tshark \
         where frame, id and direction do; one that tshark calls malformed may be refused. Of {} \
         captures {equal} agree in every message.\n\n\
         | capture | tshark queries/responses | ours | quoted in ICMP, tshark/ours | why they \
         differ |\n|---|---|---|---|---|\n",
        comparisons.len(),
    );
    for (name, comparison) in comparisons.iter().filter(|(_, comparison)| !comparison.is_equal()) {
        let _ = writeln!(
            page,
            "| {name} | {}/{} | {}/{} | {}/{} | {} |",
            comparison.golden.0,
            comparison.golden.1,
            comparison.ours.0,
            comparison.ours.1,
            comparison.quotes.0,
            comparison.quotes.1,
            reasons::difference(name).unwrap_or("unexplained"),
        );
    }
    page.push_str(
        "\n## Agreeing\n\n| capture | queries/responses | refused as malformed |\n|---|---|---|\n",
    );
    for (name, comparison) in comparisons.iter().filter(|(_, comparison)| comparison.is_equal()) {
        let (queries, responses) = comparison.ours;
        let _ = writeln!(page, "| {name} | {queries}/{responses} | {} |", comparison.refused);
    }
    page
}

fn check_page(path: &Path, page: &str) -> Result<()> {
    if std::env::var_os("DNSCRIBE_BLESS").is_some() {
        return fs::write(path, page).with_context(|| path.display().to_string());
    }
    if fs::read_to_string(path).unwrap_or_default() != page {
        bail!("{} is out of date: run this with DNSCRIBE_BLESS=1", path.display());
    }
    Ok(())
}
