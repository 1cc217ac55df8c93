//! Headers below IP: Ethernet and its tags, LLC, MPLS, PPP.

use super::{ETHERNET, IP, IPV6, LLC, MPLS, MPLS_UPSTREAM, Octets, PPP, PPPOE, Place, be16};

/// IEEE 802.1Q.
const TAG: u16 = 0x8100;
/// IEEE 802.1ad.
const SERVICE_TAG: u16 = 0x88a8;
/// What went before 802.1ad.
const OLD_TAGS: [u16; 3] = [0x9100, 0x9200, 0x9300];
/// Cisco's metadata, as its switches put them on mirror ports.
const CISCO_METADATA: u16 = 0x8909;
/// IEEE 802.1BR's forerunner between a switch and its fabric extenders.
const VN_TAG: u16 = 0x8926;
/// The service instance tag of IEEE 802.1ah, before the customer's frame.
const SERVICE_INSTANCE: u16 = 0x88e7;

/// What follows a header below IP; `None` where that is nothing to us, or cut off.
#[inline(always)]
pub fn below_ip<O: Octets + ?Sized>(octets: &O, place: Place) -> Option<Place> {
    let at = place.at;
    match place.kind {
        ETHERNET => typed(octets, at, 12),
        kind if is_tag(kind) => typed(octets, at, 2),
        VN_TAG => typed(octets, at, 4),
        CISCO_METADATA => typed(octets, at, 6),
        SERVICE_INSTANCE => Some(Place::new(ETHERNET, at + 4)),
        MPLS | MPLS_UPSTREAM => label(octets, at),
        PPPOE => {
            // Code 0 is the session's data; others set it up.
            let [_, code] = octets.load(at)?;
            if code == 0 { Some(Place::new(PPP, at + 6)) } else { None }
        }
        PPP => ppp(octets, at),
        0..=LLC => llc(octets, at),
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

/// A header of `before` octets that ends with the type of what follows.
#[inline(always)]
fn typed<O: Octets + ?Sized>(octets: &O, at: u32, before: u32) -> Option<Place> {
    let [high, low] = octets.load(at + before)?;
    Some(Place::new(be16(high, low), at + before + 2))
}

/// LLC (IEEE 802.2) with SNAP, or with IP's own service access point.
#[inline(always)]
fn llc<O: Octets + ?Sized>(octets: &O, at: u32) -> Option<Place> {
    match octets.load(at)? {
        [0xaa, 0xaa, 0x03] => typed(octets, at, 6),
        [0x06, 0x06, 0x03] => Some(Place::new(IP, at + 3)),
        _ => None,
    }
}

#[inline(always)]
fn ppp<O: Octets + ?Sized>(octets: &O, at: u32) -> Option<Place> {
    let at = if octets.load(at)? == [0xff, 0x03] { at + 2 } else { at };
    let [first, second] = octets.load(at)?;
    // An odd first octet is a protocol number compressed to one (RFC 1661, 6.5).
    let (protocol, at) =
        if first & 1 == 1 { (u16::from(first), at + 1) } else { (be16(first, second), at + 2) };
    match protocol {
        0x0021 | 0x0057 => Some(Place::new(IP, at)),
        0x0281 | 0x0283 => Some(Place::new(MPLS, at)),
        _ => None,
    }
}

/// One label. Nothing in the last one tells what follows, so the first octet has to (RFC 4928).
#[inline(always)]
fn label<O: Octets + ?Sized>(octets: &O, at: u32) -> Option<Place> {
    let [_, _, bottom, _, first] = octets.load(at)?;
    let at = at + 4;
    if bottom & 1 == 0 {
        return Some(Place::new(MPLS, at));
    }
    match first >> 4 {
        4 | 6 => Some(Place::new(IP, at)),
        // A pseudowire, with a control word (RFC 4385, 3) or without; so an address that begins
        // with 0 is not taken for one.
        0 if is_ethernet(octets, at + 4) => Some(Place::new(ETHERNET, at + 4)),
        _ if is_ethernet(octets, at) => Some(Place::new(ETHERNET, at)),
        _ => None,
    }
}

/// Whether this looks like an Ethernet frame that we would look into.
#[inline(always)]
fn is_ethernet<O: Octets + ?Sized>(octets: &O, at: u32) -> bool {
    let Some([high, low, first]) = octets.load(at + 12) else { return false };
    match be16(high, low) {
        IP => first >> 4 == 4,
        IPV6 => first >> 4 == 6,
        MPLS | MPLS_UPSTREAM | PPPOE => true,
        kind => is_tag(kind),
    }
}
