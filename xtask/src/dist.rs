//! `dist`: builds the release artifacts in `target/dist`: packages, tarball, image, bill of materials, checksums.

mod archive;
mod sbom;
mod image;
mod packages;
pub mod program;
mod stage;

use crate::architecture::Architecture;
use crate::debian::sysroot::Sysroot;
use crate::process::first_line;
use crate::{build, console};
use anyhow::{Context as _, Result, bail};
pub use archive::Archive;
use clap::ValueEnum as _;
use dnscribe_tests::{environment, shell};
pub use image::read_files as image_files;
use program::Program;
pub use stage::gzip;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Arguments of `dist`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Cargo profile to build the programs with
    #[arg(long, default_value = "release", conflicts_with = "binary")]
    profile: String,
    /// Program to package, repeatable; artifacts of others are kept [default: all]
    #[arg(long = "program", value_name = "NAME", value_parser = program::named)]
    programs: Vec<&'static Program>,
    /// Package this binary instead of building one: of the named program [default: the agent], and no other program
    #[arg(long, value_name = "FILE", conflicts_with = "architectures")]
    binary: Option<PathBuf>,
    /// Architecture, repeatable; artifacts of others are kept [default: this host's]
    #[arg(long = "arch", value_name = "ARCH", value_enum)]
    architectures: Vec<Architecture>,
    /// Build for all architectures
    #[arg(long, conflicts_with_all = ["architectures", "binary"])]
    all: bool,
    /// Artifacts to build; others are kept [default: all]
    #[arg(value_name = "PART")]
    parts: Vec<Part>,
}

impl Args {
    /// All artifacts for these architectures.
    pub fn of(profile: &str, architectures: Vec<Architecture>) -> Self {
        Self {
            profile: profile.to_owned(),
            programs: Vec::new(),
            binary: None,
            architectures,
            all: false,
            parts: Vec::new(),
        }
    }

    /// Architectures that are named.
    pub fn architectures(&self) -> &[Architecture] {
        &self.architectures
    }
}

/// A kind of release artifact.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Package for Debian and related distributions
    Deb,
    /// Package for Fedora and related distributions
    Rpm,
    /// Archive of the installed files
    Tarball,
    /// OCI archive, and one for all architectures if there are several
    Image,
    /// Bill of materials, as `CycloneDX`
    Bill,
}

/// Settings that all artifacts of a program and an architecture share.
struct Release {
    /// What is packaged.
    program: &'static Program,
    /// Architecture of the artifacts.
    architecture: Architecture,
    /// Libraries of the architecture, if it is not this host's.
    sysroot: Option<Sysroot>,
    /// Version of the workspace, such as `0.1.0`.
    version: String,
    /// Time of every file in seconds since 1970: `SOURCE_DATE_EPOCH`, or the time of the last commit, so that
    /// builds are reproducible.
    epoch: u64,
    /// Folder with the files as they are installed on a host.
    stage: PathBuf,
    /// Folder of the artifacts.
    dist: PathBuf,
}

/// Runs the command.
pub fn main(args: &Args) -> Result<()> {
    crate::setup::install(&["build"])?;
    crate::setup::dist()?;
    let mut architectures = match (args.all, args.architectures.as_slice()) {
        (true, _) => Architecture::value_variants().to_vec(),
        (_, []) => vec![Architecture::host()?],
        (_, named) => named.to_vec(),
    };
    // This host's architecture last, so that its stage folder remains.
    architectures.sort_by_key(|it| !it.is_foreign());
    architectures.dedup();
    let folder = folder();
    if args.parts.is_empty() && args.architectures.is_empty() && args.programs.is_empty() {
        recreate_folder(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    for architecture in architectures {
        for program in programs(args)? {
            let name = program.name;
            console::progress(&format!("dist: building {name} for {}", architecture.debian()));
            build_artifacts(args, program, architecture)?;
        }
    }
    if args.parts.is_empty() || args.parts.contains(&Part::Image) {
        for program in program::ALL {
            let version = env!("CARGO_PKG_VERSION");
            image::write_multi_arch(program.name, version, epoch()?, &folder)?;
        }
    }
    write_checksums(&folder)?;
    for file in files(&folder)? {
        let bytes = fs::metadata(&file)?.len();
        console::result(&format!("{bytes:>10} {}", file.display()));
    }
    Ok(())
}

/// Returns the programs to package.
fn programs(args: &Args) -> Result<Vec<&'static Program>> {
    match (&args.binary, args.programs.as_slice()) {
        (None, []) => Ok(program::ALL.to_vec()),
        (Some(_), []) => Ok(vec![&program::AGENT]),
        (Some(_), named) if named.len() > 1 => bail!("--binary is of one --program"),
        (_, named) => Ok(named.to_vec()),
    }
}

/// Builds the artifacts of a program for an architecture.
fn build_artifacts(
    args: &Args,
    program: &'static Program,
    architecture: Architecture,
) -> Result<()> {
    let (sysroot, binary) = if architecture.is_foreign() {
        crate::setup::cross(architecture)?;
        let sysroot = Sysroot::libraries(architecture)?;
        (Some(sysroot), build::program_for(program.name, architecture, &args.profile)?)
    } else {
        let build = || build::program(program.name, &args.profile);
        (None, args.binary.clone().map_or_else(build, Ok)?)
    };
    let release = Release {
        program,
        architecture,
        sysroot,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        epoch: epoch()?,
        stage: environment::workspace().join("target").join(program.stage),
        dist: folder(),
    };
    recreate_folder(&release.stage)?;
    let crates = sbom::crates(program.manifests, architecture)?;
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
        sbom::write(&release, &crates)?;
    }
    Ok(())
}

