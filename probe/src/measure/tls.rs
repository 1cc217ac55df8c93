//! `tls`: whether a server completes the handshake, and what its certificate says.
//!
//! The verifier accepts every certificate and records it, so that a handshake with a bad one still tells
//! version, cipher and protocol; [`certificate`] judges it afterwards. Signatures of the handshake itself
//! are verified as always: the server must have the certificate's key.

mod certificate;
mod key;
mod ocsp;
mod revocation;
mod starttls;
#[cfg(test)]
mod tests;
mod x509;

use super::{Context, Failure, Stage, add_milliseconds, begin, dialogue, finish, host};
use crate::client_certificate::{ClientCertificate, Presentation};
pub(super) use crate::handshake::failed;
use crate::target::{Target, TlsTarget};
use certificate::{Presented, Problem, inspect};
use dnscribe_record::ProbeFields;
use dnscribe_record::time::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, ProtocolVersion, SignatureScheme};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncBufRead as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Longest time that a server may take to refuse a certificate of the probe.
const SETTLE_LIMIT: Duration = Duration::from_secs(1);

/// Signatures that are offered last and never accepted: a server that has a key for these alone would send no
/// certificate otherwise.
const UNVERIFIED_SCHEMES: [SignatureScheme; 5] = [
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::ED448,
    // Of keys that are for RSA-PSS alone (rsa_pss_pss_*; RFC 8446, section 4.2.3).
    SignatureScheme::Unknown(0x0809),
    SignatureScheme::Unknown(0x080a),
    SignatureScheme::Unknown(0x080b),
];

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(ring::default_provider()));

/// Connects and shakes hands.
pub(super) async fn measure(context: &Context, target: &Target, tls: &TlsTarget) -> ProbeFields {
    let start = Instant::now();
    let mut fields = begin(context, target);
    let result = run(context, &mut fields, tls, start + target.timeout).await;
    finish(fields, start.into_std(), result)
}

async fn run(
    context: &Context,
    fields: &mut ProbeFields,
    tls: &TlsTarget,
    deadline: Instant,
) -> Result<(), Failure> {
    let mut stream = host::connect(context, fields, &tls.host, deadline).await?;
    if tls.starttls {
        stream = within(deadline, starttls::smtp(stream)).await?;
    }
    let begin = tls.query_response.iter().position(|step| step.starttls).map_or(0, |last| last + 1);
    let (before, after) = tls.query_response.split_at(begin);
    let stream = dialogue::hold(stream, before, &mut fields.response_labels, deadline).await?;
    let peer = Peer {
        server_name: &tls.server_name,
        alpn: &tls.alpn,
        verify: tls.verify,
        client: tls.client.as_ref(),
    };
    let stream = handshake(context, fields, stream, &peer, deadline).await?;
    if fields.alpn.is_none() && !tls.alpn.is_empty() {
        let detail = format!("the server chose none of {}", tls.alpn.join(", "));
        return Err(Failure::new(Stage::Tls, "alpn_mismatch").with_detail(detail));
    }
    dialogue::hold(stream, after, &mut fields.response_labels, deadline).await.map(drop)
}

/// What a client offers to a server, and expects of it.
pub(super) struct Peer<'a> {
    /// Name for SNI and for the certificate.
    pub(super) server_name: &'a str,
    /// Application protocols offered, by preference.
    pub(super) alpn: &'a [String],
    /// Whether a certificate that is not valid is a failure.
    pub(super) verify: bool,
    /// Certificate of the probe.
    pub(super) client: Option<&'a ClientCertificate>,
}

