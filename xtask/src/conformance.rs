//! `conformance`: compares dnscribe's records of every capture in the corpus with the output of other programs.

use crate::process::cargo;
use crate::{console, setup};
use anyhow::{Result, bail};
use dnscribe_tests::{environment, shell};
use std::fs;

/// Arguments of `conformance`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Write the table to docs/conformance.md
    #[arg(long)]
    bless: bool,
}

/// Runs the command: prints the table on standard output.
///
/// # Errors
/// If a difference has no documented reason.
pub fn main(args: &Args) -> Result<()> {
    if environment::find_corpus().is_none() {
        bail!(
            "no corpus: set DNSCRIBE_CORPUS to a folder with `pcap`, `golden` and `peer` \
             (default: ../shared/corpus beside the repository)"
        );
    }
    setup::install(&["build"])?;
    shell::pass_through(cargo().args(["build", "--package", "dnscribe"]))?;
    let folder = tempfile::tempdir()?;
    let table = folder.path().join("table");
    let mut compare = cargo();
    compare.args(["test", "--quiet", "--package", "dnscribe-tests", "--test", "conformance"]);
    compare.env("DNSCRIBE_BIN", environment::target().join("debug/dnscribe"));
    compare.env("DNSCRIBE_CONFORMANCE", &table);
    if args.bless {
        compare.env("DNSCRIBE_BLESS", "1");
    }
    // The test harness writes to standard output; the table is in the file.
    let output = compare.output()?;
    if let Ok(table) = fs::read_to_string(&table) {
        console::result(table.trim_end());
    }
    if !output.status.success() {
        let log = [output.stdout, output.stderr].concat();
        bail!("the comparison failed:\n{}", String::from_utf8_lossy(&log).trim_end());
    }
    Ok(())
}
