//! The captures in `examples/`, and the commands of its page.

use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::{environment, examples, shell};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

/// Size limit of a capture in bytes.
const LIMIT: usize = 100_000;
/// Line of the page in whose place the output has any number of lines.
const ELLIPSIS: &str = "...";

fn folder() -> PathBuf {
    environment::workspace().join("examples")
}

/// The captures are those of the generator.
#[test]
fn golden_captures() -> Result<()> {
    let is_blessing = std::env::var_os("DNSCRIBE_BLESS").is_some();
    for (name, made) in examples::captures()? {
        let path = folder().join(name);
        ensure!(made.len() <= LIMIT, "{name} has {} bytes", made.len());
        if is_blessing {
            fs::write(path, made)?;
        } else {
            ensure!(fs::read(path)? == made, "{name} is not what `cargo xtask bless` makes");
        }
    }
    Ok(())
}

/// Each command of the page prints what stands below it.
#[test]
fn page_shows_what_its_commands_print() -> Result<()> {
    let page = fs::read_to_string(folder().join("README.md"))?;
    let temp = tempfile::tempdir()?;
    symlink(folder(), temp.path().join("examples"))?;
    let mut count = 0;
    for block in page.split("```console\n").skip(1) {
        let (block, _) = block.split_once("```").context("a block has no end")?;
        for command in block.split("$ dnscribe ").skip(1) {
            let (line, expected) = command.split_once('\n').context("a command has no end")?;
            let mut dnscribe = Command::new(environment::binary()?);
            dnscribe.args(line.split_whitespace()).current_dir(temp.path()).env("COLUMNS", "80");
            let printed = String::from_utf8(shell::output(&mut dnscribe)?.stdout)?;
            ensure!(is_shown(&printed, expected), "dnscribe {line}: {printed}");
            count += 1;
        }
    }
    ensure!(count >= 6, "{count} commands");
    let report = fs::read_to_string(temp.path().join("report.html"))?;
    ensure!(report.contains("192.0.2.1"), "{report}");
    Ok(())
}

/// Returns whether an output is what a page expects: these lines, with others where the page says so.
fn is_shown(printed: &str, expected: &str) -> bool {
    let mut printed = printed.lines().map(str::trim_end);
    let mut may_skip = false;
    for line in expected.lines() {
        if line == ELLIPSIS {
            may_skip = true;
            continue;
        }
        let found =
            if may_skip { printed.any(|one| one == line) } else { printed.next() == Some(line) };
        if !found {
            return false;
        }
        may_skip = false;
    }
    may_skip || printed.next().is_none()
}

#[test]
fn output_is_compared_line_by_line() {
    for (expected, is_like) in [
        ("a\nb\nc\n", true),
        ("a\n...\n", true),
        ("...\nc\n", true),
        ("a\n...\nc\n", true),
        ("a\nb\n", false),
        ("...\nb\n", false),
        ("b\n...\n", false),
    ] {
        assert_eq!(is_shown("a \nb\nc\n", expected), is_like, "{expected}");
    }
}
