//! `release`: makes everything that a release has, in steps that can be run alone, and proves what can be proved without
//! publishing. It publishes nothing.

mod chart;
mod provenance;
mod reproduce;
mod signature;
mod versions;

use crate::architecture::Architecture;
use crate::{console, dist, install_test};
use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use std::path::PathBuf;
use std::time::Instant;

/// Arguments of `release`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Sign with a key pair that is thrown away, and accept a worktree with changes and a version that the changelog calls
    /// unreleased
    #[arg(long)]
    dry_run: bool,
    /// Secret key of minisign, without a password
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "dry_run",
        conflicts_with = "dry_run"
    )]
    key: Option<PathBuf>,
    /// Cargo profile of the programs
    #[arg(long, default_value = "release")]
    profile: String,
    /// Architecture, repeatable [default: all]
    #[arg(long = "arch", value_name = "ARCH", value_enum)]
    architectures: Vec<Architecture>,
    /// Steps to run, in the order of this list; others are left out [default: all]
    #[arg(value_name = "STEP", value_enum)]
    steps: Vec<Step>,
}

/// A step of a release.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// Version, changelog and chart agree, and the worktree is that of a commit
    Versions,
    /// The oldest Rust that `Cargo.toml` names builds the programs
    Rust,
    /// Packages, tarballs, images and bills of materials, as `dist` makes them
    Build,
    /// The programs need no newer C library than Debian 12 has
    Libc,
    /// The chart as an archive that Helm accepts
    Chart,
    /// A second build, elsewhere and at another time, gives the same bytes
    Reproduce,
    /// A statement of where the artifacts come from (in-toto, SLSA provenance)
    Provenance,
    /// Checksums of all, and their signature
    Sign,
    /// Checksums, signature and statement are those of the artifacts, as a user checks them
    Verify,
    /// The packages are installed, started, upgraded and removed in fresh systems
    Install,
}

/// Runs the command.
pub fn main(args: &Args) -> Result<()> {
    let mut steps = args.steps.clone();
    steps.sort_unstable();
    steps.dedup();
    if steps.is_empty() {
        steps = Step::value_variants().to_vec();
    }
    for step in steps {
        let name = step.to_possible_value().map_or_else(String::new, |it| it.get_name().to_owned());
        console::progress(&format!("release: {name}"));
        let start = Instant::now();
        args.run(step).with_context(|| format!("release: {name}"))?;
        console::result(&format!("release: {name}: done in {} s", start.elapsed().as_secs()));
    }
    Ok(())
}

impl Args {
    fn run(&self, step: Step) -> Result<()> {
        match step {
            Step::Versions => versions::check(self.dry_run),
            Step::Rust => versions::oldest_rust(),
            Step::Build => {
                dist::recreate_folder(&dist::folder())?;
                dist::main(&self.dist())
            }
            Step::Libc => versions::check_libc(&dist::folder()),
            Step::Chart => chart::write(&dist::folder()),
            Step::Reproduce => reproduce::build_again(self),
            Step::Provenance => provenance::write(&dist::folder(), &self.profile),
            Step::Sign => signature::sign(&dist::folder(), self.key.as_deref()),
            Step::Verify => signature::verify(&dist::folder()),
            Step::Install => install_test::main(&install_test::Args::default()),
        }
    }

    /// Arguments of `dist`.
    fn dist(&self) -> dist::Args {
        let all = Architecture::value_variants().to_vec();
        let architectures =
            if self.architectures.is_empty() { all } else { self.architectures.clone() };
        dist::Args::of(&self.profile, architectures)
    }
}

/// Returns the names and bytes of the artifacts in a folder whose name satisfies a condition, sorted.
fn artifacts(
    folder: &std::path::Path,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for file in dist::files(folder)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if wanted(&name) {
            found.push((name, std::fs::read(&file)?));
        }
    }
    if found.is_empty() {
        bail!("nothing in {}: run `cargo xtask release --dry-run build`", folder.display());
    }
    Ok(found)
}
