//! One DNS message: the boundary behind which hickory-proto works (RFC 1035, RFC 6891).
//!
//! A message is read when its structure is sound: header, questions, and every record's owner
//! name, fixed part and length. What stands *inside* a record's data, or an EDNS option, may be
//! nonsense: it is then shown as unknown data (RFC 3597), for the message did its work all the same.

mod edns;
mod mnemonic;
mod name;
mod rdata;

pub use edns::{Edns, ExtendedError};
pub use mnemonic::{class_name, opcode_name, rcode_name, type_name};

use super::Malformed;
use hickory_proto::rr::Name;
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, DecodeError};

/// The record type of EDNS (RFC 6891).
const OPT: u16 = 41;

/// Octets of a DNS header (RFC 1035, 4.1.1).
const HEADER_BYTES: usize = 12;

/// What a DNS message says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// The header's id.
    pub id: u16,
    /// The header's second 16 bits.
    pub flags: Flags,
    /// The header's counts.
    pub counts: Counts,
    /// The first question; absent where there is none, or where clipping took it.
    pub question: Option<Question>,
    /// The records of the answer section.
    pub answers: Vec<Answer>,
    /// The smallest TTL of all records but OPT, in seconds.
    pub min_ttl_seconds: Option<u32>,
    /// What the OPT record says.
    pub edns: Option<Edns>,
}

/// The second 16 bits of a DNS header: QR, opcode, flags, rcode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u16);

impl Flags {
    /// The flags that have a name of their own, as bits, in the order in which records list them.
    const NAMED: [(u16, &'static str); 6] =
        [(0x400, "aa"), (0x200, "tc"), (0x100, "rd"), (0x80, "ra"), (0x20, "ad"), (0x10, "cd")];

    /// QR: whether this is a response.
    #[must_use]
    pub const fn response(self) -> bool {
        self.0 & 0x8000 != 0
    }

    /// TC: whether the message was cut to fit (RFC 2181, 9).
    #[must_use]
    pub const fn truncated(self) -> bool {
        self.0 & 0x200 != 0
    }

    /// The opcode, 0 to 15.
    #[must_use]
    pub const fn opcode(self) -> u8 {
        ((self.0 >> 11) & 0xF) as u8
    }

    /// The header's part of the rcode, 0 to 15.
    #[must_use]
    pub const fn rcode(self) -> u8 {
        (self.0 & 0xF) as u8
    }

    /// The names of the flags that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMED.into_iter().filter(move |(bit, _)| self.0 & bit != 0).map(|(_, name)| name)
    }
}

/// How many entries each section has, as the header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// QDCOUNT.
    pub question: u16,
    /// ANCOUNT.
    pub answer: u16,
    /// NSCOUNT.
    pub authority: u16,
    /// ARCOUNT.
    pub additional: u16,
}

/// What is asked (RFC 1035, 4.1.2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Question {
    /// The name in lower case, without its last dot, escaped; the root is `.`.
    pub qname: Box<str>,
    /// The name as it was written, where that is not all lower case (0x20).
    pub qname_case: Option<Box<str>>,
    /// QTYPE.
    pub qtype: u16,
    /// QCLASS.
    pub qclass: u16,
}

/// One record of the answer section (RFC 1035, 4.1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Owner name, its case kept.
    pub name: Box<str>,
    /// TYPE.
    pub rtype: u16,
    /// CLASS; of an OPT the sender's UDP payload size.
    pub class: u16,
    /// TTL in seconds.
    pub ttl_seconds: u32,
    /// The data in presentation form, names without their last dot; unknown data as `\# 2 ABCD`.
    pub data: Box<str>,
}

