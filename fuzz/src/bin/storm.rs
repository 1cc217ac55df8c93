//! Sends packets that no well-behaved host would, through a raw socket: `storm KIND DESTINATION COUNT
//! SEED`. Prints how many the kernel took. Needs root.
//!
//! - `mutated`: real DNS messages over UDP and TCP, damaged, from a few clients.
//! - `spoofed`: sound queries over UDP, each from an address of its own.
//! - `half-open`: SYNs, each from a connection of its own; every third with half a message behind it.

use anyhow::{Context as _, Result, bail};
use dnscribe_fuzz::corpus::Corpus;
use dnscribe_fuzz::craft::{self, Segment, flag};
use dnscribe_fuzz::mutate::{Random, damage};
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// Octets of an IP header that stay as they are, for the kernel refuses others.
const IP_HEADER: usize = 20;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [kind, destination, count, seed] = words.as_slice() else {
        bail!("usage: storm mutated|spoofed|half-open ADDRESS:PORT COUNT SEED");
    };
    let destination: SocketAddrV4 = destination.parse().context("the destination")?;
    let storm = Storm {
        destination,
        messages: Corpus::load()?.messages,
        random: Random::new(seed.parse().context("the seed")?),
    };
    let taken = match kind.as_str() {
        "mutated" => storm.send(count.parse()?, Storm::mutated),
        "spoofed" => storm.send(count.parse()?, Storm::spoofed),
        "half-open" => storm.send(count.parse()?, Storm::half_open),
        _ => bail!("\"{kind}\" is no kind of storm"),
    }?;
    writeln!(std::io::stdout(), "{taken}")?;
    Ok(())
}

struct Storm {
    destination: SocketAddrV4,
    messages: Vec<Vec<u8>>,
    random: Random,
}

impl Storm {
    /// Sends so many packets; how many the kernel took.
    fn send(mut self, count: u64, packet: fn(&mut Self, u64) -> Vec<u8>) -> Result<u64> {
        // The packets bring their own IP headers (raw(7)).
        let socket = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW))
            .context("cannot open a raw socket")?;
        let to = SocketAddr::from(self.destination);
        let mut taken = 0;
        for number in 0..count {
            let packet = packet(&mut self, number);
            // What the kernel refuses, such as a packet beyond the interface's size, is no storm.
            taken += u64::from(sendto(&socket, &packet, SendFlags::empty(), &to).is_ok());
        }
        Ok(taken)
    }

    /// From one of a few ports of this host.
    fn mutated(&mut self, _: u64) -> Vec<u8> {
        let port = 2048 + u16::try_from(self.random.below(64)).unwrap_or_default();
        let source = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let destination = self.destination.into();
        let mut message = self.random.one(&self.messages).cloned().unwrap_or_default();
        message.truncate(1200);
        let mut packet = if self.random.below(2) == 0 {
            craft::udp(source, destination, &message)
        } else {
            let seq = u32::try_from(self.random.below(4096)).unwrap_or_default();
            let flags = [flag::ACK, flag::ACK, flag::ACK, flag::SYN, flag::FIN, flag::RST];
            let flags = self.random.one(&flags).copied().unwrap_or(flag::ACK);
            let header = Segment { seq, ack: seq, flags };
            craft::tcp(source, destination, header, &craft::framed(&message))
        };
        // Ports stay whole in most: elsewhere nobody looks.
        let from = if self.random.below(8) == 0 { IP_HEADER } else { IP_HEADER + 4 };
        damage(&mut packet, from, &mut self.random);
        packet
    }

    fn spoofed(&mut self, number: u64) -> Vec<u8> {
        let source = stranger(&mut self.random);
        let label = format!("{number:x}");
        let [.., high, low] = number.to_be_bytes();
        let query = craft::query(u16::from_be_bytes([high, low]), label.as_bytes());
        craft::udp(source, self.destination.into(), &query)
    }

    fn half_open(&mut self, number: u64) -> Vec<u8> {
        // The same stranger for a SYN and what comes behind it.
        let mut random = Random::new(number - number % 3 % 2);
        let (source, destination) = (stranger(&mut random), self.destination.into());
        if number % 3 == 1 {
            let header = Segment { seq: 10, ack: 1, flags: flag::ACK };
            craft::tcp(source, destination, header, b"\xff\xffhalf")
        } else {
            craft::tcp(source, destination, Segment { seq: 9, ack: 0, flags: flag::SYN }, &[])
        }
    }
}

/// An address and port of 198.18.0.0/15, which is for benchmarks (RFC 2544).
fn stranger(random: &mut Random) -> SocketAddr {
    let [a, b, c, d, ..] = random.draw().to_be_bytes();
    let port = 1024 + u16::try_from(random.below(60_000)).unwrap_or_default();
    SocketAddr::from(([198, 18 + (a & 1), b, c.max(d & 1)], port))
}
