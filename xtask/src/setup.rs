//! `setup`: installs what building needs and, on request, what the tests need. Returns at once if nothing is
//! missing.

mod ebpf;
mod packages;
mod toolset;

use crate::architecture::Architecture;
use crate::console;
use anyhow::{Context as _, Result};
pub use packages::KEYRING;
use packages::Need;
use toolset::Toolset;

/// Arguments of `setup`.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct Args {
    /// Also install what `cargo xtask test` needs: DNS servers and tools, Java and Maven for Kafka and the
    /// schema registry, Python for their client and for sketch libraries, Prometheus and
    /// Alertmanager, crun for containers, Chromium and Node.js for reports, mdBook, Helm and Kubernetes' schemas
    #[arg(long)]
    pub test: bool,
}

/// Runs the command.
pub fn main(args: Args) -> Result<()> {
    if args.test {
        crate::test::prepare(&crate::test::Args::default())
    } else {
        install(&["build"])
    }
}

/// Installs and downloads what commands need, by their rows in the table of `setup/toolset.rs`.
pub fn install(commands: &[impl AsRef<str>]) -> Result<()> {
    install_packages(commands)?;
    download(commands)
}

/// Installs what commands need of the distribution's packages and, for building, the toolchain of the eBPF programs.
pub fn install_packages(commands: &[impl AsRef<str>]) -> Result<()> {
    if crate::process::is_elevated() {
        return Ok(());
    }
    let toolsets = toolsets(commands)?;
    let mut missing: Vec<&Need> = toolsets.iter().flat_map(|toolset| toolset.missing()).collect();
    missing.sort_unstable_by_key(|need| need.debian);
    missing.dedup_by_key(|need| need.debian);
    let purpose: Vec<&str> = commands.iter().map(AsRef::as_ref).collect();
    let mut installed = packages::install(&purpose.join(", "), &missing)?;
    if toolsets.contains(&Toolset::Build) {
        installed |= ebpf::install()?;
    }
    if !installed {
        console::progress("setup: no package is missing");
    }
    Ok(())
}

/// Downloads and builds what commands need besides packages, unless it is there.
pub fn download(commands: &[impl AsRef<str>]) -> Result<()> {
    if crate::process::is_elevated() {
        return Ok(());
    }
    toolsets(commands)?.into_iter().try_for_each(Toolset::prepare)
}

/// Checks that the table has a row for each of these commands.
#[cfg(test)]
pub fn check_rows(commands: &[impl AsRef<str>]) -> Result<()> {
    toolsets(commands).map(drop)
}

fn toolsets(commands: &[impl AsRef<str>]) -> Result<Vec<Toolset>> {
    let commands: Vec<&str> = commands.iter().map(AsRef::as_ref).collect();
    toolset::needs(&commands)
        .with_context(|| format!("xtask/src/setup/toolset.rs has no row for one of {commands:?}"))
}

/// Installs the programs that `bench` compares with, as far as they are available.
pub fn peers() {
    let missing = packages::missing(packages::BENCH);
    if let Err(error) = packages::install("comparing with other programs", &missing) {
        console::progress(&format!("setup: {error:#}\nsetup: continuing without them"));
    }
}

/// Installs the packages that `dist` needs.
pub fn dist() -> Result<()> {
    let missing = packages::missing(packages::DIST);
    packages::install("making packages", &missing).map(|_| ())
}

/// Installs the packages that `release` needs besides those of its steps.
pub fn release() -> Result<()> {
    let missing = packages::missing(packages::RELEASE);
    packages::install("signing", &missing).map(|_| ())
}

/// Installs the packages that `install-test` needs.
pub fn install_test() -> Result<()> {
    let missing = packages::missing(packages::INSTALL_TEST);
    packages::install("booting a fresh Debian", &missing).map(|_| ())
}

/// Installs what building and running the agent for another architecture needs.
pub fn cross(architecture: Architecture) -> Result<()> {
    let mut missing = packages::missing(match architecture {
        Architecture::Amd64 => packages::CROSS_AMD64,
        Architecture::Arm64 => packages::CROSS_ARM64,
    });
    missing.extend(packages::missing(packages::ARCHIVE));
    packages::install(&format!("building for {}", architecture.debian()), &missing)?;
    let target = ["target", "list", "--installed"];
    let has_target = |listed: &str| listed.lines().any(|line| line == architecture.triple());
    let mut rustup = std::process::Command::new("rustup");
    let listed = rustup.args(target).output().context("cannot start rustup")?.stdout;
    if !has_target(&String::from_utf8_lossy(&listed)) {
        console::progress(&format!(
            "setup: adding {} to the Rust toolchain",
            architecture.triple()
        ));
        let mut add = std::process::Command::new("rustup");
        add.args(["target", "add", architecture.triple()]);
        crate::process::run_bounded(&mut add, ebpf::DOWNLOAD_LIMIT)?;
    }
    Ok(())
}

/// Installs QEMU's user-mode emulator of an architecture, if it is not this host's.
pub fn emulator(architecture: Architecture) -> Result<()> {
    if !architecture.is_foreign() || crate::debian::sysroot::emulator(architecture).is_ok() {
        return Ok(());
    }
    cross(architecture)
}

/// Installs the packages that `vm-test` needs for an architecture.
pub fn machines(architecture: Architecture) -> Result<()> {
    let mut missing = packages::missing(packages::MACHINES);
    missing.extend(packages::missing(match architecture {
        Architecture::Amd64 => packages::MACHINE_AMD64,
        Architecture::Arm64 => packages::MACHINE_ARM64,
    }));
    missing.extend(packages::missing(packages::ARCHIVE));
    packages::install("booting other kernels", &missing)?;
    if architecture.is_foreign() { cross(architecture) } else { Ok(()) }
}

/// Adds rustfmt and clippy, which `lint` needs, if rustup's profile left them out.
pub fn components() -> Result<()> {
    let missing: Vec<&str> = ["rustfmt", "clippy"]
        .into_iter()
        .filter(|name| {
            let program = if *name == "clippy" { "cargo-clippy" } else { name };
            crate::process::first_line(program, &["--version"]).is_none()
        })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    console::progress(&format!("setup: adding {} to the Rust toolchain", missing.join(" and ")));
    let mut command = std::process::Command::new("rustup");
    command.args(["component", "add"]).args(&missing);
    crate::process::run_bounded(&mut command, ebpf::DOWNLOAD_LIMIT)
}

/// Names of packages in one distribution, sorted and separated by blanks.
fn package_names(needs: &[&Need], of: fn(&Need) -> &'static str) -> String {
    let mut names: Vec<&str> = needs.iter().flat_map(|need| of(need).split(' ')).collect();
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    names.dedup();
    names.join(" ")
}
