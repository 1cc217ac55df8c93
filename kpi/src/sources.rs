//! Declared sources: which events they deliver, on which days, and how far their rows may be refused.

mod pull;

pub use pull::{Paging, Pull, Secret, Since};

use crate::error::KpiError;
use crate::event::Rejection;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::Path;

/// Reason of refusal of a row before the first day of its source.
pub const BEFORE_FIRST_DAY: &str = "before_first_day";

/// What `--config` names.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    version: u32,
    sources: Option<Vec<Source>>,
    #[serde(default)]
    raw: RawConfig,
}

/// How long rows are kept as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    /// Days after the import; 0: not at all.
    keep_days: u16,
}

impl Default for RawConfig {
    /// A quarter, and the days in which it is closed: until then somebody finds what a map got wrong.
    fn default() -> Self {
        Self { keep_days: 100 }
    }
}

/// A source that was agreed upon.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Name: the `source_system` of its events, or the `--source` of their import.
    pub name: String,
    /// Types of events that it delivers, `dns.fleet/1` or `dns.probe/1`; a `*` at the end stands for any rest.
    pub types: Vec<String>,
    /// Days on which it delivers.
    #[serde(default)]
    pub calendar: Calendar,
    /// Days on which it delivers nothing although its calendar has them.
    #[serde(default)]
    pub except: BTreeSet<Date>,
    /// Time zone of its days.
    #[serde(default)]
    pub time_zone: Zone,
    /// First day that it delivers.
    pub first_day: Date,
    /// Share of the rows of a day and type that may be refused.
    #[serde(default)]
    pub tolerance: f64,
    /// Technical key of its events.
    #[serde(default)]
    pub key: KeyRule,
    /// Where it is pulled from, if it does not come by files or topics.
    pub pull: Option<Pull>,
}

/// Technical key of a source's events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyRule {
    /// `event_id`.
    #[default]
    EventId,
    /// Type and `business_key`; events need no `event_id`.
    BusinessKey,
}

/// Days on which a source delivers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "CalendarText")]
pub enum Calendar {
    /// These weekdays.
    Weekdays(Vec<Weekday>),
    /// Any day may be without events.
    Sparse,
}

impl Default for Calendar {
    fn default() -> Self {
        Self::Weekdays(WEEKDAYS.iter().map(|(_, day)| *day).collect())
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum CalendarText {
    Name(String),
    Days(Vec<String>),
}

const WEEKDAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

impl TryFrom<CalendarText> for Calendar {
    type Error = String;

    fn try_from(text: CalendarText) -> Result<Self, String> {
        let remedy = "choose daily, weekdays, sparse, or a list such as [mon, tue]";
        match text {
            CalendarText::Name(name) => match name.as_str() {
                "daily" => Ok(Self::default()),
                "weekdays" => {
                    Ok(Self::Weekdays(WEEKDAYS[..5].iter().map(|(_, day)| *day).collect()))
                }
                "sparse" => Ok(Self::Sparse),
                _ => Err(format!("calendar {name}: {remedy}")),
            },
            CalendarText::Days(names) => {
                let day = |name: &String| {
                    let found = WEEKDAYS.iter().find(|(known, _)| known == name);
                    found.map(|(_, day)| *day).ok_or(format!("calendar {name}: {remedy}"))
                };
                names.iter().map(day).collect::<Result<_, _>>().map(Self::Weekdays)
            }
        }
    }
}

/// Time zone of a source's days.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Zone(TimeZone);

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl Zone {
    /// Returns the instant of a local time.
    ///
    /// # Errors
    /// The zone has no such time on that day, or has it twice.
    pub fn instant(&self, local: jiff::civil::DateTime) -> Result<jiff::Timestamp, String> {
        let instant = self.0.to_ambiguous_timestamp(local).unambiguous();
        instant.map_err(|error| error.to_string())
    }
}

impl TryFrom<String> for Zone {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let zone = TimeZone::get(&name).map(Self);
        zone.map_err(|error| {
            format!("time_zone {name}: {error}: give a name such as Europe/Berlin")
        })
    }
}

impl Source {
    /// Whether the source delivers events of this type.
    #[must_use]
    pub fn delivers(&self, kind: &str) -> bool {
        self.types.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => kind.starts_with(start),
            None => kind == pattern,
        })
    }

    /// Day of the source on which an instant lies, in microseconds since the Unix epoch.
    #[must_use]
    pub fn day_of(&self, micros: i64) -> Date {
        let time = jiff::Timestamp::from_microsecond(micros).unwrap_or_default();
        self.time_zone.0.to_datetime(time).date()
    }

    /// Whether its calendar has a day.
    #[must_use]
    pub fn is_due(&self, day: Date) -> bool {
        let has = match &self.calendar {
            Calendar::Weekdays(days) => days.contains(&day.weekday()),
            Calendar::Sparse => true,
        };
        has && !self.except.contains(&day)
    }
}

/// All declared sources; none without a configuration.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    all: Vec<Source>,
    is_declared: bool,
    raw: RawConfig,
}

