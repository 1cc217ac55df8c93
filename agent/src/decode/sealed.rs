//! Packets of encrypted DNS: what of them is not encrypted.

#![forbid(unsafe_code)]

use super::outlet::{Carrier, Flow, Outlet, envelope};
use super::{Decoded, Envelope};
use crate::capture::Transport;
use crate::net::{self, BadHeader, Ip, TcpFlags, TcpSegment, UdpDatagram, protocol};
use dnscribe_common::HANDSHAKE_BYTES;
use std::net::SocketAddr;

/// Octets of a TLS record's header (RFC 8446, 5.1).
const TLS_HEADER: usize = 5;
/// A TLS record of application data, of whatever version: its type and the version's first octet.
const APPLICATION_DATA: [u8; 2] = [23, 3];
/// The first bit of a QUIC packet with a long header (RFC 9000, 17.2): of the handshake.
const LONG_HEADER: u8 = 0x80;

/// A packet of encrypted DNS.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// Who sent it to whom, when, how.
    pub envelope: Envelope,
    /// What it carries.
    pub content: Content,
}

/// What a packet of encrypted DNS carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Part of a TCP connection.
    Segment {
        /// Sequence number of the SYN, or else of the first payload octet.
        seq: u32,
        /// Whether the packet acknowledges anything: not so in the first SYN.
        ack: bool,
        /// Flags.
        flags: TcpFlags,
        /// The payload's first octets as far as they may be of a handshake; of application data
        /// the record's header.
        payload: Box<[u8]>,
        /// Octets of the payload on the wire.
        payload_wire: u32,
    },
    /// A UDP datagram, or several of one size.
    Datagram {
        /// The first octets as far as they may be of a handshake; of other packets the first.
        payload: Box<[u8]>,
        /// Octets of the payload on the wire.
        payload_wire: u32,
        /// Where several datagrams came in one packet: octets of each but the last; else 0.
        datagram_bytes: u16,
    },
}

/// Tells of a UDP or TCP packet of encrypted DNS.
pub(super) fn packet(
    ip: &Ip<'_>,
    carrier: &Carrier,
    packets: u64,
    out: &mut Outlet<'_>,
) -> Result<(), BadHeader> {
    let sealed = if ip.protocol == protocol::UDP {
        datagram(ip, &net::udp(ip)?, carrier)
    } else {
        segment(ip, &net::tcp(ip.payload, ip.payload_wire)?, carrier)
    };
    out.tally.settle(packets, None);
    (out.each)(Decoded::Sealed(Box::new(sealed)));
    Ok(())
}

/// A segment with its envelope.
fn segment(ip: &Ip<'_>, segment: &TcpSegment<'_>, carrier: &Carrier) -> Sealed {
    let payload = segment.payload;
    let most =
        if payload.starts_with(&APPLICATION_DATA) { TLS_HEADER } else { HANDSHAKE_BYTES as usize };
    let content = Content::Segment {
        seq: segment.seq,
        ack: segment.ack.is_some(),
        flags: segment.flags,
        payload: payload.get(..most).unwrap_or(payload).into(),
        payload_wire: segment.payload_wire,
    };
    seal(ip, Transport::Tcp, (segment.src_port, segment.dst_port), carrier, content)
}

/// A datagram with its envelope.
fn datagram(ip: &Ip<'_>, udp: &UdpDatagram<'_>, carrier: &Carrier) -> Sealed {
    let payload = udp.payload;
    let is_long = payload.first().is_some_and(|first| first & LONG_HEADER != 0);
    let most = if is_long { HANDSHAKE_BYTES as usize } else { 1 };
    let content = Content::Datagram {
        payload: payload.get(..most).unwrap_or(payload).into(),
        payload_wire: udp.payload_wire,
        datagram_bytes: carrier.datagram_bytes,
    };
    seal(ip, Transport::Udp, (udp.src_port, udp.dst_port), carrier, content)
}

