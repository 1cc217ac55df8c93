//! Which data of a day are missing, so that its KPIs are marked as incomplete instead of being silently wrong.
//!
//! - A source system that delivers nearly every day has delivered nothing for a day.
//! - Windows of the fleet, or measurements of probes, do not cover a day.
//! - Many rows of one type and day, or of one file, were refused and have not been corrected.

use crate::engine::Engine;
use crate::error::KpiError;
use crate::facts::epoch_day;
use crate::rows::{Columns, date, text};
use crate::store::{State, Table};
use datafusion::arrow::array::Array as _;
use jiff::civil::Date;
use std::collections::{BTreeMap, BTreeSet};

/// Days that a source system must have delivered before a gap is noticed.
const REGULAR_DAYS: usize = 7;
/// Share of its days that a source system delivers if it is regular.
const REGULAR_SHARE: f64 = 0.8;
/// Share of a day's hours that windows of the fleet must touch.
const COVERED_HOURS: i64 = 22;
/// Refused rows of one type and day from which on the day is incomplete, and their least share.
const REJECTED_ROWS: u64 = 5;
const REJECTED_SHARE: f64 = 0.05;

/// What is missing, by day.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gaps {
    days: BTreeMap<Date, BTreeMap<String, String>>,
    rejected: BTreeMap<Date, u64>,
}

/// Key under which missing events of a type are listed.
#[must_use]
pub fn event_key(event_type: &str) -> String {
    format!("event:{event_type}")
}

impl Gaps {
    /// Finds what is missing in `span`.
    ///
    /// # Errors
    /// A query fails.
    pub async fn find(
        engine: &Engine,
        state: &State,
        span: (Date, Date),
    ) -> Result<Self, KpiError> {
        let mut gaps = Self::default();
        gaps.find_silent_systems(engine, state).await?;
        gaps.find_uncovered(engine, "dns_raw", "dns.fleet/1", span).await?;
        gaps.find_uncovered(engine, "probes_raw", "dns.probe/1", span).await?;
        gaps.find_rejected(engine, state).await?;
        Ok(gaps)
    }

    /// What is missing of a day: source or type of events, and the reason.
    #[must_use]
    pub fn of_day(&self, day: Date) -> BTreeMap<String, String> {
        self.days.get(&day).cloned().unwrap_or_default()
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
            for day in (*first..=epoch_day(last)).filter(|day| !days.contains(day)) {
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
        table: &str,
        source: &str,
        (from, to): (Date, Date),
    ) -> Result<(), KpiError> {
        let sql = format!(
            "SELECT day, count(DISTINCT event_us / 3600000000) AS hours FROM {table} GROUP BY day"
        );
        let mut hours = BTreeMap::new();
        for batch in engine.query(table, &sql).await? {
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

    async fn find_rejected(&mut self, engine: &Engine, state: &State) -> Result<(), KpiError> {
        if state.files(Table::Rejected).next().is_none() {
            return Ok(());
        }
        let replaced: BTreeSet<&str> = state
            .imports
            .values()
            .filter_map(|(_, _, import)| import.replaces.as_deref())
            .collect();
        let sql = "SELECT r.day AS day, r.event_type AS event_type, r.source_sha256 AS sha256, \
                   count(*) AS refused FROM rejected_raw AS r \
                   LEFT JOIN (SELECT DISTINCT e.business_key AS business_key FROM events_raw AS e \
                   INNER JOIN rejected_raw AS k ON e.business_key = k.business_key) AS done \
                   ON r.business_key = done.business_key WHERE done.business_key IS NULL \
                   GROUP BY r.day, r.event_type, r.source_sha256";
        let mut open: BTreeMap<(Date, String), u64> = BTreeMap::new();
        let mut unplaced: BTreeMap<String, u64> = BTreeMap::new();
        for batch in engine.query("rejected rows", sql).await? {
            let columns = Columns(&batch);
            let (days, kinds) = (columns.days("day")?, columns.texts("event_type")?);
            let (files, counts) = (columns.texts("sha256")?, columns.integers("refused")?);
            for row in 0..batch.num_rows() {
                let file = text(&files, row).unwrap_or_default();
                let count = u64::try_from(counts.value(row)).unwrap_or_default();
                if replaced.contains(file) {
                    continue;
                }
                if days.is_valid(row) {
                    *self.rejected.entry(date(days.value(row))).or_default() += count;
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
        self.add_placed(engine, &open).await?;
        self.add_unplaced(engine, state, &unplaced).await
    }

    /// Adds refused rows whose day and type can be read.
    async fn add_placed(
        &mut self,
        engine: &Engine,
        open: &BTreeMap<(Date, String), u64>,
    ) -> Result<(), KpiError> {
        if open.values().all(|count| *count < REJECTED_ROWS) {
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
            if is_too_many(*refused, accepted.get(key).copied().unwrap_or_default()) {
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
        unplaced: &BTreeMap<String, u64>,
    ) -> Result<(), KpiError> {
        for (file, refused) in unplaced {
            let Some((_, at, import)) = state.imports.get(file) else { continue };
            if !is_too_many(*refused, import.accepted) {
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

fn is_too_many(refused: u64, accepted: u64) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "a share of rows")]
    let share = refused as f64 / (refused + accepted).max(1) as f64;
    refused >= REJECTED_ROWS && share >= REJECTED_SHARE
}
