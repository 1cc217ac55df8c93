//! `setup`: installs what building needs, and on request what the tests need. Does nothing, fast,
//! where all is there.

mod ebpf;
mod packages;

use crate::say;
use anyhow::Result;
pub use packages::KEYRING;
use packages::Need;

/// What to set up.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct Args {
    /// Also install what the tests need: DNS servers and tools, Java and Maven for Kafka and the
    /// schema registry, Python for a client of theirs and for readers of sketches, Prometheus and its
    /// Alertmanager
    #[arg(long)]
    pub test: bool,
}

/// Runs the command.
pub fn main(args: Args) -> Result<()> {
    if crate::process::elevated() {
        return Ok(());
    }
    let mut missing = packages::missing(packages::BUILD);
    let mut purpose = "building";
    if args.test {
        missing.extend(packages::missing(packages::TEST));
        purpose = "building and testing";
    }
    if !packages::debian() {
        // Told all at once; on Debian these come from more than one place.
        missing.extend(packages::missing(ebpf::LINKER));
        if args.test {
            missing.extend(packages::missing(packages::MONITORING));
        }
    }
    let mut installed = packages::install(purpose, &missing)?;
    installed |= ebpf::install()?;
    if args.test {
        dnscribe_tests::registry::prepare()?;
        dnscribe_tests::confluent::prepare()?;
        dnscribe_tests::sketches::prepare()?;
        packages::monitoring()?;
    }
    if !installed {
        say::progress("setup: everything is there");
    }
    Ok(())
}

/// Installs what `bench` compares with, where that can be had.
pub fn rivals() {
    let missing = packages::missing(packages::BENCH);
    if let Err(error) = packages::install("comparing with other programs", &missing) {
        say::progress(&format!("setup: {error:#}\nsetup: going on without them"));
    }
}

/// Installs what `dist` needs.
pub fn dist() -> Result<()> {
    let missing = packages::missing(packages::DIST);
    packages::install("making packages", &missing).map(|_| ())
}

/// Installs what `install-test` needs.
pub fn install_test() -> Result<()> {
    let missing = packages::missing(packages::INSTALL_TEST);
    packages::install("booting a fresh Debian", &missing).map(|_| ())
}

/// Installs what `vm-test` needs.
pub fn machines() -> Result<()> {
    packages::install("booting other kernels", &packages::missing(packages::MACHINES)).map(drop)
}

/// Adds rustfmt and clippy where rustup's profile left them out, for `lint`.
pub fn components() -> Result<()> {
    let missing: Vec<&str> = ["rustfmt", "clippy"]
        .into_iter()
        .filter(|name| {
            let program = if *name == "clippy" { "cargo-clippy" } else { name };
            crate::process::first_line(program, &["--version"]).is_none()
        })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    say::progress(&format!("setup: adding {} to the Rust toolchain", missing.join(" and ")));
    let mut command = std::process::Command::new("rustup");
    command.args(["component", "add"]).args(&missing);
    crate::process::run_bounded(&mut command, ebpf::DOWNLOAD_LIMIT)
}

/// What packages to name on a distribution that setup cannot install on.
fn names(needs: &[&Need], of: fn(&Need) -> &'static str) -> String {
    let mut names: Vec<&str> = needs.iter().flat_map(|need| of(need).split(' ')).collect();
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    names.dedup();
    names.join(" ")
}
