//! `install-test`: what `dist` made, where it is to run. Each package in a fresh Debian that systemd
//! boots in a container: started by its unit, asked a query, upgraded, removed. The image's files, and
//! nothing else, in a chroot.

mod image;
mod machine;
mod package;

use crate::architecture::Architecture;
use crate::dist;
use crate::process::become_root;
use crate::say;
use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum as _;
use dnscribe_tests::shell;
use machine::Machine;
use package::Package;
use serde_json::Value;
use std::fs;
use std::time::Duration;

/// What the agent may do under its unit, by capabilities(7): name and number.
const CAPABILITIES: [(&str, u32); 7] = [
    ("CAP_DAC_READ_SEARCH", 2),
    ("CAP_NET_ADMIN", 12),
    ("CAP_NET_RAW", 13),
    ("CAP_SYS_PTRACE", 19),
    ("CAP_SYS_NICE", 23),
    ("CAP_PERFMON", 38),
    ("CAP_BPF", 39),
];
/// What the drop-in for containers adds.
const SYS_ADMIN: u32 = 21;
/// How long a record may take to its file.
const PATIENCE: Duration = Duration::from_secs(20);
/// The most that `systemd-analyze security` may give the unit, as its documentation says: 0 is best.
const EXPOSURE: f64 = 2.9;

const CONFIG: &str = "/etc/dnscribe/dnscribe.yaml";
const RECORDS: &str = "/var/log/dnscribe/dns.ndjson";

/// Runs the command.
pub fn main() -> Result<()> {
    crate::setup::install_test()?;
    become_root("booting a system in a container")?;
    images()?;
    for package in [Package::Deb, Package::Rpm] {
        say::progress(&format!("install-test: the {package} in a fresh Debian"));
        let machine = Machine::boot()?;
        let done = install(&machine, package)
            .and_then(|()| capture(&machine))
            .and_then(|()| containers(&machine))
            .and_then(|()| upgrade(&machine, package))
            .and_then(|()| {
                say::progress("install-test: remove");
                package.remove(&machine)
            });
        done.with_context(|| machine.journal())?;
        say::result(&format!("install-test: {package}: installed, captured, upgraded, removed"));
    }
    Ok(())
}

/// The images of all architectures that were made, and what joins them.
fn images() -> Result<()> {
    let mut made = Vec::new();
    for architecture in Architecture::value_variants() {
        let name = format!("linux-{}.oci.tar", architecture.machine());
        match dist::made(&name) {
            Ok(file) => {
                say::progress(&format!("install-test: the files of {name} in a chroot"));
                crate::setup::emulator(*architecture)?;
                image::test(&file, *architecture)?;
                made.push((*architecture, file));
            }
            Err(error) if !architecture.is_foreign() => return Err(error),
            Err(_) => say::result(&format!("install-test: {name} was not made, so not tested")),
        }
    }
    if made.len() > 1 {
        image::joined(&dist::made("linux.oci.tar")?, &made)?;
        say::result("install-test: the archive of all architectures holds the image of each");
    }
    Ok(())
}

fn install(machine: &Machine, package: Package) -> Result<()> {
    say::progress("install-test: install");
    package.install(machine)?;
    let state = machine
        .run("systemctl is-enabled dnscribe || true; systemctl is-active dnscribe || true")?;
    ensure!(state == "disabled\ninactive\n", "installing alone starts nothing, yet: {state}");
    readable(machine)?;
    machine.run("test -s /usr/share/man/man1/dnscribe.1.gz")?;
    machine.run(&format!("dnscribe config | diff - {CONFIG}"))?;
    let security = "systemd-analyze security --no-pager dnscribe.service | tail -n 1";
    let told = machine.run(security)?;
    let score = told.split_whitespace().find_map(|word| word.parse::<f64>().ok());
    ensure!(score.is_some_and(|score| score <= EXPOSURE), "exposure above {EXPOSURE}: {told}");
    say::result(&format!("install-test: {}", told.trim()));
    Ok(())
}

/// The agent alone may read the configuration, and nobody but root may write it.
fn readable(machine: &Machine) -> Result<()> {
    let modes = machine.run(&format!("stat -c '%U:%G %a' $(dirname {CONFIG}) {CONFIG}"))?;
    ensure!(modes == "root:dnscribe 750\nroot:dnscribe 640\n", "the configuration is {modes}");
    Ok(())
}

