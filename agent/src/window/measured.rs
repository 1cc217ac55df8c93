//! What is computed of a transaction once for all groups.

use super::bounds::{ENTROPY, LABEL_LENGTHS, MIN_TTL, bucket};
use super::sketch::{Binned, Hashed, hash_of};
use crate::observation::Observation;
use crate::pair::Status;
use std::net::IpAddr;
use std::sync::LazyLock;

/// The response code of a name that is there.
const NOERROR: u16 = 0;
/// The response code of a name that is known not to be there.
const NXDOMAIN: u16 = 3;

/// What is the same for every group that a transaction belongs to. Hashes of what is absent are 0.
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
    /// Whether it is a query that was answered with NOERROR or NXDOMAIN.
    pub success: bool,
    /// The latency, of an answered query.
    pub latency: Option<Binned>,
    /// The bucket of the name's entropy.
    pub entropy: Option<usize>,
    /// Labels by bucket of length.
    pub labels: [u8; LABEL_LENGTHS.len() + 1],
    /// The bucket of the smallest TTL.
    pub min_ttl: Option<usize>,
}

impl Measured {
    /// Measures an observation.
    #[must_use]
    pub fn of(observation: &Observation<'_>) -> Self {
        let mut labels = [0; LABEL_LENGTHS.len() + 1];
        let name = observation.qname.filter(|name| *name != ".");
        for length in name.into_iter().flat_map(label_lengths) {
            labels[bucket(LABEL_LENGTHS, length)] += 1;
        }
        let hash = |text: Option<&str>| text.map_or(0, |text| hash_of(text.as_bytes()));
        let (client, client_hash) = match observation.client.ip() {
            IpAddr::V4(address) => both_hashes(&address.octets()),
            IpAddr::V6(address) => both_hashes(&address.octets()),
        };
        let answered = observation.status == Status::Answered;
        Self {
            qname: observation.qname.map(|name| Hashed::of(name.as_bytes())),
            client,
            resolver: Hashed::of(observation.resolver.as_bytes()),
            qname_hash: hash(observation.qname),
            zone_hash: hash(observation.zone),
            client_hash,
            resolver_hash: hash(Some(observation.resolver)),
            process_hash: hash(observation.process.map(|process| process.comm)),
            pod_hash: hash(observation.pod),
            success: answered && matches!(observation.rcode, Some(NOERROR | NXDOMAIN)),
            latency: observation.latency_ms.filter(|_| answered).map(Binned::of),
            // Whoever computes a bound in another order gets it with another error.
            entropy: name.map(|name| bucket(ENTROPY, entropy(name) - 1e-9)),
            labels,
            min_ttl: observation.min_ttl_seconds.map(|ttl| bucket(MIN_TTL, f64::from(ttl))),
        }
    }
}

fn both_hashes(octets: &[u8]) -> (Hashed, u64) {
    (Hashed::of(octets), hash_of(octets))
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
