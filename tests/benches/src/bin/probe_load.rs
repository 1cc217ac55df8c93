//! What `cargo xtask bench probe` measures the probe with.
//!
//! - `probe_load serve CERTIFICATE KEY` answers DNS over UDP at 127.0.0.1, and at all addresses of the loopback interface
//!   accepts TCP connections, answers HTTP, and shakes hands by TLS. It prints the ports as a JSON object, and ends with its
//!   standard input.
//! - `probe_load bare DNS TCP_PORT HTTP_PORT TLS_PORT ROUNDS` makes as many exchanges as rounds, in the mix of the
//!   benchmark's targets, one after another and without anything else, and prints its CPU time.
//! - `probe_load lateness FILE INTERVAL_SECONDS` reads the probe's records and prints how late rounds began. A target's
//!   round that came earliest on its grid counts as punctual.

#![expect(clippy::print_stdout, clippy::expect_used, reason = "a measurement, not the probe")]

use dnscribe_benches::cpu;
use dnscribe_record::time::Timestamp;
use openssl::ssl::{SslAcceptor, SslConnector, SslFiletype, SslMethod, SslVerifyMode};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::env;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

/// Number of rounds after which the mix of targets repeats itself, and the places in it of those that are no names: TCP
/// ports, URLs and TLS servers.
const MIX: u32 = 20;
const TCP: [u32; 4] = [0, 5, 10, 15];
const HTTP: [u32; 1] = [1];
const TLS: [u32; 1] = [2];

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: load\r\nConnection: close\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", certificate, key] => serve(certificate, key),
        ["bare", dns, tcp, http, tls, rounds] => {
            let ports = [tcp, http, tls].map(|port| port.parse().expect("a port"));
            let servers = ports.map(|port: u16| SocketAddr::from(([127, 0, 0, 1], port)));
            bare(dns.parse().expect("an address"), servers, rounds.parse().expect("a number"));
        }
        ["lateness", file, interval] => lateness(file, interval.parse().expect("a number")),
        _ => panic_usage(),
    }
}

fn panic_usage() {
    eprintln!(
        "usage: probe_load serve CERTIFICATE KEY | bare DNS TCP_PORT HTTP_PORT TLS_PORT ROUNDS | \
         lateness FILE INTERVAL_SECONDS"
    );
    std::process::exit(2);
}

fn serve(certificate: &str, key: &str) {
    let dns = UdpSocket::bind("127.0.0.1:0").expect("a UDP port");
    let [tcp, http, tls] = [(); 3].map(|()| TcpListener::bind("0.0.0.0:0").expect("a TCP port"));
    let port = |listener: &TcpListener| listener.local_addr().expect("an address").port();
    println!(
        "{}",
        json!({
            "dns": dns.local_addr().expect("an address"),
            "tcp_port": port(&tcp), "http_port": port(&http), "tls_port": port(&tls),
        })
    );
    let mut acceptor =
        SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).expect("settings of TLS");
    acceptor.set_certificate_chain_file(certificate).expect("a certificate");
    acceptor.set_private_key_file(key, SslFiletype::PEM).expect("a key");
    let acceptor = acceptor.build();
    // Clients that go away end their connection.
    thread::spawn(move || {
        for mut stream in http.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]).and_then(|_| stream.write_all(RESPONSE));
        }
    });
    thread::spawn(move || {
        tls.incoming().flatten().for_each(|stream| drop(acceptor.accept(stream)));
    });
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, client)) = dns.recv_from(&mut query) {
            let sent = response(&query[..length]).map(|response| dns.send_to(&response, client));
            drop(sent);
        }
    });
    thread::spawn(move || tcp.incoming().for_each(drop));
    let mut rest = Vec::new();
    io::stdin().read_to_end(&mut rest).expect("standard input");
}

/// Returns the response to a query: one A record of the name asked for.
fn response(query: &[u8]) -> Option<Vec<u8>> {
    let mut end = 12;
    while *query.get(end)? != 0 {
        end += usize::from(query[end]) + 1;
    }
    let question = query.get(12..end + 5)?;
    let mut response = query.get(..2)?.to_vec();
    response.extend([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    response.extend(question);
    response.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
    Some(response)
}

fn bare(dns: SocketAddr, [tcp, http, tls]: [SocketAddr; 3], rounds: u32) {
    let mut connector = SslConnector::builder(SslMethod::tls_client()).expect("settings of TLS");
    connector.set_verify(SslVerifyMode::NONE);
    let connector = connector.build();
    let begin = cpu::cpu_time();
    let mut buffer = [0; 512];
    for round in 0..rounds {
        let place = round % MIX;
        if TCP.contains(&place) {
            TcpStream::connect(tcp).expect("a connection");
            continue;
        }
        if HTTP.contains(&place) {
            let mut stream = TcpStream::connect(http).expect("a connection");
            stream.write_all(REQUEST).expect("a request");
            stream.read_to_end(&mut Vec::new()).expect("a response");
            continue;
        }
        if TLS.contains(&place) {
            let stream = TcpStream::connect(tls).expect("a connection");
            connector.connect("load.test", stream).expect("a handshake");
            continue;
        }
        let name = format!("t{round}");
        let mut query = vec![1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        query.push(u8::try_from(name.len()).expect("a short name"));
        query.extend(name.as_bytes());
        query.extend(b"\x07example\0\0\x01\0\x01");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        socket.connect(dns).expect("a server");
        socket.send(&query).expect("a query");
        socket.recv(&mut buffer).expect("a response");
    }
    let cpu = cpu::cpu_time().saturating_sub(begin).as_secs_f64();
    println!("{}", json!({ "cpu_seconds_per_1000_rounds": cpu / f64::from(rounds) * 1000.0 }));
}

fn lateness(file: &str, interval: u64) {
    let lines = BufReader::new(File::open(file).expect("the records")).lines();
    let mut starts: HashMap<String, Vec<u64>> = HashMap::new();
    let mut failed = 0_u64;
    for line in lines {
        let record: Value = serde_json::from_str(&line.expect("a line")).expect("a record");
        if record["schema"] != "dns.probe/1" {
            continue;
        }
        failed += u64::from(record["ok"] != true);
        let ts: Timestamp = record["ts"].as_str().and_then(|ts| ts.parse().ok()).expect("a time");
        starts.entry(record["target"].to_string()).or_default().push(ts.as_nanos());
    }
    let interval = interval * 1_000_000_000;
    let mut delays = Vec::new();
    for times in starts.values().filter(|times| times.len() > 1) {
        // Distances from the grid of the first round, moved so that none is negative.
        let half = interval / 2;
        let offsets: Vec<u64> = times.iter().map(|at| (at - times[0] + half) % interval).collect();
        let first = offsets.iter().min().copied().unwrap_or(0);
        delays.extend(
            offsets.iter().map(|offset| Duration::from_nanos(offset - first).as_secs_f64() * 1e3),
        );
    }
    delays.sort_by(f64::total_cmp);
    let at =
        |share: usize| delays.get((delays.len().max(1) - 1) * share / 1000).copied().unwrap_or(0.0);
    println!(
        "{}",
        json!({
            "late_p50_ms": at(500), "late_p99_ms": at(990), "late_max_ms": at(1000),
            "targets": starts.len(), "failed": failed,
        })
    );
}
