//! EDNS: what the OPT pseudo-record says (RFC 6891).

use super::RawRecord;
use super::rdata::push_hex;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

/// What an OPT record says. Options that are not well formed are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edns {
    /// The sender's UDP payload size in octets.
    pub udp_size: u16,
    /// The upper eight bits of the extended rcode.
    pub rcode_high: u8,
    /// EDNS version.
    pub version: u8,
    /// DO: DNSSEC records are welcome (RFC 3225).
    pub dnssec_ok: bool,
    /// Client subnet as `address/prefix` with the source prefix length (RFC 7871).
    pub ecs: Option<Box<str>>,
    /// The first extended DNS error (RFC 8914).
    pub ede: Option<ExtendedError>,
    /// Name server identifier, hexadecimal (RFC 5001); empty in a query that asks for it.
    pub nsid: Option<Box<str>>,
    /// Cookie, client's and server's part together, hexadecimal (RFC 7873).
    pub cookie: Option<Box<str>>,
}

/// An extended DNS error (RFC 8914).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtendedError {
    /// INFO-CODE.
    pub code: u16,
    /// EXTRA-TEXT; octets that are not UTF-8 are replaced.
    pub text: Box<str>,
}

const NSID: u16 = 3;
const CLIENT_SUBNET: u16 = 8;
const COOKIE: u16 = 10;
const EXTENDED_ERROR: u16 = 15;

impl Edns {
    pub(super) fn read(record: &RawRecord<'_>) -> Self {
        let [rcode_high, version, flags, _] = record.ttl_seconds.to_be_bytes();
        let mut edns = Self {
            udp_size: record.class,
            rcode_high,
            version,
            dnssec_ok: flags & 0x80 != 0,
            ..Self::default()
        };
        for (code, data) in Options(record.data) {
            edns.option(code, data);
        }
        edns
    }

    fn option(&mut self, code: u16, data: &[u8]) {
        match code {
            NSID if self.nsid.is_none() => self.nsid = Some(hex(data)),
            COOKIE if self.cookie.is_none() => self.cookie = Some(hex(data)),
            CLIENT_SUBNET if self.ecs.is_none() => self.ecs = subnet(data),
            EXTENDED_ERROR if self.ede.is_none() => self.ede = extended_error(data),
            _ => {}
        }
    }
}

/// The options of an OPT record's data: code and data, up to the first that is cut off.
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[c0, c1, l0, l1], rest) = self.0.split_first_chunk()?;
        let (data, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([l0, l1])))?;
        self.0 = rest;
        Some((u16::from_be_bytes([c0, c1]), data))
    }
}

fn hex(data: &[u8]) -> Box<str> {
    let mut text = String::new();
    push_hex(&mut text, data);
    text.into()
}

/// RFC 7871, 6: family, source prefix, scope prefix, as much of the address as the source prefix
/// covers.
fn subnet(data: &[u8]) -> Option<Box<str>> {
    let (&[f0, f1, prefix, _scope], address) = data.split_first_chunk()?;
    let mut text = String::new();
    match u16::from_be_bytes([f0, f1]) {
        1 => write!(text, "{}/{prefix}", Ipv4Addr::from(padded::<4>(address, prefix)?)),
        2 => write!(text, "{}/{prefix}", Ipv6Addr::from(padded::<16>(address, prefix)?)),
        _ => return None,
    }
    .ok()?;
    Some(text.into())
}

fn padded<const N: usize>(address: &[u8], prefix: u8) -> Option<[u8; N]> {
    if usize::from(prefix) > 8 * N {
        return None;
    }
    let mut whole = [0; N];
    whole.get_mut(..address.len())?.copy_from_slice(address);
    Some(whole)
}

fn extended_error(data: &[u8]) -> Option<ExtendedError> {
    let (&code, text) = data.split_first_chunk()?;
    // A NUL at the end is common and says nothing.
    let text = String::from_utf8_lossy(text).trim_end_matches('\0').into();
    Some(ExtendedError { code: u16::from_be_bytes(code), text })
}
