//! Counts and latencies of transactions and connections by label, in bounded memory.

use dnscribe_admin::histogram::Histogram;
use dnscribe_admin::page::{Labels, Page};
use dnscribe_dns::{rcode_name, type_name};
use dnscribe_transaction::encrypted::ConnectionReport;
use dnscribe_transaction::packet::Transport;
use dnscribe_transaction::pair::{Status, Vantage};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

/// Maximum number of label sets of a counter; further ones are counted as `other`.
const MAX_SERIES: usize = 1000;

/// Maximum number of label sets of a histogram, each with a sample per bucket.
const MAX_HISTOGRAMS: usize = 100;

/// Label value for everything beyond the maximum.
pub(super) const OTHER: &str = "other";

/// Upper bounds of the latency buckets in seconds: from a local cache to a query timeout.
pub(super) const BOUNDS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Maximum number of resolver names; further ones are `other`. More than there are series.
const MAX_NAMES: usize = 1 << 14;

/// A transaction as the metrics count it. Labels stay numbers until the page is written.
#[derive(Clone, Copy, Debug)]
pub struct RecentlyAdded {
    /// Side from which it was seen.
    pub vantage: Vantage,
    /// UDP or TCP.
    pub transport: Transport,
    /// The resolver.
    pub resolver: ResolverLabel,
    /// Query type, if there was a question.
    pub qtype: Option<u16>,
    /// Outcome.
    pub status: Status,
    /// Extended response code, if there was a response.
    pub rcode: Option<u16>,
    /// Time from query to response in seconds, if both were seen.
    pub latency_seconds: Option<f64>,
}

/// A resolver name, numbered by [`TransactionMetrics::resolver`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResolverLabel(u32);

/// Numbers resolver names.
#[derive(Default)]
struct ResolverNames {
    numbers: HashMap<Box<str>, u32, RandomState>,
    names: Vec<Box<str>>,
}

impl ResolverNames {
    fn number(&mut self, name: &str) -> ResolverLabel {
        if let Some(number) = self.numbers.get(name) {
            return ResolverLabel(*number);
        }
        if self.names.len() >= MAX_NAMES {
            return ResolverLabel(u32::MAX);
        }
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(name.into());
        self.numbers.insert(name.into(), number);
        ResolverLabel(number)
    }

    fn name(&self, label: ResolverLabel) -> &str {
        let index = usize::try_from(label.0).ok();
        index.and_then(|index| self.names.get(index)).map_or(OTHER, |name| name)
    }
}

/// The series of one metric by labels: fixed labels, which are few, and varying labels, which
/// traffic chooses. `None` in place of the varying labels is the series `other`.
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

    /// Returns the series of these labels, or the series `other` with these fixed labels if there
    /// are too many. The limit does not apply to the few series `other`.
    fn get_or_insert(&mut self, fixed: F, varying: V, new: impl FnOnce() -> T) -> &mut T {
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

    /// Returns all series with their labels as text, sorted by labels.
    fn sorted<L: Ord>(&self, labels: impl Fn(F, Option<V>) -> L) -> Vec<(L, &T)> {
        let shown = |series: &'_ Series<F, V, T>| labels(series.key.0, series.key.1);
        let mut all: Vec<_> = self.series.iter().map(|one| (shown(one), &one.value)).collect();
        all.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        all
    }
}

/// Metrics of transactions, messages and connections.
pub struct TransactionMetrics {
    names: ResolverNames,
    transactions: Family<(Vantage, Transport, Status), Varying, u64>,
    durations: Family<Vantage, ResolverLabel, Histogram>,
    /// Messages by transport and kind (query, response).
    messages: [[u64; 2]; Transport::ALL.len()],
    /// Exported records that leave out parts of their messages.
    pub shortened: ShortenedRecords,
    connections: Family<[&'static str; 3], ResolverLabel, u64>,
    handshakes: Family<[&'static str; 2], ResolverLabel, Histogram>,
}

/// Records that leave out parts of their messages, because they would be too large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShortenedRecords {
    /// Records of messages.
    pub messages: u64,
    /// Records of transactions.
    pub transactions: u64,
}

/// Resolver, query type and response code.
type Varying = (ResolverLabel, Option<u16>, Option<u16>);

impl Default for TransactionMetrics {
    fn default() -> Self {
        Self {
            names: ResolverNames::default(),
            transactions: Family::new(MAX_SERIES),
            durations: Family::new(MAX_HISTOGRAMS),
            messages: [[0; 2]; Transport::ALL.len()],
            shortened: ShortenedRecords::default(),
            connections: Family::new(MAX_SERIES),
            handshakes: Family::new(MAX_HISTOGRAMS),
        }
    }
}

impl TransactionMetrics {
    /// Returns the number of a resolver name, for [`RecentlyAdded`].
    pub fn resolver(&mut self, name: &str) -> ResolverLabel {
        self.names.number(name)
    }

    /// Counts a transaction.
    pub fn transaction(&mut self, seen: &RecentlyAdded) {
        let fixed = (seen.vantage, seen.transport, seen.status);
        let varying = (seen.resolver, seen.qtype, seen.rcode);
        *self.transactions.get_or_insert(fixed, varying, || 0) += 1;
        let Some(latency) = seen.latency_seconds else { return };
        let new = || Histogram::new(BOUNDS);
        self.durations.get_or_insert(seen.vantage, seen.resolver, new).observe(latency);
    }

    /// Counts a message.
    pub const fn message(&mut self, response: bool, transport: Transport) {
        self.messages[transport as usize][response as usize] += 1;
    }

