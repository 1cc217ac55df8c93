//! When it is known that something will be wrong, and nobody needs to be told.

use super::finding::{Entity, Rule};
use crate::time::Timestamp;
use wildmatch::WildMatch;

/// Seconds of a day.
const DAY: u64 = 86_400;

/// A time in which some alerts are not told. They are told when it ends, if it is still wrong then.
#[derive(Clone, Debug, PartialEq)]
pub struct Maintenance {
    /// When.
    pub when: When,
    /// Patterns of rules, of which one must fit; any rule where there is none.
    pub rules: Vec<WildMatch>,
    /// Patterns of an entity's parts by name, of which all must fit. A part that is not told apart
    /// fits none.
    pub entity: Vec<(&'static str, WildMatch)>,
}

/// A time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Once: from the first to before the second.
    Once(Timestamp, Timestamp),
    /// Every week, UTC.
    Weekly {
        /// The days on which it begins: bit 0 is Monday.
        days: u8,
        /// Seconds after midnight at which it begins.
        from: u32,
        /// Seconds after midnight before which it ends; of the next day, where that is not later.
        to: u32,
    },
}

impl Maintenance {
    /// Whether an alert is one of these.
    #[must_use]
    pub fn covers(&self, now: Timestamp, rule: Rule, entity: &Entity) -> bool {
        let fits = |name: &str, pattern: &WildMatch| {
            entity.parts().any(|(part, value)| part == name && pattern.matches(value))
        };
        self.when.contains(now)
            && (self.rules.is_empty() || self.rules.iter().any(|rules| rules.matches(rule.name())))
            && self.entity.iter().all(|(name, pattern)| fits(name, pattern))
    }
}

impl When {
    fn contains(self, now: Timestamp) -> bool {
        match self {
            Self::Once(start, end) => (start..end).contains(&now),
            Self::Weekly { days, from, to } => {
                let seconds = now.as_nanos() / 1_000_000_000;
                let (day, time) = (seconds / DAY, seconds % DAY);
                // 1 January 1970 was a Thursday.
                let begins = |day: u64| days >> ((day + 3) % 7) & 1 == 1;
                let (from, to) = (u64::from(from), u64::from(to));
                if from < to {
                    begins(day) && (from..to).contains(&time)
                } else {
                    begins(day) && time >= from || begins(day + 6) && time < to
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
    fn a_week_comes_again_and_nights_end_in_the_morning() {
        // Saturdays.
        let night = When::Weekly { days: 1 << 5, from: 22 * 3600, to: 4 * 3600 };
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
        let day = When::Weekly { days: 1, from: 3600, to: 7200 };
        assert!(
            day.contains(at("2026-11-23T01:30:00Z")) && !day.contains(at("2026-11-24T01:30:00Z"))
        );
    }

    #[test]
    fn covers_what_all_its_patterns_fit() {
        let now = at("2026-11-21T12:00:00Z");
        let maintenance = Maintenance {
            when: When::Once(now, at("2026-11-21T13:00:00Z")),
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
