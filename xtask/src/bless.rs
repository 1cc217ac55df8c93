//! `bless`: rewrites the golden files and the schemas from the output of the current code. Review the diff by eye.

use crate::process::cargo;
use crate::{build, schemas, setup, test};
use anyhow::Result;
use dnscribe_tests::shell;

/// Arguments of `bless`.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Args {
    /// Also rewrite those of dnscribe-kpi, whose query engine takes minutes to compile
    #[arg(long)]
    kpi: bool,
}

/// Runs the command.
pub fn main(args: Args) -> Result<()> {
    setup::install(&["bless"])?;
    let packages = test::packages_with(args.kpi);
    schemas::write(packages)?;
    let mut tests = cargo();
    tests.arg("test").args(packages).args(["--", "golden"]).env("DNSCRIBE_BLESS", "1");
    tests.env("DNSCRIBE_BIN", build::beside_tests(packages)?);
    shell::pass_through(&mut tests)?;
    crate::console::progress("golden files rewritten: review `git diff` before committing");
    Ok(())
}
