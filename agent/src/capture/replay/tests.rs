use super::*;
use dnscribe_transaction::decode::{Decoder, DecoderOptions};
use dnscribe_transaction::packet::net::test_packets::{self, query};
use std::io::{Cursor, Write};

const ETHERNET: [u8; 14] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];

fn frame(id: u16) -> Vec<u8> {
    [ETHERNET.as_slice(), &test_packets::udp("192.0.2.1:1024", "192.0.2.53:53", &query(id, "www"))]
        .concat()
}

#[derive(Clone, Copy)]
struct Order(bool);

impl Order {
    fn u16(self, number: u16) -> [u8; 2] {
        if self.0 { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn u32(self, number: u32) -> [u8; 4] {
        if self.0 { number.to_be_bytes() } else { number.to_le_bytes() }
    }
}

fn pcap_header(order: Order, magic: u32, link: u32) -> Vec<u8> {
    let mut file = order.u32(magic).to_vec();
    file.extend([order.u16(2), order.u16(4)].concat());
    file.extend([0, 0, 262_144, link].map(|word| order.u32(word)).concat());
    file
}

fn pcap(order: Order, magic: u32, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = pcap_header(order, magic, 1);
    for frame in frames {
        let length = u32::try_from(frame.len()).unwrap();
        file.extend([1000, 7, length, length].map(|word| order.u32(word)).concat());
        if magic == 0xa1b2_cd34 {
            file.extend([0; 8]);
        }
        file.extend(frame);
    }
    file
}

fn block(order: Order, kind: u32, body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body.resize(body.len().next_multiple_of(4), 0);
    let length = order.u32(u32::try_from(body.len() + 12).unwrap());
    [order.u32(kind).as_slice(), &length, &body, &length].concat()
}

fn section(order: Order) -> Vec<u8> {
    let mut body = order.u32(0x1a2b_3c4d).to_vec();
    body.extend([order.u16(1), order.u16(0)].concat());
    body.extend([0xff; 8]);
    block(order, 0x0a0d_0d0a, &body)
}

fn interface(order: Order, link: u16, resolution: u8) -> Vec<u8> {
    let mut body = [order.u16(link), [0, 0]].concat();
    body.extend(order.u32(0));
    body.extend([order.u16(9), order.u16(1)].concat());
    body.extend([resolution, 0, 0, 0, 0, 0, 0, 0]);
    block(order, 1, &body)
}

fn enhanced(order: Order, interface: u32, ticks: u64, frame: &[u8]) -> Vec<u8> {
    let (high, low) = (ticks >> 32, ticks & 0xffff_ffff);
    let length = u32::try_from(frame.len()).unwrap();
    let (high, low) = (u32::try_from(high).unwrap(), u32::try_from(low).unwrap());
    let mut body = [interface, high, low, length, length].map(|word| order.u32(word)).concat();
    body.extend(frame);
    block(order, 6, &body)
}

/// Times in nanoseconds and frame numbers of replayed packets.
type Replayed = Vec<(u64, u64)>;

fn replay(file: Vec<u8>) -> (Result<FileSummary, InputError>, Replayed) {
    let mut replay = Replay::new(PortSet::default());
    let mut seen = Replayed::new();
    let summary = replay.stream("test", Box::new(Cursor::new(file)), &mut |packet, _| {
        seen.push((packet.ts.as_nanos(), packet.id.seq));
        ControlFlow::Continue(())
    });
    (summary, seen)
}

const BOTH: [Order; 2] = [Order(false), Order(true)];

#[test]
fn reads_all_pcap_variants() {
    for order in BOTH {
        for (magic, nanos) in [(0xa1b2_c3d4, 7000), (0xa1b2_3c4d, 7), (0xa1b2_cd34, 7000)] {
            let (summary, seen) = replay(pcap(order, magic, &[frame(1), frame(2)]));
            assert_eq!(summary.unwrap(), FileSummary { packets: 2, warning: None });
            let ts = 1_000_000_000_000 + nanos;
            assert_eq!(seen, [(ts, 1), (ts, 2)], "{magic:x}");
        }
    }
}

#[test]
fn reads_pcapng_with_clocks_per_interface() {
    let mut file = Vec::new();
    for order in BOTH {
        file.extend(section(order));
        file.extend(interface(order, 1, 6));
        file.extend(interface(order, 101, 9));
        file.extend(block(order, 0x0bad, b"of no known kind"));
        file.extend(enhanced(order, 0, 5_000_000, &frame(1)));
        file.extend(enhanced(order, 1, 6_000_000_000, &frame(2)[14..]));
        let length = u32::try_from(frame(3).len()).unwrap();
        file.extend(block(order, 3, &[order.u32(length).as_slice(), &frame(3)].concat()));
    }
    let (summary, seen) = replay(file);
    let FileSummary { packets, warning } = summary.unwrap();
    assert_eq!(packets, 6);
    let warning = warning.unwrap();
    assert!(warning.starts_with("packets without a time (simple packet blocks): 2; "), "{warning}");
    let second = 1_000_000_000;
    let times = [5, 6, 6, 5, 6, 6];
    assert_eq!(seen, (1..).zip(times).map(|(seq, ts)| (ts * second, seq)).collect::<Replayed>());
}

/// A pcapng file of packets at these seconds: UDP to this port.
fn at_seconds(frames: &[(u64, u16)]) -> Vec<u8> {
    let order = Order(false);
    let mut file = [section(order), interface(order, 101, 0)].concat();
    for (second, port) in frames {
        let server = format!("192.0.2.53:{port}");
        let packet = test_packets::udp("192.0.2.1:1024", &server, &query(1, "www"));
        file.extend(enhanced(order, 0, *second, &packet));
    }
    file
}

/// Returns the second at which a capture of these files ends.
fn end_of(files: &[&[(u64, u16)]]) -> u64 {
    let mut replay = Replay::new(PortSet::default());
    for file in files {
        let each: &mut PacketHandler<'_> = &mut |_, _| ControlFlow::Continue(());
        replay.stream("test", Box::new(Cursor::new(at_seconds(file))), each).unwrap();
    }
    replay.end.as_nanos() / 1_000_000_000
}

#[test]
fn capture_ends_with_its_last_frame_of_any_kind() {
    const YEARS: u64 = 10_u64.pow(9);
    assert_eq!(end_of(&[&[(100, 53), (700, 80)]]), 700);
    assert_eq!(end_of(&[&[(100, 53), (700, 53)]]), 700);
    assert_eq!(end_of(&[&[(100, 53)], &[(800, 80)]]), 800);
    // Files in another order, and a clock that was set back.
    assert_eq!(end_of(&[&[(800, 80)], &[(100, 53), (300, 80)]]), 300);
    // A frame with a wrong clock, at the end and elsewhere.
    assert_eq!(end_of(&[&[(100, 53), (110, 80), (YEARS, 80)]]), 110);
    assert_eq!(end_of(&[&[(YEARS, 80), (100, 53), (110, 80)]]), 110);
    assert_eq!(end_of(&[&[(100, 53), (YEARS, 80), (110, 80)]]), 110);
    // A clock that was set ahead, or a pause.
    assert_eq!(end_of(&[&[(100, 53), (YEARS, 80), (YEARS + 1, 80)]]), YEARS + 1);
}

#[test]
fn reads_compressed_files() {
    let file = pcap(Order(false), 0xa1b2_c3d4, &[frame(1), frame(2)]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&file).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(file.as_slice(), 1).unwrap();
    for packed in [&gzip, &zstd] {
        let (summary, seen) = replay(packed.clone());
        assert_eq!((summary.unwrap().warning, seen.len()), (None, 2));
    }
    let (summary, seen) = replay(gzip[..gzip.len() - 1].to_vec());
    assert!(summary.unwrap().warning.unwrap().contains("truncated") && seen.len() == 2);
    // zstd decompresses by blocks, and this file has a single one.
    let (summary, _) = replay(zstd[..zstd.len() - 1].to_vec());
    assert!(summary.unwrap_err().to_string().contains("compressed data end early"));
}

#[test]
fn replays_complete_packets_of_a_truncated_file() {
    let frames = [frame(1), frame(2)];
    let whole = pcap(Order(false), 0xa1b2_c3d4, &frames);
    for cut in 1..frame(2).len() + 16 {
        let (summary, seen) = replay(whole[..whole.len() - cut].to_vec());
        let warning = summary.unwrap().warning.unwrap();
        assert!(warning.contains("middle of a packet"), "{warning}");
        assert_eq!(seen.len(), 1);
    }
    let mut file = section(Order(false));
    file.extend(interface(Order(false), 1, 6));
    file.extend(enhanced(Order(false), 0, 1, &frame(1)));
    let (summary, seen) = replay(file[..file.len() - 1].to_vec());
    assert!(summary.unwrap().warning.is_some() && seen.is_empty());
}

#[test]
fn reports_invalid_files() {
    let text = |file: Vec<u8>| replay(file).0.unwrap_err().to_string();
    assert!(text(Vec::new()).contains("is empty"));
    assert!(text(b"GET / HTTP/1.1".to_vec()).contains("not a capture file (it begins with 47 45"));
    let unknown = text(pcap_header(Order(true), 0xa1b2_c3d4, 147));
    assert!(unknown.contains("link type 147") && unknown.contains("Ethernet (1)"), "{unknown}");
    let mut huge = pcap_header(Order(false), 0xa1b2_c3d4, 1);
    huge.extend([0xff; 16]);
    assert!(text(huge).contains("damaged at byte 24"));
    assert!(text(pcap_header(Order(false), 0xa1b2_c3d4, 1)[..20].to_vec()).contains("damaged"));
    let mut orphan = section(Order(false));
    orphan.extend(enhanced(Order(false), 3, 1, &frame(1)));
    assert!(text(orphan).contains("an interface not described"));
    for (path, start) in
        [("/nonexistent.pcap", "/nonexistent.pcap: cannot be opened"), ("/", "/: is a directory")]
    {
        let error = Replay::new(PortSet::default())
            .file(Path::new(path), &mut |_, _| ControlFlow::Continue(()))
            .unwrap_err();
        assert!(error.to_string().starts_with(start), "{error}");
    }
}

#[test]
fn stops_on_break_and_numbers_files() {
    let file = pcap(Order(false), 0xa1b2_c3d4, &[frame(1), frame(2)]);
    let mut replay = Replay::new(PortSet::default());
    let mut seen = Vec::new();
    for _ in 0..2 {
        let input = Box::new(Cursor::new(file.clone()));
        replay
            .stream("test", input, &mut |packet, _| {
                seen.push((packet.id.cpu, packet.id.seq));
                ControlFlow::Break(())
            })
            .unwrap();
    }
    assert_eq!(seen, [(0, 1), (1, 1)]);
    let (kernel, ring) = replay.counters();
    assert_eq!((kernel["replay"].seen, ring.received), (2, 2));
}

#[test]
fn takes_wire_length_from_the_record() {
    let mut file = pcap_header(Order(false), 0xa1b2_c3d4, 1);
    let frame = frame(1);
    let captured = u32::try_from(frame.len() - 10).unwrap();
    file.extend([0, 0, captured, captured + 30].map(u32::to_le_bytes).concat());
    file.extend(&frame[..frame.len() - 10]);
    let mut replay = Replay::new(PortSet::default());
    let mut lengths = Vec::new();
    replay
        .stream("test", Box::new(Cursor::new(file)), &mut |packet, _| {
            if let Body::Ip { bytes, wire_bytes } = packet.body {
                lengths.push((bytes.len(), wire_bytes));
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(lengths, [(frame.len() - 24, captured + 30 - 14)]);
    assert_eq!(replay.counters().0["replay"].clipped, 1);
}

proptest::proptest! {
    #[test]
    fn no_file_panics(
        start in 0usize..4,
        damage in proptest::collection::vec((0usize..400, proptest::num::u8::ANY), 0..8),
    ) {
        let mut ng = section(Order(false));
        ng.extend(interface(Order(false), 1, 6));
        ng.extend(enhanced(Order(false), 0, 1, &frame(1)));
        let mut file = match start {
            0 => pcap(Order(false), 0xa1b2_c3d4, &[frame(1), frame(2)]),
            1 => pcap(Order(true), 0xa1b2_3c4d, &[frame(1), frame(2)]),
            _ => ng,
        };
        for (at, byte) in damage {
            let length = file.len();
            file[at % length] = byte;
        }
        let _ = replay(file);
    }

    /// Identities 1 to 3 hold after every frame, for arbitrary bytes and link types.
    #[test]
    fn ledger_identities_hold_for_any_frame(
        link in proptest::sample::select(vec![0u32, 1, 9, 51, 101, 117, 113, 192, 219, 239, 276]),
        frames in proptest::collection::vec(
            (
                proptest::collection::vec(proptest::num::u8::ANY, 0..60),
                proptest::sample::select((0..16usize).collect::<Vec<_>>()),
                0usize..260,
            ),
            0..20,
        ),
    ) {
        let mut file = pcap_header(Order(false), 0xa1b2_c3d4, link);
        for (bytes, tunnel, snap) in frames {
            let query = test_packets::udp("192.0.2.1:1024", "192.0.2.53:53", &query(1, "www"));
            let mut packets = test_packets::tunnels(&query);
            let frame = match packets.get_mut(tunnel) {
                // A tunnel packet with damaged bytes.
                Some((_, packet)) => {
                    let mut frame = ETHERNET.to_vec();
                    frame.append(packet);
                    for pair in bytes.chunks_exact(2).take(3) {
                        let length = frame.len();
                        frame[usize::from(pair[0]) % length] = pair[1];
                    }
                    frame
                }
                None => bytes,
            };
            let captured = &frame[..snap.min(frame.len())];
            let lengths = [captured.len(), frame.len()].map(|length| u32::try_from(length).unwrap());
            file.extend([1, 0, lengths[0], lengths[1]].map(u32::to_le_bytes).concat());
            file.extend(captured);
        }
        let mut replay = Replay::new(PortSet::default());
        let mut decoder = Decoder::new(DecoderOptions::default());
        let each = &mut |packet: &Packet<'_>, passed: &ReplayProgress<'_>| {
            decoder.observe(packet, &mut |_| ());
            let (kernel, ring) = passed.counters();
            let kernel = &kernel["replay"];
            assert_eq!(kernel.seen, kernel.submitted + kernel.skipped.values().sum::<u64>());
            let decode = decoder.counters();
            assert_eq!(ring.received, decode.received);
            let ended = decode.decoded_packets + decode.malformed.values().sum::<u64>();
            assert_eq!(decode.received, ended + decode.held);
            ControlFlow::Continue(())
        };
        replay.stream("test", Box::new(Cursor::new(file)), each).unwrap();
    }
}

fn data(frame: &[u8]) -> Vec<u8> {
    [&u32::try_from(frame.len()).unwrap().to_be_bytes()[..], frame].concat()
}

#[test]
fn replays_dnstap_and_counts_what_is_none() {
    use super::format::frame_streams::control;
    use crate::capture::dnstap::{CONTENT_TYPE, tests::query_frame};
    let start = control(2, Some(CONTENT_TYPE));
    let query = data(&query_frame());
    let (junk, stop) = (data(b"junk"), control(3, None));
    let whole = [&start[..], &junk, &query, &junk, &query, &stop].concat();
    let at = 1_700_000_000_000_000_005;
    let (summary, packets) = replay(whole.clone());
    assert_eq!(summary.unwrap(), FileSummary { packets: 4, warning: None });
    assert_eq!(packets, [(at, 1), (at, 2), (at, 3), (at, 4)]);
    let (summary, packets) = replay(whole[..whole.len() - stop.len() - 3].to_vec());
    assert!(summary.unwrap().warning.unwrap().contains("truncated"));
    assert_eq!(packets.len(), 3);
    let damaged = [&whole[..whole.len() - stop.len()], &[0xff; 4]].concat();
    let (summary, packets) = replay(damaged);
    assert!(summary.unwrap_err().to_string().contains("packets before that were replayed"));
    assert_eq!(packets.len(), 4);
    // Files that were put together are one; what else follows is not passed over in silence.
    let finish = control(5, None);
    for between in [&b""[..], &finish, &control(4, Some(CONTENT_TYPE))] {
        let (summary, packets) = replay([&whole, between, &whole, &finish].concat());
        assert_eq!(summary.unwrap(), FileSummary { packets: 8, warning: None });
        assert_eq!(packets.len(), 8);
    }
    let (summary, packets) = replay([&whole[..], &query].concat());
    let warning = summary.unwrap().warning.unwrap();
    let left = format!("{} bytes after byte {} are not", query.len(), whole.len());
    assert!(warning.contains(&left), "{warning}");
    assert_eq!(packets.len(), 4);
    for (file, error) in [
        ([&start[..], &junk, &stop].concat(), "no message of dnstap"),
        (control(2, Some(b"protobuf:other")), "not dnstap's"),
        ([&start[..], &[0xff; 4]].concat(), "a frame's length is impossible"),
        ([&start[..], &[0, 0, 0, 0, 0, 0, 9, 9]].concat(), "a control frame's length"),
    ] {
        let message = replay(file).0.unwrap_err().to_string();
        assert!(message.contains(error), "{message}");
    }
}
