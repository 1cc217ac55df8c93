//! Hook `socket`: packet sockets on interfaces, and the direction of their packets relative to this host.

#![expect(unsafe_code, reason = "binds a packet socket, for which no safe wrapper exists")]

use super::{CannotCapture, icmp, load_error, netlink};
use aya::programs::{ProgramError, SocketFilter};
use dnscribe_transaction::packet::{Direction, net};
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};
use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

// Packet types of `linux/if_packet.h`.
const PACKET_HOST: u8 = 0;
const PACKET_BROADCAST: u8 = 1;
const PACKET_MULTICAST: u8 = 2;
const PACKET_OUTGOING: u8 = 4;
/// Index of the loopback interface, the first of every network namespace.
const LOOPBACK: u32 = 1;

/// Largest age of the list of addresses.
const REFRESH: Duration = Duration::from_secs(5);
/// Largest age when an address is not on the list, or the list could not be read.
const REFRESH_ON_MISS: Duration = Duration::from_millis(500);

/// Opens a packet socket for each interface, or one for all interfaces if none is named. The filter is attached before
/// the first packet can arrive.
pub fn open(filter: &SocketFilter, interfaces: &[String]) -> Result<Vec<OwnedFd>, CannotCapture> {
    if interfaces.is_empty() || interfaces.iter().any(|name| name == "any") {
        return Ok(vec![open_one(filter, None)?]);
    }
    interfaces.iter().map(|name| open_one(filter, Some(name))).collect()
}

/// Checks whether the interfaces exist.
pub fn check(interfaces: &[String]) -> Result<(), CannotCapture> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    let socket = socket.map_err(|error| {
        CannotCapture::new(format!("cannot open a socket: {error}"), load_error::PRIVILEGE)
    })?;
    if interfaces.iter().any(|name| name == "any") {
        return Ok(());
    }
    interfaces.iter().try_for_each(|name| index_of(&socket, name).map(drop))
}

fn open_one(filter: &SocketFilter, interface: Option<&str>) -> Result<OwnedFd, CannotCapture> {
    let name = interface.unwrap_or("any");
    let failed = |what: &str, error: &io::Error| {
        let denied = error.kind() == io::ErrorKind::PermissionDenied;
        CannotCapture::new(
            format!("cannot {what} on interface {name}: {error}"),
            if denied { load_error::PRIVILEGE } else { "see `dnscribe check`" },
        )
    };
    // With protocol 0 it receives nothing until it is bound.
    let socket = socket_with(AddressFamily::PACKET, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    let socket = socket.map_err(|error| failed("open a packet socket", &error.into()))?;
    let index = interface.map(|name| index_of(&socket, name)).transpose()?.unwrap_or(0);
    filter.attach(&socket).map_err(|error| cannot_attach(name, &error))?;
    bind(&socket, index).map_err(|error| failed("capture", &error))?;
    if index != 0 {
        // Packets at a mirror port are for other hosts. Interfaces without promiscuous mode have none.
        let _ = promiscuous(&socket, index);
    }
    Ok(socket)
}

/// Returns the error of attaching. The kernel charges the instructions of a filter to its socket.
fn cannot_attach(interface: &str, error: &ProgramError) -> CannotCapture {
    let is_memory = load_error::source_of(error)
        .is_some_and(|error| error.raw_os_error() == Some(libc::ENOMEM));
    CannotCapture::new(
        format!("cannot attach the filter on interface {interface}: {}", load_error::chain(error)),
        if is_memory {
            "raise net.core.optmem_max: sysctl -w net.core.optmem_max=131072"
        } else {
            "see `dnscribe check`"
        },
    )
}

fn index_of(socket: impl AsFd, name: &str) -> Result<i32, CannotCapture> {
    // /sys may show another network namespace than the agent's.
    let index = netdevice::name_to_index(socket, name).ok();
    index.and_then(|index| i32::try_from(index).ok()).ok_or_else(|| {
        CannotCapture::new(
            format!("there is no interface {name}"),
            &format!("use one of {}, or any", names().join(", ")),
        )
    })
}

/// Returns the interfaces by name, from the lines `name: counters` of the kernel (manual page `proc_pid_net`).
fn names() -> Vec<String> {
    let text = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    let names = text.lines().filter_map(|line| Some(line.split_once(": ")?.0.trim().to_owned()));
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn bind(socket: &OwnedFd, index: i32) -> io::Result<()> {
    let every = u16::try_from(libc::ETH_P_ALL).unwrap_or(3).to_be();
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).unwrap_or(17),
        sll_protocol: every,
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of_val(&address)).unwrap_or(0);
    // SAFETY: address and length belong together.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn promiscuous(socket: &OwnedFd, index: i32) -> io::Result<()> {
    let request = libc::packet_mreq {
        mr_ifindex: index,
        mr_type: u16::try_from(libc::PACKET_MR_PROMISC).unwrap_or(1),
        mr_alen: 0,
        mr_address: [0; 8],
    };
    icmp::set(socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)
}

