//! Direction of imports: a module may only use modules that the `lib.rs` of its crate lists above it. The list is in the order
//! of the data flow. And the wall between packages: what runs as root depends on nothing that only reads records.

use crate::process::cargo;
use anyhow::{Context as _, Result, bail, ensure};
use dnscribe_tests::{environment, shell};
use std::fs;
use std::path::Path;

/// Crates whose modules stand in the order of the flow.
const CRATES: [&str; 5] = ["agent", "crates/analysis", "crates/transaction", "kpi", "probe"];

/// Package of what runs as root.
const AGENT: &str = "dnscribe-agent";

/// Packages that it does not depend on, through others neither: the program, its screens, reports and verification, and what
/// only those need.
const REFUSED: [&str; 8] = [
    "dnscribe",
    "dnscribe-report",
    "dnscribe-verify",
    "dnscribe-view",
    "maud",
    "postgres-openssl",
    "ratatui",
    "tokio-postgres",
];

/// Checks every source file of these crates, and what the agent depends on.
pub fn check() -> Result<()> {
    let mut wrong = Vec::new();
    for name in CRATES {
        wrong.extend(check_crate(&environment::workspace().join(name).join("src"))?);
    }
    if !wrong.is_empty() {
        bail!("imports against the order in lib.rs:\n{}", wrong.join("\n"));
    }
    check_wall()
}

fn check_wall() -> Result<()> {
    let mut tree = cargo();
    tree.args(["tree", "--package", AGENT, "--edges", "normal", "--prefix", "none"]);
    let tree = String::from_utf8(shell::output(&mut tree)?.stdout)?;
    ensure!(tree.starts_with(AGENT), "cargo lists no dependencies of {AGENT}");
    let found = refused(&tree);
    ensure!(found.is_empty(), "{AGENT} runs as root and depends on {}", found.join(", "));
    Ok(())
}

/// Returns the refused packages in a list with one package a line.
fn refused(tree: &str) -> Vec<&'static str> {
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    REFUSED.into_iter().filter(|refused| names.contains(refused)).collect()
}

/// Returns a sentence for each import against the order in a crate with these sources.
fn check_crate(sources: &Path) -> Result<Vec<String>> {
    let list = sources.join("lib.rs");
    let list = fs::read_to_string(&list).with_context(|| list.display().to_string())?;
    let order = modules(&list);
    let mut wrong = Vec::new();
    for file in super::files(sources, "rs")? {
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let Some(module) = module_of(sources, &file) else { continue };
        for (line, target) in backward_imports(&order, &module, &text) {
            let place = file.strip_prefix(environment::workspace()).unwrap_or(&file).display();
            wrong.push(format!(
                "{place}:{line}: `{module}` uses `{target}`, which lib.rs lists below it"
            ));
        }
    }
    Ok(wrong)
}

/// Returns the modules that a `lib.rs` declares, in its order.
fn modules(list: &str) -> Vec<String> {
    let declared = |line: &str| {
        let line = line.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
        Some(line.strip_prefix("mod ")?.strip_suffix(';')?.to_owned())
    };
    list.lines().filter_map(declared).collect()
}

/// Top-level module of a file; `None` for `lib.rs`, `main.rs` and tests.
fn module_of(sources: &Path, file: &Path) -> Option<String> {
    let inner = file.strip_prefix(sources).ok()?;
    let is_test = |part: &Path| part.ends_with("tests") || part.ends_with("tests.rs");
    let first = Path::new(inner.components().next()?.as_os_str());
    let name = first.file_stem()?.to_str()?;
    (name != "lib" && name != "main" && !inner.ancestors().any(is_test)).then(|| name.to_owned())
}

/// Returns line number and target of each import of a later module. Tests at the end of a file may use all
/// modules.
fn backward_imports(order: &[String], module: &str, text: &str) -> Vec<(usize, String)> {
    let place = |name: &str| order.iter().position(|known| known == name);
    let Some(own) = place(module) else { return Vec::new() };
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line == "#[cfg(test)]" {
            break;
        }
        let code = line.split("//").next().unwrap_or_default();
        for used in code.split("crate::").skip(1) {
            let name: String =
                used.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            if place(&name).is_some_and(|other| other > own) {
                found.push((number + 1, name));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_depends_on_nothing_that_only_reads_records() {
        check_wall().unwrap();
        let tree = "dnscribe-agent v0.1.0 (/a)\ndnscribe-view v0.1.0 (/b)\nratatui-core v0.1.0\n";
        assert_eq!(refused(tree), ["dnscribe-view"]);
    }

    #[test]
    fn finds_imports_against_the_flow() {
        let order = modules("//! Head.\npub mod first;\nmod second;\npub(crate) mod third;\n");
        assert_eq!(order, ["first", "second", "third"]);
        let text = "use crate::first::A;\nuse crate::third::B;\n// crate::third\n#[cfg(test)]\nuse crate::third::C;\n";
        assert_eq!(backward_imports(&order, "second", text), [(2, "third".to_owned())]);
        assert!(backward_imports(&order, "third", text).is_empty());
    }
}
