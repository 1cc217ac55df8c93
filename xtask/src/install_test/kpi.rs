//! Installs the packages of the KPIs, and runs their units: import and computation of a sample, then a request.

use super::check_exposure;
use super::machine::Machine;
use super::package::{FIND_LEFTOVERS, Package};
use crate::console;
use crate::dist::program::KPI;
use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::shell;
use serde_json::Value;
use std::fs;
use std::time::Duration;

const ENVIRONMENT: &str = "/etc/dnscribe-kpi/environment";
const TOKENS: &str = "/etc/dnscribe-kpi/tokens.yaml";
const SPOOL: &str = "/var/spool/dnscribe-kpi";
/// Store as the units write it; `/var/lib/dnscribe-kpi` is a link to it.
const STORE: &str = "/var/lib/private/dnscribe-kpi";
/// What only starting the timer writes.
const STAMP: &str = "/var/lib/systemd/timers/stamp-dnscribe-kpi-import.timer";
const UNITS: &str = "dnscribe-kpi.service dnscribe-kpi-import.service dnscribe-kpi-import.timer";
/// Units that are enabled: the timer starts the third.
const ENABLED: &str = "dnscribe-kpi.service dnscribe-kpi-import.timer";
/// Longest time until the page is served.
const SERVE_TIMEOUT: Duration = Duration::from_secs(30);

/// Tests both packages.
pub fn test() -> Result<()> {
    for package in [Package::Deb, Package::Rpm] {
        console::progress(&format!("install-test: {} {package} in a fresh Debian", KPI.name));
        let machine = Machine::boot()?;
        let done = install(&machine, package)
            .and_then(|()| import(&machine))
            .and_then(|()| serve(&machine))
            .and_then(|()| upgrade(&machine, package))
            .and_then(|()| remove(&machine, package));
        done.with_context(|| machine.journal("dnscribe-kpi*"))?;
        console::result(&format!(
            "install-test: {} {package}: installed, imported, served, upgraded, removed",
            KPI.name
        ));
    }
    Ok(())
}

fn install(machine: &Machine, package: Package) -> Result<()> {
    console::progress("install-test: install");
    package.install(machine, &KPI)?;
    let version = machine.run("dnscribe-kpi --version")?;
    ensure!(version.starts_with("dnscribe-kpi "), "unexpected version: {version}");
    // Completions are where the shells of this distribution look for them: zsh's folders differ.
    let zsh = match package {
        Package::Deb => "vendor-completions",
        Package::Rpm => "site-functions",
    };
    machine.run(&format!(
        "test -s /usr/share/bash-completion/completions/dnscribe-kpi && \
         test -s /usr/share/zsh/{zsh}/_dnscribe-kpi && \
         test -s /usr/share/fish/vendor_completions.d/dnscribe-kpi.fish && \
         test -s /usr/share/doc/dnscribe-kpi/third-party-licences.txt"
    ))?;
    // The manual pages that the units name, such as `Documentation=man:dnscribe-kpi-serve(1)`.
    machine.run(&format!(
        "for page in dnscribe-kpi $(systemctl cat {UNITS} | sed -n 's/^Documentation=man:\\(.*\\)(1)$/\\1/p'); \
         do test -s /usr/share/man/man1/$page.1.gz; done"
    ))?;
    // Only root reads the environment, which may have keys of a store; the units' user reads the files beside it.
    let modes =
        machine.run(&format!("stat -c '%U:%G %a' $(dirname {ENVIRONMENT}) {ENVIRONMENT}"))?;
    ensure!(
        modes == "root:root 755\nroot:root 640\n",
        "wrong owner or mode of the configuration: {modes}"
    );
    // Does not look for `man`, which the machine lacks. It also prints what it ignores, without failing.
    let problems = machine.run(&format!("systemd-analyze verify --man=no {UNITS} 2>&1"))?;
    ensure!(problems.is_empty(), "systemd-analyze verify: {problems}");
    let state = machine.run(&format!(
        "systemctl is-enabled {ENABLED} || true; systemctl is-active {UNITS} || true"
    ))?;
    ensure!(
        state == "disabled\ndisabled\ninactive\ninactive\ninactive\n",
        "installation must not enable or start a unit: {state}"
    );
    for unit in UNITS.split(' ').filter(|unit| unit.ends_with("service")) {
        check_exposure(machine, unit)?;
    }
    Ok(())
}

/// Imports and computes a sample with the timer's unit, as the page of the KPIs says.
fn import(machine: &Machine) -> Result<()> {
    console::progress("install-test: import and compute");
    machine.run(&format!(
        "mkdir -p {SPOOL}/shop && dnscribe-kpi sample --days 3 --registrations 20 > {SPOOL}/shop/day.ndjson"
    ))?;
    machine.run("systemctl start dnscribe-kpi-import.service")?;
    // The store belongs to the units' user, and nobody else reads it.
    let owner = machine.run(&format!("stat -c '%a %u' {STORE}"))?;
    let user = owner.strip_prefix("750 ").unwrap_or_default();
    ensure!(is_dynamic(user), "wrong mode or owner of the store: {owner}");
    // A command by hand, as the page says; only --pty is another.
    machine
        .run(
            "systemd-run --quiet --wait --pipe --uid dnscribe-kpi --property DynamicUser=yes \
         --property StateDirectory=dnscribe-kpi dnscribe-kpi rejected",
        )
        .map(drop)
}

