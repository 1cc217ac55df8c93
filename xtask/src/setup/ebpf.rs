//! What builds the eBPF programs: a compiler and bpf-linker.

use super::packages::{Need, apt, debian, has, need};
use crate::process::{cargo, first_line, install_tool, run_bounded};
use crate::say;
use crate::toolchain::{self, NIGHTLY};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long a download may take before the next way is tried.
pub const DOWNLOAD_LIMIT: Duration = Duration::from_secs(240);
/// The version of bpf-linker that the project is built with.
const LINKER_VERSION: &str = "0.13.0";
/// The LLVM that bpf-linker is built with; it reads what a compiler with this or an older one
/// writes.
const LLVM: u32 = 22;
/// Debian's rustc with `core` for BPF.
const COMPILER_PACKAGES: &[&str] = &["rustc-web", "libstd-rust-web-dev-bpf"];

/// What building bpf-linker needs, where it has to be built.
pub const LINKER: &[Need] = &[need(
    || has_linker() || has("cargo-binstall") || llvm_prefix().is_some(),
    "llvm-22-dev",
    "llvm22-devel",
    "llvm22",
)];

/// What does in place of LLVM's packages, if they are among what is missing.
pub fn instead(needs: &[&Need]) -> String {
    if needs.iter().any(|need| need.fedora == LINKER[0].fedora) {
        format!(
            "\nLLVM {LLVM} is plain llvm-devel or llvm where that is the version. In its place \
             bpf-linker itself will do: cargo binstall bpf-linker@{LINKER_VERSION}"
        )
    } else {
        String::new()
    }
}

/// Installs bpf-linker and a compiler where they are missing; whether it did anything.
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
        say::progress(&format!("setup: eBPF programs are built by {first}"));
    }
    Ok(installed)
}

/// Whether the right bpf-linker is there and runs: it may have outlived the LLVM that it needs.
fn has_linker() -> bool {
    toolchain::linker()
        .and_then(|file| first_line(file.to_str()?, &["--version"]))
        .is_some_and(|line| line.trim() == format!("bpf-linker {LINKER_VERSION}"))
}

fn install_compiler() -> Result<()> {
    say::progress(&format!("setup: installing {NIGHTLY} with rust-src, for the eBPF programs"));
    let mut rustup = Command::new("rustup");
    rustup.args(["toolchain", "install", NIGHTLY, "--no-self-update", "--profile", "minimal"]);
    rustup.args(["--component", "rust-src"]);
    let nightly = run_bounded(&mut rustup, DOWNLOAD_LIMIT);
    if toolchain::find().is_ok() {
        return Ok(());
    }
    let why = nightly.err().map_or_else(String::new, |error| format!(" ({error:#})"));
    say::progress(&format!("setup: no nightly to be had here{why}"));
    if debian() {
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
    if llvm_prefix().is_none() && debian() {
        let llvm = format!("llvm-{LLVM}-dev");
        let polly = format!("libpolly-{LLVM}-dev");
        let packages = [llvm.as_str(), polly.as_str(), "libzstd-dev", "zlib1g-dev"];
        if let Err(error) = apt("bpf-linker", &packages) {
            say::progress(&format!("setup: {error:#}"));
        }
    }
    if let Some(prefix) = llvm_prefix() {
        return build_linker(&prefix);
    }
    if has("cargo-binstall") {
        say::progress(&format!(
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
    say::progress(&format!("setup: building bpf-linker {LINKER_VERSION}, about a minute"));
    let mut install = install_tool("bpf-linker", LINKER_VERSION);
    install.args(["--no-default-features", "--features", &format!("llvm-{LLVM}")]);
    install.env("LLVM_PREFIX", prefix).env("LIBRARY_PATH", prefix.join("lib"));
    dnscribe_tests::shell::pass_through(&mut install).context("cannot build bpf-linker")
}

/// Where the development files of the right LLVM are.
fn llvm_prefix() -> Option<PathBuf> {
    let known = [format!("/usr/lib/llvm-{LLVM}"), format!("/usr/lib64/llvm{LLVM}")];
    let told = [format!("llvm-config-{LLVM}"), "llvm-config".to_owned()]
        .into_iter()
        .filter(|program| {
            first_line(program, &["--version"])
                .is_some_and(|version| version.starts_with(&format!("{LLVM}.")))
        })
        .filter_map(|program| first_line(&program, &["--prefix"]));
    known
        .into_iter()
        .chain(told)
        .map(PathBuf::from)
        .find(|prefix| prefix.join("include/llvm-c/Core.h").is_file())
}