/// Starts the unit, with records into a file, and asks a query.
fn capture(machine: &Machine) -> Result<()> {
    say::progress("install-test: start and capture");
    machine.run(
        "systemd-run --unit=resolver dnsmasq --keep-in-foreground --no-resolv \
                 --no-hosts --address=/example.test/192.0.2.1 --user=root --port=53",
    )?;
    let config =
        format!("version: 1\nsinks: [\"file:{RECORDS}\"]\nfile: {{ streams: [transactions] }}\n");
    fs::write(machine.path(CONFIG), config)?;
    machine.run("systemctl start dnscribe && systemctl is-active dnscribe")?;
    privileges(machine, &CAPABILITIES.map(|(_, number)| number))?;
    let record = ask(machine, "first")?;
    ensure!(record["process"]["comm"] == "bash", "not the process that asked: {record}");
    machine.run("systemctl reload dnscribe && systemctl is-active dnscribe")?;
    ask(machine, "reloaded").map(|_| ())
}

/// Whether the agent has what the unit says, and nothing more.
fn privileges(machine: &Machine, capabilities: &[u32]) -> Result<()> {
    let pid = machine.run("systemctl show --property=MainPID --value dnscribe")?;
    let status = machine.run(&format!("cat /proc/{}/status", pid.trim()))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        line.with_context(|| format!("no {name} in {status}"))
    };
    let wanted = capabilities.iter().fold(0_u64, |mask, number| mask | 1 << number);
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        let has = u64::from_str_radix(field(set)?, 16)?;
        // What the agent gives up by itself is its own affair; more than the unit says it must not have.
        ensure!(has & !wanted == 0, "{set} is {has:x}, the unit says {wanted:x}");
    }
    ensure!(field("NoNewPrivs")? == "1" && field("Seccomp")? == "2", "not confined: {status}");
    let root = field("Uid")?.split_whitespace().any(|uid| uid == "0");
    ensure!(!root, "the agent runs as root");
    Ok(())
}

/// Asks the resolver in the machine for a name of its own and gives the record of it. Not one of ten
/// letters: its length would be a newline, behind which bash begins another datagram.
fn ask(machine: &Machine, name: &str) -> Result<Value> {
    let label = format!("\\x{:02x}{name}", name.len());
    // A query for NAME.example.test, type A.
    let query = format!(
        "\\x12\\x34\\x01\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00{label}\\x07example\\x04test\\x00\\x00\\x01\\x00\\x01"
    );
    let script = format!(
        "exec 3<>/dev/udp/127.0.0.1/53; printf '{query}' >&3; timeout 5 head -c 12 <&3 > /dev/null"
    );
    fs::write(machine.path("/root/ask.sh"), script)?;
    // Started by its own init, for what enters from outside stays in a cgroup outside.
    machine.run("systemd-run --quiet --wait --pipe bash /root/ask.sh; rm /root/ask.sh")?;
    let wanted = format!("{name}.example.test");
    let found = shell::wait_for("a record of the query", PATIENCE, || {
        let records = fs::read_to_string(machine.path(RECORDS)).unwrap_or_default();
        let records = records.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut records = records.filter(|record| record["qname"] == *wanted);
        Ok(records.find(|record| record["vantage"] == "client"))
    })?;
    ensure!(found["status"] == "answered", "not answered: {found}");
    Ok(found)
}

/// With the drop-in for hosts with containers.
fn containers(machine: &Machine) -> Result<()> {
    say::progress("install-test: the drop-in for containers");
    let folder = "/etc/systemd/system/dnscribe.service.d";
    machine.run(&format!(
        "mkdir -p {folder} && cp /usr/share/doc/dnscribe/containers.conf {folder} && \
         systemctl daemon-reload && systemctl restart dnscribe"
    ))?;
    let mut all = CAPABILITIES.map(|(_, number)| number).to_vec();
    all.push(SYS_ADMIN);
    privileges(machine, &all)?;
    ask(machine, "dropin").map(|_| ())
}

/// To the same under a higher version: the configuration stays, the agent is a new process.
fn upgrade(machine: &Machine, package: Package) -> Result<()> {
    say::progress("install-test: upgrade");
    let before = fs::read_to_string(machine.path(CONFIG))?;
    let pid = "systemctl show --property=MainPID --value dnscribe";
    let old = machine.run(pid)?;
    package.upgrade(machine)?;
    ensure!(fs::read_to_string(machine.path(CONFIG))? == before, "the configuration was changed");
    readable(machine)?;
    machine.run("systemctl is-active dnscribe")?;
    ensure!(machine.run(pid)? != old, "the old version still runs");
    ask(machine, "upgraded").map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the test expects is what the unit says.
    #[test]
    fn capabilities_are_those_of_the_unit() {
        let unit = include_str!("../../deploy/systemd/dnscribe.service");
        for key in ["CapabilityBoundingSet=", "AmbientCapabilities="] {
            let said = unit.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            let mut said: Vec<&str> = said.split(' ').collect();
            let mut expected: Vec<&str> = CAPABILITIES.iter().map(|(name, _)| *name).collect();
            said.sort_unstable();
            expected.sort_unstable();
            assert_eq!(said, expected, "{key}");
        }
    }
}
