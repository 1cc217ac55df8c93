//! `test`: runs every test, the privileged and end-to-end ones included, or the tests of some tiers.

mod isolated;
mod results;
mod whole;

use crate::process::{as_root, cargo, is_root};
use crate::{build, console, fuzz, setup};
use anyhow::{Context as _, Result, bail};
use clap::ValueEnum as _;
use dnscribe_tests::{cache, environment, shell, stack};
use results::{Results, TestResult};
use serde_json::Value;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Arguments of `test`.
#[derive(clap::Args, Debug, Default)]
pub struct Args {
    /// Tiers to run, in this order [default: all but stream, dashboards, kpi and cluster]
    #[arg(value_enum)]
    tiers: Vec<Tier>,
    /// Arguments of the test programs, after `--`: part of a test's name, `--nocapture`
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

/// Tests that run together, cheapest first.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    /// Unit and property tests, and the examples in the documentation
    Unit,
    /// Capture files: golden files, comparison with other programs, records, screens, ledger
    Conformance,
    /// The eBPF programs: verifier, test runs, attachment
    Kernel,
    /// The probe on real servers with faults, beside dig, delv, openssl and curl
    Probe,
    /// The agent in a live DNS lab, in containers, with Alertmanager and the schemas of Kubernetes
    E2e,
    /// A real Apache Kafka broker, with faults
    Kafka,
    /// Flink, `ClickHouse` and `TimescaleDB` behind Kafka, with faults
    Stream,
    /// Grafana's dashboards and alert rules, against real stores with a scripted day
    Dashboards,
    /// KPIs of a sample registrar, beside their true values and a second engine
    Kpi,
    /// A control plane of Kubernetes, which takes ten minutes to build: not in CI
    Cluster,
    /// Each fuzz target with some thousand mutated inputs
    Fuzz,
}

/// A compiled test program.
struct Program {
    name: String,
    tier: Tier,
    file: PathBuf,
    folder: PathBuf,
}

impl Args {
    /// Every tier of CI.
    pub fn of_ci() -> Self {
        let tiers = Tier::value_variants().iter().copied();
        Self { tiers: tiers.filter(|tier| *tier != Tier::Cluster).collect(), arguments: Vec::new() }
    }

    /// Tiers in the order in which they run.
    fn sorted(&self) -> Vec<Tier> {
        let mut tiers = self.tiers.clone();
        tiers.sort_unstable();
        if tiers.is_empty() { Tier::DEFAULT.to_vec() } else { tiers }
    }
}

impl Tier {
    /// Tiers that run where none is named: those of the agent and the probe.
    const DEFAULT: [Self; 7] = [
        Self::Unit,
        Self::Conformance,
        Self::Kernel,
        Self::Probe,
        Self::E2e,
        Self::Kafka,
        Self::Fuzz,
    ];

    /// Name on the command line.
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Returns the tier of a test program by its name and whether it is in a `tests` folder.
    fn from_program(name: &str, is_integration: bool) -> Self {
        match name {
            "kpi" | "dnscribe_kpi" | "dnscribe-kpi" => Self::Kpi,
            _ if !is_integration => Self::Unit,
            _ => {
                let mut tiers = Self::value_variants().iter().copied();
                tiers.find(|tier| tier.programs().contains(&name)).unwrap_or(Self::Conformance)
            }
        }
    }

    /// Names of the test programs in `tests` folders; empty for the tiers that have all others.
    const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Kernel => &["kernel"],
            Self::E2e => &["e2e", "alertmanager", "compose", "lab", "manifests", "otlp"],
            Self::Probe => &["probe"],
            Self::Kafka => &["kafka"],
            Self::Stream => &["stream", "without_flink"],
            Self::Dashboards => &["dashboards"],
            Self::Cluster => &["cluster"],
            Self::Unit | Self::Conformance | Self::Kpi | Self::Fuzz => &[],
        }
    }

    /// Whether each test runs in a process and a cgroup of its own.
    const fn is_isolated(self) -> bool {
        matches!(self, Self::Conformance | Self::E2e | Self::Kafka)
    }

    /// Whether most tests wait most of the time, so that a build can run beside them.
    const fn is_waiting(self) -> bool {
        matches!(self, Self::E2e | Self::Kafka)
    }

    /// Whether each program starts servers of its own and waits for them.
    const fn has_stacks(self) -> bool {
        matches!(self, Self::Stream | Self::Dashboards)
    }

    /// Whether some of its programs wait so much, for time limits or for their servers, that two run beside each other.
    const fn has_lanes(self) -> bool {
        matches!(self, Self::Unit) || self.has_stacks()
    }

    /// Whether this tier runs together with the next.
    const fn is_beside(self, next: Self) -> bool {
        self.is_waiting() && next.is_waiting() || self.has_stacks() && next.has_stacks()
    }
}

