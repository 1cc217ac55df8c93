//! Exchanges with servers on loopback.

use super::testing::{a, record, response, serve_tcp, serve_udp, sockets, udp};
use super::*;
use hickory_proto::op::Message;
use hickory_proto::rr::RData;
use hickory_proto::rr::rdata::{CNAME, NS};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

const LIMIT: Duration = Duration::from_secs(5);

fn trust() -> Trust {
    Trust::load(Some(&[]), None).unwrap()
}

fn question() -> Question {
    let question = Question::new(Name::from_ascii("shop.example.").unwrap(), RecordType::A);
    Question { retries: 0, ..question }
}

async fn ask(protocol: Protocol, server: SocketAddr, limit: Duration) -> Result<Exchange, Failure> {
    let resolver = Resolver { protocol, ..Resolver::udp("test", server) };
    exchange(&resolver, &trust(), &question(), limit).await
}

fn good(query: &Message) -> Vec<u8> {
    response(query).add_answer(a("shop.example.", [192, 0, 2, 1])).to_vec().unwrap()
}

#[tokio::test]
async fn refused_port_is_seen_at_once() {
    let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let begin = Instant::now();
    let failure = ask(Protocol::Udp, free, LIMIT).await.unwrap_err();
    assert_eq!((failure.stage, failure.reason), (Stage::Dns, "port_unreachable"));
    assert!(begin.elapsed() < Duration::from_secs(1));
    let failure = ask(Protocol::Tcp, free, LIMIT).await.unwrap_err();
    assert_eq!((failure.stage, failure.reason), (Stage::Connect, "refused"));
}

#[tokio::test]
async fn forged_responses_are_ignored() {
    let forged = |query: &Message| {
        let mut other_id = response(query);
        other_id.metadata.id ^= 1;
        let mut other_question = response(query);
        other_question.queries[0].set_name(Name::from_ascii("evil.example.").unwrap());
        vec![other_id.to_vec().unwrap(), other_question.to_vec().unwrap(), vec![0; 3]]
    };
    let server = udp(move |query| [forged(&query), vec![good(&query)]].concat()).await;
    let found = ask(Protocol::Udp, server, LIMIT).await.unwrap();
    assert_eq!(found.response.answers.len(), 1);
    assert_eq!((found.protocol, found.connect), (Protocol::Udp, None));

    let server = udp(move |query| forged(&query)).await;
    let failure = ask(Protocol::Udp, server, Duration::from_millis(300)).await.unwrap_err();
    assert_eq!((failure.stage, failure.reason), (Stage::Dns, "timeout"));
    assert!(failure.detail.unwrap().starts_with("3 datagrams"));
}

/// Returns a response without records that says that it is truncated.
fn truncated(query: &Message) -> Vec<u8> {
    let mut response = response(query);
    response.metadata.truncation = true;
    response.to_vec().unwrap()
}

/// Returns a response that is cut within its record.
fn cut(query: &Message) -> Vec<u8> {
    let mut response = response(query);
    response.metadata.truncation = true;
    let mut bytes = response.add_answer(a("shop.example.", [192, 0, 2, 1])).to_vec().unwrap();
    bytes.truncate(bytes.len() - 3);
    bytes
}

#[tokio::test]
async fn truncated_responses_are_asked_for_over_tcp() {
    for reply in [truncated, cut] {
        let (socket, listener) = sockets(Ipv4Addr::LOCALHOST.into(), 0).await;
        let server = listener.local_addr().unwrap();
        tokio::spawn(serve_udp(socket, move |query| vec![reply(&query)]));
        tokio::spawn(serve_tcp(listener, |query| good(&query)));
        let found = ask(Protocol::Udp, server, LIMIT).await.unwrap();
        assert_eq!(found.protocol, Protocol::Tcp);
        assert!(found.connect.is_some());
        assert_eq!(found.response.answers.len(), 1);
    }
}

