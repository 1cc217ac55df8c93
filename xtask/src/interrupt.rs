//! Ctrl-C and its kin, as a flag: a command that has something to take down must not just end.

use anyhow::{Context as _, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the command was asked to end.
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From here on this process is not ended by these signals. The programs that it starts are.
    pub fn listen() -> Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&asked))
                .context("cannot listen for signals")?;
        }
        Ok(Self(asked))
    }

    /// Whether one came since the last call.
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }

    /// An error where one came, so that what was made is dropped.
    pub fn check(&self) -> Result<()> {
        if self.take() {
            bail!("interrupted");
        }
        Ok(())
    }
}
