//! Headless Chromium, driven by playwright-core, with axe-core for accessibility. Chromium is installed by
//! `cargo xtask setup --test`, the programs from npm are stored below the target folder.

use crate::{cache, environment, shell};
use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Changes whenever `tests/browser/package-lock.json` does.
const VERSION: &str = "1.65.1-4.14.1";
/// Names of Chromium, Debian's first.
const CHROMIUM: [&str; 4] =
    ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];

/// A page to open, and what to find out about it.
#[derive(Clone, Debug, Serialize)]
pub struct Visit {
    /// Address of the page.
    pub url: String,
    /// Widths of the window in pixels; the page is opened once for each.
    pub widths: Vec<u32>,
    /// Whether the page is asked for its dark colours.
    pub dark: bool,
    /// JavaScript expression to evaluate on the page.
    pub script: Option<String>,
    /// Whether axe looks at the page.
    pub axe: bool,
    /// Folder for a picture of the whole page, `WIDTH.png` or `WIDTH-dark.png`.
    pub screenshot: Option<PathBuf>,
}

impl Visit {
    /// Creates a visit to a file at these widths, in light colours.
    pub fn file(file: &Path, widths: &[u32]) -> Result<Self> {
        let file = file.canonicalize().with_context(|| file.display().to_string())?;
        Ok(Self {
            url: format!("file://{}", file.display()),
            widths: widths.to_vec(),
            dark: false,
            script: None,
            axe: true,
            screenshot: None,
        })
    }
}

/// What a page of one width is like.
#[derive(Clone, Debug, Deserialize)]
pub struct Inspection {
    /// Width of the window in pixels.
    pub width: u32,
    /// Width of the page in pixels: more than `width` if it must be scrolled sideways.
    pub page_width: u32,
    /// Violations of axe's rules.
    pub violations: Vec<Violation>,
    /// Uncaught exceptions, errors on the console, and dialogs.
    pub errors: Vec<String>,
    /// Addresses that the page fetched, its own and `data:` left out.
    pub fetched: Vec<String>,
    /// Value of the visit's script; null without one.
    pub evaluated: Value,
}

/// A violation of one of axe's rules.
#[derive(Clone, Debug, Deserialize)]
pub struct Violation {
    /// Name of the rule, such as `color-contrast`.
    pub id: String,
    /// `minor`, `moderate`, `serious` or `critical`.
    pub impact: Option<String>,
    /// What the rule demands.
    pub help: String,
    /// HTML of the elements that violate it.
    pub elements: Vec<String>,
}

/// Opens each page at each of its widths; returns the results in this order.
///
/// # Errors
/// If Chromium or Node.js is missing, or a page cannot be opened.
pub fn inspect(visits: &[Visit]) -> Result<Vec<Inspection>> {
    let chromium = chromium().context("no Chromium; `cargo xtask setup --test` installs it")?;
    for folder in visits.iter().filter_map(|visit| visit.screenshot.as_deref()) {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let mut command = Command::new("node");
    command.arg(sources().join("inspect.mjs")).arg(modules()?).arg(chromium);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start `{}`", shell::command_line(&command)))?;
    let mut input = child.stdin.take().context("no standard input")?;
    // The program answers after it has read all of it.
    input.write_all(&serde_json::to_vec(visits)?)?;
    drop(input);
    let output = child.wait_with_output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{}`: {errors}", shell::command_line(&command));
    serde_json::from_slice(&output.stdout).context("the output of inspect.mjs")
}

/// Path of an installed Chromium.
#[must_use]
pub fn chromium() -> Option<PathBuf> {
    CHROMIUM.into_iter().find_map(shell::which)
}

/// Downloads the programs from npm if they are missing, so that tests need not.
pub fn prepare() -> Result<()> {
    modules().map(drop)
}

fn sources() -> PathBuf {
    environment::workspace().join("tests/browser")
}

fn modules() -> Result<PathBuf> {
    cache::folder("browser", VERSION, |scratch| cache::npm(scratch, &sources()))
}
