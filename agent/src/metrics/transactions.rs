//! Counts and latencies of transactions by label, in bounded memory.

use super::text::{Histogram, Labels, Page};
use crate::capture::Transport;
use crate::connection::Report;
use crate::decode::dns::{rcode_name, type_name};
use crate::pair::{Status, Vantage};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

/// Label sets of a family beyond which new ones become `other`.
const SERIES: usize = 1000;

/// The same of the histogram, of which each has as many samples as there are buckets.
const HISTOGRAMS: usize = 100;

/// What stands for the labels that found no place.
const OTHER: &str = "other";

/// Buckets of the latency in seconds: from a cache on this host to a query timeout.
const BOUNDS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Names of resolvers beyond which new ones are `other`; there is a place for fewer in the series.
const NAMES: usize = 1 << 14;

/// What the metrics want to know of a transaction. They are given numbers, and make labels of them when
/// they are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The side that it was seen from.
    pub vantage: Vantage,
    /// UDP or TCP.
    pub transport: Transport,
    /// Who was asked.
    pub resolver: ResolverLabel,
    /// The type asked for, if there was a question.
    pub qtype: Option<u16>,
    /// How it ended.
    pub status: Status,
    /// The response's extended code, if there was one.
    pub rcode: Option<u16>,
    /// From the query to the response, in seconds; absent where one of them is.
    pub latency_seconds: Option<f64>,
}

/// A resolver's name, as [`TransactionMetrics::resolver`] numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResolverLabel(u32);

/// Numbers of resolvers' names.
#[derive(Default)]
struct Names {
    numbers: HashMap<Box<str>, u32, RandomState>,
    names: Vec<Box<str>>,
}

impl Names {
    fn number(&mut self, name: &str) -> ResolverLabel {
        if let Some(number) = self.numbers.get(name) {
            return ResolverLabel(*number);
        }
        if self.names.len() >= NAMES {
            return ResolverLabel(u32::MAX);
        }
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(name.into());
        self.numbers.insert(name.into(), number);
        ResolverLabel(number)
    }

    fn name(&self, label: ResolverLabel) -> &str {
        let place = usize::try_from(label.0).ok();
        place.and_then(|place| self.names.get(place)).map_or(OTHER, |name| name)
    }
}

/// Series by their labels: fixed ones, which are few, and varying ones that the traffic chooses; none
/// of those stands for the series of all that found no place.
struct Family<F, V, T> {
    hasher: RandomState,
    series: HashTable<Series<F, V, T>>,
    limit: usize,
}

struct Series<F, V, T> {
    key: (F, Option<V>),
    value: T,
}

impl<F: Copy + Eq + Hash, V: Copy + Eq + Hash, T> Family<F, V, T> {
    fn new(limit: usize) -> Self {
        Self { hasher: RandomState::default(), series: HashTable::new(), limit }
    }

    /// The series of these labels, or of `other` in place of the varying ones where there are too
    /// many: room stays for `other` with each of the few fixed label sets.
    fn at(&mut self, fixed: F, varying: V, new: impl FnOnce() -> T) -> &mut T {
        let hasher = &self.hasher;
        let mut key = (fixed, Some(varying));
        let mut hash = hasher.hash_one(key);
        if self.series.len() >= self.limit
            && self.series.find(hash, |series| series.key == key).is_none()
        {
            key.1 = None;
            hash = hasher.hash_one(key);
        }
        let rehash = |series: &Series<F, V, T>| hasher.hash_one(series.key);
        let entry = self.series.entry(hash, |series| series.key == key, rehash);
        &mut entry.or_insert_with(|| Series { key, value: new() }).into_mut().value
    }

    /// All series with their labels as text, in the order of those.
    fn sorted<L: Ord>(&self, labels: impl Fn(F, Option<V>) -> L) -> Vec<(L, &T)> {
        let shown = |series: &'_ Series<F, V, T>| labels(series.key.0, series.key.1);
        let mut all: Vec<_> = self.series.iter().map(|one| (shown(one), &one.value)).collect();
        all.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        all
    }
}

