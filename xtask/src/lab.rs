//! `lab`: starts and stops the DNS lab of the tests for development.

use crate::interrupt::Interrupt;
use crate::process::become_root;
use crate::{console, setup};
use anyhow::{Context as _, Result};
use dnscribe_tests::dnsperf::Load;
use dnscribe_tests::lab::{Host, Lab};
use std::time::Duration;

/// Arguments of `lab`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Start a client, a resolver and an authoritative server in separate network namespaces
    Up,
    /// Remove every lab that no process owns
    Down,
    /// Send queries from the client to the resolver
    Load(LoadArgs),
}

#[derive(clap::Args, Debug)]
struct LoadArgs {
    /// Queries to send
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    queries: u32,
    /// Queries per second [default: as fast as answers come]
    #[arg(long)]
    qps: Option<u32>,
    /// TCP instead of UDP
    #[arg(long)]
    tcp: bool,
    /// Questions of many types instead of A for unique names
    #[arg(long)]
    mixed: bool,
}

/// Runs the command.
pub fn main(args: &Args) -> Result<()> {
    match &args.action {
        Action::Up => up(),
        Action::Down => down(),
        Action::Load(load) => send_load(load),
    }
}

fn up() -> Result<()> {
    setup::install(&["lab up"])?;
    become_root("the lab")?;
    let lab = if let Some(lab) = Lab::find_kept()? {
        console::progress("the lab is already up");
        lab
    } else {
        let interrupt = Interrupt::listen()?;
        let lab = Lab::up()?;
        interrupt.check()?;
        lab.keep()?
    };
    let client = lab.namespace(Host::Client);
    console::result(&format!("resolver {} · server {}", lab.resolver_addr(), lab.server_addr()));
    console::result(&format!(
        "try: sudo ip netns exec {client} dig @{} www.example.com",
        lab.resolver_addr()
    ));
    console::result("     cargo xtask lab load --qps 100 --mixed");
    Ok(())
}

fn down() -> Result<()> {
    become_root("the lab")?;
    match Lab::down_all()? {
        0 => console::progress("no lab is up"),
        count => console::progress(&format!("{count} lab(s) removed")),
    }
    Ok(())
}

fn send_load(args: &LoadArgs) -> Result<()> {
    become_root("the lab")?;
    let lab = Lab::find_kept()?.context("no lab is up: start one with `cargo xtask lab up`")?;
    let base = if args.mixed { Load::mixed() } else { Load::default() };
    let perf = lab.dnsperf(&Load {
        queries: args.queries,
        qps: args.qps,
        tcp: args.tcp,
        limit: Duration::from_mins(10),
        ..base
    })?;
    console::result(&serde_json::to_string(&perf)?);
    Ok(())
}
