//! What a connection's handshake tells, over whatever transport.

use super::hello::{ClientHello, ServerHello};
use crate::time::Timestamp;
use std::time::Duration;

/// A TLS handshake as far as it is readable.
#[derive(Clone, Debug, Default)]
pub struct Handshake {
    /// What the client said.
    pub client: Option<ClientHello>,
    /// What the server said.
    pub server: Option<ServerHello>,
    /// When the client began to speak.
    pub(super) began: Option<Timestamp>,
    /// When both had come to speak encrypted with the keys agreed on.
    pub(super) completed: Option<Timestamp>,
    /// Whether one of them refused the other.
    pub(super) refused: bool,
}

impl Handshake {
    /// From the client's first octets until the handshake is complete, as far as can be seen: over TCP
    /// until both sides have sent encrypted records (TLS 1.3: application data after the
    /// `ServerHello`; before: `ChangeCipherSpec`), over QUIC until the client's first packet with a
    /// short header.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        Some(self.completed?.since(self.began?))
    }

    /// Whether a session of before was gone on with; none where the server did not say.
    #[must_use]
    pub fn resumed(&self) -> Option<bool> {
        Some(self.server.as_ref()?.resumes(self.client.as_ref()?))
    }

    /// Whether it was begun and did not come to its end.
    pub(super) fn is_pending(&self) -> bool {
        self.client.is_some() && self.completed.is_none()
    }
}
