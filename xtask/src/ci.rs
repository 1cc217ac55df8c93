//! `ci`: runs exactly the checks of continuous integration.

use crate::test;
use anyhow::Result;

/// Arguments of `ci`.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Args {
    /// Run every tier, also those of the stream jobs and the dashboards
    #[arg(long)]
    all: bool,
}

/// Runs the command. The tests run even if a lint fails, so that one run reports every failure.
pub fn main(args: Args) -> Result<()> {
    crate::setup::main(crate::setup::Args { test: true })?;
    let tiers = if args.all { test::Args::every_tier() } else { test::Args::of_ci() };
    // First, since the lints need some of it: two builds beside each other take less time than one after the other. What
    // fails to build is said again below.
    let _ = test::build(&tiers);
    let lint = crate::lint::main();
    let test = test::main(&tiers);
    if let Err(error) = &lint {
        crate::console::progress(&format!("lint: {error:#}"));
    }
    test.and(lint)
}
