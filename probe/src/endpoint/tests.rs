use super::*;
use crate::config::{Config, Sources};
use crate::dns::CacheLimits;
use dnscribe_admin::Server;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Instant;
use tokio::runtime::Runtime;

/// The endpoint as the program has it, on a port of its own.
struct Served {
    server: Server,
    endpoint: ProbeEndpoint,
    _runtime: Runtime,
}

impl Served {
    fn new(yaml: &str, max_concurrent: usize) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("version: 1\n{yaml}")).unwrap();
        let path = Some(file.path().to_path_buf());
        let config = Config::load(&Sources { file: path, ..Sources::default() }).unwrap();
        let runtime = Runtime::new().unwrap();
        let context = Context::new("test".into(), config.trust.clone());
        let handle = runtime.handle().clone();
        let endpoint = ProbeEndpoint::new(handle, config.modules, &context, max_concurrent);
        let listen = "127.0.0.1:0".parse().unwrap();
        let (server, _) = Server::start_with_routes(listen, endpoint.routes(), || {}).unwrap();
        Self { server, endpoint, _runtime: runtime }
    }

    fn get(&self, query: &str) -> (u16, String) {
        get(self.server.address, query, "")
    }
}

/// Returns status, and headers with the body.
fn get(server: SocketAddr, query: &str, header: &str) -> (u16, String) {
    let mut client = TcpStream::connect(server).unwrap();
    let request =
        format!("GET /probe?{query} HTTP/1.1\r\nHost: x\r\n{header}Connection: close\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

/// A DNS server that gives 192.0.2.10 for every name.
fn dns_server() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            socket.send_to(&dns_response(&buffer[..length]), client).unwrap();
        }
    });
    address
}

/// Makes the response of that server to a query.
fn dns_response(query: &[u8]) -> Vec<u8> {
    // The question ends behind the root label, type and class; OPT is left out.
    let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let mut response = query[..end].to_vec();
    response[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    response.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 192, 0, 2, 10]);
    response
}

/// Answers queries at an address with 192.0.2.10.
async fn serve_dns(socket: tokio::net::UdpSocket) {
    let mut buffer = [0; 512];
    while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
        let response = dns_response(&buffer[..length]);
        socket.send_to(&response, client).await.unwrap();
    }
}

#[test]
fn caches_do_not_grow_with_the_resolvers_that_are_named() {
    let served = Served::new("", 64);
    let servers = Runtime::new().unwrap();
    let free = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    for net in 0..100 {
        let addresses: Vec<_> =
            (0..100).map(|host| SocketAddr::from(([127, 1, net, host], port))).collect();
        let running: Vec<_> = addresses
            .iter()
            .map(|address| {
                let socket = servers.block_on(tokio::net::UdpSocket::bind(*address)).unwrap();
                servers.spawn(serve_dns(socket))
            })
            .collect();
        thread::scope(|scope| {
            for part in addresses.chunks(25) {
                let server = served.server.address;
                scope.spawn(move || {
                    for address in part {
                        let query = format!("module=dns&target={address}&qname=a.test&qtype=A");
                        let (status, text) = get(server, &query, "");
                        assert!(status == 200 && text.contains("\nprobe_success 1\n"), "{text}");
                    }
                });
            }
        });
        running.iter().for_each(tokio::task::JoinHandle::abort);
        let context = Arc::clone(&served.endpoint.0.settings.read().unwrap().1);
        let (resolvers, sets) = context.validators.cached();
        assert!(resolvers <= CacheLimits::REQUESTED.resolvers, "{resolvers} after {net}");
        assert!(sets <= resolvers * CacheLimits::REQUESTED.sets, "{sets} after {net}");
        assert!(resolvers > 0);
    }
}

#[test]
fn measures_name_at_resolver() {
    let served = Served::new("", 8);
    let resolver = dns_server();
    let query = format!("module=dns&target={resolver}&qname=shop.example.com&qtype=A");
    let (status, text) = served.get(&query);
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("content-type: text/plain; version=0.0.4"), "{text}");
    for line in [
        "probe_success 1",
        "probe_dns_query_succeeded 1",
        "probe_dns_answer_rrs 1",
        "probe_ip_protocol 4",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line} in {text}");
    }
    assert!(
        text.contains("dnscribe_probe_answer_info{qname=\"shop.example.com\",qtype=\"A\",digest=")
    );
    let (_, text) = served.get(&(query + "&debug=true"));
    assert!(text.contains("\"192.0.2.10\"") && text.contains("Metrics that would"), "{text}");
}

#[test]
fn reports_failure_as_blackbox_exporter_does() {
    let served = Served::new("", 8);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (status, text) = served.get(&format!("module=tcp_connect&target={closed}"));
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("\nprobe_success 0\n"), "{text}");
    assert!(
        text.contains("dnscribe_probe_failure_info{stage=\"connect\",reason=\"refused\"} 1"),
        "{text}"
    );
}

