//! A client of DNS over TLS whose connections a test counts.
//!
//! `tls-client many COUNT ADDRESS:PORT NAME` makes so many connections one after the other, asks one
//! question over each, and says how many were answered. `tls-client hold ADDRESS:PORT NAME` makes
//! one, asks, says `ready`, and keeps it until its standard input ends. `NAME` is the server's.

use anyhow::{Context as _, Result, bail};
use openssl::ssl::{SslConnector, SslMethod, SslStream, SslVerifyMode};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long anything is waited for.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The protocol's name (RFC 7858 has none; IANA registered this one).
const ALPN: &[u8] = b"\x03dot";
/// A query for the address of `www.example.com`, after its length.
const QUERY: &[u8] =
    b"\0\x21\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\x03com\0\0\x01\0\x01";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *words.as_slice() {
        ["many", count, server, name] => {
            let mut answered = 0;
            for _ in 0..count.parse::<u32>()? {
                let mut stream = connect(server, name)?;
                answered += u32::from(ask(&mut stream).is_ok());
                // The server may have been first.
                let _ = stream.shutdown();
            }
            say(&answered.to_string())
        }
        ["hold", server, name] => {
            let mut stream = connect(server, name)?;
            ask(&mut stream)?;
            say("ready")?;
            io::stdin().read_to_end(&mut Vec::new())?;
            Ok(())
        }
        _ => bail!("usage: tls-client many COUNT ADDRESS:PORT NAME | hold ADDRESS:PORT NAME"),
    }
}

fn connect(server: &str, name: &str) -> Result<SslStream<TcpStream>> {
    let address: SocketAddr = server.parse().context("ADDRESS:PORT")?;
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut builder = SslConnector::builder(SslMethod::tls())?;
    builder.set_verify(SslVerifyMode::NONE);
    builder.set_alpn_protos(ALPN)?;
    Ok(builder.build().connect(name, stream)?)
}

fn ask(stream: &mut SslStream<TcpStream>) -> Result<()> {
    stream.write_all(QUERY)?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    if answer.get(..2) != QUERY.get(2..4) {
        bail!("an answer to another question");
    }
    Ok(())
}

fn say(line: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush().context("standard output")
}
