//! Alerts for incidents in generated captures.

use anyhow::Result;
use dnscribe_tests::pcap::{Exchange, write_exchanges};
use dnscribe_tests::{environment, shell};
use serde_json::Value;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Queries per second to each of the three resolvers.
const RATE: u64 = 10;

/// Writes a capture of `seconds` seconds; `answer` gives the response code by second and resolver.
fn capture(
    folder: &Path,
    name: &str,
    seconds: u64,
    answer: impl Fn(u64, u64, u64) -> Option<u8>,
) -> Result<PathBuf> {
    let path = folder.join(name);
    let each = 1_000_000_000 / (3 * RATE);
    let exchanges = (0..seconds * 3 * RATE).map(|number| -> Exchange {
        let rcode = answer(number / (3 * RATE), number % 3 + 1, number / 3);
        (number * each, u32::try_from(number).unwrap_or(0), rcode)
    });
    write_exchanges(BufWriter::new(File::create(&path)?), exchanges)?;
    Ok(path)
}

fn command(capture: &Path) -> Result<Command> {
    let mut command = Command::new(environment::binary()?);
    command.arg("replay").arg(capture).args(["--stream", "alerts"]);
    Ok(command)
}

fn replay(capture: &Path) -> Result<Vec<u8>> {
    Ok(shell::output(command(capture)?.stderr(Stdio::null()))?.stdout)
}

fn records(octets: &[u8]) -> Result<Vec<Value>> {
    let text = String::from_utf8(octets.to_vec())?;
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

fn summaries(records: &[Value]) -> Vec<[String; 4]> {
    let fields = ["rule", "resolver", "state", "severity"];
    let word = |record: &Value, field| record[field].as_str().unwrap_or("-").to_owned();
    records.iter().map(|record| fields.map(|field| word(record, field))).collect()
}

/// One of the three resolvers is silent for a while.
fn silence(second: u64, resolver: u64, _: u64) -> Option<u8> {
    let is_silent = resolver == 2 && (40..90).contains(&second);
    (!is_silent).then_some(0)
}

#[test]
fn golden_alerts() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let found = replay(&capture(folder.path(), "golden.pcap", 240, silence)?)?;
    let path = environment::workspace().join("tests/goldens/alerts.ndjson");
    if std::env::var_os("DNSCRIBE_BLESS").is_some() {
        return Ok(std::fs::write(path, found)?);
    }
    let [golden, found] = [std::fs::read(path)?, found].map(String::from_utf8);
    assert_eq!(found?, golden?);
    Ok(())
}

#[test]
fn reports_silent_resolver_and_its_return() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = capture(folder.path(), "silence.pcap", 240, silence)?;
    let output = replay(&path)?;
    let records = records(&output)?;
    let expected = [
        ["resolver_down", "198.19.0.2", "firing", "critical"],
        ["resolver_down", "198.19.0.2", "resolved", "critical"],
    ];
    assert_eq!(summaries(&records), expected, "{records:#?}");
    assert!(records[0]["duration_seconds"].as_f64().is_some_and(|seconds| seconds < 30.0));
    let renamed = folder.path().join("another-name.pcap");
    std::fs::rename(&path, &renamed)?;
    assert_eq!(replay(&renamed)?, output, "the output depends on the file name");
    Ok(())
}

#[test]
fn reports_partly_failing_resolver_after_five_minutes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let failing = |second: u64, resolver: u64, number: u64| {
        Some(if second >= 700 && resolver == 1 && number.is_multiple_of(5) { 2 } else { 0 })
    };
    let path = capture(folder.path(), "servfail.pcap", 1100, failing)?;
    let mut learned = command(&path)?;
    learned.env("DNSCRIBE_DETECT__RULES__SUCCESS_RATIO__LEARNING", "10m");
    let records = records(&shell::output(learned.stderr(Stdio::null()))?.stdout)?;
    let expected = [["success_ratio", "198.19.0.1", "firing", "critical"]];
    assert_eq!(summaries(&records), expected, "{records:#?}");
    let runbook = format!("{}/success-ratio.md", dnscribe_record::RUNBOOKS);
    assert_eq!(records[0]["runbook"], runbook);
    Ok(())
}

/// A failing resolver in a capture that is shorter than the rule has to learn: no alert, and the log says why.
#[test]
fn says_that_it_is_learning() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let failing = |_: u64, resolver: u64, number: u64| {
        Some(if resolver == 1 && number.is_multiple_of(5) { 2 } else { 0 })
    };
    let path = capture(folder.path(), "servfail.pcap", 400, failing)?;
    let output = shell::output(command(&path)?.stderr(Stdio::piped()))?;
    assert_eq!(summaries(&records(&output.stdout)?), Vec::<[String; 4]>::new());
    let log = String::from_utf8(output.stderr)?;
    for line in [
        "detection is learning and reports nothing by query_rate (for 24h), latency (for 1h)",
        "the capture was too short for detection by query_rate (for 24h), latency (for 1h)",
        "success_ratio (for 1h); shorten detect.rules.RULE.learning",
    ] {
        assert!(log.contains(line), "{line:?} is not in:\n{log}");
    }
    Ok(())
}

#[test]
fn no_alert_without_incident() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // One in a hundred is NXDOMAIN, one in 500 SERVFAIL, one in 700 is lost.
    let plain = |_: u64, _: u64, number: u64| match number {
        number if number % 700 == 3 => None,
        number if number % 500 == 7 => Some(2),
        number if number % 100 == 9 => Some(3),
        _ => Some(0),
    };
    let path = capture(folder.path(), "plain.pcap", 1200, plain)?;
    assert_eq!(summaries(&records(&replay(&path)?)?), Vec::<[String; 4]>::new());
    Ok(())
}
