//! Facts as Arrow columns and Parquet files.

use crate::attributes::{ATTRIBUTES, Attributes};
use crate::error::KpiError;
use crate::event::Rejection;
use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray,
};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use dnscribe_record::RegistrarEventRecord;
use jiff::civil::Date;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::sync::Arc;

/// Where a row comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Name of the source.
    pub source: Arc<str>,
    /// SHA-256 of the content of the file, in hex.
    pub sha256: Arc<str>,
    /// Line in the file, from 1.
    pub line: u64,
    /// Time of the import in microseconds since the Unix epoch.
    pub imported_us: i64,
}

/// Bits of a row's identity that hold the line: 268 million lines a file.
const LINE_BITS: u32 = 28;

impl Origin {
    /// Identity of the row in the store: beginning of the hash, and line.
    ///
    /// # Errors
    /// The file has too many lines.
    pub fn row_id(&self) -> Result<i64, KpiError> {
        if self.line >> LINE_BITS != 0 {
            let problem = format!("{}: more than {} lines: split it", self.source, 1 << LINE_BITS);
            return Err(KpiError::Usage(problem));
        }
        let hash = u64::from_str_radix(self.sha256.get(..16).unwrap_or("0"), 16);
        let hash = hash.map_err(|error| KpiError::Failed(format!("hash of a file: {error}")))?;
        let high = (hash >> (LINE_BITS + 1)) << LINE_BITS;
        Ok((high | self.line).cast_signed())
    }
}

/// A fact of one of the tables.
#[derive(Clone, Debug)]
pub enum Fact {
    /// `registrar.event/1`.
    Event(Box<RegistrarEventRecord>),
    /// `dns.fleet/1`.
    Dns(DnsWindow),
    /// `dns.probe/1`.
    Probe(ProbeResult),
    /// `dns.alert/1`.
    Alert(Alert),
    /// A row of a dimension table.
    Attributes(Attributes),
    /// A `dns.fleet/1` with another grouping, which no KPI needs.
    Skipped,
}

/// What is kept of a `dns.fleet/1` with grouping all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DnsWindow {
    /// Start of the window in microseconds since the Unix epoch.
    pub ts_us: i64,
    /// Length of the window in seconds.
    pub window_seconds: i64,
    /// Time to the start of the next window in seconds.
    pub step_seconds: i64,
    /// Vantage.
    pub vantage: String,
    /// Region, if the record has one.
    pub region: Option<String>,
    /// Revision.
    pub revision: i64,
    /// Whether no later revision can follow.
    pub is_final: bool,
    /// Nodes that contributed.
    pub nodes: i64,
    /// Queries.
    pub queries: i64,
    /// Queries answered with NOERROR or NXDOMAIN.
    pub successes: i64,
    /// Responses with SERVFAIL.
    pub servfail: i64,
    /// Queries without response in time.
    pub timeout: i64,
    /// Answered queries.
    pub answered: i64,
    /// Retransmitted queries.
    pub retries: i64,
    /// Sketch of the latencies (`docs/sketches.md`), in base64.
    pub latency_sketch: Option<String>,
}

/// What is kept of a `dns.probe/1`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProbeResult {
    /// Start of the measurement in microseconds since the Unix epoch.
    pub ts_us: i64,
    /// Technical key.
    pub event_id: String,
    /// Kind of the target.
    pub kind: String,
    /// Service.
    pub service: String,
    /// Vantage point.
    pub site: String,
    /// Whether the target is as it should be.
    pub ok: bool,
    /// Duration in milliseconds.
    pub duration_ms: f64,
}

/// What is kept of a `dns.alert/1`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Alert {
    /// When the problem was found, in microseconds since the Unix epoch.
    pub started_us: i64,
    /// What all records of an alert have in common.
    pub alert_id: String,
    /// Rule that found it.
    pub rule: String,
    /// Severity.
    pub severity: String,
    /// Service, of an alert of a probe.
    pub service: Option<String>,
    /// Site where it was found.
    pub site: Option<String>,
}

/// A refused row.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// Where it comes from.
    pub origin: Origin,
    /// Why.
    pub rejection: Rejection,
    /// The row as it came; masked where the policy for personal data demands it.
    pub raw: String,
    /// Technical key, as far as it can be read.
    pub event_id: Option<String>,
    /// Business key, as far as it can be read.
    pub business_key: Option<String>,
    /// Type of the event, as far as it can be read.
    pub event_type: Option<String>,
    /// Day of the event, as far as it can be read.
    pub day: Option<Date>,
}