impl Dns {
    /// Reads a message. `clipped`: octets are missing at its end because the capture cut them
    /// off; what can be read then counts, and nothing is malformed but a cut header.
    ///
    /// # Errors
    /// [`Malformed::DnsHeader`], [`Malformed::DnsQuestion`] or [`Malformed::DnsRecord`]: the first
    /// part that cannot be read.
    pub fn decode(bytes: &[u8], clipped: bool) -> Result<Self, Malformed> {
        let mut dns = Self::header(bytes)?;
        let mut decoder = BinDecoder::new(bytes);
        let body = match decoder.read_slice(HEADER_BYTES) {
            Ok(_) => dns.questions(&mut decoder).and_then(|()| dns.records(&mut decoder, bytes)),
            Err(_) => Err(Malformed::DnsHeader),
        };
        match body {
            Err(reason) if !clipped => Err(reason),
            _ => Ok(dns),
        }
    }

    /// The rcode, with EDNS's upper eight bits where there are any (RFC 6891, 6.1.3).
    #[must_use]
    pub fn rcode(&self) -> u16 {
        let high = self.edns.as_ref().map_or(0, |edns| edns.rcode_high);
        u16::from(high) << 4 | u16::from(self.flags.rcode())
    }

    fn header(bytes: &[u8]) -> Result<Self, Malformed> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(Malformed::DnsHeader)?;
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        Ok(Self {
            id: word(0),
            flags: Flags(word(2)),
            counts: Counts {
                question: word(4),
                answer: word(6),
                authority: word(8),
                additional: word(10),
            },
            ..Self::default()
        })
    }

    fn questions(&mut self, decoder: &mut BinDecoder<'_>) -> Result<(), Malformed> {
        for _ in 0..self.counts.question {
            let question = read_question(decoder).map_err(|_| Malformed::DnsQuestion)?;
            self.question.get_or_insert(question);
        }
        Ok(())
    }

    fn records(&mut self, decoder: &mut BinDecoder<'_>, bytes: &[u8]) -> Result<(), Malformed> {
        let Counts { answer, authority, additional, .. } = self.counts;
        let all = u32::from(answer) + u32::from(authority) + u32::from(additional);
        for place in 0..all {
            let record = RawRecord::read(decoder).map_err(|_| Malformed::DnsRecord)?;
            if record.rtype == OPT {
                self.edns.get_or_insert_with(|| Edns::read(&record));
            } else {
                let min = self.min_ttl_seconds.get_or_insert(record.ttl_seconds);
                *min = record.ttl_seconds.min(*min);
            }
            if place < u32::from(answer) {
                self.answers.push(record.answer(bytes));
            }
        }
        Ok(())
    }
}

fn read_question(decoder: &mut BinDecoder<'_>) -> Result<Question, DecodeError> {
    let name = Name::read(decoder)?;
    let qtype = decoder.read_u16()?.unverified();
    let qclass = decoder.read_u16()?.unverified();
    let written = name::presentation(&name);
    let (qname, qname_case) = if written.bytes().any(|octet| octet.is_ascii_uppercase()) {
        (written.to_ascii_lowercase(), Some(written.into_boxed_str()))
    } else {
        (written, None)
    };
    Ok(Question { qname: qname.into_boxed_str(), qname_case, qtype, qclass })
}

/// A record whose structure is sound and whose data was not looked at.
struct RawRecord<'a> {
    name: Name,
    rtype: u16,
    class: u16,
    ttl_seconds: u32,
    /// Where in the message the data begins: names in it may point back.
    data_at: usize,
    data: &'a [u8],
}

impl<'a> RawRecord<'a> {
    fn read(decoder: &mut BinDecoder<'a>) -> Result<Self, DecodeError> {
        let name = Name::read(decoder)?;
        let rtype = decoder.read_u16()?.unverified();
        let class = decoder.read_u16()?.unverified();
        let ttl_seconds = decoder.read_u32()?.unverified();
        let length = decoder.read_u16()?.unverified();
        let data_at = decoder.index();
        let data = decoder.read_slice(usize::from(length))?.unverified();
        Ok(Self { name, rtype, class, ttl_seconds, data_at, data })
    }

    fn answer(&self, message: &[u8]) -> Answer {
        Answer {
            name: name::presentation(&self.name).into_boxed_str(),
            rtype: self.rtype,
            class: self.class,
            ttl_seconds: self.ttl_seconds,
            data: rdata::presentation(message, self.data_at, self.data, self.rtype).into(),
        }
    }
}

#[cfg(test)]
mod tests;
