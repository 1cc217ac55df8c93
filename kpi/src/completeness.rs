//! Which data of a day are missing, so that its KPIs are marked as incomplete instead of being silently wrong.
//!
//! - A declared source has not delivered a day of its calendar; or, where none is declared, a source system that delivers
//!   nearly every day has delivered nothing for a day.
//! - Windows of the fleet, or measurements of probes, do not cover a day.
//! - Rows of one type and day, or of one file, were refused and have not been corrected.
//! - A key stands for more than one fact.
//! - No source has ever delivered what a KPI is made of.

mod delivery;

use crate::dictionary::{Dictionary, Kpi};
use crate::engine::Engine;
use crate::error::KpiError;
use crate::facts::epoch_day;
use crate::rows::{Columns, date, text};
use crate::sources::{BEFORE_FIRST_DAY, Sources};
use crate::store::{Coverage, State, Table};
use datafusion::arrow::array::Array as _;
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

/// Hours of each day that windows of the fleet cover, at the vantage that covers most.
const WINDOW_HOURS: &str = "SELECT day, max(seconds) / 3600 AS hours FROM (SELECT day, vantage, region, \
    sum(window_seconds) AS seconds FROM dns GROUP BY day, vantage, region) AS covered GROUP BY day";

/// Hours of each day that have measurements of probes.
const PROBE_HOURS: &str =
    "SELECT day, count(DISTINCT event_us / 3600000000) AS hours FROM probes_raw GROUP BY day";

/// Key under which missing events of a type are listed.
#[must_use]
pub fn event_key(event_type: &str) -> String {
    format!("event:{event_type}")
}

/// What a KPI needs on a day: found once, and asked for many days.
#[derive(Clone, Debug)]
pub struct Needs {
    /// Sources and types of events, with the days after a day until which they count.
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
    /// Finds what is missing in `span`. `present` are the types of all events.
    ///
    /// # Errors
    /// A query fails.
    pub async fn find(
        engine: &Engine,
        state: &State,
        dictionary: &Dictionary,
        sources: &Sources,
        span: (Date, Date),
        present: &BTreeSet<String>,
    ) -> Result<Self, KpiError> {
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
            gaps.find_undelivered(engine, state, dictionary, sources, span).await?;
        } else {
            gaps.find_silent_systems(engine, state).await?;
        }
        gaps.find_uncovered(engine, WINDOW_HOURS, "dns.fleet/1", span).await?;
        gaps.find_uncovered(engine, PROBE_HOURS, "dns.probe/1", span).await?;
        gaps.find_rejected(engine, state, sources).await?;
        gaps.find_conflicts(engine).await?;
        Ok(gaps)
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

