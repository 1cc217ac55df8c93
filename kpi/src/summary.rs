//! Counts of facts by day, from which the gaps of a day are found. They add up: what facts were added or taken away changes them
//! by the difference of two counts.

use crate::engine::Engine;
use crate::error::KpiError;
use crate::facts;
use crate::privacy::TOKEN_DIGITS;
use crate::rows::{self, Columns, text};
use crate::sources::BEFORE_FIRST_DAY;
use crate::store::Store;
use datafusion::arrow::array::{Array as _, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

/// Folder of the summaries in the store.
pub const FOLDER: &str = "summary";

/// Length of the parts of a day, in microseconds, that no time zone divides: a quarter of an hour.
pub const QUARTER_US: i64 = 900_000_000;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Events as they were imported: `source` is the source system, `name` the type, `detail` the source of the file.
    Events,
    /// Alerts: `name` is their type.
    Alerts,
    /// Rows of all tables by `source`; `part` is the quarter of an hour since the Unix epoch. A time after the import is that of a
    /// wrong clock, and not counted.
    Quarters,
    /// Seconds that windows of the fleet cover: `source` is the vantage, `name` the region.
    WindowSeconds,
    /// Measurements of probes: `part` is the hour since the Unix epoch.
    ProbeHours,
    /// Technical keys that stand for several facts, of which only one counts: `name` is the type.
    SharedKeys,
    /// Facts that are repeated as something else, of which only one counts: `name` is the type, `detail` what differs.
    Conflicts,
    /// Corrections that take nothing away, or facts of several types without `corrects_type`: `name` is what the types begin with
    /// that they can take away, or their type if `detail` is [`EXACT_TYPE`]; `detail` is [`SEVERAL_TYPES`] if they take away several.
    /// What corrects a fact from before a source's first day takes away what nobody counts, and is not among these.
    Corrections,
    /// Refused rows that were not corrected: `source` is the SHA-256 of the file, `name` the type, `detail` the reason.
    Refused,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Events,
        Self::Alerts,
        Self::Quarters,
        Self::WindowSeconds,
        Self::ProbeHours,
        Self::SharedKeys,
        Self::Conflicts,
        Self::Corrections,
        Self::Refused,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Alerts => "alerts",
            Self::Quarters => "quarters",
            Self::WindowSeconds => "window_seconds",
            Self::ProbeHours => "probe_hours",
            Self::SharedKeys => "shared_keys",
            Self::Conflicts => "conflicts",
            Self::Corrections => "corrections",
            Self::Refused => "refused",
        }
    }

    /// Query for the columns `day`, `source`, `name`, `detail`, `part` and `number`, as far as the kind has them.
    fn sql(self) -> String {
        match self {
            Self::Events => "SELECT day, source_system AS source, event_type AS name, source AS detail, \
                count(*) AS number FROM events_raw GROUP BY day, source_system, event_type, source"
                .to_owned(),
            Self::Alerts => "SELECT 'dns.alert/1' AS name, count(*) AS number FROM alerts_raw \
                HAVING count(*) > 0"
                .to_owned(),
            Self::Quarters => format!(
                "SELECT source, part, count(*) AS number FROM (SELECT coalesce(source_system, source) AS source, \
                 event_us / {QUARTER_US} AS part, event_us, imported_us FROM events_raw UNION ALL \
                 SELECT source, event_us / {QUARTER_US}, event_us, imported_us FROM dns_raw UNION ALL \
                 SELECT source, event_us / {QUARTER_US}, event_us, imported_us FROM probes_raw UNION ALL \
                 SELECT source, event_us / {QUARTER_US}, event_us, imported_us FROM alerts_raw) AS delivered \
                 WHERE event_us <= imported_us GROUP BY source, part"
            ),
            Self::WindowSeconds => "SELECT day, vantage AS source, region AS name, \
                sum(window_seconds) AS number FROM dns GROUP BY day, vantage, region"
                .to_owned(),
            Self::ProbeHours => "SELECT day, event_us / 3600000000 AS part, count(*) AS number \
                FROM probes_raw GROUP BY day, event_us / 3600000000"
                .to_owned(),
            Self::SharedKeys => "SELECT r.day AS day, r.event_type AS name, count(*) AS number \
                FROM (SELECT day, event_type, business_key FROM events_raw \
                WHERE row_id IN (SELECT row_id FROM technical)) AS r LEFT ANTI JOIN events_unique AS u \
                ON r.event_type = u.event_type AND r.business_key = u.business_key \
                GROUP BY r.day, r.event_type"
                .to_owned(),
            Self::Conflicts => conflicts(),
            Self::Corrections => corrections(),
            // An accepted row corrects a refused one of the same key if it was imported later: beside each other in a file they are two
            // facts. Messages of a topic have a time each.
            Self::Refused => "SELECT r.day AS day, r.source_sha256 AS source, r.event_type AS name, \
                r.reason AS detail, count(*) AS number FROM rejected_raw AS r \
                LEFT JOIN (SELECT e.event_type AS event_type, e.business_key AS business_key, \
                max(e.imported_us) AS imported_us FROM events_raw AS e INNER JOIN rejected_raw AS k \
                ON e.business_key = k.business_key GROUP BY e.event_type, e.business_key) AS done \
                ON r.business_key = done.business_key AND r.imported_us < done.imported_us \
                AND coalesce(r.event_type, done.event_type) = done.event_type \
                WHERE done.business_key IS NULL GROUP BY r.day, r.source_sha256, r.event_type, r.reason"
                .to_owned(),
        }
    }
}

