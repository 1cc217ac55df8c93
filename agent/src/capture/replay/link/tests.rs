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
const LINKS: [u32; 19] =
    [0, 1, 9, 12, 50, 51, 101, 105, 109, 113, 117, 127, 166, 192, 204, 219, 239, 258, 276];

#[test]
fn parses_rare_link_types() {
    let wireless = [&[0x08, 1][..], &[0; 22], &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0]].concat();
    finds(109, &[&[0; 12]]);
    finds(117, &[&[61, 2, 0, 0], &[0; 60]]);
    finds(166, &[&[1, 0xff, 3, 0, 0x21]]);
    finds(204, &[&[0, 0x21]]);
    finds(192, &[&[0, 0, 8, 0, 105, 0, 0, 0], &wireless]);
    finds(192, &[&[0, 0, 12, 0, 1, 0, 0, 0, 9, 9, 9, 9], &MAC, &[8, 0]]);
    assert_eq!(found(192, &[&[0, 0, 8, 0, 192, 0, 0, 0], &[0, 0, 8, 0, 101, 0, 0, 0], IP]), None);
    finds(219, &[&[0, 0, 0x11, 64]]);
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
