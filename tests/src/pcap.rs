//! Deterministic capture files for benchmarks and tests: queries and responses between a few
//! clients and resolvers, over UDP, as raw IP packets.

use anyhow::{Context as _, Result};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Write};
use std::net::SocketAddrV4;

/// Link type of Ethernet frames.
const LINKTYPE_ETHERNET: u32 = 1;
/// Link type of packets that begin with the IP header.
const LINKTYPE_RAW: u32 = 101;
/// Nanoseconds from a query to its response, and to the next query.
const STEP_NS: u64 = 5_000;
/// Capture time of the first packet, in seconds since 1970.
const EPOCH_SECONDS: u64 = 1_700_000_000;
/// Number of distinct names.
const NAMES: u32 = 10_000;

/// Writes a pcap file (nanoseconds) with `messages` DNS messages for names in `zones` zones.
pub fn write(mut out: impl Write, messages: u32, zones: u32) -> Result<()> {
    begin(&mut out, LINKTYPE_RAW)?;
    for number in 0..messages {
        let dns = message(number / 2, zones, number % 2 == 1)?;
        let packet = packet(number / 2, number % 2 == 1, &dns)?;
        record(&mut out, u64::from(number) * STEP_NS, &packet)?;
    }
    out.flush().context("cannot write the capture")
}

/// Writes a pcap file of these DNS messages, each a UDP response from port 53.
pub fn write_responses(mut out: impl Write, responses: &[Vec<u8>]) -> Result<()> {
    begin(&mut out, LINKTYPE_RAW)?;
    for (number, response) in (0_u32..).zip(responses) {
        record(&mut out, u64::from(number) * STEP_NS, &packet(number, true, response)?)?;
    }
    out.flush().context("cannot write the capture")
}

/// A UDP datagram.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// Time in nanoseconds after the beginning of the capture.
    pub at_ns: u64,
    /// Source.
    pub from: SocketAddrV4,
    /// Destination.
    pub to: SocketAddrV4,
    /// Payload.
    pub payload: Vec<u8>,
}

/// Writes a pcap file of datagrams, in this order.
pub fn write_datagrams(mut out: impl Write, datagrams: &[Datagram]) -> Result<()> {
    begin(&mut out, LINKTYPE_RAW)?;
    for one in datagrams {
        record(&mut out, one.at_ns, &datagram(one.from, one.to, &one.payload)?)?;
    }
    out.flush().context("cannot write the capture")
}

/// Writes a pcapng file (nanoseconds) of datagrams, in this order.
pub fn write_pcapng(mut out: impl Write, datagrams: &[Datagram]) -> Result<()> {
    // Section header without a length; interface of raw IP packets, option if_tsresol = 9.
    let section = [0x1a2b_3c4d_u32, 1, u32::MAX, u32::MAX];
    block(&mut out, 0x0a0d_0d0a, &section, &[])?;
    block(&mut out, 1, &[LINKTYPE_RAW, 65_535, 0x0001_0009, 9, 0], &[])?;
    for one in datagrams {
        let packet = datagram(one.from, one.to, &one.payload)?;
        let time = EPOCH_SECONDS * 1_000_000_000 + one.at_ns;
        let [high, low] = [time >> 32, time & 0xffff_ffff].map(u32::try_from);
        let length = u32::try_from(packet.len())?;
        block(&mut out, 6, &[0, high?, low?, length, length], &packet)?;
    }
    out.flush().context("cannot write the capture")
}

/// Writes a block of a pcapng file, with its data padded to four bytes.
fn block(out: &mut impl Write, kind: u32, words: &[u32], data: &[u8]) -> Result<()> {
    let padded = data.len().next_multiple_of(4);
    let length = u32::try_from(12 + 4 * words.len() + padded)?;
    for word in [&[kind, length], words].concat() {
        out.write_all(&word.to_le_bytes())?;
    }
    out.write_all(data)?;
    out.write_all(&[0; 3][..padded - data.len()])?;
    out.write_all(&length.to_le_bytes()).map_err(io::Error::into)
}

/// A UDP query: its time in nanoseconds after the beginning of the capture, its number, and the
/// code of the answer one millisecond later, if there is one. The number modulo three selects the
/// resolver.
pub type Exchange = (u64, u32, Option<u8>);

/// Writes a pcap file of these exchanges, which must be in order and more than a millisecond apart.
pub fn write_exchanges(
    mut out: impl Write,
    exchanges: impl IntoIterator<Item = Exchange>,
) -> Result<()> {
    const ANSWER_NS: u64 = 1_000_000;
    begin(&mut out, LINKTYPE_RAW)?;
    for (at_ns, number, rcode) in exchanges {
        let query = packet(number, false, &message(number, 100, false)?)?;
        record(&mut out, at_ns, &query)?;
        if let Some(rcode) = rcode {
            let mut response = message(number, 100, true)?;
            response[3] |= rcode;
            record(&mut out, at_ns + ANSWER_NS, &packet(number, true, &response)?)?;
        }
    }
    out.flush().context("cannot write the capture")
}

