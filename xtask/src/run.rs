//! `run`: sets up, builds, and becomes `dnscribe run` on this host.

use crate::process::{as_root, is_root};
use crate::{build, say, setup};
use anyhow::{Context as _, Result};
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;

/// What to hand to the agent.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Arguments of `dnscribe run`, after `--`
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

/// Runs the command; returns only where it fails.
pub fn main(args: &Args) -> Result<()> {
    setup::main(setup::Args::default())?;
    let binary = build::release()?;
    if !is_root() {
        say::progress("capturing needs root: using sudo");
    }
    let error = as_root(&binary)?.arg("run").args(&args.arguments).exec();
    Err(error).with_context(|| format!("cannot start {}", binary.display()))
}
