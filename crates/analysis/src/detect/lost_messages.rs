//! Rules `receive_buffer` and `local_loss`: messages that the kernel of this host discards.

use super::attribution::{Attribution, EvidenceSample, hash, is_multicast};
use super::finding::{Detector, Entity, Figure, Finding, Rule, Severity};
use super::rolling::Rolling;
use super::table::AssociativeTable;
use crate::losses::Lost;
use crate::view::TransactionView;
use dnscribe_record::number::to_f64;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::packet::Loss;
use dnscribe_transaction::pair::Vantage;
use std::time::Duration;

/// Reason of the kernel for datagrams that find a full buffer.
const BUFFER_FULL: &str = "SOCKET_RCVBUFF";

/// Half of the look-back of `receive_buffer`.
const SERVER_SPAN: Duration = Duration::from_mins(1);
/// Least number of queries that a server's buffer loses within one to two minutes.
const SERVER_MIN_LOST: u64 = 10;
/// Least share of the server's queries: a warning, and critical.
const SERVER_MIN_RATIO: [f64; 2] = [0.001, 0.05];

/// Half of the look-back of `local_loss`.
const CLIENT_SPAN: Duration = Duration::from_mins(5);
/// Least number of transactions of a client that lose messages within five to ten minutes.
const CLIENT_MIN_LOST: u64 = 5;
/// Least share of the client's transactions.
const CLIENT_MIN_RATIO: f64 = 0.01;

const MAX_SERVERS: usize = 1024;
const MAX_CLIENTS: usize = 4096;
/// Places where messages of one client are lost that are kept apart.
const MAX_PLACES: usize = 4;
/// Time from the first loss until the share is judged: other transactions have not ended yet.
const SETTLING: Duration = Duration::from_secs(30);
/// Time after which an idle server or client is forgotten.
const IDLE: Duration = Duration::from_hours(1);

/// Finds servers whose buffers are full, and clients whose messages die on this host. Counts all of them, since the share is
/// one of all transactions.
#[derive(Debug, Default)]
pub struct LostMessages {
    servers: AssociativeTable<Server, MAX_SERVERS>,
    clients: AssociativeTable<Client, MAX_CLIENTS>,
}

#[derive(Debug)]
struct Server {
    resolver: Box<str>,
    counts: Rolling<Counts>,
    sample: EvidenceSample,
}

#[derive(Debug)]
struct Client {
    attribution: Attribution,
    counts: Rolling<Counts>,
    /// Where messages were lost.
    places: Rolling<Vec<(Box<str>, u64)>>,
    sample: EvidenceSample,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    transactions: u64,
    lost: u64,
    first_lost: Option<Timestamp>,
}

impl Rolling<Counts> {
    /// Returns the number of transactions that lost a message, and their share; none if there are too few.
    fn judge(&self, now: Timestamp, min_lost: u64, min_ratio: f64) -> Option<(u64, f64)> {
        let first_lost = self.previous.first_lost.or(self.current.first_lost)?;
        if now.since(first_lost) < SETTLING {
            return None;
        }
        let lost = self.sum(|counts| counts.lost);
        let ratio = to_f64(lost) / to_f64(self.sum(|counts| counts.transactions).max(1));
        (lost >= min_lost && ratio >= min_ratio).then_some((lost, ratio))
    }

    fn add(&mut self, ts: Timestamp, span: Duration, is_lost: bool) {
        // A timeout is known late, and counts where the answers of its time do.
        let Some(counts) = self.span_of(ts, span) else { return };
        counts.transactions += 1;
        if is_lost {
            counts.lost += 1;
            counts.first_lost.get_or_insert(ts);
        }
    }
}