/// Writes Ethernet frames to a pcap file, ordered by time; they may arrive out of order.
#[derive(Debug)]
pub struct Frames<W: Write> {
    out: W,
    /// Frames not written yet, earliest first; frames of equal time in arrival order.
    waiting: BinaryHeap<Reverse<(u64, u64, Vec<u8>)>>,
    count: u64,
}

impl<W: Write> Frames<W> {
    /// Writes the file header.
    pub fn begin(mut out: W) -> Result<Self> {
        begin(&mut out, LINKTYPE_ETHERNET)?;
        Ok(Self { out, waiting: BinaryHeap::new(), count: 0 })
    }

    /// Adds a frame with a time in nanoseconds after the beginning of the capture.
    pub fn push(&mut self, at_ns: u64, frame: Vec<u8>) {
        self.count += 1;
        self.waiting.push(Reverse((at_ns, self.count, frame)));
    }

    /// Writes the frames before `end_ns`; no earlier frame may be added afterwards.
    pub fn until(&mut self, end_ns: u64) -> Result<()> {
        while self.waiting.peek().is_some_and(|Reverse((at, ..))| *at < end_ns)
            && let Some(Reverse((at_ns, _, frame))) = self.waiting.pop()
        {
            record(&mut self.out, at_ns, &frame)?;
        }
        Ok(())
    }

    /// Writes the remaining frames.
    pub fn end(mut self) -> Result<()> {
        self.until(u64::MAX)?;
        self.out.flush().context("cannot write the capture")
    }
}

fn begin(out: &mut impl Write, link: u32) -> Result<()> {
    let header: [u32; 6] = [0xa1b2_3c4d, 0x0004_0002, 0, 0, 65_535, link];
    for word in header {
        out.write_all(&word.to_le_bytes())?;
    }
    Ok(())
}

fn record(out: &mut impl Write, at_ns: u64, packet: &[u8]) -> Result<()> {
    let length = u32::try_from(packet.len())?;
    let seconds = u32::try_from(EPOCH_SECONDS + at_ns / 1_000_000_000)?;
    let nanoseconds = u32::try_from(at_ns % 1_000_000_000)?;
    for word in [seconds, nanoseconds, length, length] {
        out.write_all(&word.to_le_bytes())?;
    }
    out.write_all(packet).map_err(io::Error::into)
}

/// Builds a message of an exchange, between its client and its resolver.
fn packet(exchange: u32, response: bool, dns: &[u8]) -> Result<Vec<u8>> {
    let [.., high, low] = (exchange % 250 + 1).to_be_bytes();
    let port = 1024 + u16::try_from(exchange / 3 % 60_000)?;
    let client = SocketAddrV4::new([198, 18, high, low].into(), port);
    let resolver = SocketAddrV4::new([198, 19, 0, u8::try_from(exchange % 3 + 1)?].into(), 53);
    let (from, to) = if response { (resolver, client) } else { (client, resolver) };
    datagram(from, to, dns)
}

/// Adds an IPv4 and a UDP header to a message. UDP checksums are optional (RFC 768).
fn datagram(from: SocketAddrV4, to: SocketAddrV4, dns: &[u8]) -> Result<Vec<u8>> {
    let udp_length = u16::try_from(8 + dns.len())?;
    let mut packet = vec![0x45, 0];
    packet.extend((20 + udp_length).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    packet.extend(from.ip().octets());
    packet.extend(to.ip().octets());
    let checksum = checksum(&packet);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(from.port().to_be_bytes());
    packet.extend(to.port().to_be_bytes());
    packet.extend(udp_length.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(dns);
    Ok(packet)
}

/// Computes the checksum of an IPv4 header (RFC 1071).
fn checksum(header: &[u8]) -> u16 {
    let mut sum: u32 =
        header.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [.., high, low] = sum.to_be_bytes();
    !u16::from_be_bytes([high, low])
}

/// Builds a query with EDNS for an A record, or its response with one answer.
fn message(exchange: u32, zones: u32, response: bool) -> Result<Vec<u8>> {
    let [.., high, low] = exchange.to_be_bytes();
    let flags = if response { [0x81, 0x80] } else { [0x01, 0x00] };
    let mut dns = vec![high, low, flags[0], flags[1], 0, 1, 0, u8::from(response), 0, 0, 0, 1];
    let name = exchange % NAMES;
    let labels = [format!("host-{name}"), format!("zone-{}", name % zones), "com".to_owned()];
    for label in labels {
        dns.push(u8::try_from(label.len())?);
        dns.extend(label.as_bytes());
    }
    dns.extend([0, 0, 1, 0, 1]);
    if response {
        dns.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 192, 0, 2, 1]);
    }
    dns.extend([0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]);
    Ok(dns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_with_checksum_sums_to_zero() {
        let packet = packet(7, false, &message(7, 100, false).unwrap()).unwrap();
        assert_eq!(checksum(&packet[..20]), 0);
    }

    #[test]
    fn capture_is_deterministic() {
        let (mut one, mut two) = (Vec::new(), Vec::new());
        write(&mut one, 1000, 100).unwrap();
        write(&mut two, 1000, 100).unwrap();
        assert_eq!(one, two);
        assert_eq!(&one[..4], [0x4d, 0x3c, 0xb2, 0xa1]);
    }
}
