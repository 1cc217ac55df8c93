//! Sends packets that no well-behaved host sends, through a raw socket: `storm KIND DESTINATION
//! COUNT SEED`. Prints how many the kernel accepted. Needs root.
//!
//! - `mutated`: real DNS messages over UDP and TCP, damaged, from a few clients.
//! - `spoofed`: valid queries over UDP, each from a different address.
//! - `half-open`: SYNs, each of a different connection; every third with half a message after it.

use anyhow::{Context as _, Result, bail};
use dnscribe_fuzz::corpus::Corpus;
use dnscribe_fuzz::mutate::{Random, damage};
use dnscribe_fuzz::test_packets::{self, Segment, flag};
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// Bytes of the IP header, which stay unchanged because the kernel rejects invalid ones.
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
    /// Sends `count` packets; returns how many the kernel accepted.
    fn send(mut self, count: u64, packet: fn(&mut Self, u64) -> Vec<u8>) -> Result<u64> {
        // The packets contain their IP headers (raw(7)).
        let socket = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW))
            .context("cannot open a raw socket")?;
        let to = SocketAddr::from(self.destination);
        let mut taken = 0;
        for number in 0..count {
            let packet = packet(&mut self, number);
            // Packets that the kernel rejects, for example for their size, are not counted.
            taken += u64::from(sendto(&socket, &packet, SendFlags::empty(), &to).is_ok());
        }
        Ok(taken)
    }

    /// Builds a damaged packet from one of a few ports of this host.
    fn mutated(&mut self, _: u64) -> Vec<u8> {
        let port = 2048 + u16::try_from(self.random.below(64)).unwrap_or_default();
        let source = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let destination = self.destination.into();
        let mut message = self.random.one(&self.messages).cloned().unwrap_or_default();
        message.truncate(1200);
        let mut packet = if self.random.below(2) == 0 {
            test_packets::udp(source, destination, &message)
        } else {
            let seq = u32::try_from(self.random.below(4096)).unwrap_or_default();
            let flags = [flag::ACK, flag::ACK, flag::ACK, flag::SYN, flag::FIN, flag::RST];
            let flags = self.random.one(&flags).copied().unwrap_or(flag::ACK);
            let header = Segment { seq, ack: seq, flags };
            test_packets::tcp(source, destination, header, &test_packets::framed(&message))
        };
        // Most packets keep their ports; without a DNS port they are ignored early.
        let from = if self.random.below(8) == 0 { IP_HEADER } else { IP_HEADER + 4 };
        damage(&mut packet, from, &mut self.random);
        packet
    }

    fn spoofed(&mut self, number: u64) -> Vec<u8> {
        let source = stranger(&mut self.random);
        let label = format!("{number:x}");
        let [.., high, low] = number.to_be_bytes();
        let query = test_packets::query(u16::from_be_bytes([high, low]), label.as_bytes());
        test_packets::udp(source, self.destination.into(), &query)
    }

    fn half_open(&mut self, number: u64) -> Vec<u8> {
        // A SYN and the data after it are from the same client.
        let mut random = Random::new(number - number % 3 % 2);
        let (source, destination) = (stranger(&mut random), self.destination.into());
        if number % 3 == 1 {
            let header = Segment { seq: 10, ack: 1, flags: flag::ACK };
            test_packets::tcp(source, destination, header, b"\xff\xffhalf")
        } else {
            test_packets::tcp(
                source,
                destination,
                Segment { seq: 9, ack: 0, flags: flag::SYN },
                &[],
            )
        }
    }
}

/// Returns an address and port in 198.18.0.0/15, which is for benchmarks (RFC 2544).
fn stranger(random: &mut Random) -> SocketAddr {
    let [a, b, c, d, ..] = random.draw().to_be_bytes();
    let port = 1024 + u16::try_from(random.below(60_000)).unwrap_or_default();
    SocketAddr::from(([198, 18 + (a & 1), b, c.max(d & 1)], port))
}
