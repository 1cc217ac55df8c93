//! What becomes of personal data at import: kept, tokenised with a key, or refused.

use crate::attributes::Kind;
use crate::error::KpiError;
use crate::event::Rejection;
use crate::input::hex;
use dnscribe_record::RegistrarEventRecord;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::Sha256;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Hexadecimal digits of a token, after the name of its key and a colon.
pub const TOKEN_DIGITS: usize = 32;

/// Treatment of a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Treatment {
    /// The value stays.
    #[default]
    Keep,
    /// The value is replaced by a keyed hash: equal values have equal tokens as long as the key is the same.
    Tokenise,
    /// A row with a value is refused.
    Refuse,
}

/// A field that may hold personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PersonalField {
    /// `account_id`.
    AccountId,
    /// `domain`; its top-level domain stays.
    Domain,
    /// `request_id`.
    RequestId,
    /// `country`, which can only be kept or refused.
    Country,
    /// `business_key` and `corrects`, and `event_id` and `corrects_event_id`, which may be made of it. They can only be kept or
    /// tokenised.
    BusinessKey,
}

/// Policy for personal data, as its file says it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    version: u32,
    #[serde(default)]
    fields: BTreeMap<PersonalField, Treatment>,
    /// Name of the key, which begins every token: a new key has a new name.
    #[serde(default)]
    key_id: String,
    key_file: Option<PathBuf>,
}

/// Policy for personal data.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    fields: BTreeMap<PersonalField, Treatment>,
    key_id: String,
    key: Vec<u8>,
}

