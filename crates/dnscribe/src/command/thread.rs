//! Threads of commands that show something while records come.

use dnscribe_cli::exit::Exit;
use std::thread::{Builder, JoinHandle};

/// Starts a thread.
///
/// # Errors
/// The system has no room for one more.
pub(super) fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Exit> {
    let started = Builder::new().name(name.to_owned()).spawn(work);
    started.map_err(|error| Exit::failed(format!("cannot start the {name} thread: {error}")))
}

/// Returns the result of a thread.
///
/// # Errors
/// It has panicked, and its message has been printed.
pub(super) fn joined<T>(thread: JoinHandle<T>) -> Result<T, Exit> {
    let name = thread.thread().name().unwrap_or_default().to_owned();
    thread.join().map_err(|_| Exit::failed(format!("the {name} thread failed")))
}
