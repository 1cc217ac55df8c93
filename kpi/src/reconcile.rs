//! Comparison with an authoritative export: events by business key, or values by day and slice.

pub mod alert;
mod export;

use crate::dictionary::{Dictionary, Kpi};
use crate::engine::Engine;
use crate::error::KpiError;
use crate::privacy::Policy;
use crate::query::text_list;
use crate::rows::{Columns, date, text};
use crate::store::{State, Store, Table};
use crate::tombstones::Tombstones;
use crate::values::{AdjustmentCause, Detail, Grain, KpiValue, Question, UTC, Values};
use datafusion::arrow::array::{Array as _, RecordBatch};
use export::{Amount, Export, ValueRow};
use jiff::civil::Date;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

/// How far two numbers may differ.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tolerance {
    /// Absolute difference of a value; events: number of differing keys.
    pub absolute: f64,
    /// Difference divided by the authoritative value; events: differing keys per compared key.
    pub ratio: f64,
}

/// What is compared: days, and types of events or KPIs. An export that has less than it is said to have lacks it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Extent {
    /// First day.
    pub from: Option<Date>,
    /// Last day.
    pub to: Option<Date>,
    /// Types of events, or KPIs.
    pub names: BTreeSet<String>,
}

impl Extent {
    fn include(&mut self, day: Date, name: &str) {
        self.from = Some(self.from.map_or(day, |from| from.min(day)));
        self.to = Some(self.to.map_or(day, |to| to.max(day)));
        if !self.names.contains(name) {
            self.names.insert(name.to_owned());
        }
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Day of the authoritative row, else of ours.
    pub day: Date,
    /// Type of the event, or name of the KPI.
    pub what: String,
    /// Business key, or slice.
    pub key: String,
    /// What we have.
    pub ours: Value,
    /// What the authority has.
    pub theirs: Value,
    /// Cause in one word: `lost`, `rejected`, `corrected`, `late`, `moved`, `amount`, `extra` or `value`.
    pub cause: &'static str,
    /// The cause in words.
    pub detail: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { day, what, key, cause, detail, ours, theirs } = self;
        write!(f, "{day} {what} {key}: {cause}: {detail} (ours {ours}, theirs {theirs})")
    }
}

/// Result of a comparison.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// What was compared.
    #[serde(flatten)]
    pub extent: Extent,
    /// Keys or slices that were compared.
    pub compared: u64,
    /// Facts or values of ours on days, or of types, that the export neither has nor is said to have: nothing is known of them.
    pub not_compared: u64,
    /// Rows of the export that could not be read, by reason.
    pub unreadable: BTreeMap<String, u64>,
    /// Differences, by day and key.
    pub differences: Vec<Difference>,
    /// Whether the differences are within the tolerance.
    pub within_tolerance: bool,
}

impl Report {
    /// A line for each reason why rows could not be read.
    pub(crate) fn unreadable_lines(&self) -> impl Iterator<Item = String> {
        self.unreadable.iter().map(|(why, rows)| format!("unreadable: {why}: {rows} rows"))
    }
}

/// Compares a file with the store. The file is said to have what `extent` names.
///
/// # Errors
/// The file or the store cannot be read.
pub async fn reconcile(
    store: &Store,
    dictionary: &Dictionary,
    file: &Path,
    policy: &Policy,
    tolerance: Tolerance,
    extent: Extent,
) -> Result<Report, KpiError> {
    let state = store.state().await?;
    let tombstones = Tombstones::read(store, state.tombstones.as_deref()).await?;
    let export = Export::read(file, policy, tombstones.as_ref())?;
    let mut report = if let Some(rows) = export.values {
        let values = Values::load(store, &state, Detail::default()).await?;
        let mut report = Report { extent, ..Report::default() };
        compare_values(dictionary, &values, &rows, tolerance, &mut report)?;
        report.within_tolerance = report.differences.is_empty();
        report
    } else {
        let mut report = compare_events(store, &state, export.batches, extent).await?;
        #[expect(clippy::cast_precision_loss, reason = "a number of keys")]
        let (found, all) = (report.differences.len() as f64, report.compared.max(1) as f64);
        report.within_tolerance = found <= tolerance.absolute.max(tolerance.ratio * all);
        report
    };
    report.unreadable.extend(export.unreadable);
    report.within_tolerance &= report.unreadable.is_empty() && report.not_compared == 0;
    Ok(report)
}

