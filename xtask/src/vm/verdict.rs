//! Compares the report of a guest with the expected behaviour.

use super::Layout;
use super::kernel::Kernel;
use super::report::{Report, Section};
use anyhow::{Context as _, Result, bail, ensure};
use dnscribe_tests::ledger;
use serde_json::Value;

/// A check and its result: a short text if it passed.
#[derive(Debug)]
pub struct Verdict {
    pub what: String,
    pub outcome: Result<String>,
}

/// Expected result of an attempt to capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// Captures by this hook.
    Captures(&'static str),
    /// Refuses with an error that contains these words.
    Refuses(&'static str),
}

/// Queries that are answered: first label of the name, transport.
const ANSWERED: [(&str, &str); 4] =
    [("udp4", "udp"), ("udp6", "udp"), ("tcp4", "tcp"), ("tcp6", "tcp")];
/// First label of the query to a closed port.
const CLOSED: &str = "closed";
/// Exit code if a host cannot capture.
const CANNOT_CAPTURE: i32 = 3;
/// Words in the error on a kernel that is too old.
const TOO_OLD: &str = "Linux 5.12";

/// Hooks to test; also `auto` on layouts without hook `cgroup`.
pub const fn hooks(layout: Layout) -> &'static [&'static str] {
    match layout {
        Layout::Unified | Layout::Hybrid => &["cgroup", "socket"],
        Layout::Legacy => &["cgroup", "socket", "auto"],
    }
}

/// Evaluates the report of a guest.
pub fn evaluate(kernel: Kernel, layout: Layout, report: &Report) -> Vec<Verdict> {
    let looked = |name: &str, check: &dyn Fn(&Section) -> Result<String>| {
        let outcome = report.section(name).and_then(|section| {
            check(section).with_context(|| section.text("stderr").trim_end().to_owned())
        });
        Verdict { what: name.to_owned(), outcome }
    };
    let mut verdicts = vec![looked("check", &|section| check(kernel, section))];
    for hook in hooks(layout) {
        let expected = expected(kernel, layout, hook);
        verdicts.push(looked(hook, &|section| match expected {
            Expected::Captures(by) => captures(section, hook, by),
            Expected::Refuses(words) => refuses(section, words),
        }));
    }
    if layout == Layout::Unified && kernel.can_capture() {
        verdicts.extend([
            looked("no-privilege", &|section| fails(section, "capabilities", "CAP_BPF")),
            looked("connections", &|section| check(kernel, section)),
            looked("path", &|section| {
                let probes = check(kernel, section)?;
                ensure!(!probes.contains("packet_drop"), "{probes}");
                Ok(probes)
            }),
            looked("path-cgroup", &|section| {
                let records = section.records("records")?;
                let closed = format!("{CLOSED}.path-cgroup.vm.test");
                let lost = records.iter().find(|record| record["qname"] == closed);
                let reason = &lost.context("no query to the closed port")?["lost_at"]["reason"];
                ensure!(reason == "NO_SOCKET", "lost_at is {reason}");
                captures(section, "path-cgroup", "cgroup")
            }),
            looked("ring-too-large", &|section| fails(section, "cgroup ring buffer", "ring_bytes")),
            looked("no-btf", &|section| warns(section, "btf", "CONFIG_DEBUG_INFO_BTF")),
            looked("no-btf-connections", &|section| warns(section, "btf", "CONFIG_DEBUG_INFO_BTF")),
            looked("no-btf-path", &|section| warns(section, "packet_drop", "with BTF")),
            looked("no-btf-cgroup", &|section| captures(section, "no-btf-cgroup", "cgroup")),
            looked("unprivileged-bpf-disabled", &|section| check(kernel, section)),
            looked("lockdown", &|section| check(kernel, section)),
            looked("lockdown-connections", &|section| check(kernel, section)),
            looked("lockdown-path", &|section| warns(section, "packet_drop", "not locked down")),
            looked("lockdown-cgroup", &|section| {
                let stderr = section.text("stderr");
                ensure!(stderr.contains("sender by typed task_struct"), "no sender of packets");
                captures(section, "lockdown-cgroup", "cgroup")
            }),
        ]);
    }
    verdicts
}

fn expected(kernel: Kernel, layout: Layout, hook: &str) -> Expected {
    match (hook, layout) {
        ("cgroup", Layout::Legacy) => Expected::Refuses("no cgroup2 file system is mounted"),
        _ if !kernel.can_capture() => Expected::Refuses(TOO_OLD),
        ("socket", _) | (_, Layout::Legacy) => Expected::Captures("socket"),
        _ => Expected::Captures("cgroup"),
    }
}

/// Expects that `check` succeeds: every program loads.
fn check(kernel: Kernel, section: &Section) -> Result<String> {
    if !kernel.can_capture() {
        return fails(section, "kernel", TOO_OLD);
    }
    let report = findings(section)?;
    ensure!(section.code == 0, "exit code {}: {}", section.code, failed_probes(&report));
    let without = failed_probes(&report);
    Ok(if without.is_empty() { "ok".to_owned() } else { format!("ok; {without}") })
}

