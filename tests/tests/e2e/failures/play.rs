//! What clients do.

use anyhow::{Context as _, Result};
use dnscribe_tests::lab::{Fate, Host, Lab};
use dnscribe_tests::scripted::PORT;
use dnscribe_tests::wire;
use std::any::Any;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// How long an answer that will come is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What stays open until all is over, so that late packets find a socket.
pub type Kept = Vec<Box<dyn Any + Send>>;

/// Where a scenario is played.
pub struct Stage<'a> {
    pub lab: &'a Lab,
    /// The scenario and its variant, as a label of the names asked for.
    pub label: String,
    pub ipv6: bool,
    /// Whether the client connects its UDP socket.
    pub connected: bool,
}

/// A client's UDP socket.
pub struct Asker {
    socket: UdpSocket,
    server: SocketAddr,
    connected: bool,
}

impl Stage<'_> {
    /// What the names of all scenarios end in.
    pub fn suffix(lab: &Lab) -> String {
        format!(".{}.script.example", lab.namespace(Host::Client))
    }

    /// A name for which the scripted server does this.
    pub fn name(&self, script: &str) -> String {
        format!("{script}.{}{}", self.label, Self::suffix(self.lab))
    }

    pub fn at(&self, fate: Fate) -> SocketAddr {
        SocketAddr::new(self.lab.hazard(fate, self.ipv6), PORT)
    }

    pub fn scripted(&self) -> SocketAddr {
        self.at(Fate::Scripted)
    }

    /// A socket of the client that will ask this server.
    pub fn asker(&self, server: SocketAddr) -> Result<Asker> {
        let any: IpAddr =
            if self.ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let socket = self.lab.inside(Host::Client, || {
            let socket = UdpSocket::bind((any, 0))?;
            if self.connected {
                socket.connect(server)?;
            }
            Ok::<_, io::Error>(socket)
        })??;
        Ok(Asker { socket, server, connected: self.connected })
    }

    /// A TCP connection of the client.
    pub fn connection(&self, server: SocketAddr) -> Result<io::Result<TcpStream>> {
        self.lab.inside(Host::Client, || {
            let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Ok(stream)
        })
    }
}

impl Asker {
    pub fn ask(&self, id: u16, name: &str) -> Result<()> {
        let query = wire::query(id, name, wire::A)?;
        let ask = || {
            if self.connected {
                self.socket.send(&query)
            } else {
                self.socket.send_to(&query, self.server)
            }
        };
        // The first call may give back what became of the query before.
        ask().or_else(|_| ask()).map(drop).context("cannot ask")
    }

    pub fn port(&self) -> Result<u16> {
        Ok(self.socket.local_addr()?.port())
    }

    /// Waits for an answer.
    pub fn answered(&self) -> bool {
        self.answered_within(PATIENCE)
    }

    pub fn answered_within(&self, limit: Duration) -> bool {
        let set = self.socket.set_read_timeout(Some(limit));
        set.and_then(|()| self.socket.recv(&mut [0; 4096])).is_ok()
    }

    /// Keeps the socket open.
    pub fn keep(self) -> Kept {
        vec![Box::new(self.socket)]
    }
}