impl Release {
    /// Returns a command that runs the packaged program, in an emulator if needed.
    fn command(&self, program: &Path) -> Result<Command> {
        match &self.sysroot {
            Some(sysroot) => sysroot.command(program),
            None => Ok(Command::new(program)),
        }
    }

    /// Path of the program in the stage folder.
    fn binary(&self) -> PathBuf {
        self.stage.join("usr/bin").join(self.program.name)
    }

    /// Base name of artifacts other than packages.
    fn name(&self) -> String {
        let Self { program, version, architecture, .. } = self;
        format!("{}-{version}-linux-{}", program.name, architecture.machine())
    }
}

/// Builds a program's .rpm of this host's architecture again with a newer revision, from the files of the tarball.
pub fn newer_rpm(program: &Program, folder: &Path) -> Result<PathBuf> {
    let architecture = Architecture::host()?;
    let stage = environment::workspace().join("target").join(program.stage);
    recreate_folder(&stage)?;
    let tarball = find_artifact(program, &format!("linux-{}.tar.gz", architecture.machine()))?;
    let mut unpack = Command::new("tar");
    unpack.args(["--extract", "--strip-components=1", "--no-same-owner", "--file"]);
    shell::output(unpack.arg(tarball).arg("--directory").arg(&stage))?;
    packages::rpm_of(program, architecture, epoch()?, "2", folder)?;
    files(folder)?.pop().context("cargo-generate-rpm made no package")
}

/// Creates an empty folder; removes an existing one.
pub fn recreate_folder(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    Ok(fs::create_dir_all(folder)?)
}

/// Folder of the release artifacts.
pub fn folder() -> PathBuf {
    environment::target().join("dist")
}

/// Returns the program's file in `target/dist` with this ending.
///
/// # Errors
/// If there is none.
pub fn find_artifact(program: &Program, ending: &str) -> Result<PathBuf> {
    let found = files(&folder()).unwrap_or_default();
    let is_wanted = |file: &PathBuf| {
        let file = file.file_name().unwrap_or_default().to_string_lossy();
        // The agent's name is the beginning of the others' names.
        let owners = program::ALL.into_iter().filter(|it| file.starts_with(it.name));
        file.ends_with(ending)
            && owners.max_by_key(|it| it.name.len()).is_some_and(|it| it == program)
    };
    let found = found.into_iter().find(is_wanted);
    found.with_context(|| {
        format!("no {ending} of {} in target/dist: run `cargo xtask dist`", program.name)
    })
}

/// Time of every file in seconds since 1970: `SOURCE_DATE_EPOCH`, or the time of the last commit.
pub fn epoch() -> Result<u64> {
    if let Ok(given) = std::env::var("SOURCE_DATE_EPOCH") {
        return given.parse().context("SOURCE_DATE_EPOCH is not a number of seconds");
    }
    let workspace = environment::workspace();
    let log =
        Command::new("git").current_dir(workspace).args(["log", "-1", "--format=%ct"]).output();
    let time = log.ok().and_then(|log| String::from_utf8(log.stdout).ok());
    time.and_then(|time| time.trim().parse().ok())
        .context("there is no commit: set SOURCE_DATE_EPOCH")
}

/// Returns the entries of a folder, sorted.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

/// Writes `SHA256SUMS` in the format of `sha256sum --check`.
pub fn write_checksums(folder: &Path) -> Result<()> {
    let mut lines = String::new();
    let artifacts = files(folder)?.into_iter().map(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (file, name)
    });
    // Not those of earlier checksums and their signature.
    for (file, name) in artifacts.filter(|(_, name)| !name.starts_with("SHA256SUMS")) {
        writeln!(lines, "{}  {name}", sha256_hex(&fs::read(&file)?))?;
    }
    fs::write(folder.join("SHA256SUMS"), lines)?;
    Ok(())
}

/// Returns the SHA-256 digest in hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    let digits = openssl::sha::sha256(bytes).into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

/// Installs a cargo subcommand that builds packages, unless this version is installed.
fn install_cargo_tool(name: &str, version: &str, words: &[&str]) -> Result<()> {
    let is_installed = first_line("cargo", words).is_some_and(|line| line.contains(version));
    if !is_installed {
        console::progress(&format!("dist: building {name} {version} (once, some minutes)"));
        let mut install = crate::process::install_tool(name, version);
        // These tools compress files, so optimising them pays off.
        install.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "2");
        shell::pass_through(&mut install).with_context(|| format!("cannot install {name}"))?;
    }
    Ok(())
}