/// Expects that `check` ends with exit code 3 because of a probe whose remedy contains these words.
fn fails(section: &Section, probe: &str, words: &str) -> Result<String> {
    let report = findings(section)?;
    ensure!(section.code == CANNOT_CAPTURE, "exit code {}", section.code);
    let found = failed_probe(&report, probe)?;
    ensure!(found["required"] == true && found.to_string().contains(words), "{found}");
    Ok(format!("refused: {}", describe_probe(found)))
}

/// Expects that `check` succeeds with a warning by a probe whose remedy contains these words.
fn warns(section: &Section, probe: &str, words: &str) -> Result<String> {
    let report = findings(section)?;
    ensure!(section.code == 0, "exit code {}: {}", section.code, failed_probes(&report));
    let found = failed_probe(&report, probe)?;
    ensure!(found["required"] == false && found.to_string().contains(words), "{found}");
    Ok(format!("ok; {}", describe_probe(found)))
}

fn findings(section: &Section) -> Result<Value> {
    serde_json::from_str(section.text("report")).context("`check -o json` printed no JSON")
}

fn failed_probe<'a>(report: &'a Value, name: &str) -> Result<&'a Value> {
    let probes = report["probes"].as_array().context("no probes")?;
    let found = probes.iter().find(|probe| probe["name"] == name && probe["ok"] == false);
    found.with_context(|| format!("probe {name} did not fail: {report}"))
}

/// Describes the failed probes in one line.
fn failed_probes(report: &Value) -> String {
    let probes = report["probes"].as_array().into_iter().flatten();
    let unmet: Vec<String> =
        probes.filter(|probe| probe["ok"] == false).map(describe_probe).collect();
    unmet.join(" | ")
}

fn describe_probe(probe: &Value) -> String {
    let text = |key: &str| probe[key].as_str().unwrap_or("").to_owned();
    format!("{}: {}; remedy: {}", text("name"), text("detail"), text("remedy"))
}

/// Expects that `run` ends with exit code 3 and an error that contains these words.
fn refuses(section: &Section, words: &str) -> Result<String> {
    let stderr = section.text("stderr").trim_end();
    ensure!(section.code == CANNOT_CAPTURE, "exit code {}", section.code);
    ensure!(stderr.contains(words), "stderr does not contain {words:?}");
    ensure!(section.text("records").is_empty(), "records of a refused run");
    let (_, reason) = stderr.split_once("error: ").context("stderr contains no error")?;
    Ok(format!("refused: {}", reason.lines().map(str::trim).collect::<Vec<_>>().join("; ")))
}

/// Expects that `run` writes one transaction per query and a ledger that balances without loss.
fn captures(section: &Section, name: &str, hook: &str) -> Result<String> {
    ensure!(section.code == 0, "exit code {}", section.code);
    let asked = section.text("questions").trim_end();
    ensure!(asked.is_empty(), "queries failed: {asked}");
    let records = section.records("records")?;
    let by_process = hook == "cgroup";
    for (question, transport) in ANSWERED {
        let qname = format!("{question}.{name}.vm.test");
        transaction(
            &records,
            &qname,
            "client",
            transport,
            "answered",
            by_process.then_some("kdig"),
        )?;
        if by_process {
            transaction(&records, &qname, "server", transport, "answered", Some("knotd"))?;
        }
    }
    let qname = format!("{CLOSED}.{name}.vm.test");
    transaction(&records, &qname, "client", "udp", "icmp_error", by_process.then_some("kdig"))?;
    let last = records.iter().rfind(|record| record["schema"] == "dns.ledger/1");
    let last = last.context("no ledger record")?;
    ensure!(last["final"] == true, "the last ledger record is not final: {last}");
    ledger::verify(last)?;
    let losses = ledger::losses(last)?;
    ensure!(losses == 0, "{losses} lost: {last}");
    let stderr = section.text("stderr");
    ensure!(stderr.contains(&format!("hook {hook}")), "stderr does not name hook {hook}");
    Ok(if name == hook { "ok".to_owned() } else { format!("ok, by hook {hook}") })
}

/// Checks that there is exactly one transaction with this name at a vantage, with this transport, status and
/// process.
fn transaction(
    records: &[Value],
    qname: &str,
    vantage: &str,
    transport: &str,
    status: &str,
    process: Option<&str>,
) -> Result<()> {
    let found: Vec<&Value> = records
        .iter()
        .filter(|record| record["qname"] == qname && record["vantage"] == vantage)
        .collect();
    let [found] = found.as_slice() else {
        bail!("{} transactions of {qname} at the {vantage}", found.len());
    };
    ensure!(found["transport"] == transport && found["status"] == status, "not {status}: {found}");
    match process {
        Some(comm) => ensure!(found["process"]["comm"] == comm, "not by {comm}: {found}"),
        None => ensure!(found.get("process").is_none(), "a process: {found}"),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
