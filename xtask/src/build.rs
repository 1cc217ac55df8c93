//! `build`: the release binary, its eBPF programs embedded. Needs no root.

use crate::architecture::Architecture;
use crate::debian::sysroot::Sysroot;
use crate::process::{cargo, elevated};
use anyhow::Result;
use dnscribe_tests::{environment, shell};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What to build.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Args {
    /// For this architecture [default: this host's]
    #[arg(long, value_enum)]
    arch: Option<Architecture>,
}

/// Runs the command.
pub fn main(args: Args) -> Result<()> {
    let binary = match args.arch.filter(|architecture| architecture.is_foreign()) {
        Some(architecture) => {
            crate::setup::cross(architecture)?;
            foreign(architecture, "release")?
        }
        None => release()?,
    };
    crate::say::progress(&format!("built {}", binary.display()));
    Ok(())
}

/// Builds the release binary and returns where it is.
pub fn release() -> Result<PathBuf> {
    agent("release")
}

/// Builds the agent by a profile and returns where it is.
pub fn agent(profile: &str) -> Result<PathBuf> {
    if !elevated() {
        build(profile, &[])?;
    }
    Ok(environment::target().join(folder(profile)).join("dnscribe"))
}

/// Builds the agent for another architecture, and returns where it is.
pub fn foreign(architecture: Architecture, profile: &str) -> Result<PathBuf> {
    let sysroot = Sysroot::libraries(architecture)?;
    let mut cargo = cargo();
    cargo.args(["build", "--profile", profile, "--package", "dnscribe"]);
    cargo.args(["--target", architecture.triple()]);
    cross(&mut cargo, &sysroot);
    shell::pass_through(&mut cargo)?;
    let built = environment::target().join(architecture.triple()).join(folder(profile));
    Ok(built.join("dnscribe"))
}

/// Has C and C++ compiled for another architecture, and all of it linked with what is in its file system.
fn cross(cargo: &mut Command, built_with: &Sysroot) {
    let (architecture, root) = (built_with.architecture, &built_with.root);
    let tool = |name: &str| built_with.tool(name);
    let sysroot = format!("--sysroot={}", root.display());
    // librdkafka's own configure knows no targets: it goes by these alone.
    for name in ["AR", "LD", "NM", "OBJDUMP", "RANLIB", "STRIP"] {
        cargo.env(name, tool(&name.to_lowercase()));
    }
    cargo.env("CC", tool("gcc")).env("CXX", tool("g++"));
    for name in ["CFLAGS", "CXXFLAGS", "LDFLAGS"] {
        cargo.env(name, &sysroot);
    }
    // What runs here while others are built.
    for (name, value) in [("CC", "cc"), ("CXX", "c++"), ("AR", "ar")] {
        cargo.env(format!("HOST_{name}"), value);
    }
    for name in ["HOST_CFLAGS", "HOST_CXXFLAGS"] {
        cargo.env(name, "");
    }
    let libraries = root.join("usr/lib");
    let described =
        [libraries.join(architecture.gnu()).join("pkgconfig"), root.join("usr/share/pkgconfig")];
    cargo.env("PKG_CONFIG_LIBDIR", described.map(|it| it.display().to_string()).join(":"));
    cargo.env("PKG_CONFIG_SYSROOT_DIR", root).env("PKG_CONFIG_ALLOW_CROSS", "1");
    let triple = architecture.triple().replace('-', "_").to_uppercase();
    let of_cargo = |name: &str| format!("CARGO_TARGET_{triple}_{name}");
    cargo.env(of_cargo("LINKER"), tool("gcc"));
    cargo.env(of_cargo("RUSTFLAGS"), format!("-Clink-arg={sysroot}"));
}

/// Builds an example of the agent by a profile.
pub fn example(name: &str, profile: &str) -> Result<()> {
    if elevated() { Ok(()) } else { build(profile, &["--example", name]) }
}

/// Where an example of the agent is, once built.
pub fn example_path(name: &str, profile: &str) -> PathBuf {
    environment::target().join(folder(profile)).join("examples").join(name)
}

fn build(profile: &str, what: &[&str]) -> Result<()> {
    let words = ["build", "--profile", profile, "--package", "dnscribe"];
    shell::pass_through(cargo().args(words).args(what))
}

/// Where cargo puts what it builds by a profile, below the folder of a target.
fn folder(profile: &str) -> &Path {
    Path::new(if profile == "dev" { "debug" } else { profile })
}
