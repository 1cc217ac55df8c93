//! `dist`: everything that is handed out, in `target/dist`: packages, tarball, image, bill of
//! materials, checksums.

mod archive;
mod bill;
mod image;
mod packages;
mod stage;

use crate::process::first_line;
use crate::{build, say};
use anyhow::{Context as _, Result, bail};
use dnscribe_tests::{environment, shell};
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
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
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
    /// The OCI archive
    Image,
    /// The bill of materials
    Bill,
}

/// What is the same in everything that is handed out.
struct Release {
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
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => build::agent(&args.profile)?,
    };
    let folder = folder();
    let release = Release {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        epoch: epoch()?,
        // The packages' assets are named from there.
        stage: environment::workspace().join("target/stage"),
        dist: folder.clone(),
    };
    empty(&release.stage)?;
    if args.parts.is_empty() {
        empty(&release.dist)?;
    }
    fs::create_dir_all(&release.dist)?;
    let crates = bill::crates()?;
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
    sums(&release.dist)?;
    for file in files(&release.dist)? {
        let octets = fs::metadata(&file)?.len();
        say::result(&format!("{octets:>10} {}", file.display()));
    }
    Ok(())
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
        lines.push_str(&format!("{}  {name}\n", digest(&fs::read(&file)?)));
    }
    fs::write(folder.join("SHA256SUMS"), lines)?;
    Ok(())
}

/// SHA-256 in hexadecimal digits.
pub fn digest(octets: &[u8]) -> String {
    openssl::sha::sha256(octets).iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Debian's name for this architecture and everybody else's.
fn architecture() -> Result<(&'static str, &'static str)> {
    match std::env::consts::ARCH {
        "x86_64" => Ok(("amd64", "x86_64")),
        "aarch64" => Ok(("arm64", "aarch64")),
        other => bail!("packages are made on x86_64 and aarch64, not on {other}"),
    }
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
