//! Counts the rows of stores, for `ledger verify --store`, and reads records back.

mod records;
mod url;

use dnscribe_cli::exit::Exit;
use dnscribe_delivery::http::{HttpClient, Method};
use dnscribe_delivery::{Authorization, Login, Password};
use dnscribe_record::time::Timestamp;
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use postgres_openssl::MakeTlsConnector;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::runtime::Runtime;
pub(super) use url::{StoreKind, StoreUrl};

/// Time limit of a query: a count over a large table.
const TIMEOUT: Duration = Duration::from_mins(10);

/// Largest answer in bytes: a page of transactions.
const ANSWER_BYTES: u64 = 256 << 20;

/// Rows near the end of the retention may disappear at any time, so they are not counted.
const RETENTION_MARGIN: Duration = Duration::from_hours(1);

/// Default of `timescaledb.retention`: how long merged windows are kept, by step in seconds.
const FLEET_RETENTION: [(u64, Duration); 3] = [(10, days(2)), (60, days(90)), (300, days(400))];

const fn days(days: u64) -> Duration {
    Duration::from_secs(days * 86_400)
}

/// A connection to a store.
pub(super) struct Store {
    /// Address for messages.
    pub name: String,
    client: Client,
}

enum Client {
    ClickHouse(HttpQueries),
    TimescaleDb(Box<Postgres>),
    InfluxDb(HttpQueries),
}

/// Reads the addresses of `--store`.
///
/// # Errors
/// One of them is wrong.
pub(super) fn parse(urls: &[String]) -> Result<Vec<StoreUrl>, Exit> {
    let urls = urls.iter().map(|url| url.parse()).collect::<Result<_, _>>();
    urls.map_err(|why: String| Exit::usage(format!("--store: {why}")))
}

/// Tables whose rows are counted.
pub(super) const TRANSACTIONS: &str = "dns_transactions";
pub(super) const USES: &str = "dns_uses";
pub(super) const FLEET: &str = "dns_fleet";
/// Measurement of `InfluxDB`.
pub(super) const PROBE_POINTS: &str = "dns_probe";

impl Store {
    /// Connects.
    ///
    /// # Errors
    /// Returns a sentence without secrets.
    pub fn connect(url: &StoreUrl) -> Result<Self, String> {
        let name = url.to_string();
        let client = match url.kind {
            StoreKind::ClickHouse => HttpQueries::new(url).map(Client::ClickHouse),
            StoreKind::InfluxDb => HttpQueries::new(url).map(Client::InfluxDb),
            StoreKind::TimescaleDb => {
                Postgres::connect(url).map(|client| Client::TimescaleDb(Box::new(client)))
            }
        };
        let client = client.map_err(|why| format!("cannot use {name}: {why}"))?;
        Ok(Self { name, client })
    }

    /// Name of the store in sinks of stream ledgers: with `table`, of one of its tables.
    pub fn sink(&self, table: &str) -> String {
        match self.client {
            Client::ClickHouse(_) if table == TRANSACTIONS => "clickhouse".to_owned(),
            Client::ClickHouse(_) => format!("clickhouse.{table}"),
            Client::TimescaleDb(_) => format!("timescaledb.{table}"),
            Client::InfluxDb(_) => format!("influxdb.{table}"),
        }
    }

