//! Certificates of the probe at servers that want one.

use super::{Log, answer, probe_with, reason, respond, target};
use crate::measure::testing::{
    Authority, Identity, authority, client_certificate, identity, listen, roots, server_params,
};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::TlsAcceptor;

/// Serves a response to those that have a certificate of `clients`.
async fn serve(identity: &Identity, clients: &Authority, response: String) -> SocketAddr {
    let provider = Arc::new(ring::default_provider());
    let trusted = Arc::new(roots(&[clients.der()]));
    let verifier = WebPkiClientVerifier::builder_with_provider(trusted, Arc::clone(&provider));
    let key = PrivateKeyDer::Pkcs8(identity.key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(identity.chain.clone(), key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    listen(move |stream| {
        let (acceptor, response) = (acceptor.clone(), response.clone());
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                answer(stream, &Log::default(), response.as_bytes()).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn certificates_are_for_the_own_origin_only() {
    let (root, clients) = (authority("Root", "Lab", None), authority("Clients", "Lab", None));
    let identity = identity(&server_params("localhost"), &root, &[]);
    let other = serve(&identity, &clients, respond("200 OK", "", "")).await;
    let location = format!("Location: https://localhost:{}/\r\n", other.port());
    let redirect = serve(&identity, &clients, respond("302 Found", &location, "")).await;
    let limit = Duration::from_secs(5);
    let url = |address: SocketAddr| format!("https://localhost:{}/", address.port());
    let mut http = target(&url(other));
    let fields = probe_with(roots(&[root.der()]), http.clone(), limit).await;
    let detail = "the server sent the alert certificate_required";
    assert_eq!(reason(&fields), ("tls", "client_certificate_required", detail));
    assert!(fields.cert.is_some_and(|cert| cert.chain_ok));
    http.client = Some(client_certificate(&clients, |_| ()));
    let fields = probe_with(roots(&[root.der()]), http.clone(), limit).await;
    assert_eq!((reason(&fields), fields.http_status), (("", "", ""), Some(200)));
    http.url = url(redirect).parse().unwrap();
    let fields = probe_with(roots(&[root.der()]), http, limit).await;
    assert_eq!(reason(&fields), ("tls", "client_certificate_required", detail));
    assert_eq!(fields.redirects, Some(1));
}
