//! `build`: builds the release binary, which embeds the eBPF programs. Needs no root.

use crate::architecture::Architecture;
use crate::debian::sysroot::Sysroot;
use crate::process::{cargo, is_elevated};
use anyhow::Result;
use dnscribe_tests::{environment, shell};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Arguments of `build`.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Args {
    /// Architecture to build for [default: this host's]
    #[arg(long, value_enum)]
    arch: Option<Architecture>,
}

/// Runs the command.
pub fn main(args: Args) -> Result<()> {
    let binary = match args.arch.filter(|architecture| architecture.is_foreign()) {
        Some(architecture) => {
            crate::setup::cross(architecture)?;
            agent_for(architecture, "release")?
        }
        None => agent("release")?,
    };
    crate::console::progress(&format!("built {}", binary.display()));
    Ok(())
}

/// Builds the agent with the profile `quick`, for use on this machine, and returns its path.
pub fn quick() -> Result<PathBuf> {
    agent("quick")
}

/// Builds the agent for a first look at it, not optimised and without what is not needed for that, and returns its path.
pub fn first_build() -> Result<PathBuf> {
    build(&["dnscribe"], "dev", &["--no-default-features"])?;
    Ok(path("dnscribe", "dev"))
}

/// Builds the agent with a cargo profile and returns its path.
pub fn agent(profile: &str) -> Result<PathBuf> {
    program("dnscribe", profile)
}

/// Builds a program, named as its package, with a cargo profile and returns its path.
pub fn program(name: &str, profile: &str) -> Result<PathBuf> {
    build(&[name], profile, &[])?;
    Ok(path(name, profile))
}

/// Builds the agent and the probe as the test programs are built. `packages` are those that the tests' build selects; with `--tests`,
/// cargo chooses the same features, and compiles what they share once. Returns the agent's path; the probe is beside it.
pub fn beside_tests(packages: &[&str]) -> Result<PathBuf> {
    let bins = ["--bin", "dnscribe", "--bin", "dnscribe-probe", "--tests"];
    shell::pass_through(cargo().arg("build").args(packages).args(bins))?;
    Ok(path("dnscribe", "dev"))
}

/// Builds programs, named as their packages, with a cargo profile, unless this process runs with another user's rights.
fn build(names: &[&str], profile: &str, words: &[&str]) -> Result<()> {
    if is_elevated() {
        return Ok(());
    }
    let packages = names.iter().flat_map(|name| ["--package", name]);
    shell::pass_through(cargo().args(["build", "--profile", profile]).args(packages).args(words))
}

/// Path of a program of this workspace that was built with a cargo profile.
pub fn path(name: &str, profile: &str) -> PathBuf {
    folder_of(profile).join(name)
}

/// Cross-compiles the agent for another architecture and returns its path.
pub fn agent_for(architecture: Architecture, profile: &str) -> Result<PathBuf> {
    program_for("dnscribe", architecture, profile)
}

/// Cross-compiles a program, named as its package, for another architecture and returns its path.
pub fn program_for(name: &str, architecture: Architecture, profile: &str) -> Result<PathBuf> {
    let sysroot = Sysroot::libraries(architecture)?;
    let mut cargo = cargo();
    cargo.args(["build", "--profile", profile, "--package", name]);
    cargo.args(["--target", architecture.triple()]);
    set_cross_environment(&mut cargo, &sysroot);
    shell::pass_through(&mut cargo)?;
    let built = environment::target().join(architecture.triple()).join(folder(profile));
    Ok(built.join(name))
}

/// Sets the environment that makes cargo compile C, C++ and Rust for the sysroot's architecture and link with
/// the sysroot's libraries.
fn set_cross_environment(cargo: &mut Command, sysroot: &Sysroot) {
    let (architecture, root) = (sysroot.architecture, &sysroot.root);
    let tool = |name: &str| sysroot.tool(name);
    let sysroot_flag = format!("--sysroot={}", root.display());
    // librdkafka's configure script does not know targets: these variables are all that it reads.
    for name in ["AR", "LD", "NM", "OBJDUMP", "RANLIB", "STRIP"] {
        cargo.env(name, tool(&name.to_lowercase()));
    }
    cargo.env("CC", tool("gcc")).env("CXX", tool("g++"));
    // Optimised for size, as `.cargo/config.toml` says for this machine's own builds.
    cargo.env("CFLAGS", format!("{sysroot_flag} -Os"));
    for name in ["CXXFLAGS", "LDFLAGS"] {
        cargo.env(name, &sysroot_flag);
    }
    // Compilers for build scripts, which run on this host.
    for (name, value) in [("CC", "cc"), ("CXX", "c++"), ("AR", "ar")] {
        cargo.env(format!("HOST_{name}"), value);
    }
    for name in ["HOST_CFLAGS", "HOST_CXXFLAGS"] {
        cargo.env(name, "");
    }
    let libraries = root.join("usr/lib");
    let pkg_config =
        [libraries.join(architecture.gnu()).join("pkgconfig"), root.join("usr/share/pkgconfig")];
    cargo.env("PKG_CONFIG_LIBDIR", pkg_config.map(|it| it.display().to_string()).join(":"));
    cargo.env("PKG_CONFIG_SYSROOT_DIR", root).env("PKG_CONFIG_ALLOW_CROSS", "1");
    let triple = architecture.triple().replace('-', "_").to_uppercase();
    let variable = |name: &str| format!("CARGO_TARGET_{triple}_{name}");
    cargo.env(variable("LINKER"), tool("gcc"));
    cargo.env(variable("RUSTFLAGS"), format!("-Clink-arg={sysroot_flag}"));
}

/// Builds a program of `tests/benches` with a cargo profile.
pub fn benchmark(name: &str, profile: &str) -> Result<()> {
    if is_elevated() {
        return Ok(());
    }
    shell::pass_through(cargo().args(words(name, profile)))
}

/// Words of cargo that build one program, of `tests/benches` or one that is named as its package.
pub fn words<'a>(name: &'a str, profile: &'a str) -> Vec<&'a str> {
    let package = if name.starts_with("dnscribe") { name } else { "dnscribe-benches" };
    vec!["build", "--profile", profile, "--package", package, "--bin", name]
}

/// Folder to which cargo builds a profile of this workspace.
pub fn folder_of(profile: &str) -> PathBuf {
    environment::target().join(folder(profile))
}

/// Folder, below the target folder, to which cargo builds a profile.
pub fn folder(profile: &str) -> &Path {
    Path::new(if profile == "dev" { "debug" } else { profile })
}
