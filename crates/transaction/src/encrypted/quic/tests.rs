use super::keys::seal::{crypto, initial};
use super::*;
use crate::encrypted::hello::TLS13;
use crate::encrypted::test_handshakes::{client_hello, server_hello};
use proptest::prelude::*;
use std::time::Duration;

const ID: &[u8] = &[0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];
const VERSIONS: [Version; 2] = [Version::V1, Version::V2];

/// The server's Initial packet of RFC 9001, A.3.
const SERVER_INITIAL: &str = "cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a5816b6394100f37a1c69797554780bb38cc5a99f5ede4cf73c3ec2493a1839b3dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d20398c276456cbc42158407dd074ee";

fn unhex(text: &str) -> Vec<u8> {
    let octet = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(octet).collect()
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_nanos(ms * 1_000_000)
}

/// Replays a conversation, one datagram per millisecond.
fn converse(hello: &[(Side, Vec<u8>)]) -> (Handshake, bool) {
    let (mut quic, mut handshake) = (QuicReader::default(), Handshake::default());
    let mut more = true;
    for (place, (side, datagram)) in hello.iter().enumerate() {
        more = more && quic.read(*side, datagram, at(place as u64), &mut handshake);
    }
    (handshake, more)
}

fn hello() -> Vec<u8> {
    client_hello("dns.example", &["doq"], 100, false)
}

fn answer(version: Version) -> Vec<u8> {
    answer_to(version, ID)
}

fn answer_to(version: Version, id: &[u8]) -> Vec<u8> {
    let frames = [&[2, 0, 0, 0, 0][..], &crypto(0, &server_hello(TLS13, false))].concat();
    initial(version, id, false, 0, &frames)
}

#[test]
fn reads_server_initial_of_rfc_9001() {
    let keys = InitialKeys::new(Version::V1, ID).unwrap();
    let packet = unhex(SERVER_INITIAL);
    let header = parse_long_header(&packet).unwrap();
    let frames = keys.decrypt(false, &packet, header.number_at, header.end).unwrap();
    let (mut stream, mut handshake) = (Reassembler::default(), Handshake::default());
    read_frames(&frames, &mut stream, &mut handshake).unwrap();
    let hello =
        hello::parse_server_hello(hello::message_body(&stream.contiguous, Side::Server).unwrap())
            .unwrap();
    assert_eq!(hello.version, TLS13);
    assert!(keys.decrypt(true, &packet, header.number_at, header.end).is_none());
}

#[test]
fn completes_with_client_short_header() {
    for version in VERSIONS {
        let hello = [
            (Side::Client, initial(version, ID, true, 0, &crypto(0, &hello()))),
            (Side::Server, answer(version)),
            (Side::Server, vec![0x40; 30]),
            (Side::Client, vec![0x40; 1]),
        ];
        let (handshake, more) = converse(&hello);
        assert_eq!((handshake.duration(), more), (Some(Duration::from_millis(3)), false));
        let client = handshake.client.unwrap();
        assert_eq!((client.sni.as_deref(), &*client.alpn[0]), (Some("dns.example"), "doq"));
        assert!(converse(&hello[..3]).0.is_pending());
    }
}

#[test]
fn reads_hello_from_several_packets() {
    let hello = client_hello("dns.example", &["doq"], 1500, true);
    let (first, second) = hello.split_at(900);
    let frames = [crypto(400, &first[400..]), vec![1], crypto(0, &first[..400])].concat();
    let packets = [
        (Side::Client, initial(Version::V1, ID, true, 1, &crypto(900, second))),
        (Side::Client, initial(Version::V1, ID, true, 0, &frames)),
    ];
    assert!(converse(&packets[..1]).0.client.is_none());
    let (handshake, more) = converse(&packets);
    assert!(more && handshake.client.unwrap().ech);
}

#[test]
fn follows_retry_with_new_id() {
    let mut retry = vec![0xf0, 0, 0, 0, 1, 0, 5];
    retry.extend(b"newid and a token, and a tag of 16 bytes");
    let (handshake, _) = converse(&[
        (Side::Client, initial(Version::V1, ID, true, 0, &crypto(0, &hello()))),
        (Side::Server, retry),
        (Side::Client, initial(Version::V1, b"newid", true, 1, &crypto(0, &hello()))),
        (Side::Server, answer_to(Version::V1, b"newid")),
    ]);
    assert!(handshake.client.is_some() && handshake.server.is_some());
}

#[test]
fn unencrypted_close_rejects() {
    let close = initial(Version::V1, ID, false, 0, &[0x1c, 0x41, 0x78, 0, 0]);
    let hello = [
        (Side::Client, initial(Version::V1, ID, true, 0, &crypto(0, &hello()))),
        (Side::Server, close),
    ];
    let (handshake, more) = converse(&hello);
    assert!(handshake.refused && handshake.is_pending() && !more);
}

#[test]
fn reads_coalesced_packets() {
    let mut datagram = initial(Version::V1, ID, true, 0, &crypto(0, &hello()));
    // A Handshake packet of three bytes, then one with a short header.
    datagram.extend([0xe0, 0, 0, 0, 1, 0, 0, 3, 1, 2, 3, 0x40, 9, 9]);
    let (handshake, _) = converse(&[
        (Side::Client, vec![]),
        (Side::Client, datagram.clone()),
        (Side::Server, answer(Version::V1)),
        (Side::Client, datagram),
    ]);
    assert_eq!(handshake.duration(), Some(Duration::from_millis(3)));
}

#[test]
fn limits_decryption_failures() {
    let other = initial(Version::V1, b"another id", true, 0, &crypto(0, &hello()));
    let mut damaged = other.clone();
    damaged[40] ^= 1;
    let (mut quic, mut handshake) = (QuicReader::default(), Handshake::default());
    for _ in 0..100 {
        quic.read(Side::Client, &damaged, at(0), &mut handshake);
    }
    assert_eq!(quic.failures, MAX_FAILURES);
    quic.read(Side::Client, &other, at(0), &mut handshake);
    assert!(handshake.client.is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn survives_anything(datagrams in proptest::collection::vec(
        (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..300)), 0..20)) {
        let (mut quic, mut handshake) = (QuicReader::default(), Handshake::default());
        for (server, mut datagram) in datagrams {
            let side = if server { Side::Server } else { Side::Client };
            quic.read(side, &datagram, at(0), &mut handshake);
            if let Some(head) = datagram.first_chunk_mut::<6>() {
                *head = [0xc0 | head[0] & 0x0f, 0, 0, 0, 1, 8];
            }
            quic.read(side, &datagram, at(0), &mut handshake);
        }
        prop_assert!(quic.memory_bytes() <= 2 * (32 << 10));
    }

    #[test]
    fn survives_any_frames(frames in proptest::collection::vec(any::<u8>(), 0..400), ack: bool) {
        let frames = if ack { [vec![2, 0, 0], frames].concat() } else { frames };
        let hello = [
            (Side::Client, initial(Version::V1, ID, true, 0, &frames)),
            (Side::Server, initial(Version::V1, ID, false, 0, &frames)),
        ];
        converse(&hello);
    }
}

#[test]
fn survives_truncation() {
    let packet = initial(Version::V2, ID, true, 0, &crypto(0, &hello()));
    for end in 0..packet.len() {
        let (handshake, _) = converse(&[(Side::Client, packet[..end].to_vec())]);
        assert!(handshake.client.is_none());
    }
}
