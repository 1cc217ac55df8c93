//! Reads files of Frame Streams, as servers and `fstrm_capture` write them for dnstap
//! (<https://github.com/farsightsec/fstrm>): frames after their lengths, with control frames between them.

use super::MAX_RECORD;
use crate::capture::dnstap;
use crate::capture::replay::source::{Problem, Source};

const START: u32 = 2;
const STOP: u32 = 3;
const FINISH: u32 = 5;
/// Field of a control frame.
const CONTENT_TYPE: u32 = 1;
/// Most bytes of a control frame.
const MAX_CONTROL: u32 = 512;

/// Reader of the data frames of a file.
pub(in crate::capture::replay) struct Frames {
    source: Source,
    /// Set if the file has ended without its last control frame.
    pub(in crate::capture::replay) warning: Option<String>,
}

impl Frames {
    /// Whether a file begins with a control frame.
    pub(in crate::capture::replay) fn begin(source: &mut Source) -> Result<bool, Problem> {
        source.fill(12)?;
        let start = source.available();
        Ok(u32_at(start, 0) == Some(0)
            && u32_at(start, 4).is_some_and(|length| (4..=MAX_CONTROL).contains(&length)))
    }

    pub(in crate::capture::replay) const fn new(source: Source) -> Self {
        Self { source, warning: None }
    }

    /// Returns the next data frame, or `None` at the end.
    pub(in crate::capture::replay) fn next(&mut self) -> Result<Option<&[u8]>, Problem> {
        loop {
            let offset = self.source.position;
            let damaged = |what| Err(Problem::Damaged { offset, what });
            if !self.source.fill(4)? {
                return Ok(self.end());
            }
            let length = u32_at(self.source.available(), 0).unwrap_or(0);
            if length > MAX_RECORD {
                return damaged("a frame's length is impossible");
            }
            if length > 0 {
                let length = super::size(length);
                if !self.source.fill(4 + length)? {
                    return Ok(self.end());
                }
                let frame = self.source.take(4 + length);
                return Ok(Some(frame.get(4..).unwrap_or_default()));
            }
            if !self.source.fill(8)? {
                return Ok(self.end());
            }
            let length = u32_at(self.source.available(), 4).unwrap_or(0);
            if !(4..=MAX_CONTROL).contains(&length) {
                return damaged("a control frame's length is impossible");
            }
            let length = super::size(length);
            if !self.source.fill(8 + length)? {
                return Ok(self.end());
            }
            let control = self.source.take(8 + length).get(8..).unwrap_or_default();
            match u32_at(control, 0) {
                Some(START) if !carries_dnstap(control) => {
                    return damaged("its frames are not dnstap's");
                }
                Some(STOP | FINISH) => return Ok(None),
                // READY and ACCEPT, where what was sent is recorded.
                _ => {}
            }
        }
    }

    fn end(&mut self) -> Option<&'static [u8]> {
        let left = self.source.available().len();
        let why = self.source.cut_off.unwrap_or("the end of the stream is missing");
        self.warning = Some(format!(
            "the file is truncated: {why}, {left} bytes after byte {}; its complete frames were replayed",
            self.source.position
        ));
        None
    }
}

/// Whether a control frame names the content type of dnstap, or none.
fn carries_dnstap(control: &[u8]) -> bool {
    u32_at(control, 4) != Some(CONTENT_TYPE) || control.get(12..) == Some(dnstap::CONTENT_TYPE)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}