fn seal(
    ip: &Ip<'_>,
    transport: Transport,
    (src, dst): (u16, u16),
    carrier: &Carrier,
    content: Content,
) -> Sealed {
    let flow =
        Flow { transport, src: SocketAddr::new(ip.src, src), dst: SocketAddr::new(ip.dst, dst) };
    Sealed { envelope: envelope(carrier, &flow, &mut 0), content }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::encrypted::Encrypted;
    use crate::capture::ports::PortSet;
    use crate::capture::{Body, Origin};
    use crate::decode::DecoderOptions;
    use crate::decode::tests::{Bench, Given};
    use crate::net::craft::{self, ACK, SYN};
    use proptest::prelude::*;

    const CLIENT: &str = "192.0.2.1:1024";
    const SERVER: &str = "192.0.2.53:853";
    const SECRET: &[u8] = b"\x17\x03\x03\x00\x20 what nobody may read of it ...";

    fn bench() -> Bench {
        let encrypted =
            Encrypted::new(&PortSet::default(), &[853], &[443], ["192.0.2.53".parse().unwrap()]);
        Bench::new(DecoderOptions { encrypted: Some(encrypted), ..DecoderOptions::default() })
    }

    fn contents(bench: &Bench) -> Vec<&Content> {
        bench
            .given
            .iter()
            .map(|decoded| match decoded {
                Given::Sealed(sealed) => &sealed.content,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn keeps_what_is_readable() {
        let mut bench = bench();
        bench.see(&craft::tcp(CLIENT, SERVER, 7, SYN, b""));
        bench.see(&craft::tcp(CLIENT, SERVER, 8, ACK, &[22; 5000]));
        bench.see(&craft::tcp("192.0.2.53:443", CLIENT, 9, ACK, SECRET));
        bench.see(&craft::udp(CLIENT, SERVER, &[0xc3; 1200]));
        bench.see(&craft::udp(CLIENT, SERVER, &[0x43; 1200]));
        let kept: Vec<(usize, u32)> = contents(&bench)
            .into_iter()
            .map(|content| match content {
                Content::Segment { payload, payload_wire, .. }
                | Content::Datagram { payload, payload_wire, .. } => (payload.len(), *payload_wire),
            })
            .collect();
        let secret = u32::try_from(SECRET.len()).unwrap();
        assert_eq!(kept, [(0, 0), (4096, 5000), (5, secret), (1200, 1200), (1, 1200)]);
        assert!(matches!(
            contents(&bench)[0],
            Content::Segment { seq: 7, ack: false, flags: TcpFlags { syn: true, .. }, .. }
        ));
        let counters = bench.decoder.counters();
        assert_eq!((counters.decoded_packets, counters.messages, counters.held), (5, 0, 0));
    }

    #[test]
    fn errors_of_attempts_are_told() {
        let mut bench = bench();
        let mut icmp = vec![3, 3, 0, 0, 0, 0, 0, 0];
        icmp.extend(craft::udp(CLIENT, SERVER, b"x"));
        let (from, to) = ("192.0.2.9".parse().unwrap(), "192.0.2.1".parse().unwrap());
        bench.see(&craft::ip(from, to, protocol::ICMP, &icmp));
        let error = Body::SocketError {
            transport: Transport::Tcp,
            local: CLIENT.parse().unwrap(),
            remote: SERVER.parse().unwrap(),
            errno: 113,
            seen: false,
        };
        bench.see_body(error, None);
        let told: Vec<(Transport, Origin)> = bench
            .given
            .iter()
            .map(|decoded| match decoded {
                Given::Unreachable(error) => (error.transport, error.id.origin),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(told.len(), 2);
        assert_eq!([told[0].0, told[1].0], [Transport::Udp, Transport::Tcp]);
    }

    proptest! {
        /// Whatever is wrong with a packet, no dead letter and no message has a part of what is
        /// encrypted.
        #[test]
        fn nothing_of_it_leaks(
            place in 20_usize..60, octet: u8, cut in 0_usize..90, tcp: bool, https: bool,
        ) {
            let server = if https { "192.0.2.53:443" } else { SERVER };
            let mut packet = if tcp {
                craft::tcp(CLIENT, server, 1, ACK, SECRET)
            } else {
                craft::udp(CLIENT, server, SECRET)
            };
            // Another port is another service.
            prop_assume!(!(20..24).contains(&place));
            if let Some(at) = packet.get_mut(place) {
                *at = octet;
            }
            let mut bench = bench();
            bench.see_clipped(&packet, cut);
            for decoded in &bench.given {
                match decoded {
                    Given::DeadLetter(letter) => {
                        prop_assert!(!letter.bytes.windows(6).any(|part| part == b"nobody"));
                        prop_assert!(!letter.bytes.windows(4).any(|part| part == b"what"));
                    }
                    Given::Sealed(_) => {}
                    other => prop_assert!(false, "{other:?}"),
                }
            }
        }
    }
}