#[tokio::test]
async fn compression_loops_are_malformed() {
    let looped = |query: Message| {
        let mut bytes = response(&query).to_vec().unwrap();
        // One answer whose name points at itself.
        bytes[7] = 1;
        let at = u8::try_from(bytes.len()).unwrap();
        bytes.extend([0xc0, at, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
        vec![bytes]
    };
    let server = udp(looped).await;
    let failure = ask(Protocol::Udp, server, LIMIT).await.unwrap_err();
    assert_eq!((failure.stage, failure.reason), (Stage::Dns, "malformed"));
}

#[tokio::test]
async fn refusals_need_not_repeat_the_question() {
    let server = udp(|query| {
        let mut response = response(&query);
        response.queries.clear();
        response.metadata.response_code = ResponseCode::FormErr;
        vec![response.to_vec().unwrap()]
    })
    .await;
    let found = ask(Protocol::Udp, server, LIMIT).await.unwrap();
    assert_eq!(rcode_reason(found.response.metadata.response_code), "formerr");
}

#[tokio::test]
async fn streams_that_trickle_or_close_end_in_time() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let server = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_u16(60_000).await.unwrap();
            while stream.write_u8(0).await.is_ok() {
                sleep(Duration::from_millis(50)).await;
            }
        }
    });
    let begin = Instant::now();
    let failure = ask(Protocol::Tcp, server, Duration::from_millis(400)).await.unwrap_err();
    assert_eq!((failure.stage, failure.reason), (Stage::Dns, "timeout"));
    assert!(failure.detail.unwrap().contains("bytes of the response"));
    assert!(begin.elapsed() < Duration::from_secs(2));

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let server = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&[0, 100, 1, 2, 3]).await.unwrap();
        sleep(Duration::from_millis(100)).await;
    });
    let failure = ask(Protocol::Tcp, server, LIMIT).await.unwrap_err();
    assert!(["closed", "reset"].contains(&failure.reason), "{failure:?}");
}

#[tokio::test]
async fn records_of_another_class_are_no_answer() {
    for section in ["answer", "authority", "additional"] {
        let server = udp(move |query| {
            let mut response = response(&query);
            let mut foreign = a("shop.example.", [192, 0, 2, 1]);
            foreign.dns_class = DNSClass::CH;
            match section {
                "answer" => response.add_answer(foreign),
                "authority" => response.add_authority(foreign),
                _ => response.add_additional(foreign),
            };
            vec![response.to_vec().unwrap()]
        })
        .await;
        let failure = ask(Protocol::Udp, server, LIMIT).await.unwrap_err();
        assert_eq!((failure.stage, failure.reason), (Stage::Dns, "malformed"), "{section}");
        let detail = "a record of class CH in a response to a question of class IN";
        assert_eq!(failure.detail.as_deref(), Some(detail));
    }
}

#[test]
fn cname_records_are_followed_and_loops_end() {
    let alias =
        |from: &str, to: &str| record(from, RData::CNAME(CNAME(Name::from_ascii(to).unwrap())));
    let name = |text: &str| Name::from_ascii(text).unwrap();
    let mut message = Message::query();
    message.add_answer(alias("b.example.", "c.example."));
    message.add_answer(alias("a.example.", "b.example."));
    let chain = |message: &Message| aliases(&name("a.example."), RecordType::A, message);
    assert_eq!(chain(&message), Some(vec![name("b.example."), name("c.example.")]));
    message.add_answer(alias("c.example.", "a.example."));
    assert_eq!(chain(&message), None);
}

#[tokio::test]
async fn names_are_resolved_in_both_families() {
    let server = udp(|query| {
        let mut response = response(&query);
        if query.queries[0].query_type() == RecordType::A {
            let target = CNAME(Name::from_ascii("host.example.").unwrap());
            response.add_answer(record("shop.example.", RData::CNAME(target)));
            response.add_answer(a("host.example.", [192, 0, 2, 7]));
            response.add_answer(a("evil.example.", [192, 0, 2, 8]));
        }
        vec![response.to_vec().unwrap()]
    })
    .await;
    let resolver = Resolver::udp("test", server);
    let name = Name::from_ascii("shop.example.").unwrap();
    let found =
        addresses(&name, Some(&resolver), AddressFamily::Any, &trust(), LIMIT).await.unwrap();
    assert_eq!(found, [IpAddr::from([192, 0, 2, 7])]);

    let server = udp(|query| {
        let mut response = response(&query);
        response.metadata.response_code = ResponseCode::NXDomain;
        vec![response.to_vec().unwrap()]
    })
    .await;
    let resolver = Resolver::udp("test", server);
    let failure =
        addresses(&name, Some(&resolver), AddressFamily::Any, &trust(), LIMIT).await.unwrap_err();
    assert_eq!((failure.stage, failure.reason), (Stage::Resolve, "nxdomain"));
    // A nameserver of other zones says nothing of this name.
    let server = udp(|query| {
        let mut response = response(&query);
        let nameserver = NS(Name::from_ascii("ns.example.").unwrap());
        response.add_authority(record("example.", RData::NS(nameserver)));
        vec![response.to_vec().unwrap()]
    })
    .await;
    let resolver = Resolver::udp("test", server);
    let failure =
        addresses(&name, Some(&resolver), AddressFamily::Any, &trust(), LIMIT).await.unwrap_err();
    assert_eq!((failure.stage, failure.reason), (Stage::Resolve, "refused"));
    let localhost = Name::from_ascii("localhost.").unwrap();
    let found = addresses(&localhost, None, AddressFamily::Any, &trust(), LIMIT).await.unwrap();
    assert!(found.iter().all(IpAddr::is_loopback));
}

