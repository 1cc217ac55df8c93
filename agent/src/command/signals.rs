//! Signals: SIGTERM and SIGINT stop, SIGHUP reloads.

use super::waker::Waker;
use crate::cli::exit::Exit;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Flags that signals raise, and the waker of the thread that checks them.
#[derive(Clone, Debug)]
pub(super) struct Signals {
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
    waker: Waker,
}

impl Signals {
    /// Installs handlers for SIGTERM and SIGINT (stop; a second one ends at once) and SIGHUP (reload, reopen files).
    pub(super) fn listen() -> Result<Self, Exit> {
        let listen = || -> std::io::Result<Self> {
            let signals =
                Self { stop: Arc::default(), reload: Arc::default(), waker: Waker::new()? };
            for signal in [SIGTERM, SIGINT] {
                // In this order: the first signal finds the flag down, the second finds it up.
                let up = Arc::clone(&signals.stop);
                signal_hook::flag::register_conditional_shutdown(signal, 1, up)?;
                signal_hook::flag::register(signal, Arc::clone(&signals.stop))?;
            }
            signal_hook::flag::register(SIGHUP, Arc::clone(&signals.reload))?;
            // Last: the flag is up before the thread wakes.
            [SIGTERM, SIGINT, SIGHUP]
                .iter()
                .try_for_each(|signal| signals.waker.wake_on(*signal))?;
            Ok(signals)
        };
        listen().map_err(|error| Exit::failed(format!("cannot listen for signals: {error}")))
    }

    /// Waker that each of the signals wakes.
    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Makes SIGHUP stop, too, for a command that needs its terminal.
    pub(super) fn stop_at_hangup(&self) -> Result<(), Exit> {
        let registered = signal_hook::flag::register(SIGHUP, Arc::clone(&self.stop));
        registered
            .map(|_| ())
            .map_err(|error| Exit::failed(format!("cannot listen for signals: {error}")))
    }

    /// Returns whether a signal to stop has come.
    pub(super) fn stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Flag that is raised by a signal to stop.
    pub(super) fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Returns whether a signal to reload has come since the last call.
    pub(super) fn reload(&self) -> bool {
        self.reload.swap(false, Ordering::Relaxed)
    }
}
