//! `dnscribe scout`, which nobody types: see [`crate::scout`].

use crate::cli::ScoutArgs;
use crate::exit::Exit;
use crate::log;
use crate::privilege;
use crate::scout;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::Arc;

/// Gives up what it does not need, and serves the agent until that is gone.
pub(super) fn scout(args: &ScoutArgs) -> Result<(), Exit> {
    log::start(args.log());
    // Else it would be named after the link that it was started by. A name is not worth an error.
    let _ = rustix::thread::set_name(c"dnscribe-scout");
    let failed = |error| Exit::failed(format!("the scout failed: {error}"));
    // A service manager tells all processes to end; the scout ends with the agent, not before.
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::default()).map_err(failed)?;
    }
    let dropped = privilege::apply_to_scout(args.user.as_deref());
    for failure in &dropped.failures {
        tracing::warn!("the scout keeps more than it needs: {failure}");
    }
    tracing::debug!("the scout: {}", dropped.state);
    scout::serve().map_err(failed)
}
