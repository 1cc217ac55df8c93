//! Messages to the service manager: `sd_notify(3)` of systemd.

pub use sd_notify::NotifyState as State;

/// Tells a service manager how things are; nothing happens where none asks.
pub fn notify(state: State<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(
            "the service manager could not be told how things are: {error}; if it ends the program for \
             this, set Type=exec in the unit"
        );
    }
}
