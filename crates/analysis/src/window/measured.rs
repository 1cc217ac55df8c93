//! Values of a transaction that are counted, computed once for all its groups.

use super::bounds::{ENTROPY, LABEL_LENGTHS, MIN_TTL, bucket};
use super::direct_mapped_cache::DirectMappedCache;
use crate::view::TransactionView;
use dnscribe_dns::rcode::{NOERROR, NXDOMAIN};
use dnscribe_sketch::{Binned, Hashed, hash_of};
use dnscribe_transaction::correlate::AnswerSource;
use dnscribe_transaction::pair::Status;
use std::net::IpAddr;
use std::sync::LazyLock;

/// Values of a transaction that are the same for every group. Hashes of absent values are 0.
#[expect(clippy::struct_excessive_bools, reason = "facts that have nothing to do with each other")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    /// Hashes for the distinct-count sketches.
    pub qname: Option<Hashed>,
    pub client: Hashed,
    pub resolver: Hashed,
    pub qname_hash: u64,
    pub zone_hash: u64,
    pub client_hash: u64,
    pub resolver_hash: u64,
    pub process_hash: u64,
    pub pod_hash: u64,
    pub sample_ratio: f64,
    pub status: Status,
    pub rcode: Option<u16>,
    pub qtype: Option<u16>,
    pub cache: Option<AnswerSource>,
    pub retries: u32,
    pub query_bytes: u32,
    pub response_bytes: u64,
    /// Whether the query was answered with NOERROR or NXDOMAIN.
    pub success: bool,
    /// See [`TransactionView::is_lost_here`].
    pub lost_here: bool,
    pub truncated: bool,
    pub tcp_fallback: bool,
    /// Whether the query has the DO bit; false without a query, as `client_subnet`.
    pub dnssec_ok: bool,
    pub client_subnet: bool,
    pub conflict: bool,
    /// Whether it is counted by resolver and zone, too.
    pub pairs: bool,
    /// Latency, if answered.
    pub latency: Option<Binned>,
    /// Bucket of the name's entropy.
    pub entropy: Option<u8>,
    /// Number of labels by bucket of length.
    pub labels: [u8; LABEL_LENGTHS.len() + 1],
    /// Bucket of the smallest TTL.
    pub min_ttl: Option<u8>,
}

/// Measures transactions, and caches what it computed of names and addresses.
#[derive(Debug, Default)]
pub(super) struct Measurer {
    names: DirectMappedCache<u64, NameFeatures, NAME_SLOTS>,
    hashes: DirectMappedCache<u64, Hashed, HASH_SLOTS>,
    /// Whether transactions are counted by resolver and zone, too.
    pub(super) pairs: bool,
}

/// Slots of the cache of names.
const NAME_SLOTS: usize = 1 << 11;
/// Slots of the cache of addresses and resolver names.
const HASH_SLOTS: usize = 1 << 9;

/// Features of a name.
#[derive(Clone, Copy, Debug)]
struct NameFeatures {
    hashed: Hashed,
    /// As in [`Measured`], like `labels`.
    entropy: Option<u8>,
    labels: [u8; LABEL_LENGTHS.len() + 1],
}

impl Measurer {
    /// Maximum memory in bytes.
    pub(super) const MAX_BYTES: usize = size_of::<Self>()
        + DirectMappedCache::<u64, NameFeatures, NAME_SLOTS>::MAX_HEAP_BYTES
        + DirectMappedCache::<u64, Hashed, HASH_SLOTS>::MAX_HEAP_BYTES;

    /// Memory in use, in bytes.
    pub(super) const fn bytes(&self) -> usize {
        size_of::<Self>() + self.names.heap_bytes() + self.hashes.heap_bytes()
    }

