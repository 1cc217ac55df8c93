//! Which data of a day are missing, so that its KPIs are marked as incomplete instead of being silently wrong.
//!
//! - A declared source has not delivered a day of its calendar; or, where none is declared, a source system that delivers
//!   nearly every day has delivered nothing for a day. Files without one are one source system.
//! - Windows of the fleet, or measurements of probes, do not cover a day.
//! - Rows of one type and day, or of one file, were refused and have not been corrected.
//! - A key stands for more than one fact.
//! - A correction takes nothing away, or facts of several types.
//! - No source has ever delivered what a KPI is made of.
//! - A sum of a measure is too large.

mod delivery;

use crate::dictionary::{Dictionary, Kpi};
use crate::engine::Engine;
use crate::error::KpiError;
use crate::event::{EVENT_TYPES, EventType, has_effect, is_reversal};
use crate::facts::epoch_day;
use crate::rows::date;
use crate::sources::{BEFORE_FIRST_DAY, Sources};
use crate::store::{Coverage, State, Store, Table};
use crate::summary::{self, Count, Kind, Summary};
use jiff::civil::Date;
use std::collections::{BTreeMap, BTreeSet};

/// Days that a source system must have delivered before a gap is noticed.
const REGULAR_DAYS: usize = 7;
/// Share of its days that a source system delivers if it is regular.
const REGULAR_SHARE: f64 = 0.8;
/// Times that a weekday must have passed without events until a source system rests on it.
const RESTING_WEEKS: usize = 3;
/// Share of a day's hours that windows of the fleet must touch.
const COVERED_HOURS: i64 = 22;
/// Share of the rows of one type and day that may be refused where no source is declared that delivers them.
const REJECTED_SHARE: f64 = 0.01;

/// What is missing, by day.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gaps {
    days: BTreeMap<Date, BTreeMap<String, String>>,
    rejected: BTreeMap<Date, u64>,
    /// What sources are declared, and what none of them delivers.
    pub coverage: Coverage,
}

/// Key under which missing events of a type are listed.
#[must_use]
pub fn event_key(event_type: &str) -> String {
    format!("event:{event_type}")
}

/// What stands before the name of a measure under which a sum is listed that is too large.
const MEASURE: &str = "measure:";

/// Why a sum has no value.
pub const TOO_LARGE: &str = "a sum is too large: it has no value of 64 bits";

/// Returns the measure whose sum is listed under a key, if the key is that of one.
#[must_use]
pub fn measure_of_key(key: &str) -> Option<&str> {
    key.strip_prefix(MEASURE)
}

/// What a KPI needs on a day: found once, and asked for many days.
#[derive(Clone, Debug)]
pub struct Needs {
    /// Sources, types of events and measures, with the days after a day until which they count.
    keys: BTreeMap<String, i32>,
    /// Why the KPI is incomplete on every day.
    always: Option<String>,
}

impl Needs {
    /// Finds what a KPI needs.
    #[must_use]
    pub fn of(dictionary: &Dictionary, kpi: &Kpi, coverage: &Coverage) -> Self {
        let types = dictionary.event_types(kpi);
        let missing: Vec<&str> =
            types.iter().copied().filter(|kind| coverage.absent.contains(*kind)).collect();
        let list = missing.join(", ");
        let always = if coverage.are_sources_declared && !missing.is_empty() {
            Some(format!("no declared source delivers {list}"))
        } else if !types.is_empty() && missing.len() == types.len() {
            Some(format!("no source has ever delivered {list}"))
        } else {
            None
        };
        let mut keys = BTreeMap::new();
        for measure in kpi.measures().into_iter().filter_map(|name| dictionary.measure(name)) {
            let horizon = i32::try_from(measure.horizon_days).unwrap_or_default();
            let model = dictionary.model_of(measure).map(|model| model.source.clone());
            for key in measure.types.iter().map(|kind| event_key(kind)).chain(model) {
                let known = keys.entry(key).or_insert(horizon);
                *known = horizon.max(*known);
            }
            keys.insert(format!("{MEASURE}{}", measure.name), 0);
        }
        Self { keys, always }
    }

