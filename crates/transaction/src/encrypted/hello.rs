//! The TLS handshake of a connection, over TCP or QUIC: reads `ClientHello` and `ServerHello` (RFC
//! 8446, 4.1; RFC 5246, 7.4.1).

use dnscribe_record::time::Timestamp;
use std::fmt::Write as _;
use std::time::Duration;
use tls_parser::{
    TlsExtension, parse_tls_client_hello_extension, parse_tls_handshake_client_hello,
    parse_tls_handshake_server_hello, parse_tls_server_hello_extension,
};

/// A side of a connection, with the type of its first handshake message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client = 1,
    Server = 2,
}

impl Side {
    /// Returns the side's place in arrays of both.
    pub(super) const fn index(self) -> usize {
        self as usize - 1
    }
}

/// Bytes of a handshake message's header: type and length.
pub(super) const MESSAGE_HEADER: usize = 4;

/// TLS 1.3.
pub(super) const TLS13: u16 = 0x0304;

/// `encrypted_client_hello` (RFC 9849).
const ECH: u16 = 0xfe0d;

/// The random of a `ServerHello` that is a `HelloRetryRequest` (RFC 8446, 4.1.3).
pub(super) const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Longest server name in bytes (RFC 1035, 2.3.4).
const MAX_NAME: usize = 255;
/// Most offered protocols that are kept.
const MAX_PROTOCOLS: usize = 16;

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

    /// Notes that data of a side was seen.
    pub(super) fn note_data(&mut self, side: Side, now: Timestamp) {
        if side == Side::Client {
            self.began.get_or_insert(now);
        }
    }

    /// Reads the hello of a side. Returns false for a `HelloRetryRequest`, which another one follows.
    pub(super) fn read_hello(&mut self, side: Side, body: &[u8]) -> bool {
        match side {
            Side::Client => self.client = parse_client_hello(body),
            Side::Server => match parse_server_hello(body) {
                Some(hello) if hello.is_retry => return false,
                Some(hello) => self.server = Some(hello),
                None => {}
            },
        }
        true
    }
}

/// Contents of a `ClientHello`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The server's name in lower case; with ECH the name of the outer hello.
    pub sni: Option<Box<str>>,
    /// The offered application protocols in order.
    pub alpn: Vec<Box<str>>,
    /// Whether the extension of Encrypted Client Hello is present. Browsers also send it without
    /// use (GREASE).
    pub ech: bool,
    /// The session id; unused in TLS 1.3.
    pub(super) session_id: Box<[u8]>,
}

/// Contents of a `ServerHello`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerHello {
    /// The selected version: 0x0303 is TLS 1.2, 0x0304 TLS 1.3.
    pub version: u16,
    /// The selected application protocol; encrypted from TLS 1.3 on.
    pub alpn: Option<Box<str>>,
    /// Whether this is a `HelloRetryRequest`.
    pub(super) is_retry: bool,
    /// Whether it resumes a session by a pre-shared key.
    pub(super) has_psk: bool,
    /// The session id.
    pub(super) session_id: Box<[u8]>,
}

impl ServerHello {
    /// Returns whether an earlier session is resumed (RFC 8446, 2.2; RFC 5246, 7.4.1.2).
    #[must_use]
    pub fn resumes(&self, client: &ClientHello) -> bool {
        if self.version >= TLS13 {
            self.has_psk
        } else {
            !self.session_id.is_empty() && self.session_id == client.session_id
        }
    }
}

/// Returns the body of the hello of `side`, if `bytes` contains all of it.
pub(super) fn message_body(bytes: &[u8], side: Side) -> Option<&[u8]> {
    let [found, high, middle, low] = *bytes.first_chunk::<MESSAGE_HEADER>()?;
    let length = u32::from_be_bytes([0, high, middle, low]);
    let end = MESSAGE_HEADER.checked_add(usize::try_from(length).ok()?)?;
    bytes.get(MESSAGE_HEADER..end).filter(|_| found == side as u8)
}

/// Reads the body of a `ClientHello`; `None` if it is invalid.
fn parse_client_hello(body: &[u8]) -> Option<ClientHello> {
    let (_, contents) = parse_tls_handshake_client_hello(body).ok()?;
    let mut hello = ClientHello {
        session_id: contents.session_id.unwrap_or_default().into(),
        ..ClientHello::default()
    };
    for extension in extensions(contents.ext.unwrap_or_default()) {
        match parse_tls_client_hello_extension(extension) {
            Ok((_, TlsExtension::SNI(names))) => {
                hello.sni = names.first().and_then(|(_, name)| display_name(name));
            }
            Ok((_, TlsExtension::ALPN(protocols))) => {
                let protocols = protocols.iter().take(MAX_PROTOCOLS);
                hello.alpn = protocols.filter_map(|protocol| display_name(protocol)).collect();
            }
            Ok((_, TlsExtension::Unknown(kind, _))) if kind.0 == ECH => hello.ech = true,
            // Invalid and other extensions are ignored.
            _ => {}
        }
    }
    Some(hello)
}

