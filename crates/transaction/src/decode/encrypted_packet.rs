//! Packets of encrypted DNS: their unencrypted parts.

use super::emitter::{Emitter, Flow, PacketContext, envelope};
use super::{Decoded, Envelope};
use crate::packet::Transport;
use crate::packet::net::{self, BadHeader, IpPacket, TcpFlags, TcpSegment, UdpDatagram, protocol};
use dnscribe_common::HANDSHAKE_BYTES;
use std::net::SocketAddr;

/// Bytes of a TLS record header (RFC 8446, 5.1).
const TLS_HEADER: usize = 5;
/// Start of a TLS record of application data: content type and major version.
const APPLICATION_DATA: [u8; 2] = [23, 3];
/// Header form bit of QUIC (RFC 9000, 17.2): set in packets of the handshake.
const LONG_HEADER: u8 = 0x80;

/// A packet of encrypted DNS.
#[derive(Clone, Debug)]
pub struct EncryptedPacket {
    /// Sender, receiver, time and transport.
    pub envelope: Envelope,
    /// The unencrypted part of the payload.
    pub content: EncryptedContent,
}

/// The unencrypted part of a packet's payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EncryptedContent {
    /// A TCP segment.
    Segment {
        /// Sequence number of the SYN, or of the first payload byte.
        seq: u32,
        /// Whether ACK is set. Only the first SYN has none.
        ack: bool,
        /// Flags.
        flags: TcpFlags,
        /// First payload bytes as far as they may be part of a handshake; for application data the
        /// record header.
        payload: Box<[u8]>,
        /// Length of the payload on the wire, in bytes.
        payload_wire: u32,
    },
    /// A UDP datagram, or several of one size that the kernel merged.
    Datagram {
        /// First payload bytes as far as they may be part of a handshake; for other packets the
        /// first byte.
        payload: Box<[u8]>,
        /// Length of the payload on the wire, in bytes.
        payload_wire: u32,
        /// Size of the merged datagrams except the last, in bytes; 0 for a single datagram.
        datagram_bytes: u16,
    },
}

