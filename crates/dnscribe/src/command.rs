//! The commands. Each takes its arguments and succeeds, or returns an [`Exit`].

mod check;
mod import;
mod kafka;
mod policy;
mod records;
mod report;
mod run;
mod stores;
mod thread;
mod top;
mod trace;
mod verify;

use crate::cli::{Cli, Command, IntelCommand, KafkaCommand, LedgerCommand, ZonesCommand};
use clap::CommandFactory as _;
use dnscribe_agent::config::reference;
use dnscribe_agent::privilege::helper;
use dnscribe_agent::session::{Prepared, replay};
use dnscribe_cli::exit::Exit;
use dnscribe_cli::pages;
use std::process::ExitCode;

/// Executes the command line. `settle` is called once other threads may start: at once, but in `run` only
/// after privileges were dropped, since a thread that exists before would keep them, and never in the
/// privileged helper, which needs no more threads.
///
/// Returns the exit code: success, or that of the command that `trace` has run.
///
/// # Errors
/// Message, remedy and exit code of the failure.
pub fn execute(cli: &Cli, settle: fn()) -> Result<ExitCode, Exit> {
    if !matches!(cli.command, Command::Run(_) | Command::Helper(_)) {
        settle();
    }
    let done = match &cli.command {
        Command::Trace(args) => return trace::trace(args),
        Command::Run(args) => run::run(args, settle),
        Command::Helper(args) => helper::serve(args.task, args.user.as_deref(), args.log()),
        Command::Replay(args) => Prepared::new(args.sources())
            .and_then(|prepared| prepared.reading(&args.files))
            .and_then(Prepared::open)
            .and_then(|start| replay::files(&args.files, start, None)),
        Command::Top(args) => top::top(args),
        Command::Report(args) => report::report(args),
        Command::Policy(command) => policy::policy(command),
        Command::Check(args) => check::check(args),
        Command::Ledger(LedgerCommand::Verify(args)) => verify::verify(args),
        Command::Kafka(KafkaCommand::Init(args)) => kafka::init(args),
        Command::Zones(ZonesCommand::Import(args)) => import::zones(args),
        Command::Intel(IntelCommand::Import(args)) => import::intel(args),
        Command::Annotate(args) => import::annotate(args),
        Command::Schema(args) => pages::schema(args),
        Command::Config => dnscribe_cli::print(&reference::yaml()),
        Command::Completions(args) => pages::completions(args, Cli::command()),
        Command::Man(args) => pages::man(args, Cli::command()),
    };
    done.map(|()| ExitCode::SUCCESS)
}