#[tokio::test]
async fn a_type_without_an_answer_takes_a_part_of_the_time() {
    let server = udp(|query| {
        let is_ipv4 = query.queries[0].query_type() == RecordType::A;
        if is_ipv4 { vec![good(&query)] } else { Vec::new() }
    })
    .await;
    let resolver = Resolver::udp("test", server);
    let name = Name::from_ascii("shop.example.").unwrap();
    let trust = trust();
    // The longest time that each may take, of two seconds.
    for (family, millis) in [(AddressFamily::Ipv4, 400), (AddressFamily::Any, 1000)] {
        let begin = Instant::now();
        let limit = Duration::from_secs(2);
        let found = addresses(&name, Some(&resolver), family, &trust, limit).await.unwrap();
        assert_eq!(found, [IpAddr::from([192, 0, 2, 1])]);
        assert!(begin.elapsed() < Duration::from_millis(millis), "{family:?}");
    }
    let limit = Duration::from_millis(200);
    let asked = addresses(&name, Some(&resolver), AddressFamily::Ipv6, &trust, limit);
    let failure = asked.await.unwrap_err();
    assert_eq!((failure.stage, failure.reason), (Stage::Resolve, "timeout"));
}

/// Starts a server with a certificate for `dns.test` and this application protocol. Returns its address and
/// what trusts it.
async fn serve_tls(alpn: &'static [u8]) -> (SocketAddr, Trust) {
    let identity = rcgen::generate_simple_self_signed(["dns.test".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(identity.signing_key.serialize_der());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(identity.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let chain = vec![identity.cert.der().clone()];
    let mut config = builder.with_single_cert(chain, key.unwrap()).unwrap();
    config.alpn_protocols = vec![alpn.to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // A client that trusts no other name ends its handshake.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let service = hyper::service::service_fn(answer_https);
            match alpn {
                b"dot" => {
                    let length = stream.read_u16().await.unwrap();
                    let mut query = vec![0; length.into()];
                    stream.read_exact(&mut query).await.unwrap();
                    let reply = good(&Message::from_vec(&query).unwrap());
                    stream.write_u16(u16::try_from(reply.len()).unwrap()).await.unwrap();
                    stream.write_all(&reply).await.unwrap();
                    stream.flush().await.unwrap();
                }
                b"h2" => {
                    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
                }
                _ => {
                    let server = hyper::server::conn::http1::Builder::new();
                    tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
                }
            }
        }
    });
    (address, Trust { roots: roots.into(), ..trust() })
}

async fn answer_https(
    request: hyper::Request<hyper::body::Incoming>,
) -> Result<hyper::Response<Full<hyper::body::Bytes>>, hyper::Error> {
    assert_eq!(request.headers()["content-type"], "application/dns-message");
    let status = if request.uri().path() == "/dns-query" { 200 } else { 403 };
    let query = request.into_body().collect().await?.to_bytes();
    let reply = Full::new(good(&Message::from_vec(&query).unwrap()).into());
    let response = hyper::Response::builder().status(status);
    Ok(response.header("content-type", "application/dns-message").body(reply).unwrap())
}

#[tokio::test]
async fn encrypted_protocols_measure_each_phase() {
    for (scheme, alpn) in [("tls", "dot"), ("https", "h2"), ("https", "http/1.1")] {
        let (server, trust) = serve_tls(alpn.as_bytes()).await;
        let ask = |path: &str, name: &str| {
            let text = format!("{scheme}://{server}{path}#{name}");
            let trust = trust.clone();
            async move {
                let resolver = Resolver::parse(&text).unwrap();
                exchange(&resolver, &trust, &question(), LIMIT).await
            }
        };
        let found = ask("", "dns.test").await.unwrap();
        assert_eq!((found.protocol.name(), found.server), (scheme, server), "{alpn}");
        assert_eq!(found.response.answers.len(), 1);
        assert!(found.connect.is_some() && found.handshake.is_some());

        let failure = ask("", "other.test").await.unwrap_err();
        assert_eq!((failure.stage, failure.reason), (Stage::Tls, "name_mismatch"), "{alpn}");
        if scheme == "https" {
            let failure = ask("/other", "dns.test").await.unwrap_err();
            assert_eq!((failure.stage, failure.reason), (Stage::Http, "status"), "{alpn}");
        }
    }
}

#[tokio::test]
async fn untrusted_and_silent_tls_servers_fail_at_tls() {
    let (server, _) = serve_tls(b"dot").await;
    let failure = ask(Protocol::Tls, server, LIMIT).await.unwrap_err();
    assert_eq!((failure.stage, failure.reason), (Stage::Tls, "certificate_untrusted"));
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let server = silent.local_addr().unwrap();
    let failure = ask(Protocol::Tls, server, Duration::from_millis(200)).await.unwrap_err();
    assert_eq!((failure.stage, failure.reason), (Stage::Tls, "handshake_timeout"));
}

/// Asks a server that ignores the first `lost` datagrams and delays each of its responses.
async fn ask_lossy(lost: usize, delay: u64, retries: u32) -> Result<Exchange, Failure> {
    let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        for number in 0.. {
            let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
            if number < lost {
                continue;
            }
            let query = Message::from_vec(&buffer[..length]).unwrap();
            let mut response = response(&query);
            response.add_answer(a("shop.example.", [192, 0, 2, 1]));
            let socket = Arc::clone(&socket);
            tokio::spawn(async move {
                sleep(Duration::from_millis(delay)).await;
                socket.send_to(&response.to_vec().unwrap(), client).await.unwrap();
            });
        }
    });
    let name = Name::from_ascii("shop.example.").unwrap();
    let question = Question { retries, ..Question::new(name, RecordType::A) };
    exchange(&Resolver::udp("test", address), &trust(), &question, Duration::from_millis(900)).await
}

