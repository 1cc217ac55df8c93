//! One DNS message (RFC 1035, RFC 6891).
//!
//! A message is read when its structure is sound: header, questions, and every record's owner
//! name, fixed part and length. What stands *inside* a record's data, or an EDNS option, may be
//! nonsense: it is then shown as unknown data (RFC 3597), for the message did its work all the same.

mod dso;
mod edns;
mod mnemonic;
mod name;
mod rdata;
mod reader;
mod text;

pub use dso::{dso_name, dso_text};
pub use edns::{Edns, ExtendedError, TypedOctets, option_name};
pub use mnemonic::{class_name, opcode_name, rcode_name, type_name};

use super::Malformed;
use name::Name;
use reader::Reader;

/// The record type of EDNS (RFC 6891).
const OPT: u16 = 41;

/// The classes that stand for no and for any class (RFC 2136, 1.3; RFC 1035, 3.2.5).
const CLASS_NONE: u16 = 254;
const CLASS_ANY: u16 = 255;

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
    /// The questions behind the first: rare but in multicast DNS.
    pub further_questions: Vec<Question>,
    /// The records of the answer section.
    pub answers: Vec<Answer>,
    /// The smallest TTL of all records but OPT, in seconds.
    pub min_ttl_seconds: Option<u32>,
    /// What the OPT record says.
    pub edns: Option<Edns>,
    /// The TLVs of a message with opcode DSO (RFC 8490).
    pub dso: Vec<TypedOctets>,
    /// Octets behind the message's last record.
    pub trailing_bytes: usize,
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

    /// RD: whether the one asked is to ask others in turn.
    #[must_use]
    pub const fn recursion_desired(self) -> bool {
        self.0 & 0x100 != 0
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
    /// Whether it is a DSO message to which no response belongs (RFC 8490, 5.4.1).
    #[must_use]
    pub const fn is_one_way(&self) -> bool {
        self.id == 0 && !self.flags.response() && self.flags.opcode() == dso::OPCODE
    }

    /// Reads a message. `clipped`: octets are missing at its end because the capture cut them
    /// off; what can be read then counts, and nothing is malformed but a cut header. Of a response
    /// that is truncated (TC) in mid record, the records before that count.
    ///
    /// # Errors
    /// [`Malformed::DnsHeader`], [`Malformed::DnsQuestion`] or [`Malformed::DnsRecord`]: the first
    /// part that cannot be read.
    pub fn decode(bytes: &[u8], clipped: bool) -> Result<Self, Malformed> {
        let mut dns = Self::header(bytes)?;
        let mut reader = Reader::new(bytes, HEADER_BYTES);
        let body = dns.questions(&mut reader).and_then(|()| dns.records(&mut reader, bytes));
        match body {
            // Some servers truncate in mid record: what TC announces is no surprise.
            Err(Malformed::DnsRecord) if dns.flags.response() && dns.flags.truncated() => {}
            Err(reason) if !clipped => return Err(reason),
            Err(_) => {}
            Ok(()) if dns.flags.opcode() == dso::OPCODE => {
                dns.dso = TypedOctets::all(reader.take_rest());
            }
            // What is cut off may have been more of it.
            Ok(()) if clipped => {}
            Ok(()) => dns.trailing_bytes = reader.rest().len(),
        }
        Ok(dns)
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

    fn questions(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        for _ in 0..self.counts.question {
            let question = read_question(reader).ok_or(Malformed::DnsQuestion)?;
            if self.question.is_none() {
                self.question = Some(question);
            } else {
                self.further_questions.push(question);
            }
        }
        Ok(())
    }

    fn records(&mut self, reader: &mut Reader<'_>, bytes: &[u8]) -> Result<(), Malformed> {
        let Counts { answer, authority, additional, .. } = self.counts;
        let all = u32::from(answer) + u32::from(authority) + u32::from(additional);
        for place in 0..all {
            let record = RawRecord::read(reader).ok_or(Malformed::DnsRecord)?;
            if record.rtype == OPT {
                self.opt(&record);
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

    /// The first OPT counts: a second is an error of its sender (RFC 6891, 6.1.1).
    fn opt(&mut self, record: &RawRecord<'_>) {
        match &mut self.edns {
            Some(edns) => edns.records = edns.records.saturating_add(1),
            none => *none = Some(Edns::read(record)),
        }
    }
}

fn read_question(reader: &mut Reader<'_>) -> Option<Question> {
    let name = reader.name()?;
    let qtype = reader.u16()?;
    let qclass = reader.u16()?;
    let written = name.text();
    let (qname, qname_case) = if written.bytes().any(|octet| octet.is_ascii_uppercase()) {
        (written.to_ascii_lowercase(), Some(written.into_boxed_str()))
    } else {
        (written, None)
    };
    Some(Question { qname: qname.into_boxed_str(), qname_case, qtype, qclass })
}

/// A record whose structure is sound and whose data was not looked at.
struct RawRecord<'a> {
    name: Name<'a>,
    rtype: u16,
    class: u16,
    ttl_seconds: u32,
    /// Where in the message the data begins: names in it may point back.
    data_at: usize,
    data: &'a [u8],
}

impl<'a> RawRecord<'a> {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let name = reader.name()?;
        let rtype = reader.u16()?;
        let class = reader.u16()?;
        let ttl_seconds = reader.u32()?;
        let length = reader.u16()?;
        let data_at = reader.at();
        let data = reader.take(length.into())?;
        Some(Self { name, rtype, class, ttl_seconds, data_at, data })
    }

    /// Whether this is UPDATE's way to speak of records without their data (RFC 2136, 2.4 and 2.5).
    const fn speaks_of_others(&self) -> bool {
        matches!(self.class, CLASS_NONE | CLASS_ANY) && self.data.is_empty()
    }

    fn answer(&self, message: &[u8]) -> Answer {
        Answer {
            name: self.name.text().into(),
            rtype: self.rtype,
            class: self.class,
            ttl_seconds: self.ttl_seconds,
            data: if self.speaks_of_others() {
                Box::default()
            } else {
                rdata::presentation(message, self.data_at, self.data, self.rtype).into()
            },
        }
    }
}

#[cfg(test)]
mod tests;