/// Shakes hands, describes what was agreed on in `fields`, and judges the server's certificate.
///
/// # Errors
/// The handshake fails, or the certificate has problems: the heaviest is the reason, and the detail has
/// all.
pub(super) async fn handshake(
    context: &Context,
    fields: &mut ProbeFields,
    stream: TcpStream,
    peer: &Peer<'_>,
    deadline: Instant,
) -> Result<TlsStream<TcpStream>, Failure> {
    let internal =
        |detail: String| Failure::new(Stage::Tls, "handshake_failed").with_detail(detail);
    let Peer { server_name, alpn, verify, client } = peer;
    let name = ServerName::try_from((*server_name).to_owned())
        .map_err(|_| internal(format!("{server_name} is not a name for a certificate")))?;
    let recorder = Arc::new(Recorder::default());
    let client = client.cloned().map(|client| Arc::new(Presentation::new(client)));
    let config = client_config(Arc::clone(&recorder), alpn, client.clone())
        .map_err(|error| internal(error.to_string()))?;
    let begin = Instant::now();
    let connecting = TlsConnector::from(config).connect(name.clone(), stream);
    let mut connected =
        within(deadline, async { connecting.await.map_err(|error| failed(&error)) }).await;
    add_milliseconds(&mut fields.handshake_ms, begin.elapsed());
    if let Ok(stream) = &mut connected
        && client.is_some_and(|client| client.is_asked())
        && let Err(error) = settle(stream, deadline).await
    {
        connected = Err(failed(&error));
    }
    let presented = recorder.take();
    let mut problems = Vec::new();
    if !presented.chain.is_empty() {
        let found = inspect(&presented, &context.trust.roots, &name, Timestamp::now());
        (fields.cert, problems) = found;
    }
    let stream = match connected {
        Ok(stream) => stream,
        Err(failure) => return Err(explained(failure, &presented, problems)),
    };
    if let Some(cert) = &mut fields.cert {
        revocation::check(&context.trust, &presented, cert, &mut problems, deadline).await;
    }
    let (_, connection) = stream.get_ref();
    fields.tls_version = connection.protocol_version().map(version);
    fields.cipher = connection.negotiated_cipher_suite().map(|suite| {
        let name = format!("{:?}", suite.suite());
        name.replace("TLS13_", "TLS_")
    });
    fields.alpn = connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
    match worst(&problems) {
        Some(failure) if *verify => Err(failure),
        _ => Ok(stream),
    }
}

/// Returns the failure that the heaviest problem is; its detail has all.
fn worst(problems: &[Problem]) -> Option<Failure> {
    let (kind, _) = problems.first()?;
    Some(with_problems(Failure::new(Stage::Tls, kind.reason()), problems))
}

/// Explains a handshake that failed by the certificate that the server presented: its key may be one that this
/// probe cannot verify.
fn explained(failure: Failure, presented: &Presented, mut problems: Vec<Problem>) -> Failure {
    let may_be_of_key = matches!(failure.reason, "certificate_untrusted" | "handshake_failed");
    match presented.key_problem().filter(|_| may_be_of_key) {
        Some(problem) => {
            problems.push(problem);
            problems.sort();
            worst(&problems).unwrap_or(failure)
        }
        None => with_problems(failure, &problems),
    }
}

/// Waits until the server has read the probe's certificate: with TLS 1.3 the client's side of the handshake
/// ends before (RFC 8446, section 2). It has once it sends a session ticket or data; one that sends neither in
/// time counts as content.
async fn settle(stream: &mut TlsStream<TcpStream>, deadline: Instant) -> io::Result<()> {
    if stream.get_ref().1.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return Ok(());
    }
    let said = poll_fn(|context| {
        let read = Pin::new(&mut *stream).poll_fill_buf(context).map_ok(drop);
        let has_ticket = stream.get_ref().1.tls13_tickets_received() > 0;
        if read.is_pending() && has_ticket { Poll::Ready(Ok(())) } else { read }
    });
    let left = deadline.saturating_duration_since(Instant::now());
    timeout(left.min(SETTLE_LIMIT), said).await.unwrap_or(Ok(()))
}

/// Ends a step of the handshake at the time limit.
async fn within<T>(
    deadline: Instant,
    step: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timeout_at(deadline, step)
        .await
        .unwrap_or_else(|_| Err(Failure::new(Stage::Tls, "handshake_timeout")))
}

/// Adds problems of the certificate to the detail of a failure.
fn with_problems(mut failure: Failure, problems: &[Problem]) -> Failure {
    let details = failure.detail.take().into_iter();
    let details = details.chain(problems.iter().map(|(_, detail)| detail.clone()));
    let details: Vec<_> = details.collect();
    failure.detail = (!details.is_empty()).then(|| details.join("; "));
    failure
}

fn client_config(
    recorder: Arc<Recorder>,
    alpn: &[String],
    client: Option<Arc<Presentation>>,
) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(recorder);
    let mut config = match client {
        Some(client) => builder.with_client_cert_resolver(client),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    // A resumed session would bring no certificate.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// Accepts every certificate, and records it.
#[derive(Debug, Default)]
struct Recorder(Mutex<Presented>);

impl Recorder {
    fn take(&self) -> Presented {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = std::iter::once(end_entity).chain(intermediates);
        let chain = chain.map(|one| one.clone().into_owned()).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            Presented { chain, ocsp: ocsp_response.to_vec() };
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &PROVIDER.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &PROVIDER.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let verified = PROVIDER.signature_verification_algorithms.supported_schemes();
        [verified, UNVERIFIED_SCHEMES.to_vec()].concat()
    }
}

fn version(version: ProtocolVersion) -> String {
    match version {
        ProtocolVersion::TLSv1_2 => "TLSv1.2".to_owned(),
        ProtocolVersion::TLSv1_3 => "TLSv1.3".to_owned(),
        other => format!("{other:?}"),
    }
}
