//! `install-test`: tests the artifacts of `dist`. Each package is installed in a fresh Debian that systemd
//! boots in a container, started by its unit, tested with a query, upgraded and removed. The images run in a
//! chroot that holds only their files.

mod image;
mod kpi;
mod machine;
mod package;

use crate::architecture::Architecture;
use crate::console;
use crate::dist;
use crate::dist::program::{self, AGENT, KPI, Program};
use crate::process::become_root;
use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum as _;
use dnscribe_tests::shell;
use machine::Machine;
use package::Package;
use serde_json::Value;
use std::fs;
use std::time::Duration;

/// Capabilities of the systemd unit, by capabilities(7): name and number.
const CAPABILITIES: [(&str, u32); 6] = [
    ("CAP_DAC_READ_SEARCH", 2),
    ("CAP_NET_ADMIN", 12),
    ("CAP_NET_RAW", 13),
    ("CAP_SYS_PTRACE", 19),
    ("CAP_PERFMON", 38),
    ("CAP_BPF", 39),
];
/// Capability that the drop-in for containers adds.
const SYS_ADMIN: u32 = 21;
/// Longest time until a record is in its file.
const RECORD_TIMEOUT: Duration = Duration::from_secs(20);
/// Largest exposure level of a unit by `systemd-analyze security`, as documented; 0 is best.
const MAX_EXPOSURE: f64 = 2.9;

const CONFIG: &str = "/etc/dnscribe/dnscribe.yaml";
const RECORDS: &str = "/var/log/dnscribe/dns.ndjson";

/// Arguments of `install-test`.
#[derive(clap::Args, Debug, Default)]
pub struct Args {
    /// Program whose artifacts are tested, repeatable [default: the agent and the KPIs]
    #[arg(long = "program", value_name = "NAME", value_parser = program::named)]
    programs: Vec<&'static Program>,
}

/// Runs the command.
pub fn main(args: &Args) -> Result<()> {
    crate::setup::install_test()?;
    become_root("booting a container")?;
    let programs =
        if args.programs.is_empty() { vec![&AGENT, &KPI] } else { args.programs.clone() };
    for program in programs {
        match program {
            &AGENT => test_agent()?,
            &KPI => kpi::test()?,
            other => bail!("no test installs {}", other.name),
        }
    }
    Ok(())
}

fn test_agent() -> Result<()> {
    test_images()?;
    for package in [Package::Deb, Package::Rpm] {
        console::progress(&format!("install-test: {package} in a fresh Debian"));
        let machine = Machine::boot()?;
        let done = install(&machine, package)
            .and_then(|()| replay_example(&machine))
            .and_then(|()| capture(&machine))
            .and_then(|()| containers(&machine))
            .and_then(|()| upgrade(&machine, package))
            .and_then(|()| {
                console::progress("install-test: remove");
                package.remove(&machine)
            });
        done.with_context(|| machine.journal("dnscribe"))?;
        console::result(&format!(
            "install-test: {package}: installed, captured, upgraded, removed"
        ));
    }
    Ok(())
}

/// Tests the images of all architectures that were built, and the archive of all of them.
fn test_images() -> Result<()> {
    let mut tested = Vec::new();
    for architecture in Architecture::value_variants() {
        let name = format!("linux-{}.oci.tar", architecture.machine());
        match dist::find_artifact(&AGENT, &name) {
            Ok(file) => {
                console::progress(&format!("install-test: {name} in a chroot"));
                crate::setup::emulator(*architecture)?;
                image::test(&file, *architecture)?;
                tested.push((*architecture, file));
            }
            Err(error) if !architecture.is_foreign() => return Err(error),
            Err(_) => {
                console::result(&format!("install-test: {name} was not built, so not tested"));
            }
        }
    }
    if tested.len() > 1 {
        image::test_multi_arch(&dist::find_artifact(&AGENT, "linux.oci.tar")?, &tested)?;
        console::result("install-test: the multi-architecture archive contains every image");
    }
    Ok(())
}

