use super::*;
use proptest::prelude::*;

const MAC: [u8; 12] = [2; 12];
const IP: &[u8] = b"\x45 the packet";

fn found(link: u32, parts: &[&[u8]]) -> Option<Vec<u8>> {
    let frame = parts.concat();
    match inside(link, &frame).unwrap() {
        Inside::Ip(range) => Some(frame[range].to_vec()),
        _ => None,
    }
}

fn finds(link: u32, parts: &[&[u8]]) {
    let with_ip = [parts, &[IP]].concat();
    assert_eq!(found(link, &with_ip).as_deref(), Some(IP), "{link}: {parts:02x?}");
}

#[test]
fn parses_ethernet_and_tags() {
    finds(1, &[&MAC, &[8, 0]]);
    finds(1, &[&MAC, &[0x86, 0xdd]]);
    finds(1, &[&MAC, &[0x81, 0, 0, 9, 8, 0]]);
    finds(1, &[&MAC, &[0x88, 0xa8, 0, 9, 0x81, 0, 0, 1, 8, 0]]);
    finds(1, &[&MAC, &[0x91, 0, 0, 9, 0x81, 0, 0, 1, 8, 0]]);
    finds(1, &[&MAC, &[0x81, 0, 0, 9, 0x88, 0x64, 0x11, 0, 0, 1, 0, 40, 0, 0x21]]);
    finds(1, &[&MAC, &[0, 40, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0]]);
    assert_eq!(found(1, &[&MAC, &[8, 6], IP]), None, "ARP");
    assert_eq!(found(1, &[&MAC, &[0x88, 0x64, 0x11, 9, 0, 1, 0, 40, 0, 0x21], IP]), None);
}

#[test]
fn parses_fddi() {
    const SNAP: [u8; 8] = [0xaa, 0xaa, 3, 0, 0, 0, 8, 0];
    // Two stations, with the bits of each byte in either order.
    let plain = [0x00, 0x60, 0xb0, 0x12, 0x34, 0x56, 0x08, 0x00, 0x2b, 0xaa, 0xbb, 0xcc];
    let swapped = plain.map(u8::reverse_bits);
    for addresses in [plain, swapped] {
        // Asynchronous frames of any priority, and synchronous ones.
        for control in [0x50, 0x54, 0x57, 0xd0] {
            finds(10, &[&[control], &addresses, &SNAP]);
        }
        finds(10, &[&[0x50], &addresses, &[0xaa, 0xaa, 3, 0, 0, 0, 0x86, 0xdd]]);
        finds(10, &[&[0x50], &addresses, &[0x06, 0x06, 3]]);
        finds(10, &[&[0x50], &addresses, &[0xaa, 0xaa, 3, 0, 0, 0, 0x81, 0, 0, 9, 8, 0]]);
        // Station management, MAC frames, short addresses, ARP, and a truncated frame.
        for control in [0x41, 0x4f, 0xc0, 0xc2, 0x10, 0x80] {
            assert_eq!(found(10, &[&[control], &addresses, &SNAP, IP]), None, "{control:#x}");
        }
        assert_eq!(found(10, &[&[0x50], &addresses, &SNAP[..6], &[8, 6], IP]), None);
        assert_eq!(found(10, &[&[0x50], &addresses, &SNAP]), None);
    }
    assert_eq!(found(10, &[&[0x50]]), None);
}

#[test]
fn parses_loopback_in_both_byte_orders() {
    for family in [2, 10, 23, 24, 28, 30] {
        finds(0, &[&[family, 0, 0, 0]]);
        finds(0, &[&[0, 0, 0, family]]);
        finds(108, &[&[0, 0, 0, family]]);
    }
    assert_eq!(found(0, &[&[7, 0, 0, 0], IP]), None);
}

#[test]
fn parses_other_link_types() {
    for raw in [12, 14, 101, 228, 229] {
        finds(raw, &[]);
    }
    finds(113, &[&[0; 14], &[8, 0]]);
    finds(113, &[&[0; 14], &[0x81, 0, 0, 9, 8, 0]]);
    finds(276, &[&[8, 0], &[0; 18]]);
    finds(9, &[&[0xff, 3, 0, 0x21]]);
    finds(9, &[&[0x21]]);
    finds(50, &[&[0xff, 3, 0, 0x57]]);
    finds(51, &[&[0x11, 0, 0, 1, 0, 40, 0, 0x21]]);
    finds(104, &[&[0x0f, 0, 8, 0]]);
    for unknown in [2, 147, 65_535] {
        assert_eq!(inside(unknown, &[]), Err(unknown));
    }
}

