//! The stub resolvers of the lab's hosts: files below `/etc` that programs on one host alone find
//! there (ip-netns(8)).

use super::{Host, Lab};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::PathBuf;

/// Where `ip netns exec` looks for them.
pub(super) const FOLDER: &str = "/etc/netns";

/// A host's own `/etc/resolv.conf`, while it is wanted.
#[derive(Debug)]
pub struct StubConfig(PathBuf);

impl Lab {
    /// Gives the programs that are started on a host from now on this `/etc/resolv.conf`, and has
    /// them look names up in the DNS alone.
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
        // Whoever removes the lab removes what is left.
        let _ = fs::remove_dir_all(&self.0);
    }
}