    /// Returns why the KPI's value on a day is incomplete: nothing if it is not. `of_day` has what is missing of a day, by
    /// source or type of events.
    pub fn reasons<'a>(
        &self,
        day: Date,
        of_day: impl Fn(Date) -> Option<&'a BTreeMap<String, String>>,
    ) -> Vec<String> {
        let mut reasons: Vec<String> = self.always.iter().cloned().collect();
        // What happens until the horizon counts, so these days must be there, too.
        let longest = self.keys.values().max().copied().unwrap_or_default();
        for after in 0..=longest {
            let day = date(epoch_day(day) + after);
            let Some(missing) = of_day(day).filter(|missing| !missing.is_empty()) else { continue };
            let keys = self.keys.iter().filter(|(_, horizon)| after <= **horizon);
            for (key, reason) in keys.filter_map(|(key, _)| missing.get_key_value(key)) {
                reasons.push(format!("{day}: {key}: {reason}"));
            }
        }
        reasons
    }
}

impl Gaps {
    /// Finds what is missing in `span`.
    ///
    /// # Errors
    /// A file of facts cannot be read.
    pub async fn find(
        summary: &Summary,
        store: &Store,
        state: &State,
        dictionary: &Dictionary,
        sources: &Sources,
        span: (Date, Date),
    ) -> Result<Self, KpiError> {
        let present = event_types(summary)?;
        let is_absent = |kind: &&str| {
            if sources.are_declared() {
                !sources.iter().any(|source| source.delivers(kind))
            } else {
                !present.contains(*kind)
            }
        };
        let needed = dictionary.kpis.iter().flat_map(|kpi| dictionary.event_types(kpi));
        let absent = needed.filter(is_absent).map(str::to_owned).collect();
        let are_sources_declared = sources.are_declared();
        let openings = delivery::openings(dictionary, sources, state);
        let coverage = Coverage { absent, are_sources_declared, openings };
        let mut gaps = Self { coverage, ..Self::default() };
        if sources.are_declared() {
            gaps.find_undelivered(summary, state, dictionary, sources, span)?;
        } else {
            gaps.find_silent_systems(summary, state)?;
        }
        gaps.find_uncovered("dns.fleet/1", &window_hours(summary)?, span);
        gaps.find_uncovered("dns.probe/1", &probe_hours(summary)?, span);
        let needed = dictionary.kpis.iter().flat_map(|kpi| dictionary.event_types(kpi));
        // Types with a slash are schemas of other records, which no event takes away.
        let counted: BTreeSet<&str> = needed.filter(|kind| !kind.contains('/')).collect();
        let types: BTreeSet<&str> =
            counted.iter().copied().chain(present.iter().map(String::as_str)).collect();
        gaps.find_rejected(summary, store, state, sources, (&types, span.0)).await?;
        for kind in [Kind::SharedKeys, Kind::Conflicts] {
            summary.of(kind, |Count { day, name, detail, number, .. }| {
                let Some(day) = day else { return };
                let reason = match detail {
                    None => format!("{number} events share their technical key with another fact"),
                    Some(other) => format!("{number} events repeat a fact with another {other}"),
                };
                gaps.add(date(day), event_key(name.unwrap_or_default()), reason);
            })?;
        }
        summary.of(Kind::Corrections, |Count { day, name, detail, number, .. }| {
            let Some((day, family)) = day.zip(name) else { return };
            let reason = match detail {
                Some(summary::SEVERAL_TYPES) => {
                    "take away facts of several types: give corrects_type"
                }
                _ => "take nothing away: their fact has never come",
            };
            // Taking back a correction concerns what that one takes away.
            let is_exact = detail == Some(summary::EXACT_TYPE) && !is_reversal(family);
            let family = family.trim_end_matches("_reversed").trim_end_matches("_voided");
            let is_named =
                |kind: &str| if is_exact { kind == family } else { kind.starts_with(family) };
            // A misspelt type may stand for any; one that is known, and that no KPI counts, makes nothing wrong.
            let is_known = counted.iter().any(|kind| is_named(kind))
                || EVENT_TYPES.iter().any(|kind| has_effect(kind.name) && is_named(kind.name));
            for kind in types.iter().filter(|kind| !is_known || is_named(kind)) {
                gaps.add(date(day), event_key(kind), format!("{number} corrections {reason}"));
            }
        })?;
        Ok(gaps)
    }

