//! What the binary is made from: the bill of materials (`CycloneDX`) and the licences of others.

use super::{Release, digest};
use crate::architecture::Architecture;
use crate::process::cargo;
use anyhow::{Context as _, Result, bail};
use dnscribe_tests::{environment, shell};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A crate that is part of the agent or of its programs.
pub struct Crate {
    name: String,
    version: String,
    licence: String,
    /// From a registry, not from this repository.
    foreign: bool,
    folder: PathBuf,
}

/// How the names of files with licences begin.
const LICENCES: [&str; 5] = ["license", "licence", "copying", "notice", "copyright"];

/// All that the agent and its eBPF programs are made from, by name.
pub fn crates(architecture: Architecture) -> Result<Vec<Crate>> {
    let mut found = BTreeMap::new();
    for (manifest, root) in [("Cargo.toml", "dnscribe"), ("agent-ebpf/Cargo.toml", "dnscribe-ebpf")]
    {
        let mut ask = cargo();
        ask.args(["metadata", "--format-version", "1", "--locked", "--manifest-path", manifest]);
        if root == "dnscribe" {
            ask.args(["--filter-platform", architecture.triple()]);
        }
        let told: Value = serde_json::from_slice(&shell::output(&mut ask)?.stdout)?;
        for one in linked(&told, root)? {
            found.insert((one.name.clone(), one.version.clone()), one);
        }
    }
    Ok(found.into_values().collect())
}

/// What a package links, from cargo's description of its workspace.
fn linked(told: &Value, root: &str) -> Result<Vec<Crate>> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages = list(&told["packages"]);
    let start =
        packages.iter().find(|package| package["name"] == root && package["source"].is_null());
    let start = start.with_context(|| format!("cargo metadata knows no {root}"))?;
    let nodes: BTreeMap<String, Vec<Value>> = list(&told["resolve"]["nodes"])
        .iter()
        .map(|node| (text(&node["id"]), list(&node["deps"])))
        .collect();
    let mut reached = BTreeSet::new();
    let mut todo = vec![text(&start["id"])];
    while let Some(id) = todo.pop() {
        for needed in nodes.get(&id).into_iter().flatten() {
            // Not what only builds or tests it: of a normal dependency the kind is null.
            if list(&needed["dep_kinds"]).iter().any(|kind| kind["kind"].is_null()) {
                todo.push(text(&needed["pkg"]));
            }
        }
        if !reached.insert(id) {
            todo.retain(|id| !reached.contains(id));
        }
    }
    let known = packages.iter().filter(|package| reached.contains(&text(&package["id"])));
    Ok(known
        .map(|package| Crate {
            name: text(&package["name"]),
            version: text(&package["version"]),
            licence: text(&package["license"]),
            foreign: !package["source"].is_null(),
            folder: Path::new(&text(&package["manifest_path"])).with_file_name(""),
        })
        .collect())
}

/// The licences of everything of others, each text once.
pub fn licences(crates: &[Crate]) -> Result<String> {
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut list = String::from("dnscribe is made from these crates of others:\n\n");
    for one in crates.iter().filter(|one| one.foreign) {
        if one.licence.is_empty() {
            bail!("{} {} does not say its licence", one.name, one.version);
        }
        writeln!(list, "  {} {}: {}", one.name, one.version, one.licence)?;
        for text in texts_of(&one.folder)? {
            texts.entry(text).or_default().push(format!("{} {}", one.name, one.version));
        }
    }
    for (text, users) in texts {
        let users = users.join(", ");
        writeln!(list, "\n{}\n{users}\n\n{}", "=".repeat(78), text.trim_end())?;
    }
    Ok(list)
}