/// Counts and latencies of transactions, counts of messages and connections.
pub struct TransactionMetrics {
    names: Names,
    transactions: Family<(Vantage, Transport, Status), Varying, u64>,
    durations: Family<Vantage, ResolverLabel, Histogram>,
    /// Of UDP and TCP: queries and responses.
    messages: [[u64; 2]; 2],
    connections: Family<[&'static str; 3], ResolverLabel, u64>,
    handshakes: Family<[&'static str; 2], ResolverLabel, Histogram>,
}

/// Resolver, type and code.
type Varying = (ResolverLabel, Option<u16>, Option<u16>);

impl Default for TransactionMetrics {
    fn default() -> Self {
        Self {
            names: Names::default(),
            transactions: Family::new(SERIES),
            durations: Family::new(HISTOGRAMS),
            messages: [[0; 2]; 2],
            connections: Family::new(SERIES),
            handshakes: Family::new(HISTOGRAMS),
        }
    }
}

impl TransactionMetrics {
    /// The number of a resolver's name, for [`Seen`].
    pub fn resolver(&mut self, name: &str) -> ResolverLabel {
        self.names.number(name)
    }

    /// Counts a transaction.
    pub fn transaction(&mut self, seen: &Seen) {
        let fixed = (seen.vantage, seen.transport, seen.status);
        let varying = (seen.resolver, seen.qtype, seen.rcode);
        *self.transactions.at(fixed, varying, || 0) += 1;
        let Some(latency) = seen.latency_seconds else { return };
        let new = || Histogram::new(BOUNDS);
        self.durations.at(seen.vantage, seen.resolver, new).observe(latency);
    }

    /// Counts a message.
    pub const fn message(&mut self, response: bool, transport: Transport) {
        self.messages[transport as usize][response as usize] += 1;
    }

    /// Counts a connection that is over, or not at the capture's end.
    pub fn connection(&mut self, report: &Report<'_>, resolver: ResolverLabel) {
        let connection = report.connection;
        let (vantage, protocol) = (connection.vantage.name(), connection.protocol.name());
        *self.connections.at([vantage, protocol, report.status.name()], resolver, || 0) += 1;
        let Some(handshake) = connection.handshake.duration() else { return };
        let new = || Histogram::new(BOUNDS);
        self.handshakes.at([vantage, protocol], resolver, new).observe(handshake.as_secs_f64());
    }

    /// A resolver's name, or `other`.
    fn name(&self, resolver: Option<ResolverLabel>) -> &str {
        resolver.map_or(OTHER, |resolver| self.names.name(resolver))
    }

    /// Writes the families of connections; where there are none, there is nothing to say.
    fn write_connections(&self, page: &mut Page) {
        const CONNECTIONS: &str = "dns_connections_total";
        const HANDSHAKE: &str = "dns_connection_handshake_seconds";
        if self.connections.series.is_empty() {
            return;
        }
        page.family(CONNECTIONS);
        for ((fixed, resolver), count) in self.connections.sorted(|f, v| (f, self.name(v))) {
            let [vantage, protocol, status] = fixed;
            let labels: Labels<'_> = &[
                ("vantage", vantage),
                ("protocol", protocol),
                ("resolver", resolver),
                ("status", status),
            ];
            page.count(CONNECTIONS, labels, *count);
        }
        page.family(HANDSHAKE);
        for ((fixed, resolver), histogram) in self.handshakes.sorted(|f, v| (f, self.name(v))) {
            let [vantage, protocol] = fixed;
            let labels: Labels<'_> =
                &[("vantage", vantage), ("protocol", protocol), ("resolver", resolver)];
            page.histogram(HANDSHAKE, labels, histogram);
        }
    }

    /// Writes all families.
    pub(super) fn write(&self, page: &mut Page) {
        const DURATION: &str = "dns_transaction_duration_seconds";
        const MESSAGES: &str = "dns_messages_total";
        self.write_transactions(page);
        page.family(DURATION);
        let durations = self.durations.sorted(|vantage, name| (vantage.name(), self.name(name)));
        for ((vantage, resolver), histogram) in durations {
            page.histogram(DURATION, &[("vantage", vantage), ("resolver", resolver)], histogram);
        }
        page.family(MESSAGES);
        for (response, qr) in ["query", "response"].into_iter().enumerate() {
            for transport in [Transport::Tcp, Transport::Udp] {
                let count = self.messages[transport as usize][response];
                if count > 0 {
                    let labels = &[("qr", qr), ("transport", transport.name())];
                    page.count(MESSAGES, labels, count);
                }
            }
        }
        self.write_connections(page);
    }

    fn write_transactions(&self, page: &mut Page) {
        const TRANSACTIONS: &str = "dns_transactions_total";
        page.family(TRANSACTIONS);
        let series = self.transactions.sorted(|(vantage, transport, status), varying| {
            let [qtype, rcode] = varying.map_or([const { Cow::Borrowed(OTHER) }; 2], named);
            let resolver = self.name(varying.map(|(resolver, ..)| resolver));
            ([vantage.name(), transport.name(), status.name()], resolver, qtype, rcode)
        });
        for ((fixed, resolver, qtype, rcode), count) in series {
            let [vantage, transport, status] = fixed;
            let labels: Labels<'_> = &[
                ("vantage", vantage),
                ("transport", transport),
                ("resolver", resolver),
                ("qtype", &qtype),
                ("status", status),
                ("rcode", &rcode),
            ];
            page.count(TRANSACTIONS, labels, *count);
        }
    }
}

