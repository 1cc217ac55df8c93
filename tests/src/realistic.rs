//! A realistic, deterministic capture of a resolver's network: names by Zipf's law; common types,
//! outcomes and sizes; EDNS on most queries; aliases; some DNSSEC records; truncation and TCP with
//! all its segments; retransmissions and unanswered queries. It has hundreds of clients and several
//! resolvers, in Ethernet frames, so that any program can read it.

pub mod message;
pub mod names;
pub mod packet;

use crate::pcap::Frames;
use crate::rng::Rng;
use anyhow::Result;
use message::{Edns, Outcome, Question, kind, query, response};
use packet::{Connection, End, datagram, flag};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const MILLISECOND: u64 = 1_000_000;
/// Nanoseconds from one packet of a connection to the next.
const TURN_NS: u64 = MILLISECOND / 5;

/// Query types with their weights.
const TYPES: [(u64, u16); 11] = [
    (580, kind::A),
    (200, kind::AAAA),
    (100, kind::HTTPS),
    (45, kind::PTR),
    (25, kind::TXT),
    (15, kind::MX),
    (10, kind::SRV),
    (8, kind::NS),
    (7, kind::SOA),
    (6, kind::DS),
    (4, kind::DNSKEY),
];

/// Query patterns over UDP, with weights out of 1000.
const PATTERNS: [(u64, QueryPattern); 6] = [
    (950, QueryPattern::Once),
    (10, QueryPattern::Silence),
    (15, QueryPattern::SentAgain),
    (3, QueryPattern::AnsweredTwice),
    (7, QueryPattern::Truncated),
    (15, QueryPattern::Connection),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum QueryPattern {
    /// One query, one response.
    Once,
    /// No response.
    Silence,
    /// The query is retransmitted before its response.
    SentAgain,
    /// The response is duplicated.
    AnsweredTwice,
    /// The response is truncated; the query is repeated over TCP.
    Truncated,
    /// One to a few queries over one TCP connection.
    Connection,
}

/// Parameters of a capture.
#[derive(Clone, Debug)]
pub struct Realistic {
    /// Number of messages; a few more are written to finish the last exchanges.
    pub messages: u32,
    /// Seed of the random numbers.
    pub seed: u64,
    /// Queries per second of capture time, without retransmissions.
    pub queries_per_second: u32,
    /// Number of distinct names.
    pub names: u32,
    /// Number of resolvers with an IPv4 address, and of those with an IPv6 address.
    pub resolvers: u32,
}

impl Default for Realistic {
    fn default() -> Self {
        Self {
            messages: 1_000_000,
            seed: 1,
            queries_per_second: 25_000,
            names: 200_000,
            resolvers: 5,
        }
    }
}

/// Counts of the written messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageCounts {
    /// DNS messages over UDP.
    pub udp: u32,
    /// DNS messages over TCP.
    pub tcp: u32,
}

impl MessageCounts {
    /// Total number of messages.
    #[must_use]
    pub const fn messages(self) -> u32 {
        self.udp + self.tcp
    }
}

impl Realistic {
    /// Writes the capture as a pcap file (nanoseconds, Ethernet).
    pub fn write(&self, out: impl Write) -> Result<MessageCounts> {
        let mut traffic = Traffic {
            frames: Frames::begin(out)?,
            rng: Rng::new(self.seed),
            names: self.names,
            resolvers: self.resolvers,
            counts: MessageCounts::default(),
        };
        let step = 1_000_000_000 / u64::from(self.queries_per_second.max(1));
        let mut at = 0;
        while traffic.counts.messages() < self.messages {
            at += 1 + traffic.rng.below(2 * step);
            traffic.frames.until(at)?;
            traffic.lookup(at)?;
        }
        traffic.frames.end()?;
        Ok(traffic.counts)
    }
}

struct Traffic<W: Write> {
    frames: Frames<W>,
    rng: Rng,
    names: u32,
    resolvers: u32,
    counts: MessageCounts,
}

impl<W: Write> Traffic<W> {
    /// Writes one application lookup, often with both address types.
    fn lookup(&mut self, at: u64) -> Result<()> {
        let (client, server) = self.ends();
        let rank = self.rng.zipf(self.names);
        let (question, outcome) = self.question(rank);
        self.exchange(at, client, server, &question, outcome)?;
        if question.kind == kind::A && self.rng.chance(0.25) {
            let outcome = match outcome {
                Outcome::Answer if self.rng.chance(0.4) => Outcome::NoData,
                same => same,
            };
            let id = self.number();
            let second = Question { id, kind: kind::AAAA, ..question };
            let at = at + 20_000 + self.rng.below(100_000);
            self.exchange(at, client, server, &second, outcome)?;
        }
        Ok(())
    }

