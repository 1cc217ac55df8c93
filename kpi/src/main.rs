//! The `dnscribe-kpi` binary.

use clap::Parser as _;
use dnscribe_kpi::{cli::Cli, command};
use std::process::ExitCode;

fn main() -> ExitCode {
    command::execute(&Cli::parse()).unwrap_or_else(|exit| exit.report())
}
