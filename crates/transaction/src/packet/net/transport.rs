//! UDP (RFC 768) and TCP (RFC 9293) headers.

use super::{BadHeader, IpPacket, captured_part, protocol, read_u16, read_u32};

/// A UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpDatagram<'a> {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// The captured bytes of the payload.
    pub payload: &'a [u8],
    /// Length of the payload by the UDP header, in bytes.
    pub payload_wire: u32,
}

/// The TCP flags that reassembly needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFlags {
    /// First segment of a direction. Takes one sequence number.
    pub syn: bool,
    /// Last segment of a direction. Takes one sequence number.
    pub fin: bool,
    /// Ends the connection.
    pub rst: bool,
}

/// A TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSegment<'a> {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number of the SYN, or of the first payload byte.
    pub seq: u32,
    /// Next sequence number expected by the sender, if ACK is set.
    pub ack: Option<u32>,
    /// Flags.
    pub flags: TcpFlags,
    /// The captured bytes of the payload.
    pub payload: &'a [u8],
    /// Length of the payload on the wire, in bytes.
    pub payload_wire: u32,
}

/// Returns source and destination port of a UDP or TCP packet. `None` for other protocols and later
/// fragments, and if the ports were not captured.
#[must_use]
pub fn ports(ip: &IpPacket<'_>) -> Option<(u16, u16)> {
    let upper = ip.upper_layer()?;
    let four = upper.payload.first_chunk::<4>()?;
    matches!(upper.protocol, protocol::UDP | protocol::TCP)
        .then(|| (read_u16(four, 0), read_u16(four, 2)))
}

/// Reads the UDP header of an unfragmented packet.
///
/// # Errors
/// The header is cut off, or its length is impossible.
pub fn parse_udp<'a>(ip: &IpPacket<'a>) -> Result<UdpDatagram<'a>, BadHeader> {
    let (header, payload) = ip.payload.split_first_chunk::<8>().ok_or(BadHeader::Udp)?;
    let length = match u32::from(read_u16(header, 4)) {
        // A jumbogram: its length does not fit into the UDP header (RFC 2675, 4).
        0 if ip.src.is_ipv6() => ip.payload_wire,
        length => length,
    };
    if length < 8 || length > ip.payload_wire {
        return Err(BadHeader::Udp);
    }
    Ok(UdpDatagram {
        src_port: read_u16(header, 0),
        dst_port: read_u16(header, 2),
        payload: captured_part(payload, length - 8),
        payload_wire: length - 8,
    })
}

/// Reads a TCP header. `payload_wire` is the length of `bytes` on the wire.
///
/// # Errors
/// The header is cut off, or its data offset is impossible.
pub fn parse_tcp(bytes: &[u8], payload_wire: u32) -> Result<TcpSegment<'_>, BadHeader> {
    let header = bytes.first_chunk::<20>().ok_or(BadHeader::Tcp)?;
    let header_len = u32::from(header[12] >> 4) * 4;
    let payload_wire = payload_wire.checked_sub(header_len).ok_or(BadHeader::Tcp)?;
    if header_len < 20 {
        return Err(BadHeader::Tcp);
    }
    // Clipped options leave no payload; its length on the wire is still known.
    let payload = usize::try_from(header_len).ok().and_then(|len| bytes.get(len..));
    Ok(TcpSegment {
        src_port: read_u16(header, 0),
        dst_port: read_u16(header, 2),
        seq: read_u32(header, 4),
        ack: (header[13] & 0x10 != 0).then(|| read_u32(header, 8)),
        flags: TcpFlags {
            fin: header[13] & 0x01 != 0,
            syn: header[13] & 0x02 != 0,
            rst: header[13] & 0x04 != 0,
        },
        payload: payload.unwrap_or_default(),
        payload_wire,
    })
}