    /// Chooses a client and a resolver; one in five clients uses IPv6.
    fn ends(&mut self) -> (SocketAddr, SocketAddr) {
        let [.., high, low] = self.rng.zipf(400).to_be_bytes();
        let [.., resolver] = self.rng.zipf(self.resolvers).to_be_bytes();
        let port = 1024 + self.number() % 64_000;
        let six =
            |host: u16, last: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, host, 0, 0, 0, last));
        let (client, server) = if low % 5 == 0 {
            (six(1, u16::from_be_bytes([high, low])), six(53, u16::from(resolver) + 1))
        } else {
            let client = Ipv4Addr::new(198, 18, high, low);
            (client.into(), Ipv4Addr::new(198, 19, 0, resolver + 1).into())
        };
        (SocketAddr::new(client, port), SocketAddr::new(server, 53))
    }

    fn number(&mut self) -> u16 {
        let [.., high, low] = self.rng.next_u64().to_be_bytes();
        u16::from_be_bytes([high, low])
    }

    /// Chooses a question for the name of a rank, or for a similar name that does not exist.
    fn question(&mut self, rank: u32) -> (Question, Outcome) {
        let mut kind = self.rng.weighted(&TYPES);
        let outcome = self.rng.weighted(&[
            (815, Outcome::Answer),
            (150, Outcome::NxDomain),
            (20, Outcome::NoData),
            (12, Outcome::ServFail),
            (3, Outcome::Refused),
        ]);
        let outcome = match (outcome, kind) {
            (Outcome::Answer, kind::AAAA | kind::HTTPS) if self.rng.chance(0.45) => Outcome::NoData,
            (outcome, _) => outcome,
        };
        let (name, zone) = if outcome == Outcome::NxDomain {
            kind = if self.rng.chance(0.7) { kind::A } else { kind::AAAA };
            (names::missing(rank, &mut self.rng), names::zone(rank))
        } else {
            named(rank, kind)
        };
        let edns = self.rng.chance(0.85).then(|| Edns {
            dnssec_ok: self.rng.chance(0.3),
            cookie: self.rng.chance(0.2),
            subnet: self.rng.chance(0.03),
        });
        let name = if self.rng.chance(0.05) { names::mixed(&name, &mut self.rng) } else { name };
        (Question { id: self.number(), name, zone, kind, edns }, outcome)
    }

    /// Chooses a latency: two of three answers come from the cache.
    fn latency(&mut self) -> u64 {
        if self.rng.chance(0.66) {
            self.rng.log_uniform(MILLISECOND / 10, MILLISECOND)
        } else {
            self.rng.log_uniform(4 * MILLISECOND, 150 * MILLISECOND)
        }
    }

    fn exchange(
        &mut self,
        at: u64,
        client: SocketAddr,
        server: SocketAddr,
        question: &Question,
        outcome: Outcome,
    ) -> Result<()> {
        let pattern = self.rng.weighted(&PATTERNS);
        let then = at + self.latency();
        if pattern == QueryPattern::Connection {
            return self.connection(at, (client, server), question, outcome);
        }
        self.udp(at, client, server, &query(question))?;
        if pattern == QueryPattern::SentAgain {
            self.udp(at + (then - at) / 2, client, server, &query(question))?;
        }
        if pattern == QueryPattern::Truncated {
            let truncated = response(question, Outcome::Truncated, false, &mut self.rng);
            self.udp(then, server, client, &truncated)?;
            let client = SocketAddr::new(client.ip(), client.port() ^ 1);
            return self.connection(then + TURN_NS, (client, server), question, outcome);
        }
        let octets = response(question, outcome, false, &mut self.rng);
        if pattern != QueryPattern::Silence {
            self.udp(then, server, client, &octets)?;
        }
        if pattern == QueryPattern::AnsweredTwice {
            self.udp(then + MILLISECOND, server, client, &octets)?;
        }
        Ok(())
    }

    fn udp(&mut self, at: u64, from: SocketAddr, to: SocketAddr, message: &[u8]) -> Result<()> {
        self.frames.push(at, datagram(from, to, message)?);
        self.counts.udp += 1;
        Ok(())
    }

    /// Writes a connection from its first segment to its last, with one or a few queries.
    fn connection(
        &mut self,
        at: u64,
        (client, server): (SocketAddr, SocketAddr),
        question: &Question,
        outcome: Outcome,
    ) -> Result<()> {
        let [client, server] = [client, server].map(|at| End { at, next: 0 });
        let mut connection = Connection { client, server };
        connection.client.next = u32::from(self.number()) << 16;
        connection.server.next = u32::from(self.number()) << 16 | 7;
        let mut at = at;
        for (from_client, flags) in
            [(true, flag::SYN), (false, flag::SYN | flag::ACK), (true, flag::ACK)]
        {
            self.segments(&mut at, &mut connection, from_client, flags, &[])?;
        }
        for number in 0..self.rng.weighted(&[(70, 1_u16), (20, 2), (10, 4)]) {
            let question = Question { id: question.id ^ number, ..question.clone() };
            let asked = framed(&query(&question))?;
            // Some clients send the length in a segment of its own.
            let split = if self.rng.chance(0.2) { 2 } else { asked.len() };
            let (first, rest) = asked.split_at(split);
            self.segments(&mut at, &mut connection, true, flag::PSH | flag::ACK, first)?;
            if !rest.is_empty() {
                self.segments(&mut at, &mut connection, true, flag::PSH | flag::ACK, rest)?;
            }
            self.segments(&mut at, &mut connection, false, flag::ACK, &[])?;
            at += self.latency();
            let large = self.rng.chance(0.3);
            let said = framed(&response(&question, outcome, large, &mut self.rng))?;
            self.segments(&mut at, &mut connection, false, flag::PSH | flag::ACK, &said)?;
            self.segments(&mut at, &mut connection, true, flag::ACK, &[])?;
            self.counts.tcp += 2;
        }
        for (from_client, flags) in
            [(true, flag::FIN | flag::ACK), (false, flag::FIN | flag::ACK), (true, flag::ACK)]
        {
            self.segments(&mut at, &mut connection, from_client, flags, &[])?;
        }
        Ok(())
    }

    fn segments(
        &mut self,
        at: &mut u64,
        connection: &mut Connection,
        from_client: bool,
        flags: u8,
        payload: &[u8],
    ) -> Result<()> {
        for segment in connection.send(from_client, flags, payload)? {
            self.frames.push(*at, segment);
            *at += 2000;
        }
        *at += TURN_NS;
        Ok(())
    }
}

