//! What `cargo xtask bench kpi` asks the metrics API with: `kpi_load ADDRESS CONNECTIONS FILE` sends a GET request for each
//! path in a file, over persistent connections, and prints requests per second and latencies.

#![expect(clippy::print_stdout, clippy::expect_used, reason = "a measurement, not dnscribe-kpi")]

use serde_json::json;
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let [address, connections, file] = words.as_slice() else {
        eprintln!("usage: kpi_load ADDRESS CONNECTIONS FILE");
        std::process::exit(2);
    };
    let address: SocketAddr = address.parse().expect("an address");
    let connections: usize = connections.parse().expect("a number");
    let paths = fs::read_to_string(file).expect("paths");
    let paths: Vec<&str> = paths.lines().collect();
    let start = Instant::now();
    let mut latencies: Vec<Duration> = thread::scope(|scope| {
        let threads: Vec<_> = (0..connections)
            .map(|first| paths.iter().skip(first).step_by(connections))
            .map(|paths| scope.spawn(move || ask(address, paths).expect("an answer")))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a thread")).collect()
    });
    let seconds = start.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let quantile = |percent: usize| {
        let latency = latencies.get(latencies.len().saturating_sub(1) * percent / 100);
        latency.expect("a request").as_secs_f64() * 1000.0
    };
    let number = u32::try_from(latencies.len()).expect("fewer requests");
    println!(
        "{}",
        json!({
            "requests_per_second": f64::from(number) / seconds,
            "p50_ms": quantile(50), "p99_ms": quantile(99), "max_ms": quantile(100),
        })
    );
}

/// Sends requests one after the other over one connection; returns how long each took.
fn ask<'a>(
    address: SocketAddr,
    paths: impl Iterator<Item = &'a &'a str>,
) -> io::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut latencies = Vec::new();
    let mut body = Vec::new();
    for path in paths {
        let start = Instant::now();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())?;
        let length =
            read_head(&mut reader).map_err(|error| io::Error::other(format!("{path}: {error}")))?;
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
        latencies.push(start.elapsed());
    }
    Ok(latencies)
}

/// Reads status and headers; returns the body's length.
fn read_head(reader: &mut impl BufRead) -> io::Result<usize> {
    let mut length = None;
    let mut line = String::new();
    reader.read_line(&mut line)?;
    if !line.starts_with("HTTP/1.1 200 ") {
        return Err(io::Error::other(line));
    }
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().ok();
            }
            Some(_) => {}
            None => return length.ok_or_else(|| io::Error::other("no Content-Length")),
        }
    }
}
