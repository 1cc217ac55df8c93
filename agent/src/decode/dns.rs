//! One DNS message (RFC 1035, RFC 6891).
//!
//! A message is read when its structure is sound: header, questions, and every record's owner
//! name, fixed part and length. What stands *inside* a record's data, or an EDNS option, may be
//! nonsense: it is then shown as unknown data (RFC 3597), for the message did its work all the same.

mod answers;
mod dso;
mod edns;
mod mnemonic;
mod name;
mod outline;
mod rdata;
mod reader;
mod record;
mod text;

pub use answers::{Answer, Answers};
pub use dso::{dso_name, dso_text};
pub use edns::{Edns, ExtendedError, OptionText, TypedOctets, TypedOctetsList, option_name};
pub use mnemonic::{class_name, opcode_name, rcode_name, type_name, type_number};
pub use name::Name;
pub use outline::Outline;
pub use record::{Record, Records};
pub use text::Hex;

pub(crate) use text::hex_digits;

use outline::Asked;
use reader::Reader;
use std::ops::Deref;

/// The record type of EDNS (RFC 6891).
const OPT: u16 = 41;

/// The classes that stand for no and for any class (RFC 2136, 1.3; RFC 1035, 3.2.5).
const CLASS_NONE: u16 = 254;
const CLASS_ANY: u16 = 255;

/// Octets of a DNS header (RFC 1035, 4.1.1).
const HEADER_BYTES: usize = 12;

/// What a DNS message says: its octets, and the outline that one walk over them has drawn. Nothing else
/// is read, and nothing written as text, before somebody asks for it.
#[derive(Clone, Copy, Debug)]
pub struct Dns<'a> {
    octets: &'a [u8],
    outline: &'a Outline,
}

impl Deref for Dns<'_> {
    type Target = Outline;

    fn deref(&self) -> &Outline {
        self.outline
    }
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

    /// The name as records write it: in lower case, without its last dot, escaped; the root is `.`.
    #[must_use]
    pub fn qname(&self) -> String {
        let mut text = String::new();
        self.name.push_lower_case(&mut text);
        text
    }
}

impl<'a> Dns<'a> {
    /// The message in these octets, of which [`Outline::read`] has drawn the outline.
    #[must_use]
    pub const fn new(octets: &'a [u8], outline: &'a Outline) -> Self {
        Self { octets, outline }
    }

    /// The message as it was captured.
    #[must_use]
    pub const fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// What was found of the message so far.
    #[must_use]
    pub const fn outline(&self) -> &'a Outline {
        self.outline
    }

    /// The first question; absent where there is none, or where clipping took it.
    #[must_use]
    pub fn question(&self) -> Option<Question<'a>> {
        let asked = self.outline.asked?;
        let Asked { qtype, qclass, .. } = asked;
        Some(Question { name: asked.name(self.octets)?, qtype, qclass })
    }

    /// The questions behind the first: rare but in multicast DNS.
    pub fn further_questions(&self) -> impl Iterator<Item = Question<'a>> + use<'a> {
        let mut reader = Reader::new(self.octets, HEADER_BYTES);
        let questions = usize::from(self.outline.questions);
        std::iter::from_fn(move || Question::read(&mut reader)).take(questions).skip(1)
    }

    /// The records of the answer section.
    #[must_use]
    pub fn answers(&self) -> Records<'a> {
        Records {
            reader: self.reader(self.outline.records_at),
            asked: self.question().map(|question| question.name).filter(Name::is_flat),
            left: self.outline.answers,
        }
    }

    /// What the OPT record says.
    #[must_use]
    pub fn edns(&self) -> Option<Edns<'a>> {
        Some(Edns::of(&self.opt_record()?, self.outline.opt?.records))
    }

    fn opt_record(&self) -> Option<Record<'a>> {
        Record::read(&mut self.reader(self.outline.opt?.at), None)
    }

    /// The TLVs of a message with opcode DSO (RFC 8490).
    pub fn dso(&self) -> impl Iterator<Item = TypedOctets<'a>> + use<'a> {
        let octets = self.outline.dso_at.map_or(&[][..], |at| self.reader(at).take_rest());
        TypedOctetsList::of(octets)
    }

    fn reader(&self, at: u32) -> Reader<'a> {
        Reader::new(self.octets, usize::try_from(at).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests;
