//! Packages from Debian's archive for other releases and architectures than this host's. apt-get runs with a
//! separate state folder and checks signatures.

pub mod sysroot;

use crate::architecture::Architecture;
use crate::setup::KEYRING;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The apt programs with a separate state folder.
#[derive(Debug)]
pub struct Apt {
    folder: PathBuf,
    options: Vec<String>,
}

impl Apt {
    /// Creates the state in `folder`. `sources` lists parts of the archive, such as `debian-security`, each with
    /// a suite.
    pub fn new(
        folder: &Path,
        sources: &[(&str, &str)],
        architecture: Architecture,
    ) -> Result<Self> {
        for name in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(name))?;
        }
        let list = folder.join("sources.list");
        // The archive stops renewing the date of releases that no longer change.
        let options = format!("signed-by={KEYRING} check-valid-until=no");
        let line = |(part, suite): &(&str, &str)| {
            format!("deb [{options}] http://deb.debian.org/{part} {suite} main\n")
        };
        fs::write(&list, sources.iter().map(line).collect::<String>())?;
        let path = |name: &str| folder.join(name).display().to_string();
        let options = vec![
            format!("Dir::Etc::SourceList={}", list.display()),
            "Dir::Etc::SourceParts=/dev/null".into(),
            "Dir::State::Status=/dev/null".into(),
            format!("Dir::State::Lists={}", path("lists")),
            format!("Dir::Cache={}", path("cache")),
            format!("APT::Architecture={}", architecture.debian()),
            format!("APT::Architectures::={}", architecture.debian()),
            "Acquire::Languages=none".into(),
            "Acquire::http::Timeout=30".into(),
            // apt's sandbox user cannot write to this folder.
            "APT::Sandbox::User=root".into(),
        ];
        Ok(Self { folder: folder.to_path_buf(), options })
    }

    /// Returns a command that runs one of apt's programs with this state.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder);
        for option in &self.options {
            command.args(["-o", option]);
        }
        command
    }
}

/// Returns the entries of a folder.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// Whether a file has the extension `wanted`.
pub fn has_extension(file: &Path, wanted: &str) -> bool {
    file.extension().is_some_and(|extension| extension == wanted)
}