/// Returns the name for a rank and a type, and its zone.
fn named(rank: u32, kind: u16) -> (String, String) {
    let zone = names::zone(rank);
    match kind {
        kind::PTR => (names::reverse(rank), "in-addr.arpa".to_owned()),
        kind::MX | kind::NS | kind::SOA | kind::DS | kind::DNSKEY => (zone.clone(), zone),
        kind::SRV => (format!("_ldap._tcp.dc._msdcs.{zone}"), zone),
        kind::TXT if rank.is_multiple_of(2) => (format!("_dmarc.{zone}"), zone),
        _ => {
            let name = names::host(rank);
            let local = name.ends_with(".cluster.local");
            (name, if local { "cluster.local".to_owned() } else { zone })
        }
    }
}

fn framed(message: &[u8]) -> Result<Vec<u8>> {
    crate::wire::framed(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(seed: u64) -> (Vec<u8>, MessageCounts) {
        let mut out = Vec::new();
        let counts = Realistic { messages: 20_000, seed, ..Realistic::default() }.write(&mut out);
        (out, counts.unwrap())
    }

    #[test]
    fn equal_seeds_give_equal_captures() {
        assert_eq!(capture(1), capture(1));
        assert_ne!(capture(1).0, capture(2).0);
    }

    #[test]
    fn packets_are_in_order_with_some_tcp() {
        let (out, counts) = capture(1);
        let (mut rest, mut last) = (&out[24..], (0, 0));
        while let Some((header, behind)) = rest.split_first_chunk::<16>() {
            let word = |at: usize| u32::from_le_bytes(*header[at..].first_chunk().unwrap());
            assert!(last <= (word(0), word(4)), "packets are in order");
            last = (word(0), word(4));
            rest = &behind[usize::try_from(word(8)).unwrap()..];
        }
        assert!(counts.messages() >= 20_000 && counts.messages() < 20_100, "{counts:?}");
        let share = f64::from(counts.tcp) / f64::from(counts.messages());
        assert!((0.02..0.05).contains(&share), "{share}");
    }
}
