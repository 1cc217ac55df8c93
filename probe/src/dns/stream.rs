//! One query and its response over a stream: TCP (RFC 7766) and TLS (RFC 7858).

use super::{Exchange, Protocol, Question, Resolver, encode, malformed, read_response};
use crate::failure::{Failure, Stage};
use crate::handshake;
use crate::source::Source;
use crate::trust::Trust;
use rustls::pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(super) async fn exchange_tcp(
    server: SocketAddr,
    source: Source,
    question: &Question,
    connect_by: Instant,
    deadline: Instant,
) -> Result<Exchange, Failure> {
    let (stream, connect) = connect(server, source, connect_by).await?;
    let found = exchange(stream, server, question, deadline).await?;
    Ok(Exchange { connect: Some(connect), ..found })
}

pub(super) async fn exchange_tls(
    server: SocketAddr,
    resolver: &Resolver,
    trust: &Trust,
    question: &Question,
    deadline: Instant,
) -> Result<Exchange, Failure> {
    let (stream, connect) = connect(server, resolver.source, deadline).await?;
    let (stream, handshake) = handshake(stream, resolver, trust, &[b"dot"], deadline).await?;
    let found = exchange(stream, server, question, deadline).await?;
    let protocol = Protocol::Tls;
    Ok(Exchange { protocol, connect: Some(connect), handshake: Some(handshake), ..found })
}

/// Connects, and returns how long that took.
pub(super) async fn connect(
    server: SocketAddr,
    source: Source,
    deadline: Instant,
) -> Result<(TcpStream, Duration), Failure> {
    let begin = Instant::now();
    let stream = match timeout_at(deadline, source.connect_tcp(server)).await {
        Ok(connected) => connected.map_err(|error| Failure::io(Stage::Connect, &error))?,
        Err(_) => return Err(Failure::new(Stage::Connect, "timeout")),
    };
    let connect = begin.elapsed();
    stream.set_nodelay(true).map_err(|error| Failure::io(Stage::Connect, &error))?;
    Ok((stream, connect))
}

/// Makes a TLS handshake with a resolver, and returns how long that took.
pub(super) async fn handshake(
    stream: TcpStream,
    resolver: &Resolver,
    trust: &Trust,
    alpn: &[&[u8]],
    deadline: Instant,
) -> Result<(TlsStream<TcpStream>, Duration), Failure> {
    let failed = |reason, detail| Err(Failure::new(Stage::Tls, reason).with_detail(detail));
    let name = match ServerName::try_from(resolver.server_name()) {
        Ok(name) => name,
        Err(error) => return failed("name_mismatch", error.to_string()),
    };
    let config = match trust.tls_client(alpn) {
        Ok(config) => config,
        Err(error) => return failed("handshake_failed", error.to_string()),
    };
    let begin = Instant::now();
    match timeout_at(deadline, TlsConnector::from(config).connect(name, stream)).await {
        Ok(Ok(stream)) => Ok((stream, begin.elapsed())),
        Ok(Err(error)) => Err(handshake::failed(&error)),
        Err(_) => Err(Failure::new(Stage::Tls, "handshake_timeout")),
    }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    server: SocketAddr,
    question: &Question,
    deadline: Instant,
) -> Result<Exchange, Failure> {
    let query = question.query();
    let bytes = encode(&query)?;
    let length = u16::try_from(bytes.len()).map_err(|_| malformed("the query is too long"))?;
    let framed = [length.to_be_bytes().as_slice(), &bytes].concat();
    let sent = Instant::now();
    let mut wire = Vec::new();
    let exchanged = timeout_at(deadline, async {
        stream.write_all(&framed).await?;
        stream.flush().await?;
        let length = stream.read_u16().await?;
        // The buffer grows as bytes come, whatever length the server claims.
        (&mut stream).take(length.into()).read_to_end(&mut wire).await?;
        Ok::<_, io::Error>(length)
    });
    let length = match exchanged.await {
        Ok(Ok(length)) => usize::from(length),
        Ok(Err(error)) => return Err(Failure::io(Stage::Dns, &error)),
        Err(_) => {
            let failure = Failure::new(Stage::Dns, "timeout");
            return Err(match wire.len() {
                0 => failure,
                bytes => failure.with_detail(format!("after {bytes} bytes of the response")),
            });
        }
    };
    let latency = sent.elapsed();
    if wire.len() < length {
        let detail = format!("after {} of {length} bytes of the response", wire.len());
        return Err(Failure::new(Stage::Dns, "closed").with_detail(detail));
    }
    let response = read_response(&query, &wire)?
        .ok_or_else(|| malformed("the response has another id or question"))?;
    let protocol = Protocol::Tcp;
    let (connect, handshake, attempts) = (None, None, 1);
    Ok(Exchange { response, wire, protocol, server, latency, connect, handshake, attempts })
}
