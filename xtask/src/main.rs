//! `cargo xtask`: every developer command.

mod architecture;
mod bench;
mod bless;
mod build;
mod cgroup;
mod ci;
mod conformance;
mod debian;
mod demo;
mod dist;
mod fuzz;
mod install_test;
mod interrupt;
mod kafka;
mod lab;
mod lint;
mod loaded;
mod pictures;
mod process;
mod run;
mod say;
mod schemas;
mod setup;
mod test;
#[path = "../../agent/build/toolchain.rs"]
#[expect(dead_code, reason = "the build script uses the rest")]
mod toolchain;
mod vm;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Every developer command of dnscribe.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what building needs (`--test`: what the tests need, too)
    Setup(setup::Args),
    /// Build the release binary, its eBPF programs embedded
    Build(build::Args),
    /// Set up, build, and run the agent on this host
    Run(run::Args),
    /// Set up and run every test, the privileged and end-to-end ones included
    Test(test::Args),
    /// Check format, lints, licences and schemas
    Lint,
    /// Compare every capture of the corpus with what other programs find in it
    Conformance(conformance::Args),
    /// Measure, as JSON lines
    Bench(bench::Args),
    /// A DNS lab in network namespaces for the dev loop
    Lab(lab::Args),
    /// Lab, load and live records in one command
    Demo(demo::Args),
    /// A real Apache Kafka broker for the dev loop
    Kafka(kafka::Args),
    /// Feed mutated octets to everything that reads octets of others
    Fuzz(fuzz::Args),
    /// Boot the kernels that Debian has, and capture on each
    VmTest(vm::Args),
    /// Take the pictures of `dnscribe top` for its documentation
    Pictures,
    /// Rewrite the goldens from what the code gives now
    Bless,
    /// Make everything that is handed out, in target/dist: packages, image, checksums
    Dist(dist::Args),
    /// Install, run, upgrade and remove the packages in a fresh Debian, and run the images' files
    InstallTest,
    /// Everything that continuous integration runs
    Ci,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Setup(args) => setup::main(args),
        Command::Build(args) => build::main(args),
        Command::Run(args) => run::main(&args),
        Command::Test(args) => test::main(&args),
        Command::Lint => lint::main(),
        Command::Conformance(args) => conformance::main(&args),
        Command::Bench(args) => bench::main(&args),
        Command::Lab(args) => lab::main(&args),
        Command::Demo(args) => demo::main(&args),
        Command::Kafka(args) => kafka::main(&args),
        Command::Fuzz(args) => fuzz::main(&args),
        Command::VmTest(args) => vm::main(&args),
        Command::Pictures => pictures::main(),
        Command::Bless => bless::main(),
        Command::Dist(args) => dist::main(&args),
        Command::InstallTest => install_test::main(),
        Command::Ci => ci::main(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::progress(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
