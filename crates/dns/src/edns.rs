//! EDNS: the OPT pseudo-record (RFC 6891).

mod option;

use super::name::Name;
use super::rdata::push_prefix;
use super::reader::Reader;
use super::record::Record;
use super::text::Hex;
pub use option::{OptionText, Tlv, Tlvs, option_name};

/// The contents of an OPT record.
#[derive(Clone, Copy, Debug)]
pub struct Edns<'a> {
    /// The sender's UDP payload size in bytes.
    pub udp_size: u16,
    /// The upper eight bits of the extended rcode.
    pub rcode_high: u8,
    /// EDNS version.
    pub version: u8,
    /// The flags. DO is 0x8000 (RFC 3225), CO 0x4000 (RFC 9824).
    pub flags: u16,
    /// The owner name if it is not the root, as it must be.
    pub owner: Option<Name<'a>>,
    /// Number of OPT records in the message. One is allowed; the first counts.
    pub records: u16,
    /// The options.
    data: &'a [u8],
}

/// An extended DNS error (RFC 8914).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtendedError {
    /// INFO-CODE.
    pub code: u16,
    /// EXTRA-TEXT; invalid UTF-8 is replaced.
    pub text: String,
}

const NSID: u16 = 3;
const CLIENT_SUBNET: u16 = 8;
const COOKIE: u16 = 10;
const EXTENDED_ERROR: u16 = 15;
/// PowerDNS's option for a trace context, of the range for experiments.
const TRACEPARENT: u16 = 65500;

impl<'a> Edns<'a> {
    pub(super) fn from_record(record: &Record<'a>, records: u16) -> Self {
        let [rcode_high, version, f0, f1] = record.ttl_seconds.to_be_bytes();
        Self {
            udp_size: record.class,
            rcode_high,
            version,
            flags: u16::from_be_bytes([f0, f1]),
            owner: (!record.name.is_root()).then_some(record.name),
            records,
            data: record.data,
        }
    }

    /// Returns every option in message order, invalid ones included.
    #[must_use]
    pub const fn options(&self) -> Tlvs<'a> {
        Tlvs::new(self.data)
    }

    /// Keeps the first options that take at most `bytes` as JSON, in the list and in a field of their
    /// own, and returns the number of the others.
    pub fn limit_options(&mut self, bytes: usize) -> u16 {
        /// Most bytes of an option as JSON without its data.
        const OPTION_BYTES: usize = 64;
        /// Most bytes of each byte of data, as JSON: six in a text, six in the list.
        const DATA_FACTOR: usize = 12;
        let (mut options, mut left) = (self.options(), bytes);
        loop {
            let others = options.clone();
            let Some(option) = options.next() else { return 0 };
            let needed = OPTION_BYTES + DATA_FACTOR * option.bytes.len();
            let Some(rest) = left.checked_sub(needed) else {
                let kept = self.data.len() - others.remaining_bytes();
                self.data = self.data.get(..kept).unwrap_or_default();
                // Options have at least four bytes each.
                return u16::try_from(others.count()).unwrap_or(u16::MAX);
            };
            left = rest;
        }
    }

    /// Returns DO: whether the sender accepts DNSSEC records (RFC 3225).
    #[must_use]
    pub const fn dnssec_ok(&self) -> bool {
        self.flags & 0x8000 != 0
    }

    /// Returns the client subnet as `address/prefix` with the source prefix length (RFC 7871).
    #[must_use]
    pub fn ecs(&self) -> Option<String> {
        self.complete_options(CLIENT_SUBNET).find_map(subnet)
    }

    /// Returns whether there is a client subnet (RFC 7871).
    #[must_use]
    pub fn has_client_subnet(&self) -> bool {
        self.complete_options(CLIENT_SUBNET).next().is_some()
    }

    /// Returns the first extended DNS error (RFC 8914).
    #[must_use]
    pub fn ede(&self) -> Option<ExtendedError> {
        self.extended_errors().next()
    }

    /// Returns all extended DNS errors (RFC 8914, section 2: a response may have several).
    pub fn extended_errors(&self) -> impl Iterator<Item = ExtendedError> + use<'a> {
        self.complete_options(EXTENDED_ERROR).filter_map(extended_error)
    }

    /// Returns the code of the first extended DNS error (RFC 8914).
    #[must_use]
    pub fn ede_code(&self) -> Option<u16> {
        let code = |data: &[u8]| data.first_chunk().copied().map(u16::from_be_bytes);
        self.complete_options(EXTENDED_ERROR).find_map(code)
    }

    /// Returns the name server identifier (RFC 5001); empty in a query that asks for it.
    #[must_use]
    pub fn nsid(&self) -> Option<Hex<'a>> {
        self.complete_options(NSID).next().map(Hex)
    }

    /// Returns the cookie, client and server part together (RFC 7873).
    #[must_use]
    pub fn cookie(&self) -> Option<Hex<'a>> {
        self.complete_options(COOKIE).next().map(Hex)
    }

    /// Returns the trace context that PowerDNS's option TRACEPARENT carries (version 0, a reserved byte, the ids of trace and
    /// span, flags), as W3C's `traceparent` has it. `None` without one, or if an id is all zeros.
    #[must_use]
    pub fn traceparent(&self) -> Option<String> {
        let data = self.complete_options(TRACEPARENT).next()?;
        let [0, _, rest @ ..] = data else { return None };
        let (trace, rest) = rest.split_first_chunk::<16>()?;
        let (span, flags) = rest.split_first_chunk::<8>()?;
        let is_set = trace.iter().any(|byte| *byte != 0) && span.iter().any(|byte| *byte != 0);
        // Older versions send no flags.
        let flags = flags.first().copied().unwrap_or_default();
        is_set.then(|| format!("00-{}-{}-{flags:02x}", Hex(trace), Hex(span)))
    }

    /// Returns the data of the complete options with this code.
    fn complete_options(&self, code: u16) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let options = self.options();
        options.filter(move |option| option.code == code && option.is_complete()).map(|o| o.bytes)
    }
}

