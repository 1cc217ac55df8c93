//! `ci`: exactly what continuous integration runs.

use anyhow::Result;

/// Runs the command. The tests run even where a lint fails, so that one run tells everything.
pub fn main() -> Result<()> {
    crate::setup::main(crate::setup::Args { test: true })?;
    let lint = crate::lint::main();
    let test = crate::test::main(&crate::test::Args::default());
    if let Err(error) = &lint {
        crate::say::progress(&format!("lint: {error:#}"));
    }
    test.and(lint)
}
