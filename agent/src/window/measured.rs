//! What is counted of a transaction, found out once for all groups.

use super::bounds::{ENTROPY, LABEL_LENGTHS, MIN_TTL, bucket};
use super::memory::Memory;
use super::sketch::{Binned, Hashed, hash_of};
use crate::join::Cache;
use crate::observation::Observation;
use crate::pair::Status;
use std::net::IpAddr;
use std::sync::LazyLock;

/// The response code of a name that is there.
const NOERROR: u16 = 0;
/// The response code of a name that is known not to be there.
const NXDOMAIN: u16 = 3;

/// What is the same for every group that a transaction belongs to. Hashes of what is absent are 0.
#[expect(clippy::struct_excessive_bools, reason = "facts that have nothing to do with each other")]
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// The hash of the name asked for, to tell how many there are.
    pub qname: Option<Hashed>,
    /// The hash of the client's address, to tell how many there are.
    pub client: Hashed,
    /// The hash of the resolver's name, to tell how many there are.
    pub resolver: Hashed,
    /// The hash of the name asked for.
    pub qname_hash: u64,
    /// The hash of the registrable domain.
    pub zone_hash: u64,
    /// The hash of the client's address.
    pub client_hash: u64,
    /// The hash of the resolver's name.
    pub resolver_hash: u64,
    /// The hash of the process's name.
    pub process_hash: u64,
    /// The hash of the pod.
    pub pod_hash: u64,
    /// The share of transactions like it that were told.
    pub sample_ratio: f64,
    /// How it ended.
    pub status: Status,
    /// The response's extended code.
    pub rcode: Option<u16>,
    /// The number of the type asked for.
    pub qtype: Option<u16>,
    /// Where a resolver had the answer from.
    pub cache: Option<Cache>,
    /// Times the query was sent again.
    pub retries: u32,
    /// Octets of the query.
    pub query_bytes: u32,
    /// Octets of the response.
    pub response_bytes: u64,
    /// Whether it is a query that was answered with NOERROR or NXDOMAIN.
    pub success: bool,
    /// Whether the response has the TC bit.
    pub truncated: bool,
    /// Whether it is the answer over TCP to what was truncated over UDP.
    pub tcp_fallback: bool,
    /// Whether it is a query that asks for DNSSEC records (DO).
    pub dnssec_ok: bool,
    /// Whether it is a query with a client subnet.
    pub client_subnet: bool,
    /// Whether it is a duplicate that answers differently.
    pub conflict: bool,
    /// The latency, of an answered query.
    pub latency: Option<Binned>,
    /// The bucket of the name's entropy.
    pub entropy: Option<u8>,
    /// Labels by bucket of length.
    pub labels: [u8; LABEL_LENGTHS.len() + 1],
    /// The bucket of the smallest TTL.
    pub min_ttl: Option<u8>,
}

/// Measures transactions, and remembers what it found out of names and addresses that may come again.
#[derive(Debug, Default)]
pub struct Measurer {
    names: Memory<Looks, NAMES>,
    hashes: Memory<Hashed, HASHES>,
}

/// Names remembered; a newer one takes the place of an older one.
const NAMES: usize = 1 << 11;
/// The same of addresses.
const HASHES: usize = 1 << 9;

/// What follows from a name alone.
#[derive(Clone, Copy, Debug)]
struct Looks {
    hashed: Hashed,
    /// Both as in [`Measured`].
    entropy: Option<u8>,
    labels: [u8; LABEL_LENGTHS.len() + 1],
}

impl Measurer {
    /// Octets that it takes at most.
    pub const MAX_BYTES: usize = size_of::<Self>()
        + Memory::<Looks, NAMES>::MAX_HEAP_BYTES
        + Memory::<Hashed, HASHES>::MAX_HEAP_BYTES;

