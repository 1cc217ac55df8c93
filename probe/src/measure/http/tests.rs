//! The kind `http` against servers on loopback.

mod client;

use crate::dns::Resolver;
use crate::dns::testing::{a, response, udp};
use crate::measure::testing::{
    authority, context_with, host, identity, listen, reset, roots, server_config, server_params,
};
use crate::measure::{Round, measure};
use crate::target::{AddressFamily, HttpTarget, SecretText, Target, TargetKind};
use bytes::Bytes;
use dnscribe_record::ProbeFields;
use flate2::Compression;
use flate2::write::GzEncoder;
use hickory_proto::rr::RecordType;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::RootCertStore;
use rustls::version::TLS13;
use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use url::Url;

/// Requests that a server received, as text.
type Log = Arc<Mutex<Vec<String>>>;

fn target(url: &str) -> HttpTarget {
    HttpTarget {
        url: Url::parse(url).unwrap(),
        method: Method::GET,
        request_body: None,
        headers: HeaderMap::new(),
        resolver: None,
        family: AddressFamily::Any,
        source: crate::source::Source::default(),
        connect_to: None,
        server_name: None,
        verify: true,
        client: None,
        status: (200..300).collect(),
        body: None,
        body_not: None,
        response_headers: Vec::new(),
        response_headers_not: Vec::new(),
        response_headers_if_present: Vec::new(),
        max_body_bytes: 1 << 20,
        max_redirects: 3,
        redirect_to_private: false,
        redirect_to_insecure: false,
    }
}

async fn probe_with(trusted: RootCertStore, http: HttpTarget, timeout: Duration) -> ProbeFields {
    let target = Target {
        service: "shop".into(),
        name: http.url.to_string(),
        interval: Duration::from_mins(1),
        timeout,
        retries: 0,
        kind: TargetKind::Http(Box::new(http)),
    };
    let Round { found, .. } = measure(&context_with(trusted), &Arc::new(target)).await;
    assert_eq!(found.len(), 1);
    found.into_iter().next().unwrap()
}

async fn probe(http: HttpTarget) -> ProbeFields {
    probe_with(RootCertStore::empty(), http, Duration::from_secs(5)).await
}

fn reason(fields: &ProbeFields) -> (&str, &str, &str) {
    assert_eq!(fields.ok, fields.error.is_none());
    fields.error.as_ref().map_or(("", "", ""), |error| {
        (error.stage.as_str(), error.reason.as_str(), error.detail.as_deref().unwrap_or_default())
    })
}

/// Reads a request: its head, and its body if it says how long that is.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await.unwrap_or(0) == 0 {
            break;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.unwrap();
    head + std::str::from_utf8(&body).unwrap()
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, log: &Log, response: &[u8]) {
    let head = read_request(&mut stream).await;
    log.lock().unwrap().push(head);
    // A client that has read enough closes the connection.
    let _ = stream.write_all(response).await;
    let _ = stream.shutdown().await;
}

/// Starts a server that gives this response to every request. `PORT` in it becomes the server's port.
async fn serve(response: impl AsRef<[u8]>) -> (SocketAddr, Log) {
    let log = Log::default();
    let (kept, response) = (Arc::clone(&log), response.as_ref().to_vec());
    let address = listen(move |stream| {
        let (log, mut response) = (Arc::clone(&kept), response.clone());
        let port = stream.local_addr().unwrap().port().to_string();
        if let Ok(text) = std::str::from_utf8(&response) {
            response = text.replace("PORT", &port).into_bytes();
        }
        async move { answer(stream, &log, &response).await }
    })
    .await;
    (address, log)
}

fn respond(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
}

