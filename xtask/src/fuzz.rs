//! `fuzz`: runs the parsers of untrusted bytes under libFuzzer.
//!
//! Needs neither nightly Rust nor cargo-fuzz: the compiler flags for coverage are stable, and `fuzz/rustc` sets
//! them for our own crates only, so that dependencies are shared with the other builds.

use crate::process::{cargo, idle};
use crate::test::WITHOUT_KPI;
use crate::{console, setup};
use anyhow::{Context as _, Result, bail};
use dnscribe_tests::{environment, shell};
use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::Instant;

/// Number of inputs of each target in a short run: its seeds and mutations of them.
const SHORT: [(&str, u32); 6] = [
    ("message", 6000),
    ("packets", 1500),
    ("capture", 800),
    ("config", 4000),
    ("spool", 2000),
    ("ledger", 6000),
];
/// Compiler of long runs: its programs run fast.
const LONG: &str = "fuzz/rustc";
/// Compiler of short runs: to optimise what runs for seconds takes minutes.
const BRIEF: &str = "fuzz/rustc-short";
/// Longest time for an input in seconds; a longer one is reported as a finding.
const TIMEOUT_SECONDS: u32 = 60;
/// Memory limit in MiB; an input that needs more is reported as a finding.
const MEMORY_MIB: u32 = 2048;
/// Object of the eBPF programs in the output folder of the agent's build script.
const EBPF_OBJECT: &str = "out/target/bpfel-unknown-none/release/dnscribe-ebpf";
/// Instructions for a finding.
const RECIPE: &str = "minimise it with `cargo xtask fuzz TARGET --minimise FILE`, fix the code, and \
                      keep the input in tests/fuzz-regressions/TARGET";

/// Arguments of `fuzz`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// `message`, `packets`, `capture`, `config`, `spool` or `ledger` [default: all, one after the
    /// other]
    target: Option<String>,
    /// Run a fixed number of inputs with a fixed seed, as `cargo xtask test` does
    #[arg(long)]
    short: bool,
    /// Minimise this failing input instead
    #[arg(long, value_name = "FILE", requires = "target")]
    minimise: Option<PathBuf>,
    /// Seconds for each target
    #[arg(last = true, default_value_t = 60)]
    seconds: u32,
}

/// Runs the command.
pub fn main(args: &Args) -> Result<()> {
    setup::install(&["build"])?;
    if args.short {
        return short(args.target.as_deref(), WITHOUT_KPI);
    }
    let program = build(WITHOUT_KPI, LONG)?;
    for target in targets(args.target.as_deref())? {
        let folder = environment::target().join("fuzz").join(target);
        let mut fuzz = fuzzer(&program, target, &folder)?;
        let seconds = format!("-max_total_time={}", args.seconds);
        if let Some(input) = &args.minimise {
            let input = fs::canonicalize(input)
                .with_context(|| format!("cannot find {}", input.display()))?;
            fuzz.args(["-minimize_crash=1", &seconds]).arg(input);
        } else {
            console::progress(&format!("fuzz: {target}, {} s", args.seconds));
            fuzz.arg(seconds).arg(folder.join("corpus"));
        }
        check_status(fuzz.status().context("cannot start the fuzzer")?, target, &folder)?;
    }
    Ok(())
}

/// Runs a fixed number of inputs from an empty corpus and the seeds, the same ones every time, with a target on each
/// core. Prints the fuzzer's output only if it finds something. `packages` are those that the build selects.
pub fn short(target: Option<&str>, packages: &[&str]) -> Result<()> {
    let program = build(packages, BRIEF)?;
    let targets = targets(target)?;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    // Takes one target after the other, until none is left. A worker ends with its first finding.
    let work = || -> Result<()> {
        while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
            run_short(&program, target)?;
        }
        Ok(())
    };
    let results = thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let joined = workers.into_iter().map(ScopedJoinHandle::join);
        joined.map(|result| result.unwrap_or_else(|panic| resume_unwind(panic))).collect::<Vec<_>>()
    });
    results.into_iter().collect()
}

