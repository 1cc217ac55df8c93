//! Keys of the rows of one file, by account and domain.

use super::{cipher, failed};
use crate::attributes::Kind;
use crate::error::KpiError;
use crate::privacy::Policy;
use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::aead::{Aad, NONCE_LEN, Nonce};
use ring::rand::{SecureRandom as _, SystemRandom};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;

/// Beginning of a file with keys.
const MAGIC: &[u8] = b"dnscribe keys 1\n";
/// What keys of files with keys are made for.
const PURPOSE: &[u8] = b"dnscribe-kpi: keys of rows as they came";
/// Bytes of what a key is found by.
const ID_BYTES: usize = 16;
/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// Form of a file whose keys are encrypted.
const ENCRYPTED: u8 = 1;
/// Form of a file that ends with its hash.
const CHECKED: u8 = 2;

/// A key, and what it is found by: both 0 once it is destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SubjectKey {
    id: [u8; ID_BYTES],
    key: [u8; KEY_BYTES],
}

const DESTROYED: SubjectKey = SubjectKey { id: [0; ID_BYTES], key: [0; KEY_BYTES] };

/// Keys of the rows of one file: the first is that of all rows, the others are of an account or a domain each.
#[derive(Debug)]
pub struct Keyring {
    keys: Vec<SubjectKey>,
    /// Indices by kind and value, as far as they were asked for.
    known: HashMap<(Kind, String), usize>,
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], KpiError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| failed("no random numbers"))?;
    Ok(bytes)
}

/// HMAC-SHA-256 of all parts.
pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; KEY_BYTES] {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; KEY_BYTES] };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Appends the hash of a file, by which it shows damage.
pub(crate) fn with_checksum(mut file: Vec<u8>) -> Vec<u8> {
    let hash = Sha256::digest(&file);
    file.extend_from_slice(&hash);
    file
}

/// Returns a file without its hash; nothing if it is damaged.
pub(crate) fn checked(file: &[u8]) -> Option<&[u8]> {
    let (file, hash) = file.split_last_chunk::<32>()?;
    (Sha256::digest(file)[..] == hash[..]).then_some(file)
}