#[tokio::test]
async fn checks_status_and_body() {
    let (address, log) = serve(respond("200 OK", "", "all is well")).await;
    let mut http = target(&format!("http://{address}/health?full=1"));
    http.body = Some("is w.ll".parse().unwrap());
    http.headers.insert("x-probe", HeaderValue::from_static("yes"));
    let fields = probe(http.clone()).await;
    assert_eq!(reason(&fields), ("", "", ""));
    assert_eq!(
        (fields.http_status, fields.redirects, fields.body_bytes),
        (Some(200), Some(0), Some(11))
    );
    assert!(
        fields.ttfb_ms.is_some() && fields.transfer_ms.is_some() && fields.connect_ms.is_some()
    );
    assert_eq!((fields.handshake_ms, fields.resolve_ms), (None, None));
    let request = log.lock().unwrap()[0].to_lowercase();
    assert!(request.starts_with("get /health?full=1 http/1.1\r\n"), "{request}");
    for header in [&format!("host: {address}"), "accept-encoding: identity", "x-probe: yes"] {
        assert!(request.contains(&format!("\r\n{header}\r\n")), "{request}");
    }
    http.body = Some("is ill".parse().unwrap());
    assert_eq!(
        reason(&probe(http.clone()).await),
        ("http", "body_mismatch", "no match in 11 bytes")
    );
    let (address, log) = serve(respond("503 Service Unavailable", "", "")).await;
    let mut http = target(&format!("http://{address}/"));
    let fields = probe(http.clone()).await;
    assert_eq!(reason(&fields), ("http", "status", "503 Service Unavailable"));
    assert_eq!(fields.http_status, Some(503));
    http.status = vec![503];
    http.method = Method::HEAD;
    assert_eq!(reason(&probe(http).await), ("", "", ""));
    assert!(log.lock().unwrap()[1].starts_with("HEAD / HTTP/1.1\r\n"));
}

