//! One query and its response over QUIC (RFC 9250): a connection and one stream for each.

use super::{Exchange, Protocol, Question, Resolver, encode, malformed, read_response};
use crate::failure::{Failure, Stage};
use crate::handshake::{failed_by, failed_tls};
use crate::source;
use crate::trust::Trust;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    Connection, ConnectionError, Endpoint, ReadError, ReadToEndError, TransportConfig,
    TransportErrorCode, VarInt, WriteError,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{AlertDescription, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::{Instant, timeout_at};

/// Name of the protocol in the handshake (RFC 9250, section 4.1.1).
const ALPN: &[u8] = b"doq";
/// Longest response in bytes: a message behind its length.
const MAX_BYTES: usize = 2 + u16::MAX as usize;
/// `DOQ_NO_ERROR` (RFC 9250, section 4.3).
const NO_ERROR: VarInt = VarInt::from_u32(0);

pub(super) async fn exchange(
    server: SocketAddr,
    resolver: &Resolver,
    trust: &Trust,
    question: &Question,
    deadline: Instant,
) -> Result<Exchange, Failure> {
    let mut query = question.query();
    // Streams tell responses apart (RFC 9250, section 4.2.1).
    query.metadata.id = 0;
    let message = encode(&query)?;
    let length = u16::try_from(message.len()).map_err(|_| malformed("the query is too long"))?;
    let framed = [length.to_be_bytes().as_slice(), &message].concat();
    let begin = Instant::now();
    let connection = connect(server, resolver, trust, deadline).await?;
    let handshake = begin.elapsed();
    let sent = Instant::now();
    let asked = timeout_at(deadline, ask(&connection, &framed)).await;
    let latency = sent.elapsed();
    connection.close(NO_ERROR, b"");
    let answer = asked.unwrap_or_else(|_| Err(Failure::new(Stage::Dns, "timeout")))?;
    let wire = unframed(answer)?;
    let response = read_response(&query, &wire)?
        .ok_or_else(|| malformed("the response has another id or question"))?;
    Ok(Exchange {
        response,
        wire,
        protocol: Protocol::Quic,
        server,
        latency,
        connect: None,
        handshake: Some(handshake),
        attempts: 1,
    })
}

/// Connects and shakes hands, which are one step here.
async fn connect(
    server: SocketAddr,
    resolver: &Resolver,
    trust: &Trust,
    deadline: Instant,
) -> Result<Connection, Failure> {
    let failed = |detail: String| Failure::new(Stage::Tls, "handshake_failed").with_detail(detail);
    let verifier = Verifier::new(trust)?;
    let config = client_config(Arc::clone(&verifier)).map_err(|error| failed(error.to_string()))?;
    let crypto = QuicClientConfig::try_from(config).map_err(|error| failed(error.to_string()))?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    let mut transport = TransportConfig::default();
    // The time limit of the round is enough; a shorter one of the server has an error of its own.
    transport.max_idle_timeout(None);
    config.transport_config(Arc::new(transport));
    let local = resolver.source.local_for(server.ip());
    let endpoint = Endpoint::client(SocketAddr::new(local, 0))
        .map_err(|error| Failure::io(Stage::Connect, &source::explained(local, error)))?;
    let connecting = endpoint.connect_with(config, server, &resolver.server_name());
    let connecting = connecting.map_err(|error| failed(error.to_string()))?;
    match timeout_at(deadline, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(verifier.failure().unwrap_or_else(|| not_connected(&error))),
        Err(_) => Err(Failure::new(Stage::Connect, "timeout")),
    }
}

fn client_config(verifier: Arc<Verifier>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

async fn ask(connection: &Connection, framed: &[u8]) -> Result<Vec<u8>, Failure> {
    let (mut send, mut receive) =
        connection.open_bi().await.map_err(|error| interrupted(&error))?;
    send.write_all(framed).await.map_err(|error| match error {
        WriteError::ConnectionLost(error) => interrupted(&error),
        WriteError::Stopped(code) => refused(code),
        error => closed(error.to_string()),
    })?;
    // The end of the stream is that of the query (RFC 9250, section 4.2).
    send.finish().map_err(|error| closed(error.to_string()))?;
    receive.read_to_end(MAX_BYTES).await.map_err(|error| match error {
        ReadToEndError::Read(ReadError::ConnectionLost(error)) => interrupted(&error),
        ReadToEndError::Read(ReadError::Reset(code)) => refused(code),
        ReadToEndError::Read(error) => closed(error.to_string()),
        ReadToEndError::TooLong => malformed("the response is longer than a message"),
    })
}

/// Takes the length from the beginning of a response.
fn unframed(mut answer: Vec<u8>) -> Result<Vec<u8>, Failure> {
    let Some(length) = answer.first_chunk::<2>().map(|length| u16::from_be_bytes(*length)) else {
        return Err(closed("the stream ended before the response"));
    };
    let length = usize::from(length);
    answer.drain(..2);
    match answer.len() {
        bytes if bytes < length => {
            Err(closed(format!("after {bytes} of {length} bytes of the response")))
        }
        bytes if bytes > length => Err(malformed("more than one response")),
        _ => Ok(answer),
    }
}

/// Names the error of a connection that was never made.
fn not_connected(error: &ConnectionError) -> Failure {
    let (stage, reason) = match error {
        // RFC 9000, section 6: the server has no version that the probe has.
        ConnectionError::VersionMismatch => (Stage::Connect, "quic_version"),
        ConnectionError::TransportError(error) => match tls_alert(error.code) {
            Some(alert) => return failed_by(alert),
            None => transport_reason(error.code),
        },
        ConnectionError::ConnectionClosed(close) => match tls_alert(close.error_code) {
            Some(alert) => return failed_by(alert),
            None => transport_reason(close.error_code),
        },
        ConnectionError::Reset => (Stage::Connect, "reset"),
        ConnectionError::TimedOut => (Stage::Connect, "timeout"),
        _ => (Stage::Connect, "closed"),
    };
    Failure::new(stage, reason).with_detail(error.to_string())
}

/// Returns the alert of TLS for which a code stands: those from 0x100 on are (RFC 9001, section 4.8).
fn tls_alert(code: TransportErrorCode) -> Option<AlertDescription> {
    u8::try_from(u64::from(code).wrapping_sub(0x100)).ok().map(AlertDescription::from)
}

/// Names an error of QUIC itself by its code.
fn transport_reason(code: TransportErrorCode) -> (Stage, &'static str) {
    let is_refused = code == TransportErrorCode::CONNECTION_REFUSED;
    (Stage::Connect, if is_refused { "refused" } else { "protocol" })
}

/// Names the error of a connection that was lost before the response.
fn interrupted(error: &ConnectionError) -> Failure {
    let reason = match error {
        // The server's limit: the probe has none of its own.
        ConnectionError::TimedOut => "idle_timeout",
        ConnectionError::Reset => "reset",
        ConnectionError::ApplicationClosed(close) => return refused(close.error_code),
        _ => "closed",
    };
    Failure::new(Stage::Dns, reason).with_detail(error.to_string())
}

/// Describes a server that gave a query up with an error of RFC 9250, section 4.3.
fn refused(code: VarInt) -> Failure {
    let name = match code.into_inner() {
        0 => "DOQ_NO_ERROR",
        1 => "DOQ_INTERNAL_ERROR",
        2 => "DOQ_PROTOCOL_ERROR",
        3 => "DOQ_REQUEST_CANCELLED",
        4 => "DOQ_EXCESSIVE_LOAD",
        5 => "DOQ_UNSPECIFIED_ERROR",
        _ => "an unknown error",
    };
    closed(format!("the server closed with {name} ({code})"))
}

fn closed(detail: impl Into<String>) -> Failure {
    Failure::new(Stage::Dns, "closed").with_detail(detail)
}

/// Verifies the server's certificate, and remembers why it is not accepted: errors of a QUIC connection have
/// texts only.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    problem: Mutex<Option<Error>>,
}

impl Verifier {
    fn new(trust: &Trust) -> Result<Arc<Self>, Failure> {
        let provider = Arc::new(ring::default_provider());
        let roots = Arc::clone(&trust.roots);
        let inner = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
        let inner = inner.map_err(|error| {
            Failure::new(Stage::Tls, "certificate_untrusted").with_detail(error.to_string())
        })?;
        Ok(Arc::new(Self { inner, problem: Mutex::default() }))
    }

    fn failure(&self) -> Option<Failure> {
        let problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(failed_tls(&problem))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let inner = &self.inner;
        inner
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            .inspect_err(|error| {
                let mut problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
                *problem = Some(error.clone());
            })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests;
