//! The captures in `examples/`: what one host sends and receives over UDP in four incidents, from fixed seeds, with addresses and
//! names that are reserved for documentation.

use crate::pcap::{self, Datagram};
use crate::rng::Rng;
use crate::wire::{self, Reply};
use anyhow::Result;
use std::net::{Ipv4Addr, SocketAddrV4};

const AAAA: u16 = 28;
/// Type NULL (RFC 1035).
const NULL: u16 = 10;
const NXDOMAIN: u8 = 3;
/// Milliseconds after which glibc turns to the next server.
const STUB_TIMEOUT_MS: u64 = 5_000;
/// Letters and digits of base 32, in which tunnels write their data.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Returns the name of each capture with its bytes.
pub fn captures() -> Result<[(&'static str, Vec<u8>); 4]> {
    Ok([
        ("slow-curl.pcapng", slow_curl()?),
        ("nxdomain-storm.pcapng", nxdomain_storm()?),
        ("tunnel.pcapng", tunnel()?),
        ("dying-resolver.pcapng", dying_resolver()?),
    ])
}

/// `curl -L` on a laptop whose first resolver is dead: each of three names costs five seconds.
fn slow_curl() -> Result<Vec<u8>> {
    let mut incident = Incident::new(1, [192, 0, 2, 23]);
    let (dead, healthy) = ([192, 0, 2, 1], [198, 51, 100, 53]);
    let mut at_ms = 100;
    for name in ["example.com", "www.example.com", "assets.example.net"] {
        let port = incident.port()?;
        for qtype in [wire::A, AAAA] {
            let id = incident.id()?;
            incident.query(at_ms, port, dead, id, name, qtype)?;
            let later = at_ms + STUB_TIMEOUT_MS + 3;
            let query = incident.query(later, port, healthy, id, name, qtype)?;
            incident.answer(later + 18, port, healthy, addresses(&query, qtype));
        }
        at_ms += STUB_TIMEOUT_MS + 140;
    }
    incident.finish()
}

/// A pod in a cluster with `ndots:5` that calls a partner's name every 1.3 seconds: six of eight queries are for names of the
/// search list, which do not exist.
fn nxdomain_storm() -> Result<Vec<u8>> {
    let mut incident = Incident::new(2, [10, 244, 1, 17]);
    let resolver = [10, 96, 0, 10];
    for lookup in 0..45 {
        let mut at_ms = 200 + lookup * 1_300;
        for suffix in [".shop.svc.cluster.local", ".svc.cluster.local", ".cluster.local", ""] {
            let port = incident.port()?;
            for qtype in [wire::A, AAAA] {
                let (id, name) = (incident.id()?, format!("api.partner.example{suffix}"));
                let query = incident.query(at_ms, port, resolver, id, &name, qtype)?;
                let reply = if suffix.is_empty() {
                    addresses(&query, qtype)
                } else {
                    Reply::to(&query).rcode(NXDOMAIN)
                };
                incident.answer(at_ms + 2, port, resolver, reply);
            }
            at_ms += 4;
        }
    }
    incident.finish()
}

/// A host that sends data in names of a tunnel, four a second, beside an ordinary lookup every two seconds.
fn tunnel() -> Result<Vec<u8>> {
    let mut incident = Incident::new(3, [192, 0, 2, 77]);
    let resolver = [198, 51, 100, 53];
    for number in 0..160_u64 {
        let at_ms = 150 + number * 250;
        let (port, id) = (incident.port()?, incident.id()?);
        let name = format!("{}.{}.t.example.org", incident.data(52)?, incident.data(12)?);
        let query = incident.query(at_ms, port, resolver, id, &name, NULL)?;
        let down = incident.data(80)?;
        incident.answer(
            at_ms + 31,
            port,
            resolver,
            Reply::to(&query).record(NULL, down.as_bytes()),
        );
        if number % 8 == 0 {
            let (port, id, name) =
                (incident.port()?, incident.id()?, format!("host-{}.example.com", number / 8));
            let query = incident.query(at_ms + 90, port, resolver, id, &name, wire::A)?;
            incident.answer(at_ms + 99, port, resolver, addresses(&query, wire::A));
        }
    }
    incident.finish()
}

/// A server whose first resolver gets slower from the 30th second on and is silent from the 45th; queries without an answer go to
/// the second one after two seconds.
fn dying_resolver() -> Result<Vec<u8>> {
    let mut incident = Incident::new(4, [192, 0, 2, 10]);
    let (dying, healthy) = ([192, 0, 2, 53], [192, 0, 2, 54]);
    for number in 0..380_u64 {
        let at_ms = 100 + number * 250;
        let (port, id, name) =
            (incident.port()?, incident.id()?, format!("host-{}.example.com", number % 60));
        let first = if number % 2 == 0 { dying } else { healthy };
        let query = incident.query(at_ms, port, first, id, &name, wire::A)?;
        let slow_ms = at_ms.saturating_sub(30_000) / 15;
        if first == healthy || slow_ms < 1_000 {
            let wait_ms = 3 + if first == dying { slow_ms } else { 0 };
            incident.answer(at_ms + wait_ms, port, first, addresses(&query, wire::A));
        } else {
            incident.query(at_ms + 2_000, port, healthy, id, &name, wire::A)?;
            incident.answer(at_ms + 2_003, port, healthy, addresses(&query, wire::A));
        }
    }
    incident.finish()
}

/// Builds the answer with an address; the names have none of IPv6.
fn addresses(query: &[u8], qtype: u16) -> Reply {
    let reply = Reply::to(query);
    if qtype == wire::A { reply.address([203, 0, 113, 80]) } else { reply }
}

/// Datagrams of a client under construction.
struct Incident {
    rng: Rng,
    client: Ipv4Addr,
    datagrams: Vec<Datagram>,
}

impl Incident {
    fn new(seed: u64, client: [u8; 4]) -> Self {
        Self { rng: Rng::new(seed), client: client.into(), datagrams: Vec::new() }
    }

    /// Returns a port of a client, as Linux chooses it.
    fn port(&mut self) -> Result<u16> {
        Ok(u16::try_from(32_768 + self.rng.below(28_232))?)
    }

    fn id(&mut self) -> Result<u16> {
        Ok(u16::try_from(self.rng.below(65_536))?)
    }

    /// Returns random letters and digits.
    fn data(&mut self, length: usize) -> Result<String> {
        let letters =
            (0..length).map(|_| Ok(char::from(BASE32[usize::try_from(self.rng.below(32))?])));
        letters.collect()
    }

    /// Adds a query, and returns the message.
    fn query(
        &mut self,
        at_ms: u64,
        port: u16,
        resolver: [u8; 4],
        id: u16,
        name: &str,
        qtype: u16,
    ) -> Result<Vec<u8>> {
        let query = wire::query(id, name, qtype)?;
        let (from, to) =
            (SocketAddrV4::new(self.client, port), SocketAddrV4::new(resolver.into(), 53));
        self.datagrams.push(Datagram {
            at_ns: at_ms * 1_000_000,
            from,
            to,
            payload: query.clone(),
        });
        Ok(query)
    }

    /// Adds a response.
    fn answer(&mut self, at_ms: u64, port: u16, resolver: [u8; 4], reply: Reply) {
        let (from, to) =
            (SocketAddrV4::new(resolver.into(), 53), SocketAddrV4::new(self.client, port));
        // A fraction of a millisecond that differs, as on a network.
        let at_ns = at_ms * 1_000_000 + self.rng.below(900_000);
        self.datagrams.push(Datagram { at_ns, from, to, payload: reply.octets() });
    }

    /// Returns the capture file.
    fn finish(mut self) -> Result<Vec<u8>> {
        self.datagrams.sort_by_key(|datagram| datagram.at_ns);
        let mut file = Vec::new();
        pcap::write_pcapng(&mut file, &self.datagrams)?;
        Ok(file)
    }
}
