//! Netlink dump requests: sockets with their cookies, and addresses.

use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send,
    socket_with, sockopt,
};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

const REQUEST_DUMP: u16 = 0x301;
const DONE: u16 = 3;
const ERROR: u16 = 2;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const GET_ADDRESSES: u16 = 22;
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const HEADER: usize = 16;
/// Size of the receive buffer in bytes, the largest message that the kernel sends.
const BUFFER: usize = 64 * 1024;

/// Socket reported by `sock_diag`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Cookie, the key in the programs' maps.
    pub cookie: u64,
    /// Inode, the identifier in `/proc`.
    pub inode: u32,
}

/// Returns the sockets in the thread's network namespace of an address family (2 or 10) and protocol (6 or 17). Needs
/// `CONFIG_INET_DIAG` or `CONFIG_INET_UDP_DIAG`.
pub fn sockets(family: u8, protocol: u8) -> io::Result<Vec<Socket>> {
    let mut request = vec![family, protocol, 0, 0];
    request.extend(u32::MAX.to_ne_bytes());
    request.extend([0; 48]);
    let mut found = Vec::new();
    dump(Some(netlink::SOCK_DIAG), SOCK_DIAG_BY_FAMILY, &request, &mut |body| {
        found.extend(socket(body));
    })?;
    Ok(found)
}

/// Returns the addresses in the thread's network namespace.
pub fn addresses() -> io::Result<Vec<IpAddr>> {
    let mut found = Vec::new();
    // Protocol 0 is NETLINK_ROUTE.
    dump(None, GET_ADDRESSES, &[0; 8], &mut |body| found.extend(address(body)))?;
    Ok(found)
}

/// Parses `struct inet_diag_msg`.
fn socket(body: &[u8]) -> Option<Socket> {
    let low = u64::from(word(body, 44)?);
    let high = u64::from(word(body, 48)?);
    Some(Socket { cookie: high << 32 | low, inode: word(body, 68)? })
}

/// Parses `struct ifaddrmsg` and its attributes. On a point-to-point link, `IFA_ADDRESS` is the address of the peer.
fn address(body: &[u8]) -> Option<IpAddr> {
    let (mut own, mut other) = (None, None);
    let mut rest = body.get(8..)?;
    while let (Some(length), Some(kind)) = (half(rest, 0), half(rest, 2)) {
        let length = usize::from(length).max(4);
        let value = rest.get(4..length)?;
        let parsed = match value.len() {
            4 => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
            16 => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
            _ => None,
        };
        match kind {
            LOCAL => own = parsed,
            ADDRESS => other = parsed,
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    own.or(other)
}

/// Sends a dump request, and calls `each` with the body of every message.
fn dump(
    protocol: Option<Protocol>,
    kind: u16,
    body: &[u8],
    each: &mut dyn FnMut(&[u8]),
) -> io::Result<()> {
    let link: OwnedFd =
        socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
    sockopt::set_socket_timeout(&link, sockopt::Timeout::Recv, Some(Duration::from_secs(2)))?;
    let length = u32::try_from(HEADER + body.len()).map_err(io::Error::other)?;
    let mut request = length.to_ne_bytes().to_vec();
    request.extend(kind.to_ne_bytes());
    request.extend(REQUEST_DUMP.to_ne_bytes());
    request.extend([0; 8]);
    request.extend(body);
    send(&link, &request, SendFlags::empty())?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let (length, _) = recv(&link, buffer.as_mut_slice(), RecvFlags::empty())?;
        if read_messages(buffer.get(..length).unwrap_or_default(), each)? {
            return Ok(());
        }
    }
}

/// Calls `each` with the body of every message of a datagram. Returns whether the dump is complete.
fn read_messages(mut rest: &[u8], each: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
    if rest.is_empty() {
        return Ok(true);
    }
    while let (Some(length), Some(kind)) = (word(rest, 0), half(rest, 4)) {
        let length = usize::try_from(length).unwrap_or(usize::MAX).max(HEADER);
        let body = rest.get(HEADER..length).unwrap_or_default();
        match kind {
            DONE => return Ok(true),
            ERROR => {
                let code = word(body, 0).map_or(0, u32::cast_signed);
                return Err(io::Error::from_raw_os_error(-code));
            }
            _ => each(body),
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dnscribe_tests::environment;
    use std::net::UdpSocket;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn finds_loopback_address() {
        assert!(addresses().unwrap().contains(&IpAddr::from([127, 0, 0, 1])));
    }

    #[test]
    fn finds_socket_by_inode() {
        let own = UdpSocket::bind("127.0.0.1:0").unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&own);
        let inode = std::fs::metadata(format!("/proc/self/fd/{fd}")).unwrap().ino();
        match sockets(2, 17) {
            Ok(found) => {
                let found = found.iter().find(|socket| u64::from(socket.inode) == inode).unwrap();
                assert!(found.cookie > 0);
            }
            Err(error) => environment::skip(&format!("this kernel has no udp_diag: {error}")),
        }
    }

    #[test]
    fn invalid_messages_do_not_panic() {
        for length in 0..64 {
            let _ = read_messages(&vec![0xff; length], &mut |_| {});
            let _ = address(&vec![0xff; length]);
            let _ = socket(&vec![0xff; length]);
        }
    }
}