fn install(machine: &Machine, package: Package) -> Result<()> {
    console::progress("install-test: install");
    package.install(machine, &AGENT)?;
    let state = machine
        .run("systemctl is-enabled dnscribe || true; systemctl is-active dnscribe || true")?;
    ensure!(
        state == "disabled\ninactive\n",
        "installation must not enable or start the unit: {state}"
    );
    check_config_modes(machine)?;
    machine.run("test -s /usr/share/man/man1/dnscribe.1.gz")?;
    machine.run(&format!("dnscribe config | diff - {CONFIG}"))?;
    check_exposure(machine, "dnscribe.service")
}

/// Checks that a unit is not more exposed than documented.
fn check_exposure(machine: &Machine, unit: &str) -> Result<()> {
    let security = format!("systemd-analyze security --no-pager {unit} | tail -n 1");
    let score_line = machine.run(&security)?;
    let score = score_line.split_whitespace().find_map(|word| word.parse::<f64>().ok());
    ensure!(
        score.is_some_and(|score| score <= MAX_EXPOSURE),
        "exposure of {unit} above {MAX_EXPOSURE}: {score_line}"
    );
    console::result(&format!("install-test: {}", score_line.trim()));
    Ok(())
}

/// Checks that only root and the agent's group can read the configuration, and only root can write it.
fn check_config_modes(machine: &Machine) -> Result<()> {
    let modes = machine.run(&format!("stat -c '%U:%G %a' $(dirname {CONFIG}) {CONFIG}"))?;
    ensure!(
        modes == "root:dnscribe 750\nroot:dnscribe 640\n",
        "wrong owner or mode of the configuration: {modes}"
    );
    Ok(())
}

/// Replays an example of the package as a user without privileges, in a folder without examples.
fn replay_example(machine: &Machine) -> Result<()> {
    console::progress("install-test: an example");
    let replay = "dnscribe replay -o text /usr/share/dnscribe/examples/slow-curl.pcapng";
    let said = machine.run(&format!("cd / && setpriv --reuid=65534 --clear-groups {replay}"))?;
    ensure!(said.contains("www."), "no record of the example: {said}");
    Ok(())
}

/// Starts the unit with a file sink, and checks the record of a query.
fn capture(machine: &Machine) -> Result<()> {
    console::progress("install-test: start and capture");
    machine.run(
        "systemd-run --unit=resolver dnsmasq --keep-in-foreground --no-resolv \
                 --no-hosts --address=/example.test/192.0.2.1 --user=root --port=53",
    )?;
    let config =
        format!("version: 1\nsinks: [\"file:{RECORDS}\"]\nfile: {{ streams: [transactions] }}\n");
    fs::write(machine.path(CONFIG), config)?;
    machine.run("systemctl start dnscribe && systemctl is-active dnscribe")?;
    check_privileges(machine, &CAPABILITIES.map(|(_, number)| number))?;
    let record = query_and_find_record(machine, "first")?;
    ensure!(record["process"]["comm"] == "bash", "wrong process: {record}");
    machine.run("systemctl reload dnscribe && systemctl is-active dnscribe")?;
    query_and_find_record(machine, "reloaded").map(|_| ())
}

/// Checks that the agent has no more privileges than the unit grants.
fn check_privileges(machine: &Machine, capabilities: &[u32]) -> Result<()> {
    let pid = machine.run("systemctl show --property=MainPID --value dnscribe")?;
    let status = machine.run(&format!("cat /proc/{}/status", pid.trim()))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        line.with_context(|| format!("no {name} in {status}"))
    };
    let wanted = capabilities.iter().fold(0_u64, |mask, number| mask | 1 << number);
    let has = |set| -> Result<u64> { Ok(u64::from_str_radix(field(set)?, 16)?) };
    // The unit does not grant what would empty this set; `no_new_privs` makes it irrelevant.
    let bounding = has("CapBnd")?;
    ensure!(bounding & !wanted == 0, "CapBnd is {bounding:x}, the unit grants {wanted:x}");
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        ensure!(has(set)? == 0, "{set} is {:x} after the drop", has(set)?);
    }
    ensure!(field("NoNewPrivs")? == "1" && field("Seccomp")? == "2", "not confined: {status}");
    let root = field("Uid")?.split_whitespace().any(|uid| uid == "0");
    ensure!(!root, "the agent runs as root");
    Ok(())
}