#[tokio::test]
async fn connects_to_another_host() {
    let (address, log) = serve("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let mut http = target("http://shop.example/x");
    http.connect_to = Some(host(&address.ip().to_string(), address.port()));
    let fields = probe(http).await;
    assert_eq!(reason(&fields), ("", "", ""));
    assert_eq!(fields.http_version.as_deref(), Some("1.1"));
    let request = log.lock().unwrap()[0].to_lowercase();
    assert!(
        request.starts_with("get /x ") && request.contains("host: shop.example\r\n"),
        "{request}"
    );
}

#[tokio::test]
async fn redirects_end() {
    let (address, log) = serve(respond("302 Found", "Location: /nächste\r\n", "")).await;
    let mut http = target(&format!("http://{address}/"));
    let fields = probe(http.clone()).await;
    assert_eq!(reason(&fields), ("http", "redirect_loop", "more than 3 redirects"));
    assert_eq!((fields.redirects, log.lock().unwrap().len()), (Some(3), 4));
    http.max_redirects = 0;
    assert_eq!(reason(&probe(http.clone()).await), ("http", "status", "302 Found"));
    (http.max_redirects, http.status) = (3, vec![302]);
    let fields = probe(http).await;
    assert_eq!((reason(&fields), fields.redirects), (("", "", ""), Some(0)));
    for location in ["", "Location: ftp://127.0.0.1/\r\n", "Location: http://[::1/\r\n"] {
        let (address, _) = serve(respond("301 Moved Permanently", location, "")).await;
        let fields = probe(target(&format!("http://{address}/"))).await;
        assert_eq!(
            (reason(&fields).0, reason(&fields).1),
            ("http", "redirect_invalid"),
            "{location}"
        );
    }
}

#[tokio::test]
async fn redirects_do_not_lead_to_other_private_addresses() {
    let (end, seen) = serve(respond("200 OK", "", "secret")).await;
    for (host, is_allowed) in [
        (end.to_string(), true),
        (format!("127.1:{}", end.port()), true),
        (format!("0x7f000002:{}", end.port()), false),
        (format!("[::1]:{}", end.port()), false),
        (format!("[::ffff:127.0.0.2]:{}", end.port()), false),
        ("169.254.169.254".to_owned(), false),
        ("10.0.0.1".to_owned(), false),
    ] {
        let location = format!("Location: http://{host}/latest/meta-data\r\n");
        let (address, _) = serve(respond("307 Temporary Redirect", &location, "")).await;
        seen.lock().unwrap().clear();
        let fields = probe(target(&format!("http://{address}/"))).await;
        let expected = if is_allowed { "" } else { "redirect_private" };
        assert_eq!(reason(&fields).1, expected, "{host}: {:?}", fields.error);
        assert_eq!(seen.lock().unwrap().len(), usize::from(is_allowed), "{host}");
    }
    // All of 127.0.0.0/8 is this host; the server listens at one address of it.
    let location = format!("Location: http://[::ffff:127.0.0.1]:{}/\r\n", end.port());
    let (address, _) = serve(respond("302 Found", &location, "")).await;
    let mut http = target(&format!("http://{address}/"));
    http.redirect_to_private = true;
    assert_eq!(reason(&probe(http).await), ("", "", ""));
}

/// Every way to write an address that is not public in a URL, with how its redirect ends.
#[tokio::test]
async fn redirects_do_not_lead_to_private_addresses_however_they_are_written() {
    let (end, seen) = serve(respond("200 OK", "", "secret")).await;
    // The server of the redirects listens at an address of its own: the host's own addresses are allowed.
    let (private, invalid) = ("redirect_private", "redirect_invalid");
    for (host, expected) in [
        ("127.0.0.1", private),
        ("127.0.0.1.", private),
        ("127.1", private),
        ("127.0.1", private),
        ("2130706433", private),
        ("0x7f000001", private),
        ("0x7f.0.0.0x1", private),
        ("0177.0.0.01", private),
        ("017700000001", private),
        ("%31%32%37.0.0.1", private),
        ("%EF%BC%91%EF%BC%92%EF%BC%97.0.0.1", private),
        ("0", private),
        ("0.0.0.0", private),
        ("0x0", private),
        ("0xA9FEA9FE", private),
        ("255.255.255.255", private),
        ("[::]", private),
        ("[::1]", private),
        ("[0:0:0:0:0:0:0:1]", private),
        ("[::127.0.0.1]", private),
        ("[::ffff:0.0.0.0]", private),
        ("[::ffff:127.0.0.1]", private),
        ("[::FFFF:7F00:1]", private),
        ("[::ffff:0:127.0.0.1]", private),
        ("[64:ff9b::127.0.0.1]", private),
        ("[64:ff9b:1::127.0.0.1]", private),
        ("[2002:7f00:1::]", private),
        ("[2001:0:7f00:1::]", private),
        ("[fe80::1]", private),
        ("[fe80::5efe:127.0.0.1]", private),
        ("[2606:4700::5efe:127.0.0.1]", private),
        ("[fd00::1]", private),
        ("[ff02::1]", private),
        ("localhost", private),
        ("LOCALHOST.", private),
        ("[fe80::1%25lo]", invalid),
        ("[fe80::1%lo]", invalid),
        ("[v1.fe80::a]", invalid),
        ("256.0.0.1", invalid),
        ("0x100000000", invalid),
        ("127.0.0.0x", private),
    ] {
        let location = format!("Location: http://{host}:{}/\r\n", end.port());
        let redirect = respond("302 Found", &location, "");
        let server = TcpListener::bind("127.0.0.9:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (stream, _) = server.accept().await.unwrap();
            answer(stream, &Log::default(), redirect.as_bytes()).await;
        });
        let fields = probe(target(&format!("http://{address}/"))).await;
        assert_eq!(reason(&fields).1, expected, "{host}: {:?}", fields.error);
        serving.await.unwrap();
    }
    assert_eq!(seen.lock().unwrap().len(), 0);
}

/// A name whose addresses change between two queries: that which is checked is that which is connected to.
#[tokio::test]
async fn names_are_resolved_once_and_their_addresses_are_checked() {
    let (end, seen) = serve(respond("200 OK", "", "secret")).await;
    for (first, expected, requests) in
        // Its first address is the server's own, which is allowed; the next is not.
        [([127, 0, 0, 1], "", 1), ([127, 0, 0, 2], "redirect_private", 0)]
    {
        let queries = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&queries);
        let resolver = udp(move |query| {
            let mut message = response(&query);
            if query.queries[0].query_type() == RecordType::A {
                *counted.lock().unwrap() += 1;
                let is_first = *counted.lock().unwrap() == 1;
                let address = if is_first { first } else { [127, 0, 0, 3] };
                message.add_answer(a("rebind.test.", address));
            }
            vec![message.to_vec().unwrap()]
        })
        .await;
        let location = format!("Location: http://rebind.test:{}/\r\n", end.port());
        let (address, _) = serve(respond("302 Found", &location, "")).await;
        seen.lock().unwrap().clear();
        let mut http = target(&format!("http://{address}/"));
        http.resolver = Some(Arc::new(Resolver::udp("rebinding", resolver)));
        let fields = probe(http).await;
        assert_eq!(reason(&fields).1, expected, "{:?}", fields.error);
        assert_eq!((*queries.lock().unwrap(), seen.lock().unwrap().len()), (1, requests));
    }
}

