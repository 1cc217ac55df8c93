//! `dnscribe run`: live capture until it is stopped.

use crate::cli::RunArgs;
use dnscribe_agent::session::{Prepared, run};
use dnscribe_cli::exit::Exit;
use dnscribe_cli::service;

/// Captures until a signal, the end of the duration, or the failure of the last sink. `settle` is called once
/// threads may start.
pub(super) fn run(args: &RunArgs, settle: fn()) -> Result<(), Exit> {
    let prepared = Prepared::new(args.sources())?;
    service::allow_open_files();
    run::run(prepared, settle)
}