/// Reads this host's addresses.
type AddressSource = Box<dyn FnMut() -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// Addresses of this host, in the agent's network namespace.
pub struct LocalAddresses {
    addresses: HashSet<IpAddr>,
    source: AddressSource,
    /// Time of the last attempt to read them.
    read: Instant,
    /// Whether that attempt failed. The addresses are those of an earlier one.
    failed: bool,
    /// Failed attempts of all readers.
    errors: Arc<AtomicU64>,
}

impl LocalAddresses {
    /// Reads the addresses. Failed attempts are counted in `errors`.
    pub fn new(errors: &Arc<AtomicU64>) -> Self {
        Self::from_source(Box::new(netlink::addresses), errors)
    }

    fn from_source(source: AddressSource, errors: &Arc<AtomicU64>) -> Self {
        let mut new = Self {
            addresses: HashSet::new(),
            source,
            read: Instant::now(),
            failed: false,
            errors: Arc::clone(errors),
        };
        new.refresh();
        new
    }

    /// Reads the addresses. If that fails, those of an earlier attempt stay.
    fn refresh(&mut self) {
        self.read = Instant::now();
        match (self.source)() {
            Ok(addresses) => {
                self.addresses = addresses.into_iter().collect();
                if std::mem::take(&mut self.failed) {
                    tracing::info!("this host's addresses can be read again");
                }
            }
            Err(error) => {
                self.errors.fetch_add(1, Ordering::Relaxed);
                if !std::mem::replace(&mut self.failed, true) {
                    tracing::warn!(
                        %error,
                        known = self.addresses.len(),
                        "cannot read this host's addresses; the known ones stay in use until it works"
                    );
                }
            }
        }
    }

    /// Returns the direction of a packet relative to this host. Loopback packets are reported once, when they
    /// arrive.
    pub fn direction(&mut self, ifindex: u32, packet_type: u8, ip: &[u8]) -> Direction {
        if ifindex == LOOPBACK {
            return Direction::Loopback;
        }
        let Some((source, destination)) = addresses_of(ip) else { return Direction::Passive };
        match packet_type {
            // An ICMP error that this host sends as a router concerns a query of another host.
            PACKET_OUTGOING if self.is_error_about_other_host(ip) => Direction::Passive,
            PACKET_OUTGOING if self.contains(source) => Direction::Egress,
            PACKET_HOST if self.contains(destination) => Direction::Ingress,
            PACKET_BROADCAST | PACKET_MULTICAST => Direction::Ingress,
            _ => Direction::Passive,
        }
    }

    /// Returns whether the packet is an ICMP error about a packet for another host.
    fn is_error_about_other_host(&mut self, ip: &[u8]) -> bool {
        let quote = net::parse_ip(ip, u32::MAX).ok().and_then(|ip| net::parse_icmp_quote(&ip));
        quote.is_some_and(|quote| !self.contains(quote.dst.ip()))
    }

    /// Returns whether an address is one of this host's.
    pub fn contains(&mut self, address: IpAddr) -> bool {
        let age = self.read.elapsed();
        let is_urgent = self.failed || !self.addresses.contains(&address);
        if age > REFRESH || (age > REFRESH_ON_MISS && is_urgent) {
            self.refresh();
        }
        self.addresses.contains(&address)
    }
}

