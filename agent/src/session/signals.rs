//! Signals (SIGTERM and SIGINT stop, SIGHUP reloads), and how they wake the thread that waits for packets.

use dnscribe_cli::exit::Exit;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Flags that signals raise, and the waker of the thread that checks them.
#[derive(Clone, Debug)]
pub struct Signals {
    /// Raised by a signal to stop.
    pub stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
    /// Each of the signals wakes it.
    pub waker: Waker,
}

impl Signals {
    /// Installs handlers for SIGTERM and SIGINT (stop; a second one ends at once) and SIGHUP (reload, reopen files).
    pub fn listen() -> Result<Self, Exit> {
        let listen = || -> io::Result<Self> {
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

    /// Creates flags that no signal raises, for a command that handles signals itself.
    pub fn without_handlers() -> Result<Self, Exit> {
        let waker = Waker::new()
            .map_err(|error| Exit::failed(format!("cannot create a socket pair: {error}")))?;
        Ok(Self { stop: Arc::default(), reload: Arc::default(), waker })
    }

    /// Raises the flag to stop, and wakes the thread that checks it.
    pub fn request_stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.waker.wake();
    }

    /// Makes SIGHUP stop, too, for a command that needs its terminal.
    pub fn stop_at_hangup(&self) -> Result<(), Exit> {
        let registered = signal_hook::flag::register(SIGHUP, Arc::clone(&self.stop));
        registered
            .map(|_| ())
            .map_err(|error| Exit::failed(format!("cannot listen for signals: {error}")))
    }

    /// Returns whether a signal to stop has come.
    #[must_use]
    pub fn stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Returns whether a signal to reload has come since the last call.
    #[must_use]
    pub fn reload(&self) -> bool {
        self.reload.swap(false, Ordering::Relaxed)
    }
}

/// A file descriptor that becomes readable when woken. Clones share it.
#[derive(Clone, Debug)]
pub struct Waker {
    receiver: Arc<UnixStream>,
    sender: Arc<UnixStream>,
}

impl Waker {
    /// Creates a waker.
    pub fn new() -> io::Result<Self> {
        let (receiver, sender) = UnixStream::pair()?;
        receiver.set_nonblocking(true)?;
        sender.set_nonblocking(true)?;
        Ok(Self { receiver: Arc::new(receiver), sender: Arc::new(sender) })
    }

    /// Wakes the thread; stays readable until [drained](Self::drain).
    pub fn wake(&self) {
        // Fails if the socket is full, and then it is readable.
        let _ = (&*self.sender).write(&[0]);
    }

    /// Makes a signal wake the thread.
    pub fn wake_on(&self, signal: i32) -> io::Result<()> {
        signal_hook::low_level::pipe::register(signal, self.sender.try_clone()?).map(drop)
    }

    /// Resets the waker. To be called before checking what may have woken the thread.
    pub fn drain(&self) {
        let mut bytes = [0; 64];
        while (&*self.receiver).read(&mut bytes).is_ok_and(|count| count > 0) {}
    }
}

impl AsFd for Waker {
    /// Readable once woken.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn is_woken(waker: &Waker) -> bool {
        poll(&mut [PollFd::new(waker, PollFlags::IN)], Some(&Timespec::default())).unwrap() == 1
    }

    #[test]
    fn stays_woken_until_drained() {
        let waker = Waker::new().unwrap();
        assert!(!is_woken(&waker));
        (0..100_000).for_each(|_| waker.wake());
        assert!(is_woken(&waker.clone()));
        waker.drain();
        assert!(!is_woken(&waker));
        waker.wake_on(signal_hook::consts::SIGWINCH).unwrap();
        signal_hook::low_level::raise(signal_hook::consts::SIGWINCH).unwrap();
        assert!(is_woken(&waker));
    }
}
