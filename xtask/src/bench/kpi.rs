//! Cost of `dnscribe-kpi` with a sample registrar's year: import, computation of all KPIs, the computation after one more hour, answers of
//! the API. Beside it, on the same facts: seven of the KPIs by pandas, Polars and `DuckDB`, whose values must be equal, and all of them by
//! `ClickHouse`'s engine.

use super::Bench;
use super::case::{Figures, Plan};
use super::report::{Report, Row};
use super::{timed, usage};
use crate::build;
use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::{cache, environment, http, shell, stack};
use serde_json::Value;
use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use tempfile::TempDir;

/// Registrations of each of the sample's days.
const REGISTRATIONS: u32 = 200;

/// Version of the packages in tests/benches/kpi/requirements.txt.
const PEERS: &str = "3.1.1-duckdb";

/// What computes some KPIs beside `dnscribe-kpi`.
const DATA_FRAMES: [&str; 3] = ["pandas", "polars", "duckdb"];

/// Days of the sample.
const DAYS: usize = 365;

/// Files of the sample without an hour's rows of its last day, and of these.
const SAMPLE: &str = "sample.ndjson";
const HOUR: &str = "hour.ndjson";

/// Connections over which the API is asked at once.
const CONNECTIONS: &str = "8";

/// KPIs that are asked for, those of the page among them.
const ASKED: [&str; 8] = [
    "registrations",
    "registration_success_ratio",
    "net_transfers",
    "renewal_ratio",
    "revenue",
    "abuse_reports",
    "abuse_first_response_hours_p50",
    "dns_query_error_ratio",
];

/// Aims for the 99th percentile of answers, in milliseconds: from the cache, and not.
const CACHED: f64 = 50.0;
const UNCACHED: f64 = 500.0;

/// Aim for answers in a second.
const ANSWERS: f64 = 2000.0;

/// Runs this part of the benchmark and returns its report.
pub fn main(bench: &Bench) -> Result<Report> {
    let year = Year::new(bench)?;
    let clickhouse = stack::clickhouse::prepare()?.join("bin/python");
    let peers = cache::folder("kpi-peers", PEERS, |scratch| {
        cache::python(scratch, &environment::workspace().join("tests/benches/kpi/requirements.txt"))
    })?;
    let peers = peers.join("bin/python");
    let mut plan = Plan::new("kpi");
    plan.slow_case("import", || year.import());
    plan.slow_case("compute", || cost(&mut year.command(&["compute"])));
    plan.slow_case("compute again", || cost(&mut year.command(&["compute"])));
    plan.slow_case("compute, an hour later", || year.hour());
    for peer in DATA_FRAMES {
        let (year, python) = (&year, &peers);
        plan.slow_case(peer, move || year.peer(python, peer));
    }
    plan.slow_case("clickhouse", || year.clickhouse(&clickhouse));
    plan.slow_case("API, uncached", || year.ask(&uncached(bench.count(4_000))));
    plan.slow_case("API, cached", || year.ask(&cached(bench.count(40_000))));
    plan.row(Row::new("import", "rows_per_second"));
    let own = ["import", "compute", "compute again", "compute, an hour later"];
    for case in own.into_iter().chain(DATA_FRAMES).chain(["clickhouse"]) {
        for figure in ["wall_seconds", "cpu_seconds", "rss_peak_bytes"] {
            let row = Row::new(case, figure);
            let is_base = matches!(case, "import" | "compute");
            plan.row(if is_base { row } else { row.relative_to("compute") });
        }
    }
    for (case, p99) in [("API, uncached", UNCACHED), ("API, cached", CACHED)] {
        plan.row(Row::new(case, "requests_per_second").at_least(ANSWERS));
        plan.row(Row::new(case, "p50_ms")).row(Row::new(case, "p99_ms").at_most(p99));
    }
    bench.run(plan)
}