#[tokio::test]
async fn a_post_sends_its_body_to_its_own_origin_only() {
    let (other, seen) = serve(respond("200 OK", "", "")).await;
    for (status, location, expected) in [
        ("303 See Other", format!("http://{other}/next"), ("", "GET /next ")),
        ("302 Found", format!("http://{other}/next"), ("", "GET /next ")),
        ("307 Temporary Redirect", format!("http://{other}/next"), ("redirect_invalid", "")),
        ("308 Permanent Redirect", "http://127.0.0.1:PORT/again".to_owned(), ("redirect_loop", "")),
    ] {
        seen.lock().unwrap().clear();
        let (address, log) = serve(respond(status, &format!("Location: {location}\r\n"), "")).await;
        let mut http = target(&format!("http://{address}/"));
        http.method = Method::POST;
        http.request_body = Some(SecretText("hunter2".to_owned()));
        assert!(!format!("{http:?}").contains("hunter"), "{http:?}");
        let fields = probe(http).await;
        assert_eq!(reason(&fields).1, expected.0, "{status}");
        let log = log.lock().unwrap();
        let is_post =
            |request: &String| request.starts_with("POST /") && request.ends_with("hunter2");
        assert!(log.iter().all(is_post), "{log:?}");
        let seen = seen.lock().unwrap();
        assert!(seen.first().is_none_or(|request| request.starts_with(expected.1)), "{seen:?}");
        assert!(seen.iter().all(|request| !request.contains("hunter2")), "{seen:?}");
        assert_eq!(seen.len(), usize::from(!expected.1.is_empty()));
    }
}

#[tokio::test]
async fn refuses_a_body_that_has_what_it_must_not_have() {
    let (address, _) = serve(respond("200 OK", "", "down for maintenance")).await;
    let mut http = target(&format!("http://{address}/"));
    http.body_not = Some("maint".parse().unwrap());
    let found = probe(http.clone()).await;
    assert_eq!(reason(&found), ("http", "body_mismatch", "a match of body_not at byte 9"));
    http.body_not = Some("sorry".parse().unwrap());
    assert_eq!(reason(&probe(http.clone()).await), ("", "", ""));
    http.max_body_bytes = 5;
    assert_eq!(reason(&probe(http).await).1, "body_too_long");
}

#[tokio::test]
async fn headers_must_be_there_or_must_not() {
    let headers = "X-Cache: MISS\r\nX-Cache: HIT\r\nServer: shop/2\r\n";
    let (address, _) = serve(respond("200 OK", headers, "")).await;
    let check = |name: &'static str, pattern: &str| {
        vec![(HeaderName::from_static(name), pattern.parse().unwrap())]
    };
    for (wanted, unwanted, detail) in [
        (check("x-cache", "^HIT$"), check("server", "Apache"), ""),
        (check("x-cache", "^STALE$"), Vec::new(), "no match in x-cache"),
        (check("age", ""), Vec::new(), "there is no age"),
        (Vec::new(), check("x-cache", "MISS"), "a match of response_headers_not in x-cache"),
        (Vec::new(), check("age", ""), ""),
    ] {
        let mut http = target(&format!("http://{address}/"));
        (http.response_headers, http.response_headers_not) = (wanted, unwanted);
        let found = probe(http).await;
        let expected =
            if detail.is_empty() { ("", "", "") } else { ("http", "header_mismatch", detail) };
        assert_eq!(reason(&found), expected);
    }
    for (optional, expected) in [("age", ""), ("x-cache", ""), ("server", "header_mismatch")] {
        let mut http = target(&format!("http://{address}/"));
        http.response_headers_if_present = check(optional, "HIT");
        assert_eq!(reason(&probe(http).await).1, expected, "{optional}");
    }
}

