//! `fuzz`: what reads octets of others, under libFuzzer.
//!
//! No nightly and no cargo-fuzz: the flags that make code tell libFuzzer where it has been are
//! stable, and `fuzz/rustc` gives them to our own crates alone, so that dependencies are those of
//! every other build.

use crate::process::cargo;
use crate::{say, setup};
use anyhow::{Context as _, Result, bail};
use dnscribe_tests::{environment, shell};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// Inputs of each target in a short run: its seeds and mutations of them.
const SHORT: [(&str, u32); 6] = [
    ("message", 6000),
    ("packets", 1500),
    ("capture", 800),
    ("config", 4000),
    ("spool", 2000),
    ("ledger", 6000),
];
/// An input that takes longer is a fault, in seconds.
const TIMEOUT_SECONDS: u32 = 60;
/// Memory of the program, in MiB; an input that needs more is a fault.
const MEMORY_MIB: u32 = 2048;
/// What to do with what was found.
const RECIPE: &str = "`cargo xtask fuzz TARGET --minimise FILE` makes it small; once it is mended, \
                      keep it in tests/fuzz-regressions/TARGET";

/// What to fuzz, and for how long.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// `message`, `packets`, `capture`, `config`, `spool` or `ledger`; all of them, one after the
    /// other, where not given
    target: Option<String>,
    /// A fixed number of inputs with a fixed seed, as in `cargo xtask test`
    #[arg(long)]
    short: bool,
    /// Make an input that breaks something smaller, instead
    #[arg(long, value_name = "FILE", requires = "target")]
    minimise: Option<PathBuf>,
    /// Seconds for each target
    #[arg(last = true, default_value_t = 60)]
    seconds: u32,
}

/// Runs the command.
pub fn main(args: &Args) -> Result<()> {
    setup::main(setup::Args::default())?;
    if args.short {
        return short(args.target.as_deref());
    }
    let program = build()?;
    for target in targets(args.target.as_deref())? {
        let folder = environment::target().join("fuzz").join(target);
        let mut fuzz = fuzzer(&program, target, &folder)?;
        let seconds = format!("-max_total_time={}", args.seconds);
        if let Some(input) = &args.minimise {
            let input = fs::canonicalize(input)
                .with_context(|| format!("cannot find {}", input.display()))?;
            fuzz.args(["-minimize_crash=1", &seconds]).arg(input);
        } else {
            say::progress(&format!("fuzz: {target}, {} s", args.seconds));
            fuzz.arg(seconds).arg(folder.join("corpus"));
        }
        judge(fuzz.status().context("cannot start the fuzzer")?, target, &folder)?;
    }
    Ok(())
}

/// The same inputs every time, from an empty corpus and its seeds; silent where nothing is found.
pub fn short(target: Option<&str>) -> Result<()> {
    let program = build()?;
    for target in targets(target)? {
        // What it finds must outlive the corpus.
        let folder = environment::target().join("fuzz").join(target);
        let corpus = tempfile::tempdir().context("cannot make a folder for the corpus")?;
        let runs = SHORT.iter().find(|(name, _)| *name == target).map_or(1000, |(_, runs)| *runs);
        say::progress(&format!("fuzz: {target}, {runs} inputs"));
        let mut fuzz = fuzzer(&program, target, &folder)?;
        fuzz.env("FUZZ_SEEDS", corpus.path()).args(["-seed=1", &format!("-runs={runs}")]);
        let output = fuzz.arg(corpus.path()).output().context("cannot start the fuzzer")?;
        if !output.status.success() {
            say::progress(&String::from_utf8_lossy(&output.stderr));
        }
        judge(output.status, target, &folder)?;
    }
    Ok(())
}

fn targets(wanted: Option<&str>) -> Result<Vec<&'static str>> {
    let known = SHORT.map(|(name, _)| name);
    match wanted {
        None => Ok(known.to_vec()),
        Some(wanted) => {
            let found = known.into_iter().find(|name| *name == wanted);
            let names = known.join(", ");
            Ok(vec![found.with_context(|| {
                format!("\"{wanted}\" is no fuzz target: choose one of {names}")
            })?])
        }
    }
}

/// Builds the program and returns where it is.
fn build() -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--package", "dnscribe-fuzz", "--features", "libfuzzer"]);
    build.args(["--bin", "dnscribe-fuzz"]);
    build.env("RUSTC_WORKSPACE_WRAPPER", environment::workspace().join("fuzz/rustc"));
    shell::pass_through(&mut build)?;
    Ok(environment::target().join("debug/dnscribe-fuzz"))
}

/// The program for a target, with folders for its corpus and for what it finds.
fn fuzzer(program: &Path, target: &str, folder: &Path) -> Result<Command> {
    let (corpus, found) = (folder.join("corpus"), folder.join("found"));
    for folder in [&corpus, &found] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut fuzz = Command::new(program);
    fuzz.env("FUZZ_TARGET", target).env("FUZZ_SEEDS", &corpus);
    fuzz.arg(format!("-timeout={TIMEOUT_SECONDS}")).arg(format!("-rss_limit_mb={MEMORY_MIB}"));
    fuzz.arg(format!("-artifact_prefix={}/", found.display()));
    Ok(fuzz)
}

fn judge(status: ExitStatus, target: &str, folder: &Path) -> Result<()> {
    if !status.success() {
        let found = folder.join("found");
        bail!("{target}: the fuzzer has found something, see {}; {RECIPE}", found.display());
    }
    Ok(())
}
