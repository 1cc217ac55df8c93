//! What is computed of a transaction once for all groups.

use super::bounds::{ENTROPY, LABEL_LENGTHS, bucket};
use super::sketch::Hashed;
use crate::observation::Observation;
use std::net::IpAddr;

/// What is the same for every group that a transaction belongs to.
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
    /// Measures an observation.
    #[must_use]
    pub fn of(observation: &Observation<'_>) -> Self {
        let mut labels = [0; LABEL_LENGTHS.len() + 1];
        let name = observation.qname.filter(|name| *name != ".");
        for length in name.into_iter().flat_map(label_lengths) {
            labels[bucket(LABEL_LENGTHS, length)] += 1;
        }
        Self {
            qname: observation.qname.map(|name| Hashed::of(name.as_bytes())),
            client: match observation.client.ip() {
                IpAddr::V4(address) => Hashed::of(&address.octets()),
                IpAddr::V6(address) => Hashed::of(&address.octets()),
            },
            resolver: Hashed::of(observation.resolver.as_bytes()),
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
