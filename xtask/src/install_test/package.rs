//! Steps of the install test that differ between .deb and .rpm.

use super::CONFIG;
use super::machine::Machine;
use crate::architecture::Architecture;
use crate::dist;
use crate::dist::program::{AGENT, Program};
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
/// Script that lists every file, user and group named after the programs.
pub const FIND_LEFTOVERS: &str = r"find / -xdev \( -path /proc -o -path /sys \) -prune -o -iname '*dnscribe*' -print | sort
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
    /// Installs the package of a program that `dist` built.
    pub fn install(self, machine: &Machine, program: &Program) -> Result<()> {
        let architecture = Architecture::host()?;
        match self {
            Self::Deb => {
                let file =
                    dist::find_artifact(program, &format!("_{}.deb", architecture.debian()))?;
                machine.copy_in(&file, "first")?;
                machine.run("dpkg --install /root/first && rm /root/first")?;
            }
            Self::Rpm => {
                let ending = format!(".{}.rpm", architecture.machine());
                let file = dist::find_artifact(program, &ending)?;
                machine.copy_in(&file, "first")?;
                machine.run(&format!("{RPM} --nodeps --install /root/first"))?;
                check_requires(machine, program)?;
                machine.run("rm /root/first")?;
                // Installed files match the package.
                machine.run(&format!("{RPM} --verify --nodeps {}", program.name))?;
            }
        }
        Ok(())
    }

    /// Installs the same package with a higher version.
    pub fn upgrade(self, machine: &Machine, program: &Program) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let (newer, install) = match self {
            Self::Deb => {
                (newer_deb(program, folder.path())?, "dpkg --install /root/second".to_owned())
            }
            Self::Rpm => (
                dist::newer_rpm(program, folder.path())?,
                format!("{RPM} --nodeps --upgrade /root/second"),
            ),
        };
        machine.copy_in(&newer, "second")?;
        machine.run(&format!("{install} && rm /root/second")).map(drop)
    }

    /// Removes the package of a program; its configuration and what it wrote stay.
    pub fn uninstall(self, machine: &Machine, program: &Program) -> Result<()> {
        let remove = match self {
            Self::Deb => "dpkg --remove".to_owned(),
            Self::Rpm => format!("{RPM} --erase"),
        };
        machine.run(&format!("{remove} {}", program.name)).map(drop)
    }

    /// Removes the agent's package and checks the rest: removal stops the agent and keeps configuration and spool.
    /// Purging, which rpm does not have, keeps nothing.
    pub fn remove(self, machine: &Machine) -> Result<()> {
        self.uninstall(machine, &AGENT)?;
        let kept = match self {
            Self::Deb => CONFIG.to_owned(),
            Self::Rpm => format!("{CONFIG}.rpmsave"),
        };
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
fn check_requires(machine: &Machine, program: &Program) -> Result<()> {
    let output = machine.run(&format!("{RPM} --query --package --requires /root/first"))?;
    let required: BTreeSet<&str> = output
        .lines()
        .filter(|line| line.contains(".so."))
        .filter_map(|line| line.split('(').next())
        .collect();
    let mut read = Command::new("readelf");
    let binary = machine.path("/usr/bin").join(program.name);
    let named = shell::output(read.arg("--dynamic").arg(binary))?;
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
fn newer_deb(program: &Program, folder: &Path) -> Result<PathBuf> {
    let ending = format!("_{}.deb", Architecture::host()?.debian());
    let package = dist::find_artifact(program, &ending)?;
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
    use super::{Command, shell};

    /// rpm creates the user before it installs the sysusers file.
    #[test]
    fn rpm_script_and_sysusers_file_agree() {
        let line = include_str!("../../../deploy/systemd/dnscribe.sysusers").trim_end();
        assert!(include_str!("../../../deploy/rpm/pre.sh").contains(line));
    }

    /// A folder that is gone already makes no removal fail.
    #[test]
    fn rpm_scripts_after_a_removal_succeed() {
        let folder = tempfile::tempdir().unwrap();
        let root = format!(" {}/", folder.path().display());
        for script in [
            include_str!("../../../deploy/rpm/postun.sh"),
            include_str!("../../../deploy/rpm/kpi/postun.sh"),
            include_str!("../../../deploy/rpm/probe/postun.sh"),
        ] {
            let script = script.replace(" /", &root);
            shell::output(Command::new("sh").args(["-c", &script, "sh", "0"])).unwrap();
        }
    }
}
