//! `bless`: rewrites the goldens and schemas from what the code gives now, to be reviewed by eye.

use crate::process::cargo;
use crate::{build, schemas};
use anyhow::Result;
use dnscribe_tests::shell;

/// Runs the command.
pub fn main() -> Result<()> {
    schemas::write()?;
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--", "golden"]).env("DNSCRIBE_BLESS", "1");
    tests.env("DNSCRIBE_BIN", build::release()?);
    shell::pass_through(&mut tests)?;
    crate::say::progress("goldens rewritten: read `git diff` before committing them");
    Ok(())
}
