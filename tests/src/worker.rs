//! How the processes of the attribution test identify themselves in queries.

use anyhow::{Context as _, Result};
use std::fs;

/// Pid of this process in the initial pid namespace, read from the host's /proc. Works in any pid
/// namespace.
#[must_use]
pub fn pid() -> u32 {
    let link = fs::read_link("/proc/self").unwrap_or_default();
    link.to_str().and_then(|pid| pid.parse().ok()).unwrap_or(0)
}

/// Message id that separates the queries of processes that share a socket.
#[must_use]
pub fn id(number: usize) -> u16 {
    let [.., high, low] = pid().to_be_bytes();
    let number = u16::try_from(number).unwrap_or(u16::MAX);
    u16::from_be_bytes([high, low]).wrapping_add(number.wrapping_mul(251))
}

/// Query name that identifies the asking process: its pid, name and executable.
pub fn name(number: usize, role: &str, suffix: &str) -> Result<String> {
    let comm = fs::read_to_string(format!("/proc/{}/comm", pid()))?;
    let exe = std::env::current_exe().context("no executable")?;
    let short_hash = short_hash(&exe.to_string_lossy());
    Ok(format!("q{number}.p{}.c{}.{short_hash}.{role}.{suffix}", pid(), comm.trim_end()))
}

/// A hash of a path (FNV-1a), short enough for a label.
#[must_use]
pub fn short_hash(path: &str) -> String {
    let step = |hash: u32, octet: u8| (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193);
    format!("e{:08x}", path.bytes().fold(0x811c_9dc5, step))
}
