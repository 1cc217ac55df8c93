//! One walk over a message: whether its structure is sound, and where in it is what.

use super::name::Name;
use super::reader::Reader;
use super::record::Record;
use super::{Counts, Dns, Flags, HEADER_BYTES, OPT, dso};
use crate::decode::Malformed;
use crate::decode::kept::Octets;

/// What a walk over a message found. It holds numbers only: what stands in the message's names and
/// data is looked up in its octets, by who wants to know it, through [`Dns`](super::Dns).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// The header's id.
    pub id: u16,
    /// The header's second 16 bits.
    pub flags: Flags,
    /// The header's counts.
    pub counts: Counts,
    /// The smallest TTL of all records but OPT, in seconds.
    pub min_ttl_seconds: Option<u32>,
    /// Octets behind the message's last record.
    pub trailing_bytes: usize,
    /// The first question; absent where there is none, or where clipping took it.
    pub(super) asked: Option<Asked>,
    /// Questions that can be read.
    pub(super) questions: u16,
    /// Records of the answer section that can be read.
    pub(super) answers: u16,
    /// Where the first record stands: behind the last question that can be read.
    pub(super) records_at: u32,
    /// The first OPT record.
    pub(super) opt: Option<Opt>,
    /// Where the TLVs of a message with opcode DSO begin.
    pub(super) dso_at: Option<u32>,
}

/// A question, whose name stands behind the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Octets of the name without compression.
    pub(super) octets: u8,
    /// Whether the name stands in one piece.
    pub(super) flat: bool,
    pub(super) qtype: u16,
    pub(super) qclass: u16,
}

/// An OPT record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opt {
    /// Where it stands.
    pub(super) at: u32,
    /// The upper eight bits of the extended rcode.
    pub(super) rcode_high: u8,
    /// OPT records in the message: one is allowed, the first counts.
    pub(super) records: u16,
}

impl Outline {
    /// Walks over a message. `clipped`: octets are missing at its end because the capture cut them
    /// off; what can be read then counts, and nothing is malformed but a cut header. Of a response
    /// that is truncated (TC) in mid record, the records before that count.
    ///
    /// # Errors
    /// [`Malformed::DnsHeader`], [`Malformed::DnsQuestion`] or [`Malformed::DnsRecord`]: the first
    /// part that cannot be read.
    pub fn read(octets: &[u8], clipped: bool) -> Result<Self, Malformed> {
        let mut outline = Self::header(octets)?;
        let mut reader = Reader::new(octets, HEADER_BYTES);
        let body =
            outline.questions(&mut reader).and_then(|()| outline.records(&mut reader, octets));
        match body {
            // Some servers truncate in mid record: what TC announces is no surprise.
            Err(Malformed::DnsRecord) if outline.flags.response() && outline.flags.truncated() => {}
            Err(reason) if !clipped => return Err(reason),
            Err(_) => {}
            Ok(()) if outline.flags.opcode() == dso::OPCODE => {
                outline.dso_at = Some(place(reader.at()));
            }
            // What is cut off may have been more of it.
            Ok(()) if clipped => {}
            Ok(()) => outline.trailing_bytes = reader.rest().len(),
        }
        Ok(outline)
    }

    /// Whether it is a DSO message to which no response belongs (RFC 8490, 5.4.1).
    #[must_use]
    pub const fn is_one_way(&self) -> bool {
        self.id == 0 && !self.flags.response() && self.flags.opcode() == dso::OPCODE
    }

    /// The rcode, with EDNS's upper eight bits where there are any (RFC 6891, 6.1.3).
    #[must_use]
    pub const fn rcode(&self) -> u16 {
        let high = match &self.opt {
            Some(opt) => opt.rcode_high,
            None => 0,
        };
        (high as u16) << 4 | self.flags.rcode() as u16
    }

    /// Type and class of the first question, as they stand there.
    #[must_use]
    pub const fn asked(&self) -> Option<(u16, u16)> {
        match &self.asked {
            Some(asked) => Some((asked.qtype, asked.qclass)),
            None => None,
        }
    }

    /// Keeps no more records of the answer section than so many, and of what is behind them the OPT
    /// record only; whether there was more. Nothing changes where an OPT record's owner is not the root,
    /// for its name may be anywhere.
    pub(in crate::decode) fn limit_answers(&mut self, octets: &mut Octets, most: u16) -> bool {
        let whole = Dns::new(octets, self);
        let opt = whole.opt_record();
        let last = whole.answers().nth(usize::from(most).saturating_sub(1));
        let movable = opt.is_none_or(|opt| opt.name().is_root());
        let Some(end) = last.map(|last| last.end()).filter(|_| self.answers > most && movable)
        else {
            return false;
        };
        let opt_end = opt.map_or(0, |opt| opt.end());
        let mut behind = end;
        if let Some(opt) = &mut self.opt {
            // One among the answers that are kept stays where it is.
            let at = usize::try_from(opt.at).unwrap_or(usize::MAX);
            if at >= end {
                octets.copy_within(at..opt_end, end);
                behind += opt_end - at;
                opt.at = place(end);
            }
        }
        octets.truncate(behind);
        self.answers = most;
        true
    }

    fn header(octets: &[u8]) -> Result<Self, Malformed> {
        let header: &[u8; HEADER_BYTES] = octets.first_chunk().ok_or(Malformed::DnsHeader)?;
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
            records_at: place(HEADER_BYTES),
            ..Self::default()
        })
    }

    fn questions(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        for _ in 0..self.counts.question {
            let mut read = || Some((reader.name()?, reader.u16()?, reader.u16()?));
            let (name, qtype, qclass) = read().ok_or(Malformed::DnsQuestion)?;
            if self.questions == 0 {
                let (octets, flat) = (name.octets(), name.is_flat());
                self.asked = Some(Asked { octets, flat, qtype, qclass });
            }
            self.questions += 1;
            self.records_at = place(reader.at());
        }
        Ok(())
    }

    fn records<'a>(&mut self, reader: &mut Reader<'a>, octets: &'a [u8]) -> Result<(), Malformed> {
        let Counts { answer, authority, additional, .. } = self.counts;
        let all = u32::from(answer) + u32::from(authority) + u32::from(additional);
        // Most owners are the name asked for.
        let asked = self.asked.and_then(|asked| asked.name(octets)).filter(Name::is_flat);
        for number in 0..all {
            let at = reader.at();
            let record = Record::read(reader, asked.as_ref()).ok_or(Malformed::DnsRecord)?;
            if record.rtype == OPT {
                self.note_opt(at, record.ttl_seconds);
            } else {
                let min = self.min_ttl_seconds.get_or_insert(record.ttl_seconds);
                *min = record.ttl_seconds.min(*min);
            }
            self.answers += u16::from(number < u32::from(answer));
        }
        Ok(())
    }

    /// The first OPT counts: a second is an error of its sender (RFC 6891, 6.1.1).
    fn note_opt(&mut self, at: usize, ttl_seconds: u32) {
        match &mut self.opt {
            Some(opt) => opt.records = opt.records.saturating_add(1),
            none => {
                let [rcode_high, ..] = ttl_seconds.to_be_bytes();
                *none = Some(Opt { at: place(at), rcode_high, records: 1 });
            }
        }
    }
}

impl Asked {
    /// The name, in the message that the outline is of.
    pub(super) fn name(self, octets: &[u8]) -> Option<Name<'_>> {
        Name::known(octets, HEADER_BYTES, self.octets, self.flat)
    }
}

/// Nothing of a message comes near 4 GiB.
fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