#[test]
fn parses_netfilter_logs() {
    let length = u8::try_from(IP.len() + 4).unwrap();
    finds(239, &[&[2, 0, 0, 1, 6, 0, 10, 0, 1, 1, 0, 0, length, 0, 9, 0]]);
    finds(239, &[&[2, 0, 0, 1, 0, 6, 0, 10, 1, 1, 0, 0, 0, length, 0, 9]]);
    assert_eq!(found(239, &[&[2, 0, 0, 1, 0, 0, 0, 0], IP]), None);
}

#[test]
fn parses_wireless_frames() {
    let llc = [0xaa, 0xaa, 3, 0, 0, 0, 8, 0];
    finds(105, &[&[0x08, 1], &[0; 22], &llc]);
    finds(105, &[&[0x88, 1], &[0; 24], &llc]);
    finds(105, &[&[0x88, 0x83], &[0; 34], &llc]);
    assert_eq!(found(105, &[&[0x08, 0x41], &[0; 22], &llc, IP]), None, "encrypted");
    assert_eq!(found(105, &[&[0x48, 1], &[0; 22], &llc, IP]), None, "no data");
    finds(127, &[&[0, 0, 8, 0, 0, 0, 0, 0], &[0x08, 1], &[0; 22], &llc]);
    let with_checksum = [0, 0, 9, 0, 2, 0, 0, 0, 0x10];
    let frame = [with_checksum.as_slice(), &[0x08, 1], &[0; 22], &llc, IP, &[1, 2, 3, 4]];
    assert_eq!(found(127, &frame).as_deref(), Some(IP));
}

/// Supported link types.
const LINKS: [u32; 28] = [
    0, 1, 9, 10, 12, 50, 51, 100, 101, 104, 105, 107, 109, 113, 117, 119, 127, 138, 163, 166, 192,
    205, 206, 219, 226, 239, 258, 276,
];

#[test]
fn parses_rare_link_types() {
    let wireless = [&[0x08, 1][..], &[0; 22], &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0]].concat();
    finds(100, &[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0]]);
    finds(107, &[&[0x18, 0x41, 0x03, 0xcc]]);
    finds(107, &[&[0x18, 0x41, 0x03, 0x00, 0x80, 0, 0, 0, 8, 0]]);
    finds(206, &[&[1, 0x18, 0x41, 8, 0]]);
    finds(109, &[&[0; 12]]);
    finds(117, &[&[61, 2, 0, 0], &[0; 60]]);
    finds(119, &[&[0; 144], &wireless]);
    finds(138, &[&[0; 16], &[8, 0]]);
    finds(163, &[&[0x80, 0x21, 0x10, 1, 0, 0, 0, 64], &[0; 56], &wireless]);
    finds(166, &[&[1, 0xff, 3, 0, 0x21]]);
    finds(204, &[&[0, 0x21]]);
    finds(205, &[&[0, 0x0f, 0, 8, 0]]);
    finds(192, &[&[0, 0, 8, 0, 105, 0, 0, 0], &wireless]);
    finds(192, &[&[0, 0, 12, 0, 1, 0, 0, 0, 9, 9, 9, 9], &MAC, &[8, 0]]);
    assert_eq!(found(192, &[&[0, 0, 8, 0, 192, 0, 0, 0], &[0, 0, 8, 0, 101, 0, 0, 0], IP]), None);
    finds(219, &[&[0, 0, 0x11, 64]]);
    finds(226, &[&[0; 24]]);
    finds(242, &[&[0; 40], &[8, 0, 0, 0]]);
    finds(258, &[&[16, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], &MAC, &[8, 0]]);
}

#[test]
fn reports_too_many_headers() {
    let tags = |count: usize| {
        [&MAC[..], &[0x81, 0][..], &[0, 9, 0x81, 0].repeat(count), &[0, 9, 8, 0], IP].concat()
    };
    let inside = |frame: &[u8]| inside(1, frame).unwrap();
    assert!(matches!(inside(&tags(14)), Inside::Ip(_)));
    assert_eq!(inside(&tags(15)), Inside::TooDeep);
    assert_eq!(inside(&tags(15)[..40]), Inside::Nothing);
}

proptest! {
    #[test]
    fn no_frame_panics(
        link in prop::sample::select(LINKS.to_vec()),
        frame in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        if let Inside::Ip(range) = inside(link, &frame).unwrap() {
            prop_assert!(range.start < range.end && range.end <= frame.len());
        }
    }
}
