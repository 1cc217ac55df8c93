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

/// The thread that writes the diagnostics. It ends after this is dropped.
pub struct KernelLog {
    _alive: Arc<()>,
}

impl KernelLog {
    /// Starts the thread; nothing where diagnostics are off.
    pub fn start(ebpf: &mut Ebpf) -> Option<Self> {
        if level() == 0 {
            return None;
        }
        let mut logger = EbpfLogger::init_with_logger(ebpf, Tracing)
            .inspect_err(|error| tracing::warn!(%error, "no diagnostics of the eBPF programs"))
            .ok()?;
        let alive = Arc::new(());
        let watch = Arc::downgrade(&alive);
        let run = move || {
            while Weak::strong_count(&watch) > 0 {
                thread::sleep(INTERVAL);
                logger.flush();
            }
        };
        let started = thread::Builder::new().name("kernel-log".into()).spawn(run);
        started.ok().map(|_| Self { _alive: alive })
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
