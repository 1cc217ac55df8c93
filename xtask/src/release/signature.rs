//! The signature of the checksums, by minisign.

use super::provenance;
use crate::{console, dist, setup};
use anyhow::{Context as _, Result};
use dnscribe_tests::shell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// File with the checksums of all others.
const SUMS: &str = "SHA256SUMS";
/// Public key of a dry run. That of releases is published elsewhere.
const PUBLIC: &str = "SHA256SUMS.dry-run.pub";

/// Writes the checksums and signs them; without a key, with one that is thrown away.
pub fn sign(folder: &Path, key: Option<&Path>) -> Result<()> {
    setup::release()?;
    dist::write_checksums(folder)?;
    let scratch = tempfile::tempdir()?;
    let public = folder.join(PUBLIC);
    let key = match key {
        Some(key) => {
            // It must not be taken for that of the release.
            let _ = fs::remove_file(&public);
            // minisign works in the folder.
            std::path::absolute(key)?
        }
        None => new_key(scratch.path(), &public)?,
    };
    // With a comment of its own: the default has the present time.
    let comment = format!("dnscribe {}", env!("CARGO_PKG_VERSION"));
    let mut minisign = Command::new("minisign");
    minisign.args(["-S", "-m", SUMS, "-t", &comment, "-s"]).arg(key).current_dir(folder);
    shell::output(&mut minisign).map(drop)
}

/// Makes a key pair. Returns the path of the secret key.
fn new_key(folder: &Path, public: &Path) -> Result<PathBuf> {
    let secret = folder.join("secret");
    let mut minisign = Command::new("minisign");
    shell::output(minisign.args(["-G", "-W", "-f", "-p"]).arg(public).arg("-s").arg(&secret))?;
    Ok(secret)
}

/// Checks signature, checksums and statement with the commands of the page for users.
pub fn verify(folder: &Path) -> Result<()> {
    setup::release()?;
    let run = |words: &[&str]| {
        let mut command = Command::new(words[0]);
        shell::output(command.args(&words[1..]).current_dir(folder)).map(drop)
    };
    if folder.join(PUBLIC).exists() {
        run(&["minisign", "-V", "-m", SUMS, "-p", PUBLIC])?;
    } else {
        console::result("release: verify the signature with the public key that is published");
    }
    run(&["sha256sum", "--check", "--quiet", "--strict", SUMS]).context("checksums")?;
    provenance::verify(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_artifacts_are_refused() {
        if shell::which("minisign").is_none() {
            dnscribe_tests::environment::skip(
                "minisign is missing; `cargo xtask setup --test` installs it",
            );
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let artifact = folder.path().join("dnscribe.deb");
        fs::write(&artifact, "package").unwrap();
        provenance::write(folder.path(), "release").unwrap();
        sign(folder.path(), None).unwrap();
        verify(folder.path()).unwrap();
        let sums = fs::read_to_string(folder.path().join(SUMS)).unwrap();
        assert_eq!(sums.lines().count(), 2, "{sums}");
        fs::write(&artifact, "another").unwrap();
        let error = format!("{:#}", verify(folder.path()).unwrap_err());
        assert!(error.contains("checksums"), "{error}");
        // With checksums that fit.
        dist::write_checksums(folder.path()).unwrap();
        let error = format!("{:#}", verify(folder.path()).unwrap_err());
        assert!(error.contains("ignature verification failed"), "{error}");
    }
}
