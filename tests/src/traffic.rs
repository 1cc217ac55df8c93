//! A deterministic capture of some minutes of generated traffic: names by Zipf's law, several
//! clients and resolvers, and every status that a query can have.

use crate::pcap::{self, Datagram};
use crate::rng::Rng;
use crate::wire;
use anyhow::Result;
use std::io::Write;
use std::net::SocketAddrV4;
use std::ops::Range;

/// Nanoseconds of a millisecond.
const MILLISECOND: u64 = 1_000_000;
/// Query timeout with which some responses are late.
pub const QUERY_TIMEOUT: &str = "500ms";
/// Milliseconds until a late response.
const LATE_MS: u64 = 800;

/// Query types; repeated ones are more frequent.
const TYPES: [u16; 10] = [1, 1, 1, 1, 28, 28, 65, 16, 15, 65_280];

/// Parameters of a capture.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// Numbers of the exchanges to write.
    pub exchanges: Range<u32>,
    /// Step between exchanges: 2 writes every second one.
    pub every: usize,
    /// Nanoseconds between the queries of two exchanges.
    pub step_ns: u64,
    /// Number of distinct names, in zones of ten.
    pub names: u32,
}

impl Traffic {
    /// Writes the capture as a pcap file.
    pub fn write(&self, out: impl Write) -> Result<()> {
        let mut datagrams = Vec::new();
        for number in self.exchanges.clone().step_by(self.every) {
            self.exchange(number, &mut datagrams)?;
        }
        datagrams.sort_by_key(|datagram| datagram.at_ns);
        pcap::write_datagrams(out, &datagrams)
    }

    fn exchange(&self, number: u32, datagrams: &mut Vec<Datagram>) -> Result<()> {
        let mut rng = Rng::new(u64::from(number) + 1);
        let name = rng.zipf(self.names);
        let [.., high, low] = rng.zipf(300).to_be_bytes();
        let port = 1024 + u16::try_from(number % 60_000)?;
        let client = SocketAddrV4::new([198, 18, high, low].into(), port);
        let resolver = [198, 19, 0, u8::try_from(rng.zipf(4) + 1)?];
        let resolver = SocketAddrV4::new(resolver.into(), 53);
        let qtype = TYPES[usize::try_from(rng.below(10))?];
        let text = format!(
            "{}host-{name}.zone-{}.com",
            "x".repeat(usize::try_from(name % 40)?),
            name / 10
        );
        let mut query = wire::query(u16::try_from(number % 65_536)?, &text, qtype)?;
        let percent = rng.below(100);
        let mut reply = wire::Reply::to(&query);
        reply = match percent {
            0..75 => reply.address([192, 0, 2, 1]),
            75..85 => reply.rcode(3),
            85..89 => reply.rcode(2),
            89..91 => reply.truncated(),
            _ => reply,
        };
        if rng.below(4) == 0 {
            add_options(&mut query, rng.below(2) == 0);
        }
        let reply = reply.octets();
        let at = u64::from(number) * self.step_ns;
        let then = at + 20_000 + rng.latency_ns();
        let mut give = |at_ns, response: bool, octets: &[u8]| {
            let (from, to) = if response { (resolver, client) } else { (client, resolver) };
            datagrams.push(Datagram { at_ns, from, to, payload: octets.to_vec() });
        };
        if percent != 91 {
            give(at, false, &query);
        }
        match percent {
            // No response.
            92 | 93 => {}
            94 => give(at + LATE_MS * MILLISECOND, true, &reply),
            // The query is retransmitted first, and the response follows both.
            95 | 96 => {
                give(at + 10 * MILLISECOND, false, &query);
                give(then + 10 * MILLISECOND, true, &reply);
            }
            // The response is duplicated, perhaps with other content.
            97 | 98 => {
                give(then, true, &reply);
                let other = wire::Reply::to(&reply).address([192, 0, 2, 66]).octets();
                give(then + MILLISECOND, true, if percent == 97 { &reply } else { &other });
            }
            _ => give(then, true, &reply),
        }
        Ok(())
    }
}

/// Adds an OPT record that requests DNSSEC records, with or without a client subnet (RFC 7871).
fn add_options(query: &mut Vec<u8>, subnet: bool) {
    let option: &[u8] = if subnet { &[0, 8, 0, 7, 0, 1, 24, 0, 198, 51, 100] } else { &[] };
    query[11] += 1;
    query.extend([0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0]);
    query.push(u8::try_from(option.len()).unwrap_or(0));
    query.extend(option);
}
