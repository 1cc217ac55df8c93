//! What windows want to know of a transaction, and what is computed of it once for all groups.

use super::bounds::{ENTROPY, LABEL_LENGTHS, bucket};
use super::sketch::Hashed;
use crate::pair::{Status, Vantage};
use crate::time::Timestamp;
use std::net::IpAddr;

/// A transaction as the windows see it. Fields are named as in `dns.transaction/1`.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is counted for itself")]
pub struct Event<'a> {
    /// The record's `ts`.
    pub ts: Timestamp,
    /// The side that it was seen from.
    pub vantage: Vantage,
    /// `udp` or `tcp`.
    pub transport: &'static str,
    /// Who asked.
    pub client: IpAddr,
    /// The resolver's configured name, else its address.
    pub resolver: &'a str,
    /// What was asked, as records write it.
    pub qname: Option<&'a str>,
    /// The registrable domain.
    pub zone: Option<&'a str>,
    /// The number of the type asked for.
    pub qtype: Option<u16>,
    /// How it ended.
    pub status: Status,
    /// The response's extended code.
    pub rcode: Option<u16>,
    /// From query to response, in milliseconds.
    pub latency_ms: Option<f64>,
    /// Times the query was sent again.
    pub retries: u32,
    /// Whether the response has the TC bit.
    pub truncated: bool,
    /// Whether it is TCP's answer to a truncated one over UDP.
    pub tcp_fallback: bool,
    /// Whether the query asks for DNSSEC records.
    pub dnssec_ok: bool,
    /// Whether the query tells a client subnet.
    pub client_subnet: bool,
    /// Whether a resolver answered from its cache, where that can be told.
    pub cache_hit: Option<bool>,
    /// Whether it is a duplicate that answers differently.
    pub conflict: bool,
    /// Octets of the query.
    pub query_bytes: Option<u32>,
    /// Octets of the response.
    pub response_bytes: Option<u32>,
    /// Smallest TTL of the response, in seconds.
    pub min_ttl_seconds: Option<u32>,
    /// The name of the process.
    pub process: Option<&'a str>,
    /// `namespace/pod`, else the container's id.
    pub pod: Option<&'a str>,
}

/// What is the same for every group that an event belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// The hash of the name asked for.
    pub qname: Option<Hashed>,
    /// The hash of the client's address.
    pub client: Hashed,
    /// The hash of the resolver's name.
    pub resolver: Hashed,
    /// The bucket of the name's entropy.
    pub entropy: Option<usize>,
    /// Labels by bucket of length.
    pub labels: [u8; LABEL_LENGTHS.len() + 1],
}

impl Measured {
    /// Measures an event.
    #[must_use]
    pub fn of(event: &Event<'_>) -> Self {
        let mut labels = [0; LABEL_LENGTHS.len() + 1];
        let name = event.qname.filter(|name| *name != ".");
        for length in name.into_iter().flat_map(label_lengths) {
            labels[bucket(LABEL_LENGTHS, length)] += 1;
        }
        Self {
            qname: event.qname.map(|name| Hashed::of(name.as_bytes())),
            client: match event.client {
                IpAddr::V4(address) => Hashed::of(&address.octets()),
                IpAddr::V6(address) => Hashed::of(&address.octets()),
            },
            resolver: Hashed::of(event.resolver.as_bytes()),
            entropy: name.map(|name| bucket(ENTROPY, entropy(name))),
            labels,
        }
    }
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

/// Shannon's entropy of a name's octets, dots aside, in bits per octet.
#[must_use]
pub fn entropy(name: &str) -> f64 {
    let mut counts = [0_u16; 256];
    let mut total = 0_u16;
    for octet in name.bytes().filter(|octet| *octet != b'.') {
        counts[usize::from(octet)] += 1;
        total = total.saturating_add(1);
    }
    let all = f64::from(total);
    let share = |count: &u16| {
        let share = f64::from(*count) / all;
        -share * share.log2()
    };
    counts.iter().filter(|count| **count > 0).map(share).sum()
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
    }

    #[test]
    fn labels_end_at_dots_that_are_not_escaped() {
        let lengths: Vec<_> = label_lengths(r"a\.b.example.com").collect();
        assert_eq!(lengths, [4.0, 7.0, 3.0]);
    }
}
