//! Resource records: the fixed part, and the data as text.

use super::name::Name;
use super::rdata::{self, NameCase};
use super::reader::Reader;
use super::rtype::{OPT, SIG, TKEY, TSIG};
use super::{CLASS_ANY, CLASS_NONE};
use std::hash::{Hash, Hasher};

/// A record with sound structure (RFC 1035, 4.1.3). Its data may be invalid.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    message: &'a [u8],
    /// Owner name.
    pub name: Name<'a>,
    /// TYPE.
    pub rtype: u16,
    /// CLASS; for OPT the sender's UDP payload size in bytes.
    pub class: u16,
    /// TTL in seconds.
    pub ttl_seconds: u32,
    /// Offset of the data in the message. Names in the data may point back.
    data_at: usize,
    /// The data as in the message. Names in it may be compressed.
    pub data: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads a record. `asked` is the question's name if it is uncompressed: most owner names point
    /// to it and need not be read again.
    pub(super) fn read(reader: &mut Reader<'a>, asked: Option<&Name<'a>>) -> Option<Self> {
        let name = reader.name_like(asked)?;
        let [t0, t1, c0, c1, s0, s1, s2, s3, l0, l1] = reader.array()?;
        let data_at = reader.at;
        let data = reader.take(u16::from_be_bytes([l0, l1]).into())?;
        Some(Self {
            message: reader.message,
            name,
            rtype: u16::from_be_bytes([t0, t1]),
            class: u16::from_be_bytes([c0, c1]),
            ttl_seconds: u32::from_be_bytes([s0, s1, s2, s3]),
            data_at,
            data,
        })
    }

    /// Returns the offset after the record.
    pub(super) const fn end(&self) -> usize {
        self.data_at + self.data.len()
    }

    /// Returns whether this is a record of UPDATE without data (RFC 2136, 2.4 and 2.5).
    const fn is_update_without_data(&self) -> bool {
        matches!(self.class, CLASS_NONE | CLASS_ANY) && self.data.is_empty()
    }

    /// Appends the data in presentation form, names without the last dot; unknown data as `\# 2
    /// ABCD`.
    pub fn push_data(&self, text: &mut String) {
        if !self.is_update_without_data() {
            self.push_data_with(text, NameCase::AsWritten);
        }
    }

    fn push_data_with(&self, text: &mut String, case: NameCase) {
        rdata::push(text, self.message, self.data_at, self.data, self.rtype, case);
    }

    /// Returns whether the record belongs to the exchange and to no zone, so that its TTL means nothing: OPT, TKEY, TSIG, SIG(0).
    pub(super) fn is_meta(&self) -> bool {
        // SIG(0) covers no type (RFC 2931, 3).
        matches!(self.rtype, OPT | TKEY | TSIG)
            || self.rtype == SIG && self.data.starts_with(&[0, 0])
    }

    /// Hashes the data independent of name compression and of the case of names: equal data has equal hashes.
    pub fn hash_data(&self, hasher: &mut impl Hasher) {
        let Some(names) = rdata::name_layout(self.rtype) else {
            let mut text = String::new();
            self.push_data_with(&mut text, NameCase::Lower);
            return hasher.write(text.as_bytes());
        };
        if names == (0, 0) || self.hash_uncompressed(names, hasher).is_none() {
            hasher.write(self.data);
        }
    }

    fn hash_uncompressed(
        &self,
        (before, names): (usize, usize),
        hasher: &mut impl Hasher,
    ) -> Option<()> {
        let mut reader = Reader::new(self.message, self.data_at).part(self.data.len())?;
        hasher.write(reader.take(before)?);
        for _ in 0..names {
            reader.name()?.hash(hasher);
        }
        hasher.write(reader.take_rest());
        Some(())
    }
}

/// Iterator over the records of a section. It ends at the first that cannot be read.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    pub(super) reader: Reader<'a>,
    pub(super) asked: Option<Name<'a>>,
    pub(super) left: u16,
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        self.left = self.left.checked_sub(1)?;
        Record::read(&mut self.reader, self.asked.as_ref())
    }
}
