//! `test`: every test, the privileged and end-to-end ones included, or those of some tiers.

use crate::process::{as_root, cargo, is_root};
use crate::{build, fuzz, say, setup};
use anyhow::{Context as _, Result, bail};
use dnscribe_tests::{kafka, shell};
use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What to test.
#[derive(clap::Args, Debug, Default)]
pub struct Args {
    /// The tiers to run, cheapest first; all of them where none is named
    #[arg(value_enum)]
    tiers: Vec<Tier>,
    /// Arguments of the test programs, after `--`: part of a test's name, `--nocapture`
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

/// Tests that run together, cheapest first.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    /// Tests beside the code, property tests, and the examples in the documentation
    Unit,
    /// Capture files: other programs' decodes, goldens, records, screens, the ledger read back
    Conformance,
    /// The eBPF programs: verifier, test runs, attaching
    Kernel,
    /// The agent on a live DNS lab, in containers, and with Alertmanager and Kubernetes' schemas
    E2e,
    /// A real Apache Kafka broker, with faults
    Kafka,
    /// Some thousand mutated inputs for each fuzz target
    Fuzz,
}

/// A compiled test program.
struct Program {
    name: String,
    tier: Tier,
    file: PathBuf,
    folder: PathBuf,
}

impl Tier {
    const ALL: [Self; 6] =
        [Self::Unit, Self::Conformance, Self::Kernel, Self::E2e, Self::Kafka, Self::Fuzz];

    /// The tier of a test program by its name and whether it is in a `tests` folder.
    fn of(name: &str, is_integration: bool) -> Self {
        match name {
            _ if !is_integration => Self::Unit,
            "kernel" => Self::Kernel,
            "e2e" | "alertmanager" | "lab" | "manifests" => Self::E2e,
            "kafka" => Self::Kafka,
            _ => Self::Conformance,
        }
    }
}

/// Runs the command.
pub fn main(args: &Args) -> Result<()> {
    setup::main(setup::Args { test: true })?;
    let mut tiers = args.tiers.clone();
    tiers.sort_unstable();
    let tiers = if tiers.is_empty() { Tier::ALL.to_vec() } else { tiers };
    if tiers.contains(&Tier::Kafka) {
        // Once, as this user, so that tests only use what is there.
        kafka::prepare()?;
    }
    let binary = build::release()?;
    let programs = if tiers == [Tier::Fuzz] { Vec::new() } else { programs()? };
    if !is_root() {
        say::progress("the tests need root: they are built without and run with sudo");
    }
    let mut failed = Vec::new();
    let mut times = Vec::new();
    for tier in tiers {
        let start = Instant::now();
        for program in programs.iter().filter(|program| program.tier == tier) {
            say::progress(&format!("     Running {} ({})", program.name, program.file.display()));
            if !program.passes(args, &binary)? {
                failed.push(program.name.clone());
            }
        }
        if tier == Tier::Unit && !passes(documentation(args))? {
            failed.push("documentation".to_owned());
        }
        // Mutated inputs have no names to choose by.
        if tier == Tier::Fuzz && args.arguments.is_empty() {
            fuzz::short(None)?;
        }
        times.push((tier, start.elapsed()));
    }
    report(&times);
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// Prints how long each tier took.
fn report(times: &[(Tier, Duration)]) {
    for (tier, time) in times {
        say::progress(&format!("{tier:?}: {} s", time.as_secs()).to_lowercase());
    }
    let all: Duration = times.iter().map(|(_, time)| *time).sum();
    say::progress(&format!("all: {} s", all.as_secs()));
}

impl Program {
    fn passes(&self, args: &Args, binary: &Path) -> Result<bool> {
        let mut test = as_root(&self.file)?;
        test.args(&args.arguments).current_dir(&self.folder).env("DNSCRIBE_BIN", binary);
        passes(test)
    }
}

/// The examples in the documentation of the libraries.
fn documentation(args: &Args) -> Command {
    let mut docs = cargo();
    docs.args(["test", "--doc", "--workspace", "--"]).args(&args.arguments);
    docs
}

/// Runs a test program on this process's own standard output.
fn passes(mut test: Command) -> Result<bool> {
    let status = test.status();
    Ok(status.with_context(|| format!("cannot start `{}`", shell::shown(&test)))?.success())
}

/// Builds all test programs, as this user.
fn programs() -> Result<Vec<Program>> {
    let mut build = cargo();
    build.args(["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"]);
    let output = build.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the tests do not build");
    }
    let messages = String::from_utf8(output.stdout).context("cargo's messages")?;
    Ok(messages.lines().filter_map(program).collect())
}

/// The test program that one of cargo's messages names, if it names one.
fn program(message: &str) -> Option<Program> {
    let message: Value = serde_json::from_str(message).ok()?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let target = &message["target"];
    let name = target["name"].as_str()?.to_owned();
    let is_integration = target["kind"].as_array()?.iter().any(|kind| kind == "test");
    Some(Program {
        tier: Tier::of(&name, is_integration),
        name,
        file: message["executable"].as_str()?.into(),
        folder: Path::new(message["manifest_path"].as_str()?).parent()?.to_path_buf(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let found = program(&message(true, "test")).unwrap();
        assert_eq!(found.folder, Path::new("/a/tests"));
        assert_eq!(found.file, Path::new("/t/debug/deps/e2e-1"));
        assert_eq!(found.tier, Tier::E2e);
        assert_eq!(program(&message(true, "lib")).unwrap().tier, Tier::Unit);
        assert!(program(&message(false, "test")).is_none());
        assert!(program("not JSON").is_none());
    }
}
