//! `build`: the release binary, its eBPF programs embedded. Needs no root.

use crate::process::{cargo, elevated};
use anyhow::Result;
use dnscribe_tests::{environment, shell};
use std::path::PathBuf;

/// Runs the command.
pub fn main() -> Result<()> {
    let binary = release()?;
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
    Ok(folder(profile).join("dnscribe"))
}

/// Builds an example of the agent by a profile.
pub fn example(name: &str, profile: &str) -> Result<()> {
    if elevated() { Ok(()) } else { build(profile, &["--example", name]) }
}

/// Where an example of the agent is, once built.
pub fn example_path(name: &str, profile: &str) -> PathBuf {
    folder(profile).join("examples").join(name)
}

fn build(profile: &str, what: &[&str]) -> Result<()> {
    let words = ["build", "--profile", profile, "--package", "dnscribe"];
    shell::pass_through(cargo().args(words).args(what))
}

/// Where cargo puts what it builds by a profile.
fn folder(profile: &str) -> PathBuf {
    environment::target().join(if profile == "dev" { "debug" } else { profile })
}
