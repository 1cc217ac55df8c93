//! `bench`: measurements, as JSON lines.

/// What to measure.
#[derive(clap::Args, Debug)]
pub struct Args {}

/// Runs the command.
pub fn main(_: &Args) -> anyhow::Result<()> {
    Ok(())
}
