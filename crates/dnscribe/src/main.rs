//! The `dnscribe` binary.

mod cli;
mod command;

use clap::Parser;
use cli::Cli;
use std::process::ExitCode;

/// librdkafka allocates several times per record in one thread and frees in another, which glibc's
/// allocator is slow at. This one takes the place of `malloc` in the whole process, C included.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| cli::without_secret(error).exit());
    match command::execute(&cli, give_memory_back) {
        Ok(code) => code,
        Err(exit) => exit.report(),
    }
}

/// Starts the allocator's own thread: one that has nothing to do would never give back what it has freed,
/// and the start alone leaves 20 MiB. Where it cannot be, memory is given back when there is work.
fn give_memory_back() {
    #[cfg(feature = "jemalloc")]
    let _ = tikv_jemalloc_ctl::background_thread::write(true);
}