    /// Marks the measures that have a sum on a day that is too large.
    pub fn add_too_large(&mut self, day: Date, measures: &BTreeSet<String>) {
        for name in measures {
            self.add(day, format!("{MEASURE}{name}"), TOO_LARGE.to_owned());
        }
    }

    /// What is missing of a day: source or type of events, and the reason.
    #[must_use]
    pub fn of_day(&self, day: Date) -> Option<&BTreeMap<String, String>> {
        self.days.get(&day)
    }

    /// Refused rows of a day that wait for a correction.
    #[must_use]
    pub fn rejected(&self, day: Date) -> u64 {
        self.rejected.get(&day).copied().unwrap_or_default()
    }

    fn add(&mut self, day: Date, key: String, reason: String) {
        self.days.entry(day).or_default().entry(key).or_insert(reason);
    }

    fn find_silent_systems(&mut self, summary: &Summary, state: &State) -> Result<(), KpiError> {
        let Some(last) = state.files(Table::Events).filter_map(|file| file.day).max() else {
            return Ok(());
        };
        let mut systems: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
        let mut types: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        summary.of(Kind::Events, |Count { day, source, name, .. }| {
            let Some(day) = day else { return };
            // Names of files are no systems: each day's file may have its own.
            let system = source.unwrap_or("an unnamed source system");
            systems.entry(system.to_owned()).or_default().insert(day);
            types.entry(system.to_owned()).or_default().extend(name.map(str::to_owned));
        })?;
        for (system, days) in &systems {
            let (Some(first), Some(end)) = (days.first(), days.last()) else { continue };
            let span = f64::from(end - first + 1);
            let delivered = u32::try_from(days.len()).map_or(0.0, f64::from);
            if days.len() < REGULAR_DAYS || delivered < REGULAR_SHARE * span {
                continue;
            }
            // A weekday on which it has never delivered is none of its days.
            let weekday = |day: i32| date(day).weekday().to_monday_zero_offset();
            let rests = |day: i32| {
                let same = (*first..=epoch_day(last)).filter(|one| weekday(*one) == weekday(day));
                let mut same = same.peekable();
                same.clone().count() >= RESTING_WEEKS && same.all(|one| !days.contains(&one))
            };
            let resting: BTreeSet<i8> =
                (*first..*first + 7).filter(|day| rests(*day)).map(weekday).collect();
            let missing = |day: &i32| !days.contains(day) && !resting.contains(&weekday(*day));
            for day in (*first..=epoch_day(last)).filter(missing) {
                for kind in types.get(system).into_iter().flatten() {
                    self.add(date(day), event_key(kind), format!("{system} has delivered nothing"));
                }
            }
        }
        Ok(())
    }

    /// Finds days of which too few hours have rows.
    fn find_uncovered(
        &mut self,
        source: &str,
        hours: &BTreeMap<i32, i64>,
        (from, to): (Date, Date),
    ) {
        for day in epoch_day(from)..=epoch_day(to) {
            let covered = hours.get(&day).copied().unwrap_or_default();
            if covered < COVERED_HOURS {
                self.add(date(day), source.to_owned(), format!("{covered} of 24 hours have data"));
            }
        }
    }

