//! SQL that the embedded and the distributed engine share: net facts, and the measures of a dictionary.

use crate::attributes::{ATTRIBUTES, Kind};
use crate::definition::Part;
use crate::dictionary::{Aggregation, DIMENSIONS, Dictionary, Measure};
use crate::error::KpiError;
use crate::facts::{EVENT_TEXTS, schema};
use crate::store::Table;
use jiff::civil::Date;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Length of a day in microseconds.
const DAY_US: i64 = 86_400_000_000;

/// Length in microseconds of the parts that a day is counted by.
pub const SLOT_US: i64 = Part::FiveMinutes.micros();

/// Part of the rows, by the hash of a key: all rows with one key are in one bucket.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// Number of this bucket, from 0.
    pub number: u64,
    /// Number of all buckets.
    pub of: u64,
}

impl Bucket {
    /// The one bucket that has all rows.
    pub const ALL: Self = Self { number: 0, of: 1 };

    /// Divides rows into buckets of about `size`.
    pub fn divide(rows: u64, size: u64) -> impl Iterator<Item = Self> {
        let of = rows.div_ceil(size).max(1);
        (0..of).map(move |number| Self { number, of })
    }

    /// Query for the hashes of this bucket, of a table that has nothing else.
    #[must_use]
    pub fn hashes(self, hash: &str, table: &str) -> String {
        format!("SELECT {hash} FROM {table} WHERE {}", self.condition(hash))
    }

    /// Condition that selects the bucket. Hashes are signed, and so are remainders.
    fn condition(self, hash: &str) -> String {
        let Self { number, of } = self;
        if of == 1 {
            "1 = 1".to_owned()
        } else {
            format!("({hash} % {of} + {of}) % {of} = {number}")
        }
    }
}

/// Hashes of keys that more than one row has.
#[must_use]
pub fn repeated(hash: &str, raw: &str, bucket: Bucket) -> String {
    let condition = bucket.condition(hash);
    format!("SELECT {hash} FROM {raw} WHERE {condition} GROUP BY {hash} HAVING count(*) > 1")
}

/// Rows that repeat a fact by its technical key, of those with the hashes that `repeated` selects. The earliest row
/// counts, whatever the order of imports.
#[must_use]
pub fn technical_duplicates(raw: &str, repeated: &str) -> String {
    format!(
        "SELECT row_id FROM (SELECT row_id, row_number() OVER \
         (PARTITION BY {SYSTEM}, event_id \
         ORDER BY event_us, business_key, event_type, row_id) AS nth FROM {raw} \
         WHERE technical_hash IN ({repeated})) AS numbered WHERE nth > 1"
    )
}

/// Rows that repeat a fact by its business key, of those with the hashes that `repeated` selects; `technical` rows are
/// left out. The earliest row counts.
#[must_use]
pub fn business_duplicates(raw: &str, technical: &str, repeated: &str) -> String {
    let once = without(raw, "row_id", technical);
    format!(
        "SELECT row_id FROM (SELECT row_id, row_number() OVER \
         (PARTITION BY event_type, business_key ORDER BY event_us, event_id, row_id) AS nth \
         FROM ({once}) AS once WHERE business_hash IN ({repeated})) AS numbered WHERE nth > 1"
    )
}

/// Source system of an event, or the source of its file where it names none.
const SYSTEM: &str = "coalesce(source_system, source)";

/// Events that take away others, with what each of them names.
#[must_use]
pub fn corrections(raw: &str, duplicates: &str) -> String {
    format!(
        "SELECT row_id, corrects, corrects_type, corrects_event_id, {SYSTEM} AS system, \
         CASE WHEN event_type LIKE '%reversed' OR event_type LIKE '%voided' \
         THEN replace(replace(event_type, '_reversed', ''), '_voided', '') ELSE '' END AS family \
         FROM {raw} WHERE (corrects IS NOT NULL OR corrects_event_id IS NOT NULL) \
         AND row_id NOT IN (SELECT row_id FROM {duplicates})"
    )
}

