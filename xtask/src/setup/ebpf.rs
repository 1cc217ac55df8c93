//! Installs the tools that build the eBPF programs: a compiler and bpf-linker.

use super::packages::{Need, apt, has, is_debian, need};
use crate::console;
use crate::process::{cargo, first_line, install_tool, run_bounded};
use crate::toolchain::{self, NIGHTLY};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Longest time for a download before the next source is tried.
pub const DOWNLOAD_LIMIT: Duration = Duration::from_mins(4);
/// Version of bpf-linker that the project is built with.
const LINKER_VERSION: &str = "0.13.0";
/// Major version of the LLVM that bpf-linker is built with. It reads bitcode of compilers with this or an older
/// LLVM.
const LLVM: u32 = 22;
/// Packages of Debian's rustc with `core` for BPF.
const COMPILER_PACKAGES: &[&str] = &["rustc-web", "libstd-rust-web-dev-bpf"];

/// Packages that building bpf-linker needs.
pub const LINKER: &[Need] = &[need(
    || has_linker() || has("cargo-binstall") || llvm_prefix().is_some(),
    "llvm-22-dev",
    "llvm22-devel",
    "llvm22",
)];

/// Returns a hint how to do without LLVM's packages, if they are missing.
pub fn alternative_to_llvm(needs: &[&Need]) -> String {
    if needs.iter().any(|need| need.fedora == LINKER[0].fedora) {
        format!(
            "\nIf the distribution's LLVM is version {LLVM}, the packages llvm-devel or llvm also work. \
             Or install bpf-linker itself: cargo binstall bpf-linker@{LINKER_VERSION}"
        )
    } else {
        String::new()
    }
}

/// Installs bpf-linker and a compiler if they are missing. Returns whether it installed anything.
pub fn install() -> Result<bool> {
    let mut installed = false;
    if !has_linker() {
        install_linker()?;
        installed = true;
    }
    if toolchain::find().is_err() {
        install_compiler()?;
        installed = true;
    }
    if installed && let Some(first) = toolchain::find().ok().and_then(|all| all.into_iter().next())
    {
        console::progress(&format!("setup: the eBPF programs will be built with {first}"));
    }
    Ok(installed)
}

/// Whether bpf-linker is installed in the right version and runs. It fails if the LLVM that it needs was removed.
fn has_linker() -> bool {
    toolchain::linker()
        .and_then(|file| first_line(file.to_str()?, &["--version"]))
        .is_some_and(|line| line.trim() == format!("bpf-linker {LINKER_VERSION}"))
}

fn install_compiler() -> Result<()> {
    console::progress(&format!("setup: installing {NIGHTLY} with rust-src, for the eBPF programs"));
    let mut rustup = Command::new("rustup");
    rustup.args(["toolchain", "install", NIGHTLY, "--no-self-update", "--profile", "minimal"]);
    rustup.args(["--component", "rust-src"]);
    let nightly = run_bounded(&mut rustup, DOWNLOAD_LIMIT);
    if toolchain::find().is_ok() {
        return Ok(());
    }
    let why = nightly.err().map_or_else(String::new, |error| format!(" ({error:#})"));
    console::progress(&format!("setup: cannot install the nightly toolchain{why}"));
    if is_debian() {
        apt("the eBPF programs", COMPILER_PACKAGES)
            .context("neither rustup's nightly nor Debian's rustc with core for BPF")?;
    }
    if toolchain::find().is_ok() {
        return Ok(());
    }
    bail!(
        "building the eBPF programs needs a nightly Rust with its library sources: \
         `rustup toolchain install {NIGHTLY} --component rust-src`"
    )
}

fn install_linker() -> Result<()> {
    if llvm_prefix().is_none() && is_debian() {
        let llvm = format!("llvm-{LLVM}-dev");
        let polly = format!("libpolly-{LLVM}-dev");
        let packages = [llvm.as_str(), polly.as_str(), "libzstd-dev", "zlib1g-dev"];
        if let Err(error) = apt("bpf-linker", &packages) {
            console::progress(&format!("setup: {error:#}"));
        }
    }
    if let Some(prefix) = llvm_prefix() {
        return build_linker(&prefix);
    }
    if has("cargo-binstall") {
        console::progress(&format!(
            "setup: installing bpf-linker {LINKER_VERSION} with cargo-binstall"
        ));
        let package = format!("bpf-linker@{LINKER_VERSION}");
        return run_bounded(cargo().args(["binstall", "-y", &package]), DOWNLOAD_LIMIT);
    }
    bail!(
        "bpf-linker {LINKER_VERSION} is needed to build the eBPF programs. Install it with \
         `cargo binstall bpf-linker@{LINKER_VERSION}`, or install the development files of LLVM \
         {LLVM} (Debian llvm-{LLVM}-dev, Fedora llvm{LLVM}-devel) and run `cargo xtask setup` again"
    )
}

fn build_linker(prefix: &Path) -> Result<()> {
    console::progress(&format!("setup: building bpf-linker {LINKER_VERSION}, about a minute"));
    let mut install = install_tool("bpf-linker", LINKER_VERSION);
    install.args(["--no-default-features", "--features", &format!("llvm-{LLVM}")]);
    install.env("LLVM_PREFIX", prefix).env("LIBRARY_PATH", prefix.join("lib"));
    dnscribe_tests::shell::pass_through(&mut install).context("cannot build bpf-linker")
}

/// Installation prefix of LLVM's development files in the right version.
fn llvm_prefix() -> Option<PathBuf> {
    let known = [format!("/usr/lib/llvm-{LLVM}"), format!("/usr/lib64/llvm{LLVM}")];
    let configured = [format!("llvm-config-{LLVM}"), "llvm-config".to_owned()]
        .into_iter()
        .filter(|program| {
            first_line(program, &["--version"])
                .is_some_and(|version| version.starts_with(&format!("{LLVM}.")))
        })
        .filter_map(|program| first_line(&program, &["--prefix"]));
    known
        .into_iter()
        .chain(configured)
        .map(PathBuf::from)
        .find(|prefix| prefix.join("include/llvm-c/Core.h").is_file())
}