impl Server {
    fn finding(&mut self, now: Timestamp) -> Option<Finding> {
        self.counts.roll(now, SERVER_SPAN);
        let [warning, critical] = SERVER_MIN_RATIO;
        let (lost, ratio) = self.counts.judge(now, SERVER_MIN_LOST, warning)?;
        let summary = format!(
            "{} lost {lost} queries within 2 min since its socket's buffer was full: {:.1} % of all",
            self.resolver,
            ratio * 100.0,
        );
        let figures = vec![
            Figure::new("lost_queries", to_f64(lost), Some(to_f64(SERVER_MIN_LOST))),
            Figure::new("lost_ratio", ratio, Some(warning)),
        ];
        let entity = Entity {
            vantage: Some(Vantage::Server),
            resolver: Some(self.resolver.clone()),
            ..Entity::default()
        };
        let level = if ratio >= critical { Severity::Critical } else { Severity::Warning };
        Some(self.sample.finding(Rule::ReceiveBuffer, entity, level, (summary, figures)))
    }
}

impl Client {
    fn record(&mut self, ts: Timestamp, lost: &Lost) {
        let Some(places) = self.places.span_of(ts, CLIENT_SPAN) else { return };
        let place = place(&lost.loss);
        match places.iter().position(|(other, _)| **other == *place) {
            Some(at) => places[at].1 += 1,
            None if places.len() < MAX_PLACES => places.push((place.into(), 1)),
            None => {}
        }
    }

    fn finding(&mut self, now: Timestamp) -> Option<Finding> {
        self.counts.roll(now, CLIENT_SPAN);
        self.places.roll(now, CLIENT_SPAN);
        let (lost, ratio) = self.counts.judge(now, CLIENT_MIN_LOST, CLIENT_MIN_RATIO)?;
        let all = self.places.current.iter().chain(&self.places.previous);
        let (place, _) = all.max_by_key(|(_, count)| *count)?;
        let summary = format!(
            "{lost} transactions of {} within 10 min lost messages on this host, mostly at {place}: {:.1} % of all",
            self.attribution,
            ratio * 100.0,
        );
        let figures = vec![
            Figure::new("lost_transactions", to_f64(lost), Some(to_f64(CLIENT_MIN_LOST))),
            Figure::new("lost_ratio", ratio, Some(CLIENT_MIN_RATIO)),
        ];
        let (entity, level) = (self.attribution.entity(), Severity::Warning);
        Some(self.sample.finding(Rule::LocalLoss, entity, level, (summary, figures)))
    }
}

/// Returns the place as in the text of a record: `netfilter/output (NETFILTER_DROP)`.
fn place(loss: &Loss) -> String {
    let hook = loss.hook.map(|hook| format!("/{}", hook.name())).unwrap_or_default();
    format!("{}{hook} ({})", loss.stage.name(), loss.reason)
}

impl Detector for LostMessages {
    fn rules(&self) -> &'static [Rule] {
        &[Rule::ReceiveBuffer, Rule::LocalLoss]
    }

    fn observe(&mut self, observation: &TransactionView<'_>) {
        if is_multicast(observation) || !observation.is_query() {
            return;
        }
        let (ts, lost) = (observation.ts, observation.lost);
        match observation.vantage {
            Vantage::Server => {
                let lost =
                    lost.filter(|lost| !lost.is_response && &*lost.loss.reason == BUFFER_FULL);
                let key = hash(observation.resolver.as_bytes());
                let server = self.servers.entry(key, ts, || Server {
                    resolver: observation.resolver.into(),
                    counts: Rolling::default(),
                    sample: EvidenceSample::default(),
                });
                server.counts.add(ts, SERVER_SPAN, lost.is_some());
                if lost.is_some() {
                    server.sample.record(observation);
                }
            }
            Vantage::Client => {
                let lost = lost.filter(|lost| lost.is_of_client());
                let key = Attribution::hash(observation);
                let client = self.clients.entry(key, ts, || Client {
                    attribution: Attribution::new(observation),
                    counts: Rolling::default(),
                    places: Rolling::default(),
                    sample: EvidenceSample::default(),
                });
                client.counts.add(ts, CLIENT_SPAN, lost.is_some());
                if let Some(lost) = lost {
                    client.record(ts, lost);
                    client.sample.record(observation);
                }
            }
            Vantage::Passive => {}
        }
    }

    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(Finding)) {
        self.servers.evaluate(now, IDLE, |server| server.finding(now), each);
        self.clients.evaluate(now, IDLE, |client| client.finding(now), each);
    }
}

#[cfg(test)]
mod tests;
