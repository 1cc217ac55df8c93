//! The `dnscribe-kpi` binary.

use clap::Parser as _;
use dnscribe_kpi::{cli::Cli, command};
use std::process::ExitCode;
use tikv_jemallocator::Jemalloc;

/// Rows are parsed into many small texts, which glibc's allocator is slower at: an import takes a fifth longer with it.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    command::execute(&Cli::parse()).unwrap_or_else(|exit| exit.report())
}
