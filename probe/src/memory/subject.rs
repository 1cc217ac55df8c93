//! What is known of one endpoint of a target.

use super::LearningRules;
use super::known::{KnownValues, Lesson};
use super::ttl::KnownTtl;
use dnscribe_record::ProbeFields;
use dnscribe_record::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Limits of values by sort. Names behind the largest networks of caches have a few hundred addresses.
const MAX_ANSWERS: usize = 64;
const MAX_ADDRESSES: usize = 256;
const MAX_OTHERS: usize = 32;

/// Number of good sets of answers from which a name has many: new addresses in networks of its good ones are
/// good too.
const MANY_ANSWERS: usize = 4;

/// What is known of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// When the last round began, good or not.
    pub last_round: Timestamp,
    /// Digests of sets of answers.
    #[serde(default, skip_serializing_if = "KnownValues::is_empty")]
    answers: KnownValues<String>,
    /// Addresses in answers. An answer of known addresses is known.
    #[serde(default, skip_serializing_if = "KnownValues::is_empty")]
    addresses: KnownValues<IpAddr>,
    /// SHA-256 of certificates.
    #[serde(default, skip_serializing_if = "KnownValues::is_empty")]
    certificates: KnownValues<String>,
    /// Issuers of certificates.
    #[serde(default, skip_serializing_if = "KnownValues::is_empty")]
    issuers: KnownValues<String>,
    /// Serial numbers of the zone.
    #[serde(default, skip_serializing_if = "KnownValues::is_empty")]
    serials: KnownValues<u32>,
    /// TTL of answers.
    #[serde(default, skip_serializing_if = "KnownTtl::is_empty")]
    ttl: KnownTtl,
}

impl Subject {
    /// Compares a measurement with what is known, fills in what changed, and learns from it if it is good.
    /// Returns the number of values that were evicted.
    pub fn observe(
        &mut self,
        fields: &mut ProbeFields,
        now: Timestamp,
        rules: &LearningRules,
        announced: bool,
    ) -> u64 {
        self.last_round = now;
        let round = RoundRules { now, rules, is_good: fields.ok, announced };
        let previous = self.answers.last_good().cloned();
        let answers = self.compare_answers(fields, &round);
        if answers == Some(true) {
            fields.previous_digest = previous;
        }
        let previous_issuer = fields.cert.as_ref().and_then(|cert| self.known_issuer(&cert.issuer));
        let certificate = fields.cert.as_ref().map(|cert| {
            let sha256 = std::slice::from_ref(&cert.sha256);
            let issuer = std::slice::from_ref(&cert.issuer);
            (
                round.compare(&mut self.certificates, sha256),
                round.compare(&mut self.issuers, issuer),
            )
        });
        let serial = fields.soa_serial.map(|serial| round.compare(&mut self.serials, &[serial]));
        fields.issuer_changed = certificate.map(|(_, issuer)| issuer);
        fields.previous_issuer = previous_issuer.filter(|_| fields.issuer_changed == Some(true));
        if let Some(ttl) = fields.min_ttl_seconds.filter(|_| round.is_good) {
            let change = self.ttl.observe(ttl, now, rules.after);
            fields.known_ttl_seconds = self.ttl.known();
            fields.previous_ttl_seconds = change.map(|change| change.from);
        }
        let parts = [answers, certificate.map(|(certificate, _)| certificate), serial];
        fields.changed = parts.into_iter().flatten().reduce(|one, other| one || other);
        self.answers.shrink_to(MAX_ANSWERS)
            + self.addresses.shrink_to(MAX_ADDRESSES)
            + self.certificates.shrink_to(MAX_OTHERS)
            + self.issuers.shrink_to(MAX_OTHERS)
            + self.serials.shrink_to(MAX_OTHERS)
    }

    /// Returns a good issuer: one of the same organization as `issuer`, else the last one.
    fn known_issuer(&self, issuer: &str) -> Option<String> {
        let mut good = self.issuers.good().map(|known| &known.value);
        let related = good.find(|known| is_same_organization(known, issuer));
        related.or_else(|| self.issuers.last_good()).cloned()
    }