/// Day, slice and value of a row.
type NamedRow = (Date, BTreeMap<String, Option<String>>, Option<Amount>);

fn compare_values(
    dictionary: &Dictionary,
    values: &Values,
    rows: &[ValueRow],
    tolerance: Tolerance,
    report: &mut Report,
) -> Result<(), KpiError> {
    let find = |name: &str| {
        let unknown = || KpiError::Usage(format!("there is no KPI {name}"));
        dictionary.kpi(name).ok_or_else(unknown)
    };
    // Rows of one KPI and the same dimensions are compared at once.
    let mut groups: BTreeMap<(&str, Vec<String>), Vec<NamedRow>> = BTreeMap::new();
    let (is_said, limits) = (report.extent != Extent::default(), report.extent.clone());
    let said = std::mem::take(&mut report.extent.names);
    for row in rows {
        let by = named_slice(dictionary, find(&row.kpi)?, row)?;
        report.extent.include(row.day, &row.kpi);
        let names = by.keys().cloned().collect();
        groups.entry((&row.kpi, names)).or_default().push((row.day, by, row.value));
    }
    for name in said.iter().filter(|name| !report.extent.names.contains(*name)) {
        groups.insert((name, find(name)?.always_by.clone()), Vec::new());
    }
    report.extent.names.extend(said.iter().cloned());
    let Extent { from, to, .. } = report.extent;
    for ((name, by), rows) in groups {
        let kpi = find(name)?;
        let days = || rows.iter().map(|(day, ..)| *day);
        let (first, last) = if is_said { (from, to) } else { (days().min(), days().max()) };
        let question = Question {
            from: limits.from.and(first),
            to: limits.to.and(last),
            grain: Grain::Day,
            time_zone: UTC.to_owned(),
            by,
            filter: BTreeMap::new(),
        };
        let ours = values.answer(dictionary, kpi, &question);
        let mut ours: BTreeMap<_, _> =
            ours.into_iter().map(|value| ((value.from, value.by.clone()), value)).collect();
        let mut seen = BTreeSet::new();
        for (day, by, theirs) in rows {
            if !seen.insert((day, by.clone())) {
                let why = format!("a slice is there twice: {day} {name} {}", slice_text(&by));
                *report.unreadable.entry(why.trim_end().to_owned()).or_default() += 1;
                continue;
            }
            report.compared += 1;
            let found = ours.remove(&(day, by.clone()));
            report.differences.extend(difference(kpi, day, &by, found, theirs, tolerance));
        }
        // Slices that the authority does not have.
        for ((day, by), value) in ours {
            if value.value.as_f64().is_none_or(|value| value == 0.0) {
                continue;
            }
            if first.is_some_and(|first| day < first) || last.is_some_and(|last| day > last) {
                report.not_compared += 1;
                continue;
            }
            report.compared += 1;
            report.differences.extend(difference(kpi, day, &by, Some(value), None, tolerance));
        }
    }
    report.differences.sort_by(|a, b| (a.day, &a.what, &a.key).cmp(&(b.day, &b.what, &b.key)));
    Ok(())
}

fn named_slice(
    dictionary: &Dictionary,
    kpi: &Kpi,
    row: &ValueRow,
) -> Result<BTreeMap<String, Option<String>>, KpiError> {
    let dimensions = dictionary.dimensions(kpi);
    let mut by = row.by.clone();
    if let Some(bare) = &row.bare {
        let problem =
            || KpiError::Usage(format!("{}: by \"{bare}\": give DIMENSION=VALUE", kpi.name));
        let name = kpi.always_by.first().ok_or_else(problem)?;
        by.insert(name.clone(), Some(bare.clone()));
    }
    if let Some(name) = by.keys().find(|name| !dimensions.contains(&name.as_str())) {
        return Err(KpiError::Usage(format!("{} has no dimension {name}", kpi.name)));
    }
    if let Some(name) = kpi.always_by.iter().find(|name| !by.contains_key(*name)) {
        return Err(KpiError::Usage(format!("{}: by must name {name}", kpi.name)));
    }
    Ok(by)
}