#[tokio::test]
async fn credentials_stay_with_their_origin() {
    let (other, seen) = serve(respond("200 OK", "", "")).await;
    let location = format!("Location: http://user:other@{other}/\r\n");
    let (address, first) = serve(respond("302 Found", &location, "")).await;
    let mut http = target(&format!("http://{address}/"));
    let mut secret = HeaderValue::from_static("Basic aHVudGVyOmh1bnRlcjI=");
    secret.set_sensitive(true);
    http.headers.insert(AUTHORIZATION, secret);
    assert!(!format!("{http:?}").contains("aHVudGVy"), "{http:?}");
    let fields = probe(http.clone()).await;
    assert_eq!(reason(&fields), ("", "", ""));
    let request = first.lock().unwrap()[0].to_lowercase();
    assert!(request.contains("\r\nauthorization: basic ahvudgvyomh1bnrlcji=\r\n"), "{request}");
    let request = seen.lock().unwrap()[0].to_lowercase();
    assert!(!request.contains("authorization") && !request.contains("other@"), "{request}");
    let record = serde_json::to_string(&fields).unwrap();
    assert!(!record.contains("aHVudGVy") && !record.contains("hunter"), "{record}");
    // The server's own pages still get them.
    let (address, log) = serve(respond("302 Found", "Location: /again\r\n", "")).await;
    http.url = Url::parse(&format!("http://{address}/")).unwrap();
    probe(http).await;
    let requests = log.lock().unwrap();
    assert!(requests.len() == 4 && requests.iter().all(|one| one.contains("authorization")));
}

#[tokio::test]
async fn bodies_are_bounded_and_not_decompressed() {
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(&vec![0; 64 << 20]).unwrap();
    let bomb = bomb.finish().unwrap();
    let mut response = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        bomb.len()
    );
    let mut response = std::mem::take(&mut response).into_bytes();
    response.extend(&bomb);
    let (address, _) = serve(response).await;
    let mut http = target(&format!("http://{address}/"));
    http.body = Some("ok".parse().unwrap());
    let fields = probe(http.clone()).await;
    let detail = "the body is encoded as gzip, though identity was asked for";
    assert_eq!(reason(&fields), ("http", "body_mismatch", detail));
    assert_eq!(fields.body_bytes, Some(bomb.len() as u64));
    let mut response = b"HTTP/1.1 200 OK\r\n\r\nfirst".to_vec();
    response.resize(8 << 20, b'x');
    let (address, _) = serve(response).await;
    http.url = Url::parse(&format!("http://{address}/")).unwrap();
    http.max_body_bytes = 100_000;
    let fields = probe(http.clone()).await;
    assert_eq!(reason(&fields), ("http", "body_too_long", "no match in the first 100000 bytes"));
    assert_eq!(fields.body_bytes, Some(100_000));
    http.body = Some("first".parse().unwrap());
    assert_eq!(reason(&probe(http.clone()).await), ("", "", ""));
    http.body = None;
    assert_eq!(reason(&probe(http).await), ("", "", ""));
}

#[tokio::test]
async fn names_broken_responses() {
    let endless = format!("HTTP/1.1 200 OK\r\n{}", "X-Header: value\r\n".repeat(10_000));
    let table = [
        ("", "closed"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "closed"),
        ("SSH-2.0-OpenSSH_9.2p1\r\n", "malformed"),
        ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "malformed"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "malformed"),
        (&endless, "malformed"),
    ];
    for (response, expected) in table {
        let (address, _) = serve(response).await;
        let fields = probe(target(&format!("http://{address}/"))).await;
        let beginning: String = response.chars().take(40).collect();
        assert_eq!((reason(&fields).0, reason(&fields).1), ("http", expected), "{beginning}");
    }
    let address = listen(|mut stream| async move {
        read_request(&mut stream).await;
        reset(&stream);
    })
    .await;
    let fields = probe(target(&format!("http://{address}/"))).await;
    assert_eq!((reason(&fields).0, reason(&fields).1), ("http", "reset"));
}

