//! What the operator signals.

use super::bell::Bell;
use crate::exit::Exit;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Flags that signals raise, and the bell that they ring.
#[derive(Clone, Debug)]
pub(super) struct Signals {
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
    bell: Bell,
}

impl Signals {
    /// Listens for SIGTERM and SIGINT (stop; a second one ends at once) and SIGHUP (reload, reopen files).
    pub(super) fn listen() -> Result<Self, Exit> {
        let listen = || -> std::io::Result<Self> {
            let signals = Self { stop: Arc::default(), reload: Arc::default(), bell: Bell::new()? };
            for signal in [SIGTERM, SIGINT] {
                // In this order: the first signal finds the flag down, the second finds it up.
                let up = Arc::clone(&signals.stop);
                signal_hook::flag::register_conditional_shutdown(signal, 1, up)?;
                signal_hook::flag::register(signal, Arc::clone(&signals.stop))?;
            }
            signal_hook::flag::register(SIGHUP, Arc::clone(&signals.reload))?;
            // Last: whoever hears the bell finds the flag up.
            [SIGTERM, SIGINT, SIGHUP]
                .iter()
                .try_for_each(|signal| signals.bell.ring_at(*signal))?;
            Ok(signals)
        };
        listen().map_err(|error| Exit::failed(format!("cannot listen for signals: {error}")))
    }

    /// What each of the signals rings.
    pub(super) fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Has SIGHUP stop, too, for a program whose terminal is all that it is for.
    pub(super) fn stop_at_hangup(&self) -> Result<(), Exit> {
        let registered = signal_hook::flag::register(SIGHUP, Arc::clone(&self.stop));
        registered
            .map(|_| ())
            .map_err(|error| Exit::failed(format!("cannot listen for signals: {error}")))
    }

    /// Whether it is time to stop.
    pub(super) fn stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// What is set when it is time to stop.
    pub(super) fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Whether a reload was asked for since the last call.
    pub(super) fn reload(&self) -> bool {
        self.reload.swap(false, Ordering::Relaxed)
    }
}
