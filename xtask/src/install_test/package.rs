//! What is different between the packages of the two families.

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

/// A package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Package {
    /// By dpkg.
    Deb,
    /// By rpm, on the same Debian: it has systemd, which the scripts talk to, and the libraries, of which
    /// rpm there knows nothing.
    Rpm,
}

/// What installs, in a system whose own packages are others.
const RPM: &str = "rpm --force-debian --dbpath=/var/lib/rpm";
/// Everything named after the agent.
const LEFT: &str = r"find / -xdev \( -path /proc -o -path /sys \) -prune -o -iname '*dnscribe*' -print | sort
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
    /// Installs what `dist` made.
    pub fn install(self, machine: &Machine) -> Result<()> {
        let architecture = Architecture::here()?;
        match self {
            Self::Deb => {
                let file = dist::made(&format!("_{}.deb", architecture.debian()))?;
                machine.bring(&file, "first")?;
                machine.run("dpkg --install /root/first && rm /root/first")?;
            }
            Self::Rpm => {
                let file = dist::made(&format!(".{}.rpm", architecture.machine()))?;
                machine.bring(&file, "first")?;
                machine.run(&format!("{RPM} --nodeps --install /root/first"))?;
                requires(machine)?;
                machine.run("rm /root/first")?;
                // Nothing differs from what the package says.
                machine.run(&format!("{RPM} --verify --nodeps dnscribe"))?;
            }
        }
        Ok(())
    }

    /// Installs the same under a higher version.
    pub fn upgrade(self, machine: &Machine) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let (newer, install) = match self {
            Self::Deb => (newer_deb(folder.path())?, "dpkg --install /root/second".to_owned()),
            Self::Rpm => {
                (dist::newer_rpm(folder.path())?, format!("{RPM} --nodeps --upgrade /root/second"))
            }
        };
        machine.bring(&newer, "second")?;
        machine.run(&format!("{install} && rm /root/second")).map(drop)
    }

    /// Removal stops the agent and keeps configuration and spool; purging, which rpm does not know,
    /// leaves nothing.
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
            // What the operator changed, what the agent wrote, and whom that belongs to.
            Self::Rpm => {
                let user = machine.run("getent passwd dnscribe; getent group dnscribe")?;
                format!(
                    "/etc/dnscribe\n{kept}\n/etc/systemd/system/dnscribe.service.d\n\
                     /var/lib/dnscribe\n/var/log/dnscribe\n{user}"
                )
            }
        };
        let left = machine.run(LEFT)?;
        ensure!(left == expected, "removal left: {left}");
        Ok(())
    }
}

/// The .rpm requires the libraries that the binary names.
fn requires(machine: &Machine) -> Result<()> {
    let told = machine.run(&format!("{RPM} --query --package --requires /root/first"))?;
    let required: BTreeSet<&str> = told
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
    ensure!(!named.is_empty() && missing.is_empty(), "it does not require {missing:?}: {told}");
    for other in ["systemd", "/bin/sh"] {
        ensure!(told.lines().any(|line| line == other), "it does not require {other}: {told}");
    }
    Ok(())
}

/// The .deb once more, with a higher version.
fn newer_deb(folder: &Path) -> Result<PathBuf> {
    let package = dist::made(&format!("_{}.deb", Architecture::here()?.debian()))?;
    let (tree, made) = (folder.join("tree"), folder.join("newer.deb"));
    shell::output(Command::new("dpkg-deb").arg("--raw-extract").arg(package).arg(&tree))?;
    let control = tree.join("DEBIAN/control");
    let text = fs::read_to_string(&control)?;
    let (before, after) = text.split_once("\nVersion: ").context("a package without a version")?;
    let (version, after) = after.split_once('\n').context("half a control file")?;
    fs::write(&control, format!("{before}\nVersion: {version}+newer\n{after}"))?;
    shell::output(Command::new("dpkg-deb").args(["-Znone", "--build"]).arg(&tree).arg(&made))?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    /// rpm makes the user before it has the file that says how.
    #[test]
    fn the_rpm_makes_the_user_of_the_file() {
        let line = include_str!("../../../deploy/systemd/dnscribe.sysusers").trim_end();
        assert!(include_str!("../../../deploy/rpm/pre.sh").contains(line));
    }
}
