//! Deterministic captures that differ in one dimension only: number of waiting queries, open
//! connections, resolvers, zones or clients.
//!
//! Each capture begins with a warm-up that fills the tables. From [`Scale::warm_up_seconds`] to
//! [`Scale::end_seconds`] it holds as many queries as responses, for every size.

use crate::pcap::Frames;
use crate::realistic::message::{Outcome, Question, kind, query, response};
use crate::realistic::packet::{Connection, End, datagram, flag};
use crate::rng::Rng;
use crate::wire;
use anyhow::Result;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};

/// Nanoseconds from a query to its response when few queries wait.
const LATENCY_NS: u64 = 1_000_000;
/// Warm-up queries that are answered like later ones: more than the number of ended transactions
/// that are remembered.
const SETTLING: u32 = 75_000;
/// Ports of one client. A connection uses one of them.
const PORTS: u32 = 50_000;

/// Dimensions of a capture.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Number of messages to measure: about as many follow [`Self::warm_up_seconds`].
    pub messages: u32,
    /// Number of queries without a response, all sent in the warm-up.
    pub standing: u32,
    /// Number of queries that wait at a time, answered in random order. If 0, each response follows
    /// its query after 1 ms, in order.
    pub waiting: u32,
    /// Number of open TCP connections that carry all queries; UDP if 0.
    pub connections: u32,
    /// Number of resolvers.
    pub resolvers: u32,
    /// Number of zones, with two names each.
    pub zones: u32,
    /// Whether each name is queried only once; nine of ten do not exist.
    pub random: bool,
    /// Queries per second.
    pub queries_per_second: u32,
}

impl Default for Scale {
    fn default() -> Self {
        Self {
            messages: 500_000,
            standing: 0,
            waiting: 0,
            connections: 0,
            resolvers: 10,
            zones: 10,
            random: false,
            queries_per_second: 50_000,
        }
    }
}

impl Scale {
    /// Seconds until the numbers of waiting queries and open connections are final.
    #[must_use]
    pub fn warm_up_seconds(&self) -> f64 {
        self.seconds_of(self.connections + self.warm_up_queries())
    }

    /// Seconds until the last query. Later packets are responses to queries that still wait.
    #[must_use]
    pub fn end_seconds(&self) -> f64 {
        self.seconds_of(self.connections + self.queries())
    }

    fn seconds_of(&self, steps: u32) -> f64 {
        f64::from(steps) / f64::from(self.queries_per_second)
    }

    /// Number of queries until the number of waiting queries is final, each resolver and zone was
    /// used, and the memory of ended transactions is full.
    fn warm_up_queries(&self) -> u32 {
        self.filling() + self.resolvers.max(self.zones).max(SETTLING)
    }

    /// Number of queries that are not answered before the warm-up ends.
    fn filling(&self) -> u32 {
        self.standing + self.waiting
    }

    fn queries(&self) -> u32 {
        self.warm_up_queries() + self.messages / 2
    }

