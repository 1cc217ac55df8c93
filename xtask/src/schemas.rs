//! The folder `schemas`: the output of `dnscribe schema`, two files per record schema.

use crate::build;
use anyhow::{Context as _, Result, bail};
use dnscribe_tests::{environment, shell};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compares the files with the output of the agent, which is built with the features that it has among `packages`.
///
/// # Errors
/// If a file is stale, missing, or has no schema; the error names all of them.
pub fn check(packages: &[&str]) -> Result<()> {
    let printed = printed(packages)?;
    let stored = stored()?;
    let stale: Vec<&str> = printed
        .keys()
        .chain(stored.keys())
        .filter(|name| printed.get(*name) != stored.get(*name))
        .map(String::as_str)
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    if !stale.is_empty() {
        bail!(
            "schemas differ from the code (rewrite them with `cargo xtask bless`): {}",
            stale.join(", ")
        );
    }
    Ok(())
}

/// Rewrites the files from the output of the code.
pub fn write(packages: &[&str]) -> Result<()> {
    let printed = printed(packages)?;
    fs::create_dir_all(folder())?;
    for name in stored()?.keys().filter(|name| !printed.contains_key(*name)) {
        fs::remove_file(folder().join(name))?;
    }
    for (name, text) in printed {
        fs::write(folder().join(name), text)?;
    }
    Ok(())
}

/// File extension of each format, and the flags of `dnscribe schema` for it.
const KINDS: [(&str, &[&str]); 2] = [("json", &[]), ("avsc", &["--avro"])];

/// Returns the schemas that the code prints, by file name: `dns.transaction/1` is in `dns.transaction-1.json` and
/// `dns.transaction-1.avsc`.
fn printed(packages: &[&str]) -> Result<BTreeMap<String, Vec<u8>>> {
    let binary = build::beside_tests(packages)?;
    let mut printed = BTreeMap::new();
    for (ending, words) in KINDS {
        let list = shell::output(Command::new(&binary).arg("schema").args(words))?;
        let list = String::from_utf8(list.stdout).context("the list of schemas")?;
        for name in list.lines().filter_map(|line| line.split_whitespace().next()) {
            let mut print = Command::new(&binary);
            let schema = shell::output(print.args(["schema", name]).args(words))?.stdout;
            printed.insert(format!("{}.{ending}", name.replace('/', "-")), schema);
        }
    }
    if printed.is_empty() {
        bail!("`dnscribe schema` lists no schema");
    }
    Ok(printed)
}

/// Returns the files of the folder, by name.
fn stored() -> Result<BTreeMap<String, Vec<u8>>> {
    let folder = folder();
    let mut stored = BTreeMap::new();
    let entries =
        fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let file = entry?.path();
        let ours = KINDS.iter().any(|(ending, _)| file.extension() == Some(OsStr::new(ending)));
        if ours && let Some(name) = file.file_name().and_then(OsStr::to_str) {
            stored.insert(name.to_owned(), fs::read(&file)?);
        }
    }
    Ok(stored)
}

fn folder() -> PathBuf {
    Path::new(&environment::workspace()).join("schemas")
}