/// Pairs of a correction (`row_id`) and an event that it takes away (`target`): by technical key, or by business key and
/// type. Without a type, `payment_voided` takes away events whose types begin with `payment`, and an event that is neither
/// reversed nor voided takes away those of any type.
///
/// The technical key may be that of a row that repeats an event; then the event goes that counts.
#[must_use]
pub fn correction_targets(raw: &str, technical: &str, unique: &str, corrections: &str) -> String {
    let delivered = without(raw, "row_id", technical);
    format!(
        "SELECT c.row_id AS row_id, t.row_id AS target, t.business_key AS business_key \
         FROM {unique} AS t INNER JOIN {corrections} AS c ON t.business_key = c.corrects \
         WHERE c.corrects_event_id IS NULL AND t.row_id <> c.row_id \
         AND coalesce(c.corrects_type, t.event_type) = t.event_type \
         AND (c.corrects_type IS NOT NULL OR t.event_type LIKE concat(c.family, '%')) UNION ALL \
         SELECT c.row_id AS row_id, t.row_id AS target, t.business_key AS business_key \
         FROM ({delivered}) AS d INNER JOIN {corrections} AS c ON d.event_id = c.corrects_event_id \
         INNER JOIN {unique} AS t ON t.event_type = d.event_type AND t.business_key = d.business_key \
         WHERE coalesce(d.source_system, d.source) = c.system AND t.row_id <> c.row_id \
         AND coalesce(c.corrects, t.business_key) = t.business_key \
         AND coalesce(c.corrects_type, t.event_type) = t.event_type"
    )
}

/// Events that are taken away. A correction that is itself taken away has no effect, so a chain is resolved from its
/// end, for chains of up to `length` corrections.
#[must_use]
pub fn corrected(targets: &str, length: usize) -> String {
    let mut alive = targets.to_owned();
    for level in 0..length {
        alive = format!(
            "(SELECT row_id, target, business_key FROM {targets} \
             WHERE row_id NOT IN (SELECT target FROM {alive} AS alive_{level}))"
        );
    }
    format!("SELECT DISTINCT target AS row_id, business_key FROM {alive} AS alive")
}

/// Events without duplicates.
#[must_use]
pub fn unique_events(raw: &str, duplicates: &str) -> String {
    without(raw, "row_id", duplicates)
}

/// Events without duplicates and without what other events take away.
#[must_use]
pub fn net_events(unique: &str, corrected: &str) -> String {
    without(unique, "row_id", corrected)
}

/// Rows of a dimension table with the time until which each holds. Of two rows of one thing and time, the one that was imported
/// later counts.
#[must_use]
pub fn attributes(kind: Kind) -> String {
    let values = ATTRIBUTES.join(", ");
    let next = "min(from_us) OVER (PARTITION BY key ORDER BY from_us ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING)";
    format!(
        "SELECT key, from_us, coalesce({next}, {}) AS to_us, {values} FROM (SELECT *, row_number() OVER \
         (PARTITION BY key, from_us ORDER BY imported_us DESC, row_id DESC) AS nth FROM attributes_raw \
         WHERE kind = '{}') AS numbered WHERE nth = 1",
        i64::MAX,
        kind.name()
    )
}

/// Events with what tables of these kinds say of them at their time.
#[must_use]
pub fn enriched(events: &str, kinds: &[Kind], dialect: Dialect) -> String {
    let mut joins = String::new();
    for kind in kinds {
        let (name, key, values) =
            (kind.name(), kind.key(), ATTRIBUTES.map(|name| format!("a.{name}")));
        let values =
            ATTRIBUTES.iter().zip(values).map(|(name, value)| format!("{value} AS {name}"));
        let values = values.collect::<Vec<_>>().join(", ");
        // Writing to a string cannot fail.
        let _ = write!(
            joins,
            " LEFT JOIN (SELECT e.row_id AS of_row, {values} FROM (SELECT row_id, event_us, {key} AS thing \
             FROM {events}) AS e INNER JOIN attributes_{name} AS a ON e.thing = a.key \
             WHERE e.event_us >= a.from_us AND e.event_us < a.to_us) AS of_{name} ON n.row_id = of_{name}.of_row"
        );
    }
    let own: BTreeSet<&str> = EVENT_TEXTS.into_iter().map(|(name, _)| name).collect();
    let value = |name: &str| {
        let tables = kinds.iter().map(|kind| format!("of_{}.{name}", kind.name()));
        let own = own.contains(name).then(|| format!("n.{name}"));
        let all: Vec<String> = own.into_iter().chain(tables).collect();
        match &*all {
            [] => format!("{} AS {name}", dialect.null_text()),
            [only] => format!("{only} AS {name}"),
            several => format!("coalesce({}) AS {name}", several.join(", ")),
        }
    };
    let schema = schema(Table::Events);
    let columns = schema.fields().iter().map(|field| field.name().as_str());
    let columns = columns.filter(|name| !ATTRIBUTES.contains(name));
    let columns = columns.map(|name| format!("n.{name} AS {name}")).chain(ATTRIBUTES.map(value));
    format!("SELECT {} FROM {events} AS n{joins}", columns.collect::<Vec<_>>().join(", "))
}