    async fn find_silent_systems(
        &mut self,
        engine: &Engine,
        state: &State,
    ) -> Result<(), KpiError> {
        let Some(last) = state.files(Table::Events).filter_map(|file| file.day).max() else {
            return Ok(());
        };
        let sql = "SELECT source_system, day FROM events_raw WHERE source_system IS NOT NULL \
                   GROUP BY source_system, day";
        let mut systems: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
        for batch in engine.query("days of source systems", sql).await? {
            let columns = Columns(&batch);
            let (names, days) = (columns.texts("source_system")?, columns.days("day")?);
            for row in 0..batch.num_rows() {
                let name = text(&names, row).unwrap_or_default().to_owned();
                systems.entry(name).or_default().insert(days.value(row));
            }
        }
        let sql = "SELECT source_system, event_type FROM events_raw WHERE source_system IS NOT NULL \
                   GROUP BY source_system, event_type";
        let mut types: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for batch in engine.query("types of source systems", sql).await? {
            let columns = Columns(&batch);
            let (names, kinds) = (columns.texts("source_system")?, columns.texts("event_type")?);
            for row in 0..batch.num_rows() {
                let kind = text(&kinds, row).unwrap_or_default().to_owned();
                types
                    .entry(text(&names, row).unwrap_or_default().to_owned())
                    .or_default()
                    .insert(kind);
            }
        }
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
    async fn find_uncovered(
        &mut self,
        engine: &Engine,
        sql: &str,
        source: &str,
        (from, to): (Date, Date),
    ) -> Result<(), KpiError> {
        let mut hours = BTreeMap::new();
        for batch in engine.query(source, sql).await? {
            let columns = Columns(&batch);
            let (days, counts) = (columns.days("day")?, columns.integers("hours")?);
            hours.extend((0..batch.num_rows()).map(|row| (days.value(row), counts.value(row))));
        }
        for day in epoch_day(from)..=epoch_day(to) {
            let covered = hours.get(&day).copied().unwrap_or_default();
            if covered < COVERED_HOURS {
                self.add(date(day), source.to_owned(), format!("{covered} of 24 hours have data"));
            }
        }
        Ok(())
    }

    /// Finds technical keys that stand for several facts, of which only one counts, and facts with several amounts.
    async fn find_conflicts(&mut self, engine: &Engine) -> Result<(), KpiError> {
        let technical = "SELECT r.day AS day, r.event_type AS event_type, count(*) AS conflicts \
             FROM (SELECT day, event_type, business_key FROM events_raw \
             WHERE row_id IN (SELECT row_id FROM technical)) AS r LEFT ANTI JOIN events_unique AS u \
             ON r.event_type = u.event_type AND r.business_key = u.business_key \
             GROUP BY r.day, r.event_type";
        let amounts = "SELECT u.day AS day, u.event_type AS event_type, count(*) AS conflicts \
             FROM (SELECT event_type, business_key, amount_micros, currency FROM events_raw \
             WHERE row_id IN (SELECT row_id FROM duplicates)) AS r INNER JOIN events AS u \
             ON r.event_type = u.event_type AND r.business_key = u.business_key \
             WHERE coalesce(r.amount_micros, -1) <> coalesce(u.amount_micros, -1) \
             OR coalesce(r.currency, '') <> coalesce(u.currency, '') GROUP BY u.day, u.event_type";
        for (sql, what) in [
            (technical, "events share their technical key with another fact"),
            (amounts, "events repeat a fact with another amount"),
        ] {
            for batch in engine.query("conflicts of keys", sql).await? {
                let columns = Columns(&batch);
                let (days, kinds) = (columns.days("day")?, columns.texts("event_type")?);
                let counts = columns.integers("conflicts")?;
                for row in 0..batch.num_rows() {
                    let key = event_key(text(&kinds, row).unwrap_or_default());
                    self.add(date(days.value(row)), key, format!("{} {what}", counts.value(row)));
                }
            }
        }
        Ok(())
    }

    async fn find_rejected(
        &mut self,
        engine: &Engine,
        state: &State,
        sources: &Sources,
    ) -> Result<(), KpiError> {
        if state.files(Table::Rejected).next().is_none() {
            return Ok(());
        }
        let replaced: BTreeSet<&str> = state
            .imports
            .values()
            .filter_map(|(_, _, import)| import.replaces.as_deref())
            .collect();
        let sql = "SELECT r.day AS day, r.event_type AS event_type, r.source_sha256 AS sha256, \
                   r.reason AS reason, count(*) AS refused FROM rejected_raw AS r \
                   LEFT JOIN (SELECT DISTINCT e.event_type AS event_type, e.business_key AS business_key \
                   FROM events_raw AS e INNER JOIN rejected_raw AS k ON e.business_key = k.business_key) AS done \
                   ON r.business_key = done.business_key \
                   AND coalesce(r.event_type, done.event_type) = done.event_type \
                   WHERE done.business_key IS NULL \
                   GROUP BY r.day, r.event_type, r.source_sha256, r.reason";
        let mut open: BTreeMap<(Date, String), u64> = BTreeMap::new();
        let mut unplaced: BTreeMap<String, u64> = BTreeMap::new();
        for batch in engine.query("rejected rows", sql).await? {
            let columns = Columns(&batch);
            let (days, kinds) = (columns.days("day")?, columns.texts("event_type")?);
            let (files, counts) = (columns.texts("sha256")?, columns.integers("refused")?);
            let reasons = columns.texts("reason")?;
            for row in 0..batch.num_rows() {
                let file = text(&files, row).unwrap_or_default();
                let count = u64::try_from(counts.value(row)).unwrap_or_default();
                if replaced.contains(file) {
                    continue;
                }
                if days.is_valid(row) {
                    *self.rejected.entry(date(days.value(row))).or_default() += count;
                }
                // Nobody has agreed upon what came before the first day of a source.
                if text(&reasons, row) == Some(BEFORE_FIRST_DAY) {
                    continue;
                }
                match (days.is_valid(row), text(&kinds, row)) {
                    (true, Some(kind)) => {
                        let key = (date(days.value(row)), kind.to_owned());
                        *open.entry(key).or_default() += count;
                    }
                    _ => *unplaced.entry(file.to_owned()).or_default() += count,
                }
            }
        }
        self.add_placed(engine, sources, &open).await?;
        self.add_unplaced(engine, state, sources, &unplaced).await
    }

    /// Adds refused rows whose day and type can be read.
    async fn add_placed(
        &mut self,
        engine: &Engine,
        sources: &Sources,
        open: &BTreeMap<(Date, String), u64>,
    ) -> Result<(), KpiError> {
        if open.is_empty() {
            return Ok(());
        }
        let sql = "SELECT day, event_type, count(*) AS accepted FROM events_raw \
                   WHERE event_type IN (SELECT event_type FROM rejected_raw) GROUP BY day, event_type";
        let mut accepted: BTreeMap<(Date, String), u64> = BTreeMap::new();
        for batch in engine.query("accepted rows", sql).await? {
            let columns = Columns(&batch);
            let (days, kinds) = (columns.days("day")?, columns.texts("event_type")?);
            let counts = columns.integers("accepted")?;
            for row in 0..batch.num_rows() {
                let key = (date(days.value(row)), text(&kinds, row).unwrap_or_default().to_owned());
                accepted.insert(key, u64::try_from(counts.value(row)).unwrap_or_default());
            }
        }
        for (key, refused) in open {
            let allowed = sources.tolerance(&key.1).unwrap_or(REJECTED_SHARE);
            if is_too_many(*refused, accepted.get(key).copied().unwrap_or_default(), allowed) {
                self.add(key.0, event_key(&key.1), format!("{refused} rows were refused"));
            }
        }
        Ok(())
    }

    /// Adds files with many refused rows whose day or type cannot be read: all days and types of the file, or, if
    /// nothing of it could be read, the types that its source has delivered, on the day of the import.
    async fn add_unplaced(
        &mut self,
        engine: &Engine,
        state: &State,
        sources: &Sources,
        unplaced: &BTreeMap<String, u64>,
    ) -> Result<(), KpiError> {
        for (file, refused) in unplaced {
            let Some((_, at, import)) = state.imports.get(file) else { continue };
            let declared = sources.find(&import.source).map(|source| source.tolerance);
            if !is_too_many(*refused, import.accepted, declared.unwrap_or(REJECTED_SHARE)) {
                continue;
            }
            let source = import.source.replace('\'', "''");
            let sql = format!(
                "SELECT DISTINCT event_type FROM events_raw WHERE source_sha256 = '{file}' OR \
                 ({} = 0 AND source = '{source}')",
                import.accepted
            );
            let mut days: BTreeSet<Date> =
                import.files.iter().filter_map(|file| file.day).collect();
            if days.is_empty() {
                days.insert(crate::facts::day_of(at.as_microsecond()));
            }
            for batch in engine.query("types of a file", &sql).await? {
                let kinds = Columns(&batch).texts("event_type")?;
                for kind in (0..batch.num_rows()).filter_map(|row| text(&kinds, row)) {
                    for day in &days {
                        let reason = format!("{refused} rows of {} were refused", import.name);
                        self.add(*day, event_key(kind), reason);
                    }
                }
            }
        }
        Ok(())
    }
}

fn is_too_many(refused: u64, accepted: u64, allowed: f64) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "a share of rows")]
    let share = refused as f64 / (refused + accepted).max(1) as f64;
    share > allowed
}
