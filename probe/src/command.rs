//! The commands. Each takes its arguments and returns an exit code, or an [`Exit`].

mod check;
mod explain;
mod run;

use crate::cli::{Cli, Command};
use crate::config::reference;
use clap::CommandFactory as _;
use dnscribe_cli::exit::Exit;
use dnscribe_cli::{pages, print};
use std::process::ExitCode;

/// Executes the command line.
///
/// # Errors
/// Message, remedy and exit code of the failure.
pub fn execute(cli: &Cli) -> Result<ExitCode, Exit> {
    let done = |()| ExitCode::SUCCESS;
    match &cli.command {
        Command::Run(args) => run::run(args),
        Command::Explain(args) => explain::explain(args),
        Command::Check(args) => check::check(args).map(done),
        Command::Schema(args) => pages::schema(args).map(done),
        Command::Config => print(&reference::yaml()).map(done),
        Command::Completions(args) => pages::completions(args, Cli::command()).map(done),
        Command::Man(args) => pages::man(args, Cli::command()).map(done),
    }
}