    /// Finds days with refused rows. `types` are those of facts and KPIs.
    async fn find_rejected(
        &mut self,
        summary: &Summary,
        store: &Store,
        state: &State,
        sources: &Sources,
        (types, first): (&BTreeSet<&str>, Date),
    ) -> Result<(), KpiError> {
        // Another text may stand for any type. It may be a name in the wrong column, too, and commits are never written anew.
        let is_type = |kind: &&str| {
            let mut declared = sources.iter().flat_map(|source| &source.types);
            types.contains(kind)
                || EventType::find(kind).is_some()
                || declared.any(|declared| declared == kind)
        };
        let imports = || state.imports.values().map(|(_, _, import)| import);
        let replaced = imports().filter_map(|import| import.replaces.as_deref());
        // A row of a table is of no day and type that could be marked.
        let tables = imports().filter(|import| import.is_table());
        let closed: BTreeSet<&str> =
            replaced.chain(tables.map(|import| import.sha256.as_str())).collect();
        let mut open: BTreeMap<(Date, String), u64> = BTreeMap::new();
        let mut unplaced: BTreeMap<String, Unplaced> = BTreeMap::new();
        summary.of(Kind::Refused, |Count { day, source, name, detail, number, .. }| {
            let file = source.unwrap_or_default();
            let count = u64::try_from(number).unwrap_or_default();
            if closed.contains(file) {
                return;
            }
            if let Some(day) = day {
                *self.rejected.entry(date(day)).or_default() += count;
            }
            // Nobody has agreed upon what came before the first day of a source.
            if detail == Some(BEFORE_FIRST_DAY) {
                return;
            }
            let name = name.filter(is_type);
            match day.zip(name) {
                Some((day, kind)) => {
                    *open.entry((date(day), kind.to_owned())).or_default() += count;
                }
                None => {
                    unplaced.entry(file.to_owned()).or_default().add(count, day.map(date), name);
                }
            }
        })?;
        self.add_placed(summary, sources, &open)?;
        let first = state.span().map_or(first, |(oldest, _)| oldest.min(first));
        self.add_unplaced(summary, store, state, sources, first, &unplaced).await
    }

    /// Adds refused rows whose day and type can be read.
    fn add_placed(
        &mut self,
        summary: &Summary,
        sources: &Sources,
        open: &BTreeMap<(Date, String), u64>,
    ) -> Result<(), KpiError> {
        let mut accepted: BTreeMap<(Date, String), u64> = BTreeMap::new();
        summary.of(Kind::Events, |Count { day, name, number, .. }| {
            let Some((day, kind)) = day.zip(name) else { return };
            let more = u64::try_from(number).unwrap_or_default();
            *accepted.entry((date(day), kind.to_owned())).or_default() += more;
        })?;
        for (key, refused) in open {
            let allowed = sources.tolerance(&key.1).unwrap_or(REJECTED_SHARE);
            if is_too_many(*refused, accepted.get(key).copied().unwrap_or_default(), allowed) {
                self.add(key.0, event_key(&key.1), format!("{refused} rows were refused"));
            }
        }
        Ok(())
    }

