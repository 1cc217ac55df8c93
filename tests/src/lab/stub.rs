//! Stub resolver configuration of the lab's hosts: files below `/etc/netns` that replace those of
//! `/etc` for programs of one host (ip-netns(8)).

use super::{Host, Lab};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::PathBuf;

/// Folder in which `ip netns exec` looks for them.
pub(super) const FOLDER: &str = "/etc/netns";

/// A host's own `/etc/resolv.conf`. Dropping it removes the file.
#[derive(Debug)]
pub struct StubConfig(PathBuf);

impl Lab {
    /// Sets the `/etc/resolv.conf` of programs that are started on a host from now on, and limits
    /// their name resolution to DNS.
    pub fn configure_stub(&self, host: Host, resolv_conf: &str) -> Result<StubConfig> {
        let folder = PathBuf::from(FOLDER).join(self.namespace(host));
        fs::create_dir_all(&folder).context("cannot make a folder for a host's resolv.conf")?;
        let config = StubConfig(folder);
        for (name, text) in [("resolv.conf", resolv_conf), ("nsswitch.conf", "hosts: dns\n")] {
            fs::write(config.0.join(name), text)
                .with_context(|| format!("cannot write a host's {name}"))?;
        }
        Ok(config)
    }
}

impl Drop for StubConfig {
    fn drop(&mut self) {
        // Removing the lab removes what is left.
        let _ = fs::remove_dir_all(&self.0);
    }
}
