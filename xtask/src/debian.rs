//! Packages of Debian's archive, for other releases and architectures than this host's. apt-get is given
//! a state of its own for that, and checks signatures.

pub mod sysroot;

use crate::architecture::Architecture;
use crate::setup::KEYRING;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// apt-get with a state of its own.
#[derive(Debug)]
pub struct Apt {
    folder: PathBuf,
    options: Vec<String>,
}

impl Apt {
    /// One that keeps its state in a folder. `sources`: parts of the archive, such as `debian-security`,
    /// with a suite of theirs.
    pub fn new(
        folder: &Path,
        sources: &[(&str, &str)],
        architecture: Architecture,
    ) -> Result<Self> {
        for made in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(made))?;
        }
        let list = folder.join("sources.list");
        // What the archive no longer changes, it no longer dates either.
        let options = format!("signed-by={KEYRING} check-valid-until=no");
        let line = |(part, suite): &(&str, &str)| {
            format!("deb [{options}] http://deb.debian.org/{part} {suite} main\n")
        };
        fs::write(&list, sources.iter().map(line).collect::<String>())?;
        let shown = |name: &str| folder.join(name).display().to_string();
        let options = vec![
            format!("Dir::Etc::SourceList={}", list.display()),
            "Dir::Etc::SourceParts=/dev/null".into(),
            "Dir::State::Status=/dev/null".into(),
            format!("Dir::State::Lists={}", shown("lists")),
            format!("Dir::Cache={}", shown("cache")),
            format!("APT::Architecture={}", architecture.debian()),
            format!("APT::Architectures::={}", architecture.debian()),
            "Acquire::Languages=none".into(),
            "Acquire::http::Timeout=30".into(),
            // The user that apt would take cannot write here.
            "APT::Sandbox::User=root".into(),
        ];
        Ok(Self { folder: folder.to_path_buf(), options })
    }

    /// A program of apt's, with this state.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder);
        for option in &self.options {
            command.args(["-o", option]);
        }
        command
    }
}

/// The entries of a folder.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// Whether a file's name ends so.
pub fn has_extension(file: &Path, wanted: &str) -> bool {
    file.extension().is_some_and(|extension| extension == wanted)
}
