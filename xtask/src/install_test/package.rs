//! Steps of the install test that differ between .deb and .rpm.

use super::CONFIG;
use super::machine::Machine;
use crate::architecture::Architecture;
use crate::dist;
use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::shell;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Package format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Package {
    /// Installed by dpkg.
    Deb,
    /// Installed by rpm on the same Debian, which has systemd and the libraries. rpm's database does not list
    /// them, so dependencies are not checked.
    Rpm,
}

/// Command that runs rpm on Debian.
const RPM: &str = "rpm --force-debian --dbpath=/var/lib/rpm";
/// Script that lists every file, user and group named after the agent.
const FIND_LEFTOVERS: &str = r"find / -xdev \( -path /proc -o -path /sys \) -prune -o -iname '*dnscribe*' -print | sort
    getent passwd dnscribe || true
    getent group dnscribe || true";

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deb => ".deb",
            Self::Rpm => ".rpm",
        })
    }
}

impl Package {
    /// Installs the package that `dist` built.
    pub fn install(self, machine: &Machine) -> Result<()> {
        let architecture = Architecture::host()?;
        match self {
            Self::Deb => {
                let file = dist::find_artifact(&format!("_{}.deb", architecture.debian()))?;
                machine.copy_in(&file, "first")?;
                machine.run("dpkg --install /root/first && rm /root/first")?;
            }
            Self::Rpm => {
                let file = dist::find_artifact(&format!(".{}.rpm", architecture.machine()))?;
                machine.copy_in(&file, "first")?;
                machine.run(&format!("{RPM} --nodeps --install /root/first"))?;
                check_requires(machine)?;
                machine.run("rm /root/first")?;
                // Installed files match the package.
                machine.run(&format!("{RPM} --verify --nodeps dnscribe"))?;
            }
        }
        Ok(())
    }

    /// Installs the same package with a higher version.
    pub fn upgrade(self, machine: &Machine) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let (newer, install) = match self {
            Self::Deb => (newer_deb(folder.path())?, "dpkg --install /root/second".to_owned()),
            Self::Rpm => {
                (dist::newer_rpm(folder.path())?, format!("{RPM} --nodeps --upgrade /root/second"))
            }
        };
        machine.copy_in(&newer, "second")?;
        machine.run(&format!("{install} && rm /root/second")).map(drop)
    }

    /// Removes the package and checks the rest: removal stops the agent and keeps configuration and spool.
    /// Purging, which rpm does not have, keeps nothing.
    pub fn remove(self, machine: &Machine) -> Result<()> {
        let (remove, kept) = match self {
            Self::Deb => ("dpkg --remove dnscribe".to_owned(), CONFIG.to_owned()),
            Self::Rpm => (format!("{RPM} --erase dnscribe"), format!("{CONFIG}.rpmsave")),
        };
        machine.run(&remove)?;
        machine.run(&format!(
            "test -e {kept} && test -d /var/lib/dnscribe && \
             ! grep -qx dnscribe /proc/[0-9]*/comm"
        ))?;
        let expected = match self {
            Self::Deb => {
                machine.run("dpkg --purge dnscribe")?;
                String::new()
            }
            // Changed configuration, files of the agent, and their owner.
            Self::Rpm => {
                let user = machine.run("getent passwd dnscribe; getent group dnscribe")?;
                format!(
                    "/etc/dnscribe\n{kept}\n/etc/systemd/system/dnscribe.service.d\n\
                     /var/lib/dnscribe\n/var/log/dnscribe\n{user}"
                )
            }
        };
        let left = machine.run(FIND_LEFTOVERS)?;
        ensure!(left == expected, "removal left: {left}");
        Ok(())
    }
}

/// Checks that the .rpm requires the libraries that the binary needs.
fn check_requires(machine: &Machine) -> Result<()> {
    let output = machine.run(&format!("{RPM} --query --package --requires /root/first"))?;
    let required: BTreeSet<&str> = output
        .lines()
        .filter(|line| line.contains(".so."))
        .filter_map(|line| line.split('(').next())
        .collect();
    let mut read = Command::new("readelf");
    let named = shell::output(read.arg("--dynamic").arg(machine.path("/usr/bin/dnscribe")))?;
    let named = String::from_utf8(named.stdout)?;
    let named: BTreeSet<&str> = named
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .filter_map(|line| line.split(['[', ']']).nth(1))
        .collect();
    let missing: Vec<_> = named.difference(&required).collect();
    ensure!(!named.is_empty() && missing.is_empty(), "missing requirements {missing:?}: {output}");
    for other in ["systemd", "/bin/sh"] {
        ensure!(output.lines().any(|line| line == other), "missing requirement {other}: {output}");
    }
    Ok(())
}

/// Builds the .deb again with a higher version.
fn newer_deb(folder: &Path) -> Result<PathBuf> {
    let package = dist::find_artifact(&format!("_{}.deb", Architecture::host()?.debian()))?;
    let (tree, made) = (folder.join("tree"), folder.join("newer.deb"));
    shell::output(Command::new("dpkg-deb").arg("--raw-extract").arg(package).arg(&tree))?;
    let control = tree.join("DEBIAN/control");
    let text = fs::read_to_string(&control)?;
    let (before, after) =
        text.split_once("\nVersion: ").context("the control file has no version")?;
    let (version, after) = after.split_once('\n').context("the control file is incomplete")?;
    fs::write(&control, format!("{before}\nVersion: {version}+newer\n{after}"))?;
    shell::output(Command::new("dpkg-deb").args(["-Znone", "--build"]).arg(&tree).arg(&made))?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    /// rpm creates the user before it installs the sysusers file.
    #[test]
    fn rpm_script_and_sysusers_file_agree() {
        let line = include_str!("../../../deploy/systemd/dnscribe.sysusers").trim_end();
        assert!(include_str!("../../../deploy/rpm/pre.sh").contains(line));
    }
}