/// Relative difference of two numbers that were computed in another order.
const ROUNDING: f64 = 1e-9;

fn difference(
    kpi: &Kpi,
    day: Date,
    by: &BTreeMap<String, Option<String>>,
    ours: Option<KpiValue>,
    theirs: Option<Amount>,
    tolerance: Tolerance,
) -> Option<Difference> {
    let number = ours.as_ref().and_then(|value| Amount::of(&value.value));
    // Counts and sums are integers, and equal to the unit.
    let is_exact = ours.as_ref().is_some_and(|value| value.value.is_i64());
    let rounding = if is_exact { 0.0 } else { ROUNDING };
    let is_near = |a: Amount, b: Amount| {
        let allowed = tolerance.absolute.max(tolerance.ratio.max(rounding) * b.to_float().abs());
        a.minus(b).to_float().abs() <= allowed
    };
    let is_equal = match (number, theirs) {
        (None, None) => true,
        (Some(ours), Some(theirs)) => is_near(ours, theirs),
        (Some(one), None) | (None, Some(one)) => {
            one.to_float() == 0.0 || is_near(Amount::default(), one)
        }
    };
    if is_equal {
        return None;
    }
    let adjusted = ours.as_ref().and_then(|value| value.adjustment.as_ref());
    let adjusted = adjusted.filter(|adjustment| adjustment.cause == AdjustmentCause::Late);
    let is_late = adjusted
        .and_then(|adjustment| Amount::of(&adjustment.value))
        .is_some_and(|adjusted| theirs.is_some_and(|theirs| is_near(adjusted, theirs)));
    let state = ours.as_ref().map(|value| json!(value.state));
    let (cause, detail) = if is_late {
        (
            "late",
            "the difference arrived after the value was final: it is the adjustment".to_owned(),
        )
    } else {
        let difference = number.unwrap_or_default().minus(theirs.unwrap_or_default());
        let state = state
            .map_or("not computed".to_owned(), |state| state.as_str().unwrap_or("").to_owned());
        ("value", format!("difference {difference}; ours is {state}"))
    };
    Some(Difference {
        day,
        what: kpi.name.clone(),
        key: slice_text(by),
        ours: ours.map_or(Value::Null, |value| value.value),
        theirs: theirs.map_or(Value::Null, Amount::to_json),
        cause,
        detail,
    })
}

fn slice_text(by: &BTreeMap<String, Option<String>>) -> String {
    let slices =
        by.iter().map(|(name, value)| format!("{name}={}", value.as_deref().unwrap_or("")));
    slices.collect::<Vec<_>>().join(",")
}

/// Query for the facts of both sides with their type and business key, of which only differences remain.
fn comparison(extent: &Extent) -> Option<String> {
    let (from, to) = extent.from.zip(extent.to)?;
    let names = text_list(&extent.names);
    Some(format!(
        "SELECT coalesce(o.event_type, t.event_type) AS event_type, \
         coalesce(o.business_key, t.business_key) AS business_key, \
         o.day AS our_day, t.day AS their_day, o.amount_micros AS our_amount, t.amount_micros AS their_amount, \
         o.currency AS our_currency, t.currency AS their_currency \
         FROM (SELECT event_type, business_key, day, amount_micros, currency FROM events \
         WHERE event_type IN ({names}) AND day >= CAST('{from}' AS DATE) AND day <= CAST('{to}' AS DATE)) AS o \
         FULL OUTER JOIN (SELECT event_type, business_key, day, amount_micros, currency FROM their_events) AS t \
         ON o.event_type = t.event_type AND o.business_key = t.business_key \
         WHERE o.business_key IS NULL OR t.business_key IS NULL OR o.day <> t.day \
         OR (t.amount_micros IS NOT NULL AND coalesce(o.amount_micros, -1) <> t.amount_micros) \
         OR (t.currency IS NOT NULL AND coalesce(o.currency, '') <> t.currency) \
         ORDER BY coalesce(t.day, o.day), 1, 2"
    ))
}

