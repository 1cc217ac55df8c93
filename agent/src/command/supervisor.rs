//! Notifies the service manager, if there is one: systemd's `sd_notify(3)`.

pub(super) use sd_notify::NotifyState as State;

/// Tells a service manager how things are; nothing happens where none asks.
pub(super) fn tell(state: State<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(
            "the service manager could not be told how things are: {error}; if it ends the agent for \
             this, set Type=exec in the unit"
        );
    }
}
