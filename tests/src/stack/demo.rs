//! Traffic for the stack: a DNS lab in network namespaces, load in it, and an agent that captures it.

use super::service::{self, Service};
use crate::dnsperf::Load;
use crate::lab::{Host, Lab};
use crate::{environment, http};
use anyhow::{Context as _, Result};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Address of the agent's metrics, which Prometheus scrapes.
pub const METRICS_PORT: u16 = 9353;
/// Queries per second.
const RATE: u32 = 20;
/// How long queries are sent.
pub const DURATION: Duration = Duration::from_hours(1);

/// What produces the traffic.
#[derive(Debug, Serialize, Deserialize)]
pub struct Demo {
    /// The agent.
    pub agent: Service,
    load: Service,
    /// Whether the lab was started for this, and not by the user.
    owns_lab: bool,
}

impl Demo {
    /// Starts the lab, unless one is up, the agent, which writes to `brokers`, and the load.
    pub fn start(folder: &Path, brokers: &str) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let kept = Lab::find_kept()?;
        let owns_lab = kept.is_none();
        let lab = match kept {
            Some(lab) => lab,
            None => Lab::up()?.keep()?,
        };
        let agent = start_agent(folder, brokers)?;
        match start_load(folder, &lab, agent.address) {
            Ok(load) => Ok(Self { agent, load, owns_lab }),
            Err(error) => {
                agent.kill()?;
                Err(error)
            }
        }
    }

    /// Returns whether the agent and the load run.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.agent.runs() && self.load.runs()
    }

    /// Ends the load, the agent, and the lab that was started for this.
    pub fn stop(&self) -> Result<()> {
        self.load.stop(Signal::TERM)?;
        self.agent.stop(Signal::TERM)?;
        if self.owns_lab {
            Lab::down_all()?;
        }
        Ok(())
    }
}

fn start_agent(folder: &Path, brokers: &str) -> Result<Service> {
    let address = service::free_address(METRICS_PORT)?;
    let mut command = Command::new(environment::binary()?);
    command.args(["run", "--sink", "kafka", "--brokers", brokers]);
    command.args(["--metrics-listen", &address.to_string()]);
    command.env("DNSCRIBE_NODE", "demo").env("DNSCRIBE_SPOOL__ENABLED", "false");
    Service::start(&command, address, &folder.join("agent.log"), || {
        http::get(address, None, "/readyz").is_ok_and(|(status, _)| status == 200)
    })
}

fn start_load(folder: &Path, lab: &Lab, agent: SocketAddr) -> Result<Service> {
    let load = Load { queries: 1200, qps: Some(RATE), limit: DURATION, ..Load::mixed() };
    let questions = folder.join("questions");
    fs::write(&questions, load.data())?;
    let mut words = load.command(lab.resolver_addr(), &questions);
    // Again and again until the time limit, instead of once.
    let once = words.iter().position(|word| word == "-n").context("dnsperf reads its file once")?;
    words.drain(once..once + 2);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let command = lab.command(Host::Client, &words);
    // Nothing listens for it; what it does is seen at the agent.
    Service::start(&command, agent, &folder.join("load.log"), || true)
}
