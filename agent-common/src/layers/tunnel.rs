//! Tunnels: headers above IP that another packet or frame follows.

use super::{ETHERNET, IP, IPV6, MPLS, Octets, PPP, Place, be16};

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
/// What Linux took before IANA gave a number, and flannel and Cilium take still.
const VXLAN_LINUX_PORT: u16 = 8472;

/// What an IP packet of this protocol carries from `at` on, where that is a tunnel.
#[inline(always)]
pub fn over_ip<O: Octets + ?Sized>(octets: &O, protocol: u8, at: u32) -> Option<Place> {
    match protocol {
        // RFC 2003, 2473, 4213.
        IP_IN_IP | IPV6_IN_IP => Some(Place::new(IP, at)),
        GRE => gre(octets, at),
        // RFC 3378.
        ETHER_IP => match octets.load(at)? {
            [version, _] if version >> 4 == 3 => Some(Place::new(ETHERNET, at + 2)),
            _ => None,
        },
        // RFC 4023.
        MPLS_IN_IP => Some(Place::new(MPLS, at)),
        _ => None,
    }
}

/// What a UDP datagram between these ports carries, whose payload begins at `at`, where that is a
/// tunnel. Either port tells: some tunnels answer from their own.
#[inline(always)]
pub fn over_udp<O: Octets + ?Sized>(octets: &O, src: u16, dst: u16, at: u32) -> Option<Place> {
    let port = if is_tunnel(dst) { dst } else { src };
    match port {
        VXLAN_PORT | VXLAN_LINUX_PORT => vxlan(octets, at),
        GENEVE_PORT => geneve(octets, at),
        GTP_PORT => gtp(octets, at),
        // RFC 8086.
        GRE_PORT => gre(octets, at),
        VXLAN_GPE_PORT => vxlan_gpe(octets, at),
        // RFC 7510.
        MPLS_PORT => Some(Place::new(MPLS, at)),
        TEREDO_PORT => teredo(octets, at),
        L2TP_PORT => l2tp(octets, at),
        _ => None,
    }
}

/// Whether tunnels use this port.
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

/// RFC 7348, 5.
#[inline(always)]
fn vxlan<O: Octets + ?Sized>(octets: &O, at: u32) -> Option<Place> {
    let [flags] = octets.load(at)?;
    if flags & 0x08 != 0 { Some(Place::new(ETHERNET, at + 8)) } else { None }
}

/// draft-ietf-nvo3-vxlan-gpe, 3.
#[inline(always)]
fn vxlan_gpe<O: Octets + ?Sized>(octets: &O, at: u32) -> Option<Place> {
    let [flags, _, _, next] = octets.load(at)?;
    let kind = match (flags & 0x04, next) {
        (0, _) | (_, 3) => ETHERNET,
        (_, 1 | 2) => IP,
        (_, 5) => MPLS,
        _ => return None,
    };
    Some(Place::new(kind, at + 8))
}

/// RFC 8926, 3.4.
#[inline(always)]
fn geneve<O: Octets + ?Sized>(octets: &O, at: u32) -> Option<Place> {
    let [first, _, high, low] = octets.load(at)?;
    if first >> 6 != 0 {
        return None;
    }
    Some(Place::new(be16(high, low), at + 8 + u32::from(first & 0x3f) * 4))
}

/// Version 1 of 3GPP TS 29.281, 5: the messages that carry a user's packet.
#[inline(always)]
fn gtp<O: Octets + ?Sized>(octets: &O, at: u32) -> Option<Place> {
    const USER_PACKET: u8 = 255;
    const EXTENSIONS: usize = 4;
    let [flags, kind] = octets.load(at)?;
    if flags & 0xf0 != 0x30 || kind != USER_PACKET {
        return None;
    }
    let mut place = at + 8;
    if flags & 0x07 != 0 {
        let [mut next] = octets.load(at + 11)?;
        place = at + 12;
        if flags & 0x04 == 0 {
            next = 0;
        }
        for _ in 0..EXTENSIONS {
            if next == 0 {
                break;
            }
            let [words] = octets.load(place)?;
            if words == 0 {
                return None;
            }
            place += u32::from(words) * 4;
            [next] = octets.load(place - 1)?;
        }
        if next != 0 {
            return None;
        }
    }
    Some(Place::new(IP, place))
}

