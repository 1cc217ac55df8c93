//! `ci`: runs exactly the checks of continuous integration.

use crate::{lint, setup, test};
use anyhow::Result;
use std::panic::resume_unwind;
use std::thread;

/// Runs the command. The tests run even if a lint fails, so that one run reports every failure.
pub fn main() -> Result<()> {
    setup::install(&["build"])?;
    let tiers = test::Args::every_tier();
    thread::scope(|scope| {
        // Mostly downloads: they take no longer beside the builds.
        let prepared = scope.spawn(|| test::prepare(&tiers));
        // First, since the lints need some of it: two builds beside each other take less time than one after the other.
        // What fails to build is said again below.
        let _ = test::build(&tiers);
        prepared.join().unwrap_or_else(|panic| resume_unwind(panic))
    })?;
    let lint = lint::main(lint::Args { kpi: true });
    let test = test::main(&tiers);
    if let Err(error) = &lint {
        crate::console::progress(&format!("lint: {error:#}"));
    }
    test.and(lint)
}
