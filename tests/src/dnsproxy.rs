//! A DNS server of another library over QUIC: `dnsproxy`, from the Go module proxy.

use crate::{cache, shell};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// Version of the program.
const VERSION: &str = "v0.78.2";

/// Returns the program; builds it if it is missing, which takes minutes.
pub fn prepare() -> Result<PathBuf> {
    let folder = cache::folder("dnsproxy", VERSION, |scratch| {
        if shell::which("go").is_none() {
            bail!("the server is built from source and needs go: install golang");
        }
        let module = format!("github.com/AdguardTeam/dnsproxy@{VERSION}");
        let mut download = Command::new("go");
        download.args(["mod", "download", "-json", &module]).current_dir(scratch);
        let found = shell::output(&mut download)
            .with_context(|| format!("cannot get {module} from the Go module proxy"))?;
        let found: Value = serde_json::from_slice(&found.stdout)?;
        let sources = found["Dir"].as_str().context("go mod download names no folder")?;
        let mut build = Command::new("go");
        build.args(["build", "-o"]).arg(scratch.join("ready/dnsproxy")).arg(".");
        shell::output(build.current_dir(sources)).map(drop)
    })?;
    Ok(folder.join("dnsproxy"))
}
