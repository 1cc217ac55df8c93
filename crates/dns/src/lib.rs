//! Reader of DNS messages in wire format (RFC 1035, RFC 6891), without I/O and without state.
//!
//! [`MessageIndex::parse`] walks over the bytes of a message once, checks its structure and notes
//! where its parts are. [`Dns`] then reads names, records and options from the bytes on request.
//! Nothing is copied or written as text before that.
//!
//! A message is accepted when its structure is sound: header, questions, and the owner name, fixed
//! part and length of every record. The data of a record or of an EDNS option may be invalid: it is
//! then shown as unknown data (RFC 3597). A message that the capture clipped is read as far as it
//! goes. The record types of the IANA registry are written in presentation form (RFC 1035, 5).
//!
//! ```
//! use dnscribe_dns::{Dns, MessageIndex, type_name};
//!
//! let bytes = b"\x12\x34\x01\x00\x00\x01\0\0\0\0\0\0\x03WWW\x07example\0\x00\x1c\x00\x01";
//! let index = MessageIndex::parse(bytes, false)?;
//! let question = Dns::new(bytes, &index).question().unwrap();
//! assert_eq!(question.qname(), "www.example");
//! assert_eq!(type_name(question.qtype), "AAAA");
//! # Ok::<(), dnscribe_dns::ParseError>(())
//! ```

mod answers;
mod edns;
mod idn;
mod mnemonic;
mod name;
mod index;
mod rdata;
mod reader;
mod record;
mod text;
mod zone;
pub mod rcode;
pub mod rtype;

pub use answers::{Answer, AnswerLimits, Answers};
pub use edns::{Edns, ExtendedError, OptionText, Tlv, Tlvs, ede_name, option_name};
pub use idn::{to_ascii, to_unicode};
pub use index::MessageIndex;
pub use mnemonic::{class_name, opcode_name, rcode_name};
pub use name::Name;
pub use rdata::{type_name, type_number};
pub use record::{Record, Records};
pub use text::{Hex, hex_digits, json_bytes};
pub use zone::{RegistrableDomainCache, has_unknown_suffix, registrable_domain};

use index::QuestionRef;
use reader::Reader;
use rtype::OPT;
use std::ops::Deref;

/// The part of a message that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Fewer bytes than the twelve of a header.
    #[error("the DNS header is incomplete")]
    Header,
    /// A question is out of bounds, or its name is invalid.
    #[error("a DNS question cannot be read")]
    Question,
    /// A record is out of bounds, or its owner name is invalid.
    #[error("a DNS record cannot be read")]
    Record,
}

/// The classes NONE (RFC 2136, 1.3) and ANY (RFC 1035, 3.2.5).
const CLASS_NONE: u16 = 254;
const CLASS_ANY: u16 = 255;

/// Bytes of a DNS header (RFC 1035, 4.1.1).
const HEADER_BYTES: usize = 12;

/// A DNS message: its bytes and their index. Parts are read from the bytes on request.
#[derive(Clone, Copy, Debug)]
pub struct Dns<'a> {
    bytes: &'a [u8],
    index: &'a MessageIndex,
}

impl Deref for Dns<'_> {
    type Target = MessageIndex;

    fn deref(&self) -> &MessageIndex {
        self.index
    }
}

/// The second 16 bits of a DNS header: QR, opcode, flags, rcode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u16);

impl Flags {
    /// The named flags: bit and name, in the order in which records list them.
    const NAMED: [(u16, &'static str); 6] =
        [(0x400, "aa"), (0x200, "tc"), (0x100, "rd"), (0x80, "ra"), (0x20, "ad"), (0x10, "cd")];

    /// Returns QR: whether this is a response.
    #[must_use]
    pub const fn is_response(self) -> bool {
        self.0 & 0x8000 != 0
    }

    /// Returns TC: whether the sender truncated the message (RFC 2181, 9).
    #[must_use]
    pub const fn is_truncated(self) -> bool {
        self.0 & 0x200 != 0
    }

    /// Returns RD: whether recursion is desired.
    #[must_use]
    pub const fn recursion_desired(self) -> bool {
        self.0 & 0x100 != 0
    }

    /// Returns the opcode, 0 to 15.
    #[must_use]
    pub const fn opcode(self) -> u8 {
        ((self.0 >> 11) & 0xF) as u8
    }

    /// Returns the header's four bits of the rcode, 0 to 15.
    #[must_use]
    pub const fn rcode(self) -> u8 {
        (self.0 & 0xF) as u8
    }

    /// Returns the names of the flags that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMED.into_iter().filter(move |(bit, _)| self.0 & bit != 0).map(|(_, name)| name)
    }
}

/// Number of entries in each section, as the header states it.
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

/// A question (RFC 1035, 4.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Question<'a> {
    /// QNAME.
    pub name: Name<'a>,
    /// QTYPE.
    pub qtype: u16,
    /// QCLASS.
    pub qclass: u16,
}

impl<'a> Question<'a> {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        Some(Self { name: reader.name()?, qtype: reader.u16()?, qclass: reader.u16()? })
    }

    /// Returns the name in lower case, escaped, without its last dot; the root is `.`.
    #[must_use]
    pub fn qname(&self) -> String {
        let mut text = String::new();
        self.name.push_lower_case(&mut text);
        text
    }
}

impl<'a> Dns<'a> {
    /// Creates a view of `bytes` from the index that [`MessageIndex::parse`] made of them.
    #[must_use]
    pub const fn new(bytes: &'a [u8], outline: &'a MessageIndex) -> Self {
        Self { bytes, index: outline }
    }

    /// Returns the message's bytes as captured.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns the index of the message.
    #[must_use]
    pub const fn index(&self) -> &'a MessageIndex {
        self.index
    }

    /// Returns the first question; `None` if there is none or it was clipped.
    #[must_use]
    pub fn question(&self) -> Option<Question<'a>> {
        let asked = self.index.asked?;
        let QuestionRef { qtype, qclass, .. } = asked;
        Some(Question { name: asked.name(self.bytes)?, qtype, qclass })
    }

    /// Returns the questions after the first. Only multicast DNS has them regularly.
    pub fn further_questions(&self) -> impl Iterator<Item = Question<'a>> + use<'a> {
        let mut reader = Reader::new(self.bytes, HEADER_BYTES);
        let questions = usize::from(self.index.questions);
        std::iter::from_fn(move || Question::read(&mut reader)).take(questions).skip(1)
    }

    /// Returns the records of the answer section.
    #[must_use]
    pub fn answers(&self) -> Records<'a> {
        Records {
            reader: self.reader(self.index.records_at),
            asked: self.question().map(|question| question.name).filter(|name| name.uncompressed),
            left: self.index.answers,
        }
    }

    /// Returns the records of the authority section; none if the answer section is incomplete.
    #[must_use]
    pub fn authority(&self) -> Records<'a> {
        let mut records = self.answers();
        let answers = records.by_ref().count();
        let is_whole = answers == usize::from(self.index.counts.answer);
        records.left = if is_whole { self.index.counts.authority } else { 0 };
        records
    }

    /// Returns the OPT record; `None` if there is none.
    #[must_use]
    pub fn edns(&self) -> Option<Edns<'a>> {
        Some(Edns::from_record(&self.opt_record()?, self.index.opt?.records))
    }

    fn opt_record(&self) -> Option<Record<'a>> {
        Record::read(&mut self.reader(self.index.opt?.at), None)
    }

    fn reader(&self, at: u32) -> Reader<'a> {
        Reader::new(self.bytes, usize::try_from(at).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests;
