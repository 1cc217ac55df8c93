//! Frames with descriptors over a Unix socket: a [`Head`], and the body.

use rustix::io::retry_on_intr;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use zerocopy::big_endian::U32;
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes, Unaligned};

/// Maximum number of descriptors in a frame: that of the kernel (`SCM_MAX_FD`).
pub const MAX_DESCRIPTORS: usize = 253;

/// Maximum size of a body in bytes.
const MAX_BODY: usize = 16 << 20;

/// Start of a frame.
#[derive(TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Head {
    body_bytes: U32,
    kind: FrameKind,
}

/// Kind of a frame.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(u8)]
pub enum FrameKind {
    /// [`super::Hello`].
    Hello = 1,
    /// The reason for a refusal, as text.
    Refused = 2,
    /// [`super::Offer`].
    Offer = 3,
    /// The new agent is ready.
    Go = 4,
    /// [`super::State`].
    State = 5,
    /// A page of queries: see [`super::page`].
    Page = 6,
    /// The end of the pages.
    End = 7,
    /// The new agent has the state and all pages.
    Took = 8,
    /// The running agent reads no more.
    Over = 9,
}

/// One end of a connection.
#[derive(Debug)]
pub struct FrameSocket {
    socket: UnixStream,
    descriptors: Vec<OwnedFd>,
}

impl FrameSocket {
    /// Creates a connection over a socket. Reads and writes fail if no byte passes for `limit`.
    ///
    /// # Errors
    /// The limit cannot be set.
    pub fn new(socket: UnixStream, limit: Duration) -> io::Result<Self> {
        socket.set_nonblocking(false)?;
        let line = Self { socket, descriptors: Vec::new() };
        line.set_limit(limit)?;
        Ok(line)
    }

    /// Sets another limit.
    ///
    /// # Errors
    /// The limit cannot be set.
    pub fn set_limit(&self, limit: Duration) -> io::Result<()> {
        self.socket.set_read_timeout(Some(limit))?;
        self.socket.set_write_timeout(Some(limit))
    }

    /// User id of the process at the other end, as of when it connected.
    ///
    /// # Errors
    /// The kernel does not know.
    pub fn peer_user(&self) -> io::Result<u32> {
        Ok(socket_peercred(&self.socket)?.uid.as_raw())
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// The other end is closed or reads nothing in time, or the body is too long.
    pub fn send(&mut self, kind: FrameKind, body: &[u8]) -> io::Result<()> {
        self.send_with(kind, body, &[])
    }

    /// Sends a frame with a JSON body.
    ///
    /// # Errors
    /// See [`Self::send`].
    pub fn send_json(&mut self, kind: FrameKind, body: &impl Serialize) -> io::Result<()> {
        self.send(kind, &serde_json::to_vec(body)?)
    }

    /// Sends a frame with up to [`MAX_DESCRIPTORS`] descriptors.
    ///
    /// # Errors
    /// See [`Self::send`].
    pub fn send_with(
        &mut self,
        kind: FrameKind,
        body: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX_BODY);
        let length = length.ok_or_else(|| invalid("a frame is too long"))?;
        let head = Head { body_bytes: length.into(), kind };
        let head = head.as_bytes();
        let mut buffer =
            vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut buffer);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(invalid("too many descriptors"));
        }
        // The descriptors come with the first byte.
        let sent = sendmsg(&self.socket, &[IoSlice::new(head)], &mut control, SendFlags::NOSIGNAL)?;
        // The runtime ignores the signal that a write to a closed socket raises.
        self.socket.write_all(head.get(sent..).unwrap_or_default())?;
        self.socket.write_all(body)
    }

    /// Reads the next frame.
    ///
    /// # Errors
    /// The other end is closed, sends nothing in time, or sends what is no frame.
    pub fn read(&mut self) -> io::Result<(FrameKind, Vec<u8>)> {
        let mut head = [0; size_of::<Head>()];
        let mut buffer =
            vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut buffer);
        let filled = retry_on_intr(|| {
            let bytes = &mut [IoSliceMut::new(&mut head)];
            recvmsg(&self.socket, bytes, &mut control, RecvFlags::CMSG_CLOEXEC)
        })?
        .bytes;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                self.descriptors.extend(rights);
            }
        }
        if filled == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.socket.read_exact(head.get_mut(filled..).unwrap_or_default())?;
        let head = Head::try_read_from_bytes(&head);
        let head = head.map_err(|_| invalid("a frame of unknown kind"))?;
        let length = head.body_bytes.get() as usize;
        if length > MAX_BODY {
            return Err(invalid("a frame is too long"));
        }
        let mut body = vec![0; length];
        self.socket.read_exact(&mut body)?;
        Ok((head.kind, body))
    }

    /// Reads the next frame, which must be of this kind.
    ///
    /// # Errors
    /// See [`Self::read`]; also if the frame is of another kind. The reason of a refusal is the text of the error.
    pub fn expect(&mut self, kind: FrameKind) -> io::Result<Vec<u8>> {
        match self.read()? {
            (found, body) if found == kind => Ok(body),
            (FrameKind::Refused, why) => Err(io::Error::other(String::from_utf8_lossy(&why))),
            (found, _) => Err(invalid(&format!("{found:?} instead of {kind:?}"))),
        }
    }

    /// Reads the next frame, which must be of this kind and have a JSON body.
    ///
    /// # Errors
    /// See [`Self::expect`]; also if the body is not the expected JSON.
    pub fn expect_json<T: DeserializeOwned>(&mut self, kind: FrameKind) -> io::Result<T> {
        Ok(serde_json::from_slice(&self.expect(kind)?)?)
    }

    /// Returns the descriptors received so far.
    pub fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.descriptors)
    }
}

