//! `ci`: runs exactly the checks of continuous integration.

use anyhow::Result;

/// Runs the command. The tests run even if a lint fails, so that one run reports every failure.
pub fn main() -> Result<()> {
    crate::setup::main(crate::setup::Args { test: true })?;
    let lint = crate::lint::main();
    let test = crate::test::main(&crate::test::Args::every_tier());
    if let Err(error) = &lint {
        crate::console::progress(&format!("lint: {error:#}"));
    }
    test.and(lint)
}
