//! A client of DNS over TLS whose connections the test counts.
//!
//! `tls-client many COUNT ADDRESS:PORT NAME` opens COUNT connections, some at the same time, sends
//! one query over each, and prints the number of answers. `tls-client hold ADDRESS:PORT NAME` opens
//! one connection, sends a query, prints `ready`, and holds the connection until standard input
//! ends. `NAME` is the server's name.

use anyhow::{Context as _, Result, bail};
use openssl::ssl::{SslConnector, SslMethod, SslStream, SslVerifyMode};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

/// Time limit for each step.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Connections open at the same time: each waits for a delayed acknowledgement of 40 ms.
const AT_A_TIME: usize = 20;
/// ALPN protocol id of DNS over TLS (registered by IANA; RFC 7858 defines none).
const ALPN: &[u8] = b"\x03dot";
/// A query for the address of `www.example.com`, with its length prefix.
const QUERY: &[u8] =
    b"\0\x21\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\x03com\0\0\x01\0\x01";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *words.as_slice() {
        ["many", count, server, name] => {
            let count: usize = count.parse()?;
            let connector = &connector()?;
            let answered: usize = thread::scope(|scope| {
                let threads: Vec<_> = (0..AT_A_TIME)
                    .map(|first| (first..count).step_by(AT_A_TIME).count())
                    .map(|share| scope.spawn(move || many(connector, share, server, name)))
                    .collect();
                threads.into_iter().filter_map(|thread| thread.join().ok()).sum()
            });
            say(&answered.to_string())
        }
        ["hold", server, name] => {
            let mut stream = connect(&connector()?, server, name)?;
            ask(&mut stream)?;
            say("ready")?;
            io::stdin().read_to_end(&mut Vec::new())?;
            Ok(())
        }
        _ => bail!("usage: tls-client many COUNT ADDRESS:PORT NAME | hold ADDRESS:PORT NAME"),
    }
}

/// Opens `count` connections and returns the number of those that were answered.
fn many(connector: &SslConnector, count: usize, server: &str, name: &str) -> usize {
    let answered = |_: &usize| {
        let Ok(mut stream) = connect(connector, server, name) else { return false };
        let is_answered = ask(&mut stream).is_ok();
        // The server may have closed first.
        let _ = stream.shutdown();
        is_answered
    };
    (0..count).filter(answered).count()
}

fn connector() -> Result<SslConnector> {
    let mut builder = SslConnector::builder(SslMethod::tls())?;
    builder.set_verify(SslVerifyMode::NONE);
    builder.set_alpn_protos(ALPN)?;
    Ok(builder.build())
}

fn connect(connector: &SslConnector, server: &str, name: &str) -> Result<SslStream<TcpStream>> {
    let address: SocketAddr = server.parse().context("ADDRESS:PORT")?;
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    Ok(connector.connect(name, stream)?)
}

fn ask(stream: &mut SslStream<TcpStream>) -> Result<()> {
    stream.write_all(QUERY)?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    if answer.get(..2) != QUERY.get(2..4) {
        bail!("the answer has another id");
    }
    Ok(())
}

fn say(line: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush().context("standard output")
}
