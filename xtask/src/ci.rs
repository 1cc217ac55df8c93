//! `ci`: runs exactly the checks of continuous integration.

use crate::{setup, test};
use anyhow::Result;
use std::panic::resume_unwind;
use std::thread;

/// Arguments of `ci`.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Args {
    /// Run every tier, also those of the stream jobs and the dashboards
    #[arg(long)]
    all: bool,
}

/// Runs the command. The tests run even if a lint fails, so that one run reports every failure.
pub fn main(args: Args) -> Result<()> {
    setup::main(setup::Args { test: false })?;
    let tiers = if args.all { test::Args::every_tier() } else { test::Args::of_ci() };
    thread::scope(|scope| {
        // Mostly downloads: they take no longer beside the builds.
        let prepared = scope.spawn(|| test::prepare(&tiers));
        // First, since the lints need some of it: two builds beside each other take less time than one after the other.
        // What fails to build is said again below.
        let _ = test::build(&tiers);
        prepared.join().unwrap_or_else(|panic| resume_unwind(panic))
    })?;
    let lint = crate::lint::main();
    let test = test::main(&tiers);
    if let Err(error) = &lint {
        crate::console::progress(&format!("lint: {error:#}"));
    }
    test.and(lint)
}