/// Programs that run beside each other: a second one uses what the first leaves of the processors.
const LANES: usize = 2;

/// Runs the command.
pub fn main(args: &Args) -> Result<()> {
    run(args, || Ok(()))
}

/// Runs tests and, from the second tier on, beside them something that leaves the processors to them.
pub fn run(args: &Args, beside: fn() -> Result<()>) -> Result<()> {
    let tiers = args.sorted();
    setup::install_packages(&commands(&tiers))?;
    let (binary, programs) = thread::scope(|scope| {
        // Mostly downloads: they take no longer beside the builds.
        let downloads = scope.spawn(|| download(&tiers));
        let built = build_all(&tiers);
        downloads.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        built
    })?;
    if !is_root() {
        console::progress("the tests need root: building as this user, running with sudo");
    }
    let mut results = Results::default();
    let mut failed = Vec::new();
    let mut times = Vec::new();
    let mut beside = Some(beside);
    let mut running = None;
    // Tiers whose tests wait run together, so that no core is idle while the last tests of one of them end.
    for together in tiers.chunk_by(|one, next| one.is_beside(*next)) {
        let tier = together[0];
        let start = Instant::now();
        // Not yet beside the unit tests, since cargo builds those in the documentation then: it does one thing at a time.
        if tier != Tier::Unit
            && let Some(beside) = beside.take()
        {
            let fuzz = tiers.contains(&Tier::Fuzz) && args.arguments.is_empty();
            let packages = packages(&tiers);
            running = Some(thread::spawn(move || {
                let result = beside();
                if fuzz {
                    // If it fails, the next build says so again.
                    let _ = fuzz::build_beside(packages);
                }
                result
            }));
        }
        if tier == Tier::Fuzz {
            failed.extend(running.take().and_then(failure));
        }
        let programs: Vec<_> =
            programs.iter().filter(|program| together.contains(&program.tier)).collect();
        // Beside the stack's start, which mostly waits.
        let java = (tier == Tier::Stream && args.arguments.is_empty())
            .then(|| thread::spawn(|| passes(stack::jobs::unit_tests()?)));
        // Beside the unit tests, of which some wait for time limits.
        let documentation = (tier == Tier::Unit).then(|| {
            let mut docs = documentation(args, packages(&tiers));
            thread::spawn(move || docs.output().context("cannot start cargo"))
        });
        // Arguments select tests, whose output is then wanted as it comes.
        if !args.arguments.is_empty() {
            failed.extend(run_selected(&programs, args, &binary)?);
        } else if tier.is_isolated() {
            results.extend(isolated::run(&programs, &binary)?);
        } else {
            let lanes = if tier.has_lanes() { LANES } else { 1 };
            results.extend(run_whole(&programs, &binary, lanes)?);
        }
        if let Some(java) = java
            && !java.join().unwrap_or_else(|panic| resume_unwind(panic))?
        {
            failed.push("dnscribe-stream.jar".to_owned());
        }
        if let Some(documentation) = documentation {
            let output = documentation.join().unwrap_or_else(|panic| resume_unwind(panic))?;
            for text in [&output.stdout, &output.stderr] {
                console::progress(&String::from_utf8_lossy(text));
            }
            if !output.status.success() {
                failed.push("documentation".to_owned());
            }
        }
        // Arguments select tests by name, and mutated inputs have no names.
        if tier == Tier::Fuzz
            && args.arguments.is_empty()
            && let Err(error) = fuzz::short(None, packages(&tiers))
        {
            console::progress(&format!("{error:#}"));
            failed.push("fuzz".to_owned());
        }
        times.push((together, start.elapsed()));
    }
    failed.extend(running.and_then(failure));
    console::progress(&results.summary(&tiers));
    report(&times);
    failed.extend(results.failures());
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// Waits for a thread; returns how it failed.
fn failure(thread: JoinHandle<Result<()>>) -> Option<String> {
    let result = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
    result.err().map(|error| format!("{error:#}"))
}

/// Installs and downloads what the tests of these tiers need besides what is built. Once and as this user: the tests run as
/// root and only use the files.
pub fn prepare(args: &Args) -> Result<()> {
    let tiers = args.sorted();
    setup::install_packages(&commands(&tiers))?;
    download(&tiers)
}

/// Downloads what the tests of these tiers need.
fn download(tiers: &[Tier]) -> Result<()> {
    setup::download(&commands(tiers))?;
    if tiers.contains(&Tier::Kpi) {
        kpi_validators()?;
    }
    Ok(())
}

/// Rows of these tiers in the table of what commands need.
fn commands(tiers: &[Tier]) -> Vec<String> {
    tiers.iter().map(|tier| format!("test {}", tier.name())).collect()
}

/// Builds what the tiers run.
pub fn build(args: &Args) -> Result<()> {
    build_all(&args.sorted()).map(drop)
}

/// Builds the test programs of these tiers, the agent and the probe. Returns the agent's path; the probe is beside it.
fn build_all(tiers: &[Tier]) -> Result<(PathBuf, Vec<Program>)> {
    let programs = if tiers == [Tier::Fuzz] { Vec::new() } else { programs(tiers)? };
    let needs_agent = !matches!(tiers, [Tier::Fuzz | Tier::Kpi]);
    let agent = if needs_agent { build::beside_tests(packages(tiers))? } else { PathBuf::new() };
    Ok((agent, programs))
}

/// Runs programs, so many beside each other, each with all its tests in one process.
fn run_whole(programs: &[&Program], binary: &Path, lanes: usize) -> Result<Vec<TestResult>> {
    let mut programs = programs.to_vec();
    // The longest first.
    programs.sort_by_key(|program| {
        program.tier.programs().iter().position(|name| *name == program.name)
    });
    let waiting = Mutex::new(VecDeque::from(programs));
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let work = || -> Result<Vec<TestResult>> {
        let mut results = Vec::new();
        while let Some(program) = next() {
            results.extend(whole::run(program, binary)?);
        }
        Ok(results)
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..lanes).map(|_| scope.spawn(work)).collect();
        let results =
            workers.into_iter().map(|one| one.join().unwrap_or_else(|e| resume_unwind(e)));
        results.collect::<Result<Vec<_>>>().map(|all| all.concat())
    })
}

