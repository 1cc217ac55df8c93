//! SIGINT, SIGTERM and SIGHUP as a flag, for commands that must clean up before they end.

use anyhow::{Context as _, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Flag that is set by a signal that asks this command to end.
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Installs the handlers. From then on these signals do not end this process; they still end its children.
    pub fn listen() -> Result<Self> {
        let signalled = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&signalled))
                .context("cannot listen for signals")?;
        }
        Ok(Self(signalled))
    }

    /// Whether a signal came since the last call.
    pub fn was_signalled(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }

    /// Checks the flag.
    ///
    /// # Errors
    /// If a signal came, so that the caller returns and drops what it created.
    pub fn check(&self) -> Result<()> {
        if self.was_signalled() {
            bail!("interrupted");
        }
        Ok(())
    }
}
