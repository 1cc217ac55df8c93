//! How `run` gives up its privileges.

use super::session::Begun;
use crate::capture::live::Live;
use crate::cli::ScoutArgs;
use crate::config::Config;
use crate::config::value::Drop;
use crate::exit::Exit;
use crate::privilege::{self, Plan};
use crate::scout::Scout;

/// A scout, where privileges are to be given up and there are any that it would need.
pub(super) fn scout(config: &Config) -> Option<Scout> {
    if config.privileges.drop == Drop::Off || !privilege::has_use_for_scout() {
        return None;
    }
    let words = ScoutArgs::of(config.privileges.user.as_deref(), config.log).words();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    Scout::start(&words)
        .inspect_err(|error| {
            tracing::warn!(
                "cannot start the scout: {error}; without it executables of other users are not told, \
                 nor ICMP errors in other network namespaces"
            );
        })
        .ok()
}

/// Gives them up, while no thread has been started; says how the process stands then, and what could not
/// be done.
pub(super) fn give_up_privileges(begun: &Begun, live: &Live) -> Result<(), Exit> {
    let config = &begun.config;
    if config.privileges.drop == Drop::Off {
        tracing::warn!("privileges are kept, since privileges.drop is off");
        return Ok(());
    }
    let file = begun.sources.file.as_deref();
    let dropped = Plan::new(config, file, !live.is_readable_by_anyone()).apply();
    if config.privileges.drop == Drop::Strict && !dropped.failures.is_empty() {
        let failures = dropped.failures.join("; ");
        return Err(Exit::cannot_capture(format!("cannot give up privileges: {failures}"))
            .with_remedy(
                "see `dnscribe check`, or set privileges.drop to auto to run all the same",
            ));
    }
    for failure in &dropped.failures {
        tracing::warn!("privileges are not all given up: {failure}");
    }
    tracing::info!("privileges given up: {}", dropped.state);
    Ok(())
}
