//! `dnscribe top` on files and pipes, on a real terminal and without one.

use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::tmux::{Terminal, TerminalState};
use dnscribe_tests::{environment, shell};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

fn golden(name: &str) -> PathBuf {
    environment::workspace().join("tests/goldens").join(name)
}

fn dnscribe(words: &[&str], input: Stdio) -> Result<Output> {
    let mut command = Command::new(environment::binary()?);
    Ok(command.args(words).stdin(input).env("COLUMNS", "100").output()?)
}

/// Starts a terminal with a script in which `$dnscribe` is the agent and `$capture` the project's own capture.
fn terminal(script: &str) -> Result<Terminal> {
    let (binary, capture) =
        (shell::quote(environment::binary()?), shell::quote(golden("lab.pcap")));
    Terminal::start((80, 24), &format!("dnscribe={binary} capture={capture}\n{script}"))
}

#[test]
fn explores_capture_file() -> Result<()> {
    let terminal = terminal("\"$dnscribe\" top \"$capture\"; echo ended with $?")?;
    terminal.wait_for("the end of the file", |text| text.contains(" END "))?;
    terminal.press(&["5", "t", "t", "End"])?;
    terminal.wait_for("outcomes", |text| text.contains("NXDOMAIN"))?;
    terminal.press(&["1", "Enter"])?;
    terminal.wait_for("failing names", |text| text.contains("no-such-name.example.com"))?;
    terminal.press(&["C-c"])?;
    terminal.wait_for("the end", |text| text.contains("ended with 0"))?;
    ensure!(terminal.state()? == TerminalState::INITIAL);
    Ok(())
}

#[test]
fn key_counts_that_comes_with_a_resize() -> Result<()> {
    let terminal = terminal("\"$dnscribe\" top \"$capture\"; echo ended with $?")?;
    terminal.wait_for("the end of the file", |text| text.contains(" END "))?;
    terminal.press(&["4"])?;
    terminal.wait_for("the processes", |text| text.contains("[4 Processes]"))?;
    for (columns, key, tab) in [(100, "1", "[1 Resolvers]"), (90, "2", "[2 Zones]")] {
        // Both are there when the program looks.
        let program = Pid::from_raw(i32::try_from(terminal.program()?)?).context("no program")?;
        kill_process(program, Signal::STOP)?;
        terminal.resize((columns, 30))?;
        terminal.press(&[key])?;
        kill_process(program, Signal::CONT)?;
        terminal.wait_for("the page of the key", |text| text.contains(tab))?;
    }
    terminal.press(&["q"])?;
    terminal.wait_for("the end", |text| text.contains("ended with 0"))?;
    Ok(())
}

#[test]
fn reads_keys_from_terminal_and_records_from_pipe() -> Result<()> {
    let terminal = terminal(
        "(\"$dnscribe\" replay \"$capture\" -o json 2>/dev/null; sleep 1000) | \"$dnscribe\" top --records -
        echo ended with $?",
    )?;
    terminal.wait_for("records", |text| text.contains("198.18.0.53"))?;
    terminal.press(&["4"])?;
    terminal.wait_for("the asking process", |text| text.contains("198.18.0.10"))?;
    terminal.press(&["q"])?;
    // The other end of the pipe still sleeps: the shell waits for it, but the terminal is released
    // at once.
    terminal.wait_for("the terminal", |text| !text.contains("[4 Processes]"))?;
    ensure!(terminal.state()? == TerminalState::INITIAL);
    Ok(())
}

#[test]
fn follows_growing_file() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("dns.ndjson");
    let records = dnscribe(&["replay", &golden("lab.pcap").display().to_string()], Stdio::null())?;
    let lines = String::from_utf8(records.stdout)?;
    let (first, rest) = lines.split_once('\n').context("no records")?;
    fs::write(&path, format!("{first}\n"))?;
    let terminal = terminal(&format!("\"$dnscribe\" top --records {}", shell::quote(&path)))?;
    terminal.wait_for("the first record", |text| text.contains("198.18.0.53"))?;
    ensure!(!terminal.text()?.contains("198.18.0.2 "));
    File::options().append(true).open(&path)?.write_all(rest.as_bytes())?;
    terminal.wait_for("the others", |text| text.contains("198.18.0.2 "))?;
    Ok(())
}

