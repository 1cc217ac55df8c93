//! The client side of the scenarios.

use anyhow::{Context as _, Result};
use dnscribe_tests::lab::{Host, Lab, SpecialAddress};
use dnscribe_tests::scripted::PORT;
use dnscribe_tests::wire;
use std::any::Any;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// Time limit for an expected answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Sockets that stay open until the end, so that late packets find them.
pub type OpenSockets = Vec<Box<dyn Any + Send>>;

/// One variant of a scenario in a lab.
pub struct ScenarioRun<'a> {
    pub lab: &'a Lab,
    /// Label of scenario and variant in query names.
    pub label: String,
    pub ipv6: bool,
    /// Whether the client connects its UDP socket.
    pub connected: bool,
}

/// A UDP socket of the client.
pub struct UdpClient {
    socket: UdpSocket,
    server: SocketAddr,
    connected: bool,
}

impl ScenarioRun<'_> {
    /// Suffix of the names of all scenarios.
    pub fn suffix(lab: &Lab) -> String {
        format!(".{}.script.example", lab.namespace(Host::Client))
    }

    /// Returns a name for which the scripted server has this behaviour.
    pub fn name(&self, script: &str) -> String {
        format!("{script}.{}{}", self.label, Self::suffix(self.lab))
    }

    pub fn at(&self, special: SpecialAddress) -> SocketAddr {
        SocketAddr::new(self.lab.special_address(special, self.ipv6), PORT)
    }

    pub fn scripted(&self) -> SocketAddr {
        self.at(SpecialAddress::Scripted)
    }

    /// Opens a UDP socket on the client for queries to this server.
    pub fn udp_client(&self, server: SocketAddr) -> Result<UdpClient> {
        let any: IpAddr =
            if self.ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let socket = self.lab.inside(Host::Client, || {
            let socket = UdpSocket::bind((any, 0))?;
            if self.connected {
                socket.connect(server)?;
            }
            Ok::<_, io::Error>(socket)
        })??;
        Ok(UdpClient { socket, server, connected: self.connected })
    }

    /// Opens a TCP connection from the client.
    pub fn connection(&self, server: SocketAddr) -> Result<io::Result<TcpStream>> {
        self.lab.inside(Host::Client, || {
            let stream = TcpStream::connect_timeout(&server, ANSWER_LIMIT)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(ANSWER_LIMIT))?;
            Ok(stream)
        })
    }
}

impl UdpClient {
    pub fn ask(&self, id: u16, name: &str) -> Result<()> {
        let query = wire::query(id, name, wire::A)?;
        let ask = || {
            if self.connected {
                self.socket.send(&query)
            } else {
                self.socket.send_to(&query, self.server)
            }
        };
        // The first call may return the ICMP error of the previous query.
        ask().or_else(|_| ask()).map(drop).context("cannot ask")
    }

    pub fn port(&self) -> Result<u16> {
        Ok(self.socket.local_addr()?.port())
    }

    /// Waits for an answer.
    pub fn answered(&self) -> bool {
        self.answered_within(ANSWER_LIMIT)
    }

    pub fn answered_within(&self, limit: Duration) -> bool {
        let set = self.socket.set_read_timeout(Some(limit));
        set.and_then(|()| self.socket.recv(&mut [0; 4096])).is_ok()
    }

    /// Keeps the socket open.
    pub fn keep(self) -> OpenSockets {
        vec![Box::new(self.socket)]
    }
}
