//! Netlink dump requests: sockets with their cookies, and addresses.

use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send,
    socket_with, sockopt,
};
use std::io::{self, ErrorKind};
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
/// Flag of a message: the list changed while it was read (`NLM_F_DUMP_INTR`).
const DUMP_INTERRUPTED: u16 = 0x10;
/// How often a list is read at most.
const ATTEMPTS: usize = 4;
/// Longest wait for an answer. The kernel answers while it takes the request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
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
///
/// # Errors
/// `NotFound` if the kernel lacks these; otherwise the list could not be read completely.
pub fn sockets(family: u8, protocol: u8) -> io::Result<Vec<Socket>> {
    let mut request = vec![family, protocol, 0, 0];
    request.extend(u32::MAX.to_ne_bytes());
    request.extend([0; 48]);
    dump(Some(netlink::SOCK_DIAG), SOCK_DIAG_BY_FAMILY, &request, socket)
}

/// Returns the addresses in the thread's network namespace.
///
/// # Errors
/// The list could not be read completely.
pub fn addresses() -> io::Result<Vec<IpAddr>> {
    // Protocol 0 is NETLINK_ROUTE.
    dump(None, GET_ADDRESSES, &[0; 8], address)
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

/// Requests a list, and returns what `parse` finds in its messages: the whole list or an error.
fn dump<T>(
    protocol: Option<Protocol>,
    kind: u16,
    body: &[u8],
    parse: fn(&[u8]) -> Option<T>,
) -> io::Result<Vec<T>> {
    let length = u32::try_from(HEADER + body.len()).map_err(io::Error::other)?;
    let mut request = length.to_ne_bytes().to_vec();
    request.extend(kind.to_ne_bytes());
    request.extend(REQUEST_DUMP.to_ne_bytes());
    request.extend([0; 8]);
    request.extend(body);
    attempt(&mut || {
        let link: OwnedFd =
            socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        sockopt::set_socket_timeout(&link, sockopt::Timeout::Recv, Some(ANSWER_TIMEOUT))?;
        send(&link, &request, SendFlags::empty())?;
        read_dump(&mut |buffer| Ok(recv(&link, buffer, RecvFlags::TRUNC)?.1), parse)
    })
}

/// Reads a list again if the kernel changed it meanwhile (`NLM_F_DUMP_INTR`) or had no memory for the answer
/// (`ENOBUFS`).
fn attempt<T>(read: &mut dyn FnMut() -> io::Result<T>) -> io::Result<T> {
    let is_temporary = |error: &io::Error| {
        error.kind() == ErrorKind::Interrupted || error.raw_os_error() == Some(libc::ENOBUFS)
    };
    for _ in 1..ATTEMPTS {
        match read() {
            Err(error) if is_temporary(&error) => {}
            result => return result,
        }
    }
    read()
}

/// Reads the answer to a request. `receive` fills the buffer with the next datagram, and returns its length, which
/// may exceed that of the buffer.
fn read_dump<T>(
    receive: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>,
    parse: fn(&[u8]) -> Option<T>,
) -> io::Result<Vec<T>> {
    let (mut found, mut buffer) = (Vec::new(), vec![0; BUFFER]);
    loop {
        let length = match receive(&mut buffer) {
            // A signal ends a wait with a timeout even if its handler restarts system calls (signal(7)).
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            length => length?,
        };
        let datagram = buffer.get(..length).filter(|datagram| !datagram.is_empty());
        if read_messages(datagram.ok_or_else(truncated)?, parse, &mut found)? {
            return Ok(found);
        }
    }
}

/// Adds what `parse` finds in the messages of a datagram to `found`. Returns whether the list is complete.
fn read_messages<T>(
    mut rest: &[u8],
    parse: fn(&[u8]) -> Option<T>,
    found: &mut Vec<T>,
) -> io::Result<bool> {
    while !rest.is_empty() {
        let header = (word(rest, 0), half(rest, 4), half(rest, 6));
        let (Some(length), Some(kind), Some(flags)) = header else { return Err(truncated()) };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let body = rest.get(HEADER..length).ok_or_else(truncated)?;
        if flags & DUMP_INTERRUPTED != 0 {
            return Err(io::Error::new(
                ErrorKind::Interrupted,
                "the list changed while it was read",
            ));
        }
        match kind {
            DONE | ERROR => {
                // A negative error number; none at the end of a list before Linux 4.12.
                let code = word(body, 0).map_or(0, u32::cast_signed);
                return if code < 0 { Err(io::Error::from_raw_os_error(-code)) } else { Ok(true) };
            }
            _ => found.extend(parse(body)),
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn truncated() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "a message of the kernel is incomplete")
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

    /// The datagrams in which the kernel lists this host's addresses.
    fn datagrams() -> Vec<Vec<u8>> {
        let link = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
            .unwrap();
        let mut request = 24_u32.to_ne_bytes().to_vec();
        request.extend(GET_ADDRESSES.to_ne_bytes());
        request.extend(REQUEST_DUMP.to_ne_bytes());
        request.extend([0; 16]);
        send(&link, &request, SendFlags::empty()).unwrap();
        let mut received = Vec::new();
        read_dump(
            &mut |buffer| {
                let length = recv(&link, &mut *buffer, RecvFlags::TRUNC)?.1;
                received.push(buffer[..length].to_vec());
                Ok(length)
            },
            address,
        )
        .unwrap();
        received
    }

    /// Reads answers from a script: datagrams, or errors of `recv(2)`. Nothing comes after them.
    fn read_script(script: Vec<io::Result<Vec<u8>>>) -> io::Result<Vec<IpAddr>> {
        let mut script = script.into_iter();
        read_dump(
            &mut |buffer| {
                let datagram = script.next().unwrap_or(Err(ErrorKind::WouldBlock.into()))?;
                buffer[..datagram.len()].copy_from_slice(&datagram);
                Ok(datagram.len())
            },
            address,
        )
    }

    fn listed(datagrams: &[Vec<u8>]) -> Vec<IpAddr> {
        let found = read_script(datagrams.iter().cloned().map(Ok).collect()).unwrap();
        assert!(found.contains(&IpAddr::from([127, 0, 0, 1])));
        found
    }

    fn with_flags(mut datagram: Vec<u8>, flags: u16) -> Vec<u8> {
        datagram[6..8].copy_from_slice(&flags.to_ne_bytes());
        datagram
    }

    fn error(number: i32) -> io::Error {
        io::Error::from_raw_os_error(number)
    }

    #[test]
    fn interrupted_wait_goes_on() {
        let real = datagrams();
        let script = [libc::EINTR, libc::EINTR].map(|number| Err(error(number)));
        let script = script.into_iter().chain(real.iter().cloned().map(Ok)).collect();
        assert_eq!(read_script(script).unwrap(), listed(&real));
    }

    #[test]
    fn list_that_changed_meanwhile_is_read_again() {
        let real = datagrams();
        let mut reads = 0;
        let found = attempt(&mut || {
            reads += 1;
            let mut script: Vec<_> = real.iter().cloned().map(Ok).collect();
            match reads {
                1 => script[0] = Ok(with_flags(real[0].clone(), 2 | DUMP_INTERRUPTED)),
                // The kernel may notice only at the end.
                2 => {
                    let last = script.pop().unwrap().unwrap();
                    script.push(Ok(with_flags(last, 2 | DUMP_INTERRUPTED)));
                }
                3 => script[0] = Err(error(libc::ENOBUFS)),
                _ => {}
            }
            read_script(script)
        });
        assert_eq!((found.unwrap(), reads), (listed(&real), 4));
        let mut reads = 0;
        let failed = attempt(&mut || {
            reads += 1;
            read_script(vec![Ok(with_flags(real[0].clone(), 2 | DUMP_INTERRUPTED))])
        });
        assert_eq!((failed.unwrap_err().kind(), reads), (ErrorKind::Interrupted, ATTEMPTS));
    }

    /// Whatever is missing of an answer, it is an error and never a shorter list.
    #[test]
    fn truncated_answers_are_errors() {
        let real = datagrams();
        for (number, datagram) in real.iter().enumerate() {
            for length in 0..datagram.len() {
                let whole = real[..number].iter().cloned().map(Ok);
                let cut = [Ok(datagram[..length].to_vec())];
                let kind = read_script(whole.chain(cut).collect()).unwrap_err().kind();
                // After whole messages, the rest does not come.
                assert!(
                    matches!(kind, ErrorKind::InvalidData | ErrorKind::WouldBlock),
                    "{number} {length}: {kind}"
                );
            }
        }
        let too_long = read_dump(&mut |buffer| Ok(buffer.len() + 1), address).unwrap_err();
        assert_eq!(too_long.kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn reports_errors_of_the_kernel() {
        let message = |kind: u16, code: i32| {
            let mut message = 20_u32.to_ne_bytes().to_vec();
            message.extend(kind.to_ne_bytes());
            message.extend([0; 10]);
            message.extend(code.to_ne_bytes());
            vec![Ok(message)]
        };
        for kind in [DONE, ERROR] {
            let failed = read_script(message(kind, -libc::EPERM)).unwrap_err();
            assert_eq!(failed.raw_os_error(), Some(libc::EPERM));
        }
        assert_eq!(read_script(message(DONE, 0)).unwrap(), [] as [IpAddr; 0]);
        let failed = dump(None, 0xfff0, &[0; 8], address).unwrap_err();
        assert_eq!(failed.raw_os_error(), Some(libc::EOPNOTSUPP), "a real one");
    }

    #[test]
    fn invalid_messages_do_not_panic() {
        for length in 0..64 {
            for byte in [0, 1, 4, 0x10, 0xff] {
                let bytes = vec![byte; length];
                let is_complete = read_messages(&bytes, address, &mut Vec::new());
                assert!(
                    length == 0 || !is_complete.is_ok_and(|complete| complete),
                    "{byte} {length}"
                );
                assert_eq!(socket(&bytes), None);
                let _ = address(&bytes);
            }
        }
    }
}
