//! `kafka`: starts and stops a real broker for development.

use crate::interrupt::Interrupt;
use crate::{console, setup};
use anyhow::Result;
use dnscribe_tests::environment;
use dnscribe_tests::kafka::Broker;
use std::time::Instant;

/// Arguments of `kafka`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Start a broker in the background and print its address
    Up,
    /// Stop the broker and remove its data
    Down,
}

/// Runs the command.
pub fn main(args: &Args) -> Result<()> {
    let folder = environment::target().join("kafka/up");
    match args.action {
        Action::Up => {
            if let Some(bootstrap) = Broker::running(&folder) {
                console::progress("the broker is already running");
                console::result(&bootstrap);
                return Ok(());
            }
            setup::install(&["kafka up"])?;
            let start = Instant::now();
            console::progress("starting Kafka");
            let interrupt = Interrupt::listen()?;
            let broker = Broker::up(&folder)?;
            interrupt.check()?;
            let bootstrap = broker.detach()?;
            console::progress(&format!("the broker is up after {:.1?}", start.elapsed()));
            console::result(&bootstrap);
        }
        Action::Down => {
            let ran = Broker::down(&folder)?;
            console::progress(if ran { "the broker is stopped" } else { "no broker was running" });
        }
    }
    Ok(())
}