    pub(super) fn measure(&mut self, observation: &TransactionView<'_>) -> Measured {
        let hash = |text: Option<&str>| text.map_or(0, |text| hash_of(text.as_bytes()));
        let qname_hash = hash(observation.qname);
        let features = observation
            .qname
            .map(|name| self.names.get(qname_hash, qname_hash, || NameFeatures::of(name)));
        let (client, client_hash) = match observation.client.ip() {
            IpAddr::V4(address) => self.hash_both(&address.octets()),
            IpAddr::V6(address) => self.hash_both(&address.octets()),
        };
        let (resolver, resolver_hash) = self.hash_both(observation.resolver.as_bytes());
        let answered = observation.status == Status::Answered;
        // What a second response repeats of the query counts once.
        let is_query = observation.is_query();
        Measured {
            qname: features.map(|features| features.hashed),
            client,
            resolver,
            qname_hash,
            zone_hash: hash(observation.zone),
            client_hash,
            resolver_hash,
            process_hash: hash(observation.process.map(|process| process.comm)),
            pod_hash: hash(observation.pod),
            sample_ratio: observation.sample_ratio,
            status: observation.status,
            rcode: observation.rcode,
            qtype: observation.qtype,
            cache: observation.cache,
            retries: if is_query { observation.retries } else { 0 },
            query_bytes: observation.query_bytes.filter(|_| is_query).unwrap_or(0),
            response_bytes: observation.response_bytes.unwrap_or(0),
            truncated: observation.truncated(),
            tcp_fallback: observation.tcp_fallback_of.is_some(),
            dnssec_ok: is_query && observation.dnssec_ok,
            client_subnet: is_query && observation.client_subnet,
            conflict: observation.conflict,
            pairs: self.pairs,
            lost_here: observation.is_lost_here(),
            success: answered && matches!(observation.rcode, Some(NOERROR | NXDOMAIN)),
            latency: observation.latency_ms.filter(|_| answered).map(Binned::new),
            entropy: features.and_then(|features| features.entropy),
            labels: features.map(|features| features.labels).unwrap_or_default(),
            min_ttl: observation.min_ttl_seconds.map(|ttl| bucket_of(MIN_TTL, f64::from(ttl))),
        }
    }

    fn hash_both(&mut self, bytes: &[u8]) -> (Hashed, u64) {
        let hash = hash_of(bytes);
        (self.hashes.get(hash, hash, || Hashed::of(bytes)), hash)
    }
}

impl NameFeatures {
    fn of(name: &str) -> Self {
        let hashed = Hashed::of(name.as_bytes());
        let mut labels = [0; LABEL_LENGTHS.len() + 1];
        if name == "." {
            return Self { hashed, entropy: None, labels };
        }
        for length in label_lengths(name) {
            labels[bucket(LABEL_LENGTHS, length)] += 1;
        }
        // Tolerance: the sum depends on the order of its terms.
        let entropy = Some(bucket_of(ENTROPY, entropy(name) - 1e-9));
        Self { hashed, entropy, labels }
    }
}

/// Returns the bucket of a value.
fn bucket_of(bounds: &[f64], value: f64) -> u8 {
    u8::try_from(bucket(bounds, value)).unwrap_or(0)
}

/// Returns the lengths of the labels in bytes as written: an escaped byte counts as its escape.
fn label_lengths(name: &str) -> impl Iterator<Item = f64> + '_ {
    let mut escaped = false;
    name.split(move |letter| {
        let ends = letter == '.' && !escaped;
        escaped = letter == '\\' && !escaped;
        ends
    })
    .map(|label| f64::from(u16::try_from(label.len()).unwrap_or(u16::MAX)))
}

/// `n * log2(n)` for small numbers, more than a name has bytes.
static N_LOG_N: LazyLock<Box<[f64]>> = LazyLock::new(|| {
    let of = |n: u16| if n == 0 { 0.0 } else { f64::from(n) * f64::from(n).log2() };
    (0..=1024).map(of).collect()
});

/// Returns the Shannon entropy of a name's bytes without dots, in bits per byte. Only the first
/// 1,024 bytes count.
fn entropy(name: &str) -> f64 {
    // The sum over all bytes of -p log p, with p = n / all, is log all - (the sum of n log n) /
    // all.
    let table = &**N_LOG_N;
    let mut counts = [0_u16; 256];
    let (mut all, mut sum) = (0_u16, 0.0);
    for byte in name.bytes().filter(|byte| *byte != b'.').take(table.len() - 1) {
        let count = &mut counts[usize::from(byte)];
        sum += table[usize::from(*count) + 1] - table[usize::from(*count)];
        *count += 1;
        all += 1;
    }
    if all == 0 {
        return 0.0;
    }
    ((table[usize::from(all)] - sum) / f64::from(all)).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_matches_shannon() {
        assert!(entropy("aaaa").abs() < 1e-9);
        assert!((entropy("ab.ab") - 1.0).abs() < 1e-9);
        assert!((entropy("abcdefgh") - 3.0).abs() < 1e-9);
        assert!(entropy("").abs() < 1e-9);
        assert!(entropy(&"ab".repeat(5000)) - 1.0 < 1e-9);
    }

    #[test]
    fn escaped_dot_does_not_end_label() {
        let lengths: Vec<_> = label_lengths(r"a\.b.example.com").collect();
        assert_eq!(lengths, [4.0, 7.0, 3.0]);
    }
}
