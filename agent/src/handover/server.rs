//! The running agent's side: answers an agent that asks to take over. Waits for it at most [`POLL_TIMEOUT`] in the
//! middle of a frame while it reads, and [`FRAME_TIMEOUT`] for a frame once it has stopped.

use super::{
    FIRST_TIMEOUT, FRAME_TIMEOUT, FrameKind, FrameSocket, HandoverError, HandoverState, Hello,
    MAX_PARTS, Offer, POLL_TIMEOUT, START_TIMEOUT, is_trusted, own_user,
};
use crate::capture::live::Live;
use dnscribe_record::time::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Instant;

/// Listens for the agent that takes over next.
pub struct HandoverServer {
    listener: UnixListener,
    /// User that may connect, beside root: the one who started this agent.
    user: u32,
    peer: Option<Peer>,
}

/// An agent that has connected.
struct Peer {
    frames: FrameSocket,
    since: Instant,
    /// Its hello, once it was sent the offer.
    offered: Option<Hello>,
}

impl HandoverServer {
    /// Listens at a path. Replaces a socket at which no process listens any more.
    ///
    /// # Errors
    /// The path is not a socket, or cannot be written.
    pub fn listen(path: &Path) -> io::Result<Self> {
        listen(path).map(Self::new)
    }

    pub(super) fn new(listener: UnixListener) -> Self {
        Self { listener, user: own_user(), peer: None }
    }

    /// Answers a peer, if there is one. `hello` returns that of this agent. Returns whether the
    /// peer is ready to take over.
    pub fn poll(&mut self, hello: &dyn Fn() -> Hello, live: &Live, epoch: Timestamp) -> bool {
        self.try_poll(hello, live, epoch).unwrap_or_else(|why| {
            tracing::warn!("an agent that asked to take over does not: {why}");
            self.disconnect();
            false
        })
    }

    fn try_poll(
        &mut self,
        hello: &dyn Fn() -> Hello,
        live: &Live,
        epoch: Timestamp,
    ) -> Result<bool, HandoverError> {
        let Some(peer) = &mut self.peer else {
            self.listener.set_nonblocking(true)?;
            // Mostly no agent connects. One that has disconnected again does no harm.
            let Ok((socket, _)) = self.listener.accept() else { return Ok(false) };
            let frames = FrameSocket::new(socket, POLL_TIMEOUT)?;
            self.peer = Some(Peer { frames, since: Instant::now(), offered: None });
            return Ok(false);
        };
        if !is_readable(&peer.frames) {
            let timeout = if peer.offered.is_some() { START_TIMEOUT } else { FIRST_TIMEOUT };
            if peer.since.elapsed() > timeout {
                return Err("it sends nothing".into());
            }
            return Ok(false);
        }
        let own = hello();
        if let Some(theirs) = &peer.offered {
            peer.frames.expect(FrameKind::Go)?;
            // The configuration may have been reloaded meanwhile.
            return own.differs(theirs).map_or(Ok(true), |why| Err(peer.refuse(&why)));
        }
        let user = peer.frames.peer_user()?;
        if !is_trusted(user, self.user) {
            return Err(format!("it belongs to user {user}").into());
        }
        let theirs: Hello = peer.frames.expect_json(FrameKind::Hello)?;
        if let Some(why) = own.differs(&theirs) {
            return Err(peer.refuse(&why));
        }
        let Some(parts) = live.parts().filter(|parts| parts.descriptors.len() < MAX_PARTS) else {
            return Err(peer.refuse("its programs have too many parts"));
        };
        let offer = Offer {
            epoch: epoch.as_nanos(),
            pid: std::process::id(),
            about: parts.about.clone(),
            parts: parts.names.clone(),
        };
        let body = serde_json::to_vec(&offer)?;
        let mut descriptors = vec![self.listener.as_fd()];
        descriptors.extend(parts.descriptors.iter().map(OwnedFd::as_fd));
        tracing::info!(version = theirs.version, "another agent is about to take over");
        peer.offered = Some(theirs);
        peer.frames.send_with(FrameKind::Offer, &body, &descriptors)?;
        Ok(false)
    }

    /// Sends the state of this agent to the peer that is ready.
    ///
    /// # Errors
    /// The peer has not confirmed. Then it does not read from the rings and never will.
    pub fn hand_over(&mut self, state: &HandoverState, pages: &[Vec<u8>]) -> io::Result<()> {
        let disconnected = || io::Error::from(io::ErrorKind::NotConnected);
        let Peer { mut frames, .. } = self.peer.take().ok_or_else(disconnected)?;
        frames.set_limit(FRAME_TIMEOUT)?;
        frames.send_json(FrameKind::State, state)?;
        for page in pages {
            frames.send(FrameKind::Page, page)?;
        }
        frames.send(FrameKind::End, &[])?;
        frames.expect(FrameKind::Took)?;
        frames.send(FrameKind::Over, &[])
    }

    /// Disconnects the peer, if there is one.
    pub fn disconnect(&mut self) {
        self.peer = None;
    }
}

impl Peer {
    /// Sends the reason for a refusal, and returns it for the log.
    fn refuse(&mut self, why: &str) -> HandoverError {
        // A peer that has disconnected needs no answer.
        let _ = self.frames.send(FrameKind::Refused, why.as_bytes());
        format!("it was refused ({why})").into()
    }
}

/// Listens at a path for the owner of the process only.
fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::other("it exists and is no socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // There is no other thread yet that could create a file meanwhile.
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    listener
}

fn is_readable(line: &FrameSocket) -> bool {
    let mut polled = [PollFd::new(line, PollFlags::IN)];
    poll(&mut polled, Some(&Timespec::default())).is_ok_and(|count| count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn listens_for_its_owner_and_replaces_a_dead_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        for _ in 0..2 {
            let listener = listen(&path).unwrap();
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            drop(listener);
        }
        let file = directory.path().join("file");
        fs::write(&file, "mine").unwrap();
        assert!(listen(&file).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    }
}
