//! `dnscribe check`: would `run` work on this host?

use super::session::live_options;
use super::summary::print;
use crate::capture::live::probe;
use crate::check::{Probe, check as look};
use crate::cli::CheckArgs;
use crate::config::Config;
use crate::config::value::Output;
use crate::exit::Exit;
use crate::privilege;
use std::process::exit;

/// Prints what was found, and ends with the exit code that `run` would end with.
pub(super) fn check(args: &CheckArgs) -> Result<(), Exit> {
    let sources = args.sources();
    let loaded = Config::load(&sources);
    let report = look(loaded.as_ref(), args.create_topics, |config| {
        let probes = probe::probe(&live_options(config, None)).into_iter();
        let privileges = privilege::probe::probe(config, sources.file.as_deref());
        probes.map(Probe::from).chain(privileges).collect()
    });
    print(&report.render(args.output.unwrap_or(Output::Text)))?;
    match report.exit_code() {
        0 => Ok(()),
        // The report has said everything.
        code => exit(i32::from(code)),
    }
}

impl From<probe::Probe> for Probe {
    fn from(found: probe::Probe) -> Self {
        let probe::Probe { name, ok, required, detail, remedy } = found;
        Self { name, ok, required, detail, remedy }
    }
}