    /// Counts a connection that ended, or that was open at the end of the capture.
    pub fn connection(&mut self, report: &ConnectionReport<'_>, resolver: ResolverLabel) {
        let connection = report.connection;
        let (vantage, protocol) = (connection.vantage.name(), connection.protocol.name());
        *self.connections.get_or_insert(
            [vantage, protocol, report.status.name()],
            resolver,
            || 0,
        ) += 1;
        let Some(handshake) = connection.handshake.duration() else { return };
        let new = || Histogram::new(BOUNDS);
        self.handshakes
            .get_or_insert([vantage, protocol], resolver, new)
            .observe(handshake.as_secs_f64());
    }

    /// Returns a resolver name, or `other`.
    fn name(&self, resolver: Option<ResolverLabel>) -> &str {
        resolver.map_or(OTHER, |resolver| self.names.name(resolver))
    }

    /// Writes the families of connections, if there was any connection.
    fn write_connections(&self, page: &mut Page) {
        if self.connections.series.is_empty() {
            return;
        }
        let mut family = page.family("dns_connections_total");
        for ((fixed, resolver), count) in self.connections.sorted(|f, v| (f, self.name(v))) {
            let [vantage, protocol, status] = fixed;
            let labels: Labels<'_> = &[
                ("vantage", vantage),
                ("protocol", protocol),
                ("resolver", resolver),
                ("status", status),
            ];
            family.count(labels, *count);
        }
        let mut family = page.family("dns_connection_handshake_seconds");
        for ((fixed, resolver), histogram) in self.handshakes.sorted(|f, v| (f, self.name(v))) {
            let [vantage, protocol] = fixed;
            let labels: Labels<'_> =
                &[("vantage", vantage), ("protocol", protocol), ("resolver", resolver)];
            family.histogram(labels, histogram);
        }
    }

    /// Writes all families.
    pub(super) fn write(&self, page: &mut Page) {
        self.write_transactions(page);
        let mut family = page.family("dns_transaction_duration_seconds");
        let durations = self.durations.sorted(|vantage, name| (vantage.name(), self.name(name)));
        for ((vantage, resolver), histogram) in durations {
            family.histogram(&[("vantage", vantage), ("resolver", resolver)], histogram);
        }
        let mut family = page.family("dns_messages_total");
        for (response, qr) in ["query", "response"].into_iter().enumerate() {
            for transport in Transport::ALL {
                let count = self.messages[transport as usize][response];
                if count > 0 {
                    let labels = &[("qr", qr), ("transport", transport.name())];
                    family.count(labels, count);
                }
            }
        }
        let ShortenedRecords { messages, transactions } = self.shortened;
        let shortened = [("messages", messages), ("transactions", transactions)];
        page.by_label("dnscribe_records_shortened_total", "stream", shortened);
        self.write_connections(page);
    }

    fn write_transactions(&self, page: &mut Page) {
        let mut family = page.family("dns_transactions_total");
        let series = self.transactions.sorted(|(vantage, transport, status), varying| {
            let [qtype, rcode] = varying.map_or([const { Cow::Borrowed(OTHER) }; 2], mnemonics);
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
            family.count(labels, *count);
        }
    }
}

/// Returns type and code as mnemonics; empty without one.
fn mnemonics((_, qtype, rcode): Varying) -> [Cow<'static, str>; 2] {
    [qtype.map_or_else(Cow::default, type_name), rcode.map_or_else(Cow::default, rcode_name)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(resolver: ResolverLabel, status: Status) -> RecentlyAdded {
        RecentlyAdded {
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
        metrics.transaction(&sample(resolver, Status::Answered));
        metrics.transaction(&sample(resolver, Status::Answered));
        let silent = sample(resolver, Status::Timeout);
        metrics.transaction(&RecentlyAdded { latency_seconds: None, rcode: None, ..silent });
        metrics.message(false, Transport::Udp);
        metrics.shortened.messages = 7;
        let mut page = Page::new(crate::metrics::dictionary::metric);
        metrics.write(&mut page);
        let text = page.into_text();
        for line in [
            "dns_transactions_total{vantage=\"client\",transport=\"udp\",resolver=\"r\",qtype=\"A\",status=\"answered\",rcode=\"NOERROR\"} 2",
            "dns_transactions_total{vantage=\"client\",transport=\"udp\",resolver=\"r\",qtype=\"A\",status=\"timeout\",rcode=\"\"} 1",
            "dns_transaction_duration_seconds_bucket{vantage=\"client\",resolver=\"r\",le=\"0.001\"} 2",
            "dns_transaction_duration_seconds_count{vantage=\"client\",resolver=\"r\"} 2",
            "dns_messages_total{qr=\"query\",transport=\"udp\"} 1",
            "dnscribe_records_shortened_total{stream=\"messages\"} 7",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
    }

    #[test]
    fn counts_overflow_as_other() {
        let mut metrics = TransactionMetrics::default();
        for number in 0..5000 {
            let resolver = metrics.resolver(&format!("r{number}"));
            metrics.transaction(&sample(resolver, Status::Answered));
            metrics.transaction(&sample(resolver, Status::Timeout));
        }
        assert_eq!(metrics.transactions.series.len(), MAX_SERIES + 2);
        assert_eq!(metrics.durations.series.len(), MAX_HISTOGRAMS + 1);
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
            (0..2 * MAX_NAMES).map(|number| metrics.resolver(&number.to_string())).collect();
        assert_eq!(metrics.names.names.len(), MAX_NAMES);
        assert_eq!(metrics.name(many.last().copied()), OTHER);
    }
}
