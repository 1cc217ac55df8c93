//! Compares the agent's records of one capture with the references.

use super::agent_records::{self, AgentRecords, Header, Refused};
use super::fields::{Difference, Fields};
use super::golden::{self, Message, Summary};
use super::{pairing, peers, reasons};
use anyhow::{Result, ensure};
use serde_json::Value;
use std::path::Path;

/// Result of the comparison of a capture.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Messages in the reference, and how many of them the agent has, rejected ones included.
    pub expected: usize,
    pub found: usize,
    /// Messages that both the agent and the reference reject.
    pub refused: usize,
    /// Fields of those messages: equal, compared.
    pub fields: (usize, usize),
    /// Transaction outcomes: equal counts, compared.
    pub outcomes: (usize, usize),
    /// Latencies of tshark's pairs: equal, compared.
    pub latencies: (usize, usize),
    /// Statements of other programs: equal, compared.
    pub peers: (usize, usize),
    pub differences: Vec<Difference>,
}

/// Compares a capture with all references of the corpus.
pub fn compare(corpus: &Path, name: &str, summary: &Summary) -> Result<Comparison> {
    let golden = golden::messages(corpus, name)?;
    let capture = corpus.join("pcap").join(name);
    let ports = reasons::ports(name);
    let actual = agent_records::replay(&capture, ports)?;
    let mut comparison = Comparison { expected: golden.len(), ..Comparison::default() };
    let readable = comparison.messages(&golden, &actual)?;
    comparison.quotes(summary.icmp_quoted, agent_records::quotes(&capture, ports)?);
    // The pairing model must first reproduce the corpus's own result.
    let all: Vec<_> = golden.iter().collect();
    let model = pairing::expected(&all, true);
    ensure!(model == summary.by_key, "the model returns {model:?}, not {:?}", summary.by_key);
    let model = pairing::expected(&readable, false);
    let (equal, differences) = pairing::compare(&model, &pairing::found(&actual.transactions));
    comparison.outcomes = comparison.count(equal, differences);
    let (equal, differences) = pairing::latencies(&readable, &actual.transactions)?;
    comparison.latencies = comparison.count(equal, differences);
    let (equal, differences) = peers::compare(corpus, name, &actual)?;
    comparison.peers = comparison.count(equal, differences);
    Ok(comparison)
}

impl Comparison {
    fn count(&mut self, equal: usize, differences: Vec<Difference>) -> (usize, usize) {
        let compared = equal + differences.len();
        self.differences.extend(differences);
        (equal, compared)
    }

    /// Compares the messages and returns those that the agent accepts: an unreadable response
    /// answers no query, and an unreadable query starts no transaction.
    fn messages<'a>(
        &mut self,
        golden: &'a [Message],
        actual: &AgentRecords,
    ) -> Result<Vec<&'a Message>> {
        let mut readable = Vec::new();
        let mut waiting: Vec<&Value> = actual.messages.iter().collect();
        let mut refused: Vec<&Refused> = actual.refused.iter().collect();
        for message in golden {
            let wanted = message.content.as_ref().map(header);
            let place = waiting.iter().position(|record| {
                agent_records::frame(record).ok() == Some(message.frame)
                    && agent_records::identity(record).ok() == wanted
            });
            if let Some(place) = place {
                self.found += 1;
                readable.push(message);
                self.decoded(message, &agent_records::fields(waiting.remove(place))?)?;
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
            let header = agent_records::identity(record)?;
            self.one_sided(agent_records::frame(record)?, "extra", None, Some(header));
        }
        for refused in refused {
            self.one_sided(refused.frame, "refused", None, refused.header);
        }
        Ok(readable)
    }

    fn decoded(&mut self, golden: &Message, actual: &Fields) -> Result<()> {
        let (equal, differences) = golden.fields()?.compare(golden.frame, actual);
        let (equal, compared) = self.count(equal, differences);
        self.fields.0 += equal;
        self.fields.1 += compared;
        Ok(())
    }

    /// Compares a message that the agent rejects: the reference must call it malformed.
    fn refused(&mut self, golden: &Message, actual: &Refused) {
        self.found += 1;
        self.refused += 1;
        let mut expected = Fields::default();
        expected.set("malformed", golden.malformed);
        expected.set("bytes", golden.bytes);
        let mut found = Fields::default();
        found.set("malformed", true);
        found.set("bytes", actual.bytes);
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
