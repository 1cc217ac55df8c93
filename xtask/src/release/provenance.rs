//! Where the artifacts come from, as a statement of in-toto with SLSA's provenance.

use super::artifacts;
use super::versions::git;
use crate::dist::{epoch, sha256_hex};
use crate::process::first_line;
use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::{environment, shell};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Where releases are described.
const BUILD_TYPE: &str = "https://github.com/dnscribe/dnscribe/blob/main/docs/release.md";

/// Name of the statement.
pub fn name() -> String {
    format!("dnscribe-{}.intoto.json", env!("CARGO_PKG_VERSION"))
}

/// Whether a file of the folder is an artifact that the statement is about.
fn is_subject(name: &str) -> bool {
    !name.starts_with("SHA256SUMS") && name != self::name()
}

/// Writes the statement.
pub fn write(folder: &Path, profile: &str) -> Result<()> {
    let subjects = artifacts(folder, is_subject)?;
    let subjects: Vec<Value> = subjects
        .iter()
        .map(|(name, bytes)| json!({ "name": name, "digest": { "sha256": sha256_hex(bytes) } }))
        .collect();
    let text = |words: &[&str]| -> Result<String> {
        Ok(String::from_utf8(shell::output(git().args(words))?.stdout)?.trim().to_owned())
    };
    let is_changed = !text(&["status", "--porcelain"])?.is_empty();
    let tool = |program: &str, words: &[&str]| {
        first_line(program, words).unwrap_or_else(|| "unknown".to_owned())
    };
    let mut dependencies = vec![json!({
        "uri": "git+https://github.com/dnscribe/dnscribe",
        "digest": { "gitCommit": text(&["rev-parse", "HEAD"])? },
        // A statement of a dry run says so.
        "annotations": { "changed": is_changed },
    })];
    for lock in ["Cargo.lock", "agent-ebpf/Cargo.lock"] {
        let bytes =
            fs::read(environment::workspace().join(lock)).with_context(|| lock.to_owned())?;
        dependencies.push(json!({ "name": lock, "digest": { "sha256": sha256_hex(&bytes) } }));
    }
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": { "profile": profile, "SOURCE_DATE_EPOCH": epoch()? },
                "resolvedDependencies": dependencies,
            },
            "runDetails": {
                "builder": {
                    "id": BUILD_TYPE,
                    "version": {
                        "rustc": tool("rustc", &["--version"]),
                        "cc": tool("cc", &["--version"]),
                        "bpf-linker": tool("bpf-linker", &["--version"]),
                        "libc": tool("ldd", &["--version"]),
                    },
                },
            },
        },
    });
    fs::write(folder.join(name()), format!("{statement:#}\n"))?;
    Ok(())
}

/// Checks that the statement has each artifact with its digest, and nothing else.
pub fn verify(folder: &Path) -> Result<()> {
    let text = fs::read_to_string(folder.join(name()))
        .context("no statement: run the step `provenance`")?;
    let statement: Value = serde_json::from_str(&text)?;
    let mut stated: Vec<(String, String)> = Vec::new();
    for subject in statement["subject"].as_array().context("no subjects")? {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        stated.push((word(&subject["name"]), word(&subject["digest"]["sha256"])));
    }
    let own = artifacts(folder, is_subject)?.into_iter();
    let own: Vec<(String, String)> = own.map(|(name, bytes)| (name, sha256_hex(&bytes))).collect();
    ensure!(stated == own, "the statement is about other artifacts: {stated:?}, not {own:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statement_is_of_these_bytes_only() {
        let folder = tempfile::tempdir().unwrap();
        let artifact = folder.path().join("dnscribe.deb");
        fs::write(&artifact, "package").unwrap();
        write(folder.path(), "release").unwrap();
        verify(folder.path()).unwrap();
        let first = fs::read(folder.path().join(name())).unwrap();
        write(folder.path(), "release").unwrap();
        assert_eq!(fs::read(folder.path().join(name())).unwrap(), first);
        fs::write(&artifact, "another").unwrap();
        assert!(verify(folder.path()).is_err());
        fs::write(&artifact, "package").unwrap();
        fs::write(folder.path().join("more.rpm"), "").unwrap();
        assert!(verify(folder.path()).is_err());
    }
}