#[tokio::test]
async fn one_lost_datagram_is_no_failure() {
    let found = ask_lossy(0, 0, 1).await.unwrap();
    assert_eq!(found.attempts, 1);
    let found = ask_lossy(1, 0, 1).await.unwrap();
    assert_eq!(found.attempts, 2);
    assert!(found.latency < Duration::from_millis(300), "of the second query: {:?}", found.latency);
    let found = ask_lossy(2, 0, 2).await.unwrap();
    assert_eq!(found.attempts, 3);
    let failure = ask_lossy(2, 0, 1).await.unwrap_err();
    assert_eq!((failure.reason, failure.attempts), ("timeout", 2));
    let failure = ask_lossy(1, 0, 0).await.unwrap_err();
    assert_eq!((failure.reason, failure.attempts), ("timeout", 1));
}

#[tokio::test]
async fn a_slow_response_to_the_first_query_is_taken() {
    let found = ask_lossy(0, 600, 1).await.unwrap();
    assert_eq!(found.attempts, 2);
    assert!(found.latency >= Duration::from_millis(600), "of the first query: {:?}", found.latency);
}

#[tokio::test]
async fn a_server_that_restarts_is_asked_again() {
    let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    tokio::spawn(async move {
        sleep(Duration::from_millis(200)).await;
        serve_udp(UdpSocket::bind(free).await.unwrap(), |query| vec![good(&query)]).await;
    });
    let again = Question { retries: 1, ..question() };
    let resolver = Resolver::udp("test", free);
    let found = exchange(&resolver, &trust(), &again, Duration::from_secs(1)).await.unwrap();
    assert_eq!(found.attempts, 2);

    let closed = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        let begin = Instant::now();
        let resolver = Resolver { protocol, ..Resolver::udp("test", closed) };
        let limit = Duration::from_millis(400);
        let failure = exchange(&resolver, &trust(), &again, limit).await.unwrap_err();
        assert!(matches!(failure.reason, "port_unreachable" | "refused"), "{failure:?}");
        assert_eq!(failure.attempts, 2);
        assert!(begin.elapsed() >= RETRY_PAUSE, "{:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn a_truncated_response_over_a_stream_has_a_reason_of_its_own() {
    let (socket, listener) = sockets(Ipv4Addr::LOCALHOST.into(), 0).await;
    let server = listener.local_addr().unwrap();
    tokio::spawn(serve_udp(socket, move |query| vec![truncated(&query)]));
    tokio::spawn(serve_tcp(listener, move |query| truncated(&query)));
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        let failure = ask(protocol, server, LIMIT).await.unwrap_err();
        assert_eq!((failure.stage, failure.reason), (Stage::Dns, "truncated"));
    }
}

#[tokio::test]
async fn a_signed_answer_over_tcp_has_the_whole_time_limit() {
    let (socket, listener) = sockets(Ipv4Addr::LOCALHOST.into(), 0).await;
    let server = listener.local_addr().unwrap();
    tokio::spawn(serve_udp(socket, |query| vec![truncated(&query)]));
    let slow = |query: Message| {
        std::thread::sleep(Duration::from_millis(700));
        good(&query)
    };
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = listener.into_std().unwrap();
        runtime.block_on(async { serve_tcp(TcpListener::from_std(listener).unwrap(), slow).await });
    });
    let question = Question { dnssec_ok: true, ..question() };
    let resolver = Resolver::udp("test", server);
    let trust = trust();
    let limit = |millis| exchange(&resolver, &trust, &question, Duration::from_millis(millis));
    assert_eq!(limit(1000).await.unwrap().protocol, Protocol::Tcp);
    let failure = limit(200).await.unwrap_err();
    let detail = failure.detail.unwrap();
    assert_eq!(detail, "over TCP, after a truncated response over UDP");
}