#[tokio::test]
async fn slow_servers_are_cut_off() {
    let trickle = |response: &'static str| {
        listen(move |mut stream| async move {
            read_request(&mut stream).await;
            for byte in response.bytes() {
                if stream.write_all(&[byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            tokio::time::sleep(Duration::from_mins(1)).await;
        })
    };
    let text = "HTTP/1.1 200 OK\r\n\r\nbody";
    for (timeout, detail) in [(500, "before the response"), (1300, "while the body was read")] {
        let address = trickle(text).await;
        let begin = Instant::now();
        let http = target(&format!("http://{address}/"));
        let fields = probe_with(RootCertStore::empty(), http, Duration::from_millis(timeout)).await;
        assert_eq!(reason(&fields), ("http", "timeout", detail));
        let late = begin.elapsed().saturating_sub(Duration::from_millis(timeout));
        assert!(late < Duration::from_millis(300), "{late:?}");
    }
}

/// Delays of a server in milliseconds: before the handshake, before the response, within the body.
const DELAYS: [u64; 3] = [150, 250, 200];

#[tokio::test]
async fn measures_each_phase_over_tls() {
    let root = authority("Root", "Lab", None);
    let identity = identity(&server_params("localhost"), &root, &[]);
    let config = server_config(&identity, &[&TLS13], &["http/1.1"], Vec::new());
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let address = listen(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let [handshake, head, body] = DELAYS.map(Duration::from_millis);
            tokio::time::sleep(handshake).await;
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            read_request(&mut stream).await;
            tokio::time::sleep(head).await;
            let begin = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok";
            stream.write_all(begin).await.unwrap();
            tokio::time::sleep(body).await;
            stream.write_all(b"ok").await.unwrap();
            stream.shutdown().await.unwrap();
        }
    })
    .await;
    let http = target(&format!("https://localhost:{}/", address.port()));
    let limit = Duration::from_secs(5);
    let fields = probe_with(roots(&[root.der()]), http.clone(), limit).await;
    assert_eq!(reason(&fields), ("", "", ""));
    let phases = [fields.handshake_ms, fields.ttfb_ms, fields.transfer_ms].map(Option::unwrap);
    for (found, delay) in phases.into_iter().zip(DELAYS) {
        let delay = f64::from(u32::try_from(delay).unwrap());
        assert!((delay..delay + 60.0).contains(&found), "{phases:?}");
    }
    let sum: f64 =
        phases.iter().chain(&[fields.resolve_ms.unwrap(), fields.connect_ms.unwrap()]).sum();
    assert!((sum..sum + 60.0).contains(&fields.duration_ms), "{sum} of {}", fields.duration_ms);
    assert!(fields.cert.unwrap().chain_ok);
    // A certificate that is not trusted ends the exchange before the request.
    let fields = probe_with(RootCertStore::empty(), http, limit).await;
    assert_eq!((reason(&fields).0, reason(&fields).1), ("tls", "certificate_untrusted"));
    assert_eq!((fields.http_status, fields.ttfb_ms), (None, None));
}

#[tokio::test]
async fn speaks_http_2() {
    let root = authority("Root", "Lab", None);
    let identity = identity(&server_params("localhost"), &root, &[]);
    let config = server_config(&identity, &[&TLS13], &["h2", "http/1.1"], Vec::new());
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let address = listen(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let stream = acceptor.accept(stream).await.unwrap();
            let service = service_fn(|request: hyper::Request<_>| {
                let text = format!("{} {}", request.method(), request.uri());
                async move { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text)))) }
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        }
    })
    .await;
    let mut http = target(&format!("https://localhost:{}/path?q", address.port()));
    let pattern = format!("^GET https://localhost:{}/path\\?q$", address.port());
    http.body = Some(pattern.parse().unwrap());
    let fields = probe_with(roots(&[root.der()]), http, Duration::from_secs(5)).await;
    assert_eq!(reason(&fields), ("", "", ""));
    assert_eq!((fields.alpn.as_deref(), fields.http_status), (Some("h2"), Some(200)));
}

