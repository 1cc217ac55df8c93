//! UDP (RFC 768) and TCP (RFC 9293) headers.

use super::{BadHeader, Ip, be16, be32, cut, protocol};

/// A UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpDatagram<'a> {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// The captured octets of the payload.
    pub payload: &'a [u8],
    /// Length of the payload on the wire by the UDP header, in octets.
    pub payload_wire: u32,
}

/// The flags that matter to reassembly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFlags {
    /// First segment of a connection's direction; takes one sequence number.
    pub syn: bool,
    /// Last segment; takes one sequence number.
    pub fin: bool,
    /// The connection is no more.
    pub rst: bool,
}

/// A TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSegment<'a> {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number of the SYN, or else of the first payload octet.
    pub seq: u32,
    /// The next sequence number that the sender expects from the other side, where it says so.
    pub ack: Option<u32>,
    /// Flags.
    pub flags: TcpFlags,
    /// The captured octets of the payload.
    pub payload: &'a [u8],
    /// Length of the payload on the wire, in octets.
    pub payload_wire: u32,
}

/// Source and destination port of a UDP or TCP packet; `None` for other protocols, for fragments
/// but the first, and where the ports are not captured.
#[must_use]
pub fn ports(ip: &Ip<'_>) -> Option<(u16, u16)> {
    let upper = ip.upper()?;
    let four = upper.payload.first_chunk::<4>()?;
    matches!(upper.protocol, protocol::UDP | protocol::TCP).then(|| (be16(four, 0), be16(four, 2)))
}

/// Reads the UDP header of a whole packet's payload.
pub fn udp<'a>(ip: &Ip<'a>) -> Result<UdpDatagram<'a>, BadHeader> {
    let (header, payload) = ip.payload.split_first_chunk::<8>().ok_or(BadHeader::Udp)?;
    let length = match u32::from(be16(header, 4)) {
        // A jumbogram, whose length finds no room here (RFC 2675, 4).
        0 if ip.src.is_ipv6() => ip.payload_wire,
        length => length,
    };
    if length < 8 || length > ip.payload_wire {
        return Err(BadHeader::Udp);
    }
    Ok(UdpDatagram {
        src_port: be16(header, 0),
        dst_port: be16(header, 2),
        payload: cut(payload, length - 8),
        payload_wire: length - 8,
    })
}

/// Reads a TCP header. `payload_wire` is the length of `bytes` on the wire.
pub fn tcp(bytes: &[u8], payload_wire: u32) -> Result<TcpSegment<'_>, BadHeader> {
    let header = bytes.first_chunk::<20>().ok_or(BadHeader::Tcp)?;
    let header_len = u32::from(header[12] >> 4) * 4;
    let payload_wire = payload_wire.checked_sub(header_len).ok_or(BadHeader::Tcp)?;
    if header_len < 20 {
        return Err(BadHeader::Tcp);
    }
    // Options may be clipped; the octets behind them are then missing, their number is known.
    let payload = usize::try_from(header_len).ok().and_then(|len| bytes.get(len..));
    Ok(TcpSegment {
        src_port: be16(header, 0),
        dst_port: be16(header, 2),
        seq: be32(header, 4),
        ack: (header[13] & 0x10 != 0).then(|| be32(header, 8)),
        flags: TcpFlags {
            fin: header[13] & 0x01 != 0,
            syn: header[13] & 0x02 != 0,
            rst: header[13] & 0x04 != 0,
        },
        payload: payload.unwrap_or_default(),
        payload_wire,
    })
}