#[test]
fn refuses_wrong_requests() {
    let served = Served::new("", 8);
    for (query, expected) in [
        ("module=none&target=x", "unknown module"),
        ("module=tcp_connect", "target is missing"),
        ("module=tcp_connect&target=x", "not a host with a port"),
        ("", "target is missing"),
    ] {
        let (status, text) = served.get(query);
        assert!(status == 400 && text.contains(expected), "{query}: {text}");
    }
    let header = "X-Prometheus-Scrape-Timeout-Seconds: soon\r\n";
    assert_eq!(get(served.server.address, "target=x", header).0, 400);
    assert_eq!(served.endpoint.counts()[2], ("refused", 5));
}

/// A resolver that never answers: the time limit of the scrape holds, and one request at a time.
#[test]
fn keeps_time_limit_and_bound() {
    let served = Served::new("", 1);
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let query = format!("module=dns&target={}&qname=x.example", silent.local_addr().unwrap());
    let (address, started) = (served.server.address, Instant::now());
    let slow_query = query.clone();
    let slow = thread::spawn(move || {
        get(address, &slow_query, "X-Prometheus-Scrape-Timeout-Seconds: 1.5\r\n")
    });
    silent.recv(&mut [0; 512]).unwrap();
    assert_eq!(served.get(&query).0, 429);
    let (status, text) = slow.join().unwrap();
    assert!(status == 200 && text.contains("\nprobe_success 0\n"), "{text}");
    assert!(text.contains("reason=\"timeout\""), "{text}");
    let elapsed = started.elapsed().as_secs_f64();
    assert!((0.9..1.5).contains(&elapsed), "{elapsed}");
}

#[test]
fn client_that_leaves_frees_its_place() {
    let served = Served::new("", 1);
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let query = format!("module=dns&target={}&qname=x.example", silent.local_addr().unwrap());
    let mut client = TcpStream::connect(served.server.address).unwrap();
    client.write_all(format!("GET /probe?{query} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    silent.recv(&mut [0; 512]).unwrap();
    drop(client);
    let started = Instant::now();
    while served.get("module=tcp_connect&target=127.0.0.1:1").0 == 429 {
        assert!(started.elapsed() < Duration::from_secs(3), "the default time limit is 5 s");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn reads_time_limits() {
    let limit = |seconds| scrape_limit(seconds).map(|limit| limit.map(|limit| limit.as_millis()));
    assert_eq!(limit("10"), Ok(Some(9500)));
    assert_eq!((limit("0.5"), limit("0.2")), (Ok(None), Ok(None)));
    assert!(limit("-1").is_err() && limit("NaN").is_err() && limit("").is_err());
}

#[test]
fn checks_answers_as_lines() {
    let fields = |answers: &[&str]| ProbeFields {
        ok: true,
        qname: Some("example.com".into()),
        qtype: Some("A".into()),
        min_ttl_seconds: Some(300),
        answers: answers.iter().map(|answer| (*answer).to_owned()).collect(),
        ..ProbeFields::default()
    };
    let is_ok = |fails_if, pattern: &str, answers: &[&str]| {
        let pattern = regex::Regex::new(pattern).unwrap();
        let checks =
            Checks { answers: vec![AnswerCheck { pattern, fails_if }], ..Checks::default() };
        let mut fields = fields(answers);
        checks.apply(&mut fields);
        assert_eq!(fields.ok, fields.error.is_none());
        fields.ok
    };
    let (all, one) = (&["192.0.2.1", "192.0.2.2"][..], &["192.0.2.1", "127.0.0.1"][..]);
    let expected = "^example\\.com\\.\t300\tIN\tA\t192\\.0\\.2\\.";
    assert!(is_ok(AnswerCondition::AnyDiffers, expected, all));
    assert!(!is_ok(AnswerCondition::AnyDiffers, expected, one));
    assert!(is_ok(AnswerCondition::NoneMatches, expected, one));
    assert!(!is_ok(AnswerCondition::NoneMatches, "203", one));
    assert!(!is_ok(AnswerCondition::AnyMatches, "127", one));
    assert!(is_ok(AnswerCondition::AnyMatches, "127", all));
    assert!(!is_ok(AnswerCondition::AllMatch, "192", all));
    assert!(
        is_ok(AnswerCondition::AllMatch, "192", one)
            && is_ok(AnswerCondition::AllMatch, "192", &[])
    );
}

#[test]
fn checks_tls_version_and_missing_data() {
    let mut plain = ProbeFields { ok: true, ..ProbeFields::default() };
    Checks { tls: Some(true), ..Checks::default() }.apply(&mut plain);
    assert_eq!(plain.error.unwrap().reason, "no_tls");
    let mut http =
        ProbeFields { ok: true, http_version: Some("2".into()), ..ProbeFields::default() };
    Checks { http_versions: vec!["1.1", "2"], ..Checks::default() }.apply(&mut http);
    assert!(http.ok);
    Checks { http_versions: vec!["1.1"], ..Checks::default() }.apply(&mut http);
    assert_eq!(http.error.unwrap().reason, "version");
    let (stage, reason) = ("dns".to_owned(), "no_data".to_owned());
    let error = Some(ProbeError { stage, reason, detail: None });
    let mut empty = ProbeFields { error, ..ProbeFields::default() };
    Checks::default().apply(&mut empty);
    assert!(!empty.ok);
    Checks { allow_no_data: true, ..Checks::default() }.apply(&mut empty);
    assert!(empty.ok && empty.error.is_none());
}
