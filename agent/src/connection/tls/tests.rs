use super::*;
use crate::connection::craft::{client_hello, record, retry_request, server_hello};
use proptest::prelude::*;
use std::time::Duration;

/// A conversation: who sends what, one octet string per millisecond.
fn converse(said: &[(Side, &[u8])]) -> (Handshake, bool) {
    let (mut tls, mut handshake) = (Tls::default(), Handshake::default());
    let mut at = [0_u64; 2];
    let mut more = true;
    for (place, (side, octets)) in said.iter().enumerate() {
        let now = Timestamp::from_nanos(place as u64 * 1_000_000);
        let at = &mut at[usize::from(*side == Side::Server)];
        if more {
            more = tls.take(*side, *at, octets, now, &mut handshake);
        }
        *at += octets.len() as u64;
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
fn tls_13_is_complete_with_the_clients_finished() {
    let flight =
        [record(HANDSHAKE, &server_hello(TLS13, false)), record(20, &[1]), finished()].concat();
    let last = [record(20, &[1]), finished()].concat();
    let said = [(Side::Client, &hello()[..]), (Side::Server, &flight), (Side::Client, &last)];
    let (handshake, more) = converse(&said);
    assert_eq!((handshake.duration(), more), (Some(Duration::from_millis(2)), false));
    assert_eq!(handshake.resumed(), Some(false));
    let (handshake, more) = converse(&said[..2]);
    assert!(more && handshake.is_pending(), "{handshake:?}");
}

#[test]
fn tls_12_is_complete_when_both_changed() {
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
fn a_retry_is_gone_through() {
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
fn early_data_completes_nothing() {
    let early = [hello(), record(20, &[1]), record(APPLICATION_DATA, &[0; 80])].concat();
    let flight = [record(HANDSHAKE, &server_hello(TLS13, true)), finished()].concat();
    let said = [(Side::Client, &early[..]), (Side::Server, &flight), (Side::Client, &finished())];
    let (handshake, _) = converse(&said[..2]);
    assert!(handshake.is_pending());
    assert_eq!(converse(&said).0.duration(), Some(Duration::from_millis(2)));
}

#[test]
fn alerts_refuse_plain_or_encrypted() {
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
fn a_header_is_enough_of_what_is_encrypted() {
    // As the kernel hands it over: of the flight its beginning, of application data the header.
    let flight = [record(HANDSHAKE, &server_hello(TLS13, false)), finished()].concat();
    let (handshake, _) = converse(&[
        (Side::Client, &hello()),
        (Side::Server, &flight[..flight.len() - 53]),
        (Side::Client, &finished()[..5]),
    ]);
    assert_eq!(handshake.duration(), Some(Duration::from_millis(2)));
}

#[test]
fn what_is_no_tls_is_left() {
    for octets in [&b"GET / HTTP/1.1\r\n"[..], &[0, 40, 0, 1, 1, 0, 0, 1], &[22, 3, 1, 0xff, 0xff]]
    {
        let (handshake, more) = converse(&[(Side::Client, octets)]);
        assert!(!more && handshake.client.is_none());
    }
}

proptest! {
    #[test]
    fn a_hello_may_be_cut_anywhere(
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
        let (mut tls, mut handshake) = (Tls::default(), Handshake::default());
        for (from, to) in pieces {
            let now = Timestamp::from_nanos(1);
            prop_assert!(tls.take(Side::Client, from as u64, &stream[from..to], now, &mut handshake));
        }
        let client = handshake.client.unwrap();
        prop_assert_eq!(client.sni.as_deref(), Some("dns.example"));
        prop_assert!(client.ech && tls.cost() == 0);
    }

    #[test]
    fn survives_anything(
        pieces in proptest::collection::vec(
            (any::<bool>(), 0_u64..3000, proptest::collection::vec(any::<u8>(), 0..200)), 0..40),
        seeded: bool,
    ) {
        let (mut tls, mut handshake) = (Tls::default(), Handshake::default());
        let now = Timestamp::from_nanos(1);
        if seeded {
            tls.take(Side::Client, 0, &hello(), now, &mut handshake);
        }
        for (server, offset, octets) in pieces {
            let side = if server { Side::Server } else { Side::Client };
            if !tls.take(side, offset, &octets, now, &mut handshake) {
                break;
            }
            prop_assert!(tls.cost() <= 4 * (32 << 10));
        }
    }
}