/// Rows whose key is not in another, much smaller table. For `NOT IN` the embedded engine would keep the rows, and not the
/// keys of the other table, in memory.
fn without(table: &str, key: &str, other: &str) -> String {
    format!("SELECT a.* FROM {table} AS a LEFT ANTI JOIN {other} AS b ON a.{key} = b.{key}")
}

/// Windows of the fleet: the highest revision of each. Of a day with windows of several lengths, or of one that begin at different
/// offsets, those of the length and offset that cover most of it count, and of the others those that overlap none that comes before theirs.
#[must_use]
pub fn dns_windows(raw: &str) -> String {
    // Windows of one length and offset do not overlap.
    let offset = "event_us % (window_seconds * 1000000)";
    let ranked = format!(
        "SELECT w.*, l.rank_of_length FROM (SELECT * FROM (SELECT *, {offset} AS offset_us, row_number() OVER \
         (PARTITION BY event_us, window_seconds, coalesce(vantage, ''), coalesce(region, '') \
         ORDER BY revision DESC, row_id) AS nth FROM {raw} WHERE step_seconds = window_seconds) \
         AS numbered WHERE nth = 1) AS w INNER JOIN \
         (SELECT day, window_seconds, {offset} AS offset_us, row_number() OVER (PARTITION BY day \
         ORDER BY count(DISTINCT event_us) * window_seconds DESC, window_seconds, {offset}) AS rank_of_length \
         FROM {raw} WHERE step_seconds = window_seconds GROUP BY day, window_seconds, {offset}) AS l \
         ON w.day = l.day AND w.window_seconds = l.window_seconds AND w.offset_us = l.offset_us"
    );
    let place = "row_id, day, coalesce(vantage, '') AS vantage, coalesce(region, '') AS region, \
         rank_of_length, event_us, event_us + window_seconds * 1000000 AS end_us";
    let overlapping = format!(
        "SELECT DISTINCT a.row_id AS row_id FROM \
         (SELECT {place} FROM ({ranked}) AS r WHERE rank_of_length > 1) AS a INNER JOIN \
         (SELECT {place} FROM ({ranked}) AS r) AS b \
         ON a.day = b.day AND a.vantage = b.vantage AND a.region = b.region \
         WHERE b.rank_of_length < a.rank_of_length AND b.event_us < a.end_us AND a.event_us < b.end_us"
    );
    without(&format!("({ranked})"), "row_id", &format!("({overlapping})"))
}

/// Measurements of probes, each once.
#[must_use]
pub fn probe_results(raw: &str) -> String {
    format!(
        "SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY event_id ORDER BY event_us, row_id) \
         AS nth FROM {raw}) AS numbered WHERE nth = 1"
    )
}

/// Alerts, each once, with the worst severity that it has had.
#[must_use]
pub fn alerts(raw: &str) -> String {
    format!(
        "SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY alert_id ORDER BY CASE severity \
         WHEN 'critical' THEN 0 WHEN 'warning' THEN 1 ELSE 2 END, row_id) AS nth FROM {raw}) \
         AS numbered WHERE nth = 1"
    )
}

/// Texts of all queries that make net tables of facts, on which the rows of models depend.
pub fn net_queries() -> impl Iterator<Item = String> {
    let events = [
        technical_duplicates("raw", "repeated"),
        business_duplicates("raw", "technical", "repeated"),
        corrections("raw", "duplicates"),
        correction_targets("raw", "technical", "unique", "corrections"),
        unique_events("raw", "duplicates"),
        net_events("unique", "corrected"),
        enriched("events", &Kind::ALL, Dialect::DataFusion),
        dns_windows("raw"),
        probe_results("raw"),
        alerts("raw"),
    ];
    events.into_iter().chain(Kind::ALL.map(attributes))
}

/// Names of types and literals that engines write differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The embedded engine.
    DataFusion,
    /// `ClickHouse` 23 and later.
    ClickHouse,
}

