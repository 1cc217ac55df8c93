//! A server that now and then answers late: its process stands still for some milliseconds.

use super::Lab;
use rustix::process::{Pid, Signal, kill_process};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The authoritative server stutters until this is dropped.
#[derive(Debug)]
pub struct Stutter {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Lab {
    /// Has the authoritative server stand still for `still` and run for `running`, by turns.
    #[must_use]
    pub fn stutter(&self, still: Duration, running: Duration) -> Stutter {
        // Started before the resolver.
        let server = self.servers.first().map(Pid::from_child);
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let thread = thread::spawn(move || {
            // A server that has ended hears nothing.
            let signal = |signal| server.map(|server| kill_process(server, signal));
            while !ended.load(Ordering::Relaxed) {
                let _ = signal(Signal::STOP);
                thread::sleep(still);
                let _ = signal(Signal::CONT);
                thread::sleep(running);
            }
        });
        Stutter { end, thread: Some(thread) }
    }
}

impl Drop for Stutter {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic has been told by the panic hook.
            let _ = thread.join();
        }
    }
}
