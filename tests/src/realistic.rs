//! A capture such as a resolver's network gives, always the same for the same seed: names by Zipf's law,
//! types, outcomes and sizes as they are met in practice, EDNS on most, aliases, DNSSEC records for some,
//! truncation and TCP with all its segments, queries sent again, queries without a response; of hundreds
//! of clients at several resolvers, in Ethernet frames, so that any program can read it.

pub mod message;
pub mod names;
pub mod packet;

use crate::dice::Dice;
use crate::pcap::Frames;
use anyhow::Result;
use message::{Edns, Outcome, Question, kind, query, response};
use packet::{Connection, End, datagram, flag};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const MILLISECOND: u64 = 1_000_000;
/// From one packet of a connection to the next.
const TURN_NS: u64 = MILLISECOND / 5;

/// What is asked for: types with their weights.
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

/// How a query over UDP ends: weights of a thousand.
const FATES: [(u64, Fate); 6] = [
    (950, Fate::Once),
    (10, Fate::Silence),
    (15, Fate::SentAgain),
    (3, Fate::AnsweredTwice),
    (7, Fate::Truncated),
    (15, Fate::Connection),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// One query, one response.
    Once,
    /// No response.
    Silence,
    /// The query comes again before its response.
    SentAgain,
    /// The response comes twice.
    AnsweredTwice,
    /// The response is truncated, and the same is asked over TCP.
    Truncated,
    /// Asked over TCP from the beginning, a few questions in one connection.
    Connection,
}

/// A capture.
#[derive(Clone, Debug)]
pub struct Realistic {
    /// Messages in it; a few more, as the last exchanges are finished.
    pub messages: u32,
    /// What chance begins with.
    pub seed: u64,
    /// Queries of a second of the capture's time, without those that come again.
    pub queries_per_second: u32,
    /// Different names asked for.
    pub names: u32,
}

impl Default for Realistic {
    fn default() -> Self {
        Self { messages: 1_000_000, seed: 1, queries_per_second: 25_000, names: 200_000 }
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// DNS messages over UDP.
    pub udp: u32,
    /// DNS messages over TCP.
    pub tcp: u32,
}

impl Written {
    /// Messages in all.
    #[must_use]
    pub const fn messages(self) -> u32 {
        self.udp + self.tcp
    }
}

impl Realistic {
    /// Writes it as a pcap file (nanoseconds, Ethernet).
    pub fn write(&self, out: impl Write) -> Result<Written> {
        let mut traffic = Traffic {
            frames: Frames::begin(out)?,
            dice: Dice::new(self.seed),
            names: self.names,
            written: Written::default(),
        };
        let step = 1_000_000_000 / u64::from(self.queries_per_second.max(1));
        let mut at = 0;
        while traffic.written.messages() < self.messages {
            at += 1 + traffic.dice.below(2 * step);
            traffic.frames.until(at)?;
            traffic.lookup(at)?;
        }
        traffic.frames.end()?;
        Ok(traffic.written)
    }
}

struct Traffic<W: Write> {
    frames: Frames<W>,
    dice: Dice,
    names: u32,
    written: Written,
}

impl<W: Write> Traffic<W> {
    /// What an application asks at a time: often both kinds of addresses.
    fn lookup(&mut self, at: u64) -> Result<()> {
        let (client, server) = self.ends();
        let rank = self.dice.zipf(self.names);
        let (question, outcome) = self.question(rank);
        self.exchange(at, client, server, &question, outcome)?;
        if question.kind == kind::A && self.dice.chance(0.25) {
            let outcome = match outcome {
                Outcome::Answer if self.dice.chance(0.4) => Outcome::NoData,
                same => same,
            };
            let id = self.number();
            let second = Question { id, kind: kind::AAAA, ..question };
            let at = at + 20_000 + self.dice.below(100_000);
            self.exchange(at, client, server, &second, outcome)?;
        }
        Ok(())
    }

    /// A client and a resolver: one in five speaks IPv6.
    fn ends(&mut self) -> (SocketAddr, SocketAddr) {
        let [.., high, low] = self.dice.zipf(400).to_be_bytes();
        let [.., resolver] = self.dice.zipf(5).to_be_bytes();
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
        let [.., high, low] = self.dice.roll().to_be_bytes();
        u16::from_be_bytes([high, low])
    }