/// Condition on those of our facts that are not compared, although the export was not said (`limits`) to lack them.
fn not_compared(extent: &Extent, limits: &Extent) -> Option<String> {
    let (from, to) = extent.from.zip(extent.to)?;
    let names = text_list(&extent.names);
    let day = |sign: &str, day: Date| format!("day {sign} CAST('{day}' AS DATE)");
    let is_lacked = [
        limits.names.is_empty().then(|| format!("event_type NOT IN ({names})")),
        limits.from.is_none().then(|| day("<", from)),
        limits.to.is_none().then(|| day(">", to)),
    ];
    let is_lacked: Vec<String> = is_lacked.into_iter().flatten().collect();
    let within = [
        (!limits.names.is_empty()).then(|| format!("event_type IN ({names})")),
        limits.from.map(|_| day(">=", from)),
        limits.to.map(|_| day("<=", to)),
    ];
    let mut all = vec![format!("({})", is_lacked.join(" OR "))];
    all.extend(within.into_iter().flatten());
    (!is_lacked.is_empty()).then(|| all.join(" AND "))
}

/// Adds what the rows of an export have to what it is said to have.
async fn include_rows(engine: &Engine, extent: &mut Extent) -> Result<(), KpiError> {
    let sql =
        "SELECT event_type, min(day) AS first, max(day) AS last FROM their_raw GROUP BY event_type";
    for batch in engine.query("extent of the export", sql).await? {
        let columns = Columns(&batch);
        let kinds = columns.texts("event_type")?;
        let (firsts, lasts) = (columns.days("first")?, columns.days("last")?);
        for row in 0..batch.num_rows() {
            let kind = text(&kinds, row).unwrap_or_default();
            extent.include(date(firsts.value(row)), kind);
            extent.include(date(lasts.value(row)), kind);
        }
    }
    Ok(())
}

async fn compare_events(
    store: &Store,
    state: &State,
    batches: Vec<RecordBatch>,
    mut extent: Extent,
) -> Result<Report, KpiError> {
    let engine = Engine::open(store, state).await?;
    engine.register_batches(Table::Events, "their_raw", batches)?;
    engine.net("their_raw", "their_").await?;
    let limits = extent.clone();
    include_rows(&engine, &mut extent).await?;
    let Some(comparison) = comparison(&extent) else { return Ok(Report::default()) };
    let lacked = not_compared(&extent, &limits);
    let mut report = Report { extent, ..Report::default() };
    report.compared = count(&engine, "rows of the export", "their_events").await?;
    if let Some(condition) = lacked {
        let facts = format!("events WHERE {condition}");
        report.not_compared = count(&engine, "facts that the export lacks", &facts).await?;
    }
    for batch in engine.query("comparison", &comparison).await? {
        let columns = Columns(&batch);
        let (kinds, keys) = (columns.texts("event_type")?, columns.texts("business_key")?);
        let (our_days, their_days) = (columns.days("our_day")?, columns.days("their_day")?);
        let (our_amounts, their_amounts) =
            (columns.integers("our_amount")?, columns.integers("their_amount")?);
        let (our_currency, their_currency) =
            (columns.texts("our_currency")?, columns.texts("their_currency")?);
        for row in 0..batch.num_rows() {
            let side = |days: &datafusion::arrow::array::Date32Array,
                        amounts: &datafusion::arrow::array::Int64Array,
                        currency: &datafusion::arrow::array::StringArray| {
                if days.is_null(row) {
                    return Value::Null;
                }
                let mut side = json!({ "day": date(days.value(row)) });
                if amounts.is_valid(row) {
                    side["amount_micros"] = json!(amounts.value(row));
                }
                if let Some(currency) = text(currency, row) {
                    side["currency"] = json!(currency);
                }
                side
            };
            let ours = side(&our_days, &our_amounts, &our_currency);
            let theirs = side(&their_days, &their_amounts, &their_currency);
            let day = if theirs.is_null() { our_days.value(row) } else { their_days.value(row) };
            let (cause, detail) = match (&ours, &theirs) {
                (Value::Null, _) => ("lost", "never imported".to_owned()),
                (_, Value::Null) => ("extra", "the authority does not have it".to_owned()),
                _ if ours["day"] != theirs["day"] => ("moved", "on another day".to_owned()),
                _ => ("amount", "another amount or currency".to_owned()),
            };
            report.differences.push(Difference {
                day: date(day),
                what: text(&kinds, row).unwrap_or_default().to_owned(),
                key: text(&keys, row).unwrap_or_default().to_owned(),
                ours,
                theirs,
                cause,
                detail,
            });
        }
    }
    for (column, what) in [("amount_micros", "amounts"), ("domain", "domains")] {
        let several = format!(
            "(SELECT event_type, business_key FROM their_raw GROUP BY event_type, business_key \
             HAVING min({column}) <> max({column})) AS several"
        );
        let facts = count(&engine, "contradictions of the export", &several).await?;
        if facts > 0 {
            report.unreadable.insert(format!("a fact has several {what}"), facts);
        }
    }
    explain(&engine, &mut report).await?;
    Ok(report)
}

