//! `vm-test`: the agent on the kernels that Debian has, each with cgroups laid out in the three ways
//! that hosts have them, in QEMU without KVM. Needs no root, once set
//! up.

mod guest;
mod image;
mod kernel;
mod report;
mod verdict;

use crate::architecture::Architecture;
use crate::debian::sysroot::Sysroot;
use crate::{build, say, setup};
use anyhow::{Result, bail};
use clap::ValueEnum;
use dnscribe_tests::environment;
use guest::Guest;
use kernel::Kernel;
use std::fmt;
use std::path::PathBuf;
use std::time::Instant;
use verdict::Verdict;

/// What to boot.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A kernel; repeatable [default: all that Debian has for the architecture]
    #[arg(long = "kernel", value_name = "NAME", value_enum)]
    kernels: Vec<Kernel>,
    /// How cgroups are laid out; repeatable [default: all three]
    #[arg(long = "layout", value_name = "LAYOUT", value_enum)]
    layouts: Vec<Layout>,
    /// The architecture of the machine [default: this host's]
    #[arg(long, value_enum)]
    arch: Option<Architecture>,
    /// Get the newest packages of the kernels, although some are there
    #[arg(long)]
    refresh: bool,
}

/// How a host lays out cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// cgroup2 alone, at /sys/fs/cgroup
    Unified,
    /// Controllers of version 1, cgroup2 beside them at /sys/fs/cgroup/unified
    Hybrid,
    /// Version 1 alone
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
    let architecture = args.arch.map_or_else(Architecture::here, Ok)?;
    setup::machines(architecture)?;
    let binary = binary(architecture)?;
    let sysroot = architecture.is_foreign().then(|| Sysroot::programs(architecture)).transpose()?;
    let mut kernels = or_all(&args.kernels);
    if args.kernels.is_empty() {
        kernels.retain(|kernel| kernel.is_to_be_had(architecture));
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
            say::progress(&format!("vm-test: Linux {}, cgroups {layout}", files.release));
            let verdicts = verdict::judge(kernel, layout, &guest.run()?);
            let seconds = start.elapsed().as_secs();
            rows.extend(verdicts.into_iter().map(|it| row(&files.release, layout, &it)));
            say::progress(&format!("vm-test: took {seconds} s"));
        }
    }
    let failed = rows.iter().filter(|row| !row.1).count();
    say::result(&format!("{:<24} {:<8} {:<26} result", "kernel", "cgroups", "what"));
    for (line, _) in &rows {
        say::result(line);
    }
    if failed > 0 {
        bail!(
            "{failed} of {} are not as they must be; see {}",
            rows.len(),
            guest::logs().display()
        );
    }
    Ok(())
}

/// A line of the table, and whether all is well.
fn row(release: &str, layout: Layout, verdict: &Verdict) -> (String, bool) {
    let result = match &verdict.outcome {
        Ok(words) => words.clone(),
        Err(error) => format!("FAILED: {error:#}"),
    };
    (format!("{release:<24} {layout:<8} {:<26} {result}", verdict.what), verdict.outcome.is_ok())
}

/// The agent that `DNSCRIBE_BIN` names, else the release binary, built.
fn binary(architecture: Architecture) -> Result<PathBuf> {
    if std::env::var_os("DNSCRIBE_BIN").is_some() {
        environment::binary()
    } else if architecture.is_foreign() {
        build::foreign(architecture, "release")
    } else {
        build::release()
    }
}

fn or_all<T: ValueEnum + Clone>(named: &[T]) -> Vec<T> {
    if named.is_empty() { T::value_variants().to_vec() } else { named.to_vec() }
}
