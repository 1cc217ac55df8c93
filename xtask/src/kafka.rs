//! `kafka`: a real broker for the dev loop.

use crate::interrupt::Interrupt;
use crate::{say, setup};
use anyhow::Result;
use dnscribe_tests::environment;
use dnscribe_tests::kafka::Broker;
use std::time::Instant;

/// What to do with the broker.
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
                say::progress("the broker runs already");
                say::result(&bootstrap);
                return Ok(());
            }
            setup::main(setup::Args { test: true })?;
            let start = Instant::now();
            say::progress("starting Kafka; the first time its program files are fetched");
            let interrupt = Interrupt::listen()?;
            let broker = Broker::up(&folder)?;
            interrupt.check()?;
            let bootstrap = broker.detach()?;
            say::progress(&format!("the broker is up after {:.1?}", start.elapsed()));
            say::result(&bootstrap);
        }
        Action::Down => {
            let ran = Broker::down(&folder)?;
            say::progress(if ran { "the broker is down" } else { "no broker was up" });
        }
    }
    Ok(())
}
