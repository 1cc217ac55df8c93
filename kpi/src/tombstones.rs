//! What is known of erased events, so that one that comes again meets the fact that it repeats.
//!
//! The store has one such file. It has neither keys nor names, but hashes of them, made with a secret that is in the file, too. Who
//! can read it can test whether a key that he guesses was erased: give it no more readers than the keys of rows as they came.

use crate::error::KpiError;
use crate::input::hex;
use crate::privacy::TOKEN_DIGITS;
use crate::raw::{checked, hmac, random, with_checksum};
use crate::store::Store;
use dnscribe_record::RegistrarEventRecord;
use std::collections::BTreeSet;

/// Folder of the file.
pub const FOLDER: &str = "erased";

/// Beginning of the file.
const MAGIC: &[u8] = b"dnscribe erased 1\n";
/// Bytes of the secret.
const SECRET_BYTES: usize = 32;
/// Bytes of a hash.
const HASH_BYTES: usize = TOKEN_DIGITS / 2;

/// What a hash is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// A key for which a pseudonym stands, in whatever event it is.
    Key,
    /// Another text for which a pseudonym stands, in erased events alone.
    Name,
    /// Source system and technical key of an erased event.
    Technical,
    /// Type and business key of an erased event.
    Business,
    /// What the pseudonym of a text is made of.
    Pseudonym,
    /// What all pseudonyms of the store begin with.
    Prefix,
}

/// Hashes of the keys and names of erased events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstones {
    secret: [u8; SECRET_BYTES],
    hashes: BTreeSet<[u8; HASH_BYTES]>,
}

