//! QUIC against servers of the same library, which misbehave on purpose. A server of another library answers in
//! the laboratory of faults.

use super::*;
use crate::dns::testing::{a, response};
use crate::dns::{Question, Resolver, exchange as exchange_by_resolver};
use hickory_proto::op::Message;
use hickory_proto::rr::{Name, RecordType};
use quinn::crypto::rustls::QuicServerConfig;
use rustls::RootCertStore;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::net::UdpSocket;

const LIMIT: Duration = Duration::from_secs(5);

/// What a server does with a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Good,
    /// Less than the length says.
    Short,
    /// A second response on the stream.
    Twice,
    /// A stream that is reset with `DOQ_EXCESSIVE_LOAD`.
    Reset,
    /// A connection that is closed with `DOQ_INTERNAL_ERROR`.
    Closed,
    Nothing,
}

struct Server {
    address: SocketAddr,
    trust: Trust,
    _endpoint: Endpoint,
}

/// Serves at a port of 127.0.0.1 with a certificate for `dns.test`.
fn serve(alpn: &[u8], idle: Option<Duration>, answer: Answer) -> Server {
    let identity = rcgen::generate_simple_self_signed(["dns.test".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(identity.signing_key.serialize_der());
    let mut roots = RootCertStore::empty();
    roots.add(identity.cert.der().clone()).unwrap();
    let mut config =
        rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![identity.cert.der().clone()], PrivateKeyDer::Pkcs8(key))
            .unwrap();
    config.alpn_protocols = vec![alpn.to_vec()];
    let crypto = QuicServerConfig::try_from(config).unwrap();
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(idle.map(|idle| idle.try_into().unwrap()));
    config.transport_config(Arc::new(transport));
    let endpoint = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = endpoint.local_addr().unwrap();
    let accepting = endpoint.clone();
    tokio::spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            // A client that trusts no other name ends its handshake.
            let Ok(connection) = incoming.await else { continue };
            tokio::spawn(serve_connection(connection, answer));
        }
    });
    let trust = Trust::load(Some(&[]), None).unwrap();
    Server { address, trust: Trust { roots: Arc::new(roots), ..trust }, _endpoint: endpoint }
}

async fn serve_connection(connection: Connection, answer: Answer) {
    let Ok((mut send, mut receive)) = connection.accept_bi().await else { return };
    let framed = receive.read_to_end(MAX_BYTES).await.unwrap();
    let query = Message::from_vec(&framed[2..]).unwrap();
    assert_eq!(
        (query.metadata.id, usize::from(framed[0]) << 8 | usize::from(framed[1])),
        (0, framed.len() - 2)
    );
    let mut message = response(&query);
    message.add_answer(a("shop.example.", [192, 0, 2, 10]));
    let message = message.to_vec().unwrap();
    let framed = [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat();
    match answer {
        Answer::Good => send.write_all(&framed).await.unwrap(),
        Answer::Short => send.write_all(&framed[..20]).await.unwrap(),
        Answer::Twice => send.write_all(&framed.repeat(2)).await.unwrap(),
        Answer::Reset => {
            send.reset(VarInt::from_u32(4)).unwrap();
            connection.closed().await;
            return;
        }
        Answer::Closed => return connection.close(VarInt::from_u32(1), b"sorry"),
        Answer::Nothing => std::future::pending().await,
    }
    send.finish().unwrap();
    connection.closed().await;
}

async fn ask_with(
    server: SocketAddr,
    trust: &Trust,
    name: &str,
    limit: Duration,
) -> Result<Exchange, Failure> {
    let resolver = Resolver::parse(&format!("quic://{server}#{name}")).unwrap();
    let question = Question::new(Name::from_ascii("shop.example.").unwrap(), RecordType::A);
    exchange_by_resolver(&resolver, trust, &question, limit).await
}

#[tokio::test]
async fn asks_over_a_stream() {
    let server = serve(ALPN, None, Answer::Good);
    let found = ask_with(server.address, &server.trust, "dns.test", LIMIT).await.unwrap();
    assert_eq!((found.protocol.name(), found.server), ("quic", server.address));
    assert_eq!(found.response.answers.len(), 1);
    assert!(found.handshake.is_some() && found.connect.is_none());
}

#[tokio::test]
async fn certificates_and_protocols_are_judged_as_with_tls() {
    let server = serve(ALPN, None, Answer::Good);
    let failure = ask_with(server.address, &server.trust, "other.test", LIMIT).await.unwrap_err();
    assert_eq!((failure.stage, failure.reason), (Stage::Tls, "name_mismatch"), "{failure:?}");
    let stranger = serve(ALPN, None, Answer::Good);
    let failure = ask_with(server.address, &stranger.trust, "dns.test", LIMIT).await.unwrap_err();
    assert_eq!((failure.stage, failure.reason), (Stage::Tls, "certificate_untrusted"));
    let web = serve(b"h3", None, Answer::Good);
    let failure = ask_with(web.address, &web.trust, "dns.test", LIMIT).await.unwrap_err();
    assert_eq!((failure.stage, failure.reason), (Stage::Tls, "alpn_mismatch"), "{failure:?}");
}

#[tokio::test]
async fn servers_that_do_not_answer_are_named() {
    let idle = Some(Duration::from_millis(300));
    for (answer, idle, limit, reason, detail) in [
        (Answer::Short, None, LIMIT, "closed", "after 18 of "),
        (Answer::Twice, None, LIMIT, "malformed", "more than one response"),
        (Answer::Reset, None, LIMIT, "closed", "DOQ_EXCESSIVE_LOAD (4)"),
        (Answer::Closed, None, LIMIT, "closed", "DOQ_INTERNAL_ERROR (1)"),
        (Answer::Nothing, idle, LIMIT, "idle_timeout", "timed out"),
        (Answer::Nothing, None, Duration::from_millis(500), "timeout", ""),
    ] {
        let server = serve(ALPN, idle, answer);
        let failure = ask_with(server.address, &server.trust, "dns.test", limit).await.unwrap_err();
        assert_eq!((failure.stage, failure.reason), (Stage::Dns, reason), "{failure:?}");
        assert!(failure.detail.unwrap_or_default().contains(detail), "{answer:?}");
    }
}

#[tokio::test]
async fn hosts_without_quic_or_with_other_versions_are_named() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    let trust = serve(ALPN, None, Answer::Good).trust;
    let limit = Duration::from_millis(300);
    let failure = ask_with(address, &trust, "dns.test", limit).await.unwrap_err();
    assert_eq!((failure.stage, failure.reason), (Stage::Connect, "timeout"));
    // RFC 9000, section 17.2.1: the ids are exchanged, and the version is one of RFC 9000, section 15.
    tokio::spawn(async move {
        let mut packet = [0; 2000];
        loop {
            let (_, client) = socket.recv_from(&mut packet).await.unwrap();
            let (own_length, rest) = packet[5..].split_first().unwrap();
            let (own, rest) = rest.split_at((*own_length).into());
            let (other_length, rest) = rest.split_first().unwrap();
            let other = &rest[..usize::from(*other_length)];
            let answer = [
                &[0x80, 0, 0, 0, 0, *other_length][..],
                other,
                &[*own_length],
                own,
                &[0x0a, 0x0a, 0x0a, 0x0a],
            ]
            .concat();
            socket.send_to(&answer, client).await.unwrap();
        }
    });
    let failure = ask_with(address, &trust, "dns.test", LIMIT).await.unwrap_err();
    assert_eq!((failure.stage, failure.reason), (Stage::Connect, "quic_version"), "{failure:?}");
}