impl Sources {
    /// Reads the sources of a configuration.
    ///
    /// # Errors
    /// The file cannot be read, or a value in it is wrong.
    pub fn read(path: &Path) -> Result<Self, KpiError> {
        let mut sources = KpiError::reading(path, Self::parse)?;
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        for pull in sources.all.iter_mut().filter_map(|source| source.pull.as_mut()) {
            pull.resolve(folder);
        }
        Ok(sources)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let config: Config = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        if config.version != 1 {
            return Err(format!("version {}: only 1 is known", config.version));
        }
        let mut names = BTreeSet::new();
        let is_declared = config.sources.is_some();
        let all = config.sources.unwrap_or_default();
        for (index, source) in all.iter().enumerate() {
            let place = format!("sources[{index}]");
            if source.name.trim().is_empty() {
                return Err(format!("{place}.name is empty"));
            }
            if !names.insert(&source.name) {
                return Err(format!("{place}.name: {} is declared twice", source.name));
            }
            if source.types.is_empty() {
                return Err(format!("{place}.types is empty: name what {} delivers", source.name));
            }
            if !(0.0..1.0).contains(&source.tolerance) {
                let given = source.tolerance;
                return Err(format!("{place}.tolerance {given}: give a share such as 0.001"));
            }
            if let Some(pull) = &source.pull {
                pull.check(&format!("{place}.pull"))?;
            }
        }
        Ok(Self { all, is_declared, raw: config.raw })
    }

    /// Days after their import for which rows are kept as they came; 0: not at all.
    #[must_use]
    pub const fn raw_days(&self) -> u16 {
        self.raw.keep_days
    }

    /// Whether there is a configuration with sources.
    #[must_use]
    pub const fn are_declared(&self) -> bool {
        self.is_declared
    }

    /// Every source.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.all.iter()
    }

    /// Finds a source.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Source> {
        self.all.iter().find(|source| source.name == name)
    }

    /// Share of the rows of a type that may be refused; none if no source delivers it.
    #[must_use]
    pub fn tolerance(&self, kind: &str) -> Option<f64> {
        let tolerances = self.all.iter().filter(|source| source.delivers(kind));
        tolerances.map(|source| source.tolerance).reduce(f64::min)
    }

    /// Checks whether a row is one of those that its source was declared to deliver.
    ///
    /// # Errors
    /// It is not.
    pub fn check(&self, name: &str, kind: &str, micros: i64) -> Result<(), Rejection> {
        if !self.is_declared {
            return Ok(());
        }
        let Some(source) = self.find(name) else {
            let detail = format!("{name}: not in sources; declare it, or give --source");
            return Err(Rejection::new("undeclared_source", detail));
        };
        if !source.delivers(kind) {
            let detail = format!("{kind}: not among the types of the source {name}");
            return Err(Rejection::new("undeclared_type", detail));
        }
        let day = source.day_of(micros);
        if day < source.first_day {
            let detail = format!("{day}: before first_day {} of {name}", source.first_day);
            return Err(Rejection::new(BEFORE_FIRST_DAY, detail));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    const TEXT: &str = "version: 1\nsources:\n  - name: registry\n    types: [\"registration_*\", expired]\n    \
        calendar: weekdays\n    except: [2026-12-25]\n    time_zone: UTC\n    first_day: 2026-01-01\n    tolerance: 0.001\n";

    #[test]
    fn reads_what_a_source_delivers() {
        let sources = Sources::parse(TEXT).unwrap();
        let source = sources.find("registry").unwrap();
        assert!(source.delivers("registration_failed") && source.delivers("expired"));
        assert!(!source.delivers("payment_captured") && !source.delivers("expired_late"));
        let due =
            [date(2026, 3, 6), date(2026, 3, 7), date(2026, 12, 25)].map(|day| source.is_due(day));
        assert_eq!(due, [true, false, false]);
        let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_microsecond();
        let check = |name, kind, time| {
            sources.check(name, kind, at(time)).err().map(|rejection| rejection.reason)
        };
        assert_eq!(check("registry", "expired", "2026-03-06T10:00:00Z"), None);
        assert_eq!(check("billing", "expired", "2026-03-06T10:00:00Z"), Some("undeclared_source"));
        assert_eq!(check("registry", "deleted", "2026-03-06T10:00:00Z"), Some("undeclared_type"));
        assert_eq!(check("registry", "expired", "2025-12-31T23:59:59Z"), Some(BEFORE_FIRST_DAY));
    }

    #[test]
    fn rows_are_kept_without_sources_too() {
        for (text, days, is_declared) in [
            (TEXT, 100, true),
            ("version: 1\nraw: { keep_days: 7 }\n", 7, false),
            ("version: 1\nsources: []\nraw: { keep_days: 0 }\n", 0, true),
        ] {
            let sources = Sources::parse(text).unwrap();
            assert_eq!((sources.raw_days(), sources.are_declared()), (days, is_declared), "{text}");
        }
    }

    #[test]
    fn names_what_is_wrong() {
        for (from, to, problem) in [
            ("weekdays", "mondays", "calendar mondays"),
            ("weekdays", "[mon, foo]", "calendar foo"),
            ("time_zone: UTC", "time_zone: Berlin", "time_zone Berlin"),
            ("first_day: 2026-01-01\n", "first_day: soon\n", "line"),
            ("0.001", "2", "sources[0].tolerance 2"),
            ("except", "exept", "exept"),
            ("[\"registration_*\", expired]", "[]", "sources[0].types is empty"),
            ("version: 1", "version: 2", "version 2"),
        ] {
            let error = Sources::parse(&TEXT.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(problem), "{to}: {error}");
        }
    }
}