    /// Returns whether the answers are none that are known to be good; absent without a response.
    fn compare_answers(&mut self, fields: &ProbeFields, round: &RoundRules<'_>) -> Option<bool> {
        let digest = fields.answer_digest.as_ref()?;
        let is_address = matches!(fields.qtype.as_deref(), Some("A" | "AAAA"));
        let addresses: Vec<IpAddr> = fields.answers.iter().flat_map(|text| text.parse()).collect();
        let only_addresses = is_address && !addresses.is_empty();
        if !only_addresses || addresses.len() < fields.answers.len() {
            return Some(round.compare(&mut self.answers, std::slice::from_ref(digest)));
        }
        let is_first = self.answers.is_empty();
        if !round.is_good {
            let is_known = |address| self.addresses.is_good(address);
            return Some(!is_first && !addresses.iter().all(is_known));
        }
        let lesson = round.lesson(is_first);
        let has_many = self.answers.good().count() >= MANY_ANSWERS;
        self.addresses.learn(&addresses, lesson, |known, address| {
            has_many && known.good().any(|good| is_same_network(good.value, *address))
        });
        let changed = !addresses.iter().all(|address| self.addresses.is_good(address));
        if round.announced {
            self.addresses.accept(&addresses);
        }
        // A set is as good as its addresses, however new it is.
        self.answers.note(digest, round.now, !changed || round.announced);
        Some(changed)
    }

    /// Forgets values that were last seen before `limit`.
    pub fn forget(&mut self, limit: Timestamp) {
        self.answers.forget(limit);
        self.addresses.forget(limit);
        self.certificates.forget(limit);
        self.issuers.forget(limit);
        self.serials.forget(limit);
    }

    /// Returns the number of values.
    pub fn values(&self) -> usize {
        self.answers.len()
            + self.addresses.len()
            + self.certificates.len()
            + self.issuers.len()
            + self.serials.len()
    }
}

/// What a round teaches.
struct RoundRules<'a> {
    now: Timestamp,
    rules: &'a LearningRules,
    /// Only good results are learned.
    is_good: bool,
    /// Whether a change was announced: what is new is good from the next round on.
    announced: bool,
}

impl RoundRules<'_> {
    const fn lesson(&self, is_first: bool) -> Lesson<'_> {
        Lesson { now: self.now, rules: self.rules, is_first, announced: self.announced }
    }

    /// Returns whether one of the values is none that is known to be good, after learning them.
    fn compare<V: Clone + PartialEq>(&self, known: &mut KnownValues<V>, values: &[V]) -> bool {
        let is_first = known.is_empty();
        if self.is_good {
            known.learn(values, self.lesson(is_first), |_, _| false);
        }
        let changed = !is_first && !values.iter().all(|value| known.is_good(value));
        if self.announced && self.is_good {
            known.accept(values);
        }
        changed
    }
}

/// Returns whether two issuers of certificates, as records have them, are of one organization. Authorities sign with
/// several intermediates at a time, and replace them without announcement.
#[must_use]
pub fn is_same_organization(one: &str, other: &str) -> bool {
    organization(one).is_some_and(|name| organization(other) == Some(name))
}

/// Returns the organization (`O`) in a name of RFC 4514, as it is written there.
fn organization(name: &str) -> Option<&str> {
    let mut rest = name;
    loop {
        // Within a value, these characters are escaped (RFC 4514, section 2.4).
        let mut is_escaped = false;
        let end = rest.find(|letter| {
            let ends = !is_escaped && matches!(letter, ',' | '+');
            is_escaped = !is_escaped && letter == '\\';
            ends
        });
        let part = &rest[..end.unwrap_or(rest.len())];
        if let Some(value) = part.strip_prefix("O=").filter(|value| !value.is_empty()) {
            return Some(value);
        }
        rest = &rest[end? + 1..];
    }
}

/// Returns whether two addresses are in one network as operators announce them: /24 of IPv4, /48 of IPv6.
fn is_same_network(one: IpAddr, other: IpAddr) -> bool {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => one.octets()[..3] == other.octets()[..3],
        (IpAddr::V6(one), IpAddr::V6(other)) => one.octets()[..6] == other.octets()[..6],
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_organization() {
        assert_eq!(organization("CN=R12,O=Let's Encrypt,C=US"), Some("Let's Encrypt"));
        assert_eq!(organization("CN=a\\,O=Mallory,O=Acme\\, Inc.,C=US"), Some("Acme\\, Inc."));
        assert_eq!(organization("CN=a\\\\,O=Acme+OU=x"), Some("Acme"));
        assert_eq!(organization("O=,CN=a"), None);
        assert_eq!(organization("CN=Acme CA"), None);
        assert!(!is_same_organization("CN=a", "CN=a"));
    }
}
