//! `cargo xtask`: the developer commands of dnscribe.

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
mod shared_libraries;
mod pictures;
mod process;
mod release;
mod run;
mod console;
mod schemas;
mod setup;
mod site;
mod stack;
mod test;
#[path = "../../agent/build/toolchain.rs"]
#[expect(dead_code, reason = "the build script uses the rest")]
mod toolchain;
mod vm;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// The developer commands of dnscribe.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what building needs (`--test`: also what the tests need)
    Setup(setup::Args),
    /// Build the release binary with the eBPF programs embedded
    Build(build::Args),
    /// Set up, build, and run the agent on this host, or any command of any program
    Run(run::Args),
    /// Set up and run the tests, all or by tier, the privileged and end-to-end ones included
    Test(test::Args),
    /// Check format, lints, licences, links, imports, comments and schemas
    Lint(lint::Args),
    /// Compare the records of every capture in the corpus with the output of other programs
    Conformance(conformance::Args),
    /// Run benchmarks; results are JSON lines and tables
    Bench(bench::Args),
    /// Start and stop a DNS lab in network namespaces for development
    Lab(lab::Args),
    /// Start a lab with load and show the live records
    Demo(demo::Args),
    /// Start and stop a real Apache Kafka broker for development
    Kafka(kafka::Args),
    /// Start and stop the whole system around the agent for development: Kafka, Flink, stores
    Stack(stack::Args),
    /// Run the fuzz targets: mutated input for every parser of untrusted bytes
    Fuzz(fuzz::Args),
    /// Boot Debian's kernels in QEMU and capture on each
    VmTest(vm::Args),
    /// Record the session of the README and the screenshots of `dnscribe top`
    Pictures(pictures::Args),
    /// Build the documentation as a site with a search in target/site, and check its links
    Site,
    /// Rewrite the golden files and the schemas from the output of the current code
    Bless(bless::Args),
    /// Build the release artifacts in target/dist: packages, image, checksums
    Dist(dist::Args),
    /// Install, run, upgrade and remove the packages in a fresh Debian; run the images in a chroot
    InstallTest(install_test::Args),
    /// Make and prove everything that a release has, without publishing it
    Release(release::Args),
    /// Run what continuous integration runs: lints, and every tier of tests
    Ci,
}

fn main() -> ExitCode {
    let target = dnscribe_tests::environment::target();
    if !dnscribe_tests::environment::can_be_built_in(&target) {
        console::progress(&format!(
            "error: builds of librdkafka and jemalloc fail in {}: set CARGO_TARGET_DIR to a folder whose path has only ASCII \
             letters, digits and /._-+",
            target.display()
        ));
        return ExitCode::FAILURE;
    }
    let done = match Cli::parse().command {
        Command::Setup(args) => setup::main(args),
        Command::Build(args) => build::main(args),
        Command::Run(args) => run::main(&args),
        Command::Test(args) => test::main(&args),
        Command::Lint(args) => lint::main(&args),
        Command::Conformance(args) => conformance::main(&args),
        Command::Bench(args) => bench::main(&args),
        Command::Lab(args) => lab::main(&args),
        Command::Demo(args) => demo::main(&args),
        Command::Kafka(args) => kafka::main(&args),
        Command::Stack(args) => stack::main(&args),
        Command::Fuzz(args) => fuzz::main(&args),
        Command::VmTest(args) => vm::main(&args),
        Command::Pictures(args) => pictures::main(&args),
        Command::Site => site::main(),
        Command::Bless(args) => bless::main(args),
        Command::Dist(args) => dist::main(&args),
        Command::InstallTest(args) => install_test::main(&args),
        Command::Release(args) => release::main(&args),
        Command::Ci => ci::main(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::progress(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dnscribe_tests::page;

    /// Every `cargo xtask …` of README and of the pages is a command.
    #[test]
    fn commands_of_pages_are_accepted() {
        let mut count = 0;
        for command in page::all().unwrap() {
            let text = command.text.split(" #").next().unwrap_or_default();
            for part in text.split("&&") {
                let Some(words) = part.trim().strip_prefix("cargo xtask") else { continue };
                let words = ["cargo xtask"].into_iter().chain(words.split_whitespace());
                if let Err(error) = Cli::try_parse_from(words) {
                    panic!("{}: {text}: {error}", command.page);
                }
                count += 1;
            }
        }
        assert!(count > 30, "{count}");
    }
}