/// Detail of corrections that name the type that they can take away.
pub const EXACT_TYPE: &str = "type";

/// Detail of corrections that take away facts of several types.
pub const SEVERAL_TYPES: &str = "several";

/// Query for corrections that take nothing away, or facts of several types. A refused row has no column for its source system: the
/// detail of its refusal ends with it, unless a policy has taken that away.
fn corrections() -> String {
    format!(
        "SELECT day, name, detail, count(*) AS number FROM (SELECT e.day AS day, \
         coalesce(c.corrects_type, c.family) AS name, CASE WHEN k.types > 1 THEN '{SEVERAL_TYPES}' \
         WHEN c.corrects_type IS NOT NULL THEN '{EXACT_TYPE}' ELSE 'none' END AS detail \
         FROM corrections AS c INNER JOIN events AS e ON c.row_id = e.row_id \
         LEFT JOIN (SELECT t.row_id AS row_id, count(DISTINCT u.event_type) AS types \
         FROM correction_targets AS t INNER JOIN events_unique AS u ON t.target = u.row_id \
         GROUP BY t.row_id) AS k ON c.row_id = k.row_id LEFT JOIN (SELECT DISTINCT row_id FROM \
         (SELECT c.row_id AS row_id, c.family AS family, c.corrects_type AS corrects_type, r.event_type AS event_type \
         FROM corrections AS c INNER JOIN rejected_raw AS r ON c.corrects = r.business_key \
         WHERE r.reason = '{BEFORE_FIRST_DAY}' AND c.corrects_event_id IS NULL UNION ALL \
         SELECT c.row_id, c.family, c.corrects_type, r.event_type \
         FROM corrections AS c INNER JOIN rejected_raw AS r ON c.corrects_event_id = r.event_id \
         WHERE r.reason = '{BEFORE_FIRST_DAY}' AND coalesce(c.corrects, r.business_key) = r.business_key \
         AND (r.source = c.system OR r.detail LIKE concat('% of ', c.system))) AS refused \
         WHERE coalesce(corrects_type, event_type) = event_type \
         AND (corrects_type IS NOT NULL OR event_type LIKE concat(family, '%'))) AS early \
         ON c.row_id = early.row_id WHERE (k.types IS NULL AND early.row_id IS NULL) \
         OR (k.types > 1 AND c.corrects_type IS NULL)) AS counted GROUP BY day, name, detail"
    )
}

/// Query for facts that are repeated as something else: on the day of the one that counts, and on that of the other. A file's name is
/// no source system, and an event without one may be of any.
fn conflicts() -> String {
    let columns =
        "event_type, business_key, day, amount_micros, currency, domain, account_id, source_system";
    let differs = |name: &str, none: &str| {
        format!("coalesce(r.{name}, {none}) <> coalesce(u.{name}, {none})")
    };
    let (amount, currency) = (differs("amount_micros", "-1"), differs("currency", "''"));
    // Tokens of different keys say nothing about each other, and neither do a token and what it may stand for.
    let key = |column: &str| {
        format!(
            "CASE WHEN {column} LIKE '%:{}' THEN replace({column}, split_part({column}, ':', -1), '') ELSE '' END",
            "_".repeat(TOKEN_DIGITS)
        )
    };
    let is_another = |name: &str| {
        let (differs, one, other) = (differs(name, "''"), format!("r.{name}"), format!("u.{name}"));
        let (left, right) = (key(&one), key(&other));
        format!("{differs} AND ({one} IS NULL OR {other} IS NULL OR {left} = {right})")
    };
    let (domain, account) = (is_another("domain"), is_another("account_id"));
    let pairs = |side: &str, more: &str| {
        format!(
            "SELECT {side}.day AS day, u.event_type AS name, CASE WHEN {amount} OR {currency} THEN 'amount' \
             WHEN {domain} THEN 'domain' WHEN r.day <> u.day THEN 'day' WHEN {account} THEN 'account' \
             WHEN r.source_system <> u.source_system THEN 'source' END AS detail FROM (SELECT {columns} FROM events_raw \
             WHERE row_id IN (SELECT row_id FROM duplicates)) AS r INNER JOIN events AS u \
             ON r.event_type = u.event_type AND r.business_key = u.business_key{more}"
        )
    };
    format!(
        "SELECT day, name, detail, count(*) AS number FROM ({} UNION ALL {}) AS pairs WHERE detail IS NOT NULL \
         GROUP BY day, name, detail",
        pairs("u", ""),
        pairs("r", " WHERE r.day <> u.day")
    )
}

