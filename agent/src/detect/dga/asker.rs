//! Who asks for domains that do not exist.

use super::DgaOptions;
use crate::detect::finding::{Finding, Level, Rule};
use crate::detect::table::{Halves, Seen};
use crate::detect::who::{Exhibits, Who, figure, share};
use crate::number::float;
use crate::observation::Observation;
use crate::time::Timestamp;
use std::time::Duration;

/// Half of the short look back.
const MINUTES: Duration = Duration::from_secs(600);
/// Half of the long one.
const HOUR: Duration = Duration::from_secs(3600);

/// What was counted in a span of time; each domain once.
#[derive(Clone, Debug, Default)]
struct Span {
    missing: u64,
    random: u64,
    existing: u64,
    seen: Seen<32>,
    seen_existing: Seen<16>,
}

/// Who asks for domains that do not exist.
#[derive(Debug)]
pub(super) struct Asker {
    who: Who,
    short: Halves<Span>,
    long: Halves<Span>,
    exhibits: Exhibits,
}

impl Asker {
    pub(super) fn new(who: Who) -> Self {
        let (short, long) = (Halves::default(), Halves::default());
        Self { who, short, long, exhibits: Exhibits::default() }
    }

    pub(super) fn roll(&mut self, now: Timestamp) {
        self.short.roll(now, MINUTES);
        self.long.roll(now, HOUR);
    }

    /// A domain does not exist.
    pub(super) fn missing(&mut self, observation: &Observation<'_>, domain: u64, random: bool) {
        self.roll(observation.ts);
        add_missing(&mut self.short, domain, random);
        if add_missing(&mut self.long, domain, random) && random {
            self.exhibits.take(observation);
        }
    }

    /// A domain does.
    pub(super) fn exists(&mut self, ts: Timestamp, domain: u64) {
        self.roll(ts);
        for halves in [&mut self.short, &mut self.long] {
            let seen =
                halves.now.seen_existing.has(domain) || halves.before.seen_existing.has(domain);
            if !seen {
                halves.now.seen_existing.insert(domain);
                halves.now.existing += 1;
            }
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.who.heap_bytes() + self.exhibits.heap_bytes()
    }

    pub(super) fn finding(&self, options: &DgaOptions) -> Option<Finding> {
        let looks = [
            (&self.short, options.random_burst, options.any_burst, "20 min"),
            (&self.long, options.random_steady, options.any_burst * 3, "2 h"),
        ];
        let found = looks.into_iter().filter_map(|(halves, random, any, within)| {
            let sum = |of: fn(&Span) -> u64| of(&halves.now) + of(&halves.before);
            let counted = Counted {
                missing: sum(|span| span.missing),
                random: sum(|span| span.random),
                existing: sum(|span| span.existing),
            };
            Some((counted.level(options, random, any)?, counted, random, within))
        });
        let (level, counted, threshold, within) = found.max_by_key(|(level, ..)| *level)?;
        Some(self.told(level, &counted, threshold, within))
    }

    fn told(&self, level: Level, counted: &Counted, threshold: u64, within: &str) -> Finding {
        let Counted { missing, random, existing } = *counted;
        let summary = format!(
            "{} asked for {missing} domains that do not exist within {within}, {random} of them with names \
             that look random, and for {existing} that do",
            self.who
        );
        let figures = vec![
            figure("random_domains", float(random), Some(float(threshold))),
            figure("missing_domains", float(missing), None),
            figure("existing_domains", float(existing), None),
            figure("missing_share", share(missing, missing + existing), None),
        ];
        Finding {
            rule: Rule::Dga,
            entity: self.who.entity(),
            level,
            summary,
            evidence: self.exhibits.evidence(figures),
        }
    }
}

struct Counted {
    missing: u64,
    random: u64,
    existing: u64,
}

impl Counted {
    fn level(&self, options: &DgaOptions, random: u64, any: u64) -> Option<Level> {
        let looks_random = share(self.random, self.missing) >= options.random_share;
        if self.random >= random && looks_random {
            let critical = self.random >= random.saturating_mul(options.critical);
            return Some(if critical { Level::Critical } else { Level::Warning });
        }
        let missing_share = share(self.missing, self.missing + self.existing);
        let is_burst = self.missing >= any && missing_share >= options.missing_share;
        is_burst.then_some(Level::Warning)
    }
}

fn add_missing(halves: &mut Halves<Span>, domain: u64, random: bool) -> bool {
    let is_new = !halves.now.seen.has(domain) && !halves.before.seen.has(domain);
    if is_new {
        halves.now.seen.insert(domain);
        halves.now.missing += 1;
        halves.now.random += u64::from(random);
    }
    is_new
}
