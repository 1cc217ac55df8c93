//! Keys and pseudonyms: HMAC-SHA-256 (RFC 2104) with a different key in each period.

use dnscribe_dns::hex_digits;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Minimum length of key material in bytes; shorter material could be guessed.
const MIN_BYTES: usize = 16;

/// Length of random key material in bytes.
const RANDOM_BYTES: usize = 32;

/// Period keys kept ready: records arrive slightly out of order, and windows late.
const CACHED_KEYS: usize = 4;

/// First 64 bits of the pseudonyms of addresses: the discard-only prefix `100::/64` (RFC 6666).
const PSEUDONYMS: u128 = 0x0100 << 48;

/// Returns whether an address is a pseudonym.
pub(crate) fn is_pseudonym(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.to_bits() >> 64 == PSEUDONYMS)
}

/// Secret from which all keys are derived. Its debug output hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyMaterial(Vec<u8>);

/// Key material cannot be used or made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The material is too short.
    #[error("has {0} bytes; a key needs {MIN_BYTES} or more: make one with `openssl rand -hex 32`")]
    Short(usize),
    /// The system has no random numbers.
    #[error("cannot be made: the system has no random numbers")]
    NoRandomness,
}

impl KeyMaterial {
    /// Uses the text of a file or variable, without surrounding white space.
    ///
    /// # Errors
    /// The text is too short.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        let bytes = text.trim().as_bytes();
        if bytes.len() < MIN_BYTES {
            Err(KeyError::Short(bytes.len()))
        } else {
            Ok(Self(bytes.into()))
        }
    }

    /// Makes random material.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn random() -> Result<Self, KeyError> {
        let mut bytes = vec![0; RANDOM_BYTES];
        let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        if filled == Ok(RANDOM_BYTES) { Ok(Self(bytes)) } else { Err(KeyError::NoRandomness) }
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyMaterial(…)")
    }
}

/// Kind of value that a pseudonym stands for: equal texts of different kinds have different
/// pseudonyms.
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

/// A key and its id.
pub(super) struct Key {
    /// The key's id in records: 8 hex digits that reveal nothing of the key.
    pub(super) id: String,
    mac: Hmac<Sha256>,
}

impl Key {
    fn new(bytes: &[u8]) -> Self {
        let mac = keyed(bytes);
        let digest = mac.clone().chain_update(b"id").finalize().into_bytes();
        let id = hex_digits(&mut [0; 8], &digest[..4]).to_owned();
        Self { id, mac }
    }

    /// Returns the pseudonym of a text: 32 hex digits.
    pub(super) fn text(&self, domain: Domain, text: &str) -> String {
        hex_digits(&mut [0; 32], &self.digest(domain, text.as_bytes())[..16]).to_owned()
    }

    /// Returns a pseudonym of 64 hex digits, the length of container ids.
    pub(super) fn long_text(&self, domain: Domain, text: &str) -> String {
        hex_digits(&mut [0; 64], &self.digest(domain, text.as_bytes())).to_owned()
    }

    /// Returns the pseudonym of an address: an address in the discard-only prefix `100::/64` (RFC
    /// 6666), so that parsers accept it and no host has it.
    pub(super) fn address(&self, address: IpAddr) -> IpAddr {
        let bits = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        };
        let digest = self.digest(Domain::Address, &bits.to_be_bytes());
        let low = digest.iter().take(8).fold(0, |low: u128, byte| low << 8 | u128::from(*byte));
        Ipv6Addr::from_bits(PSEUDONYMS << 64 | low).into()
    }

    fn digest(&self, domain: Domain, bytes: &[u8]) -> [u8; 32] {
        let mac = self.mac.clone().chain_update([domain as u8]).chain_update(bytes);
        mac.finalize().into_bytes().into()
    }
}

/// Derives the keys of all periods.
pub(super) struct KeyRing {
    root: Hmac<Sha256>,
    /// Key for pseudonyms that must not change with the period.
    constant: Key,
    period_nanos: u64,
    cached: VecDeque<(u64, Key)>,
}

impl KeyRing {
    /// Derives keys from `material`, a new one every `period_nanos` nanoseconds.
    pub(super) fn new(material: &KeyMaterial, period_nanos: u64) -> Self {
        let root = keyed(&material.0);
        let constant = Key::new(&root.clone().chain_update(b"steady").finalize().into_bytes());
        Self { root, constant, period_nanos: period_nanos.max(1), cached: VecDeque::new() }
    }

    /// Takes over the key that never changes from the keys that were in force before.
    pub(super) fn after(self, before: Option<Self>) -> Self {
        match before {
            Some(Self { constant, .. }) => Self { constant, ..self },
            None => self,
        }
    }

    /// Returns the key for a time, in nanoseconds since 1970, and the key that never changes.
    pub(super) fn keys_at(&mut self, nanos: u64) -> (&Key, &Key) {
        let period = nanos / self.period_nanos;
        let found = self.cached.iter().position(|(cached, _)| *cached == period);
        let index = found.unwrap_or_else(|| {
            if self.cached.len() >= CACHED_KEYS {
                self.cached.pop_front();
            }
            self.cached.push_back((period, self.derive(period)));
            self.cached.len() - 1
        });
        (&self.cached[index].1, &self.constant)
    }

    fn derive(&self, period: u64) -> Key {
        // The length of the periods is part of the derivation.
        let name = [b"period".as_slice(), &self.period_nanos.to_be_bytes(), &period.to_be_bytes()];
        let mac = name.iter().fold(self.root.clone(), Mac::chain_update);
        Key::new(&mac.finalize().into_bytes())
    }
}

/// Creates an HMAC whose key is `bytes` hashed to half a block, whatever their length.
fn keyed(bytes: &[u8]) -> Hmac<Sha256> {
    let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
    block[..32].copy_from_slice(&Sha256::digest(bytes));
    Hmac::new(&block)
}
