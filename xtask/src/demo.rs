//! `demo`: starts a lab and mixed load, and shows the agent's live records.

use crate::interrupt::Interrupt;
use crate::process::become_root;
use crate::{build, console, setup};
use anyhow::{Result, bail};
use dnscribe_tests::dnsperf::Load;
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::shell;
use rustix::process::Signal;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::Duration;

/// Arguments of `demo`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Duration in seconds
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Queries per second
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    qps: u32,
}

/// Runs the command.
pub fn main(args: &Args) -> Result<()> {
    setup::install(&["demo"])?;
    let binary = build::first_build()?;
    become_root("capturing")?;
    console::progress("demo: starting a client, a resolver and a server in namespaces");
    let interrupt = Interrupt::listen()?;
    let lab = Lab::up()?;
    interrupt.check()?;
    let seconds = format!("{}s", args.seconds);
    let mut run = Command::new(binary);
    run.args(["run", "--duration", &seconds]);
    // Ctrl-C signals the whole process group. In its own group the agent gets one signal only; a second one
    // would cut its summary short.
    let mut agent = run.process_group(0).spawn()?;
    let load = Load {
        queries: args.seconds * args.qps,
        qps: Some(args.qps),
        limit: Duration::from_secs(args.seconds.into()),
        ..Load::mixed()
    };
    let status = match lab.start_dnsperf(Host::Client, lab.resolver_addr(), &load) {
        Ok(mut questions) => {
            let status = wait(&mut agent, &interrupt);
            shell::end(&mut questions);
            status
        }
        Err(error) => Err(error),
    };
    shell::end(&mut agent);
    let status = status?;
    if !status.success() {
        bail!("the agent failed ({status})");
    }
    Ok(())
}

/// Waits until the agent ends, and forwards an interrupt to it as SIGTERM.
fn wait(agent: &mut Child, interrupt: &Interrupt) -> Result<ExitStatus> {
    loop {
        if let Some(status) = agent.try_wait()? {
            return Ok(status);
        }
        if interrupt.was_signalled() {
            shell::signal(agent, Signal::TERM)?;
        }
        thread::sleep(Duration::from_millis(20));
    }
}