/// Type and code as mnemonics; empty where there is none.
fn named((_, qtype, rcode): Varying) -> [Cow<'static, str>; 2] {
    [qtype.map_or_else(Cow::default, type_name), rcode.map_or_else(Cow::default, rcode_name)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(resolver: ResolverLabel, status: Status) -> Seen {
        Seen {
            vantage: Vantage::Client,
            transport: Transport::Udp,
            resolver,
            qtype: Some(1),
            status,
            rcode: Some(0),
            latency_seconds: Some(0.001),
        }
    }

    #[test]
    fn counts_by_label() {
        let mut metrics = TransactionMetrics::default();
        let resolver = metrics.resolver("r");
        assert_eq!(metrics.resolver("r"), resolver);
        metrics.transaction(&seen(resolver, Status::Answered));
        metrics.transaction(&seen(resolver, Status::Answered));
        let silent = seen(resolver, Status::Timeout);
        metrics.transaction(&Seen { latency_seconds: None, rcode: None, ..silent });
        metrics.message(false, Transport::Udp);
        let mut page = Page::default();
        metrics.write(&mut page);
        let text = page.into_text();
        for line in [
            "dns_transactions_total{vantage=\"client\",transport=\"udp\",resolver=\"r\",qtype=\"A\",status=\"answered\",rcode=\"NOERROR\"} 2",
            "dns_transactions_total{vantage=\"client\",transport=\"udp\",resolver=\"r\",qtype=\"A\",status=\"timeout\",rcode=\"\"} 1",
            "dns_transaction_duration_seconds_bucket{vantage=\"client\",resolver=\"r\",le=\"0.001\"} 2",
            "dns_transaction_duration_seconds_count{vantage=\"client\",resolver=\"r\"} 2",
            "dns_messages_total{qr=\"query\",transport=\"udp\"} 1",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
    }

    #[test]
    fn is_bounded_and_loses_no_count() {
        let mut metrics = TransactionMetrics::default();
        for number in 0..5000 {
            let resolver = metrics.resolver(&format!("r{number}"));
            metrics.transaction(&seen(resolver, Status::Answered));
            metrics.transaction(&seen(resolver, Status::Timeout));
        }
        assert_eq!(metrics.transactions.series.len(), SERIES + 2);
        assert_eq!(metrics.durations.series.len(), HISTOGRAMS + 1);
        let total: u64 = metrics.transactions.series.iter().map(|series| series.value).sum();
        assert_eq!(total, 10_000);
        let others: Vec<u64> = metrics
            .transactions
            .series
            .iter()
            .filter(|series| series.key.1.is_none())
            .map(|series| series.value)
            .collect();
        assert_eq!(others, [4500, 4500]);
        let many: Vec<_> =
            (0..2 * NAMES).map(|number| metrics.resolver(&number.to_string())).collect();
        assert_eq!(metrics.names.names.len(), NAMES);
        assert_eq!(metrics.name(many.last().copied()), OTHER);
    }
}