/// Paths that repeat: a year of each KPI, by month.
fn cached(number: u32) -> String {
    let mut paths = String::new();
    for index in 0..number {
        let kpi = ASKED[index as usize % ASKED.len()];
        // Writing to a String cannot fail.
        let _ = writeln!(paths, "/v1/kpis/{kpi}?from=2025-01-01&to=2025-12-31&grain=month");
    }
    paths
}

/// Paths that do not repeat, up to 76,384: spans that begin in January and end in a later month.
fn uncached(number: u32) -> String {
    let mut paths = String::new();
    for index in 0..number {
        let kpi = ASKED[index as usize % ASKED.len()];
        let place = index / u32::try_from(ASKED.len()).unwrap_or(1);
        let (first, place) = (place % 31 + 1, place / 31);
        let (day, month) = (place % 28 + 1, place / 28 % 11 + 2);
        let span = format!("from=2025-01-{first:02}&to=2025-{month:02}-{day:02}");
        // Writing to a String cannot fail.
        let _ = writeln!(paths, "/v1/kpis/{kpi}?{span}&grain=month");
    }
    paths
}

/// A sample of a year, and the store that it was imported into last.
struct Year {
    kpi: PathBuf,
    load: PathBuf,
    folder: TempDir,
    /// Number of rows in the sample.
    rows: f64,
    store: RefCell<Option<TempDir>>,
}

impl Year {
    fn new(bench: &Bench) -> Result<Self> {
        let kpi = build::program("dnscribe-kpi", bench.profile())?;
        let folder = tempfile::tempdir()?;
        let sample = folder.path().join("all.ndjson");
        let mut command = Command::new(&kpi);
        let registrations = bench.scaled(REGISTRATIONS).to_string();
        command.args(["sample", "--hostile", "--from", "2025-01-01", "--days", &DAYS.to_string()]);
        command.args(["--registrations", &registrations, "--file"]).arg(&sample);
        shell::output(&mut command)?;
        let rows = divide(&sample, folder.path())?;
        let rows = f64::from(u32::try_from(rows)?);
        let load = bench.program("kpi_load");
        Ok(Self { kpi, load, folder, rows, store: RefCell::default() })
    }

    /// Folder of the store.
    fn store(&self) -> PathBuf {
        let store = self.store.borrow();
        store.as_ref().map_or_else(|| self.folder.path().join("none"), |it| it.path().to_path_buf())
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.kpi);
        command.arg("--data").arg(self.store()).args(words).stdout(Stdio::null());
        command
    }

    /// Imports the sample into an empty store.
    fn import(&self) -> Result<Figures> {
        *self.store.borrow_mut() = Some(tempfile::tempdir_in(self.folder.path())?);
        let mut command = self.command(&["import"]);
        let figures = cost(command.arg(self.folder.path().join(SAMPLE)))?;
        let seconds = figures.get("wall_seconds").context("no duration")?;
        Ok(figures.with("rows_per_second", self.rows / seconds))
    }

    /// Computes after the import of an hour.
    fn hour(&self) -> Result<Figures> {
        shell::output(self.command(&["import"]).arg(self.folder.path().join(HOUR)))?;
        cost(&mut self.command(&["compute"]))
    }

    /// Computes some KPIs with a data frame, or `DuckDB`, and compares the values.
    fn peer(&self, python: &Path, name: &str) -> Result<Figures> {
        let values = self.folder.path().join("values.json");
        let mut command = Command::new(python);
        command.arg(environment::workspace().join("tests/benches/kpi/peers.py")).arg(name);
        command.arg(self.store().join("facts")).stdout(File::create(&values)?);
        let figures = cost(&mut command)?;
        let values: Value = serde_json::from_str(&fs::read_to_string(&values)?)?;
        let server = Server::start(self)?;
        for (kpi, values) in values.as_object().context("no values")? {
            server.compare(kpi, values).with_context(|| format!("{name}: {kpi}"))?;
        }
        Ok(figures)
    }

    /// Computes all KPIs with `ClickHouse`'s engine.
    fn clickhouse(&self, python: &Path) -> Result<Figures> {
        let sql = self.folder.path().join("values.sql");
        shell::output(self.command(&["export", "--format", "clickhouse", "--file"]).arg(&sql))?;
        let mut command = Command::new(python);
        command.arg(environment::workspace().join("kpi/tests/clickhouse.py")).arg(&sql);
        cost(command.stdout(Stdio::null()))
    }

    /// Asks the API for some paths, one on each line.
    fn ask(&self, paths: &str) -> Result<Figures> {
        let file = self.folder.path().join("paths");
        fs::write(&file, paths)?;
        let server = Server::start(self)?;
        let mut load = Command::new(&self.load);
        Figures::measure(load.args([&server.address.to_string(), CONNECTIONS]).arg(file))
    }
}

