//! Addresses of this host from which a target is measured.

use crate::failure::NO_SOURCE;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

/// Addresses of this host, at most one of each family. Where there is none of a family, the system chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Source {
    ipv4: Option<Ipv4Addr>,
    ipv6: Option<Ipv6Addr>,
}

impl Source {
    /// Creates a source of these addresses.
    ///
    /// # Errors
    /// Two addresses are of one family.
    pub fn new(addresses: &[IpAddr]) -> Result<Self, String> {
        let mut source = Self::default();
        for address in addresses {
            let earlier = match address {
                IpAddr::V4(address) => source.ipv4.replace(*address).map(IpAddr::V4),
                IpAddr::V6(address) => source.ipv6.replace(*address).map(IpAddr::V6),
            };
            if let Some(earlier) = earlier {
                return Err(format!("{earlier} and {address} are of one family: give one of them"));
            }
        }
        Ok(source)
    }

    /// Returns the address from which a server is reached, if it is given.
    #[must_use]
    pub fn address_for(self, server: IpAddr) -> Option<IpAddr> {
        match server {
            IpAddr::V4(_) => self.ipv4.map(IpAddr::V4),
            IpAddr::V6(_) => self.ipv6.map(IpAddr::V6),
        }
    }

    /// Returns the address to which a socket for a server is bound: that from which it is reached, or any.
    #[must_use]
    pub fn local_for(self, server: IpAddr) -> IpAddr {
        let any = match server {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        self.address_for(server).unwrap_or(any)
    }

    /// Connects to a server.
    ///
    /// # Errors
    /// The connection fails, or this host does not have the address.
    pub async fn connect_tcp(self, server: SocketAddr) -> io::Result<TcpStream> {
        let Some(own) = self.address_for(server.ip()) else {
            return TcpStream::connect(server).await;
        };
        let socket = if own.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.bind(SocketAddr::new(own, 0)).map_err(|error| explained(own, error))?;
        socket.connect(server).await
    }

    /// Opens a socket that is connected to a server.
    ///
    /// # Errors
    /// There is no way to the server, or this host does not have the address.
    pub async fn connect_udp(self, server: SocketAddr) -> io::Result<UdpSocket> {
        let own = self.local_for(server.ip());
        let bound = UdpSocket::bind((own, 0)).await;
        let socket = bound.map_err(|error| explained(own, error))?;
        socket.connect(server).await?;
        Ok(socket)
    }
}

/// Returns whether this host has a route to the family of an address. IPv6 is often absent, which says nothing of what
/// has the address.
pub(crate) fn has_route(address: IpAddr) -> bool {
    let IpAddr::V6(_) = address else { return true };
    let socket = std::net::UdpSocket::bind("[::]:0");
    socket.is_ok_and(|socket| socket.connect((address, 53)).is_ok())
}

/// Names the address in the error of a socket that cannot be bound to it.
pub(crate) fn explained(own: IpAddr, error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => {
            let problem = format!("{NO_SOURCE} {own}");
            io::Error::new(error.kind(), problem)
        }
        _ => error,
    }
}

/// Writes the addresses that are given, separated by commas.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.ipv4, self.ipv6) {
            (Some(ipv4), Some(ipv6)) => write!(f, "{ipv4},{ipv6}"),
            (Some(ipv4), None) => ipv4.fmt(f),
            (None, Some(ipv6)) => ipv6.fmt(f),
            (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{SOURCE_ADDRESS, io_reason};
    use tokio::net::TcpListener;

    fn source(addresses: &[&str]) -> Result<Source, String> {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        Source::new(&addresses)
    }

    #[tokio::test]
    async fn servers_see_the_source_of_their_family() {
        let both = source(&["127.0.0.9", "::1"]).unwrap();
        assert_eq!(both.to_string(), "127.0.0.9,::1");
        for (own, at) in [("127.0.0.9", "127.0.0.1:0"), ("::1", "[::1]:0")] {
            let listener = TcpListener::bind(at).await.unwrap();
            let server = listener.local_addr().unwrap();
            let stream = both.connect_tcp(server).await.unwrap();
            let (_, client) = listener.accept().await.unwrap();
            assert_eq!(client.ip().to_string(), own);
            assert_eq!(stream.local_addr().unwrap(), client);
            let socket = both.connect_udp(server).await.unwrap();
            assert_eq!(socket.local_addr().unwrap().ip().to_string(), own);
        }
        let other = source(&["::1"]).unwrap();
        let chosen = other.connect_udp("127.0.0.1:53".parse().unwrap()).await.unwrap();
        assert_eq!(chosen.local_addr().unwrap().ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    }

    #[tokio::test]
    async fn an_address_that_this_host_lacks_is_named() {
        let foreign = source(&["192.0.2.77"]).unwrap();
        let server = "127.0.0.1:9".parse().unwrap();
        let tcp = foreign.connect_tcp(server).await.unwrap_err();
        let udp = foreign.connect_udp(server).await.unwrap_err();
        for error in [tcp, udp] {
            assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
            assert_eq!(io_reason(&error), SOURCE_ADDRESS);
            assert_eq!(error.to_string(), "source_address: this host does not have 192.0.2.77");
        }
        assert!(source(&["192.0.2.1", "192.0.2.2"]).unwrap_err().contains("of one family"));
    }
}
