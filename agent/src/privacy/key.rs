//! Keys and the pseudonyms that they make: HMAC-SHA-256 (RFC 2104), with another key in each period.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv6Addr};

/// The least that a key is made of, in octets: fewer could be guessed.
const LEAST: usize = 16;

/// Octets of a random key.
const RANDOM: usize = 32;

/// Keys of periods at hand: records come a little out of order, and windows late.
const AT_HAND: usize = 4;

/// What keys are made of. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyMaterial(Vec<u8>);

/// Why something is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// It can be guessed.
    #[error(
        "has {0} octets, and a key needs {LEAST} or more: make one with `openssl rand -hex 32`"
    )]
    Short(usize),
    /// The system gives no randomness.
    #[error("cannot be made: the system gives no random numbers")]
    NoRandomness,
}

impl KeyMaterial {
    /// Of the text of a file or variable.
    pub fn new(text: &str) -> Result<Self, BadKey> {
        let octets = text.trim().as_bytes();
        if octets.len() < LEAST {
            Err(BadKey::Short(octets.len()))
        } else {
            Ok(Self(octets.into()))
        }
    }

    /// Of chance.
    pub fn random() -> Result<Self, BadKey> {
        let mut octets = vec![0; RANDOM];
        openssl::rand::rand_bytes(&mut octets).map_err(|_| BadKey::NoRandomness)?;
        Ok(Self(octets))
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyMaterial(…)")
    }
}

/// What a pseudonym stands for: the same text as another kind of thing has another one.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Domain {
    Name = b'n',
    Address = b'a',
    Data = b'd',
    Process = b'p',
    Container = b'c',
    AlertId = b'i',
    Partition = b'k',
}

/// A key, and its name.
pub(super) struct Key {
    id: String,
    mac: Hmac<Sha256>,
}

impl Key {
    fn new(octets: &[u8]) -> Self {
        let mac = keyed(octets);
        let id = hex(&mac.clone().chain_update(b"id").finalize().into_bytes()[..4]);
        Self { id, mac }
    }

    /// What records call it: 8 hex digits, of which nobody learns the key.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The pseudonym of a text: 32 hex digits.
    pub(super) fn text(&self, domain: Domain, text: &str) -> String {
        hex(&self.digest(domain, text.as_bytes())[..16])
    }

    /// A longer one: 64 hex digits, as ids of containers have.
    pub(super) fn long_text(&self, domain: Domain, text: &str) -> String {
        hex(&self.digest(domain, text.as_bytes()))
    }

    /// The pseudonym of an address: one in `100::/64`, to which nothing is ever sent (RFC 6666), so that
    /// it is an address for whoever reads it and nobody's.
    pub(super) fn address(&self, address: IpAddr) -> IpAddr {
        let bits = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        };
        let digest = self.digest(Domain::Address, &bits.to_be_bytes());
        let low = digest.iter().take(8).fold(0, |low: u128, octet| low << 8 | u128::from(*octet));
        Ipv6Addr::from_bits(0x0100 << 112 | low).into()
    }

    fn digest(&self, domain: Domain, octets: &[u8]) -> [u8; 32] {
        let mac = self.mac.clone().chain_update([domain as u8]).chain_update(octets);
        mac.finalize().into_bytes().into()
    }
}

/// The keys of all periods.
pub(super) struct KeyRing {
    root: Hmac<Sha256>,
    /// Of what must not change with the period.
    steady: Key,
    period_nanos: u64,
    at_hand: VecDeque<(u64, Key)>,
}

impl KeyRing {
    /// Of this material, with another key after so many nanoseconds.
    pub(super) fn new(material: &KeyMaterial, period_nanos: u64) -> Self {
        let root = keyed(&material.0);
        let steady = Key::new(&root.clone().chain_update(b"steady").finalize().into_bytes());
        Self { root, steady, period_nanos: period_nanos.max(1), at_hand: VecDeque::new() }
    }

    /// The key of a moment, in nanoseconds since 1970, and the one that is always the same.
    pub(super) fn at(&mut self, nanos: u64) -> (&Key, &Key) {
        let period = nanos / self.period_nanos;
        let known = self.at_hand.iter().position(|(known, _)| *known == period);
        let place = known.unwrap_or_else(|| {
            if self.at_hand.len() >= AT_HAND {
                self.at_hand.pop_front();
            }
            self.at_hand.push_back((period, self.make(period)));
            self.at_hand.len() - 1
        });
        (&self.at_hand[place].1, &self.steady)
    }

    fn make(&self, period: u64) -> Key {
        // Of periods of another length, the keys are others.
        let name = [b"period".as_slice(), &self.period_nanos.to_be_bytes(), &period.to_be_bytes()];
        let mac = name.iter().fold(self.root.clone(), Mac::chain_update);
        Key::new(&mac.finalize().into_bytes())
    }
}

/// A key is hashed to the size of HMAC's block's half first, whatever its length.
fn keyed(octets: &[u8]) -> Hmac<Sha256> {
    let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
    block[..32].copy_from_slice(&Sha256::digest(octets));
    Hmac::new(&block)
}

fn hex(octets: &[u8]) -> String {
    let mut text = String::with_capacity(2 * octets.len());
    for octet in octets {
        // Writing to a String cannot fail.
        let _ = write!(text, "{octet:02x}");
    }
    text
}