// Types and flags of frames of HTTP/2, and the first stream of a client.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const STREAM: u32 = 1;

/// Makes a frame (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

/// Reads the frames of a request.
async fn read_frames(stream: &mut (impl AsyncRead + Unpin)) {
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    stream.read_exact(&mut vec![0; preface.len()]).await.unwrap();
    let mut head = [0; 9];
    while head[3] != HEADERS {
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; usize::try_from(length).unwrap()]).await.unwrap();
    }
}

#[tokio::test]
async fn bodies_of_http_2_are_whole_or_fail() {
    let root = authority("Root", "Lab", None);
    let identity = identity(&server_params("localhost"), &root, &[]);
    let config = server_config(&identity, &[&TLS13], &["h2"], Vec::new());
    let acceptor = TlsAcceptor::from(Arc::new(config));
    // Status 200, and a length of 100 bytes (RFC 7541, appendix A).
    let (status, length) = ("\u{88}", "\u{88}\u{f}\u{d}\u{3}100");
    let whole = frame(DATA, END_STREAM, STREAM, b"");
    let reset = |code: u8| frame(RST_STREAM, 0, STREAM, &[0, 0, 0, code]);
    let away = |code: u8| frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, code]);
    for (case, head, end, expected) in [
        ("whole", status, whole.clone(), ""),
        ("whole, then reset", status, [whole.clone(), reset(0)].concat(), ""),
        ("too short", length, whole, "malformed"),
        ("reset without an error", length, reset(0), "closed"),
        ("reset without an error, of any length", status, reset(0), "closed"),
        ("reset with an error", length, reset(2), "reset"),
        ("cancelled", status, reset(8), "reset"),
        ("away without an error", length, away(0), "closed"),
        ("away without an error, of any length", status, away(0), "closed"),
        ("away with an error", length, away(2), "closed"),
        ("connection closed", status, Vec::new(), "closed"),
    ] {
        let head: Vec<u8> = head.chars().map(|byte| u8::try_from(byte).unwrap()).collect();
        let response = [
            frame(SETTINGS, ACK, 0, b""),
            frame(HEADERS, END_HEADERS, STREAM, &head),
            frame(DATA, 0, STREAM, b"ok"),
            end,
        ]
        .concat();
        let acceptor = acceptor.clone();
        let address = listen(move |stream| {
            let (acceptor, response) = (acceptor.clone(), response.clone());
            async move {
                let mut stream = acceptor.accept(stream).await.unwrap();
                stream.write_all(&frame(SETTINGS, 0, 0, b"")).await.unwrap();
                read_frames(&mut stream).await;
                // A client that has read enough closes the connection.
                let _ = stream.write_all(&response).await;
                let _ = stream.shutdown().await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        })
        .await;
        let http = target(&format!("https://localhost:{}/", address.port()));
        let fields = probe_with(roots(&[root.der()]), http, Duration::from_secs(5)).await;
        assert_eq!(reason(&fields).1, expected, "{case}: {:?}", fields.error);
    }
}

#[tokio::test]
async fn redirects_do_not_leave_tls() {
    let root = authority("Root", "Lab", None);
    let identity = identity(&server_params("localhost"), &root, &[]);
    let config = server_config(&identity, &[&TLS13], &[], Vec::new());
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (plain, _) = serve(respond("200 OK", "", "")).await;
    let response = respond("302 Found", &format!("Location: http://{plain}/\r\n"), "");
    let address = listen(move |stream| {
        let (acceptor, response) = (acceptor.clone(), response.clone());
        async move {
            let stream = acceptor.accept(stream).await.unwrap();
            answer(stream, &Log::default(), response.as_bytes()).await;
        }
    })
    .await;
    let mut http = target(&format!("https://localhost:{}/", address.port()));
    let limit = Duration::from_secs(5);
    let trusted = roots(&[root.der()]);
    let fields = probe_with(trusted.clone(), http.clone(), limit).await;
    assert_eq!((reason(&fields).0, reason(&fields).1), ("http", "redirect_insecure"));
    http.redirect_to_insecure = true;
    assert_eq!(reason(&probe_with(trusted, http, limit).await), ("", "", ""));
}
