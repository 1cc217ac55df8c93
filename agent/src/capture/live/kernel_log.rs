//! Diagnostics of the eBPF programs (`aya-log`), as log lines of level trace. At other levels they are off,
//! and the verifier removes the code that writes them.

use aya::{Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

/// Time between two reads of the log's ring.
const INTERVAL: Duration = Duration::from_millis(250);

/// Sets the log level of the programs to the agent's. The level is fixed when programs are loaded.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the loader keeps the reference")]
pub fn configure<'a>(loader: &mut EbpfLoader<'a>, level: &'a u8, page_bytes: u32) {
    loader.override_global(aya_log::LEVEL, level, true);
    if *level == 0 {
        loader.map_max_entries("AYA_LOGS", page_bytes);
    }
}

/// Returns the level of diagnostics, for [`configure`].
pub fn level() -> u8 {
    if tracing::enabled!(tracing::Level::TRACE) { aya_log::Level::Trace as u8 } else { 0 }
}

/// The diagnostics, and the thread that writes them. It ends after this is dropped.
pub struct KernelLog {
    /// Moved into the thread.
    logger: Option<EbpfLogger<Tracing>>,
    alive: Arc<()>,
}

impl KernelLog {
    /// Opens the diagnostics without starting the thread; none where they are off.
    pub fn open(ebpf: &mut Ebpf) -> Option<Self> {
        if level() == 0 {
            return None;
        }
        let logger = EbpfLogger::init_with_logger(ebpf, Tracing)
            .inspect_err(|error| tracing::warn!(%error, "no diagnostics of the eBPF programs"))
            .ok()?;
        Some(Self { logger: Some(logger), alive: Arc::new(()) })
    }

    /// Starts the thread, which inherits the privileges of this one. Needs none.
    pub fn start(&mut self) {
        let Some(mut logger) = self.logger.take() else { return };
        let watch = Arc::downgrade(&self.alive);
        let run = move || {
            while Weak::strong_count(&watch) > 0 {
                thread::sleep(INTERVAL);
                logger.flush();
            }
        };
        if let Err(error) = thread::Builder::new().name("kernel-log".into()).spawn(run) {
            tracing::warn!(%error, "no diagnostics of the eBPF programs");
        }
    }
}

/// Passes the lines on to `tracing`.
struct Tracing;

impl log::Log for Tracing {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        tracing::trace!(target: "dnscribe::ebpf", "eBPF: {}", record.args());
    }

    fn flush(&self) {}
}