/// Shortest key in bytes.
const MIN_KEY_BYTES: usize = 16;

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// The file or its key cannot be read, or says something impossible.
    pub fn read(path: &Path) -> Result<Self, KpiError> {
        let fail = |problem: String| KpiError::Usage(format!("{}: {problem}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
        let file: PolicyFile =
            serde_saphyr::from_str(&text).map_err(|error| fail(error.to_string()))?;
        if file.version != 1 {
            return Err(fail(format!("version {}: only 1 is known", file.version)));
        }
        if file.fields.get(&PersonalField::Country) == Some(&Treatment::Tokenise) {
            return Err(fail("country can be kept or refused".to_owned()));
        }
        if file.fields.get(&PersonalField::BusinessKey) == Some(&Treatment::Refuse) {
            return Err(fail("business_key can be kept or tokenised".to_owned()));
        }
        let tokenises = file.fields.values().any(|treatment| *treatment == Treatment::Tokenise);
        let key = match (&file.key_file, tokenises) {
            (Some(key), _) => dnscribe_config::read_secret(key)
                .map_err(|why| fail(format!("key_file {}: {why}", key.display())))?,
            (None, true) => return Err(fail("tokenise needs key_file and key_id".to_owned())),
            (None, false) => String::new(),
        };
        if tokenises && (key.len() < MIN_KEY_BYTES || file.key_id.is_empty()) {
            return Err(fail("tokenise needs a key_id, and a key of 16 bytes or more".to_owned()));
        }
        Ok(Self { fields: file.fields, key_id: file.key_id, key: key.into_bytes() })
    }

    /// Whether every field stays as it came.
    #[must_use]
    pub fn keeps_all(&self) -> bool {
        self.fields.values().all(|treatment| *treatment == Treatment::Keep)
    }

    /// Whether rows with a value in some field are refused.
    #[must_use]
    pub fn refuses(&self) -> bool {
        self.fields.values().any(|treatment| *treatment == Treatment::Refuse)
    }

    /// Name of the key, and a key made of it for `purpose`; none without a key.
    #[must_use]
    pub fn derived_key(&self, purpose: &[u8]) -> Option<(&str, [u8; 32])> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        let key = mac.chain_update(purpose).finalize().into_bytes();
        (!self.key.is_empty()).then(|| (self.key_id.as_str(), key.into()))
    }

    /// Returns how facts may have a value: as it is, and as its token.
    ///
    /// # Errors
    /// There is no token.
    pub fn forms(&self, kind: Kind, value: &str) -> Result<Vec<String>, KpiError> {
        let token = (!self.key.is_empty()).then(|| self.token(kind.key(), value));
        let token = token.transpose().map_err(|rejection| KpiError::Failed(rejection.detail))?;
        Ok(std::iter::once(value.to_owned()).chain(token).collect())
    }

    /// Applies the policy to an event.
    ///
    /// # Errors
    /// The event has a value that is to be refused.
    pub fn apply(&self, event: &mut RegistrarEventRecord) -> Result<(), Rejection> {
        self.apply_to_keys(event)?;
        for (field, treatment) in &self.fields {
            let (name, value) = match field {
                PersonalField::AccountId => ("account_id", &mut event.account_id),
                PersonalField::Domain => ("domain", &mut event.domain),
                PersonalField::RequestId => ("request_id", &mut event.request_id),
                PersonalField::Country => ("country", &mut event.country),
                PersonalField::BusinessKey => continue,
            };
            match (treatment, value.as_deref()) {
                (Treatment::Refuse, Some(_)) => return Err(Rejection::new("personal_data", name)),
                (Treatment::Tokenise, Some(text)) => *value = Some(self.token(name, text)?),
                _ => {}
            }
        }
        Ok(())
    }

    /// Applies the policy to the key of a row of a dimension table, so that it still is that of events.
    ///
    /// # Errors
    /// The key is to be refused.
    pub fn key_of(&self, kind: Kind, key: &str) -> Result<String, Rejection> {
        let field = match kind {
            Kind::Account => PersonalField::AccountId,
            Kind::Domain => PersonalField::Domain,
            Kind::Campaign | Kind::Partner | Kind::Tld => return Ok(key.to_owned()),
        };
        match self.fields.get(&field) {
            Some(Treatment::Tokenise) => self.token(kind.key(), key),
            Some(Treatment::Refuse) => Err(Rejection::new("personal_data", kind.key())),
            Some(Treatment::Keep) | None => Ok(key.to_owned()),
        }
    }

    /// Applies the policy to the keys of an event.
    ///
    /// # Errors
    /// There is no token.
    pub fn apply_to_keys(&self, event: &mut RegistrarEventRecord) -> Result<(), Rejection> {
        event.business_key = self.key("business_key", &event.business_key)?;
        event.event_id = self.key("event_id", &event.event_id)?;
        for (name, key) in
            [("business_key", &mut event.corrects), ("event_id", &mut event.corrects_event_id)]
        {
            *key = key.as_deref().map(|text| self.key(name, text)).transpose()?;
        }
        Ok(())
    }

    /// Returns a key as it is stored: its token if keys are tokenised.
    ///
    /// # Errors
    /// There is no token.
    pub fn key(&self, name: &str, text: &str) -> Result<String, Rejection> {
        match self.fields.get(&PersonalField::BusinessKey) {
            Some(Treatment::Tokenise) => self.token(name, text),
            _ => Ok(text.to_owned()),
        }
    }

    /// Returns the token of a value: name of the key, and 128 bits of HMAC-SHA-256 in hex.
    fn token(&self, field: &str, text: &str) -> Result<String, Rejection> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key)
            .map_err(|error| Rejection::new("personal_data", error))?;
        mac.update(field.as_bytes());
        mac.update(&[0]);
        mac.update(text.as_bytes());
        let hash = mac.finalize().into_bytes();
        Ok(format!("{}:{}", self.key_id, hex(&hash[..TOKEN_DIGITS / 2])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event;
    use serde_json::json;

    #[test]
    fn tokenises_with_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        std::fs::write(&key, "0123456789abcdef\n").unwrap();
        let policy = folder.path().join("policy.yaml");
        let read = |fields: &str| {
            let text =
                format!("version: 1\nfields: {fields}\nkey_id: k1\nkey_file: {}\n", key.display());
            std::fs::write(&policy, text).unwrap();
            Policy::read(&policy)
        };
        let event = json!({"event_id": "1", "business_key": "b", "event_type": "deleted",
            "event_ts": "2026-01-01T00:00:00Z", "domain": "shop.example", "account_id": "a-1"});
        let fields = crate::input::parse_fields(&event.to_string()).unwrap();
        let parse = || event::from_json(&fields).unwrap();

        let tokenising = read("{account_id: tokenise, domain: tokenise}").unwrap();
        let mut masked = parse();
        tokenising.apply(&mut masked).unwrap();
        let token = masked.account_id.clone().unwrap();
        assert!(token.starts_with("k1:") && token.len() == 35, "{token}");
        assert_eq!(masked.tld.as_deref(), Some("example"));
        let mut again = parse();
        tokenising.apply(&mut again).unwrap();
        assert_eq!(again, masked);

        let mut masked = parse();
        masked.corrects = Some("b".to_owned());
        masked.corrects_event_id = Some("1".to_owned());
        read("{business_key: tokenise}").unwrap().apply(&mut masked).unwrap();
        assert!(masked.business_key.starts_with("k1:") && masked.event_id.starts_with("k1:"));
        // A correction names what it corrects.
        assert_eq!(masked.corrects.as_ref(), Some(&masked.business_key));
        assert_eq!(masked.corrects_event_id.as_ref(), Some(&masked.event_id));
        assert!(read("{business_key: refuse}").is_err());

        let refusing = read("{account_id: refuse}").unwrap();
        assert_eq!(refusing.apply(&mut parse()).unwrap_err().reason, "personal_data");
        assert!(read("{country: tokenise}").is_err() && read("{colour: keep}").is_err());
    }
}
