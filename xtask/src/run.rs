//! `run`: sets up, builds, and replaces itself by `dnscribe run`.

use crate::process::{as_root, is_root};
use crate::{build, console, setup};
use anyhow::{Context as _, Result};
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;

/// Arguments of `run`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Arguments of `dnscribe run`, after `--`
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

/// Runs the command. Returns only if it fails.
pub fn main(args: &Args) -> Result<()> {
    setup::install(&["build"])?;
    let binary = build::first_look()?;
    if !is_root() {
        console::progress("capturing needs root: using sudo");
    }
    let error = as_root(&binary)?.arg("run").args(&args.arguments).exec();
    Err(error).with_context(|| format!("cannot start {}", binary.display()))
}
