//! Checks the structure of a message in one walk and notes the offsets of its parts.

use super::name::Name;
use super::reader::Reader;
use super::record::Record;
use super::{Counts, Dns, Flags, HEADER_BYTES, OPT, ParseError, Question};

/// Opcode of DNS Stateful Operations (RFC 8490).
const DSO: u8 = 6;

/// Offsets and counts of a message's parts. Names and data are read from the bytes through
/// [`Dns`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageIndex {
    /// The header's id.
    pub id: u16,
    /// The header's second 16 bits.
    pub flags: Flags,
    /// The header's counts.
    pub counts: Counts,
    /// Smallest TTL of all records except those that belong to no zone (OPT, TKEY, TSIG, SIG(0)), in seconds.
    pub min_ttl_seconds: Option<u32>,
    /// Bytes after the last record.
    pub trailing_bytes: usize,
    /// The first question; `None` if there is none or it was clipped.
    pub(super) asked: Option<QuestionRef>,
    /// Number of questions that can be read.
    pub(super) questions: u16,
    /// Number of answer records that can be read.
    pub(super) answers: u16,
    /// Offset of the first record: after the last question that can be read.
    pub(super) records_at: u32,
    /// The first OPT record.
    pub(super) opt: Option<OptRef>,
}

/// The first question. Its name begins after the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QuestionRef {
    /// Bytes of the name without compression.
    pub(super) bytes: u8,
    /// Whether the name contains no pointers.
    pub(super) uncompressed: bool,
    pub(super) qtype: u16,
    pub(super) qclass: u16,
}

/// An OPT record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OptRef {
    /// Offset in the message.
    pub(super) at: u32,
    /// The upper eight bits of the extended rcode.
    pub(super) rcode_high: u8,
    /// Number of OPT records in the message. One is allowed; the first counts.
    pub(super) records: u16,
}

impl MessageIndex {
    /// Checks and indexes a message. `clipped`: the capture cut bytes off its end. Then only an
    /// incomplete header is an error, and the index covers the readable parts. A response with TC
    /// may end inside a record; the records before it count.
    ///
    /// # Errors
    /// The first part of the message that cannot be read.
    pub fn parse(bytes: &[u8], clipped: bool) -> Result<Self, ParseError> {
        let mut outline = Self::header(bytes)?;
        let mut reader = Reader::new(bytes, HEADER_BYTES);
        let body =
            outline.questions(&mut reader).and_then(|()| outline.records(&mut reader, bytes));
        match body {
            // Some servers truncate inside a record, as TC announces.
            Err(ParseError::Record)
                if outline.flags.is_response() && outline.flags.is_truncated() => {}
            Err(reason) if !clipped => return Err(reason),
            Err(_) => {}
            // What follows are its TLVs.
            Ok(()) if outline.flags.opcode() == DSO => {}
            // The clipped bytes may have been more trailing bytes.
            Ok(()) if clipped => {}
            Ok(()) => outline.trailing_bytes = reader.rest().len(),
        }
        Ok(outline)
    }

    /// Returns whether this is a unidirectional DSO message, which has no response (RFC 8490,
    /// 5.4.1).
    #[must_use]
    pub const fn is_one_way(&self) -> bool {
        self.id == 0 && !self.flags.is_response() && self.flags.opcode() == DSO
    }

    /// Returns the rcode with the upper eight bits from EDNS (RFC 6891, 6.1.3).
    #[must_use]
    pub const fn rcode(&self) -> u16 {
        let high = match &self.opt {
            Some(opt) => opt.rcode_high,
            None => 0,
        };
        (high as u16) << 4 | self.flags.rcode() as u16
    }

    /// Returns type and class of the first question.
    #[must_use]
    pub const fn question_type_and_class(&self) -> Option<(u16, u16)> {
        match &self.asked {
            Some(asked) => Some((asked.qtype, asked.qclass)),
            None => None,
        }
    }

    /// Removes all but the first `max_answers` answer records from the message, and all later records
    /// except OPT. Returns the new length of `bytes`; `None` if nothing changes. That is the case
    /// with few answers, and with an OPT record whose owner is not the root, as its name may be
    /// anywhere.
    #[must_use]
    pub fn limit_answers(&mut self, bytes: &mut [u8], max_answers: u16) -> Option<usize> {
        let whole = Dns::new(bytes, self);
        let opt = whole.opt_record();
        let last = whole.answers().nth(usize::from(max_answers).saturating_sub(1));
        let movable = opt.is_none_or(|opt| opt.name.is_root());
        let end = last.map(|last| last.end()).filter(|_| self.answers > max_answers && movable)?;
        let opt_end = opt.map_or(0, |opt| opt.end());
        let mut behind = end;
        if let Some(opt) = &mut self.opt {
            // An OPT record among the kept answers stays in place.
            let at = usize::try_from(opt.at).unwrap_or(usize::MAX);
            if at >= end {
                bytes.copy_within(at..opt_end, end);
                behind += opt_end - at;
                opt.at = offset(end);
            }
        }
        self.answers = max_answers;
        Some(behind)
    }

    fn header(bytes: &[u8]) -> Result<Self, ParseError> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(ParseError::Header)?;
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
            records_at: offset(HEADER_BYTES),
            ..Self::default()
        })
    }

    fn questions(&mut self, reader: &mut Reader<'_>) -> Result<(), ParseError> {
        for _ in 0..self.counts.question {
            let question = Question::read(reader).ok_or(ParseError::Question)?;
            let Question { name, qtype, qclass } = question;
            if self.questions == 0 {
                let (bytes, uncompressed) = (name.bytes, name.uncompressed);
                self.asked = Some(QuestionRef { bytes, uncompressed, qtype, qclass });
            }
            self.questions += 1;
            self.records_at = offset(reader.at);
        }
        Ok(())
    }

    fn records<'a>(&mut self, reader: &mut Reader<'a>, bytes: &'a [u8]) -> Result<(), ParseError> {
        let Counts { answer, authority, additional, .. } = self.counts;
        let all = u32::from(answer) + u32::from(authority) + u32::from(additional);
        // Most owner names equal the question's name.
        let asked = self.asked.and_then(|asked| asked.name(bytes)).filter(|name| name.uncompressed);
        for number in 0..all {
            let at = reader.at;
            let record = Record::read(reader, asked.as_ref()).ok_or(ParseError::Record)?;
            if record.rtype == OPT {
                self.note_opt(at, record.ttl_seconds);
            } else if !record.is_meta() {
                let min = self.min_ttl_seconds.get_or_insert(record.ttl_seconds);
                *min = record.ttl_seconds.min(*min);
            }
            self.answers += u16::from(number < u32::from(answer));
        }
        Ok(())
    }

    /// Notes an OPT record. The first counts: a second is an error of the sender (RFC 6891, 6.1.1).
    fn note_opt(&mut self, at: usize, ttl_seconds: u32) {
        match &mut self.opt {
            Some(opt) => opt.records = opt.records.saturating_add(1),
            none => {
                let [rcode_high, ..] = ttl_seconds.to_be_bytes();
                *none = Some(OptRef { at: offset(at), rcode_high, records: 1 });
            }
        }
    }
}

impl QuestionRef {
    /// Returns the name in `bytes`, the message of this index.
    pub(super) fn name(self, bytes: &[u8]) -> Option<Name<'_>> {
        Name::restore(bytes, HEADER_BYTES, self.bytes, self.uncompressed)
    }
}

/// Converts an offset. Messages are far below 4 GiB.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
