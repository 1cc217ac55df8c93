//! `bless`: rewrites the golden files and the schemas from the output of the current code. Review the diff by eye.

use crate::process::cargo;
use crate::{build, schemas};
use anyhow::Result;
use dnscribe_tests::shell;

/// Runs the command.
pub fn main() -> Result<()> {
    let packages = ["--workspace"];
    schemas::write(&packages)?;
    let mut tests = cargo();
    tests.arg("test").args(packages).args(["--", "golden"]).env("DNSCRIBE_BLESS", "1");
    tests.env("DNSCRIBE_BIN", build::beside_tests(&packages)?);
    shell::pass_through(&mut tests)?;
    crate::console::progress("golden files rewritten: review `git diff` before committing");
    Ok(())
}