    /// Tables that are compared with topics.
    pub const fn tables(&self) -> &'static [&'static str] {
        match self.client {
            Client::ClickHouse(_) => {
                &[TRANSACTIONS, "dns_alerts", USES, "dns_lookups", "dns_connections"]
            }
            Client::TimescaleDb(_) => &[FLEET, "dns_alerts", "dns_changes", "dns_probes"],
            Client::InfluxDb(_) => &[FLEET, PROBE_POINTS],
        }
    }

    /// Grouping of the rows of a table that are counted, if not all: `InfluxDB` has one point for all
    /// zones beyond the heaviest.
    pub fn grouping(&self, table: &str) -> Option<&'static str> {
        (matches!(self.client, Client::InfluxDb(_)) && table == FLEET).then_some("all")
    }

    /// Returns the times before which rows are expired, by step of windows; 0 for all others. Empty if
    /// none can be expired.
    ///
    /// # Errors
    /// Returns a sentence if the store does not answer.
    pub fn cutoffs(&self, table: &str) -> Result<BTreeMap<u64, Timestamp>, String> {
        let found = match &self.client {
            Client::ClickHouse(queries) => clickhouse_cutoff(queries, table),
            Client::TimescaleDb(postgres) => {
                let step = if table == FLEET { "step_seconds::bigint" } else { "0::bigint" };
                postgres.pairs(&format!(
                    // PostgreSQL rounds times to microseconds: a record may be earlier than its row.
                    "SELECT {step}, (extract(epoch FROM min(ts)) * 1000000)::bigint - 1 FROM {table} \
                     GROUP BY 1"
                ))
            }
            .map(|rows| {
                let time = |micros: i64| u64::try_from(micros).unwrap_or(0).saturating_mul(1000);
                let row = |(step, micros): (i64, i64)| {
                    (u64::try_from(step).unwrap_or(0), Timestamp::from_nanos(time(micros)))
                };
                rows.into_iter().map(row).collect()
            }),
            Client::InfluxDb(queries) => {
                queries.bucket().and_then(|answer| influxdb_cutoff(&answer, Timestamp::now()))
            }
        };
        found.map_err(|why| format!("{}: {table}: {why}", self.name))
    }

    /// Returns the times before which rows are expired by default, as [`Self::cutoffs`] does, for steps that are not among
    /// these `cutoffs`: retention may have removed all their rows.
    pub fn default_cutoffs(
        &self,
        table: &str,
        cutoffs: &BTreeMap<u64, Timestamp>,
    ) -> BTreeMap<u64, Timestamp> {
        if table == FLEET && matches!(self.client, Client::TimescaleDb(_)) {
            fleet_cutoffs(cutoffs, Timestamp::now())
        } else {
            BTreeMap::new()
        }
    }

    /// Counts the rows of a table from `cutoff` on, and those of times before `until`; windows end before
    /// it.
    ///
    /// # Errors
    /// Returns a sentence if the store does not answer.
    pub fn rows(
        &self,
        table: &str,
        cutoff: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<u64, String> {
        let until = until.map_or(i64::MAX.unsigned_abs(), Timestamp::as_nanos);
        let rows = match &self.client {
            Client::ClickHouse(queries) => {
                let from = cutoff.map_or(0, Timestamp::as_nanos);
                queries.clickhouse(&format!(
                    "SELECT count() FROM {table} FINAL WHERE ts >= fromUnixTimestamp64Nano(toInt64({from})) \
                     AND ts < fromUnixTimestamp64Nano(toInt64({until}))"
                ))
            }
            Client::TimescaleDb(postgres) => {
                let end =
                    if table == FLEET { "ts + window_seconds * interval '1 s'" } else { "ts" };
                let micros = until / 1000;
                let rows = postgres.pairs(&format!(
                    "SELECT 0::bigint, count(*) FROM {table} \
                     WHERE (extract(epoch FROM {end}) * 1000000)::bigint < {micros}"
                ));
                rows.map(|rows| rows.iter().map(|(_, count)| count).sum::<i64>().to_string())
            }
            Client::InfluxDb(queries) => queries.influxdb(table, cutoff, until),
        };
        rows.and_then(|rows| rows.trim().parse().map_err(|_| format!("no number: {rows}")))
            .map_err(|why| format!("{}: {table}: {why}", self.name))
    }
}

/// Returns the times before which windows are expired at `now` by default, for steps that are not among `cutoffs`.
fn fleet_cutoffs(cutoffs: &BTreeMap<u64, Timestamp>, now: Timestamp) -> BTreeMap<u64, Timestamp> {
    let absent = FLEET_RETENTION.into_iter().filter(|(step, _)| !cutoffs.contains_key(step));
    absent.map(|(step, span)| (step, now.minus(span))).collect()
}

/// Returns the end of the retention that the table declares (`TTL`).
fn clickhouse_cutoff(
    queries: &HttpQueries,
    table: &str,
) -> Result<BTreeMap<u64, Timestamp>, String> {
    let query = format!(
        "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = '{table}'"
    );
    let engine = queries.clickhouse(&query)?;
    if engine.trim().is_empty() {
        return Err("there is no such table".to_owned());
    }
    Ok(ttl(&engine).map(|span| retention_cutoff(span, Timestamp::now())).into_iter().collect())
}

/// Returns the end of the retention of a bucket, by the answer of `InfluxDB` about it.
fn influxdb_cutoff(answer: &str, now: Timestamp) -> Result<BTreeMap<u64, Timestamp>, String> {
    let answer: serde_json::Value = serde_json::from_str(answer)
        .map_err(|error| format!("cannot read its answer about the bucket: {error}"))?;
    let bucket = answer.pointer("/buckets/0").ok_or("there is no such bucket for this token")?;
    // Without a rule, or with one of 0 s, points are kept for ever.
    let seconds =
        bucket.pointer("/retentionRules/0/everySeconds").and_then(serde_json::Value::as_u64);
    let span = seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs);
    Ok(span.map(|span| retention_cutoff(span, now)).into_iter().collect())
}

/// Returns the time before which rows may be gone at `now`, for all steps. It is a whole second: rows of
/// some stores have shorter fractions than their records.
fn retention_cutoff(span: Duration, now: Timestamp) -> (u64, Timestamp) {
    let cutoff = now.minus(span).plus(RETENTION_MARGIN).as_nanos();
    (0, Timestamp::from_nanos(cutoff - cutoff % 1_000_000_000))
}

