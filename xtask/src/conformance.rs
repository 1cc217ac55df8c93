//! `conformance`: every capture of the corpus against what other programs find in it.

use crate::process::cargo;
use crate::{say, setup};
use anyhow::{Result, bail};
use dnscribe_tests::{environment, shell};
use std::fs;

/// What to do with the table.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Write the table to docs/conformance.md
    #[arg(long)]
    bless: bool,
}

/// Prints the table on standard output; an error where a difference has no reason.
pub fn main(args: &Args) -> Result<()> {
    if environment::corpus().is_none() {
        bail!(
            "nothing to compare with: DNSCRIBE_CORPUS must name a folder with `pcap`, `golden` \
             and `peer`, else they are looked for in ../shared/corpus beside the repository"
        );
    }
    setup::main(setup::Args::default())?;
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
    // Its standard output is the test harness's talk; the table is ours.
    let output = compare.output()?;
    if let Ok(table) = fs::read_to_string(&table) {
        say::result(table.trim_end());
    }
    if !output.status.success() {
        let talk = [output.stdout, output.stderr].concat();
        bail!("the comparison failed:\n{}", String::from_utf8_lossy(&talk).trim_end());
    }
    Ok(())
}
