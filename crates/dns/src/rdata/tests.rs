use super::{NameCase, push};
use proptest::prelude::*;

fn presentation(message: &[u8], data_at: usize, data: &[u8], rtype: u16) -> String {
    let mut text = String::from("before");
    push(&mut text, message, data_at, data, rtype, NameCase::AsWritten);
    text.split_off("before".len())
}

fn shown(rtype: u16, data: &[u8]) -> String {
    presentation(data, 0, data, rtype)
}

fn octets(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// Data of each type and its text, as dnspython 2.8 writes it, except: names without their last
/// dot, base64 in one piece, algorithms and schemes as numbers, GPOS in quotes.
const WRITTEN: &[(u16, &str, &str)] = &[
    (1, "c0000201", "192.0.2.1"),
    (2, "026e73076578616d706c6500", "ns.example"),
    (
        6,
        "026e73076578616d706c65000b686f73742e6d6173746572076578616d706c650078a3cb3100001c2000000e10001275000000012c",
        r"ns.example host\.master.example 2024000305 7200 3600 1209600 300",
    ),
    (11, "c0000201060000004000000000000080", "192.0.2.1 6 25 80"),
    (12, "0170076578616d706c6500", "p.example"),
    (13, "06504320227822054c696e7578", r#""PC \"x\"" "Linux""#),
    (15, "000a026d78076578616d706c6500", "10 mx.example"),
    (16, "036120620371225c02ff0900", r#""a b" "q\"\\" "\255\009" """#),
    (17, "046d626f78076578616d706c650003747874076578616d706c6500", "mbox.example txt.example"),
    (18, "000103616673076578616d706c6500", "1 afs.example"),
    (19, "0c333131303631373030393536", r#""311061700956""#),
    (20, "0f31353038363230323830303332313703303034", r#""150862028003217" "004""#),
    (21, "000a0572656c6179076578616d706c6500", "10 relay.example"),
    (22, "47000580005a0000000001e133ffffff00016100", "0x47000580005a0000000001e133ffffff00016100"),
    (
        26,
        "000a066d6170383232076578616d706c6500076d617078343030076578616d706c6500",
        "10 map822.example mapx400.example",
    ),
    (27, "082d32322e36383832083131362e38363532053235302e30", r#""-22.6882" "116.8652" "250.0""#),
    (28, "20010db8000000000000000000000001", "2001:db8::1"),
    (
        29,
        "000016138b3cf018810cbce0009895b8",
        "52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000.00m 10.00m",
    ),
    (
        29,
        "0033131276e8d03c70be15f000989fe5",
        "42 21 54.500 S 71 6 18.000 W 24.05m 30.00m 10.00m 1.00m",
    ),
    (31, "ab01", "ab01"),
    (33, "0000000513c403736970076578616d706c6500", "0 5 5060 sip.example"),
    (
        35,
        "0064000a0175077369702b45325510215e2e2a24217369703a6140625c216900",
        r#"100 10 "u" "sip+E2U" "!^.*$!sip:a@b\\!i" ."#,
    ),
    (36, "000a026b78076578616d706c6500", "10 kx.example"),
    (37, "000130390868656c6c6f", "1 12345 8 aGVsbG8="),
    (39, "0164076578616d706c6500", "d.example"),
    (
        42,
        "00011803c0000200011c84c00002400002200420010db8",
        "1:192.0.2.0/24 !1:192.0.2.64/28 2:2001:db8::/32",
    ),
    (
        43,
        "ea5a0802e2d3c916f6deeac73294e8268fb5885044a833fc5459588f4a9184cfc41a5766",
        "59994 8 2 e2d3c916f6deeac73294e8268fb5885044a833fc5459588f4a9184cfc41a5766",
    ),
    (
        44,
        "0402e2d3c916f6deeac73294e8268fb5885044a833fc5459588f4a9184cfc41a5766",
        "4 2 e2d3c916f6deeac73294e8268fb5885044a833fc5459588f4a9184cfc41a5766",
    ),
    (
        45,
        "0a0002010351537986ed35533b6064478eeeb27b5bd74dae149b6e81ba3a0521af82ab7801",
        "10 0 2 . AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ==",
    ),
    (
        45,
        "0a0102c0000226010351537986ed35533b6064478eeeb27b5bd74dae149b6e81ba3a0521af82ab7801",
        "10 1 2 192.0.2.38 AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ==",
    ),
    (45, "0a020220010db8000000000000000000000008010351", "10 2 2 2001:db8::8 AQNR"),
    (
        45,
        "0a0302026777076578616d706c6500010351537986ed35533b6064478eeeb27b5bd74dae149b6e81ba3a0521af82ab7801",
        "10 3 2 gw.example AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ==",
    ),
    (
        46,
        "ff00080200000e1065e11a8065badf00085f076578616d706c650068656c6c6f",
        "TYPE65280 8 2 3600 20240301000000 20240201000000 2143 example aGVsbG8=",
    ),
    (
        47,
        "0162076578616d706c65000006400100000003041b000000000000000000000000000000000000000000000000000020",
        "b.example A MX RRSIG NSEC TYPE1234",
    ),
    (48, "0101030d6b6b6b6b6b", "257 3 13 a2tra2s="),
    (
        49,
        "000201636fc0b8271c82825bb1ac5c41cf5351aa69b4febd94e8f17cdb95000da48c40",
        "AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA=",
    ),
    (
        50,
        "0101000c04aabbccdd14174eb2409fe28bcb4887a1836f957f0a8425e27b000722010000000290",
        "1 1 12 aabbccdd 2t7b4g4vsa5smi47k61mv5bv1a22bojr NS SOA MX RRSIG DNSKEY NSEC3PARAM",
    ),
    (51, "0100000000", "1 0 0 -"),
    (
        52,
        "0301010b9fa5a59eed715c26c1020c711b4f6ec42d58b0015e14337a39dad301c5afc3",
        "3 1 1 0b9fa5a59eed715c26c1020c711b4f6ec42d58b0015e14337a39dad301c5afc3",
    ),
    (53, "030101ab", "3 1 1 ab"),
    (
        55,
        "10020012200100107b1a74df365639cc39f1d57803010001b771ca136e4aeb5ce44333c53b3d0472767331076578616d706c65000472767332076578616d706c6500",
        "2 200100107b1a74df365639cc39f1d578 AwEAAbdxyhNuSutc5EMzxTs9 rvs1.example rvs2.example",
    ),
    (56, "0178", r#""x""#),
    (59, "0000000000", "0 0 0 00"),
    (60, "0000030000", "0 3 0 AA=="),
    (61, "6b6b6b6b6b", "a2tra2s="),
    (62, "000000420003000460000008", "66 3 A NS AAAA"),
    (
        63,
        "7848b91c0101c68090d90a7aed716bc459f9340e3d7c1370d4d24b7e2fc3a1ddc0b9a87153b9a9713b3c9ae5cc27777f98b8e730044c",
        "2018031900 1 1 c68090d90a7aed716bc459f9340e3d7c1370d4d24b7e2fc3a1ddc0b9a87153b9a9713b3c9ae5cc27777f98b8e730044c",
    ),
    (64, "000003737663076578616d706c6500", "0 svc.example"),
    (64, "00010166000001000c08665c6f6f2c626172026832", r#"1 f alpn="f\\\\oo\\,bar,h2""#),
    (
        65,
        "000100000000040001000300010006026832026833000200000003000220fb00040008c0000201c0000202000500040045fe0d0006001020010db8000000000000000000000001000700072f7b3f646e737d0008000000090004001d11ec000a0003026162ff0000036122ffff010000",
        r#"1 . mandatory=alpn,port alpn="h2,h3" no-default-alpn port=8443 ipv4hint=192.0.2.1,192.0.2.2 ech=AEX+DQ== ipv6hint=2001:db8::1 dohpath="/{?dns}" ohttp tls-supported-groups=29,4588 docpath="ab" key65280="a\"\255" key65281"#,
    ),
    (66, "003b0114ef016e076578616d706c6500", "CDS 1 5359 n.example"),
    (99, "0b763d73706631202d616c6c", r#""v=spf1 -all""#),
    (101, "000003e8", "1000"),
    (104, "000a00144fffff20ee64", "10 0014:4fff:ff20:ee64"),
    (105, "000ac0000201", "10 192.0.2.1"),
    (106, "000a20010db811401000", "10 2001:0db8:1140:1000"),
    (107, "000a036c3634076578616d706c6500", "10 l64.example"),
    (108, "00005e00532a", "00-00-5e-00-53-2a"),
    (109, "00005eef1000002a", "00-00-5e-ef-10-00-00-2a"),
    (
        249,
        "086773732d747369670063f40bac63f55d2c0003000000030102030000",
        "gss-tsig 1676938156 1677024556 3 NOERROR 3 AQID 0",
    ),
    (
        250,
        "0b686d61632d7368613235360000005f5e1000012c0003010203303900100000",
        "hmac-sha256 1600000000 300 3 AQID 12345 BADSIG 0",
    ),
    (256, "000a00016674703a2f2f6674702e6578616d706c652f612262", r#"10 1 "ftp://ftp.example/a\"b""#),
    (257, "8005697373756563612e6578616d706c653b20783d79", r#"128 issue "ca.example; x=y""#),
    (258, "116170702d6e616d653a574f4c4647414e470178", r#""app-name:WOLFGANG" "x""#),
    (259, "00000000000000020300ff", r#"0 2 3 "" /w=="#),
    (260, "0000", "0 0 0 ."),
    (260, "0a01cb00710f", "10 0 1 203.0.113.15"),
    (260, "0a8303616d74076578616d706c6500", "10 1 3 amt.example"),
    (261, "08716e616d656d696e0c6578746572723d31352d3137", r#""qnamemin" "exterr=15-17""#),
    (262, "034554480430783132", r#""ETH" "0x12""#),
    (264, "00000000000003e8", "1000"),
    (32769, "ea5a0802ab", "59994 8 2 ab"),
];

#[test]
fn writes_master_file_form() {
    for (rtype, data, text) in WRITTEN {
        assert_eq!(shown(*rtype, &octets(data)), *text, "type {rtype}");
    }
}

#[test]
fn writes_data_of_wrong_length_as_unknown() {
    for (rtype, data, text) in WRITTEN {
        let whole = octets(data);
        for cut in 1..whole.len() {
            let part = shown(*rtype, &whole[..cut]);
            // If the last field has any length, fewer bytes are valid too.
            assert!(part.starts_with("\\# ") || part != *text, "type {rtype} at {cut}: {part}");
        }
    }
    for (rtype, data) in [
        (1, &[192, 0, 2][..]),
        (1, &[192, 0, 2, 1, 0]),
        (16, b"\x05abc"),
        (29, &[1; 16]),
        (29, &[0, 0xFA, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (46, &[0; 18]),
        (47, b"\x01b\0\0\x02\x40"),
        (50, &[1, 0, 0, 0, 0, 20, 1]),
        (65, b"\0\x01\0\0\x03\0\x03\x01\xbb\0"),
        (65, b"\0\x01\0\0\x02\0\x01x"),
        (257, b"\0\x03a b\"x"),
    ] {
        assert!(shown(rtype, data).starts_with("\\# "), "type {rtype}: {}", shown(rtype, data));
    }
}

#[test]
fn writes_unknown_types_as_hex() {
    assert_eq!(shown(65280, &[0, 0xAB]), "\\# 2 00ab");
    assert_eq!(shown(10, b"null"), "\\# 4 6e756c6c");
    assert_eq!(shown(41, &[0, 3, 0, 0]), "\\# 4 00030000");
    assert_eq!(shown(1, &[]), "\\# 0");
    assert_eq!(shown(65280, &[]), "\\# 0");
    assert_eq!(shown(42, &[]), "", "a list may be empty");
}

#[test]
fn names_point_only_back() {
    let message = b"\x07example\0\x00\x0a\x02mx\xC0\x00\x01x\0";
    let mx = |length: usize| presentation(message, 9, &message[9..9 + length], 15);
    assert_eq!(mx(7), "10 mx.example");
    assert_eq!(mx(6), "\\# 6 000a026d78c0");
    let forward = b"\0\x0a\xC0\x04\x01x\0";
    assert_eq!(presentation(forward, 0, &forward[..4], 15), "\\# 4 000ac004");
}

#[test]
fn escapes_in_names_in_data() {
    assert_eq!(shown(5, b"\x04a.b\\\x01 \0"), "a\\.b\\\\.\\032");
}

proptest! {
    /// Any bytes give a text whose length is bounded.
    #[test]
    fn any_data_gives_bounded_text(
        data in proptest::collection::vec(any::<u8>(), 0..300),
        rtype in prop_oneof![0_u16..300, Just(32768), Just(32769)],
    ) {
        let text = shown(rtype, &data);
        prop_assert!(text.is_ascii());
        // A type bit is the worst case: up to nine characters.
        prop_assert!(text.len() <= 90 * data.len() + 20, "{}", text);
    }
}

proptest! {
    #[test]
    fn addresses_match_std_form(bytes: [u8; 4]) {
        prop_assert_eq!(shown(1, &bytes), std::net::Ipv4Addr::from(bytes).to_string());
    }
}