/// Returns the interval of a table's `TTL`.
fn ttl(engine: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 6] = [
        ("Second", 1),
        ("Minute", 60),
        ("Hour", 3600),
        ("Day", 86_400),
        ("Week", 604_800),
        // The shortest, so that no row is expected that may be gone.
        ("Month", 28 * 86_400),
    ];
    let (_, text) = engine.split_once("TTL ")?.1.split_once("toInterval")?;
    let (unit, rest) = text.split_once('(')?;
    let count: u64 = rest.split(')').next()?.trim().parse().ok()?;
    let (_, seconds) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    Some(Duration::from_secs(count.saturating_mul(seconds)))
}

/// A store with queries over HTTP.
struct HttpQueries {
    client: HttpClient,
    url: StoreUrl,
}

impl HttpQueries {
    fn new(url: &StoreUrl) -> Result<Self, String> {
        let password = url.read_password()?;
        let is_influxdb = url.kind == StoreKind::InfluxDb;
        let authorization = match (&url.user, password) {
            (_, Some(token)) if is_influxdb => Some(Authorization::Bearer(Password(token))),
            (user, Some(password)) => {
                let username = user.clone().unwrap_or_else(|| "default".to_owned());
                Some(Authorization::Basic(Login { username, password: Password(password) }))
            }
            (Some(user), None) => {
                let login = Login { username: user.clone(), password: Password(String::new()) };
                Some(Authorization::Basic(login))
            }
            (None, None) => None,
        };
        let media_type = if is_influxdb { "application/vnd.flux" } else { "text/plain" };
        let client =
            HttpClient::new("store", None, authorization.as_ref(), media_type, ANSWER_BYTES)?;
        Ok(Self { client, url: url.clone() })
    }

    fn request(&self, method: &Method, path: &str, body: &str) -> Result<String, String> {
        let target = format!("{}{path}", self.url.base.trim_end_matches('/'));
        let response = self.client.send(method, &target, body.as_bytes(), TIMEOUT, true)?;
        let text = String::from_utf8_lossy(&response.body).into_owned();
        if response.status.is_success() {
            return Ok(text);
        }
        let message = dnscribe_delivery::http::error_message(&text);
        let remedy = match response.status.as_u16() {
            401 | 403 => format!(" (give {} or ?password_file=FILE)", self.url.variable()),
            _ => String::new(),
        };
        Err(format!("it answers {}: {message}{remedy}", response.status.as_u16()))
    }

    fn clickhouse(&self, query: &str) -> Result<String, String> {
        let database = self.url.parameter("database", "dns");
        self.request(&Method::POST, &format!("/?database={database}"), query)
    }

    /// Returns the organisation and the bucket of `InfluxDB`.
    fn org_and_bucket(&self) -> (&str, &str) {
        (self.url.parameter("org", "dnscribe"), self.url.parameter("bucket", "dns"))
    }

    /// Returns what `InfluxDB` says about the bucket, as JSON.
    fn bucket(&self) -> Result<String, String> {
        let (org, bucket) = self.org_and_bucket();
        self.request(&Method::GET, &format!("/api/v2/buckets?org={org}&name={bucket}"), "")
    }

    /// Counts the points of a measurement from `cutoff` on, of windows those with grouping `all`, that
    /// end before `until`, in nanoseconds since the epoch.
    fn influxdb(
        &self,
        measurement: &str,
        cutoff: Option<Timestamp>,
        until: u64,
    ) -> Result<String, String> {
        let (org, bucket) = self.org_and_bucket();
        let from = cutoff.map_or(0, Timestamp::as_nanos);
        let (field, end) = if measurement == FLEET {
            (
                "\"transactions\" and r.grouping == \"all\"",
                "int(v: r._time) + int(v: duration(v: r.window))",
            )
        } else {
            ("\"target\"", "int(v: r._time)")
        };
        let query = format!(
            "from(bucket: \"{bucket}\") |> range(start: time(v: {from})) |> filter(fn: (r) => r._measurement == \
             \"{measurement}\" and r._field == {field}) |> group() |> filter(fn: (r) => {end} < {until}) \
             |> count()"
        );
        let csv = self.request(&Method::POST, &format!("/api/v2/query?org={org}"), &query)?;
        let mut lines =
            csv.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        let Some(header) = lines.next() else { return Ok("0".to_owned()) };
        let column = header.trim_end().split(',').position(|name| name == "_value");
        let value = lines.next().zip(column);
        let value = value.and_then(|(line, column)| line.trim_end().split(',').nth(column));
        value.map(str::to_owned).ok_or_else(|| format!("cannot read its answer: {csv}"))
    }
}

