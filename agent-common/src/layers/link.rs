//! Headers below IP: Ethernet and its tags, LLC, MPLS and PPP.

use super::{ByteSource, ETHERNET, IP, IPV6, LLC, Layer, MPLS, MPLS_UPSTREAM, PPP, PPPOE, be16};

/// VLAN tag (IEEE 802.1Q).
const TAG: u16 = 0x8100;
/// Service VLAN tag (IEEE 802.1ad).
const SERVICE_TAG: u16 = 0x88a8;
/// Tags in use before IEEE 802.1ad.
const OLD_TAGS: [u16; 3] = [0x9100, 0x9200, 0x9300];
/// Metadata that Cisco switches add on mirror ports.
const CISCO_METADATA: u16 = 0x8909;
/// VN-Tag between a switch and its fabric extenders, the predecessor of IEEE 802.1BR.
const VN_TAG: u16 = 0x8926;
/// Service instance tag before the customer's frame (IEEE 802.1ah).
const SERVICE_INSTANCE: u16 = 0x88e7;

/// Returns the layer after a header below IP; `None` if it is unsupported or truncated.
#[inline(always)]
pub fn below_ip<O: ByteSource + ?Sized>(bytes: &O, layer: Layer) -> Option<Layer> {
    let at = layer.offset;
    match layer.ethertype {
        ETHERNET => typed(bytes, at, 12),
        kind if is_tag(kind) => typed(bytes, at, 2),
        VN_TAG => typed(bytes, at, 4),
        CISCO_METADATA => typed(bytes, at, 6),
        SERVICE_INSTANCE => Some(Layer::new(ETHERNET, at + 4)),
        MPLS | MPLS_UPSTREAM => label(bytes, at),
        PPPOE => {
            // Code 0 is the session's data; others set it up.
            let [_, code] = bytes.load(at)?;
            if code == 0 { Some(Layer::new(PPP, at + 6)) } else { None }
        }
        PPP => ppp(bytes, at),
        0..=LLC => llc(bytes, at),
        _ => None,
    }
}

#[inline(always)]
fn is_tag(kind: u16) -> bool {
    kind == TAG
        || kind == SERVICE_TAG
        || kind == OLD_TAGS[0]
        || kind == OLD_TAGS[1]
        || kind == OLD_TAGS[2]
}

/// Reads the `EtherType` at the end of a header, after `before` bytes.
#[inline(always)]
fn typed<O: ByteSource + ?Sized>(bytes: &O, at: u32, before: u32) -> Option<Layer> {
    let [high, low] = bytes.load(at + before)?;
    Some(Layer::new(be16(high, low), at + before + 2))
}

/// Parses LLC (IEEE 802.2) with SNAP, or with the service access point of IP.
#[inline(always)]
fn llc<O: ByteSource + ?Sized>(bytes: &O, at: u32) -> Option<Layer> {
    match bytes.load(at)? {
        [0xaa, 0xaa, 0x03] => typed(bytes, at, 6),
        [0x06, 0x06, 0x03] => Some(Layer::new(IP, at + 3)),
        _ => None,
    }
}

#[inline(always)]
fn ppp<O: ByteSource + ?Sized>(bytes: &O, at: u32) -> Option<Layer> {
    let at = if bytes.load(at)? == [0xff, 0x03] { at + 2 } else { at };
    let [first, second] = bytes.load(at)?;
    // An odd first byte is a protocol number compressed to one byte (RFC 1661, 6.5).
    let (protocol, at) =
        if first & 1 == 1 { (u16::from(first), at + 1) } else { (be16(first, second), at + 2) };
    match protocol {
        0x0021 | 0x0057 => Some(Layer::new(IP, at)),
        0x0281 | 0x0283 => Some(Layer::new(MPLS, at)),
        _ => None,
    }
}

/// Parses one MPLS label. The last label does not name its payload, so its first byte decides (RFC 4928).
#[inline(always)]
fn label<O: ByteSource + ?Sized>(bytes: &O, at: u32) -> Option<Layer> {
    let [_, _, bottom, _, first] = bytes.load(at)?;
    let at = at + 4;
    if bottom & 1 == 0 {
        return Some(Layer::new(MPLS, at));
    }
    match first >> 4 {
        4 | 6 => Some(Layer::new(IP, at)),
        // A pseudowire with a control word (RFC 4385, 3), or without one and with an Ethernet address that
        // begins with 0.
        0 if is_ethernet(bytes, at + 4) => Some(Layer::new(ETHERNET, at + 4)),
        _ if is_ethernet(bytes, at) => Some(Layer::new(ETHERNET, at)),
        _ => None,
    }
}

/// Returns whether the bytes look like an Ethernet frame with a supported payload.
#[inline(always)]
fn is_ethernet<O: ByteSource + ?Sized>(bytes: &O, at: u32) -> bool {
    let Some([high, low, first]) = bytes.load(at + 12) else { return false };
    match be16(high, low) {
        IP => first >> 4 == 4,
        IPV6 => first >> 4 == 6,
        MPLS | MPLS_UPSTREAM | PPPOE => true,
        kind => is_tag(kind),
    }
}