    /// A question about the name of a rank, or one like it that is not there.
    fn question(&mut self, rank: u32) -> (Question, Outcome) {
        let mut kind = self.dice.weighted(&TYPES);
        let outcome = self.dice.weighted(&[
            (815, Outcome::Answer),
            (150, Outcome::NxDomain),
            (20, Outcome::NoData),
            (12, Outcome::ServFail),
            (3, Outcome::Refused),
        ]);
        let outcome = match (outcome, kind) {
            (Outcome::Answer, kind::AAAA | kind::HTTPS) if self.dice.chance(0.45) => {
                Outcome::NoData
            }
            (outcome, _) => outcome,
        };
        let (name, zone) = if outcome == Outcome::NxDomain {
            kind = if self.dice.chance(0.7) { kind::A } else { kind::AAAA };
            (names::missing(rank, &mut self.dice), names::zone(rank))
        } else {
            named(rank, kind)
        };
        let edns = self.dice.chance(0.85).then(|| Edns {
            dnssec_ok: self.dice.chance(0.3),
            cookie: self.dice.chance(0.2),
            subnet: self.dice.chance(0.03),
        });
        let name = if self.dice.chance(0.05) { names::mixed(&name, &mut self.dice) } else { name };
        (Question { id: self.number(), name, zone, kind, edns }, outcome)
    }

    /// Two of three are in the cache.
    fn latency(&mut self) -> u64 {
        if self.dice.chance(0.66) {
            self.dice.between(MILLISECOND / 10, MILLISECOND)
        } else {
            self.dice.between(4 * MILLISECOND, 150 * MILLISECOND)
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
        let fate = self.dice.weighted(&FATES);
        let then = at + self.latency();
        if fate == Fate::Connection {
            return self.connection(at, (client, server), question, outcome);
        }
        self.udp(at, client, server, &query(question))?;
        if fate == Fate::SentAgain {
            self.udp(at + (then - at) / 2, client, server, &query(question))?;
        }
        if fate == Fate::Truncated {
            let truncated = response(question, Outcome::Truncated, false, &mut self.dice);
            self.udp(then, server, client, &truncated)?;
            let client = SocketAddr::new(client.ip(), client.port() ^ 1);
            return self.connection(then + TURN_NS, (client, server), question, outcome);
        }
        let octets = response(question, outcome, false, &mut self.dice);
        if fate != Fate::Silence {
            self.udp(then, server, client, &octets)?;
        }
        if fate == Fate::AnsweredTwice {
            self.udp(then + MILLISECOND, server, client, &octets)?;
        }
        Ok(())
    }

    fn udp(&mut self, at: u64, from: SocketAddr, to: SocketAddr, message: &[u8]) -> Result<()> {
        self.frames.push(at, datagram(from, to, message)?);
        self.written.udp += 1;
        Ok(())
    }

    /// A connection from its first segment to its last, with one question or a few.
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
        for number in 0..self.dice.weighted(&[(70, 1_u16), (20, 2), (10, 4)]) {
            let question = Question { id: question.id ^ number, ..question.clone() };
            let asked = framed(&query(&question))?;
            // Some send the length in a segment of its own.
            let split = if self.dice.chance(0.2) { 2 } else { asked.len() };
            let (first, rest) = asked.split_at(split);
            self.segments(&mut at, &mut connection, true, flag::PSH | flag::ACK, first)?;
            if !rest.is_empty() {
                self.segments(&mut at, &mut connection, true, flag::PSH | flag::ACK, rest)?;
            }
            self.segments(&mut at, &mut connection, false, flag::ACK, &[])?;
            at += self.latency();
            let large = self.dice.chance(0.3);
            let said = framed(&response(&question, outcome, large, &mut self.dice))?;
            self.segments(&mut at, &mut connection, false, flag::PSH | flag::ACK, &said)?;
            self.segments(&mut at, &mut connection, true, flag::ACK, &[])?;
            self.written.tcp += 2;
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

/// The name that is asked for by its rank and a type, and its zone.
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

    fn capture(seed: u64) -> (Vec<u8>, Written) {
        let mut out = Vec::new();
        let written = Realistic { messages: 20_000, seed, ..Realistic::default() }.write(&mut out);
        (out, written.unwrap())
    }

    #[test]
    fn the_same_capture_comes_of_the_same_seed() {
        assert_eq!(capture(1), capture(1));
        assert_ne!(capture(1).0, capture(2).0);
    }

    #[test]
    fn packets_are_in_order_and_some_are_of_tcp() {
        let (out, written) = capture(1);
        let (mut rest, mut last) = (&out[24..], (0, 0));
        while let Some((header, behind)) = rest.split_first_chunk::<16>() {
            let word = |at: usize| u32::from_le_bytes(*header[at..].first_chunk().unwrap());
            assert!(last <= (word(0), word(4)), "packets are in order");
            last = (word(0), word(4));
            rest = &behind[usize::try_from(word(8)).unwrap()..];
        }
        assert!(written.messages() >= 20_000 && written.messages() < 20_100, "{written:?}");
        let share = f64::from(written.tcp) / f64::from(written.messages());
        assert!((0.02..0.05).contains(&share), "{share}");
    }
}
