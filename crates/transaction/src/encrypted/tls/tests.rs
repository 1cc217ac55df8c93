use super::*;
use crate::encrypted::test_handshakes::{client_hello, record, retry_request, server_hello};
use proptest::prelude::*;
use std::time::Duration;

/// Replays a conversation: sender and data, one piece per millisecond.
fn converse(hello: &[(Side, &[u8])]) -> (Handshake, bool) {
    let (mut tls, mut handshake) = (TlsReader::default(), Handshake::default());
    let mut at = [0_u64; 2];
    let mut more = true;
    for (place, (side, bytes)) in hello.iter().enumerate() {
        let now = Timestamp::from_nanos(place as u64 * 1_000_000);
        let at = &mut at[usize::from(*side == Side::Server)];
        if more {
            more = tls.read(*side, *at, bytes, now, &mut handshake);
        }
        *at += bytes.len() as u64;
    }
    (handshake, more)
}

fn finished() -> Vec<u8> {
    record(APPLICATION_DATA, &[0; 53])
}

fn hello() -> Vec<u8> {
    record(HANDSHAKE, &client_hello("dns.example", &["dot"], 100, false))
}

#[test]
fn tls_13_completes_with_client_finished() {
    let flight =
        [record(HANDSHAKE, &server_hello(TLS13, false)), record(20, &[1]), finished()].concat();
    let last = [record(20, &[1]), finished()].concat();
    let hello = [(Side::Client, &hello()[..]), (Side::Server, &flight), (Side::Client, &last)];
    let (handshake, more) = converse(&hello);
    assert_eq!((handshake.duration(), more), (Some(Duration::from_millis(2)), false));
    assert_eq!(handshake.resumed(), Some(false));
    let (handshake, more) = converse(&hello[..2]);
    assert!(more && handshake.is_pending(), "{handshake:?}");
}

#[test]
fn tls_12_completes_with_both_change_cipher_specs() {
    let flight = record(
        HANDSHAKE,
        &[server_hello(0x0303, false), vec![11, 0, 16, 0], vec![0; 4096]].concat(),
    );
    let keys =
        [record(HANDSHAKE, &[16, 0, 0, 1, 0]), record(20, &[1]), record(22, &[0; 40])].concat();
    let last = [record(20, &[1]), record(22, &[0; 40])].concat();
    let (handshake, more) = converse(&[
        (Side::Client, &hello()),
        (Side::Server, &flight),
        (Side::Client, &keys),
        (Side::Server, &last),
    ]);
    assert_eq!((handshake.duration(), more), (Some(Duration::from_millis(3)), false));
    assert_eq!(handshake.server.map(|server| server.version), Some(0x0303));
}

#[test]
fn follows_hello_retry_request() {
    let retry = [record(HANDSHAKE, &retry_request()), record(20, &[1])].concat();
    let again = [record(20, &[1]), hello()].concat();
    let flight = [record(HANDSHAKE, &server_hello(TLS13, true)), finished()].concat();
    let (handshake, more) = converse(&[
        (Side::Client, &hello()),
        (Side::Server, &retry),
        (Side::Client, &again),
        (Side::Server, &flight),
        (Side::Client, &finished()),
    ]);
    assert_eq!((handshake.duration(), more), (Some(Duration::from_millis(4)), false));
    assert_eq!(handshake.resumed(), Some(true));
}

#[test]
fn early_data_does_not_complete() {
    let early = [hello(), record(20, &[1]), record(APPLICATION_DATA, &[0; 80])].concat();
    let flight = [record(HANDSHAKE, &server_hello(TLS13, true)), finished()].concat();
    let hello = [(Side::Client, &early[..]), (Side::Server, &flight), (Side::Client, &finished())];
    let (handshake, _) = converse(&hello[..2]);
    assert!(handshake.is_pending());
    assert_eq!(converse(&hello).0.duration(), Some(Duration::from_millis(2)));
}

#[test]
fn plain_and_encrypted_alerts_reject() {
    let alert = record(ALERT, &[FATAL, 40]);
    let (handshake, more) = converse(&[(Side::Client, &hello()), (Side::Server, &alert)]);
    assert!(handshake.refused && handshake.is_pending() && !more);
    let flight = [record(HANDSHAKE, &server_hello(TLS13, false)), finished()].concat();
    let alert = record(APPLICATION_DATA, &[0; ENCRYPTED_ALERT]);
    let (handshake, more) =
        converse(&[(Side::Client, &hello()), (Side::Server, &flight), (Side::Client, &alert)]);
    assert!(handshake.refused && handshake.is_pending() && !more);
}

#[test]
fn needs_only_headers_of_encrypted_records() {
    // The kernel passes the beginning of a flight, and only the header of application data.
    let flight = [record(HANDSHAKE, &server_hello(TLS13, false)), finished()].concat();
    let (handshake, _) = converse(&[
        (Side::Client, &hello()),
        (Side::Server, &flight[..flight.len() - 53]),
        (Side::Client, &finished()[..5]),
    ]);
    assert_eq!(handshake.duration(), Some(Duration::from_millis(2)));
}

#[test]
fn stops_at_non_tls_data() {
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], &[0, 40, 0, 1, 1, 0, 0, 1], &[22, 3, 1, 0xff, 0xff]] {
        let (handshake, more) = converse(&[(Side::Client, bytes)]);
        assert!(!more && handshake.client.is_none());
    }
}

proptest! {
    #[test]
    fn reads_hello_in_any_pieces(
        share in 0_usize..3000,
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        reversed: bool,
        records in 1_usize..4,
    ) {
        let message = client_hello("dns.example", &["dot"], share, true);
        let size = message.len().div_ceil(records);
        let stream: Vec<u8> =
            message.chunks(size).flat_map(|part| record(HANDSHAKE, part)).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let mut pieces: Vec<_> = cuts.windows(2).map(|pair| (pair[0], pair[1])).collect();
        if reversed {
            pieces.reverse();
        }
        let (mut tls, mut handshake) = (TlsReader::default(), Handshake::default());
        for (from, to) in pieces {
            let now = Timestamp::from_nanos(1);
            prop_assert!(tls.read(Side::Client, from as u64, &stream[from..to], now, &mut handshake));
        }
        let client = handshake.client.unwrap();
        prop_assert_eq!(client.sni.as_deref(), Some("dns.example"));
        prop_assert!(client.ech && tls.memory_bytes() == 0);
    }

    #[test]
    fn survives_anything(
        pieces in proptest::collection::vec(
            (any::<bool>(), 0_u64..3000, proptest::collection::vec(any::<u8>(), 0..200)), 0..40),
        seeded: bool,
    ) {
        let (mut tls, mut handshake) = (TlsReader::default(), Handshake::default());
        let now = Timestamp::from_nanos(1);
        if seeded {
            tls.read(Side::Client, 0, &hello(), now, &mut handshake);
        }
        for (server, offset, bytes) in pieces {
            let side = if server { Side::Server } else { Side::Client };
            if !tls.read(side, offset, &bytes, now, &mut handshake) {
                break;
            }
            prop_assert!(tls.memory_bytes() <= 4 * (32 << 10));
        }
    }
}