    /// Octets that it takes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        size_of::<Self>() + self.names.heap_bytes() + self.hashes.heap_bytes()
    }

    /// Measures an observation.
    #[must_use]
    pub fn measure(&mut self, observation: &Observation<'_>) -> Measured {
        let hash = |text: Option<&str>| text.map_or(0, |text| hash_of(text.as_bytes()));
        let qname_hash = hash(observation.qname);
        let looks = observation.qname.map(|name| self.names.get(qname_hash, || Looks::of(name)));
        let (client, client_hash) = match observation.client.ip() {
            IpAddr::V4(address) => self.both_hashes(&address.octets()),
            IpAddr::V6(address) => self.both_hashes(&address.octets()),
        };
        let (resolver, resolver_hash) = self.both_hashes(observation.resolver.as_bytes());
        let answered = observation.status == Status::Answered;
        Measured {
            qname: looks.map(|looks| looks.hashed),
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
            retries: observation.retries,
            query_bytes: observation.query_bytes.unwrap_or(0),
            response_bytes: observation.response_bytes.unwrap_or(0),
            truncated: observation.truncated(),
            tcp_fallback: observation.tcp_fallback_of.is_some(),
            dnssec_ok: observation.is_query() && observation.dnssec_ok,
            client_subnet: observation.is_query() && observation.client_subnet,
            conflict: observation.conflict,
            success: answered && matches!(observation.rcode, Some(NOERROR | NXDOMAIN)),
            latency: observation.latency_ms.filter(|_| answered).map(Binned::of),
            entropy: looks.and_then(|looks| looks.entropy),
            labels: looks.map(|looks| looks.labels).unwrap_or_default(),
            min_ttl: observation.min_ttl_seconds.map(|ttl| place(MIN_TTL, f64::from(ttl))),
        }
    }

    fn both_hashes(&mut self, octets: &[u8]) -> (Hashed, u64) {
        let hash = hash_of(octets);
        (self.hashes.get(hash, || Hashed::of(octets)), hash)
    }
}

impl Looks {
    fn of(name: &str) -> Self {
        let hashed = Hashed::of(name.as_bytes());
        let mut labels = [0; LABEL_LENGTHS.len() + 1];
        if name == "." {
            return Self { hashed, entropy: None, labels };
        }
        for length in label_lengths(name) {
            labels[bucket(LABEL_LENGTHS, length)] += 1;
        }
        // Whoever computes a bound in another order gets it with another error.
        let entropy = Some(place(ENTROPY, entropy(name) - 1e-9));
        Self { hashed, entropy, labels }
    }
}

/// The bucket of a value, of which there are some ten.
fn place(bounds: &[f64], value: f64) -> u8 {
    u8::try_from(bucket(bounds, value)).unwrap_or(0)
}

/// Lengths of the labels in octets as they are written: an escaped octet counts as its escape.
fn label_lengths(name: &str) -> impl Iterator<Item = f64> + '_ {
    let mut escaped = false;
    name.split(move |letter| {
        let ends = letter == '.' && !escaped;
        escaped = letter == '\\' && !escaped;
        ends
    })
    .map(|label| f64::from(u16::try_from(label.len()).unwrap_or(u16::MAX)))
}

/// `n * log2(n)` of the first numbers: more than a name has octets.
static N_LOG_N: LazyLock<Box<[f64]>> = LazyLock::new(|| {
    let of = |n: u16| if n == 0 { 0.0 } else { f64::from(n) * f64::from(n).log2() };
    (0..=1024).map(of).collect()
});

/// Shannon's entropy of a name's octets, dots aside, in bits per octet. What is behind the first
/// 1,024 octets does not count.
#[must_use]
pub fn entropy(name: &str) -> f64 {
    // The sum over all octets of -p log p, with p = n / all, is log all - (the sum of n log n) / all.
    let table = &**N_LOG_N;
    let mut counts = [0_u16; 256];
    let (mut all, mut sum) = (0_u16, 0.0);
    for octet in name.bytes().filter(|octet| *octet != b'.').take(table.len() - 1) {
        let count = &mut counts[usize::from(octet)];
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
    fn entropy_is_shannons() {
        assert!(entropy("aaaa").abs() < 1e-9);
        assert!((entropy("ab.ab") - 1.0).abs() < 1e-9);
        assert!((entropy("abcdefgh") - 3.0).abs() < 1e-9);
        assert!(entropy("").abs() < 1e-9);
        assert!(entropy(&"ab".repeat(5000)) - 1.0 < 1e-9);
    }

    #[test]
    fn labels_end_at_dots_that_are_not_escaped() {
        let lengths: Vec<_> = label_lengths(r"a\.b.example.com").collect();
        assert_eq!(lengths, [4.0, 7.0, 3.0]);
    }
}
