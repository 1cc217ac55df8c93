//! Senders of dnstap by TLS.

use openssl::ssl::{
    ErrorCode, HandshakeError, SslAcceptor, SslFiletype, SslMethod, SslStream, SslVerifyMode,
};
use openssl::x509::X509Name;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the whole handshake may take.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Files of the addresses with TLS. They are read once, before privileges are dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnstapTls {
    /// Certificate with its chain, in PEM.
    pub cert_file: PathBuf,
    /// Its key, in PEM.
    pub key_file: PathBuf,
    /// Authorities of the senders' certificates, in PEM. Where it is given, a sender needs one.
    pub client_ca_file: Option<PathBuf>,
}

impl DnstapTls {
    /// Reads the files. TLS 1.2 and 1.3 are spoken, with Mozilla's intermediate settings.
    ///
    /// # Errors
    /// A file cannot be read, or the key is not that of the certificate; says which.
    pub(super) fn acceptor(&self) -> Result<SslAcceptor, String> {
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |error: openssl::error::ErrorStack| format!("{path}: {error}")
        };
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())
            .map_err(|error| error.to_string())?;
        builder.set_certificate_chain_file(&self.cert_file).map_err(failed(&self.cert_file))?;
        builder
            .set_private_key_file(&self.key_file, SslFiletype::PEM)
            .and_then(|()| builder.check_private_key())
            .map_err(failed(&self.key_file))?;
        if let Some(file) = &self.client_ca_file {
            let names = X509Name::load_client_ca_file(file).map_err(failed(file))?;
            builder.set_ca_file(file).map_err(failed(file))?;
            builder.set_client_ca_list(names);
            builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        }
        Ok(builder.build())
    }
}

/// A connection with TLS. Its clones are of one thread, so that none waits for another.
#[derive(Clone)]
pub(super) struct TlsStream(Arc<Mutex<SslStream<TcpStream>>>);

impl TlsStream {
    /// Does the handshake with a sender, which has `limit` for all of it.
    pub(super) fn accept(
        acceptor: &SslAcceptor,
        stream: TcpStream,
        limit: Duration,
    ) -> io::Result<Self> {
        let end = Instant::now() + limit;
        stream.set_nonblocking(true)?;
        let mut accepted = acceptor.accept(stream);
        let accepted = loop {
            match accepted {
                Ok(accepted) => break accepted,
                Err(HandshakeError::WouldBlock(pending)) => {
                    let is_writing = pending.error().code() == ErrorCode::WANT_WRITE;
                    let flags = if is_writing { PollFlags::OUT } else { PollFlags::IN };
                    let left = end.saturating_duration_since(Instant::now());
                    if !wait(pending.get_ref(), flags, left)? {
                        let why = format!("its handshake takes more than {limit:?}");
                        return Err(io::Error::new(ErrorKind::TimedOut, why));
                    }
                    accepted = pending.handshake();
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        };
        accepted.get_ref().set_nonblocking(false)?;
        Ok(Self(Arc::new(Mutex::new(accepted))))
    }
}

/// Waits until a socket is ready. Returns false once no time is left.
fn wait(stream: &TcpStream, flags: PollFlags, left: Duration) -> io::Result<bool> {
    let limit = Timespec::try_from(left).map_err(io::Error::other)?;
    match poll(&mut [PollFd::new(stream, flags)], Some(&limit)) {
        Ok(ready) => Ok(ready > 0 && !left.is_zero()),
        Err(Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

impl Read for TlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).read(buffer)
    }
}

impl Write for TlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}
