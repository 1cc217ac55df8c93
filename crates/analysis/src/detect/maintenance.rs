//! Maintenance periods, during which expected alerts are muted.

use super::finding::{Entity, Rule};
pub use dnscribe_config::maintenance::MaintenancePeriod;
use dnscribe_record::time::Timestamp;
use wildmatch::WildMatch;

/// A period during which matching alerts are muted. An alert that still holds at its end is
/// reported then.
#[derive(Clone, Debug, PartialEq)]
pub struct Maintenance {
    /// Time of the period.
    pub period: MaintenancePeriod,
    /// Patterns of rule names, one of which must match; empty for any rule.
    pub rules: Vec<WildMatch>,
    /// Patterns of parts of the entity by name, all of which must match. An absent part matches no
    /// pattern.
    pub entity: Vec<(&'static str, WildMatch)>,
}

impl Maintenance {
    /// Returns whether the period covers an alert at `now`.
    #[must_use]
    pub fn covers(&self, now: Timestamp, rule: Rule, entity: &Entity) -> bool {
        let matches = |name: &str, pattern: &WildMatch| {
            entity.parts().any(|(part, value)| part == name && pattern.matches(value))
        };
        self.period.contains(now)
            && (self.rules.is_empty() || self.rules.iter().any(|rules| rules.matches(rule.name())))
            && self.entity.iter().all(|(name, pattern)| matches(name, pattern))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn covers_alert_if_all_patterns_match() {
        let now = at("2026-11-21T12:00:00Z");
        let maintenance = Maintenance {
            period: MaintenancePeriod::Once(now, at("2026-11-21T13:00:00Z")),
            rules: vec![WildMatch::new("resolver_*"), WildMatch::new("timeout")],
            entity: vec![("resolver", WildMatch::new("192.0.2.*"))],
        };
        let entity =
            |resolver: &str| Entity { resolver: Some(resolver.into()), ..Entity::default() };
        assert!(maintenance.covers(now, Rule::ResolverDown, &entity("192.0.2.53")));
        assert!(!maintenance.covers(now, Rule::Latency, &entity("192.0.2.53")));
        assert!(!maintenance.covers(now, Rule::Timeout, &entity("198.51.100.53")));
        assert!(!maintenance.covers(now, Rule::Timeout, &Entity::default()));
        assert!(!maintenance.covers(
            at("2026-11-21T13:00:00Z"),
            Rule::Timeout,
            &entity("192.0.2.53")
        ));
    }
}