#[test]
fn ends_when_terminal_is_closed() -> Result<()> {
    let terminal = terminal("\"$dnscribe\" top \"$capture\"; echo ended")?;
    terminal.wait_for("the view", |text| text.contains("[1 Resolvers]"))?;
    let program = PathBuf::from(format!("/proc/{}", terminal.program()?));
    ensure!(program.exists());
    drop(terminal);
    let gone = || Ok((!program.exists()).then_some(()));
    shell::wait_for("the end of dnscribe top", Duration::from_secs(30), gone)
}

#[test]
fn snapshot_needs_no_terminal() -> Result<()> {
    let capture = golden("lab.pcap").display().to_string();
    let output = dnscribe(&["top", "--once", &capture], Stdio::null())?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for part in ["Resolvers", "198.18.0.53", "Loss", "every packet is accounted for", "icmp_error"]
    {
        ensure!(text.contains(part), "no {part} in\n{text}");
    }
    ensure!(text.is_ascii() && !text.contains('\x1b'), "the output is not plain ASCII text");
    let records = dnscribe(&["replay", &capture], Stdio::null())?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("dns.ndjson");
    fs::write(&path, &records.stdout)?;
    let words = ["top", "--once", "--records", "-"];
    let piped = dnscribe(&words, File::open(&path)?.into())?;
    let piped = String::from_utf8(piped.stdout)?;
    let row =
        |text: &str| text.lines().find(|line| line.contains("no-such-name")).map(str::to_owned);
    ensure!(row(&piped).is_some() && piped.contains("stdin"), "{piped}");
    ensure!(!piped.contains("Uses"), "a page of connections without any");
    let uses = dnscribe(
        &["top", "--once", "--records", &golden("uses.ndjson").display().to_string()],
        Stdio::null(),
    )?;
    let text = String::from_utf8(uses.stdout)?;
    let row = text.lines().find(|line| line.contains("shop.example"));
    ensure!(
        text.contains("ESTAB%")
            && row.is_some_and(|row| row.contains(" 25.0 ") && row.contains(" 75.0 ")),
        "{text}"
    );
    Ok(())
}

/// An empty picture of topics that were not read would look like a quiet network.
#[test]
fn snapshot_of_topics_that_cannot_be_read_fails() -> Result<()> {
    let words = ["top", "--once", "--brokers", "127.0.0.1:1", "--duration", "1s"];
    let output = dnscribe(&words, Stdio::null())?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(1), "{}: {said}", output.status);
    ensure!(
        output.stdout.is_empty() && said.contains("none of the topics could be read"),
        "{said}"
    );
    Ok(())
}

#[test]
fn rejects_unusable_input_with_remedy() -> Result<()> {
    let capture = golden("lab.pcap").display().to_string();
    let refused = |words: &[&str], remedy: &str| -> Result<()> {
        let output = dnscribe(words, Stdio::null())?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(output.status.code() == Some(2), "{words:?}: {}", output.status);
        ensure!(output.stdout.is_empty() && said.contains(remedy), "{words:?}: {said}");
        Ok(())
    };
    refused(&["top"], "--once")?;
    refused(&["top", "--once", "--records", &capture], "capture files need no --records")?;
    refused(&["top", "--once", "--records", "/no/such"], "/no/such")?;
    refused(&["top", "--once", &golden("lab.ndjson").display().to_string()], "--records FILE")?;
    refused(&["top", "--once", "--speed", "fast", &capture], "10x")?;
    refused(&["top", "--speed", "10x"], "FILE")?;
    Ok(())
}
