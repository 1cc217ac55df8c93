//! Ends the sleep of the thread that waits for packets: somebody else has something for it.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// A bell, and its rope. Clones are the same bell.
#[derive(Clone, Debug)]
pub(super) struct Bell {
    hears: Arc<UnixStream>,
    rings: Arc<UnixStream>,
}

impl Bell {
    /// A new one, silent.
    pub(super) fn new() -> io::Result<Self> {
        let (hears, rings) = UnixStream::pair()?;
        hears.set_nonblocking(true)?;
        rings.set_nonblocking(true)?;
        Ok(Self { hears: Arc::new(hears), rings: Arc::new(rings) })
    }

    /// Rings until it is silenced.
    pub(super) fn ring(&self) {
        // Fails where it has been rung so often that no octet more fits.
        let _ = (&*self.rings).write(&[0]);
    }

    /// Has every further signal of this kind ring.
    pub(super) fn ring_at(&self, signal: i32) -> io::Result<()> {
        signal_hook::low_level::pipe::register(signal, self.rings.try_clone()?).map(drop)
    }

    /// Silences it: what rang must be looked after now.
    pub(super) fn silence(&self) {
        let mut rung = [0; 64];
        while (&*self.hears).read(&mut rung).is_ok_and(|octets| octets > 0) {}
    }
}

impl AsFd for Bell {
    /// Readable while it rings.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.hears.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn rings(bell: &Bell) -> bool {
        poll(&mut [PollFd::new(bell, PollFlags::IN)], Some(&Timespec::default())).unwrap() == 1
    }

    #[test]
    fn rings_until_it_is_silenced() {
        let bell = Bell::new().unwrap();
        assert!(!rings(&bell));
        (0..100_000).for_each(|_| bell.ring());
        assert!(rings(&bell.clone()));
        bell.silence();
        assert!(!rings(&bell));
        bell.ring_at(signal_hook::consts::SIGWINCH).unwrap();
        signal_hook::low_level::raise(signal_hook::consts::SIGWINCH).unwrap();
        assert!(rings(&bell));
    }
}
