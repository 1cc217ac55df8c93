//! Periodic pauses of the authoritative server, to make some answers late.

use super::Lab;
use rustix::process::{Pid, Signal, kill_process};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Pauses the authoritative server periodically until it is dropped.
#[derive(Debug)]
pub struct ServerPauses {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Lab {
    /// Pauses the authoritative server for `still` and lets it run for `running`, in turns.
    #[must_use]
    pub fn pause_server(&self, still: Duration, running: Duration) -> ServerPauses {
        // The authoritative server was started before the resolver.
        let server = self.servers.first().map(Pid::from_child);
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let thread = thread::spawn(move || {
            // A server that has ended cannot be signalled.
            let signal = |signal| server.map(|server| kill_process(server, signal));
            while !ended.load(Ordering::Relaxed) {
                let _ = signal(Signal::STOP);
                thread::sleep(still);
                let _ = signal(Signal::CONT);
                thread::sleep(running);
            }
        });
        ServerPauses { end, thread: Some(thread) }
    }
}

impl Drop for ServerPauses {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The panic hook has already printed a panic of the thread.
            let _ = thread.join();
        }
    }
}
