//! `setup`: installs what building needs, and on request what the tests need. Does nothing, fast,
//! where all is there.

mod ebpf;
mod packages;

use crate::say;
use anyhow::Result;
use packages::Need;

/// What to set up.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct Args {
    /// Also install what the tests need: DNS servers and tools, Java and Maven for Kafka
    #[arg(long)]
    pub test: bool,
}

/// Runs the command.
pub fn main(args: Args) -> Result<()> {
    if crate::process::elevated() {
        return Ok(());
    }
    let mut installed = packages::install("building", &packages::missing(packages::BUILD))?;
    installed |= ebpf::install()?;
    installed |= components()?;
    if args.test {
        installed |= packages::install("the tests", &packages::missing(packages::TEST))?;
    }
    if !installed {
        say::progress("setup: everything is there");
    }
    Ok(())
}

/// rustfmt and clippy, for `lint`.
fn components() -> Result<bool> {
    let missing: Vec<&str> = ["rustfmt", "clippy"]
        .into_iter()
        .filter(|name| {
            let program = if *name == "clippy" { "cargo-clippy" } else { name };
            crate::process::first_line(program, &["--version"]).is_none()
        })
        .collect();
    if missing.is_empty() {
        return Ok(false);
    }
    say::progress(&format!("setup: adding {} to the Rust toolchain", missing.join(" and ")));
    let mut command = std::process::Command::new("rustup");
    command.args(["component", "add"]).args(&missing);
    crate::process::run_bounded(&mut command, ebpf::DOWNLOAD_LIMIT)?;
    Ok(true)
}

/// What packages to name on a distribution that setup cannot install on.
fn names(needs: &[&Need], of: fn(&Need) -> &'static str) -> String {
    let mut names: Vec<&str> = needs.iter().flat_map(|need| of(need).split(' ')).collect();
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    names.dedup();
    names.join(" ")
}