/// Returns source and destination of an IP packet.
fn addresses_of(ip: &[u8]) -> Option<(IpAddr, IpAddr)> {
    fn pair<const N: usize>(bytes: &[u8]) -> Option<(IpAddr, IpAddr)>
    where
        IpAddr: From<[u8; N]>,
    {
        let (source, rest) = bytes.split_first_chunk::<N>()?;
        Some((IpAddr::from(*source), IpAddr::from(*rest.first_chunk::<N>()?)))
    }
    match ip.first()? >> 4 {
        4 => pair::<4>(ip.get(12..)?),
        6 => pair::<16>(ip.get(8..)?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0];
        packet.extend(source);
        packet.extend(destination);
        packet
    }

    fn locals(
        source: impl FnMut() -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> LocalAddresses {
        LocalAddresses::from_source(Box::new(source), &Arc::default())
    }

    /// A failed read neither forgets the addresses nor goes unnoticed, and is soon tried again.
    #[test]
    fn failed_read_keeps_the_addresses() {
        let (own, new): ([u8; 4], [u8; 4]) = ([10, 0, 0, 1], [10, 0, 0, 9]);
        let mut reads = 0;
        let mut locals = locals(move || {
            reads += 1;
            match reads {
                1 => Ok(vec![own.into()]),
                4 => Ok(vec![own.into(), new.into()]),
                _ => Err(io::ErrorKind::Interrupted.into()),
            }
        });
        let query = packet(own, [10, 0, 0, 2]);
        for (read, age, failures) in
            [(2, REFRESH, 1), (3, REFRESH_ON_MISS, 2), (4, REFRESH_ON_MISS, 2)]
        {
            locals.read = Instant::now().checked_sub(age).unwrap();
            std::thread::sleep(Duration::from_millis(1));
            assert_eq!(locals.direction(2, PACKET_OUTGOING, &query), Direction::Egress, "{read}");
            assert_eq!(locals.errors.load(Ordering::Relaxed), failures, "{read}");
        }
        assert!(!locals.failed && locals.contains(new.into()));
    }

    #[test]
    fn finds_direction_of_packets() {
        let mut locals = locals(|| Ok(vec![[10, 0, 0, 1].into()]));
        let (own, other) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let (out, back) = (packet(own, other), packet(other, own));
        assert_eq!(locals.direction(2, PACKET_OUTGOING, &out), Direction::Egress);
        assert_eq!(locals.direction(2, PACKET_HOST, &back), Direction::Ingress);
        assert_eq!(locals.direction(2, PACKET_OUTGOING, &back), Direction::Passive);
        assert_eq!(locals.direction(2, 3, &back), Direction::Passive);
        assert_eq!(locals.direction(LOOPBACK, PACKET_HOST, &out), Direction::Loopback);
        assert_eq!(locals.direction(2, PACKET_HOST, &[0x45]), Direction::Passive);
    }

    #[test]
    fn icmp_error_about_forwarded_query_is_passive() {
        let (own, client, gone) = ([10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 0, 3]);
        let mut locals = locals(move || Ok(vec![own.into()]));
        let error_about = |server: [u8; 4]| {
            let mut quoted = packet(client, server);
            quoted.extend([0x80, 0, 0, 53, 0, 8, 0, 0]);
            quoted[3] = 28;
            let mut error = packet(own, client);
            error[9] = net::protocol::ICMP;
            error.extend([3, 1, 0, 0, 0, 0, 0, 0]);
            error.extend(quoted);
            error[3] = u8::try_from(error.len()).unwrap();
            error
        };
        assert_eq!(locals.direction(2, PACKET_OUTGOING, &error_about(gone)), Direction::Passive);
        assert_eq!(locals.direction(2, PACKET_OUTGOING, &error_about(own)), Direction::Egress);
    }

    #[test]
    fn unknown_interface_error_lists_interfaces() {
        assert!(names().contains(&"lo".to_owned()));
        let error = index_of(std::net::UdpSocket::bind("127.0.0.1:0").unwrap(), "nosuch0")
            .unwrap_err()
            .to_string();
        assert!(error.contains("nosuch0") && error.contains("lo"), "{error}");
    }
}
