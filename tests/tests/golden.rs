//! Replay of the project's captures gives exactly the records in `tests/goldens`, for any file name
//! and compression.

use anyhow::{Context, Result, ensure};
use dnscribe_tests::{environment, shell};
use rustix::process::Signal;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const STREAMS: [&str; 2] = ["--stream", "messages,transactions,dlq,ledger"];

fn folder() -> PathBuf {
    environment::workspace().join("tests/goldens")
}

fn replay(capture: &Path, arguments: &[&str]) -> Result<Vec<u8>> {
    let mut command = Command::new(environment::binary()?);
    command.arg("replay").arg(capture).args(arguments).stderr(Stdio::null());
    Ok(shell::output(&mut command)?.stdout)
}

fn compare(name: &str, found: &[u8]) -> Result<()> {
    let path = folder().join(name);
    if std::env::var_os("DNSCRIBE_BLESS").is_some() {
        return fs::write(&path, found).with_context(|| path.display().to_string());
    }
    let golden = fs::read(&path).with_context(|| path.display().to_string())?;
    let lines = |octets: &[u8]| -> Vec<String> {
        String::from_utf8_lossy(octets).lines().map(str::to_owned).collect()
    };
    for (number, (found, golden)) in lines(found).iter().zip(&lines(&golden)).enumerate() {
        ensure!(found == golden, "{name}:{}\n golden {golden}\n  found {found}", number + 1);
    }
    ensure!(found == golden, "{name}: {} bytes, not {}", found.len(), golden.len());
    Ok(())
}

#[test]
fn golden_records() -> Result<()> {
    compare("lab.ndjson", &replay(&folder().join("lab.pcap"), &STREAMS)?)
}

#[test]
fn golden_text() -> Result<()> {
    compare("lab.txt", &replay(&folder().join("lab.pcap"), &["-o", "text"])?)
}

/// Windows of two groupings, with every field that a window can have.
#[test]
fn golden_windows() -> Result<()> {
    let mut command = Command::new(environment::binary()?);
    command.arg("replay").arg(folder().join("lab.pcap")).stderr(Stdio::null());
    command.args(["--stream", "metrics"]);
    command.envs([
        ("DNSCRIBE_WINDOWS__GROUPINGS", "node,zone"),
        ("DNSCRIBE_WINDOWS__SPANS", "10s,1m/10s"),
    ]);
    compare("windows.ndjson", &shell::output(&mut command)?.stdout)
}

/// Lookups of real stub resolvers; `tests/lookups.rs` compares them with the calls that were made.
#[test]
fn golden_lookups() -> Result<()> {
    let records = replay(&folder().join("lookups.pcap"), &["--stream", "lookups,ledger"])?;
    compare("lookups.ndjson", &records)
}

/// A resolver that is silent for half a minute causes one alert, which is resolved.
#[test]
fn golden_alerts() -> Result<()> {
    let found = replay(&folder().join("outage.pcap"), &["--stream", "alerts"])?;
    compare("outage.ndjson", &found)
}

/// Encrypted DNS connections; `tests/encrypted.rs` compares them with tshark's results.
#[test]
fn golden_connections() -> Result<()> {
    let mut command = Command::new(environment::binary()?);
    command.arg("replay").arg(folder().join("encrypted.pcap")).stderr(Stdio::null());
    command.args(["--query-timeout", "3s", "--stream", "connections,dlq,ledger"]);
    command.envs([
        ("DNSCRIBE_ENCRYPTED__RESOLVERS", "198.51.100.0/24"),
        ("DNSCRIBE_ENCRYPTED__PORTS", "853,8853"),
        ("DNSCRIBE_ENCRYPTED__QUIC_IDLE_TIMEOUT", "2s"),
    ]);
    compare("encrypted.ndjson", &shell::output(&mut command)?.stdout)
}

#[test]
fn output_is_independent_of_name_and_compression() -> Result<()> {
    let capture = folder().join("lab.pcap");
    let expected = replay(&capture, &STREAMS)?;
    let elsewhere = tempfile::tempdir()?;
    let copy = elsewhere.path().join("other.name");
    fs::copy(&capture, &copy)?;
    ensure!(replay(&copy, &STREAMS)? == expected, "the output depends on the file name");
    shell::run(&["gzip", "--keep", &copy.display().to_string()])?;
    let packed = elsewhere.path().join("other.name.gz");
    ensure!(replay(&packed, &STREAMS)? == expected, "the output depends on gzip");
    let mut stdin = Command::new(environment::binary()?);
    stdin.args(["replay", "-"]).args(STREAMS).stderr(Stdio::null());
    let piped = stdin.stdin(fs::File::open(&packed)?).output()?;
    ensure!(
        piped.status.success() && piped.stdout == expected,
        "the output differs on standard input"
    );
    Ok(())
}

/// Bytes of a capture through a pipe that stays open: what they hold is shown, and a signal ends the replay.
#[test]
fn pipes_are_shown_as_they_come() -> Result<()> {
    const TRANSACTIONS: [&str; 4] = ["--stream", "transactions", "-o", "json"];
    let capture = folder().join("lab.pcap");
    let expected = replay(&capture, &TRANSACTIONS)?;
    let capture = fs::read(capture)?;
    let dir = tempfile::tempdir()?;
    let fifo = dir.path().join("fifo").display().to_string();
    shell::run(&["mkfifo", &fifo])?;
    for (input, bytes) in [("-", &capture[..]), (&fifo, &capture), ("-", &[]), (&fifo, &[])] {
        let mut command = Command::new(environment::binary()?);
        command.args(["replay", input]).args(TRANSACTIONS).args(["--sink", "stdout"]);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut agent = piped.spawn()?;
        let mut stdin = agent.stdin.take().context("stdin")?;
        let mut output = agent.stdout.take().context("stdout")?;
        let (sender, shown) = mpsc::channel();
        let reader = thread::spawn(move || {
            let (mut all, mut part) = (Vec::new(), [0; 4096]);
            while let Ok(count @ 1..) = output.read(&mut part) {
                all.extend_from_slice(&part[..count]);
                // Nobody waits for what comes last.
                let _ = sender.send(());
            }
            all
        });
        let mut writer = None;
        if input == "-" {
            stdin.write_all(bytes)?;
        } else if !bytes.is_empty() {
            let mut pipe = fs::File::options().write(true).open(&fifo)?;
            pipe.write_all(bytes)?;
            writer = Some(pipe);
        }
        if bytes.is_empty() {
            thread::sleep(Duration::from_millis(300));
        } else {
            shown.recv_timeout(Duration::from_secs(30)).context("nothing is shown")?;
        }
        shell::signal(&agent, Signal::TERM)?;
        let status = shell::wait(&mut agent, Duration::from_secs(30))?;
        let found = reader.join().ok().context("the reader")?;
        drop((writer, stdin));
        ensure!(status.success(), "{input}: {status}");
        let expected: &[u8] = if bytes.is_empty() { &[] } else { &expected };
        ensure!(found == expected, "{input}: {} bytes, not {}", found.len(), expected.len());
    }
    Ok(())
}
