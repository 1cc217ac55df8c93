//! Tunnels: headers above IP before another packet or frame.

use super::{ByteSource, ETHERNET, IP, IPV6, Layer, MPLS, PPP, be16};

const IP_IN_IP: u8 = 4;
const IPV6_IN_IP: u8 = 41;
const GRE: u8 = 47;
const ETHER_IP: u8 = 97;
const MPLS_IN_IP: u8 = 137;

const L2TP_PORT: u16 = 1701;
const GTP_PORT: u16 = 2152;
const TEREDO_PORT: u16 = 3544;
const GRE_PORT: u16 = 4754;
const VXLAN_PORT: u16 = 4789;
const VXLAN_GPE_PORT: u16 = 4790;
const GENEVE_PORT: u16 = 6081;
const MPLS_PORT: u16 = 6635;
/// Port that Linux used before IANA assigned one. Flannel and Cilium still use it.
const VXLAN_LINUX_PORT: u16 = 8472;

/// Returns the layer in an IP packet whose payload begins at `at`, if the protocol is a tunnel.
#[inline(always)]
pub fn over_ip<O: ByteSource + ?Sized>(bytes: &O, protocol: u8, at: u32) -> Option<Layer> {
    match protocol {
        // RFC 2003, 2473, 4213.
        IP_IN_IP | IPV6_IN_IP => Some(Layer::new(IP, at)),
        GRE => gre(bytes, at),
        // RFC 3378.
        ETHER_IP => match bytes.load(at)? {
            [version, _] if version >> 4 == 3 => Some(Layer::new(ETHERNET, at + 2)),
            _ => None,
        },
        // RFC 4023.
        MPLS_IN_IP => Some(Layer::new(MPLS, at)),
        _ => None,
    }
}

/// Returns the layer in a UDP datagram whose payload begins at `at`, if either port is a tunnel's. Some tunnels
/// reply from their port.
#[inline(always)]
pub fn over_udp<O: ByteSource + ?Sized>(bytes: &O, src: u16, dst: u16, at: u32) -> Option<Layer> {
    let port = if is_tunnel(dst) { dst } else { src };
    match port {
        VXLAN_PORT | VXLAN_LINUX_PORT => vxlan(bytes, at),
        GENEVE_PORT => geneve(bytes, at),
        GTP_PORT => gtp(bytes, at),
        // RFC 8086.
        GRE_PORT => gre(bytes, at),
        VXLAN_GPE_PORT => vxlan_gpe(bytes, at),
        // RFC 7510.
        MPLS_PORT => Some(Layer::new(MPLS, at)),
        TEREDO_PORT => teredo(bytes, at),
        L2TP_PORT => l2tp(bytes, at),
        _ => None,
    }
}

/// Returns whether a tunnel uses this port.
#[inline(always)]
#[must_use]
pub fn is_tunnel(port: u16) -> bool {
    matches!(
        port,
        VXLAN_PORT
            | VXLAN_LINUX_PORT
            | GENEVE_PORT
            | GTP_PORT
            | GRE_PORT
            | VXLAN_GPE_PORT
            | MPLS_PORT
            | TEREDO_PORT
            | L2TP_PORT
    )
}

/// Parses VXLAN (RFC 7348, 5).
#[inline(always)]
fn vxlan<O: ByteSource + ?Sized>(bytes: &O, at: u32) -> Option<Layer> {
    let [flags] = bytes.load(at)?;
    if flags & 0x08 != 0 { Some(Layer::new(ETHERNET, at + 8)) } else { None }
}

/// Parses VXLAN-GPE (draft-ietf-nvo3-vxlan-gpe, 3).
#[inline(always)]
fn vxlan_gpe<O: ByteSource + ?Sized>(bytes: &O, at: u32) -> Option<Layer> {
    let [flags, _, _, next] = bytes.load(at)?;
    let kind = match (flags & 0x04, next) {
        (0, _) | (_, 3) => ETHERNET,
        (_, 1 | 2) => IP,
        (_, 5) => MPLS,
        _ => return None,
    };
    Some(Layer::new(kind, at + 8))
}

/// Parses GENEVE (RFC 8926, 3.4).
#[inline(always)]
fn geneve<O: ByteSource + ?Sized>(bytes: &O, at: u32) -> Option<Layer> {
    let [first, _, high, low] = bytes.load(at)?;
    if first >> 6 != 0 {
        return None;
    }
    Some(Layer::new(be16(high, low), at + 8 + u32::from(first & 0x3f) * 4))
}

