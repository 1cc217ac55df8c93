//! Whether what a guest told is what must be.

use super::Layout;
use super::kernel::Kernel;
use super::report::{Report, Section};
use anyhow::{Context as _, Result, bail, ensure};
use dnscribe_tests::ledger;
use serde_json::Value;

/// What was looked at, and what came of it: in a few words where it is as it must be.
#[derive(Debug)]
pub struct Verdict {
    pub what: String,
    pub outcome: Result<String>,
}

/// What must come of a try to capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// Records by this hook.
    Captures(&'static str),
    /// A refusal with these words.
    Refuses(&'static str),
}

/// Questions that are answered: the beginning of their name, and the transport.
const ANSWERED: [(&str, &str); 4] =
    [("udp4", "udp"), ("udp6", "udp"), ("tcp4", "tcp"), ("tcp6", "tcp")];
/// The question that nobody listens to.
const CLOSED: &str = "closed";
/// The exit code where a host cannot capture.
const CANNOT_CAPTURE: i32 = 3;
/// What a kernel that is too old is told to lack.
const TOO_OLD: &str = "Linux 5.12";

/// The hooks that are tried; `auto` where it must find that hook `cgroup` is not possible.
pub const fn hooks(layout: Layout) -> &'static [&'static str] {
    match layout {
        Layout::Unified | Layout::Hybrid => &["cgroup", "socket"],
        Layout::Legacy => &["cgroup", "socket", "auto"],
    }
}

/// Judges all that a guest told.
pub fn judge(kernel: Kernel, layout: Layout, report: &Report) -> Vec<Verdict> {
    let looked = |name: &str, look: &dyn Fn(&Section) -> Result<String>| {
        let outcome = report.section(name).and_then(|section| {
            look(section).with_context(|| section.text("stderr").trim_end().to_owned())
        });
        Verdict { what: name.to_owned(), outcome }
    };
    let mut verdicts = vec![looked("check", &|section| check(kernel, section))];
    for hook in hooks(layout) {
        let expected = expected(kernel, layout, hook);
        verdicts.push(looked(hook, &|section| match expected {
            Expected::Captures(by) => captures(section, hook, by, true),
            Expected::Refuses(words) => refuses(section, words),
        }));
    }
    if layout == Layout::Unified && kernel.can_capture() {
        verdicts.extend([
            looked("no-privilege", &|section| fails(section, "capabilities", "CAP_BPF")),
            looked("ring-too-large", &|section| fails(section, "cgroup ring buffer", "ring_bytes")),
            looked("no-btf", &|section| warns(section, "btf", "CONFIG_DEBUG_INFO_BTF")),
            looked("no-btf-cgroup", &|section| {
                captures(section, "no-btf-cgroup", "cgroup", kernel.tells_sender())
            }),
            looked("unprivileged-bpf-disabled", &|section| check(kernel, section)),
            looked("lockdown", &|section| check(kernel, section)),
            looked("lockdown-cgroup", &|section| {
                let said = section.text("stderr");
                ensure!(said.contains("sender by typed task_struct"), "no sender of packets");
                captures(section, "lockdown-cgroup", "cgroup", true)
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

/// `check` with everything as it should be: every program loads.
fn check(kernel: Kernel, section: &Section) -> Result<String> {
    if !kernel.can_capture() {
        return fails(section, "kernel", TOO_OLD);
    }
    let report = findings(section)?;
    ensure!(section.code == 0, "exit code {}: {}", section.code, unmet(&report));
    let without = unmet(&report);
    Ok(if without.is_empty() { "ok".to_owned() } else { format!("ok; {without}") })
}

/// `check` that ends with 3, because of a probe whose remedy has these words.
fn fails(section: &Section, probe: &str, words: &str) -> Result<String> {
    let report = findings(section)?;
    ensure!(section.code == CANNOT_CAPTURE, "exit code {}", section.code);
    let found = unmet_probe(&report, probe)?;
    ensure!(found["required"] == true && found.to_string().contains(words), "{found}");
    Ok(format!("refused: {}", spoken(found)))
}

/// `check` that succeeds, and warns of a probe whose remedy has these words.
fn warns(section: &Section, probe: &str, words: &str) -> Result<String> {
    let report = findings(section)?;
    ensure!(section.code == 0, "exit code {}: {}", section.code, unmet(&report));
    let found = unmet_probe(&report, probe)?;
    ensure!(found["required"] == false && found.to_string().contains(words), "{found}");
    Ok(format!("ok; {}", spoken(found)))
}

fn findings(section: &Section) -> Result<Value> {
    serde_json::from_str(section.text("report")).context("`check -o json` gives no JSON")
}

fn unmet_probe<'a>(report: &'a Value, name: &str) -> Result<&'a Value> {
    let probes = report["probes"].as_array().context("no probes")?;
    let found = probes.iter().find(|probe| probe["name"] == name && probe["ok"] == false);
    found.with_context(|| format!("nothing is wrong with {name}: {report}"))
}

/// What is not as it should be, in a line.
fn unmet(report: &Value) -> String {
    let probes = report["probes"].as_array().into_iter().flatten();
    let unmet: Vec<String> = probes.filter(|probe| probe["ok"] == false).map(spoken).collect();
    unmet.join(" | ")
}

fn spoken(probe: &Value) -> String {
    let text = |key: &str| probe[key].as_str().unwrap_or("").to_owned();
    format!("{}: {}; remedy: {}", text("name"), text("detail"), text("remedy"))
}

/// `run` that ends with 3, and says why with these words.
fn refuses(section: &Section, words: &str) -> Result<String> {
    let said = section.text("stderr").trim_end();
    ensure!(section.code == CANNOT_CAPTURE, "exit code {}", section.code);
    ensure!(said.contains(words), "it does not say {words:?}");
    ensure!(section.text("records").is_empty(), "records of a refused run");
    let (_, reason) = said.split_once("error: ").context("it gives no reason")?;
    Ok(format!("refused: {}", reason.lines().map(str::trim).collect::<Vec<_>>().join("; ")))
}

/// `run` with a transaction for each question, and a ledger that closes and knows of no loss.
/// `accepted`: whether the process behind a connection that it accepted must be known.
fn captures(section: &Section, name: &str, hook: &str, accepted: bool) -> Result<String> {
    ensure!(section.code == 0, "exit code {}", section.code);
    let asked = section.text("questions").trim_end();
    ensure!(asked.is_empty(), "asking went wrong: {asked}");
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
            let server = (accepted || transport == "udp").then_some("knotd");
            transaction(&records, &qname, "server", transport, "answered", server)?;
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
    let said = section.text("stderr");
    ensure!(said.contains(&format!("hook {hook}")), "it does not say that it uses hook {hook}");
    Ok(if name == hook { "ok".to_owned() } else { format!("ok, by hook {hook}") })
}

/// Exactly one transaction with this name is at a vantage, and it is as given.
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
