//! The `dnscribe` binary.

use clap::Parser;
use dnscribe::{cli::Cli, command};
use std::process::ExitCode;

fn main() -> ExitCode {
    match command::execute(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => exit.report(),
    }
}
