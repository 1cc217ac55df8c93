//! Maintenance periods, during which expected alerts are muted.

use super::finding::{Entity, Rule};
use dnscribe_record::time::Timestamp;
use wildmatch::WildMatch;

const DAY: u64 = 86_400;

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

/// Time of a maintenance period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaintenancePeriod {
    /// A single period, from the first time to before the second.
    Once(Timestamp, Timestamp),
    /// A weekly period, UTC.
    Weekly {
        /// Days on which it starts: bit 0 is Monday.
        days: u8,
        /// Start, in seconds after midnight.
        from: u32,
        /// End (exclusive), in seconds after midnight; on the next day if it is not after the
        /// start.
        to: u32,
    },
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

impl MaintenancePeriod {
    fn contains(self, now: Timestamp) -> bool {
        match self {
            Self::Once(start, end) => (start..end).contains(&now),
            Self::Weekly { days, from, to } => {
                let seconds = now.as_nanos() / 1_000_000_000;
                let (day, time) = (seconds / DAY, seconds % DAY);
                // 1 January 1970 was a Thursday.
                let starts_on = |day: u64| days >> ((day + 3) % 7) & 1 == 1;
                let (from, to) = (u64::from(from), u64::from(to));
                if from < to {
                    starts_on(day) && (from..to).contains(&time)
                } else {
                    starts_on(day) && time >= from || starts_on(day + 6) && time < to
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn weekly_period_may_end_on_next_day() {
        // Saturdays.
        let night = MaintenancePeriod::Weekly { days: 1 << 5, from: 22 * 3600, to: 4 * 3600 };
        for (time, inside) in [
            ("2026-11-21T21:59:59Z", false),
            ("2026-11-21T22:00:00Z", true),
            ("2026-11-22T03:59:59Z", true),
            ("2026-11-22T04:00:00Z", false),
            ("2026-11-22T23:00:00Z", false),
            ("2026-11-28T23:00:00Z", true),
        ] {
            assert_eq!(night.contains(at(time)), inside, "{time}");
        }
        let day = MaintenancePeriod::Weekly { days: 1, from: 3600, to: 7200 };
        assert!(
            day.contains(at("2026-11-23T01:30:00Z")) && !day.contains(at("2026-11-24T01:30:00Z"))
        );
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
