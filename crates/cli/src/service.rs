//! A service and its manager: messages (`sd_notify(3)` of systemd), limits.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
pub use sd_notify::NotifyState as State;

/// Raises the number of files that this process may have open to what the system allows. Service managers give a thousand,
/// for the sake of programs with `select(2)`.
pub fn allow_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // With fewer files it runs, too.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Tells a service manager how things are; nothing happens where none asks.
pub fn notify(state: State<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(
            "the service manager could not be told how things are: {error}; if it ends the program for \
             this, set Type=exec in the unit"
        );
    }
}