async fn count(engine: &Engine, what: &str, from: &str) -> Result<u64, KpiError> {
    let mut found = 0;
    for batch in engine.query(what, &format!("SELECT count(*) AS n FROM {from}")).await? {
        found += u64::try_from(Columns(&batch).integers("n")?.value(0)).unwrap_or_default();
    }
    Ok(found)
}

/// Finds out why facts of the authority are not among ours.
async fn explain(engine: &Engine, report: &mut Report) -> Result<(), KpiError> {
    let lost: Vec<&str> = report
        .differences
        .iter()
        .filter(|difference| difference.cause == "lost")
        .map(|difference| difference.key.as_str())
        .take(EXPLAINED)
        .collect();
    if lost.is_empty() {
        return Ok(());
    }
    let list = text_list(lost);
    let sql = format!(
        "SELECT business_key, CAST(NULL AS VARCHAR) AS event_type, 'corrected' AS cause, \
         business_key AS detail FROM corrected WHERE business_key IN ({list}) UNION ALL \
         SELECT business_key, event_type, 'rejected' AS cause, concat(source, ', line ', CAST(source_line AS VARCHAR), \
         ': ', reason, ': ', detail) AS detail FROM rejected_raw WHERE business_key IN ({list}) UNION ALL \
         SELECT business_key, event_type, 'moved' AS cause, CAST(day AS VARCHAR) AS detail FROM events \
         WHERE business_key IN ({list})"
    );
    let mut causes: BTreeMap<String, Vec<(Option<String>, String, String)>> = BTreeMap::new();
    for batch in engine.query("causes", &sql).await? {
        let columns = Columns(&batch);
        let (keys, types) = (columns.texts("business_key")?, columns.texts("event_type")?);
        let (kinds, details) = (columns.texts("cause")?, columns.texts("detail")?);
        for row in 0..batch.num_rows() {
            let get = |array| text(array, row).unwrap_or_default().to_owned();
            let cause = (text(&types, row).map(str::to_owned), get(&kinds), get(&details));
            causes.entry(get(&keys)).or_default().push(cause);
        }
    }
    for difference in report.differences.iter_mut().filter(|difference| difference.cause == "lost")
    {
        // Facts of one key and other types are others.
        let is_of_it =
            |kind: &Option<String>| kind.as_ref().is_none_or(|kind| *kind == difference.what);
        let known = causes.get(&difference.key).into_iter().flatten();
        let Some((_, cause, detail)) = known.into_iter().find(|(kind, ..)| is_of_it(kind)) else {
            continue;
        };
        (difference.cause, difference.detail) = match cause.as_str() {
            "corrected" => ("corrected", "another event takes it away".to_owned()),
            "rejected" => ("rejected", format!("refused at import: {detail}")),
            _ => ("moved", format!("ours is of {detail}")),
        };
    }
    Ok(())
}

/// Missing keys whose cause is looked up.
const EXPLAINED: usize = 10_000;
