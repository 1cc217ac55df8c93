//! Who may read what: bearer tokens with scopes, and a limit of requests for each.

use crate::dictionary::FAMILIES;
use crate::error::KpiError;
use crate::input::hex;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// A token, known by its hash.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Name, for the log.
    pub name: String,
    /// SHA-256 of the token, in hex.
    pub sha256: String,
    /// Families of KPIs that may be read, or `all`.
    pub scopes: BTreeSet<String>,
}

/// File of tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenFile {
    version: u32,
    tokens: Vec<Token>,
}

/// Scope that includes all families.
const ALL: &str = "all";

/// Requests that one token may make in a burst, and how many come back each second.
const BURST: f64 = 20_000.0;
const PER_SECOND: f64 = 5_000.0;

/// Decides about requests.
#[derive(Debug)]
pub struct Access {
    /// None if every request is allowed.
    tokens: Option<HashMap<String, Token>>,
    budgets: Mutex<HashMap<String, (Instant, f64)>>,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No token, or an unknown one.
    Unauthorized,
    /// The token's scopes do not include the family.
    Forbidden,
    /// Too many requests.
    TooMany,
}

impl Access {
    /// Allows every request, without tokens.
    #[must_use]
    pub fn open() -> Self {
        Self { tokens: None, budgets: Mutex::default() }
    }

    /// Reads a file of tokens.
    ///
    /// # Errors
    /// The file cannot be read, or says something impossible.
    pub fn read(path: &Path) -> Result<Self, KpiError> {
        let fail = |problem: String| KpiError::Usage(format!("{}: {problem}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
        let file: TokenFile =
            serde_saphyr::from_str(&text).map_err(|error| fail(error.to_string()))?;
        if file.version != 1 || file.tokens.is_empty() {
            return Err(fail("version must be 1, and there must be a token".to_owned()));
        }
        let mut tokens = HashMap::new();
        for token in file.tokens {
            let is_hash =
                token.sha256.len() == 64 && token.sha256.bytes().all(|b| b.is_ascii_hexdigit());
            if !is_hash {
                let problem = "sha256 must be 64 hex digits: `printf %s TOKEN | sha256sum`";
                return Err(fail(format!("token {}: {problem}", token.name)));
            }
            let known = |scope: &&String| *scope == ALL || FAMILIES.contains(&scope.as_str());
            if let Some(scope) = token.scopes.iter().find(|scope| !known(scope)) {
                return Err(fail(format!("token {}: unknown scope {scope}", token.name)));
            }
            tokens.insert(token.sha256.to_ascii_lowercase(), token);
        }
        Ok(Self { tokens: Some(tokens), budgets: Mutex::default() })
    }

    /// Finds the scopes of a request by its `Authorization` header.
    ///
    /// # Errors
    /// The token is unknown, or has made too many requests.
    pub fn scopes(&self, authorization: Option<&str>) -> Result<Scopes, Refusal> {
        let Some(tokens) = &self.tokens else { return Ok(Scopes(None)) };
        let token = authorization.and_then(|header| {
            let (scheme, token) = header.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        // The hash is looked up, so the time of the comparison says nothing about the token.
        let hash = hex(&Sha256::digest(token.ok_or(Refusal::Unauthorized)?.as_bytes()));
        let token = tokens.get(&hash).ok_or(Refusal::Unauthorized)?;
        self.spend(&token.name)?;
        Ok(Scopes(Some(token.scopes.clone())))
    }

    fn spend(&self, name: &str) -> Result<(), Refusal> {
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (last, left) = budgets.entry(name.to_owned()).or_insert((now, BURST));
        *left = (*left + now.duration_since(*last).as_secs_f64() * PER_SECOND).min(BURST);
        *last = now;
        if *left < 1.0 {
            return Err(Refusal::TooMany);
        }
        *left -= 1.0;
        Ok(())
    }
}

/// Families that a request may read.
#[derive(Clone, Debug)]
pub struct Scopes(Option<BTreeSet<String>>);

impl Scopes {
    /// Whether a family may be read.
    #[must_use]
    pub fn allow(&self, family: &str) -> bool {
        self.0.as_ref().is_none_or(|scopes| scopes.contains(family) || scopes.contains(ALL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_scopes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let hash = hex(&Sha256::digest(b"s3cret"));
        let write = |scope: &str| {
            let text = format!(
                "version: 1\ntokens:\n  - {{name: a, sha256: {hash}, scopes: [{scope}]}}\n"
            );
            std::fs::write(file.path(), text).unwrap();
            Access::read(file.path())
        };
        let access = write("sales").unwrap();
        let scopes = access.scopes(Some("Bearer s3cret")).unwrap();
        assert!(scopes.allow("sales") && !scopes.allow("operations"));
        for wrong in [None, Some("Bearer other"), Some("Basic s3cret"), Some("s3cret")] {
            assert_eq!(access.scopes(wrong).unwrap_err(), Refusal::Unauthorized, "{wrong:?}");
        }
        assert!(write("all").unwrap().scopes(Some("bearer s3cret")).unwrap().allow("pipeline"));
        assert!(write("everything").is_err());
        assert!(Access::open().scopes(None).unwrap().allow("sales"));
    }
}
