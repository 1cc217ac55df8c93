//! Record data of DNSSEC (RFC 4034, 5155, 7344), which hickory-proto leaves as unknown data unless
//! it is built with cryptography.

use super::super::{name, type_name};
use super::push_hex;
use crate::time::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hickory_proto::rr::Name;
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use std::fmt::Write;

/// The data as text; `None` where the type is another or the data is not well formed. `upto` is
/// the message up to the end of the data, which begins at `data_at`.
pub(super) fn presentation(upto: &[u8], data_at: usize, rtype: u16) -> Option<String> {
    let data = upto.get(data_at..)?;
    match rtype {
        // DS and CDS; DNSKEY and CDNSKEY.
        43 | 59 => delegation(data),
        48 | 60 => key(data),
        46 => signature(upto, data_at, data),
        47 => denial(upto, data_at),
        50 => hashed_denial(data),
        51 => Some(hashing(data)?.0),
        _ => None,
    }
}

/// RFC 4034, 5.3.
fn delegation(data: &[u8]) -> Option<String> {
    let ([tag @ .., algorithm, digest_type], digest) = data.split_first_chunk::<4>()?;
    let mut text = format!("{} {algorithm} {digest_type} ", be16(tag)?);
    push_hex(&mut text, digest);
    Some(text)
}

/// RFC 4034, 2.2.
fn key(data: &[u8]) -> Option<String> {
    let ([flags @ .., protocol, algorithm], key) = data.split_first_chunk::<4>()?;
    Some(format!("{} {protocol} {algorithm} {}", be16(flags)?, BASE64.encode(key)))
}

/// RFC 4034, 3.2.
fn signature(upto: &[u8], data_at: usize, data: &[u8]) -> Option<String> {
    let fixed = data.first_chunk::<18>()?;
    let (signer, signature) = name_at(upto, data_at + 18)?;
    Some(format!(
        "{} {} {} {} {} {} {} {signer} {}",
        type_name(be16(&fixed[0..2])?),
        fixed[2],
        fixed[3],
        be32(&fixed[4..8])?,
        moment(be32(&fixed[8..12])?),
        moment(be32(&fixed[12..16])?),
        be16(&fixed[16..18])?,
        BASE64.encode(signature),
    ))
}

/// RFC 4034, 4.2.
fn denial(upto: &[u8], data_at: usize) -> Option<String> {
    let (mut text, bitmap) = name_at(upto, data_at)?;
    push_types(&mut text, bitmap)?;
    Some(text)
}

/// RFC 5155, 3.3.
fn hashed_denial(data: &[u8]) -> Option<String> {
    let (mut text, rest) = hashing(data)?;
    let (length, rest) = rest.split_first()?;
    let (next, bitmap) = rest.split_at_checked(usize::from(*length))?;
    text.push(' ');
    push_base32hex(&mut text, next);
    push_types(&mut text, bitmap)?;
    Some(text)
}

/// Algorithm, flags, iterations and salt (RFC 5155, 3.3 and 4.3), and what comes behind.
fn hashing(data: &[u8]) -> Option<(String, &[u8])> {
    let ([algorithm, flags, iterations @ .., length], rest) = data.split_first_chunk::<5>()?;
    let (salt, rest) = rest.split_at_checked(usize::from(*length))?;
    let mut text = format!("{algorithm} {flags} {} ", be16(iterations)?);
    if salt.is_empty() {
        text.push('-');
    }
    push_hex(&mut text, salt);
    Some((text, rest))
}

/// The name there, and the octets behind it.
fn name_at(upto: &[u8], at: usize) -> Option<(String, &[u8])> {
    let mut decoder = BinDecoder::new(upto);
    decoder.read_slice(at).ok()?;
    let name = Name::read(&mut decoder).ok()?;
    Some((name::presentation(&name), upto.get(decoder.index()..)?))
}

/// Adds the types of a bitmap (RFC 4034, 4.1.2).
fn push_types(text: &mut String, mut bitmap: &[u8]) -> Option<()> {
    while let Some(([window, length], rest)) = bitmap.split_first_chunk::<2>() {
        let (block, rest) = rest.split_at_checked(usize::from(*length))?;
        for (octet, place) in block.iter().zip(0_u16..) {
            for bit in (0..8_u16).filter(|bit| octet & (0x80 >> bit) != 0) {
                let number = u16::from(*window) << 8 | (place * 8 + bit);
                // Writing to a String cannot fail.
                let _ = write!(text, " {}", type_name(number));
            }
        }
        bitmap = rest;
    }
    bitmap.is_empty().then_some(())
}

/// RFC 4648, 7, without padding.
fn push_base32hex(text: &mut String, octets: &[u8]) {
    for chunk in octets.chunks(5) {
        let word = (0..5).fold(0_u64, |word, at| {
            word << 8 | u64::from(chunk.get(at).copied().unwrap_or_default())
        });
        for place in 0..(chunk.len() * 8).div_ceil(5) {
            let digit = (word >> (35 - 5 * place) & 31) as usize;
            text.push(char::from(b"0123456789abcdefghijklmnopqrstuv"[digit]));
        }
    }
}

/// `YYYYMMDDHHmmSS` (RFC 4034, 3.2).
fn moment(seconds: u32) -> String {
    let text = Timestamp::from_nanos(u64::from(seconds) * 1_000_000_000).to_string();
    text.chars().filter(char::is_ascii_digit).take(14).collect()
}

fn be16(octets: &[u8]) -> Option<u16> {
    octets.try_into().ok().map(u16::from_be_bytes)
}

fn be32(octets: &[u8]) -> Option<u32> {
    octets.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(rtype: u16, data: &[u8]) -> Option<String> {
        presentation(data, 0, rtype)
    }

    #[test]
    fn writes_what_master_files_write() {
        let ds = [&[0xea, 0x5a, 8, 2][..], &[0xab; 3]].concat();
        assert_eq!(shown(43, &ds).unwrap(), "59994 8 2 ababab");
        assert_eq!(shown(48, &[1, 1, 3, 13, b'k', b'k']).unwrap(), "257 3 13 a2s=");
        let rrsig = [
            &[0, 1, 13, 2, 0, 0, 0, 60, 0x65, 0x53, 0xf1, 0, 0x64, 0xbb, 0x5a, 0x80, 0, 7][..],
            b"\x07example\0xx",
        ]
        .concat();
        let text = "A 13 2 60 20231114221320 20230722042640 7 example eHg=";
        assert_eq!(shown(46, &rrsig).unwrap(), text);
        assert_eq!(
            shown(47, b"\x01b\x07example\0\0\x01\x40\x01\x01\x40").unwrap(),
            "b.example A CAA"
        );
        let nsec3 = [&[1, 0, 0, 10, 1, 0xaa, 5][..], &[0, 0x44, 0x32, 0x14, 0xc7], &[0, 1, 0x20]];
        assert_eq!(shown(50, &nsec3.concat()).unwrap(), "1 0 10 aa 01234567 NS");
        assert_eq!(shown(51, &[1, 0, 0, 0, 0]).unwrap(), "1 0 0 -");
    }

    #[test]
    fn refuses_what_is_cut_short() {
        for (rtype, data) in [
            (43, &[0, 1, 8][..]),
            (46, &[0; 18]),
            (47, b"\x01b\0\0\x02\x40"),
            (50, &[1, 0, 0, 0, 0, 20, 1]),
            (51, &[1, 0, 0, 0, 3, 1]),
            (1, &[1, 2, 3, 4]),
        ] {
            assert_eq!(shown(rtype, data), None, "{rtype}");
        }
    }
}
