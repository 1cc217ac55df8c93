//! `lint`: checks format, clippy, the documentation of the code, licences, links, the direction of imports, the style of
//! comments and names, and that the schemas match the code.

mod flow;
mod links;
mod style;

use crate::process::{cargo, first_line, install_tool, run_bounded};
use crate::{console, schemas, test};
use anyhow::{Context as _, Result, bail};
use dnscribe_tests::{environment, shell};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Version of cargo-deny that `lint` runs.
const DENY_VERSION: &str = "0.20.2";
/// Longest time for downloading the advisory database.
const ADVISORIES_LIMIT: Duration = Duration::from_mins(1);

/// Arguments of `lint`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Checks to run; default: all
    #[arg(value_name = "CHECK", value_parser = NAMES)]
    pub checks: Vec<String>,
    /// Also run clippy on dnscribe-kpi, whose query engine takes minutes to compile
    #[arg(long)]
    pub kpi: bool,
}

/// Names of the checks, the quickest first.
const NAMES: [&str; 8] =
    ["links", "flow", "style", "format", "clippy", "rustdoc", "dependencies", "schemas"];

type Check<'a> = &'a dyn Fn() -> Result<()>;

/// Runs every check, or those that are named.
///
/// # Errors
/// If a check failed; the error names all that did.
pub fn main(args: &Args) -> Result<()> {
    crate::setup::install(&["build"])?;
    crate::setup::components()?;
    let packages = test::packages_with(args.kpi);
    let checks: [Check<'_>; NAMES.len()] = [
        &links::check,
        &flow::check,
        &style::check,
        &format,
        &|| clippy(packages),
        &|| rustdoc(packages),
        &dependencies,
        &|| schemas::check(packages),
    ];
    let is_wanted = |name: &str| args.checks.is_empty() || args.checks.iter().any(|it| it == name);
    let mut failed = Vec::new();
    for (name, check) in NAMES.into_iter().zip(checks).filter(|(name, _)| is_wanted(name)) {
        console::progress(&format!("lint: {name}"));
        if let Err(error) = check() {
            console::progress(&format!("lint: {name}: {error:#}"));
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// Returns the files with an extension below a folder, sorted, without target folders of cargo.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() && !path.join("CACHEDIR.TAG").exists() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn format() -> Result<()> {
    shell::pass_through(cargo().args(["fmt", "--all", "--check"]))?;
    // The eBPF programs are a workspace of their own.
    let manifest = environment::workspace().join("agent-ebpf/Cargo.toml");
    shell::pass_through(cargo().args(["fmt", "--check", "--manifest-path"]).arg(manifest))
}

fn clippy(packages: &[&str]) -> Result<()> {
    let words = ["--all-targets", "--", "--deny", "warnings"];
    shell::pass_through(cargo().arg("clippy").args(packages).args(words))
}

fn rustdoc(packages: &[&str]) -> Result<()> {
    let mut doc = cargo();
    doc.arg("doc").args(packages).args(["--no-deps", "--document-private-items"]);
    // Pages are for those who work on the code, so they have private items, and links to them.
    let flags = "--deny warnings --allow rustdoc::private_intra_doc_links";
    shell::pass_through(doc.env("RUSTDOCFLAGS", flags))
}

fn dependencies() -> Result<()> {
    if first_line("cargo-deny", &["--version"])
        .is_none_or(|version| !version.contains(DENY_VERSION))
    {
        console::progress(&format!(
            "lint: building cargo-deny {DENY_VERSION} (once, some minutes)"
        ));
        let mut install = install_tool("cargo-deny", DENY_VERSION);
        shell::pass_through(&mut install).context("cannot install cargo-deny")?;
    }
    shell::pass_through(cargo().args(["deny", "check", "bans", "licenses", "sources"]))?;
    if let Err(error) = run_bounded(cargo().args(["deny", "fetch", "db"]), ADVISORIES_LIMIT) {
        console::progress(&format!(
            "lint: advisories NOT checked: cannot download their database ({error:#})"
        ));
        return Ok(());
    }
    shell::pass_through(cargo().args(["deny", "check", "advisories"]))
}