/// Runs a fixed number of inputs of one target.
fn run_short(program: &Path, target: &str) -> Result<()> {
    // Findings must outlive the temporary corpus.
    let folder = environment::target().join("fuzz").join(target);
    let corpus = tempfile::tempdir().context("cannot make a folder for the corpus")?;
    let runs = SHORT.iter().find(|(name, _)| *name == target).map_or(1000, |(_, runs)| *runs);
    let start = Instant::now();
    let mut fuzz = fuzzer(program, target, &folder)?;
    fuzz.env("FUZZ_SEEDS", corpus.path()).args(["-seed=1", &format!("-runs={runs}")]);
    let output = fuzz.arg(corpus.path()).output().context("cannot start the fuzzer")?;
    if !output.status.success() {
        console::progress(&String::from_utf8_lossy(&output.stderr));
    }
    let seconds = start.elapsed().as_secs();
    console::progress(&format!("fuzz: {target}, {runs} inputs, {seconds} s"));
    check_status(output.status, target, &folder)
}

fn targets(wanted: Option<&str>) -> Result<Vec<&'static str>> {
    let known = SHORT.map(|(name, _)| name);
    match wanted {
        None => Ok(known.to_vec()),
        Some(wanted) => {
            let found = known.into_iter().find(|name| *name == wanted);
            let names = known.join(", ");
            Ok(vec![found.with_context(|| {
                format!("unknown fuzz target \"{wanted}\": use one of {names}")
            })?])
        }
    }
}

/// Builds the fuzz program and returns its path.
fn build(packages: &[&str], compiler: &str) -> Result<PathBuf> {
    shell::pass_through(&mut build_command(packages, compiler))?;
    Ok(environment::target().join("debug/examples/dnscribe-fuzz"))
}

/// Builds the fuzz program of a short run beside tests that run.
pub fn build_beside(packages: &[&str]) -> Result<()> {
    shell::pass_through(&mut idle(&build_command(packages, BRIEF)))
}

/// Returns the command that builds the fuzz program.
fn build_command(packages: &[&str], compiler: &str) -> Command {
    let mut build = cargo();
    // Of all packages, so that cargo chooses the same features as for the tests: both share the dependencies.
    build.arg("build").args(packages).args(["--features", "dnscribe-fuzz/libfuzzer"]);
    build.args(["--example", "dnscribe-fuzz"]);
    build.env("RUSTC_WORKSPACE_WRAPPER", environment::workspace().join(compiler));
    if let Some(object) = ebpf_object() {
        build.env("DNSCRIBE_EBPF_PREBUILT", object);
    }
    build
}

/// Returns the newest eBPF object that a debug build has made. No target runs it, and compiling it takes a minute.
fn ebpf_object() -> Option<PathBuf> {
    let folders = fs::read_dir(environment::target().join("debug/build")).ok()?;
    let objects = folders.flatten().map(|folder| folder.path().join(EBPF_OBJECT));
    objects
        .filter_map(|object| Some((object.metadata().ok()?.modified().ok()?, object)))
        .max()
        .map(|(_, object)| object)
}

/// Returns the command for a target. Creates the folders for its corpus and its findings.
fn fuzzer(program: &Path, target: &str, folder: &Path) -> Result<Command> {
    let (corpus, found) = (folder.join("corpus"), folder.join("found"));
    for folder in [&corpus, &found] {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let mut fuzz = Command::new(program);
    fuzz.env("FUZZ_TARGET", target).env("FUZZ_SEEDS", &corpus);
    fuzz.arg(format!("-timeout={TIMEOUT_SECONDS}")).arg(format!("-rss_limit_mb={MEMORY_MIB}"));
    fuzz.arg(format!("-artifact_prefix={}/", found.display()));
    Ok(fuzz)
}

fn check_status(status: ExitStatus, target: &str, folder: &Path) -> Result<()> {
    if !status.success() {
        let found = folder.join("found");
        bail!("{target}: the fuzzer found a failing input, see {}; {RECIPE}", found.display());
    }
    Ok(())
}
