extern crate std;

use super::*;
use std::vec::Vec;

const QUERY: &[u8] = b"\x45 a packet";
const IPV6_PACKET: &[u8] = b"\x60 a packet";
const MAC: [u8; 12] = [2; 12];

fn bytes(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// Returns the IP packet after headers, the first of which is of this `EtherType`.
fn find(kind: u16, parts: &[&[u8]]) -> Option<Vec<u8>> {
    let bytes = bytes(parts);
    match find_ip(bytes.as_slice(), Layer::new(kind, 0)) {
        IpSearch::Ip(at) => Some(bytes[at as usize..].to_vec()),
        _ => None,
    }
}

/// Returns the packet in the tunnel in an IP payload.
fn in_ip(protocol: u8, parts: &[&[u8]]) -> Option<Vec<u8>> {
    let bytes = bytes(parts);
    let layer = over_ip(bytes.as_slice(), protocol, 0)?;
    find_from(&bytes, layer)
}

/// Returns the packet in the tunnel in a UDP payload.
fn in_udp(port: u16, parts: &[&[u8]]) -> Option<Vec<u8>> {
    let bytes = bytes(parts);
    let layer = over_udp(bytes.as_slice(), 40_000, port, 0);
    assert_eq!(layer, over_udp(bytes.as_slice(), port, 40_000, 0), "either port");
    find_from(&bytes, layer?)
}

fn find_from(bytes: &[u8], layer: Layer) -> Option<Vec<u8>> {
    match find_ip(bytes, layer) {
        IpSearch::Ip(at) => Some(bytes[at as usize..].to_vec()),
        _ => None,
    }
}

/// Returns an Ethernet header before IPv4.
fn ethernet() -> Vec<u8> {
    bytes(&[&MAC, &[8, 0]])
}

#[test]
fn skips_all_kinds_of_tags() {
    for outer in [[0x81, 0], [0x88, 0xa8], [0x91, 0], [0x92, 0], [0x93, 0]] {
        let found = find(ETHERNET, &[&MAC, &outer, &[0, 7, 0x81, 0, 0, 8, 8, 0], QUERY]);
        assert_eq!(found.as_deref(), Some(QUERY));
    }
    let vn_tag = [0x89, 0x26, 0x80, 1, 0, 0, 0x86, 0xdd];
    assert_eq!(find(ETHERNET, &[&MAC, &vn_tag, IPV6_PACKET]).as_deref(), Some(IPV6_PACKET));
    let metadata = [0x89, 0x09, 1, 1, 0, 1, 0, 9, 8, 0];
    assert_eq!(find(ETHERNET, &[&MAC, &metadata, QUERY]).as_deref(), Some(QUERY));
    let service = [0x88, 0xa8, 0, 7, 0x88, 0xe7, 0, 0, 0, 9];
    assert_eq!(find(ETHERNET, &[&MAC, &service, &ethernet(), QUERY]).as_deref(), Some(QUERY));
}

#[test]
fn parses_llc_with_and_without_snap() {
    let snap = [0xaa, 0xaa, 3, 0, 0, 0, 8, 0];
    assert_eq!(find(40, &[&snap, QUERY]).as_deref(), Some(QUERY));
    assert_eq!(find(40, &[&[6, 6, 3], QUERY]).as_deref(), Some(QUERY));
    assert_eq!(find(40, &[&[0x42, 0x42, 3], QUERY]), None, "spanning tree");
}

#[test]
fn classifies_mpls_payload_by_its_first_bytes() {
    let (label, bottom) = ([0, 1, 0, 64], [0, 1, 1, 64]);
    let zero_mac = [&[0, 0x1b, 0x21, 1, 2, 3, 0, 0x1b, 0x21, 4, 5, 6][..], &[8, 0]].concat();
    for kind in [MPLS, MPLS_UPSTREAM] {
        assert_eq!(find(kind, &[&label, &bottom, QUERY]).as_deref(), Some(QUERY));
        let found = find(kind, &[&bottom, IPV6_PACKET]);
        assert_eq!(found.as_deref(), Some(IPV6_PACKET));
    }
    for (what, before) in [
        ("control word", &[0, 0, 0, 0][..]),
        ("control word with a number", &[0, 0, 0x12, 0x34]),
        ("none", &[]),
    ] {
        for frame in [&ethernet(), &zero_mac] {
            let found = find(MPLS, &[&bottom, before, frame, QUERY]);
            assert_eq!(found.as_deref(), Some(QUERY), "{what}");
        }
    }
    assert_eq!(find(MPLS, &[&bottom, &[0x10, 0, 0, 0x21], QUERY]), None, "a control channel");
    assert_eq!(find(MPLS, &[&bottom, &MAC, &[8, 6], QUERY]), None, "ARP");
    assert_eq!(find(MPLS, &[&bottom]), None);
}

#[test]
fn parses_ppp_with_and_without_compression() {
    for header in [&[0xff, 3, 0, 0x21][..], &[0, 0x21], &[0x21], &[0xff, 3, 0x21], &[0, 0x57]] {
        assert_eq!(find(PPP, &[header, QUERY]).as_deref(), Some(QUERY), "{header:x?}");
    }
    assert_eq!(find(PPP, &[&[2, 0x81, 0, 1, 1, 64], QUERY]).as_deref(), Some(QUERY), "MPLS");
    assert_eq!(find(PPP, &[&[0xc0, 0x21], QUERY]), None, "link control");
    let session = [0x11, 0, 0, 1, 0, 40];
    assert_eq!(find(PPPOE, &[&session, &[0, 0x21], QUERY]).as_deref(), Some(QUERY));
    assert_eq!(find(PPPOE, &[&[0x11, 9, 0, 1, 0, 40], &[0, 0x21], QUERY]), None, "discovery");
}

#[test]
fn parses_gre_with_every_option() {
    for flags in 0..8u8 {
        let flags = (flags & 4) << 5 | (flags & 2) << 4 | (flags & 1) << 4;
        let words = flags.count_ones() as usize;
        let options = [7; 12];
        let header = [flags, 0, 8, 0];
        let found = in_ip(47, &[&header, &options[..words * 4], QUERY]);
        assert_eq!(found.as_deref(), Some(QUERY), "{flags:x}");
    }
    assert_eq!(in_ip(47, &[&[0x40, 0, 8, 0], &[0; 4], QUERY]), None, "source routes");
    assert_eq!(in_ip(47, &[&[0, 2, 8, 0], QUERY]), None, "unknown version");
    let bridged = in_ip(47, &[&[0, 0, 0x65, 0x58], &ethernet(), QUERY]);
    assert_eq!(bridged.as_deref(), Some(QUERY));
    assert_eq!(in_ip(47, &[&[0, 0, 0x88, 0x47, 0, 1, 1, 9], QUERY]).as_deref(), Some(QUERY));
    assert_eq!(in_ip(47, &[&[0, 0, 0x88, 0x3e], QUERY]).as_deref(), Some(QUERY));
    let redirected = in_ip(47, &[&[0, 0, 0x88, 0x3e, 0, 1, 0, 0], QUERY]);
    assert_eq!(redirected.as_deref(), Some(QUERY));
}

#[test]
fn parses_ppp_in_enhanced_gre() {
    let (key, seq, ack) = ([0, 40, 0, 1], [0, 0, 0, 9], [0, 0, 0, 8]);
    let both =
        in_ip(47, &[&[0x30, 0x81, 0x88, 0x0b], &key, &seq, &ack, &[0xff, 3, 0, 0x21], QUERY]);
    assert_eq!(both.as_deref(), Some(QUERY));
    let one = in_ip(47, &[&[0x30, 1, 0x88, 0x0b], &key, &seq, &[0x21], QUERY]);
    assert_eq!(one.as_deref(), Some(QUERY));
    assert_eq!(in_ip(47, &[&[0x20, 0x81, 0x88, 0x0b], &key, &ack]), None, "only acknowledges");
}

#[test]
fn parses_erspan() {
    let frame = bytes(&[&ethernet(), QUERY]);
    assert_eq!(in_ip(47, &[&[0, 0, 0x88, 0xbe], &frame]).as_deref(), Some(QUERY), "type I");
    let number = [0x10, 0, 0x88, 0xbe, 0, 0, 0, 1];
    assert_eq!(in_ip(47, &[&number, &[0x10; 8], &frame]).as_deref(), Some(QUERY), "type II");
    let number = [0x10, 0, 0x22, 0xeb, 0, 0, 0, 1];
    for (last, more) in [([0, 0], 0), ([0, 1], 8)] {
        let found = in_ip(47, &[&number, &[0x20; 10], &last, &[9; 8][..more], &frame]);
        assert_eq!(found.as_deref(), Some(QUERY), "type III");
    }
    let packet = in_ip(47, &[&number, &[0x20; 10], &[8, 0], QUERY]);
    assert_eq!(packet.as_deref(), Some(QUERY), "type III without Ethernet");
}

#[test]
fn parses_other_protocols_over_ip() {
    assert_eq!(in_ip(4, &[QUERY]).as_deref(), Some(QUERY));
    assert_eq!(in_ip(41, &[IPV6_PACKET]).as_deref(), Some(IPV6_PACKET));
    assert_eq!(in_ip(97, &[&[0x30, 0], &ethernet(), QUERY]).as_deref(), Some(QUERY));
    assert_eq!(in_ip(97, &[&[0x40, 0], &ethernet(), QUERY]), None);
    assert_eq!(in_ip(137, &[&[0, 1, 1, 9], QUERY]).as_deref(), Some(QUERY));
    assert_eq!(in_ip(50, &[QUERY]), None);
}

#[test]
fn parses_networks_over_udp() {
    let vxlan = [8, 0, 0, 0, 0, 0, 7, 0];
    for port in [4789, 8472] {
        assert_eq!(in_udp(port, &[&vxlan, &ethernet(), QUERY]).as_deref(), Some(QUERY));
        assert_eq!(in_udp(port, &[&[0; 8], &ethernet(), QUERY]), None, "no network id");
    }
    for (next, before) in [(1, &[][..]), (2, &[]), (3, &ethernet()), (5, &[0, 1, 1, 9])] {
        let found = in_udp(4790, &[&[0x0c, 0, 0, next, 0, 0, 7, 0], before, QUERY]);
        assert_eq!(found.as_deref(), Some(QUERY), "{next}");
    }
    assert_eq!(in_udp(4790, &[&[0x0c, 0, 0, 4, 0, 0, 7, 0], QUERY]), None, "service chains");
    for words in [0, 1, 63] {
        let options = [9; 252];
        let geneve = [words, 0, 0x65, 0x58, 0, 0, 7, 0];
        let options = &options[..usize::from(words) * 4];
        let found = in_udp(6081, &[&geneve, options, &ethernet(), QUERY]);
        assert_eq!(found.as_deref(), Some(QUERY));
        let geneve = [words, 0, 8, 0, 0, 0, 7, 0];
        assert_eq!(in_udp(6081, &[&geneve, options, QUERY]).as_deref(), Some(QUERY));
    }
    assert_eq!(in_udp(6081, &[&[0x40, 0, 8, 0, 0, 0, 7, 0], QUERY]), None);
    assert_eq!(in_udp(4754, &[&[0, 0, 8, 0], QUERY]).as_deref(), Some(QUERY));
    assert_eq!(in_udp(6635, &[&[0, 1, 1, 9], QUERY]).as_deref(), Some(QUERY));
    assert_eq!(in_udp(4788, &[&vxlan, &ethernet(), QUERY]), None);
}

#[test]
fn parses_user_packets_of_gtp() {
    let head = [0, 40, 0, 0, 0, 1];
    assert_eq!(in_udp(2152, &[&[0x30, 255], &head, QUERY]).as_deref(), Some(QUERY));
    for flags in [0x32, 0x31, 0x33] {
        let optional = [0, 9, 0, 0x85];
        let found = in_udp(2152, &[&[flags, 255], &head, &optional, QUERY]);
        assert_eq!(found.as_deref(), Some(QUERY), "ignored extension type");
    }
    let extended = [0, 9, 0, 0x85, 1, 0, 9, 0xc0, 2, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(in_udp(2152, &[&[0x34, 255], &head, &extended, QUERY]).as_deref(), Some(QUERY));
    let empty = [0, 9, 0, 0x85, 0, 0, 9, 0];
    assert_eq!(in_udp(2152, &[&[0x34, 255], &head, &empty, QUERY]), None);
    let endless =
        [0, 9, 0, 0x85, 1, 0, 9, 0x85, 1, 0, 9, 0x85, 1, 0, 9, 0x85, 1, 0, 9, 0x85, 1, 0, 9];
    assert_eq!(in_udp(2152, &[&[0x34, 255], &head, &endless, &[0x85], QUERY]), None);
    assert_eq!(in_udp(2152, &[&[0x30, 1], &head, QUERY]), None, "an echo");
    assert_eq!(in_udp(2152, &[&[0x10, 255], &head, QUERY]), None, "version 0");
}

#[test]
fn parses_teredo_and_l2tp() {
    let origin = [0, 0, 1, 2, 3, 4, 5, 6];
    let authentication = [&[0, 1, 2, 3][..], &[9; 5], &[7; 9]].concat();
    for before in [&[][..], &origin, &authentication, &[&authentication[..], &origin].concat()] {
        let found = in_udp(3544, &[before, IPV6_PACKET]);
        assert_eq!(found.as_deref(), Some(IPV6_PACKET), "{before:?}");
    }
    assert_eq!(in_udp(3544, &[QUERY]), None);
    for (flags, more) in [(0, 0), (0x40, 2), (0x08, 4), (0x48, 6)] {
        let data = [flags, 2, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9];
        let found = in_udp(1701, &[&data[..6 + more], &[0xff, 3, 0, 0x21], QUERY]);
        assert_eq!(found.as_deref(), Some(QUERY), "{flags:x}");
    }
    let padded = [2, 2, 9, 9, 9, 9, 0, 3, 1, 1, 1];
    assert_eq!(in_udp(1701, &[&padded, &[0, 0x21], QUERY]).as_deref(), Some(QUERY));
    assert_eq!(in_udp(1701, &[&[0xc8, 2, 0, 12, 0, 0, 0, 0], QUERY]), None, "control");
}

#[test]
fn refuses_too_many_headers() {
    let labels = |count: usize| bytes(&[&[0, 1, 0, 9].repeat(count), &[0, 1, 1, 9], QUERY]);
    let bytes = labels(HEADERS - 1);
    assert_eq!(find_ip(bytes.as_slice(), Layer::new(MPLS, 0)), IpSearch::Ip(64));
    let bytes = labels(HEADERS);
    assert_eq!(find_ip(bytes.as_slice(), Layer::new(MPLS, 0)), IpSearch::TooDeep);
}

#[test]
fn finds_nothing_in_truncated_frames() {
    let frame = bytes(&[
        &[0, 7, 0x88, 0x47, 0, 1, 0, 9, 0, 1, 1, 9, 0, 0, 0, 0],
        &MAC,
        &[0x88, 0x64, 0x11, 0, 0, 1, 0, 40, 0xff, 3, 0, 0x21],
        QUERY,
    ]);
    for length in 0..frame.len() {
        match find_ip(&frame[..length], Layer::new(0x8100, 0)) {
            IpSearch::Ip(at) => assert!(at as usize <= length),
            found => assert_eq!(found, IpSearch::Nothing),
        }
    }
}