/// Runs programs with arguments for the test harness, and shows their output as it comes. Returns the names of those that failed.
fn run_selected(programs: &[&Program], args: &Args, binary: &Path) -> Result<Vec<String>> {
    let mut failed = Vec::new();
    for program in programs {
        let Program { name, file, .. } = program;
        console::progress(&format!("     Running {name} ({})", file.display()));
        let mut test = as_root(file)?;
        test.args(&args.arguments).current_dir(&program.folder);
        name_programs(&mut test, binary);
        program.add_environment(&mut test)?;
        if !passes(test)? {
            failed.push(name.clone());
        }
    }
    Ok(failed)
}

/// Writes the duration of each tier to standard error.
fn report(times: &[(&[Tier], Duration)]) {
    for (tiers, time) in times {
        let names: Vec<_> = tiers.iter().map(|tier| tier.name()).collect();
        console::progress(&format!("{}: {} s", names.join(" and "), time.as_secs()));
    }
    let all: Duration = times.iter().map(|(_, time)| *time).sum();
    console::progress(&format!("all: {} s", all.as_secs()));
}

impl Program {
    /// Adds what only this program's tests need.
    fn add_environment(&self, test: &mut Command) -> Result<()> {
        if self.tier == Tier::Kpi {
            test.env("DNSCRIBE_CHDB_PYTHON", stack::clickhouse::prepare()?.join("bin/python"));
            test.env("DNSCRIBE_VALIDATORS_PYTHON", kpi_validators()?.join("bin/python"));
        }
        Ok(())
    }
}

/// Versions of the packages in kpi/tests/requirements.txt, which has all that they depend on, and of what azem needs only what a
/// model's reader needs.
const KPI_VALIDATORS: &str = "0.10.5-azem-0.2.0";

