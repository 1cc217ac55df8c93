//! `dist`: everything that is handed out, in `target/dist`: packages, tarball, image, bill of
//! materials, checksums.

mod archive;
mod bill;
mod image;
mod packages;
mod stage;

use crate::architecture::Architecture;
use crate::debian::sysroot::Sysroot;
use crate::process::first_line;
use crate::{build, say};
use anyhow::{Context as _, Result};
use clap::ValueEnum as _;
use dnscribe_tests::{environment, shell};
pub use image::entries as image_entries;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What to hand out.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Build the agent by this profile of cargo's
    #[arg(long, default_value = "release", conflicts_with = "binary")]
    profile: String,
    /// Hand out this binary instead of building one
    #[arg(long, value_name = "FILE", conflicts_with = "architectures")]
    binary: Option<PathBuf>,
    /// For this architecture, and leave the others as they are; repeatable [default: this host's]
    #[arg(long = "arch", value_name = "ARCH", value_enum)]
    architectures: Vec<Architecture>,
    /// For all architectures
    #[arg(long, conflicts_with_all = ["architectures", "binary"])]
    all: bool,
    /// Make these alone, and leave the others as they are
    #[arg(value_name = "PART")]
    parts: Vec<Part>,
}

/// Something that is handed out.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The package for Debian and its kin
    Deb,
    /// The package for Fedora and its kin
    Rpm,
    /// The files as they are
    Tarball,
    /// The OCI archive, and one of all architectures where there are several
    Image,
    /// The bill of materials
    Bill,
}

/// What is the same in everything that is handed out for an architecture.
struct Release {
    /// Which one.
    architecture: Architecture,
    /// What programs of it load, where it is not this host's.
    sysroot: Option<Sysroot>,
    /// Of the workspace: `0.1.0`.
    version: String,
    /// Of the last commit, in seconds since 1970, or `SOURCE_DATE_EPOCH`: the time of every file, so
    /// that the same source gives the same octets.
    epoch: u64,
    /// Where the files stand as they will on a host.
    stage: PathBuf,
    /// Where all goes.
    dist: PathBuf,
}

