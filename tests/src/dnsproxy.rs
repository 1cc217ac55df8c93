//! A DNS server of another library over QUIC: `dnsproxy`, from the Go module proxy.

use crate::{cache, go};
use anyhow::Result;
use std::path::PathBuf;

/// Version of the program.
const VERSION: &str = "v0.78.2";

/// Returns the program; builds it if it is missing, which takes minutes.
pub fn prepare() -> Result<PathBuf> {
    let folder = cache::folder("dnsproxy", VERSION, |scratch| {
        let sources = go::sources(scratch, "github.com/AdguardTeam/dnsproxy", VERSION)?;
        go::build(scratch, &sources, &go::PLAIN, ".", "dnsproxy")
    })?;
    Ok(folder.join("dnsproxy"))
}