    /// Adds files with many refused rows whose day or type cannot be read. A row without day may be of any day up to the day after its
    /// import, from the first day of its source on, or from the `first` of all; one without type of all types of the file and of its source.
    async fn add_unplaced(
        &mut self,
        summary: &Summary,
        store: &Store,
        state: &State,
        sources: &Sources,
        first: Date,
        unplaced: &BTreeMap<String, Unplaced>,
    ) -> Result<(), KpiError> {
        if unplaced.is_empty() {
            return Ok(());
        }
        let (known, by_source) = (event_types(summary)?, types_by_source(summary)?);
        for (file, refused) in unplaced {
            let Unplaced { rows, types, days, has_other_types, has_other_days } = refused;
            let Some((_, at, import)) = state.imports.get(file) else { continue };
            let declared = sources.find(&import.source);
            let allowed = declared.map_or(REJECTED_SHARE, |source| source.tolerance);
            if !is_too_many(*rows, import.accepted, allowed) {
                continue;
            }
            let mut days = days.clone();
            if *has_other_days {
                // Days of a source may be those of another time zone.
                let opening = declared.and_then(|source| source.first_day.yesterday().ok());
                let opening = opening.map_or(first, |opening| opening.max(first));
                let imported = epoch_day(crate::facts::day_of(at.as_microsecond()));
                days.extend((epoch_day(opening)..=imported + 1).map(date));
            }
            let mut kinds = types.clone();
            if *has_other_types {
                kinds.extend(by_source.get(&import.source).into_iter().flatten().cloned());
                kinds.extend(Engine::types_of(store, &import.files).await?);
                if let Some(source) = declared {
                    kinds.extend(known.iter().filter(|kind| source.delivers(kind)).cloned());
                    let named = source.types.iter().filter(|kind| !kind.ends_with('*'));
                    kinds.extend(named.cloned());
                }
                // Nothing says what its rows are: they may be of any type.
                if kinds.is_empty() {
                    kinds.clone_from(&known);
                }
            }
            for kind in kinds {
                for day in &days {
                    let reason = format!("{rows} rows of {} were refused", import.name);
                    self.add(*day, event_key(&kind), reason);
                }
            }
        }
        Ok(())
    }
}

/// Refused rows of a file whose day or type cannot be read, with the days and types of those where one of the two can.
#[derive(Debug, Default)]
struct Unplaced {
    rows: u64,
    types: BTreeSet<String>,
    days: BTreeSet<Date>,
    has_other_types: bool,
    has_other_days: bool,
}

impl Unplaced {
    fn add(&mut self, rows: u64, day: Option<Date>, kind: Option<&str>) {
        self.rows += rows;
        self.types.extend(kind.map(str::to_owned));
        self.days.extend(day);
        self.has_other_types |= kind.is_none();
        self.has_other_days |= day.is_none();
    }
}

/// Types of all events; alerts are one more type.
///
/// # Errors
/// The summary has other columns.
pub fn event_types(summary: &Summary) -> Result<BTreeSet<String>, KpiError> {
    let mut types = BTreeSet::new();
    for kind in [Kind::Events, Kind::Alerts] {
        summary.of(kind, |count| types.extend(count.name.map(str::to_owned)))?;
    }
    Ok(types)
}

/// Types of events that files of each source had.
fn types_by_source(summary: &Summary) -> Result<BTreeMap<String, BTreeSet<String>>, KpiError> {
    let mut types: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    summary.of(Kind::Events, |Count { name, detail, .. }| {
        let Some((kind, source)) = name.zip(detail) else { return };
        types.entry(source.to_owned()).or_default().insert(kind.to_owned());
    })?;
    Ok(types)
}

/// Hours of each day that windows of the fleet cover, at the vantage that covers most.
fn window_hours(summary: &Summary) -> Result<BTreeMap<i32, i64>, KpiError> {
    let mut hours = BTreeMap::new();
    summary.of(Kind::WindowSeconds, |Count { day, number, .. }| {
        let Some(day) = day else { return };
        let known = hours.entry(day).or_default();
        *known = number.div_euclid(3600).max(*known);
    })?;
    Ok(hours)
}

/// Hours of each day that have measurements of probes.
fn probe_hours(summary: &Summary) -> Result<BTreeMap<i32, i64>, KpiError> {
    let mut hours = BTreeMap::new();
    summary.of(Kind::ProbeHours, |Count { day, .. }| {
        let Some(day) = day else { return };
        *hours.entry(day).or_default() += 1;
    })?;
    Ok(hours)
}

fn is_too_many(refused: u64, accepted: u64, allowed: f64) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "a share of rows")]
    let share = refused as f64 / (refused + accepted).max(1) as f64;
    share > allowed
}
