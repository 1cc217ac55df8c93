//! `vm-test`: tests the agent on Debian's kernels, each with the three cgroup layouts that hosts have, in QEMU
//! without KVM. After setup it needs no root.

mod guest;
mod image;
mod kernel;
mod report;
mod verdict;

use crate::architecture::Architecture;
use crate::debian::sysroot::Sysroot;
use crate::{build, console, setup};
use anyhow::{Result, bail};
use clap::ValueEnum;
use dnscribe_tests::environment;
use guest::Guest;
use kernel::Kernel;
use std::fmt;
use std::path::PathBuf;
use std::time::Instant;
use verdict::Verdict;

/// Arguments of `vm-test`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Kernel, repeatable [default: all that Debian has for the architecture]
    #[arg(long = "kernel", value_name = "NAME", value_enum)]
    kernels: Vec<Kernel>,
    /// Layout of cgroups, repeatable [default: all]
    #[arg(long = "layout", value_name = "LAYOUT", value_enum)]
    layouts: Vec<Layout>,
    /// Architecture of the machine [default: this host's]
    #[arg(long, value_enum)]
    arch: Option<Architecture>,
    /// Download the newest kernel packages, even if some are cached
    #[arg(long)]
    refresh: bool,
}

/// Layout of cgroups on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// cgroup2 only, at /sys/fs/cgroup
    Unified,
    /// Controllers of version 1, and cgroup2 at /sys/fs/cgroup/unified
    Hybrid,
    /// Version 1 only
    Legacy,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unified => "unified",
            Self::Hybrid => "hybrid",
            Self::Legacy => "legacy",
        })
    }
}

/// Runs the command.
pub fn main(args: &Args) -> Result<()> {
    let architecture = args.arch.map_or_else(Architecture::host, Ok)?;
    setup::machines(architecture)?;
    let binary = binary(architecture)?;
    let sysroot = architecture.is_foreign().then(|| Sysroot::programs(architecture)).transpose()?;
    let mut kernels = or_all(&args.kernels);
    if args.kernels.is_empty() {
        kernels.retain(|kernel| kernel.is_available(architecture));
    }
    let layouts = or_all(&args.layouts);
    let mut rows = Vec::new();
    for kernel in kernels {
        let files = kernel.fetch(architecture, args.refresh)?;
        let initrd = image::build(&binary, &files, sysroot.as_ref())?;
        for layout in layouts.iter().copied() {
            let guest =
                Guest { kernel, architecture, layout, files: &files, initrd: initrd.path() };
            let start = Instant::now();
            console::progress(&format!("vm-test: Linux {}, cgroups {layout}", files.release));
            let verdicts = verdict::evaluate(kernel, layout, &guest.run()?);
            let seconds = start.elapsed().as_secs();
            rows.extend(verdicts.into_iter().map(|it| row(&files.release, layout, &it)));
            console::progress(&format!("vm-test: took {seconds} s"));
        }
    }
    let failed = rows.iter().filter(|row| !row.1).count();
    console::result(&format!("{:<24} {:<8} {:<26} result", "kernel", "cgroups", "check"));
    for (line, _) in &rows {
        console::result(line);
    }
    if failed > 0 {
        bail!("{failed} of {} checks failed; see {}", rows.len(), guest::logs().display());
    }
    Ok(())
}

/// Returns a line of the table, and whether the check passed.
fn row(release: &str, layout: Layout, verdict: &Verdict) -> (String, bool) {
    let result = match &verdict.outcome {
        Ok(words) => words.clone(),
        Err(error) => format!("FAILED: {error:#}"),
    };
    (format!("{release:<24} {layout:<8} {:<26} {result}", verdict.what), verdict.outcome.is_ok())
}

/// Returns the agent that `DNSCRIBE_BIN` names, or else builds one.
fn binary(architecture: Architecture) -> Result<PathBuf> {
    if std::env::var_os("DNSCRIBE_BIN").is_some() {
        environment::binary()
    } else if architecture.is_foreign() {
        build::agent_for(architecture, "quick")
    } else {
        build::quick()
    }
}

/// Returns `named`, or all values if it is empty.
fn or_all<T: ValueEnum + Clone>(named: &[T]) -> Vec<T> {
    if named.is_empty() { T::value_variants().to_vec() } else { named.to_vec() }
}