struct Postgres {
    runtime: Runtime,
    client: tokio_postgres::Client,
}

impl Postgres {
    fn connect(url: &StoreUrl) -> Result<Self, String> {
        let mut config: tokio_postgres::Config =
            url.base.parse().map_err(|error: tokio_postgres::Error| describe(&error))?;
        config.user(url.user.as_deref().unwrap_or("dns")).connect_timeout(Duration::from_secs(10));
        if let Some(password) = url.read_password()? {
            config.password(password);
        }
        let mode = url.parameter("sslmode", "prefer");
        let (mode, verifies) = match mode {
            "disable" => (tokio_postgres::config::SslMode::Disable, false),
            "prefer" => (tokio_postgres::config::SslMode::Prefer, false),
            "require" => (tokio_postgres::config::SslMode::Require, false),
            "verify-full" => (tokio_postgres::config::SslMode::Require, true),
            other => {
                return Err(format!(
                    "sslmode {other} is not one of disable, prefer, require, verify-full"
                ));
            }
        };
        config.ssl_mode(mode);
        let mut tls = SslConnector::builder(SslMethod::tls()).map_err(|error| error.to_string())?;
        if !verifies {
            tls.set_verify(SslVerifyMode::NONE);
        }
        let roots = url.parameter("sslrootcert", "");
        if !roots.is_empty() {
            tls.set_ca_file(roots).map_err(|error| format!("cannot use {roots}: {error}"))?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("cannot wait for an answer: {error}"))?;
        let tls = MakeTlsConnector::new(tls.build());
        let (client, connection) =
            runtime.block_on(config.connect(tls)).map_err(|error| describe(&error))?;
        // Ends with an error that each query reports too.
        runtime.spawn(async move {
            let _ = connection.await;
        });
        Ok(Self { runtime, client })
    }

    fn query(&self, query: &str) -> Result<Vec<tokio_postgres::Row>, String> {
        let answer = self.client.query(query, &[]);
        let answer = async { tokio::time::timeout(TIMEOUT, answer).await };
        let rows = self.runtime.block_on(answer).map_err(|_| "no answer in time".to_owned())?;
        rows.map_err(|error| describe(&error))
    }

    /// Returns the rows of a query with two integers, without those that have a null.
    fn pairs(&self, query: &str) -> Result<Vec<(i64, i64)>, String> {
        let rows = self.query(query)?;
        let pair = |row: &tokio_postgres::Row| Some((row.try_get(0).ok()?, row.try_get(1).ok()?));
        Ok(rows.iter().filter_map(pair).collect())
    }
}

/// Returns an error of the server with its reason.
fn describe(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(
        || {
            let source = std::error::Error::source(error);
            source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
        },
        |error| error.message().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_retention() {
        let engine = "ReplacingMergeTree PARTITION BY toDate(ts) TTL toDateTime(least(ts, \
                      toDateTime64('2050-01-01 00:00:00', 9, 'UTC'))) + toIntervalDay(7) SETTINGS x = 1";
        assert_eq!(ttl(engine), Some(Duration::from_hours(168)));
        assert_eq!(ttl("MergeTree ORDER BY ts"), None);
        assert_eq!(ttl("MergeTree TTL ts + toIntervalHour(36)"), Some(Duration::from_hours(36)));
    }

    #[test]
    fn reads_the_retention_of_a_bucket() {
        let now = Timestamp::from_nanos(1_800_000_000_123_456_789);
        let read = |rules: &str| {
            let answer = format!(
                r#"{{"links":{{}},"buckets":[{{"name":"dns","retentionRules":{rules}}}]}}"#
            );
            influxdb_cutoff(&answer, now).unwrap()
        };
        let days =
            read(r#"[{"type":"expire","everySeconds":172800,"shardGroupDurationSeconds":86400}]"#);
        // Less two days, and an hour's margin.
        let cutoff = Timestamp::from_nanos((1_800_000_000 - 172_800 + 3_600) * 1_000_000_000);
        assert_eq!(days, [(0, cutoff)].into());
        for for_ever in ["[]", r#"[{"type":"expire","everySeconds":0}]"#] {
            assert_eq!(read(for_ever), BTreeMap::new());
        }
        assert!(influxdb_cutoff(r#"{"buckets":[]}"#, now).is_err());
        assert!(influxdb_cutoff("<html>", now).is_err());
    }

    #[test]
    fn steps_without_rows_have_the_default_retention() {
        let at = |day: u64| Timestamp::from_nanos(day * 86_400 * 1_000_000_000);
        let all = [(10, at(998)), (60, at(910)), (300, at(600))];
        assert_eq!(fleet_cutoffs(&BTreeMap::new(), at(1000)), all.into());
        assert_eq!(fleet_cutoffs(&[(10, at(3)), (300, at(3))].into(), at(1000)), [all[1]].into());
    }
}
