//! The TLS handshake of a connection, over TCP or QUIC.

use super::hello::{ClientHello, ServerHello};
use dnscribe_record::time::Timestamp;
use std::time::Duration;

/// The readable part of a TLS handshake.
#[derive(Clone, Debug, Default)]
pub struct Handshake {
    /// The client's hello, if seen.
    pub client: Option<ClientHello>,
    /// The server's hello, if seen.
    pub server: Option<ServerHello>,
    /// Time of the client's first data.
    pub(super) began: Option<Timestamp>,
    /// Time from which both sides send encrypted data.
    pub(super) completed: Option<Timestamp>,
    /// Whether a side rejected the handshake.
    pub(super) refused: bool,
}

impl Handshake {
    /// Returns the time from the client's first data to the end of the handshake, as far as
    /// visible: over TCP until both sides sent encrypted records (TLS 1.3: application data after
    /// the `ServerHello`; earlier versions: `ChangeCipherSpec`), over QUIC until the client's first
    /// packet with a short header.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        Some(self.completed?.since(self.began?))
    }

    /// Returns whether an earlier session is resumed; `None` without a `ServerHello`.
    #[must_use]
    pub fn resumed(&self) -> Option<bool> {
        Some(self.server.as_ref()?.resumes(self.client.as_ref()?))
    }

    /// Returns whether the handshake has begun and is not complete.
    pub(super) fn is_pending(&self) -> bool {
        self.client.is_some() && self.completed.is_none()
    }
}
