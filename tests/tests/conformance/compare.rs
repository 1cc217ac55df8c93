//! One capture: ours against the references.

use super::fields::{Difference, Fields};
use super::golden::{self, Message, Summary};
use super::ours::{self, Header, Ours, Refused};
use super::{pairing, peers, reasons};
use anyhow::{Result, ensure};
use serde_json::Value;
use std::path::Path;

/// How a capture compares.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Messages: in the golden, and how many of them ours has, refused ones included.
    pub expected: usize,
    pub found: usize,
    /// Messages that ours refuses, as the golden does.
    pub refused: usize,
    /// Fields of those messages: alike, compared.
    pub fields: (usize, usize),
    /// What becomes of queries and responses: numbers alike, compared.
    pub outcomes: (usize, usize),
    /// tshark's pairs: latencies alike, compared.
    pub latencies: (usize, usize),
    /// Statements of other programs: alike, compared.
    pub peers: (usize, usize),
    pub differences: Vec<Difference>,
}

/// Compares a capture with everything that the corpus has of it.
pub fn compare(corpus: &Path, name: &str, summary: &Summary) -> Result<Comparison> {
    let golden = golden::messages(corpus, name)?;
    let capture = corpus.join("pcap").join(name);
    let ports = reasons::ports(name);
    let ours = ours::replay(&capture, ports)?;
    let mut comparison = Comparison { expected: golden.len(), ..Comparison::default() };
    let readable = comparison.messages(&golden, &ours)?;
    comparison.quotes(summary.icmp_quoted, ours::quotes(&capture, ports)?);
    // The model first shows that it is the corpus's.
    let all: Vec<_> = golden.iter().collect();
    let model = pairing::expected(&all, true);
    ensure!(model == summary.by_key, "the model gives {model:?}, not {:?}", summary.by_key);
    let model = pairing::expected(&readable, false);
    let (equal, differences) = pairing::compare(&model, &pairing::found(&ours.transactions));
    comparison.outcomes = comparison.count(equal, differences);
    let (equal, differences) = pairing::latencies(&readable, &ours.transactions)?;
    comparison.latencies = comparison.count(equal, differences);
    let (equal, differences) = peers::compare(corpus, name, &ours)?;
    comparison.peers = comparison.count(equal, differences);
    Ok(comparison)
}

impl Comparison {
    fn count(&mut self, equal: usize, differences: Vec<Difference>) -> (usize, usize) {
        let compared = equal + differences.len();
        self.differences.extend(differences);
        (equal, compared)
    }

    /// Compares the messages and returns those that ours does not refuse: a response that cannot be
    /// read answers nothing, and a query that cannot be read asks nothing.
    fn messages<'a>(&mut self, golden: &'a [Message], ours: &Ours) -> Result<Vec<&'a Message>> {
        let mut readable = Vec::new();
        let mut waiting: Vec<&Value> = ours.messages.iter().collect();
        let mut refused: Vec<&Refused> = ours.refused.iter().collect();
        for message in golden {
            let wanted = message.content.as_ref().map(header);
            let place = waiting.iter().position(|record| {
                ours::frame(record).ok() == Some(message.frame)
                    && ours::identity(record).ok() == wanted
            });
            if let Some(place) = place {
                self.found += 1;
                readable.push(message);
                self.decoded(message, &ours::fields(waiting.remove(place))?)?;
                continue;
            }
            let place = refused
                .iter()
                .position(|refused| refused.frame == message.frame && refused.header == wanted);
            if let Some(place) = place {
                self.refused(message, refused.remove(place));
            } else {
                readable.push(message);
                self.one_sided(message.frame, "missing", wanted, None);
            }
        }
        for record in waiting {
            let header = ours::identity(record)?;
            self.one_sided(ours::frame(record)?, "extra", None, Some(header));
        }
        for refused in refused {
            self.one_sided(refused.frame, "refused", None, refused.header);
        }
        Ok(readable)
    }

    fn decoded(&mut self, golden: &Message, ours: &Fields) -> Result<()> {
        let (equal, differences) = golden.fields()?.compare(golden.frame, ours);
        let (equal, compared) = self.count(equal, differences);
        self.fields.0 += equal;
        self.fields.1 += compared;
        Ok(())
    }

    /// A message that ours refuses: the golden must call it malformed.
    fn refused(&mut self, golden: &Message, ours: &Refused) {
        self.found += 1;
        self.refused += 1;
        let mut expected = Fields::default();
        expected.set("malformed", golden.malformed);
        expected.set("bytes", golden.bytes);
        let mut found = Fields::default();
        found.set("malformed", true);
        found.set("bytes", ours.bytes);
        let (equal, differences) = expected.compare(golden.frame, &found);
        let (equal, compared) = self.count(equal, differences);
        self.fields.0 += equal;
        self.fields.1 += compared;
    }

    fn one_sided(
        &mut self,
        frame: u64,
        field: &str,
        expected: Option<Header>,
        found: Option<Header>,
    ) {
        let shown =
            |header: Option<Header>| header.map_or_else(|| "none".into(), |h| format!("{h:?}"));
        self.differences.push(Difference {
            frame,
            field: field.to_owned(),
            expected: shown(expected),
            found: shown(found),
        });
    }

    fn quotes(&mut self, expected: u64, found: u64) {
        if expected != found {
            self.differences.push(Difference {
                frame: 0,
                field: "icmp_quoted".into(),
                expected: expected.to_string(),
                found: found.to_string(),
            });
        }
    }
}

fn header(content: &golden::Content) -> Header {
    Header { id: content.id, response: content.qr == 1 }
}