impl AsFd for FrameSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Seek as _;

    const SOON: Duration = Duration::from_millis(200);

    fn pair() -> (FrameSocket, FrameSocket) {
        let (one, other) = UnixStream::pair().unwrap();
        (FrameSocket::new(one, SOON).unwrap(), FrameSocket::new(other, SOON).unwrap())
    }

    #[test]
    fn sends_frames_in_order_with_descriptors() {
        let (mut one, mut other) = pair();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"shared").unwrap();
        one.send_with(FrameKind::Offer, b"with", &[file.as_fd(), file.as_fd()]).unwrap();
        one.send(FrameKind::Page, &vec![7; 100_000]).unwrap();
        one.send_json(FrameKind::Go, &5).unwrap();
        assert_eq!(other.expect(FrameKind::Offer).unwrap(), b"with");
        let mut descriptors = other.take_descriptors();
        assert_eq!(descriptors.len(), 2);
        let mut copy = std::fs::File::from(descriptors.remove(0));
        copy.rewind().unwrap();
        let mut text = String::new();
        copy.read_to_string(&mut text).unwrap();
        assert_eq!(text, "shared");
        assert_eq!(other.read().unwrap(), (FrameKind::Page, vec![7; 100_000]));
        assert_eq!(other.expect_json::<u32>(FrameKind::Go).unwrap(), 5);
        assert_eq!(other.peer_user().unwrap(), rustix::process::geteuid().as_raw());
    }

    #[test]
    fn unexpected_frames_are_errors() {
        let (mut one, mut other) = pair();
        assert!(other.read().is_err(), "nothing in time");
        one.send(FrameKind::Refused, b"because").unwrap();
        assert_eq!(other.expect(FrameKind::Offer).unwrap_err().to_string(), "because");
        one.send(FrameKind::Took, &[]).unwrap();
        assert!(other.expect(FrameKind::Go).unwrap_err().to_string().contains("Took"));
        one.socket.write_all(&[0, 0, 0, 0, 77]).unwrap();
        assert_eq!(other.read().unwrap_err().kind(), io::ErrorKind::InvalidData);
        one.socket.write_all(&[255, 0, 0, 0, 6]).unwrap();
        assert!(other.read().unwrap_err().to_string().contains("long"));
        drop(one);
        assert_eq!(other.read().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(other.send(FrameKind::Go, &[]).is_err());
    }

    #[test]
    fn does_not_send_too_long_bodies() {
        let (mut one, _other) = pair();
        assert!(one.send(FrameKind::Page, &vec![0; MAX_BODY + 1]).is_err());
    }
}
