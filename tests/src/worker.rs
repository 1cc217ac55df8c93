//! How the processes of the attribution test say who they are.

use anyhow::{Context as _, Result};
use std::fs;

/// This process's pid as /proc has it: that of the initial pid namespace, wherever this process is,
/// as long as it has the host's /proc.
#[must_use]
pub fn pid() -> u32 {
    let link = fs::read_link("/proc/self").unwrap_or_default();
    link.to_str().and_then(|pid| pid.parse().ok()).unwrap_or(0)
}

/// An id that tells a process's queries apart on a socket that it shares.
#[must_use]
pub fn id(number: usize) -> u16 {
    let [.., high, low] = pid().to_be_bytes();
    let number = u16::try_from(number).unwrap_or(u16::MAX);
    u16::from_be_bytes([high, low]).wrapping_add(number.wrapping_mul(251))
}

/// A name that says which process asks: its pid, its name and its executable.
pub fn name(number: usize, role: &str, suffix: &str) -> Result<String> {
    let comm = fs::read_to_string(format!("/proc/{}/comm", pid()))?;
    let exe = std::env::current_exe().context("no executable")?;
    let mark = mark(&exe.to_string_lossy());
    Ok(format!("q{number}.p{}.c{}.{mark}.{role}.{suffix}", pid(), comm.trim_end()))
}

/// A path, short enough for a label (FNV-1a).
#[must_use]
pub fn mark(path: &str) -> String {
    let step = |hash: u32, octet: u8| (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193);
    format!("e{:08x}", path.bytes().fold(0x811c_9dc5, step))
}
