//! `bless`: rewrites the golden files and the schemas from the output of the current code. Review the diff by eye.

use crate::process::cargo;
use crate::{build, schemas};
use anyhow::Result;
use dnscribe_tests::shell;

/// Runs the command.
pub fn main() -> Result<()> {
    schemas::write()?;
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--", "golden"]).env("DNSCRIBE_BLESS", "1");
    tests.env("DNSCRIBE_BIN", build::quick()?);
    shell::pass_through(&mut tests)?;
    crate::console::progress("golden files rewritten: review `git diff` before committing");
    Ok(())
}