impl Tombstones {
    /// Creates the tombstones of a store in which nothing was erased.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new() -> Result<Self, KpiError> {
        Ok(Self { secret: random()?, hashes: BTreeSet::new() })
    }

    /// Reads the file at `path`; nothing if there is none.
    ///
    /// # Errors
    /// It is damaged, or cannot be read.
    pub async fn read(store: &Store, path: Option<&str>) -> Result<Option<Self>, KpiError> {
        let Some(path) = path else { return Ok(None) };
        let Some(file) = store.read_if_there(path).await? else {
            tracing::warn!("{path} is lost: erased facts that are imported again count twice");
            return Ok(None);
        };
        let damaged = "it is damaged: restore it; without it, erased facts that are imported again count twice";
        Self::decode(&file).map(Some).ok_or_else(|| KpiError::store(path, damaged))
    }

    fn decode(file: &[u8]) -> Option<Self> {
        let (secret, hashes) = checked(file)?.strip_prefix(MAGIC)?.split_first_chunk()?;
        let (hashes, rest) = hashes.as_chunks();
        rest.is_empty().then(|| Self { secret: *secret, hashes: hashes.iter().copied().collect() })
    }

    /// Contents of the file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut file = [MAGIC, &self.secret].concat();
        file.extend(self.hashes.iter().flatten());
        with_checksum(file)
    }

    fn hash(&self, of: Trace, texts: [&str; 2]) -> [u8; HASH_BYTES] {
        let [first, second] = texts.map(str::as_bytes);
        let hash = hmac(&self.secret, &[&[of as u8], first, &[0], second]);
        let mut short = [0; HASH_BYTES];
        short.copy_from_slice(&hash[..HASH_BYTES]);
        short
    }

    /// What stands for a text that has a name: the same for the same text. Pseudonyms of another secret begin with another prefix,
    /// as tokens of another key do.
    #[must_use]
    pub fn pseudonym(&self, text: &str) -> String {
        let prefix = self.hash(Trace::Prefix, [""; 2]);
        format!("erased-{}:{}", hex(&prefix[..4]), hex(&self.hash(Trace::Pseudonym, [text, ""])))
    }

    /// Adds what is erased.
    pub fn add(&mut self, of: Trace, texts: [&str; 2]) {
        self.hashes.insert(self.hash(of, texts));
    }

    fn has(&self, of: Trace, texts: [&str; 2]) -> bool {
        self.hashes.contains(&self.hash(of, texts))
    }

    fn replace_text(&self, of: Trace, text: &mut String) {
        if self.has(of, [text, ""]) {
            *text = self.pseudonym(text);
        }
    }

    /// Returns a key as it is stored: its pseudonym, if it has one.
    #[must_use]
    pub fn key(&self, mut key: String) -> String {
        self.replace_text(Trace::Key, &mut key);
        key
    }

    /// Gives an event that comes from `source` the pseudonyms that its erasure has made; returns whether the event was erased.
    pub fn replace(&self, event: &mut RegistrarEventRecord, source: &str) -> bool {
        let system = event.source_system.as_deref().unwrap_or(source);
        let was_erased = self.has(Trace::Technical, [system, &event.event_id])
            || self.has(Trace::Business, [&event.event_type, &event.business_key]);
        let keys = [&mut event.request_id, &mut event.corrects, &mut event.corrects_event_id];
        let keys = keys.into_iter().flatten();
        for key in keys.chain([&mut event.event_id, &mut event.business_key]) {
            self.replace_text(Trace::Key, key);
        }
        if was_erased {
            let names =
                [&mut event.account_id, &mut event.domain, &mut event.endpoint, &mut event.status];
            for name in names.into_iter().flatten() {
                self.replace_text(Trace::Name, name);
            }
        }
        was_erased
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, key: &str) -> RegistrarEventRecord {
        RegistrarEventRecord {
            event_id: id.to_owned(),
            business_key: key.to_owned(),
            event_type: "expired".to_owned(),
            domain: Some("bruno.de".to_owned()),
            corrects: Some("order-bruno.de".to_owned()),
            ..RegistrarEventRecord::default()
        }
    }

    #[test]
    fn erased_events_have_their_pseudonyms_again() {
        let mut tombstones = Tombstones::new().unwrap();
        tombstones.add(Trace::Technical, ["shop", "1"]);
        tombstones.add(Trace::Business, ["expired", "k2"]);
        tombstones.add(Trace::Name, ["bruno.de", ""]);
        tombstones.add(Trace::Key, ["order-bruno.de", ""]);
        let tombstones = Tombstones::decode(&tombstones.encode()).unwrap();
        let name = tombstones.pseudonym("bruno.de");
        for (id, key, source, was_erased) in [
            ("1", "k1", "shop", true),
            ("1", "k1", "registry", false),
            ("2", "k2", "registry", true),
            ("k2", "1", "shop", false),
            ("order-bruno.de", "k1", "registry", false),
        ] {
            let mut replaced = event(id, key);
            assert_eq!(tombstones.replace(&mut replaced, source), was_erased, "{id} {key}");
            let has_name = replaced.domain.as_ref() == Some(&name);
            assert_eq!(has_name, was_erased, "{replaced:?}");
            // A key has its pseudonym everywhere, so that what belongs together still does.
            let key = tombstones.pseudonym("order-bruno.de");
            assert_eq!(replaced.corrects.as_ref(), Some(&key));
            assert_eq!(replaced.event_id == key, id == "order-bruno.de");
        }
    }

    #[test]
    fn files_show_damage_and_have_no_names() {
        let mut tombstones = Tombstones::new().unwrap();
        tombstones.add(Trace::Key, ["order-bruno.de", ""]);
        let file = tombstones.encode();
        assert!(!file.windows(5).any(|part| part == b"bruno"));
        assert_eq!(Tombstones::decode(&file).as_ref(), Some(&tombstones));
        for place in 0..file.len() {
            let mut damaged = file.clone();
            damaged[place] ^= 1;
            assert_eq!(Tombstones::decode(&damaged), None, "{place}");
        }
        assert_eq!(Tombstones::decode(&file[..file.len() - 1]), None);
        assert_ne!(Tombstones::new().unwrap().pseudonym("a"), tombstones.pseudonym("a"));
    }
}
