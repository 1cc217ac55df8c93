//! Counts and latencies of transactions by label, in bounded memory.

use super::text::{Histogram, Labels, Page};
use crate::connection::Report;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::borrow::Cow;
use std::hash::BuildHasher;

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

/// What the metrics want to know of a transaction.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    /// client, server, passive.
    pub vantage: &'static str,
    /// udp, tcp.
    pub transport: &'static str,
    /// The resolver's name or address.
    pub resolver: &'a str,
    /// Mnemonic.
    pub qtype: Cow<'static, str>,
    /// answered, timeout, ...
    pub status: &'static str,
    /// Mnemonic; empty without a response.
    pub rcode: Cow<'static, str>,
    /// From the query to the response, in seconds; absent where one of them is.
    pub latency_seconds: Option<f64>,
}

/// Series by their labels: `F` fixed ones, which are few, and `V` ones that the traffic chooses.
struct Family<const F: usize, const V: usize, T> {
    hasher: RandomState,
    series: HashTable<Series<F, V, T>>,
    limit: usize,
}

struct Series<const F: usize, const V: usize, T> {
    fixed: [&'static str; F],
    varying: [Box<str>; V],
    value: T,
}

impl<const F: usize, const V: usize, T> Family<F, V, T> {
    fn new(limit: usize) -> Self {
        Self { hasher: RandomState::default(), series: HashTable::new(), limit }
    }

    /// The series of these labels, or of `other` in place of the varying ones where there are too
    /// many: room stays for `other` with each of the few fixed label sets. Allocates only for new
    /// series.
    fn at(
        &mut self,
        fixed: [&'static str; F],
        mut varying: [&str; V],
        new: impl FnOnce() -> T,
    ) -> &mut T {
        let hasher = &self.hasher;
        let mut hash = hasher.hash_one((fixed, varying));
        if self.series.len() >= self.limit
            && self.series.find(hash, |series| is(series, fixed, varying)).is_none()
        {
            varying = [OTHER; V];
            hash = hasher.hash_one((fixed, varying));
        }
        let same = |series: &Series<F, V, T>| is(series, fixed, varying);
        let rehash = |series: &Series<F, V, T>| {
            hasher.hash_one((series.fixed, series.varying.each_ref().map(|label| &**label)))
        };
        let entry = self.series.entry(hash, same, rehash);
        let series = || Series { fixed, varying: varying.map(Box::from), value: new() };
        &mut entry.or_insert_with(series).into_mut().value
    }

    /// All series, in the order of their labels.
    fn sorted(&self) -> Vec<&Series<F, V, T>> {
        let mut all: Vec<_> = self.series.iter().collect();
        all.sort_unstable_by(|one, other| {
            (&one.fixed, &one.varying).cmp(&(&other.fixed, &other.varying))
        });
        all
    }
}

fn is<const F: usize, const V: usize, T>(
    series: &Series<F, V, T>,
    fixed: [&str; F],
    varying: [&str; V],
) -> bool {
    series.fixed == fixed && series.varying.iter().zip(varying).all(|(one, other)| **one == *other)
}

/// Counts and latencies of transactions, counts of messages and connections.
pub struct TransactionMetrics {
    transactions: Family<3, 3, u64>,
    durations: Family<1, 1, Histogram>,
    messages: Family<2, 0, u64>,
    connections: Family<3, 1, u64>,
    handshakes: Family<2, 1, Histogram>,
}

impl Default for TransactionMetrics {
    fn default() -> Self {
        Self {
            transactions: Family::new(SERIES),
            durations: Family::new(HISTOGRAMS),
            messages: Family::new(SERIES),
            connections: Family::new(SERIES),
            handshakes: Family::new(HISTOGRAMS),
        }
    }
}

impl TransactionMetrics {
    /// Counts a transaction.
    pub fn transaction(&mut self, seen: &Seen<'_>) {
        let fixed = [seen.vantage, seen.transport, seen.status];
        let varying = [seen.resolver, &*seen.qtype, &*seen.rcode];
        *self.transactions.at(fixed, varying, || 0) += 1;
        let Some(latency) = seen.latency_seconds else { return };
        let new = || Histogram::new(BOUNDS);
        self.durations.at([seen.vantage], [seen.resolver], new).observe(latency);
    }

