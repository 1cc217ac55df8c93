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
    if !elevated() {
        shell::pass_through(cargo().args(["build", "--release", "--package", "dnscribe"]))?;
    }
    Ok(environment::target().join("release/dnscribe"))
}

/// Builds an example of the agent as a release and returns where it is.
pub fn example(name: &str) -> Result<PathBuf> {
    let words = ["build", "--release", "--package", "dnscribe", "--example", name];
    shell::pass_through(cargo().args(words))?;
    Ok(environment::target().join("release/examples").join(name))
}
