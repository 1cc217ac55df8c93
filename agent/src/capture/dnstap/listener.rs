//! The addresses that senders connect to.

use super::address::DnstapAddress;
use super::tls::{DnstapTls, HANDSHAKE_TIMEOUT, TlsStream};
use crate::capture::live::CannotCapture;
use openssl::ssl::SslAcceptor;
use rustix::net::sockopt;
use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a sender may take to read an answer of the handshake.
const REPLY_TIMEOUT: Duration = Duration::from_secs(1);

/// Time without a word after which a host is asked whether it is still there, time between two questions, and their number.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_mins(1), Duration::from_secs(10), 6);

/// A bound address.
pub(super) enum Listener {
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener),
    Tls(TcpListener, SslAcceptor),
}

impl Listener {
    pub(super) fn bind(
        address: &DnstapAddress,
        tls: Option<&DnstapTls>,
    ) -> Result<Self, CannotCapture> {
        let listener = match address {
            DnstapAddress::Unix(path) => {
                bind_unix(path).map(|listener| Self::Unix(listener, path.clone()))
            }
            DnstapAddress::Tcp(address) => TcpListener::bind(address).map(Self::Tcp),
            DnstapAddress::Tls(address) => {
                let acceptor = tls
                    .map_or_else(|| Err("no certificate is given".to_owned()), DnstapTls::acceptor)
                    .map_err(|error| CannotCapture {
                        problem: format!("cannot receive dnstap at tls:{address}: {error}"),
                        remedy: "give capture.dnstap_tls.cert_file and key_file, in PEM, that this user may read".to_owned(),
                    })?;
                TcpListener::bind(address).map(|listener| Self::Tls(listener, acceptor))
            }
        };
        listener
            .and_then(|listener| {
                match &listener {
                    Self::Unix(listener, _) => listener.set_nonblocking(true),
                    Self::Tcp(listener) | Self::Tls(listener, _) => listener.set_nonblocking(true),
                }
                .map(|()| listener)
            })
            .map_err(|error| CannotCapture {
                problem: format!("cannot receive dnstap at {address}: {error}"),
                remedy: match error.kind() {
                    io::ErrorKind::NotFound => {
                        "make the folder of the socket, which the agent and the server may enter"
                    }
                    _ => "give an address that this user may bind and no program uses",
                }
                .to_owned(),
            })
    }

    pub(super) fn accept(&self) -> io::Result<Sender> {
        match self {
            Self::Unix(listener, path) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(false)?;
                stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
                let fd = stream.try_clone()?.into();
                let replies = stream.try_clone()?;
                Ok(Sender {
                    name: path.display().to_string(),
                    peer: path.display().to_string(),
                    fd,
                    has_handshake: false,
                    open: Box::new(|| Ok((Box::new(stream), Box::new(replies)))),
                })
            }
            Self::Tcp(listener) => {
                let (stream, peer) = accept_tcp(listener)?;
                let fd = stream.try_clone()?.into();
                let replies = stream.try_clone()?;
                Ok(Sender {
                    name: peer.to_string(),
                    peer: host(peer),
                    fd,
                    has_handshake: false,
                    open: Box::new(|| Ok((Box::new(stream), Box::new(replies)))),
                })
            }
            Self::Tls(listener, acceptor) => {
                let (stream, peer) = accept_tcp(listener)?;
                let fd = stream.try_clone()?.into();
                let acceptor = acceptor.clone();
                let open = move || -> io::Result<Ends> {
                    let stream = TlsStream::accept(&acceptor, stream, HANDSHAKE_TIMEOUT)?;
                    Ok((Box::new(stream.clone()), Box::new(stream)))
                };
                Ok(Sender {
                    name: format!("{peer}, TLS"),
                    peer: host(peer),
                    fd,
                    has_handshake: true,
                    open: Box::new(open),
                })
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // Not allowed after privileges were dropped; the next start then replaces it.
            let _ = fs::remove_file(path);
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(listener, _) => listener.as_fd(),
            Self::Tcp(listener) | Self::Tls(listener, _) => listener.as_fd(),
        }
    }
}

/// Binds a path. Servers run as users of their own, so anyone may connect who can enter the folder.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path).or_else(|error| {
        // A regular file refuses a connection as well.
        let is_socket =
            || fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_socket());
        let is_left_over = error.kind() == io::ErrorKind::AddrInUse
            && is_socket()
            && UnixStream::connect(path)
                .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        if !is_left_over {
            return Err(error);
        }
        fs::remove_file(path)?;
        UnixListener::bind(path)
    })?;
    fs::set_permissions(path, Permissions::from_mode(0o666))?;
    Ok(listener)
}

/// A server that has connected.
pub(super) struct Sender {
    /// Its name in the log.
    pub name: String,
    /// Its name in counters while its frames have no identity: the next connection of the server has it, too.
    pub peer: String,
    /// The connection, to end it.
    pub fd: OwnedFd,
    /// Whether it has a place only after a handshake of TLS.
    pub has_handshake: bool,
    /// Does the handshake of TLS, if there is one, in the sender's thread.
    pub open: Box<dyn FnOnce() -> io::Result<Ends> + Send>,
}

fn host(peer: SocketAddr) -> String {
    peer.ip().to_canonical().to_string()
}

/// Where frames come from, and where answers go.
pub(super) type Ends = (Box<dyn Read>, Box<dyn Write>);

fn accept_tcp(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, peer) = listener.accept()?;
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
    // A host that has vanished must not take a sender's place for ever.
    let (idle, interval, count) = KEEPALIVE;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, idle)?;
    sockopt::set_tcp_keepintvl(&stream, interval)?;
    sockopt::set_tcp_keepcnt(&stream, count)?;
    Ok((stream, peer))
}