/// Parses GTP version 1 (3GPP TS 29.281, 5), messages with a user packet only.
#[inline(always)]
fn gtp<O: ByteSource + ?Sized>(bytes: &O, at: u32) -> Option<Layer> {
    const USER_PACKET: u8 = 255;
    const EXTENSIONS: usize = 4;
    let [flags, kind] = bytes.load(at)?;
    if flags & 0xf0 != 0x30 || kind != USER_PACKET {
        return None;
    }
    let mut position = at + 8;
    if flags & 0x07 != 0 {
        let [mut next] = bytes.load(at + 11)?;
        position = at + 12;
        if flags & 0x04 == 0 {
            next = 0;
        }
        for _ in 0..EXTENSIONS {
            if next == 0 {
                break;
            }
            let [words] = bytes.load(position)?;
            if words == 0 {
                return None;
            }
            position += u32::from(words) * 4;
            [next] = bytes.load(position - 1)?;
        }
        if next != 0 {
            return None;
        }
    }
    Some(Layer::new(IP, position))
}

/// Parses GRE (RFC 2784, 2890) and its version 1 with PPP (RFC 2637).
#[inline(always)]
fn gre<O: ByteSource + ?Sized>(bytes: &O, at: u32) -> Option<Layer> {
    const CHECKSUM: u8 = 0x80;
    const ROUTING: u8 = 0x40;
    const KEY: u8 = 0x20;
    const SEQUENCE: u8 = 0x10;
    const ACKNOWLEDGEMENT: u8 = 0x80;
    const VERSION: u8 = 0x07;
    let [flags, more, high, low] = bytes.load(at)?;
    let kind = be16(high, low);
    let word = |is_there: bool| if is_there { 4 } else { 0 };
    let sequence = word(flags & SEQUENCE != 0);
    match more & VERSION {
        // Source routes (RFC 1701) are obsolete and not parsed.
        0 if flags & ROUTING == 0 => {
            let position = at + 4 + word(flags & CHECKSUM != 0) + word(flags & KEY != 0) + sequence;
            gre_payload(bytes, kind, position, sequence != 0)
        }
        // Packets without a sequence number are acknowledgements without payload.
        1 if kind == PPP && sequence != 0 => {
            Some(Layer::new(PPP, at + 8 + sequence + word(more & ACKNOWLEDGEMENT != 0)))
        }
        _ => None,
    }
}

/// Returns the layer after a GRE header. Most protocol types are `EtherType`s.
#[inline(always)]
fn gre_payload<O: ByteSource + ?Sized>(
    bytes: &O,
    kind: u16,
    at: u32,
    numbered: bool,
) -> Option<Layer> {
    /// ERSPAN types I and II (draft-foschiano-erspan, 4.1 and 4.2). Type I has no sequence number and no header.
    const ERSPAN: u16 = 0x88be;
    /// ERSPAN type III (draft-foschiano-erspan, 4.3).
    const ERSPAN_3: u16 = 0x22eb;
    /// Web cache protocol; its version 2 has four bytes before the packet.
    const WCCP: u16 = 0x883e;
    match kind {
        ERSPAN => Some(Layer::new(ETHERNET, if numbered { at + 8 } else { at })),
        ERSPAN_3 => {
            let [high, low] = bytes.load(at + 10)?;
            // The last bit announces a platform-specific header of eight bytes.
            let at = if low & 1 == 0 { at + 12 } else { at + 20 };
            // Frame type: Ethernet or IP.
            match high >> 2 & 0x1f {
                0 => Some(Layer::new(ETHERNET, at)),
                2 => Some(Layer::new(IP, at)),
                _ => None,
            }
        }
        WCCP => {
            let [first] = bytes.load(at)?;
            Some(Layer::new(IP, if first >> 4 == 4 { at } else { at + 4 }))
        }
        kind => Some(Layer::new(kind, at)),
    }
}

/// Parses Teredo (RFC 4380, 5.1.1): IPv6 after optional authentication and origin headers.
#[inline(always)]
fn teredo<O: ByteSource + ?Sized>(bytes: &O, at: u32) -> Option<Layer> {
    let mut at = at;
    let [zero, one, id, authentication] = bytes.load(at)?;
    if (zero, one) == (0, 1) {
        at += 4 + u32::from(id) + u32::from(authentication) + 9;
    }
    if bytes.load(at)? == [0, 0] {
        at += 8;
    }
    let [first] = bytes.load(at)?;
    if first >> 4 == 6 { Some(Layer::new(IPV6, at)) } else { None }
}

/// Parses data messages of L2TP version 2 (RFC 2661, 3.1).
#[inline(always)]
fn l2tp<O: ByteSource + ?Sized>(bytes: &O, at: u32) -> Option<Layer> {
    const CONTROL: u8 = 0x80;
    const LENGTH: u8 = 0x40;
    const SEQUENCE: u8 = 0x08;
    const OFFSET: u8 = 0x02;
    let [flags, version] = bytes.load(at)?;
    if flags & CONTROL != 0 || version & 0x0f != 2 {
        return None;
    }
    let mut at = at + 6;
    if flags & LENGTH != 0 {
        at += 2;
    }
    if flags & SEQUENCE != 0 {
        at += 4;
    }
    if flags & OFFSET != 0 {
        let [high, low] = bytes.load(at)?;
        at += 2 + u32::from(be16(high, low));
    }
    Some(Layer::new(PPP, at))
}