/// Runs the command.
pub fn main(args: &Args) -> Result<()> {
    crate::setup::main(crate::setup::Args::default())?;
    crate::setup::dist()?;
    let mut architectures = match (args.all, args.architectures.as_slice()) {
        (true, _) => Architecture::value_variants().to_vec(),
        (_, []) => vec![Architecture::here()?],
        (_, named) => named.to_vec(),
    };
    // This host's last: its tree stays laid out.
    architectures.sort_by_key(|it| !it.is_foreign());
    architectures.dedup();
    let folder = folder();
    if args.parts.is_empty() && args.architectures.is_empty() {
        empty(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    for architecture in architectures {
        say::progress(&format!("dist: for {}", architecture.debian()));
        make(args, architecture)?;
    }
    if args.parts.is_empty() || args.parts.contains(&Part::Image) {
        image::join(env!("CARGO_PKG_VERSION"), epoch()?, &folder)?;
    }
    sums(&folder)?;
    for file in files(&folder)? {
        let octets = fs::metadata(&file)?.len();
        say::result(&format!("{octets:>10} {}", file.display()));
    }
    Ok(())
}

/// Makes everything for an architecture.
fn make(args: &Args, architecture: Architecture) -> Result<()> {
    let (sysroot, binary) = if architecture.is_foreign() {
        crate::setup::cross(architecture)?;
        let sysroot = Sysroot::libraries(architecture)?;
        (Some(sysroot), build::foreign(architecture, &args.profile)?)
    } else {
        (None, args.binary.clone().map_or_else(|| build::agent(&args.profile), Ok)?)
    };
    let release = Release {
        architecture,
        sysroot,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        epoch: epoch()?,
        // The packages' assets are named from there.
        stage: environment::workspace().join("target/stage"),
        dist: folder(),
    };
    empty(&release.stage)?;
    let crates = bill::crates(architecture)?;
    stage::lay_out(&release, &binary, &crates)?;
    let wanted = |part| args.parts.is_empty() || args.parts.contains(&part);
    if wanted(Part::Deb) {
        packages::debian(&release)?;
    }
    if wanted(Part::Rpm) {
        packages::rpm(&release)?;
    }
    if wanted(Part::Tarball) {
        packages::tarball(&release)?;
    }
    if wanted(Part::Image) {
        image::write(&release)?;
    }
    if wanted(Part::Bill) {
        bill::write(&release, &crates)?;
    }
    Ok(())
}

impl Release {
    /// A command of the agent that is handed out.
    fn agent(&self, program: &Path) -> Result<Command> {
        match &self.sysroot {
            Some(sysroot) => sysroot.command(program),
            None => Ok(Command::new(program)),
        }
    }

    /// Its name in what is not named by the rules of a distribution.
    fn name(&self) -> String {
        format!("dnscribe-{}-linux-{}", self.version, self.architecture.machine())
    }
}

/// The .rpm of this host's architecture once more, as a newer revision, in a folder: of the files that
/// were handed out.
pub fn newer_rpm(folder: &Path) -> Result<PathBuf> {
    let architecture = Architecture::here()?;
    let stage = environment::workspace().join("target/stage");
    empty(&stage)?;
    let tarball = made(&format!("linux-{}.tar.gz", architecture.machine()))?;
    let mut unpack = Command::new("tar");
    unpack.args(["--extract", "--strip-components=1", "--no-same-owner", "--file"]);
    shell::output(unpack.arg(tarball).arg("--directory").arg(&stage))?;
    packages::rpm_of(architecture, epoch()?, "2", folder)?;
    files(folder)?.pop().context("cargo-generate-rpm made no package")
}

/// Makes a folder that has nothing in it.
fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    Ok(fs::create_dir_all(folder)?)
}

/// Where everything is that is handed out.
pub fn folder() -> PathBuf {
    environment::target().join("dist")
}

/// The one file in `target/dist` that ends so.
pub fn made(ending: &str) -> Result<PathBuf> {
    let found = files(&folder()).unwrap_or_default();
    let found = found.into_iter().find(|file| file.to_string_lossy().ends_with(ending));
    found.with_context(|| format!("no {ending} in target/dist: run `cargo xtask dist` first"))
}

fn epoch() -> Result<u64> {
    if let Ok(given) = std::env::var("SOURCE_DATE_EPOCH") {
        return given.parse().context("SOURCE_DATE_EPOCH is no number of seconds");
    }
    let workspace = environment::workspace();
    let log =
        Command::new("git").current_dir(workspace).args(["log", "-1", "--format=%ct"]).output();
    let told = log.ok().and_then(|log| String::from_utf8(log.stdout).ok());
    told.and_then(|told| told.trim().parse().ok())
        .context("no commit to take the time from: set SOURCE_DATE_EPOCH")
}

/// The files of a folder, by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

/// `SHA256SUMS`, as `sha256sum --check` reads it.
fn sums(folder: &Path) -> Result<()> {
    let mut lines = String::new();
    let made = files(folder)?.into_iter().filter(|file| !file.ends_with("SHA256SUMS"));
    for file in made {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        writeln!(lines, "{}  {name}", digest(&fs::read(&file)?))?;
    }
    fs::write(folder.join("SHA256SUMS"), lines)?;
    Ok(())
}

/// SHA-256 in hexadecimal digits.
pub fn digest(octets: &[u8]) -> String {
    let digits =
        openssl::sha::sha256(octets).into_iter().flat_map(|octet| [octet >> 4, octet & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

/// Installs a cargo command that makes packages, where it is not there in this version.
fn tool(name: &str, version: &str, words: &[&str]) -> Result<()> {
    let there = first_line("cargo", words).is_some_and(|line| line.contains(version));
    if !there {
        say::progress(&format!("dist: building {name} {version}, some minutes, once"));
        let mut install = crate::process::install_tool(name, version);
        // They compress, which is worth some seconds more of building.
        install.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "2");
        shell::pass_through(&mut install).with_context(|| format!("cannot install {name}"))?;
    }
    Ok(())
}