    /// Returns the time of the response to a query, if there is one.
    ///
    /// With many waiting queries, latencies are exponential. This distribution has no memory: any
    /// waiting query may be the next one to be answered, and the number of waiting queries is
    /// constant.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "nanoseconds, below 2^53"
    )]
    fn answered_ns(&self, number: u32, begin: u64, rng: &mut Rng) -> Option<u64> {
        if number < self.standing {
            return None;
        }
        let at = begin + u64::from(number.max(self.filling())) * self.step_ns();
        if self.waiting == 0 {
            return Some(at + LATENCY_NS);
        }
        let mean = f64::from(self.waiting) * self.step_ns() as f64;
        Some(at + (-mean * (1.0 - rng.uniform()).ln()) as u64)
    }

    /// Nanoseconds from one query to the next.
    fn step_ns(&self) -> u64 {
        1_000_000_000 / u64::from(self.queries_per_second)
    }

    /// Writes the capture as a pcap file (nanoseconds, Ethernet).
    pub fn write(&self, out: impl Write) -> Result<()> {
        self.write_watched(out, &mut |_| Ok(()))
    }

    /// Like [`Self::write`], and calls `second` with the number of completed seconds of capture
    /// time.
    pub fn write_watched(
        &self,
        out: impl Write,
        each_second: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let mut seconds = 0;
        let mut frames = Frames::begin(out)?;
        let mut connections = self.open(&mut frames)?;
        let begin = u64::from(self.connections) * self.step_ns();
        let end = begin + u64::from(self.queries()) * self.step_ns() + LATENCY_NS;
        for number in 0..self.queries() {
            let at = begin + u64::from(number) * self.step_ns();
            frames.until(at)?;
            if at >= (seconds + 1) * 1_000_000_000 {
                seconds = at / 1_000_000_000;
                each_second(seconds)?;
            }
            let (question, outcome) = self.question(number)?;
            let mut rng = Rng::new(u64::from(number));
            let answered = self.answered_ns(number, begin, &mut rng).filter(|at| *at <= end);
            let (asked, said) = (query(&question), response(&question, outcome, false, &mut rng));
            let Some(place) = number.checked_rem(self.connections) else {
                let (client, server) = self.ends(number)?;
                frames.push(at, datagram(client, server, &asked)?);
                if let Some(answered) = answered {
                    frames.push(answered, datagram(server, client, &said)?);
                }
                continue;
            };
            let connection = &mut connections[usize::try_from(place)?];
            let turns = [(Some(at), true, asked), (answered, false, said)];
            for (at, from_client, message) in turns {
                let Some(at) = at else { continue };
                let message = wire::framed(&message)?;
                for segment in connection.send(from_client, flag::PSH | flag::ACK, &message)? {
                    frames.push(at, segment);
                }
            }
        }
        frames.end()
    }

    /// Opens all connections.
    fn open(&self, frames: &mut Frames<impl Write>) -> Result<Vec<Connection>> {
        let mut connections = Vec::new();
        for number in 0..self.connections {
            let (client, server) = self.ends(number)?;
            let end = |at| End { at, next: number << 8 };
            let mut connection = Connection { client: end(client), server: end(server) };
            let turns = [(true, flag::SYN), (false, flag::SYN | flag::ACK), (true, flag::ACK)];
            for (from_client, flags) in turns {
                for segment in connection.send(from_client, flags, &[])? {
                    frames.push(u64::from(number) * self.step_ns(), segment);
                }
            }
            connections.push(connection);
        }
        Ok(connections)
    }

    /// Chooses a client with a port that it does not reuse soon, and a resolver.
    fn ends(&self, number: u32) -> Result<(SocketAddr, SocketAddr)> {
        let [.., high, low] = (number / PORTS).to_be_bytes();
        let port = 1024 + u16::try_from(number % PORTS)?;
        let [_, one, two, three] = (number % self.resolvers.max(1)).to_be_bytes();
        let client = SocketAddr::new(Ipv4Addr::new(198, 18, high, low).into(), port);
        Ok((client, SocketAddr::new(Ipv4Addr::new(10, one, two, three).into(), 53)))
    }

    fn question(&self, number: u32) -> Result<(Question, Outcome)> {
        let zone = format!("zone-{:05}.com", number % self.zones.max(1));
        let missing = self.random && !number.is_multiple_of(10);
        let name = if self.random {
            let hash = Rng::new(u64::from(number)).next_u64();
            format!("{hash:016x}.{zone}")
        } else {
            format!("host-{}.{zone}", number / self.zones.max(1) % 2)
        };
        let id = u16::try_from(number % 65_536)?;
        let outcome = if missing { Outcome::NxDomain } else { Outcome::Answer };
        Ok((Question { id, name, zone, kind: kind::A, edns: None }, outcome))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_have_the_configured_length() {
        let octets = |scale: Scale| {
            let mut out = Vec::new();
            scale.write(&mut out).unwrap();
            out.len()
        };
        let base = Scale { messages: 2000, ..Scale::default() };
        assert_eq!(octets(base), octets(base));
        assert!(octets(Scale { waiting: 5000, ..base }) > octets(base));
        assert!(octets(Scale { connections: 100, ..base }) > octets(base));
        assert!(base.warm_up_seconds() < Scale { waiting: 5000, ..base }.warm_up_seconds());
    }
}