/// Days since the Unix epoch.
#[must_use]
pub fn epoch_day(date: Date) -> i32 {
    let epoch = jiff::civil::date(1970, 1, 1);
    date.since((jiff::Unit::Day, epoch)).map_or(0, |span| span.get_days())
}

/// Returns the day (UTC) of a time in microseconds since the Unix epoch.
#[must_use]
pub fn day_of(micros: i64) -> Date {
    let time = jiff::Timestamp::from_microsecond(micros).unwrap_or_default();
    jiff::tz::Offset::UTC.to_datetime(time).date()
}

/// Microseconds since the Unix epoch.
#[must_use]
pub fn micros(time: dnscribe_record::time::Timestamp) -> i64 {
    i64::try_from(time.as_nanos() / 1000).unwrap_or(i64::MAX)
}

impl Fact {
    /// Time of the fact in microseconds since the Unix epoch.
    #[must_use]
    pub fn ts_us(&self) -> i64 {
        match self {
            Self::Event(event) => micros(event.event_ts),
            Self::Dns(window) => window.ts_us,
            Self::Probe(probe) => probe.ts_us,
            Self::Alert(alert) => alert.started_us,
            Self::Attributes(attributes) => attributes.from_us,
            Self::Skipped => 0,
        }
    }
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

fn integer(name: &str) -> Field {
    Field::new(name, DataType::Int64, true)
}

fn number(name: &str) -> Field {
    Field::new(name, DataType::Float64, true)
}

/// Texts of an event, by column.
pub type TextColumn = (&'static str, fn(&RegistrarEventRecord) -> Option<&str>);

/// Every text of an event.
pub const EVENT_TEXTS: [TextColumn; 22] = [
    ("event_id", |event| Some(&event.event_id)),
    ("business_key", |event| Some(&event.business_key)),
    ("event_type", |event| Some(&event.event_type)),
    ("source_system", |event| event.source_system.as_deref()),
    ("domain", |event| event.domain.as_deref()),
    ("tld", |event| event.tld.as_deref()),
    ("account_id", |event| event.account_id.as_deref()),
    ("country", |event| event.country.as_deref()),
    ("channel", |event| event.channel.as_deref()),
    ("tier", |event| event.tier.as_deref()),
    ("status", |event| event.status.as_deref()),
    ("error_code", |event| event.error_code.as_deref()),
    ("abuse_category", |event| event.abuse_category.as_deref()),
    ("currency", |event| event.currency.as_deref()),
    ("request_id", |event| event.request_id.as_deref()),
    ("corrects", |event| event.corrects.as_deref()),
    ("corrects_type", |event| event.corrects_type.as_deref()),
    ("corrects_event_id", |event| event.corrects_event_id.as_deref()),
    ("schema_version", |event| event.schema_version.as_deref()),
    ("campaign", |event| event.campaign.as_deref()),
    ("endpoint", |event| event.endpoint.as_deref()),
    ("partner", |event| event.partner.as_deref()),
];

/// Columns that every table begins with.
fn head() -> Vec<Field> {
    vec![
        Field::new("day", DataType::Date32, true),
        integer("row_id"),
        text("source"),
        text("source_sha256"),
        integer("source_line"),
        integer("imported_us"),
    ]
}

/// Returns the columns of a table.
#[must_use]
pub fn schema(table: crate::store::Table) -> SchemaRef {
    use crate::store::Table;
    let mut fields = head();
    match table {
        Table::Events => {
            fields.extend(["event_us", "ingest_us", "amount_micros"].map(integer));
            fields.extend(["technical_hash", "business_hash"].map(integer));
            fields.push(number("latency_ms"));
            fields.extend(EVENT_TEXTS.map(|(name, _)| text(name)));
        }
        Table::Dns => {
            fields.extend(DNS_NUMBERS.map(|(name, _)| integer(name)));
            fields.extend(["vantage", "region", "latency_sketch"].map(text));
            fields.push(Field::new("final", DataType::Boolean, true));
        }
        Table::Probes => {
            fields.push(integer("event_us"));
            fields.extend(["event_id", "kind", "service", "site"].map(text));
            fields.push(Field::new("ok", DataType::Boolean, true));
            fields.push(number("duration_ms"));
        }
        Table::Rejected => {
            let names = ["reason", "detail", "raw", "event_id", "business_key", "event_type"];
            fields.extend(names.map(text));
        }
        Table::Alerts => {
            fields.push(integer("event_us"));
            fields.extend(["alert_id", "rule", "severity", "service", "site"].map(text));
        }
        Table::Attributes => {
            fields.push(integer("from_us"));
            fields.extend(["kind", "key"].map(text));
            fields.extend(ATTRIBUTES.map(text));
        }
    }
    Arc::new(Schema::new(fields))
}

/// Numbers of a window, by column.
type NumberColumn = (&'static str, fn(&DnsWindow) -> i64);

const DNS_NUMBERS: [NumberColumn; 11] = [
    ("event_us", |window| window.ts_us),
    ("window_seconds", |window| window.window_seconds),
    ("step_seconds", |window| window.step_seconds),
    ("revision", |window| window.revision),
    ("nodes", |window| window.nodes),
    ("queries", |window| window.queries),
    ("successes", |window| window.successes),
    ("servfail", |window| window.servfail),
    ("timeout", |window| window.timeout),
    ("answered", |window| window.answered),
    ("retries", |window| window.retries),
];

/// Hash of a key of two texts.
pub(crate) fn hash(parts: [&str; 2]) -> i64 {
    let mut state = xxhash_rust::xxh3::Xxh3::new();
    for part in parts {
        state.update(part.as_bytes());
        state.update(&[0]);
    }
    state.digest().cast_signed()
}

fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn integers(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn head_columns<'a>(
    days: impl Iterator<Item = Option<Date>>,
    origins: impl Iterator<Item = &'a Origin> + Clone,
) -> Result<Vec<ArrayRef>, KpiError> {
    let ids = origins.clone().map(Origin::row_id).collect::<Result<Vec<_>, _>>()?;
    let line = |origin: &Origin| i64::try_from(origin.line).unwrap_or(i64::MAX);
    Ok(vec![
        Arc::new(days.map(|day| day.map(epoch_day)).collect::<Date32Array>()),
        integers(ids.into_iter()),
        texts(origins.clone().map(|origin| Some(&*origin.source))),
        texts(origins.clone().map(|origin| Some(&*origin.sha256))),
        integers(origins.clone().map(line)),
        integers(origins.map(|origin| origin.imported_us)),
    ])
}

fn batch(table: crate::store::Table, columns: Vec<ArrayRef>) -> Result<RecordBatch, KpiError> {
    RecordBatch::try_new(schema(table), columns)
        .map_err(|error| KpiError::Failed(error.to_string()))
}

/// Makes a batch of events.
///
/// # Errors
/// A row has no identity.
pub fn events(rows: &[(Origin, Box<RegistrarEventRecord>)]) -> Result<RecordBatch, KpiError> {
    let all = || rows.iter().map(|(_, event)| &**event);
    let days = all().map(|event| Some(day_of(micros(event.event_ts))));
    let mut columns = head_columns(days, rows.iter().map(|(origin, _)| origin))?;
    // A technical key is unique within the source system, or within the source where events name no system.
    let technical = |(origin, event): &(Origin, Box<RegistrarEventRecord>)| {
        hash([event.source_system.as_deref().unwrap_or(&origin.source), &event.event_id])
    };
    columns.extend([
        integers(all().map(|event| micros(event.event_ts))),
        Arc::new(all().map(|event| event.ingest_ts.map(micros)).collect::<Int64Array>())
            as ArrayRef,
        Arc::new(all().map(|event| event.amount_micros).collect::<Int64Array>()),
        integers(rows.iter().map(technical)),
        integers(all().map(|event| hash([&event.event_type, &event.business_key]))),
        Arc::new(all().map(|event| event.latency_ms).collect::<Float64Array>()),
    ]);
    columns.extend(EVENT_TEXTS.map(|(_, get)| texts(all().map(get))));
    batch(crate::store::Table::Events, columns)
}

/// Makes a batch of DNS windows.
///
/// # Errors
/// A row has no identity.
pub fn dns(rows: &[(Origin, DnsWindow)]) -> Result<RecordBatch, KpiError> {
    let all = || rows.iter().map(|(_, window)| window);
    let days = all().map(|window| Some(day_of(window.ts_us)));
    let mut columns = head_columns(days, rows.iter().map(|(origin, _)| origin))?;
    columns.extend(DNS_NUMBERS.map(|(_, get)| integers(all().map(get))));
    columns.extend([
        texts(all().map(|window| Some(&*window.vantage))),
        texts(all().map(|window| window.region.as_deref())),
        texts(all().map(|window| window.latency_sketch.as_deref())),
        Arc::new(all().map(|window| Some(window.is_final)).collect::<BooleanArray>()),
    ]);
    batch(crate::store::Table::Dns, columns)
}

/// Makes a batch of measurements.
///
/// # Errors
/// A row has no identity.
pub fn probes(rows: &[(Origin, ProbeResult)]) -> Result<RecordBatch, KpiError> {
    let all = || rows.iter().map(|(_, probe)| probe);
    let days = all().map(|probe| Some(day_of(probe.ts_us)));
    let mut columns = head_columns(days, rows.iter().map(|(origin, _)| origin))?;
    columns.extend([
        integers(all().map(|probe| probe.ts_us)),
        texts(all().map(|probe| Some(&*probe.event_id))),
        texts(all().map(|probe| Some(&*probe.kind))),
        texts(all().map(|probe| Some(&*probe.service))),
        texts(all().map(|probe| Some(&*probe.site))),
        Arc::new(all().map(|probe| Some(probe.ok)).collect::<BooleanArray>()) as ArrayRef,
        Arc::new(all().map(|probe| Some(probe.duration_ms)).collect::<Float64Array>()),
    ]);
    batch(crate::store::Table::Probes, columns)
}

/// Makes a batch of alerts.
///
/// # Errors
/// A row has no identity.
pub fn alerts(rows: &[(Origin, Alert)]) -> Result<RecordBatch, KpiError> {
    let all = || rows.iter().map(|(_, alert)| alert);
    let days = all().map(|alert| Some(day_of(alert.started_us)));
    let mut columns = head_columns(days, rows.iter().map(|(origin, _)| origin))?;
    columns.extend([
        integers(all().map(|alert| alert.started_us)),
        texts(all().map(|alert| Some(&*alert.alert_id))),
        texts(all().map(|alert| Some(&*alert.rule))),
        texts(all().map(|alert| Some(&*alert.severity))),
        texts(all().map(|alert| alert.service.as_deref())),
        texts(all().map(|alert| alert.site.as_deref())),
    ]);
    batch(crate::store::Table::Alerts, columns)
}

/// Makes a batch of rows of dimension tables.
///
/// # Errors
/// A row has no identity.
pub fn attributes(rows: &[(Origin, Attributes)]) -> Result<RecordBatch, KpiError> {
    let all = || rows.iter().map(|(_, attributes)| attributes);
    let mut columns =
        head_columns(rows.iter().map(|_| None), rows.iter().map(|(origin, _)| origin))?;
    columns.extend([
        integers(all().map(|attributes| attributes.from_us)),
        texts(all().map(|attributes| Some(attributes.kind.name()))),
        texts(all().map(|attributes| Some(&*attributes.key))),
    ]);
    let values = |index: usize| texts(all().map(move |row| row.values[index].as_deref()));
    columns.extend((0..ATTRIBUTES.len()).map(values));
    batch(crate::store::Table::Attributes, columns)
}

/// Makes a batch of refused rows.
///
/// # Errors
/// A row has no identity.
pub fn rejected(rows: &[Rejected]) -> Result<RecordBatch, KpiError> {
    let days = rows.iter().map(|row| row.day);
    let mut columns = head_columns(days, rows.iter().map(|row| &row.origin))?;
    columns.extend([
        texts(rows.iter().map(|row| Some(row.rejection.reason))),
        texts(rows.iter().map(|row| Some(&*row.rejection.detail))),
        texts(rows.iter().map(|row| Some(&*row.raw))),
        texts(rows.iter().map(|row| row.event_id.as_deref())),
        texts(rows.iter().map(|row| row.business_key.as_deref())),
        texts(rows.iter().map(|row| row.event_type.as_deref())),
    ]);
    batch(crate::store::Table::Rejected, columns)
}

/// Encodes a batch as a Parquet file. The same batch gives the same bytes.
///
/// # Errors
/// The batch cannot be encoded.
pub fn parquet(batch: &RecordBatch) -> Result<Vec<u8>, KpiError> {
    let fail = |error: parquet::errors::ParquetError| KpiError::Failed(error.to_string());
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(128 << 10))
        .set_created_by("dnscribe-kpi".to_owned())
        .build();
    let mut writer =
        ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).map_err(fail)?;
    writer.write(batch).map_err(fail)?;
    writer.into_inner().map_err(fail)
}

/// Decodes a Parquet file, named in errors, as one batch.
///
/// # Errors
/// It cannot be read, or has other columns.
pub fn parquet_rows(
    path: &str,
    bytes: bytes::Bytes,
    schema: &SchemaRef,
) -> Result<RecordBatch, KpiError> {
    let fail = |error: String| KpiError::store(path, &error);
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
        .and_then(ParquetRecordBatchReaderBuilder::build)
        .map_err(|error| fail(error.to_string()))?;
    let batches = reader.collect::<Result<Vec<_>, _>>().map_err(|error| fail(error.to_string()))?;
    let batches = batches.iter().map(|batch| crate::rows::with_schema(schema, batch));
    let batches = batches.collect::<Result<Vec<_>, _>>()?;
    concat_batches(schema, &batches).map_err(|error| fail(error.to_string()))
}
