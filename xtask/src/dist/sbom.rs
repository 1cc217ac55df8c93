//! Dependencies of the binary: the bill of materials (`CycloneDX`) and the licence texts of third parties.

use super::{Release, sha256_hex};
use crate::architecture::Architecture;
use crate::process::cargo;
use anyhow::{Context as _, Result, bail};
use dnscribe_tests::{environment, shell};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A crate that is linked into a program.
pub struct Crate {
    name: String,
    version: String,
    licence: String,
    /// Whether it comes from a registry, not from this repository.
    is_third_party: bool,
    folder: PathBuf,
}

/// Beginnings of the names of licence files.
const LICENCES: [&str; 5] = ["license", "licence", "copying", "notice", "copyright"];

/// Returns the crates that are linked into packages, by name. Each package is given with the manifest of its workspace.
pub fn crates(packages: &[(&str, &str)], architecture: Architecture) -> Result<Vec<Crate>> {
    let mut found = BTreeMap::new();
    for &(manifest, root) in packages {
        let mut command = cargo();
        command.args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--manifest-path",
            manifest,
        ]);
        if manifest == "Cargo.toml" {
            command.args(["--filter-platform", architecture.triple()]);
        }
        let metadata: Value = serde_json::from_slice(&shell::output(&mut command)?.stdout)?;
        for package in linked(&metadata, root)? {
            found.insert((package.name.clone(), package.version.clone()), package);
        }
    }
    Ok(found.into_values().collect())
}

/// Returns the crates that a package links, from the output of `cargo metadata`.
fn linked(metadata: &Value, root: &str) -> Result<Vec<Crate>> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages = list(&metadata["packages"]);
    let start =
        packages.iter().find(|package| package["name"] == root && package["source"].is_null());
    let start = start.with_context(|| format!("cargo metadata has no package {root}"))?;
    let nodes: BTreeMap<String, Vec<Value>> = list(&metadata["resolve"]["nodes"])
        .iter()
        .map(|node| (text(&node["id"]), list(&node["deps"])))
        .collect();
    let mut reached = BTreeSet::new();
    let mut todo = vec![text(&start["id"])];
    while let Some(id) = todo.pop() {
        for needed in nodes.get(&id).into_iter().flatten() {
            // Without build and dev dependencies: the kind of a normal dependency is null.
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
            is_third_party: !package["source"].is_null(),
            folder: Path::new(&text(&package["manifest_path"])).with_file_name(""),
        })
        .collect())
}

/// Returns the licences of third-party crates, each text once.
pub fn licences(program: &str, crates: &[Crate]) -> Result<String> {
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut list = format!("{program} contains these third-party crates:\n\n");
    for package in crates.iter().filter(|package| package.is_third_party) {
        if package.licence.is_empty() {
            bail!("{} {} does not name its licence", package.name, package.version);
        }
        writeln!(list, "  {} {}: {}", package.name, package.version, package.licence)?;
        for text in licence_texts(&package.folder)? {
            texts.entry(text).or_default().push(format!("{} {}", package.name, package.version));
        }
    }
    for (text, users) in texts {
        let users = users.join(", ");
        writeln!(list, "\n{}\n{users}\n\n{}", "=".repeat(78), text.trim_end())?;
    }
    Ok(list)
}

/// Returns the licence texts in a crate's folder and in the folders directly below it, which may hold C sources.
fn licence_texts(folder: &Path) -> Result<Vec<String>> {
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

/// Writes the bill of materials as `CycloneDX` 1.5.
pub fn write(release: &Release, crates: &[Crate]) -> Result<()> {
    let binary = fs::read(release.binary())?;
    let lock = fs::read_to_string(environment::workspace().join("Cargo.lock"))?;
    let reference = |package: &Crate| format!("pkg:cargo/{}@{}", package.name, package.version);
    let components: Vec<Value> = crates
        .iter()
        .filter(|package| package.is_third_party)
        .map(|package| {
            let mut component = json!({
                "type": "library", "bom-ref": reference(package), "name": package.name,
                "version": package.version, "purl": reference(package),
                "licenses": [{ "expression": package.licence.replace('/', " OR ") }],
            });
            if let Some(sum) = checksum(&lock, &package.name, &package.version) {
                component["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
            }
            component
        })
        .collect();
    let bill = json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": { "component": {
            "type": "application", "bom-ref": release.program.name, "name": release.program.name,
            "version": release.version, "licenses": [{ "expression": "MIT OR Apache-2.0" }],
            "hashes": [{ "alg": "SHA-256", "content": sha256_hex(&binary) }],
        } },
        "components": components,
    });
    let name = format!("{}.cdx.json", release.name());
    fs::write(release.dist.join(name), format!("{bill:#}\n"))?;
    Ok(())
}

/// Returns the checksum of a crate in `Cargo.lock`.
fn checksum<'a>(lock: &'a str, name: &str, version: &str) -> Option<&'a str> {
    let head = format!("name = \"{name}\"\nversion = \"{version}\"");
    let package = lock.split("\n\n").find(|package| package.contains(&head))?;
    package.lines().find_map(|line| line.strip_prefix("checksum = \"")?.strip_suffix('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_linked_crates_only() {
        let normal = json!([{ "kind": null }]);
        let package = |name: &str, source: Value| {
            json!({ "id": name, "name": name, "version": "1.0.0", "license": "MIT",
                "source": source, "manifest_path": "/nowhere/Cargo.toml" })
        };
        let metadata = json!({
            "packages": [package("ours", Value::Null), package("used", json!("registry")),
                package("deep", json!("registry")), package("tests", json!("registry"))],
            "resolve": { "nodes": [
                { "id": "ours", "deps": [{ "pkg": "used", "dep_kinds": normal },
                    { "pkg": "tests", "dep_kinds": [{ "kind": "dev" }] }] },
                { "id": "used", "deps": [{ "pkg": "deep", "dep_kinds": normal },
                    { "pkg": "ours", "dep_kinds": normal }] },
                { "id": "deep", "deps": [] }, { "id": "tests", "deps": [] } ] },
        });
        let names: Vec<(String, bool)> = linked(&metadata, "ours")
            .unwrap()
            .into_iter()
            .map(|package| (package.name, package.is_third_party))
            .collect();
        let expected = [("ours", false), ("used", true), ("deep", true)];
        assert_eq!(names, expected.map(|(name, is_third_party)| (name.to_owned(), is_third_party)));
        assert!(linked(&metadata, "nothing").is_err());
    }

    #[test]
    fn reads_checksums_of_lock_file() {
        let lock = "name = \"a\"\nversion = \"1\"\nchecksum = \"ab\"\n\nname = \"b\"\nversion = \"1\"\n\n\
                    name = \"c\"\nversion = \"1\"\nchecksum = \"ef\"\n";
        assert_eq!(checksum(lock, "a", "1"), Some("ab"));
        assert_eq!((checksum(lock, "b", "1"), checksum(lock, "a", "2")), (None, None));
    }
}