/// Starts the timer and `serve`, and asks for a value of the sample.
fn serve(machine: &Machine) -> Result<()> {
    console::progress("install-test: serve");
    let hash = machine.run("printf %s secret | sha256sum")?;
    let hash = hash.split_whitespace().next().unwrap_or_default();
    let tokens = format!("version: 1\ntokens: [{{ name: test, sha256: {hash}, scopes: [all] }}]\n");
    fs::write(machine.path(TOKENS), tokens)?;
    machine.run(&format!("systemctl enable --now {ENABLED} && systemctl is-active {ENABLED}"))?;
    let next = machine.run(
        "systemctl show --property=NextElapseUSecRealtime --value dnscribe-kpi-import.timer",
    )?;
    ensure!(!next.trim().is_empty(), "the timer never starts its unit");
    check_value(machine)?;
    // Not before it answers: until systemd has started the program, the process is systemd's own, of root.
    let pid = machine.run("systemctl show --property=MainPID --value dnscribe-kpi")?;
    let user = machine.run(&format!("stat -c %u /proc/{}", pid.trim()))?;
    ensure!(is_dynamic(&user), "serve runs as user {user}");
    Ok(())
}

/// Returns whether a user id is one of those that systemd gives to units with `DynamicUser=yes`.
fn is_dynamic(user: &str) -> bool {
    user.trim().parse().is_ok_and(|id: u32| (61_184..=65_519).contains(&id))
}

/// Checks that `serve` answers with a value of the sample, and only with a token.
fn check_value(machine: &Machine) -> Result<()> {
    let path = "/v1/kpis/registrations?from=2025-01-01&to=2025-01-03";
    let (status, body) = shell::wait_for("an answer of serve", SERVE_TIMEOUT, || {
        Ok(request(machine, path, "Authorization: Bearer secret\\r\\n").ok())
    })?;
    ensure!(status == "200", "answered {status}: {body}");
    let answer: Value = serde_json::from_str(&body).with_context(|| body.clone())?;
    let values = answer["values"].as_array().map(Vec::as_slice).unwrap_or_default();
    ensure!(
        values.len() == 3 && values.iter().all(|it| it["value"].as_f64() > Some(0.0)),
        "no values of the sample: {answer}"
    );
    let (status, body) = request(machine, path, "")?;
    ensure!(status == "401", "answered {status} without token: {body}");
    Ok(())
}

/// Requests a path of `serve` in the machine and returns status and body.
fn request(machine: &Machine, path: &str, header: &str) -> Result<(String, String)> {
    // HTTP/1.0, so that the answer ends with the connection.
    let answer = machine.run(&format!(
        "exec 3<>/dev/tcp/127.0.0.1/9356; \
         printf 'GET {path} HTTP/1.0\\r\\n{header}\\r\\n' >&3; timeout 10 cat <&3"
    ))?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no end of the header")?;
    let status = head.split(' ').nth(1).context("no status")?;
    Ok((status.to_owned(), body.to_owned()))
}

/// Upgrades to a higher version: the configuration and the store must stay, and `serve` must be a new process.
fn upgrade(machine: &Machine, package: Package) -> Result<()> {
    console::progress("install-test: upgrade");
    machine.run(&format!("echo '# changed' >> {ENVIRONMENT}"))?;
    let pid = "systemctl show --property=MainPID --value dnscribe-kpi";
    let old = machine.run(pid)?;
    package.upgrade(machine, &KPI)?;
    machine.run(&format!("grep -qx '# changed' {ENVIRONMENT}"))?;
    machine.run(&format!("systemctl is-enabled {ENABLED} && systemctl is-active {ENABLED}"))?;
    ensure!(machine.run(pid)? != old, "the old version still runs");
    check_value(machine)?;
    machine.run("systemctl start dnscribe-kpi-import.service").map(drop)
}

/// Removes the package and checks the rest: removal stops all units, and keeps what was written and changed.
/// Purging, which rpm does not have, keeps only the spool, whose files are of others.
fn remove(machine: &Machine, package: Package) -> Result<()> {
    console::progress("install-test: remove");
    // What belongs to another package is not removed with this one.
    machine.run("mkdir -p /var/lib/private/dnscribe-probe /etc/dnscribe-probe")?;
    package.uninstall(machine, &KPI)?;
    let active = machine.run(&format!("systemctl is-active {UNITS} || true"))?;
    ensure!(
        active == "inactive\ninactive\ninactive\n",
        "removal does not stop the units: {active}"
    );
    machine.run(&format!(
        "! grep -qx dnscribe-kpi /proc/[0-9]*/comm && test -e {TOKENS} && test -d {STORE}"
    ))?;
    let expected = match package {
        Package::Deb => {
            machine.run("dpkg --purge dnscribe-kpi")?;
            format!("/etc/dnscribe-probe\n/var/lib/private/dnscribe-probe\n{SPOOL}\n")
        }
        Package::Rpm => {
            machine.run(&format!("test -e {ENVIRONMENT}.rpmsave"))?;
            format!(
                "/etc/dnscribe-kpi\n/etc/dnscribe-probe\n/var/lib/dnscribe-kpi\n{STORE}\n\
                 /var/lib/private/dnscribe-probe\n{STAMP}\n{SPOOL}\n"
            )
        }
    };
    let left = machine.run(FIND_LEFTOVERS)?;
    ensure!(left == expected, "removal left: {left}");
    Ok(())
}