/// Divides the rows of a sample into those of [`HOUR`], each 24th of its last day, and all others. Returns the number of the latter.
fn divide(all: &Path, folder: &Path) -> Result<usize> {
    let lines = || Ok::<_, std::io::Error>(BufReader::new(File::open(all)?).lines());
    let rows = lines()?.count();
    let last_day = rows - rows / DAYS;
    let [mut sample, mut hour] =
        [File::create(folder.join(SAMPLE))?, File::create(folder.join(HOUR))?].map(BufWriter::new);
    let mut kept = 0;
    for (row, line) in lines()?.enumerate() {
        let is_of_hour = row >= last_day && (row - last_day).is_multiple_of(24);
        kept += usize::from(!is_of_hour);
        writeln!(if is_of_hour { &mut hour } else { &mut sample }, "{}", line?)?;
    }
    sample.flush()?;
    hour.flush()?;
    fs::remove_file(all)?;
    Ok(kept)
}

/// Runs a program to its end and returns what it cost.
fn cost(command: &mut Command) -> Result<Figures> {
    let cost = timed::run(command)?;
    let peak = usage::figure(cost.rss_peak_bytes)?;
    Ok(Figures::default()
        .with("wall_seconds", cost.wall_seconds)
        .with("cpu_seconds", cost.cpu_seconds)
        .with("rss_peak_bytes", peak))
}

/// A running API.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(year: &Year) -> Result<Self> {
        let mut command = year.command(&["serve", "--no-auth", "--listen", "127.0.0.1:0"]);
        let mut process = command.stderr(Stdio::piped()).spawn().context("cannot start the API")?;
        let mut lines = BufReader::new(process.stderr.take().context("no output")?).lines();
        let address = loop {
            let line = lines.next().context("the API has ended")??;
            if let Some((_, address)) = line.split_once("serving on http://") {
                break address.trim().parse()?;
            }
        };
        thread::spawn(move || lines.for_each(drop));
        Ok(Self { process, address })
    }

    /// Compares values by day, and by currency if there are any, with the API's.
    fn compare(&self, kpi: &str, expected: &Value) -> Result<()> {
        let path = format!("/v1/kpis/{kpi}?grain=day&limit=10000");
        let (status, body) = http::get(self.address, None, &path)?;
        ensure!(status == 200, "{status}: {body}");
        let answer: Value = serde_json::from_str(&body)?;
        let mut compared = 0;
        for value in answer["values"].as_array().context("no values")? {
            let mut key = value["from"].as_str().context("no day")?.to_owned();
            if let Some(currency) = value["by"]["currency"].as_str() {
                key = format!("{key}/{currency}");
            }
            let (ours, theirs) = (value["value"].as_f64(), expected[&key].as_f64());
            let is_equal = match (ours, theirs) {
                (Some(ours), Some(theirs)) => {
                    (ours - theirs).abs() <= 1e-9 * theirs.abs().max(1e-9)
                }
                // Days on which there is nothing to count.
                (Some(0.0) | None, None) => true,
                _ => false,
            };
            ensure!(is_equal, "{key}: {ours:?}, not {theirs:?}");
            compared += usize::from(theirs.is_some());
        }
        ensure!(compared > 300, "only {compared} values");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        shell::end(&mut self.process);
    }
}