/// The licences in a crate's folder, and one below: those of the C sources that it brings.
fn texts_of(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    folders.extend(super::files(folder)?.into_iter().filter(|path| path.is_dir()));
    for file in
        folders.iter().map(|folder| super::files(folder)).collect::<Result<Vec<_>>>()?.concat()
    {
        let name = file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        if file.is_file() && LICENCES.iter().any(|begin| name.starts_with(begin)) {
            found.push(String::from_utf8_lossy(&fs::read(&file)?).into_owned());
        }
    }
    Ok(found)
}

/// The bill of materials, as `CycloneDX` 1.5.
pub fn write(release: &Release, crates: &[Crate]) -> Result<()> {
    let binary = fs::read(release.stage.join("usr/bin/dnscribe"))?;
    let lock = fs::read_to_string(environment::workspace().join("Cargo.lock"))?;
    let reference = |one: &Crate| format!("pkg:cargo/{}@{}", one.name, one.version);
    let components: Vec<Value> = crates
        .iter()
        .filter(|one| one.foreign)
        .map(|one| {
            let mut component = json!({
                "type": "library", "bom-ref": reference(one), "name": one.name,
                "version": one.version, "purl": reference(one),
                "licenses": [{ "expression": one.licence.replace('/', " OR ") }],
            });
            if let Some(sum) = checksum(&lock, &one.name, &one.version) {
                component["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
            }
            component
        })
        .collect();
    let bill = json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": { "component": {
            "type": "application", "bom-ref": "dnscribe", "name": "dnscribe",
            "version": release.version, "licenses": [{ "expression": "MIT OR Apache-2.0" }],
            "hashes": [{ "alg": "SHA-256", "content": digest(&binary) }],
        } },
        "components": components,
    });
    let name = format!("{}.cdx.json", release.name());
    fs::write(release.dist.join(name), format!("{bill:#}\n"))?;
    Ok(())
}

/// What `Cargo.lock` says a crate's archive hashes to.
fn checksum<'a>(lock: &'a str, name: &str, version: &str) -> Option<&'a str> {
    let head = format!("name = \"{name}\"\nversion = \"{version}\"");
    let package = lock.split("\n\n").find(|package| package.contains(&head))?;
    package.lines().find_map(|line| line.strip_prefix("checksum = \"")?.strip_suffix('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_linked_counts() {
        let normal = json!([{ "kind": null }]);
        let package = |name: &str, source: Value| {
            json!({ "id": name, "name": name, "version": "1.0.0", "license": "MIT",
                "source": source, "manifest_path": "/nowhere/Cargo.toml" })
        };
        let told = json!({
            "packages": [package("ours", Value::Null), package("used", json!("registry")),
                package("deep", json!("registry")), package("tests", json!("registry"))],
            "resolve": { "nodes": [
                { "id": "ours", "deps": [{ "pkg": "used", "dep_kinds": normal },
                    { "pkg": "tests", "dep_kinds": [{ "kind": "dev" }] }] },
                { "id": "used", "deps": [{ "pkg": "deep", "dep_kinds": normal },
                    { "pkg": "ours", "dep_kinds": normal }] },
                { "id": "deep", "deps": [] }, { "id": "tests", "deps": [] } ] },
        });
        let names: Vec<(String, bool)> =
            linked(&told, "ours").unwrap().into_iter().map(|one| (one.name, one.foreign)).collect();
        let expected = [("ours", false), ("used", true), ("deep", true)];
        assert_eq!(names, expected.map(|(name, foreign)| (name.to_owned(), foreign)));
        assert!(linked(&told, "nothing").is_err());
    }

    #[test]
    fn checksums_are_those_of_the_lock_file() {
        let lock = "name = \"a\"\nversion = \"1\"\nchecksum = \"ab\"\n\nname = \"b\"\nversion = \"1\"\n\n\
                    name = \"c\"\nversion = \"1\"\nchecksum = \"ef\"\n";
        assert_eq!(checksum(lock, "a", "1"), Some("ab"));
        assert_eq!((checksum(lock, "b", "1"), checksum(lock, "a", "2")), (None, None));
    }
}
