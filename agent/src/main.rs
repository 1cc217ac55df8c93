//! The `dnscribe` binary.

use clap::Parser;
use dnscribe::{cli::Cli, command};
use std::process::ExitCode;
use tikv_jemallocator::Jemalloc;

/// librdkafka allocates several times per record in one thread and frees in another, which glibc's
/// allocator is slow at. This one takes the place of `malloc` in the whole process, C included.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    // A thread that has nothing to do would never give back what it has freed: the start alone leaves
    // 20 MiB. Where it cannot be, memory is given back when there is work.
    let _ = tikv_jemalloc_ctl::background_thread::write(true);
    match command::execute(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => exit.report(),
    }
}
