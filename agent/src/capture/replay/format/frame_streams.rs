//! Reads Frame Streams, as servers send them for dnstap, and as files of `fstrm_capture` have them
//! (<https://github.com/farsightsec/fstrm>): frames after their lengths, with control frames between them.

use crate::capture::dnstap;
use crate::capture::replay::source::{Problem, Source};
use std::io::Write;

const ACCEPT: u32 = 1;
const START: u32 = 2;
const STOP: u32 = 3;
const READY: u32 = 4;
const FINISH: u32 = 5;
/// Field of a control frame.
const CONTENT_TYPE: u32 = 1;
/// Most bytes of a control frame.
const MAX_CONTROL: u32 = 512;
/// Most bytes of a data frame: two DNS messages, and what else dnstap knows.
const MAX_FRAME: u32 = 1 << 20;

/// Reader of the data frames of a file, or of a sender.
pub(in crate::capture) struct Frames {
    source: Source,
    /// Where a sender expects answers.
    replies: Option<Box<dyn Write>>,
    /// Whether the sender has asked for the content that is accepted.
    is_asked: bool,
    /// Set if the file has ended without its last control frame.
    pub(in crate::capture) warning: Option<String>,
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
        Self { source, replies: None, is_asked: false, warning: None }
    }

    /// Reads what a sender sends. Both forms of the protocol are served: with and without answers.
    pub(in crate::capture) fn of_sender(source: Source, replies: Box<dyn Write>) -> Self {
        Self { replies: Some(replies), ..Self::new(source) }
    }

    /// Returns the next data frame, or `None` at the end.
    pub(in crate::capture) fn next(&mut self) -> Result<Option<&[u8]>, Problem> {
        loop {
            let offset = self.source.position;
            let damaged = |what| Err(Problem::Damaged { offset, what });
            if !self.source.fill(4)? {
                return Ok(self.end());
            }
            let length = u32_at(self.source.available(), 0).unwrap_or(0);
            if length > MAX_FRAME {
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
                Some(START | READY) if !carries_dnstap(control) => {
                    return damaged("its frames are not dnstap's");
                }
                Some(READY) => {
                    self.is_asked = true;
                    self.reply(ACCEPT, Some(dnstap::CONTENT_TYPE))?;
                }
                Some(kind @ (STOP | FINISH)) => {
                    if self.replies.is_none() && self.another_begins()? {
                        continue;
                    }
                    if kind == STOP && self.is_asked {
                        // All has been read. A sender that has gone already waits for no answer.
                        let _ = self.reply(FINISH, None);
                    }
                    return Ok(None);
                }
                // ACCEPT, where what was sent is recorded.
                _ => {}
            }
        }
    }

    /// Answers a sender.
    fn reply(&mut self, kind: u32, content_type: Option<&[u8]>) -> Result<(), Problem> {
        let Some(replies) = &mut self.replies else { return Ok(()) };
        replies.write_all(&control(kind, content_type)).map_err(Problem::Read)
    }

    /// Returns whether another stream begins after the end of one, as in files that were put together. Warns of bytes
    /// that are none.
    fn another_begins(&mut self) -> Result<bool, Problem> {
        if Self::begin(&mut self.source)? {
            return Ok(true);
        }
        let end = self.source.position;
        while self.source.fill(1)? {
            self.source.consume(self.source.available().len());
        }
        let left = self.source.position - end;
        self.warning = (left > 0).then(|| {
            format!(
                "{left} bytes after byte {end} are not replayed: they follow the end of its frames and are not dnstap"
            )
        });
        Ok(false)
    }

    fn end(&mut self) -> Option<&'static [u8]> {
        let left = self.source.available().len();
        if self.replies.is_some() {
            // Servers that are stopped, and those that we stop first, close without a last word. No frame is lost by that.
            self.warning =
                (left > 0).then(|| format!("it has closed after {left} bytes of a frame"));
            return None;
        }
        let why = self.source.cut_off.unwrap_or("the end of the stream is missing");
        self.warning = Some(format!(
            "the file is truncated: {why}, {left} bytes after byte {}; its complete frames were replayed",
            self.source.position
        ));
        None
    }
}

/// Whether a control frame names the content type of dnstap, perhaps among others, or none.
fn carries_dnstap(control: &[u8]) -> bool {
    let mut fields = control.get(4..).unwrap_or_default();
    let mut is_other = false;
    while let (Some(kind), Some(length)) = (u32_at(fields, 0), u32_at(fields, 4)) {
        let end = super::size(length).saturating_add(8);
        if kind == CONTENT_TYPE {
            if fields.get(8..end) == Some(dnstap::CONTENT_TYPE) {
                return true;
            }
            is_other = true;
        }
        fields = fields.get(end..).unwrap_or_default();
    }
    !is_other
}

/// Returns a control frame.
pub(in crate::capture) fn control(kind: u32, content_type: Option<&[u8]>) -> Vec<u8> {
    let mut body = kind.to_be_bytes().to_vec();
    if let Some(name) = content_type {
        body.extend(CONTENT_TYPE.to_be_bytes());
        body.extend(length(name));
        body.extend(name);
    }
    [&[0; 4], &length(&body)[..], &body].concat()
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}
