//! The commands: each takes its arguments and ends well or with an [`Exit`].

mod check;
mod confine;
mod kafka;
mod pace;
mod pages;
mod ports;
mod pressure;
mod replay;
mod resolvers;
mod run;
mod schema;
mod scout;
mod session;
mod signals;
mod summary;
mod supervisor;
mod top;
mod verify;
mod waker;
mod worker_pool;

use crate::cli::{Cli, Command, KafkaCommand, LedgerCommand};
use crate::config::reference;
use crate::exit::Exit;

/// Does what the command line says. `settle` is called once threads may start beside this one: at once,
/// but by `run` only when it has given up its privileges, for a thread that was there before would keep
/// them, and not at all for the scout, which has no use for more threads.
pub fn execute(cli: &Cli, settle: fn()) -> Result<(), Exit> {
    if !matches!(cli.command, Command::Run(_) | Command::Scout(_)) {
        settle();
    }
    match &cli.command {
        Command::Run(args) => run::run(args, settle),
        Command::Scout(args) => scout::scout(args),
        Command::Replay(args) => replay::replay(args),
        Command::Top(args) => top::top(args),
        Command::Check(args) => check::check(args),
        Command::Ledger(LedgerCommand::Verify(args)) => verify::verify(args),
        Command::Kafka(KafkaCommand::Init(args)) => kafka::init(args),
        Command::Schema(args) => schema::schema(args),
        Command::Config => summary::print(&reference::yaml()),
        Command::Completions(args) => pages::completions(args),
        Command::Man(args) => pages::man(args),
    }
}
