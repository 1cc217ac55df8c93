//! The commands: each takes its arguments and ends well or with an [`Exit`].

mod bell;
mod check;
mod crew;
mod kafka;
mod pace;
mod pages;
mod pressure;
mod replay;
mod resolvers;
mod run;
mod schema;
mod session;
mod signals;
mod summary;
mod supervisor;
mod top;
mod verify;

use crate::cli::{Cli, Command, KafkaCommand, LedgerCommand};
use crate::config::reference;
use crate::exit::Exit;

/// Does what the command line says.
pub fn execute(cli: &Cli) -> Result<(), Exit> {
    match &cli.command {
        Command::Run(args) => run::run(args),
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
