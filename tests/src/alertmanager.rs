//! A real Alertmanager.

use crate::prometheus::{Program, below, start};
use crate::{agent, http, shell};
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Child;

/// Alertmanager configuration with one receiver that notifies no one.
const CONFIG: &str = "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n";

/// An Alertmanager without alerts at its start. Dropping it kills it.
#[derive(Debug)]
pub struct Alertmanager {
    address: SocketAddr,
    folder: PathBuf,
    /// Content of `--config.file`.
    config: String,
    /// Content of `--web.config.file`: TLS and passwords.
    web: Option<String>,
    child: Option<Child>,
}

impl Alertmanager {
    /// Creates an Alertmanager with a free address, not started yet; its files are written to
    /// `folder`.
    pub fn new(folder: &Path) -> Result<Self> {
        let address = agent::free_address()?;
        let config = CONFIG.to_owned();
        Ok(Self { address, folder: folder.to_path_buf(), config, web: None, child: None })
    }

    /// Sets the content of `--config.file`, by default one receiver that notifies no one.
    #[must_use]
    pub fn with_config(mut self, config: String) -> Self {
        self.config = config;
        self
    }

    /// Sets the content of `--web.config.file`.
    #[must_use]
    pub fn with_web(mut self, config: &str) -> Self {
        self.web = Some(config.to_owned());
        self
    }

    /// Address, without a scheme.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts it and waits until it accepts requests.
    pub fn start(&mut self) -> Result<()> {
        let config = self.folder.join("alertmanager.yml");
        fs::write(&config, &self.config)?;
        let mut command = below(Program::Alertmanager)?;
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.path={}", self.folder.join("storage").display()));
        command.arg(format!("--web.listen-address={}", self.address));
        // No cluster: a single instance.
        command.arg("--cluster.listen-address=");
        if let Some(web) = &self.web {
            let file = self.folder.join("web.yml");
            fs::write(&file, web)?;
            command.arg(format!("--web.config.file={}", file.display()));
        }
        let (address, secured) = (self.address, self.web.is_some());
        let child = start(&mut command, &self.folder.join("alertmanager.log"), || {
            if secured { TcpStream::connect(address).is_ok() } else { is_ready(address) }
        })?;
        self.child = Some(child);
        Ok(())
    }

    /// Kills it. Alertmanager forgets all alerts.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            shell::end(&mut child);
        }
    }

    /// Returns the active alerts.
    pub fn alerts(&self) -> Result<Vec<Value>> {
        let (status, body) = http::get(self.address, None, "/api/v2/alerts")?;
        serde_json::from_str(&body).with_context(|| format!("{status}: {body}"))
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        self.kill();
    }
}

fn is_ready(address: SocketAddr) -> bool {
    http::get(address, None, "/-/ready").is_ok_and(|(code, _)| code == 200)
}
