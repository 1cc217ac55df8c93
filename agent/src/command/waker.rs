//! Wakes the thread that waits for packets, from another thread or a signal handler.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// A file descriptor that becomes readable when woken. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Waker {
    receiver: Arc<UnixStream>,
    sender: Arc<UnixStream>,
}

impl Waker {
    /// Creates a waker.
    pub(super) fn new() -> io::Result<Self> {
        let (receiver, sender) = UnixStream::pair()?;
        receiver.set_nonblocking(true)?;
        sender.set_nonblocking(true)?;
        Ok(Self { receiver: Arc::new(receiver), sender: Arc::new(sender) })
    }

    /// Wakes the thread; stays readable until [drained](Self::drain).
    pub(super) fn wake(&self) {
        // Fails if the socket is full, and then it is readable.
        let _ = (&*self.sender).write(&[0]);
    }

    /// Makes a signal wake the thread.
    pub(super) fn wake_on(&self, signal: i32) -> io::Result<()> {
        signal_hook::low_level::pipe::register(signal, self.sender.try_clone()?).map(drop)
    }

    /// Resets the waker. To be called before checking what may have woken the thread.
    pub(super) fn drain(&self) {
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