impl Keyring {
    /// Creates the key of all rows.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new() -> Result<Self, KpiError> {
        let keys = vec![SubjectKey { id: [0; ID_BYTES], key: random()? }];
        Ok(Self { keys, known: HashMap::new() })
    }

    /// Returns the index of a key, which is created if there is none.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn key_of(&mut self, kind: Kind, value: &str) -> Result<usize, KpiError> {
        let subject = (kind, value.to_owned());
        if let Some(index) = self.known.get(&subject) {
            return Ok(*index);
        }
        let index = self.keys.len();
        self.keys.push(SubjectKey { id: self.id(kind, value), key: random()? });
        self.known.insert(subject, index);
        Ok(index)
    }

    fn id(&self, kind: Kind, value: &str) -> [u8; ID_BYTES] {
        let base = self.keys.first().map_or(&DESTROYED.key, |base| &base.key);
        let hash = hmac(base, &[kind.name().as_bytes(), &[0], value.as_bytes()]);
        let mut id = [0; ID_BYTES];
        id.copy_from_slice(&hash[..ID_BYTES]);
        id
    }

    /// Key of the row with this number in its file, made of those with these indices; none if one of them is destroyed.
    #[must_use]
    pub fn row_key(&self, row: usize, subjects: [Option<usize>; 2]) -> Option<[u8; KEY_BYTES]> {
        let base = self.keys.first()?;
        let mut key = hmac(&base.key, &[&row.to_be_bytes()]);
        for index in subjects.into_iter().flatten() {
            let subject = self.keys.get(index).filter(|key| **key != DESTROYED)?;
            key = hmac(&subject.key, &[&key]);
        }
        Some(key)
    }

    /// Destroys the key of an account or a domain; returns whether there was one.
    pub fn destroy(&mut self, kind: Kind, value: &str) -> bool {
        let id = self.id(kind, value);
        self.known.clear();
        let Some(key) = self.keys.iter_mut().skip(1).find(|key| key.id == id) else { return false };
        *key = DESTROYED;
        true
    }

    /// Encodes all keys, encrypted with the key of the policy if it has one.
    ///
    /// # Errors
    /// They cannot be encrypted.
    pub fn encode(&self, policy: &Policy) -> Result<Vec<u8>, KpiError> {
        let mut keys = Vec::with_capacity(self.keys.len() * (ID_BYTES + KEY_BYTES));
        for SubjectKey { id, key } in &self.keys {
            keys.extend_from_slice(id);
            keys.extend_from_slice(key);
        }
        let mut file = MAGIC.to_vec();
        let Some((name, secret)) = policy.derived_key(PURPOSE) else {
            file.push(CHECKED);
            file.append(&mut keys);
            return Ok(with_checksum(file));
        };
        let nonce: [u8; NONCE_LEN] = random()?;
        file.push(ENCRYPTED);
        file.push(u8::try_from(name.len()).map_err(|_| failed("key_id is too long"))?);
        file.extend_from_slice(name.as_bytes());
        file.extend_from_slice(&nonce);
        let cipher = cipher(&secret)?;
        cipher
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut keys)
            .map_err(failed)?;
        file.append(&mut keys);
        Ok(file)
    }

    /// Decodes the keys of a file, which is named in errors.
    ///
    /// # Errors
    /// They are no keys, or were encrypted with the key of another policy.
    pub fn decode(path: &str, file: &[u8], policy: &Policy) -> Result<Self, KpiError> {
        let problem = "the file with its keys is damaged: restore or remove it; without it nobody can read these rows";
        let damaged = || KpiError::store(path, problem);
        let (form, rest) =
            file.strip_prefix(MAGIC).and_then(<[u8]>::split_first).ok_or_else(damaged)?;
        let mut opened = Vec::new();
        let keys = match *form {
            CHECKED => {
                checked(file).and_then(|file| file.get(MAGIC.len() + 1..)).ok_or_else(damaged)?
            }
            ENCRYPTED => {
                let (length, rest) = rest.split_first().ok_or_else(damaged)?;
                let (name, rest) =
                    rest.split_at_checked(usize::from(*length)).ok_or_else(damaged)?;
                let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(damaged)?;
                let name = String::from_utf8_lossy(name);
                let secret = policy.derived_key(PURPOSE).filter(|(known, _)| *known == name);
                let Some((_, secret)) = secret else {
                    return Err(KpiError::Usage(format!(
                        "{path}: its keys are encrypted: give --policy with the key_id {name}"
                    )));
                };
                opened.extend_from_slice(rest);
                let nonce = Nonce::assume_unique_for_key(*nonce);
                let keys = cipher(&secret)?.open_in_place(nonce, Aad::empty(), &mut opened);
                let another =
                    format!("{path}: the policy has another key {name}, or it is damaged");
                &*keys.map_err(|_| KpiError::Usage(another))?
            }
            _ => return Err(damaged()),
        };
        let (keys, rest) = keys.as_chunks::<{ ID_BYTES + KEY_BYTES }>();
        if keys.is_empty() || !rest.is_empty() {
            return Err(damaged());
        }
        let keys = keys.iter().map(|bytes| {
            let mut key = DESTROYED;
            key.id.copy_from_slice(&bytes[..ID_BYTES]);
            key.key.copy_from_slice(&bytes[ID_BYTES..]);
            key
        });
        Ok(Self { keys: keys.collect(), known: HashMap::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key that is found by another one would stay when its account is erased.
    #[test]
    fn files_show_damage() {
        let policy = Policy::default();
        let mut keys = Keyring::new().unwrap();
        keys.key_of(Kind::Account, "anna").unwrap();
        let file = keys.encode(&policy).unwrap();
        assert!(Keyring::decode("a", &file, &policy).unwrap().destroy(Kind::Account, "anna"));
        for place in 0..file.len() {
            let mut damaged = file.clone();
            damaged[place] ^= 1;
            assert!(Keyring::decode("a", &damaged, &policy).is_err(), "{place}");
        }
    }
}
