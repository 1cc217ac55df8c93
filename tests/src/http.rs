//! A minimal HTTP client for requests to programs that a test has started.

use crate::lab::inside;
use anyhow::{Context as _, Result};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

/// Time limit for a response, longer than the agent waits for its pipeline.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Time limit for a response to [`send`]: Flink answers once a job is submitted.
const SEND_LIMIT: Duration = Duration::from_mins(2);

/// An HTTP response.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header lines.
    pub head: String,
    /// Body.
    pub body: String,
}

/// Sends a GET request; returns status code and body.
pub fn get(address: SocketAddr, namespace: Option<&Path>, path: &str) -> Result<(u16, String)> {
    let answer = ask(
        address,
        namespace,
        &[format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()],
    )?;
    Ok((answer.status, answer.body))
}

/// Sends a GET request with one additional header line, such as `Accept:
/// application/openmetrics-text`.
pub fn get_with(address: SocketAddr, path: &str, header: &str) -> Result<Answer> {
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n{header}\r\n\r\n");
    ask(address, None, &[request.as_bytes()])
}

/// Sends a request with a body, such as `POST`, with additional header lines, each of which ends
/// with a line break.
pub fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Result<Answer> {
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    exchange(address, None, &[head.as_bytes(), body], SEND_LIMIT)
}

fn ask(address: SocketAddr, namespace: Option<&Path>, request: &[&[u8]]) -> Result<Answer> {
    exchange(address, namespace, request, ANSWER_LIMIT)
}

/// Uses HTTP/1.0: the response ends with the connection.
fn exchange(
    address: SocketAddr,
    namespace: Option<&Path>,
    request: &[&[u8]],
    limit: Duration,
) -> Result<Answer> {
    let connect = || TcpStream::connect_timeout(&address, Duration::from_secs(2));
    let mut stream = match namespace {
        Some(namespace) => inside(namespace, connect)??,
        None => connect()?,
    };
    stream.set_read_timeout(Some(limit))?;
    for part in request {
        stream.write_all(part)?;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split_whitespace().nth(1).context("no status code")?.parse()?;
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// Encodes text as a value of a query string (RFC 3986, section 2.1).
#[must_use]
pub fn quoted(text: &str) -> String {
    use std::fmt::Write as _;
    let mut quoted = String::new();
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() {
            quoted.push(octet.into());
        } else {
            // Writing to a string cannot fail.
            let _ = write!(quoted, "%{octet:02X}");
        }
    }
    quoted
}
