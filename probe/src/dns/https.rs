//! One query and its response over HTTPS (RFC 8484).

use super::stream::{connect, handshake};
use super::{Exchange, Protocol, Question, Resolver, encode, malformed, read_response};
use crate::failure::{Failure, Stage};
use crate::trust::Trust;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::client::TlsStream;

/// Type of the messages (RFC 8484, section 6).
const DNS_MESSAGE: &str = "application/dns-message";

/// Largest message in bytes (RFC 1035, section 4.2.2).
const MAX_MESSAGE_BYTES: usize = 65_535;

pub(super) async fn exchange(
    server: SocketAddr,
    resolver: &Resolver,
    trust: &Trust,
    question: &Question,
    deadline: Instant,
) -> Result<Exchange, Failure> {
    let (stream, connect) = connect(server, resolver.source, deadline).await?;
    let alpn: [&[u8]; 2] = [b"h2", b"http/1.1"];
    let (stream, handshake) = handshake(stream, resolver, trust, &alpn, deadline).await?;
    let mut query = question.query();
    // Caches of HTTP must see equal queries (RFC 8484, section 4.1).
    query.metadata.id = 0;
    let request = request(resolver, encode(&query)?)?;
    let sent = Instant::now();
    let Ok(asked) = timeout_at(deadline, ask(stream, request)).await else {
        return Err(Failure::new(Stage::Http, "timeout"));
    };
    let wire = asked?;
    let latency = sent.elapsed();
    let response = read_response(&query, &wire)?
        .ok_or_else(|| malformed("the response has another id or question"))?;
    Ok(Exchange {
        response,
        wire,
        protocol: Protocol::Https,
        server,
        latency,
        connect: Some(connect),
        handshake: Some(handshake),
        attempts: 1,
    })
}

fn request(resolver: &Resolver, query: Vec<u8>) -> Result<Request<Full<Bytes>>, Failure> {
    let name = resolver.server_name();
    let host = if name.contains(':') { format!("[{name}]") } else { name };
    let authority = match resolver.port {
        443 => host,
        port => format!("{host}:{port}"),
    };
    let path = &resolver.path;
    Request::post(format!("https://{authority}{path}"))
        .header(CONTENT_TYPE, DNS_MESSAGE)
        .header(ACCEPT, DNS_MESSAGE)
        .body(Full::new(query.into()))
        .map_err(|error| Failure::new(Stage::Http, "malformed").with_detail(error.to_string()))
}

/// Sends a request over the version of HTTP that the server chose, and reads the message that it returns.
async fn ask(
    stream: TlsStream<TcpStream>,
    mut request: Request<Full<Bytes>>,
) -> Result<Vec<u8>, Failure> {
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let stream = TokioIo::new(stream);
    if is_http2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
                .await
                .map_err(|error| failed(&error))?;
        *request.version_mut() = Version::HTTP_2;
        let _background = Background(tokio::spawn(connection));
        let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
        read(response).await
    } else {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(stream).await.map_err(|error| failed(&error))?;
        let _background = Background(tokio::spawn(connection));
        let host = request.uri().authority().map(|host| host.as_str().parse());
        if let Some(Ok(host)) = host {
            request.headers_mut().insert(HOST, host);
        }
        let path = request.uri().path().to_owned();
        *request.uri_mut() = path.parse().map_err(|_| Failure::new(Stage::Http, "malformed"))?;
        let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
        read(response).await
    }
}

/// Task of a connection, which ends with its exchange.
struct Background<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for Background<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn read(response: Response<Incoming>) -> Result<Vec<u8>, Failure> {
    let status = response.status();
    if status != StatusCode::OK {
        return Err(Failure::new(Stage::Http, "status").with_detail(format!("status {status}")));
    }
    let media_type = response.headers().get(CONTENT_TYPE);
    if !media_type.is_some_and(is_dns_message) {
        let shown = media_type.map_or("nothing".into(), |value| {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        });
        let detail = format!("the response is no {DNS_MESSAGE} but {shown}");
        return Err(Failure::new(Stage::Http, "content_type").with_detail(detail));
    }
    let body = Limited::new(response.into_body(), MAX_MESSAGE_BYTES).collect().await;
    let body = body.map_err(|error| {
        let reason = if error.is::<LengthLimitError>() { "malformed" } else { "closed" };
        Failure::new(Stage::Http, reason).with_detail(error.to_string())
    })?;
    Ok(body.to_bytes().to_vec())
}

/// Returns whether a type is that of DNS messages, whatever its parameters (RFC 9110, section 8.3.1).
fn is_dns_message(media_type: &HeaderValue) -> bool {
    let text = media_type.to_str().unwrap_or_default();
    let name = text.split(';').next().unwrap_or_default();
    name.trim().eq_ignore_ascii_case(DNS_MESSAGE)
}

fn failed(error: &hyper::Error) -> Failure {
    let reason = if error.is_parse() || error.is_user() { "malformed" } else { "closed" };
    Failure::new(Stage::Http, reason).with_detail(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_have_parameters_and_no_case() {
        for (text, expected) in [
            ("application/dns-message", true),
            ("Application/DNS-Message ; charset=utf-8", true),
            ("application/dns-messagexyz", false),
            ("text/html", false),
        ] {
            assert_eq!(is_dns_message(&HeaderValue::from_static(text)), expected, "{text}");
        }
    }
}
