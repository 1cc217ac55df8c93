//! The folder `schemas`: the output of `dnscribe schema`, two files per record schema; and the page with all their fields.

mod page;

use crate::build;
use anyhow::{Context as _, Result, bail};
use dnscribe_tests::{environment, shell};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
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
            "these files differ from the code (rewrite them with `cargo xtask bless`): {}",
            stale.join(", ")
        );
    }
    Ok(())
}

/// Rewrites the files from the output of the code.
pub fn write(packages: &[&str]) -> Result<()> {
    let printed = printed(packages)?;
    let workspace = environment::workspace();
    fs::create_dir_all(workspace.join(FOLDER))?;
    for name in stored()?.keys().filter(|name| !printed.contains_key(*name)) {
        fs::remove_file(workspace.join(name))?;
    }
    for (name, text) in printed {
        fs::write(workspace.join(name), text)?;
    }
    Ok(())
}

/// File extension of each format, and the flags of `dnscribe schema` for it.
const KINDS: [(&str, &[&str]); 2] = [("json", &[]), ("avsc", &["--avro"])];

/// Folder of the schemas, and the page, in the workspace.
const FOLDER: &str = "schemas";
const PAGE: &str = "docs/fields.md";

/// Returns the schemas that the code prints, and the page made of them, by file: `dns.transaction/1` is in
/// `schemas/dns.transaction-1.json` and `schemas/dns.transaction-1.avsc`.
fn printed(packages: &[&str]) -> Result<BTreeMap<String, Vec<u8>>> {
    let binary = build::beside_tests(packages)?;
    let (mut printed, mut json) = (BTreeMap::new(), BTreeMap::new());
    for (ending, words) in KINDS {
        let list = shell::output(Command::new(&binary).arg("schema").args(words))?;
        let list = String::from_utf8(list.stdout).context("the list of schemas")?;
        for name in list.lines().filter_map(|line| line.split_whitespace().next()) {
            let mut print = Command::new(&binary);
            let schema = shell::output(print.args(["schema", name]).args(words))?.stdout;
            if words.is_empty() {
                json.insert(name.to_owned(), serde_json::from_slice(&schema)?);
            }
            printed.insert(format!("{FOLDER}/{}.{ending}", name.replace('/', "-")), schema);
        }
    }
    if printed.is_empty() {
        bail!("`dnscribe schema` lists no schema");
    }
    printed.insert(PAGE.to_owned(), page::page(&json).into_bytes());
    Ok(printed)
}

/// Returns the files that are there.
fn stored() -> Result<BTreeMap<String, Vec<u8>>> {
    let workspace = environment::workspace();
    let folder = workspace.join(FOLDER);
    let mut stored = BTreeMap::new();
    let entries =
        fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let file = entry?.path();
        let ours = KINDS.iter().any(|(ending, _)| file.extension() == Some(OsStr::new(ending)));
        if ours && let Some(name) = file.file_name().and_then(OsStr::to_str) {
            stored.insert(format!("{FOLDER}/{name}"), fs::read(&file)?);
        }
    }
    if let Ok(page) = fs::read(workspace.join(PAGE)) {
        stored.insert(PAGE.to_owned(), page);
    }
    Ok(stored)
}