/// Reads the body of a `ServerHello`; `None` if it is invalid.
pub(super) fn parse_server_hello(body: &[u8]) -> Option<ServerHello> {
    let (_, contents) = parse_tls_handshake_server_hello(body).ok()?;
    let mut hello = ServerHello {
        version: contents.version.0,
        is_retry: contents.random == RETRY,
        session_id: contents.session_id.unwrap_or_default().into(),
        ..ServerHello::default()
    };
    for extension in extensions(contents.ext.unwrap_or_default()) {
        match parse_tls_server_hello_extension(extension) {
            Ok((_, TlsExtension::SupportedVersions(versions))) => {
                hello.version = versions.first().map_or(hello.version, |version| version.0);
            }
            Ok((_, TlsExtension::PreSharedKey(_))) => hello.has_psk = true,
            Ok((_, TlsExtension::ALPN(protocols))) => {
                hello.alpn = protocols.first().and_then(|protocol| display_name(protocol));
            }
            _ => {}
        }
    }
    Some(hello)
}

/// Splits the extensions, so that an invalid one does not hide the others.
fn extensions(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let [_, _, high, low] = *rest.first_chunk()?;
        let (one, behind) =
            rest.split_at_checked(4 + usize::from(u16::from_be_bytes([high, low])))?;
        rest = behind;
        Some(one)
    })
}

/// Returns a name as text in lower case, bytes outside 0x21 to 0x7E as `\DDD`, a backslash as `\\`;
/// `None` if it is empty or too long.
fn display_name(name: &[u8]) -> Option<Box<str>> {
    if name.is_empty() || name.len() > MAX_NAME {
        return None;
    }
    let mut text = String::with_capacity(name.len());
    for byte in name {
        match byte {
            b'\\' => text.push_str("\\\\"),
            0x21..=0x7e => text.push(char::from(byte.to_ascii_lowercase())),
            // Writing to a string cannot fail.
            _ => drop(write!(text, "\\{byte:03}")),
        }
    }
    Some(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encrypted::test_handshakes;
    use proptest::prelude::*;

    #[test]
    fn reads_client_hello() {
        let message = test_handshakes::client_hello("DNS.example", &["dot", "h2"], 2000, true);
        let hello = parse_client_hello(message_body(&message, Side::Client).unwrap()).unwrap();
        assert_eq!(hello.sni.as_deref(), Some("dns.example"));
        assert_eq!(hello.alpn, ["dot".into(), "h2".into()]);
        assert!(hello.ech && hello.session_id.len() == 32);
        assert_eq!(message_body(&message, Side::Server), None);
        assert_eq!(message_body(&message[..message.len() - 1], Side::Client), None);
    }

    #[test]
    fn reads_server_hello() {
        let read = |message: &[u8]| {
            parse_server_hello(message_body(message, Side::Server).unwrap()).unwrap()
        };
        let new = read(&test_handshakes::server_hello(TLS13, false));
        assert_eq!((new.version, new.has_psk, new.is_retry), (TLS13, false, false));
        let hello =
            parse_client_hello(&test_handshakes::client_hello("a", &[], 0, false)[4..]).unwrap();
        assert!(!new.resumes(&hello));
        assert!(read(&test_handshakes::server_hello(TLS13, true)).resumes(&hello));
        let old = read(&test_handshakes::server_hello(0x0303, false));
        assert!(old.version == 0x0303 && old.resumes(&hello), "the same session id");
    }

    #[test]
    fn escapes_names() {
        assert_eq!(display_name(b"A\\b\xff ").as_deref(), Some("a\\\\b\\255\\032"));
        assert_eq!((display_name(b""), display_name(&[b'a'; 256])), (None, None));
    }

    proptest! {
        #[test]
        fn survives_anything(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = (parse_client_hello(&bytes), parse_server_hello(&bytes));
        }

        #[test]
        fn survives_damage(
            place in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>()
        ) {
            for mut message in
                [test_handshakes::client_hello("a.example", &["dot"], 50, true), test_handshakes::server_hello(TLS13, true)]
            {
                let place = place.index(message.len());
                message[place] = byte;
                let end = cut.index(message.len());
                let _ = (parse_client_hello(&message[4..]), parse_server_hello(&message[4..]));
                let _ = (parse_client_hello(message.get(4..end).unwrap_or_default()),
                    parse_server_hello(message.get(4..end).unwrap_or_default()));
            }
        }
    }
}
