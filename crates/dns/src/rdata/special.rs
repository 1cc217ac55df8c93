//! Record data that a list of fields cannot describe: LOC, APL, IPSECKEY, AMTRELAY, HIP.

use super::super::reader::Reader;
use super::super::text::push_hex;
use super::{NameCase, is_short_list};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// LOC (RFC 1876, 2 and 3): `52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000.00m 10.00m`.
pub(super) fn location(text: &mut String, reader: &mut Reader<'_>) -> Option<()> {
    let [version, size, horizontal, vertical] = reader.array()?;
    if version != 0 {
        return None;
    }
    push_angle(text, reader.u32()?, 90, ['N', 'S'])?;
    push_angle(text, reader.u32()?, 180, ['E', 'W'])?;
    // The altitude is in centimetres from 100,000 m below the reference.
    let altitude = i64::from(reader.u32()?) - 10_000_000;
    let sign = if altitude < 0 { "-" } else { "" };
    let _ = write!(text, "{sign}{}.{:02}m", altitude.abs() / 100, altitude.abs() % 100);
    for precision in [size, horizontal, vertical] {
        let (digit, power) = (precision >> 4, precision & 15);
        if digit > 9 || power > 9 {
            return None;
        }
        let centimetres = u64::from(digit) * 10_u64.pow(power.into());
        let _ = write!(text, " {}.{:02}m", centimetres / 100, centimetres % 100);
    }
    Some(())
}

/// Appends an angle in thousandths of an arc second; 2^31 is zero.
fn push_angle(text: &mut String, value: u32, limit: i64, sides: [char; 2]) -> Option<()> {
    let offset = i64::from(value) - (1 << 31);
    let side = sides[usize::from(offset < 0)];
    let all = offset.abs();
    let (degrees, minutes, thousandths) = (all / 3_600_000, all / 60_000 % 60, all % 60_000);
    let (seconds, fraction) = (thousandths / 1000, thousandths % 1000);
    let _ = write!(text, "{degrees} {minutes} {seconds}.{fraction:03} {side} ");
    (all <= limit * 3_600_000).then_some(())
}

/// APL (RFC 3123, 4 and 5): `1:192.0.2.0/24 !2:2001:db8::/32`.
pub(super) fn prefixes(text: &mut String, reader: &mut Reader<'_>) -> Option<()> {
    let before = text.len();
    while !reader.is_done() {
        let family = reader.u16()?;
        let [prefix, length] = reader.array()?;
        let bytes = reader.take((length & 0x7F).into())?;
        if text.len() > before {
            text.push(' ');
        }
        if length & 0x80 != 0 {
            text.push('!');
        }
        let _ = write!(text, "{family}:");
        push_prefix(text, family, bytes, prefix)?;
    }
    Some(())
}

/// Appends an address of an address family, whose last bytes may be omitted, and a prefix length.
pub(in super::super) fn push_prefix(
    text: &mut String,
    family: u16,
    bytes: &[u8],
    prefix: u8,
) -> Option<()> {
    let address: IpAddr = match family {
        1 => padded::<4>(bytes, prefix)?.into(),
        2 => padded::<16>(bytes, prefix)?.into(),
        _ => return None,
    };
    write!(text, "{address}/{prefix}").ok()
}

/// Extends an address whose last bytes were omitted; `None` if bytes or prefix are too long.
fn padded<const N: usize>(bytes: &[u8], prefix: u8) -> Option<[u8; N]> {
    if usize::from(prefix) > 8 * N {
        return None;
    }
    let mut whole = [0; N];
    whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(whole)
}

/// IPSECKEY (RFC 4025, 2 and 3): `10 1 2 192.0.2.38 AQNR…`.
pub(super) fn ipsec_gateway(
    text: &mut String,
    reader: &mut Reader<'_>,
    case: NameCase,
) -> Option<()> {
    let [precedence, kind, algorithm] = reader.array()?;
    let _ = write!(text, "{precedence} {kind} {algorithm} ");
    push_gateway(text, kind, reader, case)?;
    if !reader.is_done() {
        text.push(' ');
        BASE64.encode_string(reader.take_rest(), text);
    }
    Some(())
}

/// AMTRELAY (RFC 8777, 4.2 and 4.3): `10 0 1 203.0.113.15`.
pub(super) fn relay(text: &mut String, reader: &mut Reader<'_>, case: NameCase) -> Option<()> {
    let [precedence, kind] = reader.array()?;
    let _ = write!(text, "{precedence} {} {} ", kind >> 7, kind & 0x7F);
    push_gateway(text, kind & 0x7F, reader, case)
}

fn push_gateway(
    text: &mut String,
    kind: u8,
    reader: &mut Reader<'_>,
    case: NameCase,
) -> Option<()> {
    match kind {
        0 => text.push('.'),
        1 => write!(text, "{}", Ipv4Addr::from(reader.array::<4>()?)).ok()?,
        2 => write!(text, "{}", Ipv6Addr::from(reader.array::<16>()?)).ok()?,
        3 => case.push(text, &reader.name()?),
        _ => return None,
    }
    Some(())
}

/// HIP (RFC 8005, 5 and 6): algorithm, host identity tag in hexadecimal, key, rendezvous servers.
pub(super) fn host_identity(
    text: &mut String,
    reader: &mut Reader<'_>,
    case: NameCase,
) -> Option<()> {
    let [tag_length, algorithm] = reader.array()?;
    let key_length = reader.u16()?;
    let _ = write!(text, "{algorithm} ");
    push_hex(text, reader.take(tag_length.into())?);
    text.push(' ');
    BASE64.encode_string(reader.take(key_length.into())?, text);
    let before = text.len();
    while !reader.is_done() {
        text.push(' ');
        case.push(text, &reader.name()?);
        is_short_list(text, before)?;
    }
    Some(())
}
