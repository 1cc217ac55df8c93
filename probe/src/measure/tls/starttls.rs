//! STARTTLS of SMTP (RFC 3207): from the greeting to the moment at which TLS begins.

use super::{Failure, Stage};
use std::net::IpAddr;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// Longest line and largest number of lines of a reply; RFC 5321, section 4.5.3.1, allows 512 bytes.
const MAX_LINE_BYTES: u64 = 2048;
const MAX_LINES: usize = 100;

/// Asks an SMTP server to begin TLS.
///
/// # Errors
/// Stage `tls` with the reason `starttls_unsupported` (not offered), `starttls_failed` (refused, no reply of
/// SMTP, or bytes behind the last plain one), `closed` or `reset`.
pub(super) async fn smtp(stream: TcpStream) -> Result<TcpStream, Failure> {
    // RFC 5321, section 4.1.3: a client without a name gives its address.
    let client = match stream.local_addr().map_err(|error| Failure::io(Stage::Tls, &error))?.ip() {
        IpAddr::V4(address) => format!("[{address}]"),
        IpAddr::V6(address) => format!("[IPv6:{address}]"),
    };
    let mut stream = BufReader::new(stream);
    expect(&mut stream, "220").await?;
    send(&mut stream, &format!("EHLO {client}\r\n")).await?;
    let extensions = expect(&mut stream, "250").await?;
    if !extensions.iter().any(|line| line.trim().eq_ignore_ascii_case("STARTTLS")) {
        let detail = "the server does not offer STARTTLS";
        return Err(Failure::new(Stage::Tls, "starttls_unsupported").with_detail(detail));
    }
    send(&mut stream, "STARTTLS\r\n").await?;
    expect(&mut stream, "220").await?;
    if !stream.buffer().is_empty() {
        return Err(failed("the server sent more before TLS began"));
    }
    Ok(stream.into_inner())
}

async fn send(stream: &mut BufReader<TcpStream>, command: &str) -> Result<(), Failure> {
    stream.write_all(command.as_bytes()).await.map_err(|error| Failure::io(Stage::Tls, &error))
}

/// Reads a reply and returns its lines without the code.
async fn expect(stream: &mut BufReader<TcpStream>, code: &str) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    while lines.len() < MAX_LINES {
        let mut line = Vec::new();
        let read = (&mut *stream).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await;
        if read.map_err(|error| Failure::io(Stage::Tls, &error))? == 0 {
            return Err(Failure::new(Stage::Tls, "closed").with_detail("in a reply of SMTP"));
        }
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        let (Some(found), rest) = (line.get(..3), line.get(3..).unwrap_or_default()) else {
            return Err(failed("the server does not speak SMTP"));
        };
        if !found.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(failed("the server does not speak SMTP"));
        }
        if found != code {
            return Err(failed(&format!("the server replied {line}")));
        }
        lines.push(rest.get(1..).unwrap_or_default().to_owned());
        if !rest.starts_with('-') {
            return Ok(lines);
        }
    }
    Err(failed("the server's reply is too long"))
}

fn failed(detail: &str) -> Failure {
    Failure::new(Stage::Tls, "starttls_failed").with_detail(detail)
}