/// One count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count<'a> {
    /// Day since the Unix epoch, for the kinds that have one.
    pub day: Option<i32>,
    /// Source, in the sense of the kind.
    pub source: Option<&'a str>,
    /// Name, in the sense of the kind.
    pub name: Option<&'a str>,
    /// Detail, in the sense of the kind.
    pub detail: Option<&'a str>,
    /// Part, in the sense of the kind.
    pub part: i64,
    /// Number of facts, or their sum.
    pub number: i64,
}

/// All counts, sorted.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary(RecordBatch);

fn schema() -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8, true);
    let integer = |name| Field::new(name, DataType::Int64, true);
    Arc::new(Schema::new(vec![
        text("kind"),
        Field::new("day", DataType::Date32, true),
        text("source"),
        text("name"),
        text("detail"),
        integer("part"),
        integer("number"),
    ]))
}

impl Summary {
    /// Texts of all queries, on which the counts depend.
    pub(crate) fn queries() -> impl Iterator<Item = String> {
        Kind::ALL.into_iter().map(Kind::sql)
    }

    /// Counts the facts of an engine.
    ///
    /// # Errors
    /// A query fails.
    pub async fn count(engine: &Engine) -> Result<Self, KpiError> {
        let schema = schema();
        let mut batches = Vec::new();
        for kind in Kind::ALL {
            let sql = format!(
                "SELECT '{}' AS kind, counts.* FROM ({}) AS counts",
                kind.name(),
                kind.sql()
            );
            for batch in engine.query(kind.name(), &sql).await? {
                batches.push(rows::with_schema(&schema, &batch)?);
            }
        }
        Ok(Self(rows::sorted(&schema, &batches)?))
    }

    /// Reads what [`Self::write`] has written; nothing if a later computation has removed it, or it is damaged.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn read(store: &Store, path: &str) -> Result<Option<Self>, KpiError> {
        let bytes = store.read_if_intact(path).await?;
        bytes.map(|bytes| facts::parquet_rows(path, bytes, &schema()).map(Self)).transpose()
    }

    /// Writes all counts; returns the path, which depends on them alone.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn write(&self, store: &Store) -> Result<String, KpiError> {
        let bytes = facts::parquet(&self.0)?;
        store.write_hashed(FOLDER, "parquet", bytes).await
    }

    /// Returns these counts, changed by the difference of two others.
    ///
    /// # Errors
    /// A count overflows.
    pub fn changed(&self, before: &Self, after: &Self) -> Result<Self, KpiError> {
        let change = rows::merged(&after.0, &before.0, -1)?;
        rows::merged(&self.0, &change, 1).map(Self)
    }

    /// All counts of a kind.
    ///
    /// # Errors
    /// The file has other columns.
    pub fn of(&self, kind: Kind, mut each: impl FnMut(Count<'_>)) -> Result<(), KpiError> {
        let columns = Columns(&self.0);
        let (kinds, days) = (columns.texts("kind")?, columns.days("day")?);
        let (sources, names) = (columns.texts("source")?, columns.texts("name")?);
        let (details, parts) = (columns.texts("detail")?, columns.integers("part")?);
        let numbers = columns.integers("number")?;
        for row in (0..self.0.num_rows()).filter(|row| kinds.value(*row) == kind.name()) {
            each(Count {
                day: days.is_valid(row).then(|| days.value(row)),
                source: text(&sources, row),
                name: text(&names, row),
                detail: text(&details, row),
                part: parts.value(row),
                number: numbers.value(row),
            });
        }
        Ok(())
    }
}