    /// Counts a message: `qr` is query or response.
    pub fn message(&mut self, qr: &'static str, transport: &'static str) {
        *self.messages.at([qr, transport], [], || 0) += 1;
    }

    /// Counts a connection that is over, or not at the capture's end.
    pub fn connection(&mut self, report: &Report<'_>, resolver: &str) {
        let connection = report.connection;
        let (vantage, protocol) = (connection.vantage.name(), connection.protocol.name());
        *self.connections.at([vantage, protocol, report.status.name()], [resolver], || 0) += 1;
        let Some(handshake) = connection.handshake.duration() else { return };
        let new = || Histogram::new(BOUNDS);
        self.handshakes.at([vantage, protocol], [resolver], new).observe(handshake.as_secs_f64());
    }

    /// Writes the families of connections; where there are none, there is nothing to say.
    fn write_connections(&self, page: &mut Page) {
        const CONNECTIONS: &str = "dns_connections_total";
        const HANDSHAKE: &str = "dns_connection_handshake_seconds";
        if self.connections.series.is_empty() {
            return;
        }
        page.family(CONNECTIONS);
        for series in self.connections.sorted() {
            let [vantage, protocol, status] = series.fixed;
            let labels: Labels<'_> = &[
                ("vantage", vantage),
                ("protocol", protocol),
                ("resolver", &series.varying[0]),
                ("status", status),
            ];
            page.count(CONNECTIONS, labels, series.value);
        }
        page.family(HANDSHAKE);
        for series in self.handshakes.sorted() {
            let [vantage, protocol] = series.fixed;
            let labels: Labels<'_> =
                &[("vantage", vantage), ("protocol", protocol), ("resolver", &series.varying[0])];
            page.histogram(HANDSHAKE, labels, &series.value);
        }
    }

    /// Writes all families.
    pub(super) fn write(&self, page: &mut Page) {
        const TRANSACTIONS: &str = "dns_transactions_total";
        const DURATION: &str = "dns_transaction_duration_seconds";
        const MESSAGES: &str = "dns_messages_total";
        page.family(TRANSACTIONS);
        for series in self.transactions.sorted() {
            let [vantage, transport, status] = series.fixed;
            let [resolver, qtype, rcode] = series.varying.each_ref().map(|label| &**label);
            let labels: Labels<'_> = &[
                ("vantage", vantage),
                ("transport", transport),
                ("resolver", resolver),
                ("qtype", qtype),
                ("status", status),
                ("rcode", rcode),
            ];
            page.count(TRANSACTIONS, labels, series.value);
        }
        page.family(DURATION);
        for series in self.durations.sorted() {
            let labels = &[("vantage", series.fixed[0]), ("resolver", &*series.varying[0])];
            page.histogram(DURATION, labels, &series.value);
        }
        page.family(MESSAGES);
        for series in self.messages.sorted() {
            let [qr, transport] = series.fixed;
            page.count(MESSAGES, &[("qr", qr), ("transport", transport)], series.value);
        }
        self.write_connections(page);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen<'a>(resolver: &'a str, status: &'static str) -> Seen<'a> {
        Seen {
            vantage: "client",
            transport: "udp",
            resolver,
            qtype: "A".into(),
            status,
            rcode: "NOERROR".into(),
            latency_seconds: Some(0.001),
        }
    }

    #[test]
    fn counts_by_label() {
        let mut metrics = TransactionMetrics::default();
        metrics.transaction(&seen("r", "answered"));
        metrics.transaction(&seen("r", "answered"));
        metrics.transaction(&Seen {
            latency_seconds: None,
            rcode: "".into(),
            ..seen("r", "timeout")
        });
        metrics.message("query", "udp");
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
            metrics.transaction(&seen(&format!("r{number}"), "answered"));
            metrics.transaction(&seen(&format!("r{number}"), "timeout"));
        }
        assert_eq!(metrics.transactions.series.len(), SERIES + 2);
        assert_eq!(metrics.durations.series.len(), HISTOGRAMS + 1);
        let total: u64 = metrics.transactions.series.iter().map(|series| series.value).sum();
        assert_eq!(total, 10_000);
        let others = metrics.transactions.sorted();
        let others: Vec<u64> = others
            .iter()
            .filter(|series| *series.varying[0] == *OTHER)
            .map(|series| series.value)
            .collect();
        assert_eq!(others, [4500, 4500]);
    }
}