impl Dialect {
    fn null_text(self) -> &'static str {
        match self {
            Self::DataFusion => "CAST(NULL AS VARCHAR)",
            Self::ClickHouse => "CAST(NULL AS Nullable(String))",
        }
    }

    fn text(self, column: &str) -> String {
        match self {
            Self::DataFusion => format!("CAST({column} AS VARCHAR)"),
            Self::ClickHouse => format!("CAST({column} AS Nullable(String))"),
        }
    }

    fn null_number(self) -> &'static str {
        match self {
            Self::DataFusion => "CAST(NULL AS DOUBLE)",
            Self::ClickHouse => "CAST(NULL AS Nullable(Float64))",
        }
    }

    fn null_integer(self) -> &'static str {
        match self {
            Self::DataFusion => "CAST(NULL AS BIGINT)",
            Self::ClickHouse => "CAST(NULL AS Nullable(Int64))",
        }
    }

    /// Number of the first five minutes of the part of its day in which `event_us` lies.
    fn slot(self, part: Part) -> String {
        let (part, slots) = (part.micros(), part.micros() / SLOT_US);
        let slot = format!("floor((event_us % {DAY_US}) / {part}.0) * {slots}");
        match self {
            Self::DataFusion => format!("CAST({slot} AS BIGINT)"),
            Self::ClickHouse => format!("CAST({slot} AS Nullable(Int64))"),
        }
    }

    fn number(self, expression: &str) -> String {
        match self {
            Self::DataFusion => format!("CAST({expression} AS DOUBLE)"),
            Self::ClickHouse => format!("CAST({expression} AS Nullable(Float64))"),
        }
    }

    /// Sum that does not overflow.
    fn sum(self, expression: &str) -> String {
        match self {
            Self::DataFusion => format!("sum(CAST({expression} AS DECIMAL(38, 0)))"),
            Self::ClickHouse => format!("sum(toInt256({expression}))"),
        }
    }

    /// Value of a sum; null if it is too large.
    fn value_of_sum(self, sum: &str) -> String {
        match self {
            Self::DataFusion => format!("TRY_CAST({sum} AS BIGINT)"),
            Self::ClickHouse => format!("accurateCastOrNull({sum}, 'Int64')"),
        }
    }
}

/// Query for one measure, with the definition of its model; as [`measure_of`].
///
/// # Errors
/// The measure's model is missing.
pub fn measure(
    dictionary: &Dictionary,
    measure: &Measure,
    days: (Date, Date),
    dialect: Dialect,
) -> Result<String, KpiError> {
    let unknown = || KpiError::Usage(format!("measure {}: no model", measure.name));
    let model = dictionary.model_of(measure).ok_or_else(unknown)?;
    Ok(measure_of(&format!("({})", model.sql), dictionary, measure, days, dialect))
}

/// Query for one measure of the rows of `model`, a table or a query in brackets: one row for each day, part of it and slice, with
/// the columns of [`DIMENSIONS`] between `slot` and `value`; for samples, one row for each different value, which is
/// in `sample`. A sum that is too large has no value. `slot` is the number of the first five minutes of the part; null if the measure is kept by day.
#[must_use]
pub fn measure_of(
    model: &str,
    dictionary: &Dictionary,
    measure: &Measure,
    days: (Date, Date),
    dialect: Dialect,
) -> String {
    let has = dictionary.dimensions_of_measure(measure);
    let mut columns = Vec::new();
    let mut keys = vec!["day".to_owned()];
    let slot = match measure.grain.unwrap_or_default() {
        Part::Day => dialect.null_integer().to_owned(),
        part => {
            keys.push(dialect.slot(part));
            dialect.slot(part)
        }
    };
    for name in DIMENSIONS {
        if has.iter().any(|one| one == name) {
            columns.push(format!("{} AS {name}", dialect.text(name)));
            keys.push(name.to_owned());
        } else {
            columns.push(format!("{} AS {name}", dialect.null_text()));
        }
    }
    let expression = measure.expr.as_deref().unwrap_or("1");
    let (value, sample) = match measure.agg {
        Aggregation::Count => ("count(*)".to_owned(), dialect.null_number().to_owned()),
        Aggregation::Sum => {
            let value = dialect.value_of_sum(&dialect.sum(expression));
            (value, dialect.null_number().to_owned())
        }
        Aggregation::Samples => {
            keys.push(expression.to_owned());
            ("count(*)".to_owned(), dialect.number(expression))
        }
    };
    let condition = measure.condition.as_deref().unwrap_or("1 = 1");
    // A sum of nothing and one of 0 say the same.
    let having = match measure.agg {
        Aggregation::Sum => format!(" HAVING {} <> 0", dialect.sum(expression)),
        Aggregation::Count | Aggregation::Samples => String::new(),
    };
    let (from, to) = days;
    format!(
        "SELECT day, '{}' AS measure, {slot} AS slot, {}, {value} AS value, {sample} AS sample FROM {model} AS model \
         WHERE day >= CAST('{from}' AS DATE) AND day <= CAST('{to}' AS DATE) AND ({condition}) GROUP BY {}{having}",
        measure.name,
        columns.join(", "),
        keys.join(", "),
    )
}
/// Returns texts as literals of SQL, as for `IN (…)`.
#[must_use]
pub fn text_list(texts: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let literals = texts.into_iter().map(|text| format!("'{}'", text.as_ref().replace('\'', "''")));
    literals.collect::<Vec<_>>().join(", ")
}
