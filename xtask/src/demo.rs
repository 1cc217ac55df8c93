//! `demo`: a lab, mixed load, and the agent's live records, in one command.

use crate::process::become_root;
use crate::{build, say, setup};
use anyhow::{Result, bail};
use dnscribe_tests::dnsperf::Load;
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::shell;
use std::process::Command;
use std::time::Duration;

/// How long and how much to show.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Length in seconds
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Queries per second
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    qps: u32,
}

/// Runs the command.
pub fn main(args: &Args) -> Result<()> {
    setup::main(setup::Args { test: true })?;
    let binary = build::release()?;
    become_root("capturing")?;
    say::progress("demo: starting a client, a resolver and a server in namespaces");
    let lab = Lab::up()?;
    let seconds = format!("{}s", args.seconds);
    let mut agent = Command::new(binary).args(["run", "--duration", &seconds]).spawn()?;
    let load = Load {
        queries: args.seconds * args.qps,
        qps: Some(args.qps),
        limit: Duration::from_secs(args.seconds.into()),
        ..Load::mixed()
    };
    let mut questions = lab.start_dnsperf(Host::Client, lab.resolver_addr(), &load)?;
    let status = agent.wait()?;
    shell::end(&mut questions);
    if !status.success() {
        bail!("the agent failed ({status})");
    }
    Ok(())
}
