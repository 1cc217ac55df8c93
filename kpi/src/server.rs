//! The HTTP server of the metrics API, with TLS where a certificate is given.

use crate::api::Service;
use crate::error::KpiError;
use axum::serve::Listener;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Interval at which new commits are looked for.
const REFRESH: Duration = Duration::from_millis(500);
/// Maximum number of connections; a further one takes the place of the oldest.
const MAX_CONNECTIONS: usize = 1024;
/// Time for answers that are being sent when the server stops.
const END: Duration = Duration::from_secs(30);
/// Time for a client to complete the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Serves until `stop` is done.
///
/// # Errors
/// The address cannot be bound, or the certificate cannot be used.
pub async fn serve(
    service: Arc<Service>,
    listen: SocketAddr,
    tls: Option<(&Path, &Path)>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), KpiError> {
    let acceptor = tls.map(|(certificate, key)| acceptor(certificate, key)).transpose()?;
    let fail = |error: io::Error| KpiError::Failed(format!("cannot serve on {listen}: {error}"));
    let listener = TcpListener::bind(listen).await.map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    let refreshed = Arc::clone(&service);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(REFRESH).await;
            if let Err(error) = refreshed.refresh().await {
                tracing::error!(%error, "cannot read new values: the old ones are served");
            }
        }
    });
    tracing::info!("serving on {scheme}://{address}");
    let router = service.router();
    match acceptor {
        None => dnscribe_admin::serve(listener, router, MAX_CONNECTIONS, END, stop).await,
        Some(acceptor) => {
            let listener = TlsListener::start(listener, acceptor, address);
            dnscribe_admin::serve(listener, router, MAX_CONNECTIONS, END, stop).await;
        }
    }
    Ok(())
}

fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, KpiError> {
    let fail = |path: &Path, error: &dyn std::fmt::Display| {
        KpiError::Usage(format!("{}: {error}", path.display()))
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| fail(certificate, &error))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| fail(key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| KpiError::Failed(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| fail(certificate, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Accepts connections whose TLS handshake is complete, so that a slow client holds up nobody.
struct TlsListener {
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl TlsListener {
    fn start(listener: TcpListener, acceptor: TlsAcceptor, address: SocketAddr) -> Self {
        let (done, ready) = mpsc::channel(64);
        tokio::spawn(async move {
            loop {
                let (stream, peer) = match listener.accept().await {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                };
                let (acceptor, done) = (acceptor.clone(), done.clone());
                tokio::spawn(async move {
                    match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                        // Nobody receives once the server stops.
                        Ok(Ok(stream)) => drop(done.send((stream, peer)).await),
                        Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                        Err(_) => tracing::debug!(%peer, "TLS handshake timed out"),
                    }
                });
            }
        });
        Self { ready, address }
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(accepted) => accepted,
            // The accepting task ends with the runtime only.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}
