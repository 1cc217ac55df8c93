//! `test`: every test, the privileged and end-to-end ones included.

use crate::process::{as_root, cargo, is_root};
use crate::{build, fuzz, say, setup};
use anyhow::{Context as _, Result, bail};
use dnscribe_tests::{kafka, shell};
use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// What to test.
#[derive(clap::Args, Debug, Default)]
pub struct Args {
    /// Arguments of the test programs, after `--`: part of a test's name, `--nocapture`
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

/// A compiled test program.
struct Program {
    name: String,
    file: PathBuf,
    folder: PathBuf,
}

/// Runs the command.
pub fn main(args: &Args) -> Result<()> {
    setup::main(setup::Args { test: true })?;
    // Once, as this user, so that tests only use what is there.
    kafka::prepare()?;
    let binary = build::release()?;
    if is_root() {
        let mut tests = cargo();
        tests.args(["test", "--workspace", "--no-fail-fast", "--"]).args(&args.arguments);
        let tested = shell::pass_through(tests.env("DNSCRIBE_BIN", binary));
        return tested.and(mutated(args));
    }
    as_user_then_root(args, &binary).and(mutated(args))
}

/// Some thousand mutated inputs for each fuzz target, unless a test was asked for by its name.
fn mutated(args: &Args) -> Result<()> {
    if args.arguments.is_empty() { fuzz::short(None) } else { Ok(()) }
}

/// Builds the tests as this user and runs the programs as root: capture and network namespaces
/// need it, cargo does not.
fn as_user_then_root(args: &Args, binary: &Path) -> Result<()> {
    say::progress("the tests need root: they are built without and run with sudo");
    let mut failed = Vec::new();
    for program in programs()? {
        say::progress(&format!("     Running {} ({})", program.name, program.file.display()));
        let mut test = as_root(&program.file)?;
        test.args(&args.arguments).current_dir(&program.folder).env("DNSCRIBE_BIN", binary);
        if shell::pass_through(&mut test).is_err() {
            failed.push(program.name);
        }
    }
    let mut docs = cargo();
    docs.args(["test", "--doc", "--workspace", "--"]).args(&args.arguments);
    if shell::pass_through(&mut docs).is_err() {
        failed.push("documentation".to_owned());
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

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

/// The test program that one of cargo's messages tells of, if it tells of one.
fn program(message: &str) -> Option<Program> {
    let message: Value = serde_json::from_str(message).ok()?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    Some(Program {
        name: message["target"]["name"].as_str()?.to_owned(),
        file: message["executable"].as_str()?.into(),
        folder: Path::new(message["manifest_path"].as_str()?).parent()?.to_path_buf(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_are_told_from_other_artefacts() {
        let message = |test: bool| {
            serde_json::json!({
                "reason": "compiler-artifact", "manifest_path": "/a/tests/Cargo.toml",
                "target": { "name": "e2e" }, "profile": { "test": test },
                "executable": "/t/debug/deps/e2e-1",
            })
            .to_string()
        };
        let found = program(&message(true)).unwrap();
        assert_eq!(found.folder, Path::new("/a/tests"));
        assert_eq!(found.file, Path::new("/t/debug/deps/e2e-1"));
        assert!(program(&message(false)).is_none());
        assert!(program("not JSON").is_none());
    }
}