/// RFC 2784, 2890, and 2637 (version 1, before PPP).
#[inline(always)]
fn gre<O: Octets + ?Sized>(octets: &O, at: u32) -> Option<Place> {
    const CHECKSUM: u8 = 0x80;
    const ROUTING: u8 = 0x40;
    const KEY: u8 = 0x20;
    const SEQUENCE: u8 = 0x10;
    const ACKNOWLEDGEMENT: u8 = 0x80;
    const VERSION: u8 = 0x07;
    let [flags, more, high, low] = octets.load(at)?;
    let kind = be16(high, low);
    let word = |is_there: bool| if is_there { 4 } else { 0 };
    let sequence = word(flags & SEQUENCE != 0);
    match more & VERSION {
        // The routes of RFC 1701 went out of use before DNS had EDNS.
        0 if flags & ROUTING == 0 => {
            let place = at + 4 + word(flags & CHECKSUM != 0) + word(flags & KEY != 0) + sequence;
            gre_payload(octets, kind, place, sequence != 0)
        }
        // Without a sequence number it acknowledges, and carries nothing.
        1 if kind == PPP && sequence != 0 => {
            Some(Place::new(PPP, at + 8 + sequence + word(more & ACKNOWLEDGEMENT != 0)))
        }
        _ => None,
    }
}

/// What stands behind a GRE header: mostly what it says.
#[inline(always)]
fn gre_payload<O: Octets + ?Sized>(
    octets: &O,
    kind: u16,
    at: u32,
    numbered: bool,
) -> Option<Place> {
    /// draft-foschiano-erspan, 4.1 and 4.2: without a sequence number, there is no header.
    const ERSPAN: u16 = 0x88be;
    /// The same, 4.3.
    const ERSPAN_3: u16 = 0x22eb;
    /// Web caches: version 2 of the protocol puts four octets before the packet.
    const WCCP: u16 = 0x883e;
    match kind {
        ERSPAN => Some(Place::new(ETHERNET, if numbered { at + 8 } else { at })),
        ERSPAN_3 => {
            let [high, low] = octets.load(at + 10)?;
            // The last bit announces a platform's own eight octets.
            let at = if low & 1 == 0 { at + 12 } else { at + 20 };
            // Frame type: Ethernet or IP.
            match high >> 2 & 0x1f {
                0 => Some(Place::new(ETHERNET, at)),
                2 => Some(Place::new(IP, at)),
                _ => None,
            }
        }
        WCCP => {
            let [first] = octets.load(at)?;
            Some(Place::new(IP, if first >> 4 == 4 { at } else { at + 4 }))
        }
        kind => Some(Place::new(kind, at)),
    }
}

/// RFC 4380, 5.1.1: IPv6 behind an authentication and an origin that may be there.
#[inline(always)]
fn teredo<O: Octets + ?Sized>(octets: &O, at: u32) -> Option<Place> {
    let mut at = at;
    let [zero, one, id, authentication] = octets.load(at)?;
    if (zero, one) == (0, 1) {
        at += 4 + u32::from(id) + u32::from(authentication) + 9;
    }
    if octets.load(at)? == [0, 0] {
        at += 8;
    }
    let [first] = octets.load(at)?;
    if first >> 4 == 6 { Some(Place::new(IPV6, at)) } else { None }
}

/// Data of version 2 (RFC 2661, 3.1).
#[inline(always)]
fn l2tp<O: Octets + ?Sized>(octets: &O, at: u32) -> Option<Place> {
    const CONTROL: u8 = 0x80;
    const LENGTH: u8 = 0x40;
    const SEQUENCE: u8 = 0x08;
    const OFFSET: u8 = 0x02;
    let [flags, version] = octets.load(at)?;
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
        let [high, low] = octets.load(at)?;
        at += 2 + u32::from(be16(high, low));
    }
    Some(Place::new(PPP, at))
}
