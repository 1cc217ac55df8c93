//! Lookups in a capture of real stub resolvers: one lookup per call.

use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::environment;
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A call and its expected lookup.
struct Call {
    program: &'static str,
    name: &'static str,
    outcome: &'static str,
    /// `transactions`, `packets`, `packets_wasted`, `search_expansions`, `retries`, `servers_tried`.
    figures: [u64; 6],
}

const fn call(
    program: &'static str,
    name: &'static str,
    outcome: &'static str,
    figures: [u64; 6],
) -> Call {
    Call { program, name, outcome, figures }
}

/// The calls in the capture, in order; those of the threads in any order.
const CALLS: [Call; 29] = [
    // search shop.svc.cluster.test svc.cluster.test cluster.test, options ndots:5
    call("getent ahosts", "www.example.com", "answered", [8, 8, 6, 3, 0, 1]),
    call("getent hosts", "www.example.com", "answered", [4, 4, 3, 3, 0, 1]),
    call("getent ahosts", "web", "answered", [4, 4, 2, 2, 0, 1]),
    call("Go", "www.example.com", "answered", [8, 8, 6, 3, 0, 1]),
    call("Go", "web", "answered", [4, 4, 2, 2, 0, 1]),
    call("Go", "nosuch", "nxdomain", [8, 8, 6, 3, 0, 1]),
    call("Java", "www.example.com", "answered", [8, 8, 6, 3, 0, 1]),
    call("busybox nslookup", "www.example.com", "answered", [2, 2, 0, 0, 0, 1]),
    call("busybox ping", "v4only.example.com", "answered", [8, 8, 6, 3, 0, 1]),
    call("Perl gethostbyname", "v4only.example.com", "answered", [4, 4, 3, 3, 0, 1]),
    call("Python thread", "www.example.com", "answered", [8, 8, 6, 3, 0, 1]),
    call("Python thread", "web", "answered", [4, 4, 2, 2, 0, 1]),
    call("Python thread", "v4only.example.com", "answered", [8, 8, 6, 3, 0, 1]),
    call("Python thread", "alias.example.com", "answered", [8, 8, 6, 3, 0, 1]),
    call("Python thread", "www.example.com", "answered", [8, 8, 6, 3, 0, 1]),
    call("Python thread", "nosuch", "nxdomain", [8, 8, 6, 3, 0, 1]),
    call("getent ahosts", "servfail.example.com", "servfail", [4, 4, 2, 0, 2, 1]),
    call("Go", "servfail.example.com", "servfail", [4, 4, 2, 0, 2, 1]),
    call("getent ahosts", "big.example.com", "answered", [4, 4, 0, 0, 0, 1]),
    call("Go", "big.example.com", "answered", [4, 4, 0, 0, 0, 1]),
    // The first server never answers.
    call("getent ahosts", "www.example.com", "answered", [4, 4, 2, 0, 2, 2]),
    call("Go", "www.example.com", "answered", [4, 4, 2, 0, 2, 2]),
    call("Java", "www.example.com", "answered", [4, 4, 2, 0, 2, 2]),
    call("busybox ping", "www.example.com", "answered", [4, 4, 2, 0, 2, 2]),
    call("getent ahosts", "big.example.com", "answered", [4, 4, 0, 0, 0, 1]),
    // search alpha.test beta.test
    call("getent ahosts", "db", "answered", [4, 4, 2, 2, 0, 1]),
    call("Go", "db", "answered", [4, 4, 2, 2, 0, 1]),
    call("getent ahosts", "nothing", "nxdomain", [6, 6, 4, 2, 0, 1]),
    call("getent ahosts", "db", "answered", [4, 4, 2, 2, 0, 1]),
];

fn golden(name: &str) -> PathBuf {
    environment::workspace().join("tests/goldens").join(name)
}

fn lookups() -> Result<Vec<Value>> {
    let mut command = Command::new(environment::binary()?);
    command.arg("replay").arg(golden("lookups.pcap")).args(["--stream", "lookups"]);
    let output = command.stderr(Stdio::null()).output()?;
    ensure!(output.status.success(), "{}", output.status);
    let text = String::from_utf8(output.stdout)?;
    let mut lookups = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    lookups.sort_by_key(|lookup| lookup["ts"].as_str().map(str::to_owned));
    Ok(lookups)
}

fn summary_of(lookup: &Value) -> Result<String> {
    let fields = [
        "transactions",
        "packets",
        "packets_wasted",
        "search_expansions",
        "retries",
        "servers_tried",
    ];
    let figures = fields.map(|field| lookup[field].as_u64().unwrap_or(u64::MAX));
    let text =
        |field: &str| lookup[field].as_str().with_context(|| format!("no {field}: {lookup}"));
    Ok(format!("{} {} {figures:?}", text("qname")?, text("outcome")?))
}

#[test]
fn each_call_gives_one_lookup() -> Result<()> {
    let lookups = lookups()?;
    let mut found = lookups.iter().map(summary_of).collect::<Result<Vec<_>>>()?;
    let mut expected: Vec<String> = CALLS
        .iter()
        .map(|call| format!("{} {} {:?}", call.name, call.outcome, call.figures))
        .collect();
    let threads = |call: &Call| call.program == "Python thread";
    let first = CALLS.iter().position(threads).context("no threads")?;
    let behind = first + CALLS.iter().filter(|call| threads(call)).count();
    for lines in [&mut found, &mut expected] {
        lines.get_mut(first..behind).context("too few lookups")?.sort();
    }
    // The last lookup was cut off by the end of the capture.
    assert_eq!(found.pop().as_deref(), Some("www.example.com open [2, 2, 0, 0, 0, 1]"));
    assert_eq!(found, expected);
    Ok(())
}

#[test]
fn ledger_counts_every_lookup() -> Result<()> {
    let mut command = Command::new(environment::binary()?);
    let output = command.args(["ledger", "verify"]).arg(golden("lookups.ndjson")).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success() && said.contains("the balance closes"), "{said}");
    let line = said.lines().find(|line| line.contains(" lookups ")).context("no lookups")?;
    let figures: Vec<&str> = line.split_whitespace().rev().take(4).collect();
    assert_eq!(figures, ["0", "30", "0", "30"], "{line}");
    Ok(())
}