/// Emits a UDP or TCP packet of encrypted DNS.
pub(super) fn emit(
    ip: &IpPacket<'_>,
    context: &PacketContext,
    out: &mut Emitter<'_>,
) -> Result<(), BadHeader> {
    let (transport, (src, dst), content) = if ip.protocol == protocol::UDP {
        let UdpDatagram { src_port, dst_port, payload, payload_wire } = net::parse_udp(ip)?;
        let is_long = payload.first().is_some_and(|first| first & LONG_HEADER != 0);
        let most = if is_long { HANDSHAKE_BYTES as usize } else { 1 };
        let payload = payload.get(..most).unwrap_or(payload).into();
        let datagram_bytes = context.datagram_bytes;
        let content = EncryptedContent::Datagram { payload, payload_wire, datagram_bytes };
        (Transport::Udp, (src_port, dst_port), content)
    } else {
        let TcpSegment { src_port, dst_port, seq, ack, flags, payload, payload_wire } =
            net::parse_tcp(ip.payload, ip.payload_wire)?;
        let is_data = payload.starts_with(&APPLICATION_DATA);
        let most = if is_data { TLS_HEADER } else { HANDSHAKE_BYTES as usize };
        let (ack, payload) = (ack.is_some(), payload.get(..most).unwrap_or(payload).into());
        let content = EncryptedContent::Segment { seq, ack, flags, payload, payload_wire };
        (Transport::Tcp, (src_port, dst_port), content)
    };
    let (src, dst) = (SocketAddr::new(ip.src, src), SocketAddr::new(ip.dst, dst));
    let envelope = envelope(context, &Flow { transport, src, dst }, &mut 0);
    out.counters.account(context.packets, None);
    (out.each)(Decoded::Encrypted(Box::new(EncryptedPacket { envelope, content })));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::DecoderOptions;
    use crate::decode::tests::{Harness, OwnedEvent};
    use crate::packet::encrypted::Encrypted;
    use crate::packet::net::test_packets::{self, ACK, SYN};
    use crate::packet::ports::PortSet;
    use crate::packet::{Body, PacketId};
    use proptest::prelude::*;

    const CLIENT: &str = "192.0.2.1:1024";
    const SERVER: &str = "192.0.2.53:853";
    const SECRET: &[u8] = b"\x17\x03\x03\x00\x20 what nobody may read of it ...";

    fn harness() -> Harness {
        let encrypted =
            Encrypted::new(&PortSet::default(), &[853], &[443], ["192.0.2.53".parse().unwrap()]);
        Harness::new(DecoderOptions { encrypted: Some(encrypted), ..DecoderOptions::default() })
    }

    fn contents(harness: &Harness) -> Vec<&EncryptedContent> {
        harness
            .events
            .iter()
            .map(|decoded| match decoded {
                OwnedEvent::Sealed(sealed) => &sealed.content,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn keeps_only_readable_bytes() {
        let mut harness = harness();
        harness.receive(&test_packets::tcp(CLIENT, SERVER, 7, SYN, b""));
        harness.receive(&test_packets::tcp(CLIENT, SERVER, 8, ACK, &[22; 5000]));
        harness.receive(&test_packets::tcp("192.0.2.53:443", CLIENT, 9, ACK, SECRET));
        harness.receive(&test_packets::udp(CLIENT, SERVER, &[0xc3; 1200]));
        harness.receive(&test_packets::udp(CLIENT, SERVER, &[0x43; 1200]));
        let kept: Vec<(usize, u32)> = contents(&harness)
            .into_iter()
            .map(|content| match content {
                EncryptedContent::Segment { payload, payload_wire, .. }
                | EncryptedContent::Datagram { payload, payload_wire, .. } => {
                    (payload.len(), *payload_wire)
                }
            })
            .collect();
        let secret = u32::try_from(SECRET.len()).unwrap();
        assert_eq!(kept, [(0, 0), (4096, 5000), (5, secret), (1200, 1200), (1, 1200)]);
        assert!(matches!(
            contents(&harness)[0],
            EncryptedContent::Segment { seq: 7, ack: false, flags: TcpFlags { syn: true, .. }, .. }
        ));
        let counters = harness.decoder.counters();
        assert_eq!((counters.decoded_packets, counters.messages, counters.held), (5, 0, 0));
    }

    #[test]
    fn reports_errors_of_attempts() {
        let mut harness = harness();
        let mut icmp = vec![3, 3, 0, 0, 0, 0, 0, 0];
        icmp.extend(test_packets::udp(CLIENT, SERVER, b"x"));
        let (from, to) = ("192.0.2.9".parse().unwrap(), "192.0.2.1".parse().unwrap());
        harness.receive(&test_packets::ip(from, to, protocol::ICMP, &icmp));
        let error = Body::SocketError {
            transport: Transport::Tcp,
            local: CLIENT.parse().unwrap(),
            remote: SERVER.parse().unwrap(),
            errno: 113,
            seen: false,
        };
        harness.receive_body(error, None);
        let error: Vec<(Transport, PacketId)> = harness
            .events
            .iter()
            .map(|decoded| match decoded {
                OwnedEvent::Unreachable(error) => (error.transport, error.id.packet),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(error.len(), 2);
        assert_eq!([error[0].0, error[1].0], [Transport::Udp, Transport::Tcp]);
    }

    proptest! {
        /// Dead letters and messages never contain encrypted data, whatever is wrong with a packet.
        #[test]
        fn encrypted_data_never_leaks(
            place in 20_usize..60, octet: u8, cut in 0_usize..90, tcp: bool, https: bool,
        ) {
            let server = if https { "192.0.2.53:443" } else { SERVER };
            let mut packet = if tcp {
                test_packets::tcp(CLIENT, server, 1, ACK, SECRET)
            } else {
                test_packets::udp(CLIENT, server, SECRET)
            };
            // Another port means another service.
            prop_assume!(!(20..24).contains(&place));
            if let Some(at) = packet.get_mut(place) {
                *at = octet;
            }
            let mut harness = harness();
            harness.receive_clipped(&packet, cut);
            for decoded in &harness.events {
                match decoded {
                    OwnedEvent::DeadLetter(letter) => {
                        prop_assert!(!letter.bytes.windows(6).any(|part| part == b"nobody"));
                        prop_assert!(!letter.bytes.windows(4).any(|part| part == b"what"));
                    }
                    OwnedEvent::Sealed(_) => {}
                    other => prop_assert!(false, "{other:?}"),
                }
            }
        }
    }
}
