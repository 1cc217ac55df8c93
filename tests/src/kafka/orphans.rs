//! Ends brokers whose owner process was killed, for example by Ctrl-C.

use crate::shell;
use anyhow::{Context as _, Result};
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};

/// File in a broker's folder with the pid of the owner.
const OWNER: &str = "owner";

/// Records this process as the owner of the broker in `folder`.
pub fn own(folder: &Path) -> Result<()> {
    fs::write(folder.join(OWNER), std::process::id().to_string())
        .with_context(|| format!("cannot write to {}", folder.display()))
}

/// Ends brokers whose owner is gone, except for those left running on purpose.
pub fn end() {
    for (pid, folder) in brokers() {
        let Ok(owner) = fs::read_to_string(folder.join(OWNER)) else { continue };
        if Path::new("/proc").join(owner).exists() || folder.join(super::STATE_FILE).exists() {
            continue;
        }
        // A broker of another user cannot be ended here, and another process may be ending it
        // already. The folder stays: a command line does not prove who owns it.
        let _ = shell::signal_pid(pid, Signal::KILL);
    }
}

/// Brokers on this host: process ids and folders.
fn brokers() -> Vec<(u32, PathBuf)> {
    let broker = |entry: &fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let command_line = fs::read_to_string(entry.path().join("cmdline")).ok()?;
        Some((pid, folder(&command_line)?))
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|entry| broker(&entry)).collect()
}

/// Returns the broker folder in a command line, if it is one of a broker.
fn folder(command_line: &str) -> Option<PathBuf> {
    let mut words = command_line.trim_end_matches('\0').rsplit('\0');
    let properties = Path::new(words.next()?);
    let broker = words.next()? == "kafka.Kafka" && properties.ends_with("server.properties");
    broker.then(|| properties.parent().map(Path::to_path_buf))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_broker_folder_in_command_line() {
        let broker = "java\0-Xmx512m\0kafka.Kafka\0/tmp/x/server.properties\0";
        assert_eq!(folder(broker), Some("/tmp/x".into()));
        assert_eq!(folder("java\0-jar\0x.jar\0"), None);
        assert_eq!(folder("cat\0/tmp/x/server.properties\0"), None);
        assert_eq!(folder(""), None);
    }
}
