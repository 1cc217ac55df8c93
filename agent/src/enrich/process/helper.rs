//! Asks the scout about processes of others, which a process without privileges is told little of.

use super::Facts;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// What is told of a process at most; names of cgroups are the longest of it.
const MESSAGE_BYTES: usize = 64 << 10;
/// How long to wait for an answer: it takes some ten microseconds where there is a CPU for the scout.
/// Packets wait in the ring meanwhile.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long nothing is asked after one that did not come.
const PAUSE: Duration = Duration::from_secs(5);

/// The scout, as the agent sees it.
#[derive(Debug)]
pub(super) struct Scout {
    socket: OwnedFd,
    room: Vec<u8>,
    next: Option<Instant>,
    is_told: bool,
}

impl Scout {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, room: vec![0; MESSAGE_BYTES], next: None, is_told: false }
    }

    /// What there is to know about a pid; nothing where the scout does not say.
    pub(super) fn ask(&mut self, pid: u32) -> Option<Facts> {
        if self.next.is_some_and(|next| Instant::now() < next) {
            return None;
        }
        self.next = None;
        self.try_ask(pid)
            .inspect_err(|error| {
                self.next = Some(Instant::now() + PAUSE);
                if !std::mem::replace(&mut self.is_told, true) {
                    tracing::warn!(%error, "the scout does not answer: some executables are not told");
                }
            })
            .ok()
    }

    fn try_ask(&mut self, pid: u32) -> io::Result<Facts> {
        let Self { socket, room, .. } = self;
        set_socket_timeout(&*socket, Timeout::Recv, Some(PATIENCE))?;
        send(&*socket, &pid.to_le_bytes(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
        loop {
            let (length, _) = recv(&*socket, &mut room[..], RecvFlags::empty())?;
            if length == 0 {
                return Err(io::Error::other("it has ended"));
            }
            let facts: Facts = serde_json::from_slice(room.get(..length).unwrap_or_default())?;
            // Others are answers that came too late.
            if facts.pid == pid {
                return Ok(facts);
            }
        }
    }
}

/// Answers, until the other end is closed.
///
/// # Errors
/// Where the socket fails.
pub fn answer(socket: &OwnedFd) -> io::Result<()> {
    let mut pid = [0; 4];
    loop {
        let (length, _) = recv(socket, &mut pid, RecvFlags::empty())?;
        if length == 0 {
            return Ok(());
        }
        let facts = Facts::read(u32::from_le_bytes(pid));
        send(socket, &serde_json::to_vec(&facts)?, SendFlags::NOSIGNAL)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        let (family, flags) = (AddressFamily::UNIX, SocketFlags::CLOEXEC);
        socketpair(family, SocketType::SEQPACKET, flags, None).unwrap()
    }

    #[test]
    fn is_told_what_it_would_read_itself() {
        let (ours, theirs) = pair();
        let scout = std::thread::spawn(move || answer(&theirs));
        let mut asking = Scout::new(ours);
        let pid = std::process::id();
        let (told, own) = (asking.ask(pid).unwrap(), Facts::read(pid));
        assert!(told.exe.is_some() && told.exe == own.exe, "{told:?}");
        assert_eq!((told.cgroups, told.start_ns), (own.cgroups, own.start_ns));
        drop(asking);
        scout.join().unwrap().unwrap();
    }

    #[test]
    fn does_not_wait_for_one_that_is_silent_or_gone() {
        let (ours, theirs) = pair();
        let mut asking = Scout::new(ours);
        assert!(asking.ask(1).is_none());
        let before = Instant::now();
        assert!(asking.ask(1).is_none() && before.elapsed() < PATIENCE, "asked again at once");
        // An answer that comes too late is not taken for that to the next question.
        let late = Facts { pid: 1, ..Facts::default() };
        send(&theirs, &serde_json::to_vec(&late).unwrap(), SendFlags::empty()).unwrap();
        asking.next = None;
        assert!(asking.ask(2).is_none());
        drop(theirs);
        asking.next = None;
        assert!(asking.ask(1).is_none());
    }
}
