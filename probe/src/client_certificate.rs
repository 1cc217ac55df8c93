//! Certificates with which the probe identifies itself to servers (mTLS).

use rustls::client::ResolvesClientCert;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, SignatureScheme};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A certificate with its chain and key. Two are equal if they have the same certificates.
#[derive(Clone)]
pub struct ClientCertificate(Arc<CertifiedKey>);

/// Shows no key.
impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").finish_non_exhaustive()
    }
}

impl PartialEq for ClientCertificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.cert == other.0.cert
    }
}

impl Eq for ClientCertificate {}

impl ClientCertificate {
    /// Reads a certificate, with the intermediate ones behind it, and its key, both in PEM.
    ///
    /// # Errors
    /// A file cannot be read or holds no such thing, or the key is another's. The message names the file.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, String> {
        let problem = |what: &str, path: &Path, error: &pem::Error| {
            let why = match error {
                pem::Error::NoItemsFound => format!("there is no {what} in PEM"),
                error => error.to_string(),
            };
            format!("{}: {why}", path.display())
        };
        let of_chain = |error| problem("certificate", certificate, &error);
        let chain = CertificateDer::pem_file_iter(certificate).map_err(of_chain)?;
        let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(of_chain)?;
        if chain.is_empty() {
            return Err(of_chain(pem::Error::NoItemsFound));
        }
        let read = PrivateKeyDer::from_pem_file(key);
        let read =
            read.map_err(|error| problem("private key without a passphrase", key, &error))?;
        let certified = CertifiedKey::from_der(chain, read, &ring::default_provider());
        let certified = certified.map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                format!("{}: the key is not that of {}", key.display(), certificate.display())
            }
            error => format!("{}: {error}", key.display()),
        })?;
        Ok(Self(Arc::new(certified)))
    }
}

/// The certificate in one handshake.
#[derive(Debug)]
pub struct Presentation {
    certificate: ClientCertificate,
    is_asked: AtomicBool,
}

impl Presentation {
    /// Begins a handshake.
    #[must_use]
    pub fn new(certificate: ClientCertificate) -> Self {
        Self { certificate, is_asked: AtomicBool::new(false) }
    }

    /// Returns whether the server has asked for a certificate.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Relaxed)
    }
}

/// The certificate is sent whatever authorities the server names: its answer tells more than silence.
impl ResolvesClientCert for Presentation {
    fn resolve(
        &self,
        _authorities: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.is_asked.store(true, Ordering::Relaxed);
        let ClientCertificate(certified) = &self.certificate;
        certified.key.choose_scheme(schemes).map(|_| Arc::clone(certified))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
