//! Records: what a record's fixed part says, and what its data say as text.

use super::name::Name;
use super::reader::Reader;
use super::{CLASS_ANY, CLASS_NONE, rdata};
use std::hash::Hasher;

/// A record whose structure is sound (RFC 1035, 4.1.3). Its data may be nonsense.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    message: &'a [u8],
    pub(super) name: Name<'a>,
    /// TYPE.
    pub rtype: u16,
    /// CLASS; of an OPT the sender's UDP payload size.
    pub class: u16,
    /// TTL in seconds.
    pub ttl_seconds: u32,
    /// Where in the message the data begins: names in it may point back.
    data_at: usize,
    pub(super) data: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads a record. `asked` is the name asked for, if it stands in one piece: most owners point to
    /// it, and it need not be read again.
    pub(super) fn read(reader: &mut Reader<'a>, asked: Option<&Name<'a>>) -> Option<Self> {
        let name = reader.name_like(asked)?;
        let [t0, t1, c0, c1, s0, s1, s2, s3, l0, l1] = reader.array()?;
        let data_at = reader.at();
        let data = reader.take(u16::from_be_bytes([l0, l1]).into())?;
        Some(Self {
            message: reader.message(),
            name,
            rtype: u16::from_be_bytes([t0, t1]),
            class: u16::from_be_bytes([c0, c1]),
            ttl_seconds: u32::from_be_bytes([s0, s1, s2, s3]),
            data_at,
            data,
        })
    }

    /// Where in the message it ends.
    pub(super) const fn end(&self) -> usize {
        self.data_at + self.data.len()
    }

    /// Its owner.
    #[must_use]
    pub const fn name(&self) -> Name<'a> {
        self.name
    }

    /// Its data as they stand in the message: names in them may be compressed.
    #[must_use]
    pub const fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Whether this is UPDATE's way to speak of records without their data (RFC 2136, 2.4 and 2.5).
    const fn speaks_of_others(&self) -> bool {
        matches!(self.class, CLASS_NONE | CLASS_ANY) && self.data.is_empty()
    }

    /// Adds its data in presentation form, names without their last dot; unknown data as
    /// `\# 2 ABCD`.
    pub fn push_data(&self, text: &mut String) {
        if !self.speaks_of_others() {
            rdata::push(text, self.message, self.data_at, self.data, self.rtype);
        }
    }

    /// Hashes its data so that what says the same is the same number, whether or not the names in it
    /// are compressed.
    pub(crate) fn hash_data(&self, hasher: &mut impl Hasher) {
        let Some(names) = rdata::names(self.rtype) else {
            let mut text = String::new();
            self.push_data(&mut text);
            return hasher.write(text.as_bytes());
        };
        if self.hash_around(names, hasher).is_none() {
            hasher.write(self.data);
        }
    }

    fn hash_around(&self, names: rdata::Names, hasher: &mut impl Hasher) -> Option<()> {
        if names.count == 0 {
            hasher.write(self.data);
            return Some(());
        }
        let mut reader = Reader::new(self.message, self.data_at).part(self.data.len())?;
        hasher.write(reader.take(names.before)?);
        for _ in 0..names.count {
            reader.name()?.hash_as_it_stands(hasher);
        }
        hasher.write(reader.take_rest());
        Some(())
    }
}

/// The records of a section, in order, as many as can be read.
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