/// Downloads the validators of what dnscribe-kpi writes for other tools, if they are missing.
fn kpi_validators() -> Result<PathBuf> {
    cache::folder("kpi-validators", KPI_VALIDATORS, |scratch| {
        cache::python_alone(scratch, &environment::workspace().join("kpi/tests/requirements.txt"))
    })
}

/// Names the programs under test to a test program: the agent, and the probe beside it.
fn name_programs(test: &mut Command, agent: &Path) {
    test.env("DNSCRIBE_BIN", agent);
    test.env("DNSCRIBE_PROBE_BIN", agent.with_file_name("dnscribe-probe"));
}

/// Returns the command that tests the examples in the documentation.
fn documentation(args: &Args, packages: &[&str]) -> Command {
    let mut docs = cargo();
    docs.args(["test", "--doc"]).args(packages).arg("--").args(&args.arguments);
    docs
}

/// Runs a test command with inherited output; whether it succeeded.
fn passes(mut test: Command) -> Result<bool> {
    let status = test.status();
    Ok(status.with_context(|| format!("cannot start `{}`", shell::command_line(&test)))?.success())
}

/// Package that only its own tier builds, since its query engine takes longer to compile than everything else.
const KPI: &str = "dnscribe-kpi";
/// All packages but that one, as arguments of cargo.
pub const WITHOUT_KPI: &[&str] = &["--workspace", "--exclude", KPI];

/// Returns the packages that builds for these tiers select, as arguments of cargo. All of them select the same ones, since
/// cargo compiles what packages share with the features that all selected ones need of it.
fn packages(tiers: &[Tier]) -> &'static [&'static str] {
    match tiers {
        [Tier::Kpi] => &["--package", KPI],
        _ => packages_with(tiers.contains(&Tier::Kpi)),
    }
}

/// Returns all packages, with or without `dnscribe-kpi`, as arguments of cargo.
pub fn packages_with(kpi: bool) -> &'static [&'static str] {
    if kpi { &["--workspace"] } else { WITHOUT_KPI }
}

/// Builds the test programs of these tiers as this user.
fn programs(tiers: &[Tier]) -> Result<Vec<Program>> {
    let mut build = cargo();
    build.args(["test", "--no-run", "--message-format=json-render-diagnostics"]);
    build.args(packages(tiers));
    if tiers.iter().all(|tier| !tier.programs().is_empty()) {
        // Still of the whole workspace, so that features are those of every build.
        build.args(tiers.iter().flat_map(|tier| tier.programs()).flat_map(|name| ["--test", name]));
    }
    let output = build.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the tests failed to build");
    }
    let messages = String::from_utf8(output.stdout).context("cargo's messages")?;
    Ok(messages.lines().filter_map(parse_message).collect())
}

/// Parses a message of cargo; `None` if it does not name a test program.
fn parse_message(message: &str) -> Option<Program> {
    let message: Value = serde_json::from_str(message).ok()?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let target = &message["target"];
    let name = target["name"].as_str()?.to_owned();
    let is_integration = target["kind"].as_array()?.iter().any(|kind| kind == "test");
    Some(Program {
        tier: Tier::from_program(&name, is_integration),
        name,
        file: message["executable"].as_str()?.into(),
        folder: Path::new(message["manifest_path"].as_str()?).parent()?.to_path_buf(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tier_says_what_it_needs() {
        setup::check_rows(&commands(Tier::value_variants())).unwrap();
    }

    #[test]
    fn finds_test_programs_and_their_tiers() {
        let message = |test: bool, kind: &str| {
            serde_json::json!({
                "reason": "compiler-artifact", "manifest_path": "/a/tests/Cargo.toml",
                "target": { "name": "e2e", "kind": [kind] }, "profile": { "test": test },
                "executable": "/t/debug/deps/e2e-1",
            })
            .to_string()
        };
        let found = parse_message(&message(true, "test")).unwrap();
        assert_eq!(found.folder, Path::new("/a/tests"));
        assert_eq!(found.file, Path::new("/t/debug/deps/e2e-1"));
        assert_eq!(found.tier, Tier::E2e);
        assert_eq!(Tier::from_program("golden", true), Tier::Conformance);
        assert_eq!(parse_message(&message(true, "lib")).unwrap().tier, Tier::Unit);
        assert!(parse_message(&message(false, "test")).is_none());
        assert!(parse_message("not JSON").is_none());
    }
}
