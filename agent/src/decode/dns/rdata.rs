//! Record data as text, as master files write it (RFC 1035, 5; RFC 3597 for what is unknown).

mod dnssec;
mod service;

use super::name;
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, Restrict};
use std::fmt::Write;

/// DNAME (RFC 6672) and SPF (RFC 7208), which hickory-proto leaves as unknown data.
const DNAME: u16 = 39;
const SPF: u16 = 99;

/// The data of one record, of which `data` are the octets and `data_at` their place in `message`.
pub(super) fn presentation(message: &[u8], data_at: usize, data: &[u8], rtype: u16) -> String {
    if data.is_empty() {
        return String::new();
    }
    known(message, data_at, data, rtype).unwrap_or_else(|| unknown(data))
}

fn known(message: &[u8], data_at: usize, data: &[u8], rtype: u16) -> Option<String> {
    // The decoder sees the message up to the end of this record's data: names may point back,
    // and nothing can run on into the next record.
    let upto = message.get(..data_at + data.len())?;
    let mut decoder = BinDecoder::new(upto);
    decoder.read_slice(data_at).ok()?;
    if rtype == DNAME {
        return Name::read(&mut decoder).ok().map(|target| name::presentation(&target));
    }
    if let Some(text) = dnssec::presentation(upto, data_at, rtype) {
        return Some(text);
    }
    let length = Restrict::new(u16::try_from(data.len()).ok()?);
    // SPF (RFC 7208) has TXT's format.
    let read_as = RecordType::from(if rtype == SPF { u16::from(RecordType::TXT) } else { rtype });
    let rdata = RData::read(&mut decoder, read_as, length).ok()?;
    match rdata {
        RData::CNAME(target) => Some(name::presentation(&target)),
        RData::NS(target) => Some(name::presentation(&target)),
        RData::PTR(target) => Some(name::presentation(&target)),
        RData::MX(mx) => Some(format!("{} {}", mx.preference, name::presentation(&mx.exchange))),
        RData::SRV(srv) => Some(format!(
            "{} {} {} {}",
            srv.priority,
            srv.weight,
            srv.port,
            name::presentation(&srv.target)
        )),
        RData::SOA(soa) => Some(format!(
            "{} {} {} {} {} {} {}",
            name::presentation(&soa.mname),
            name::presentation(&soa.rname),
            soa.serial,
            soa.refresh.cast_unsigned(),
            soa.retry.cast_unsigned(),
            soa.expire.cast_unsigned(),
            soa.minimum
        )),
        RData::NAPTR(naptr) => Some(service::naptr(&naptr)),
        RData::SVCB(svcb) => Some(service::svcb(&svcb)),
        RData::HTTPS(https) => Some(service::svcb(&https)),
        RData::TXT(txt) => Some(strings(&txt)),
        RData::NULL(_) | RData::Unknown { .. } | RData::Update0(_) | RData::OPT(_) => None,
        other => Some(other.to_string()),
    }
}

/// Character strings, each in quotes, octets outside 0x20 to 0x7E as `\DDD`.
fn strings(data: &TXT) -> String {
    let mut text = String::new();
    for string in &data.txt_data {
        if !text.is_empty() {
            text.push(' ');
        }
        push_string(&mut text, string);
    }
    text
}

/// One character string.
fn push_string(text: &mut String, octets: &[u8]) {
    text.push('"');
    for &octet in octets {
        match octet {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(char::from(octet));
            }
            0x20..=0x7E => text.push(char::from(octet)),
            _ => name::push_decimal(text, octet),
        }
    }
    text.push('"');
}

/// `\# LENGTH HEX` (RFC 3597, 5).
fn unknown(data: &[u8]) -> String {
    let mut text = format!("\\# {} ", data.len());
    push_hex(&mut text, data);
    text
}

pub(super) fn push_hex(text: &mut String, octets: &[u8]) {
    text.reserve(2 * octets.len());
    for octet in octets {
        // Writing to a String cannot fail.
        let _ = write!(text, "{octet:02x}");
    }
}