/// Reads a client subnet (RFC 7871, 6): family, source and scope prefix, covered bytes. Not all senders write as many of these as the
/// prefix covers; missing ones are zeros.
fn subnet(data: &[u8]) -> Option<String> {
    let mut reader = Reader::new(data, 0);
    let family = reader.u16()?;
    let [prefix, _scope] = reader.array()?;
    let address = reader.take_rest();
    let mut text = String::new();
    push_prefix(&mut text, family, address, prefix)?;
    Some(text)
}

/// Returns the meaning of an INFO-CODE (RFC 8914, 5.2); `None` for an unassigned code.
#[must_use]
pub fn ede_name(code: u16) -> Option<&'static str> {
    EDE_NAMES.get(usize::from(code)).copied()
}

/// Indexed by INFO-CODE, from the IANA registry.
const EDE_NAMES: [&str; 36] = [
    "Other Error",
    "Unsupported DNSKEY Algorithm",
    "Unsupported DS Digest Type",
    "Stale Answer",
    "Forged Answer",
    "DNSSEC Indeterminate",
    "DNSSEC Bogus",
    "Signature Expired",
    "Signature Not Yet Valid",
    "DNSKEY Missing",
    "RRSIGs Missing",
    "No Zone Key Bit Set",
    "NSEC Missing",
    "Cached Error",
    "Not Ready",
    "Blocked",
    "Censored",
    "Filtered",
    "Prohibited",
    "Stale NXDOMAIN Answer",
    "Not Authoritative",
    "Not Supported",
    "No Reachable Authority",
    "Network Error",
    "Invalid Data",
    "Signature Expired before Valid",
    "Too Early",
    "Unsupported NSEC3 Iterations Value",
    "Unable to conform to policy",
    "Synthesized",
    "Invalid Query Type",
    "Rate Limited",
    "Over Quota",
    "Negative Trust Anchor",
    "New Delegation Only",
    "Blocked by Upstream DNS Server",
];

fn extended_error(data: &[u8]) -> Option<ExtendedError> {
    let (&code, text) = data.split_first_chunk()?;
    // A NUL at the end is common and has no meaning.
    let text = String::from_utf8_lossy(text).trim_end_matches('\0').to_owned();
    Some(ExtendedError { code: u16::from_be_bytes(code), text })
}