/// Queries the resolver in the machine for `NAME.example.test` and returns the record. The name must not have
/// ten letters: the length byte would be a newline, after which bash starts a new datagram.
fn query_and_find_record(machine: &Machine, name: &str) -> Result<Value> {
    let label = format!("\\x{:02x}{name}", name.len());
    // A query for NAME.example.test, type A.
    let query = format!(
        "\\x12\\x34\\x01\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00{label}\\x07example\\x04test\\x00\\x00\\x01\\x00\\x01"
    );
    let script = format!(
        "exec 3<>/dev/udp/127.0.0.1/53; printf '{query}' >&3; timeout 5 head -c 12 <&3 > /dev/null"
    );
    fs::write(machine.path("/root/ask.sh"), script)?;
    // Started by the container's init: a process that enters from outside stays in a cgroup outside.
    machine.run("systemd-run --quiet --wait --pipe bash /root/ask.sh; rm /root/ask.sh")?;
    let wanted = format!("{name}.example.test");
    let found = shell::wait_for("a record of the query", RECORD_TIMEOUT, || {
        let records = fs::read_to_string(machine.path(RECORDS)).unwrap_or_default();
        let records = records.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut records = records.filter(|record| record["qname"] == *wanted);
        Ok(records.find(|record| record["vantage"] == "client"))
    })?;
    ensure!(found["status"] == "answered", "not answered: {found}");
    Ok(found)
}

/// Tests the drop-in for hosts with containers.
fn containers(machine: &Machine) -> Result<()> {
    console::progress("install-test: the drop-in for containers");
    let folder = "/etc/systemd/system/dnscribe.service.d";
    machine.run(&format!(
        "mkdir -p {folder} && cp /usr/share/doc/dnscribe/containers.conf {folder} && \
         systemctl daemon-reload && systemctl restart dnscribe"
    ))?;
    let mut all = CAPABILITIES.map(|(_, number)| number).to_vec();
    all.push(SYS_ADMIN);
    check_privileges(machine, &all)?;
    query_and_find_record(machine, "dropin").map(|_| ())
}

/// Upgrades to a higher version: the configuration must stay, and the agent must be a new process.
fn upgrade(machine: &Machine, package: Package) -> Result<()> {
    console::progress("install-test: upgrade");
    let before = fs::read_to_string(machine.path(CONFIG))?;
    let pid = "systemctl show --property=MainPID --value dnscribe";
    let old = machine.run(pid)?;
    package.upgrade(machine, &AGENT)?;
    ensure!(fs::read_to_string(machine.path(CONFIG))? == before, "the configuration was changed");
    check_config_modes(machine)?;
    machine.run("systemctl is-active dnscribe")?;
    ensure!(machine.run(pid)? != old, "the old version still runs");
    query_and_find_record(machine, "upgraded").map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_match_the_unit() {
        let unit = include_str!("../../deploy/systemd/dnscribe.service");
        for key in ["CapabilityBoundingSet=", "AmbientCapabilities="] {
            let value = unit.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            let mut granted: Vec<&str> = value.split(' ').collect();
            let mut expected: Vec<&str> = CAPABILITIES.iter().map(|(name, _)| *name).collect();
            granted.sort_unstable();
            expected.sort_unstable();
            assert_eq!(granted, expected, "{key}");
        }
    }
}
