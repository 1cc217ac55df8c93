//! Finds the beginning of a DNS message in a stream that was joined in mid-stream.
//!
//! A message follows its 16-bit length (RFC 1035, 4.2.2). A position is accepted as a beginning if
//! the header after it is plausible, counts included, and, once all bytes are there, if the
//! sections end where the length says.

/// Whether a message begins at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameCheck {
    Message,
    NotMessage,
    /// Too few bytes to decide.
    NeedMore,
}

/// Limit on the labels and records that a search examines. A search checks every position, and
/// crafted data could make each look like the beginning of a long message.
#[derive(Debug)]
pub(super) struct StepBudget(usize);

impl StepBudget {
    /// Returns a budget that suffices for a search of `bytes` bytes of ordinary data.
    pub(super) fn for_bytes(bytes: usize) -> Self {
        Self(1024 + 4 * bytes)
    }

    /// Takes one step; returns whether the budget had one left.
    fn take(&mut self) -> bool {
        let left = self.0.checked_sub(1);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

const PREFIX: usize = 2;
const HEADER: usize = 12;
/// The opcode of DNS Stateful Operations (RFC 8490).
const DSO: u8 = 6;

/// Checks whether `bytes` begins with a length and a message of that length. `cut`: the bytes after
/// `bytes` were never captured.
pub(super) fn check_frame(bytes: &[u8], cut: bool, budget: &mut StepBudget) -> FrameCheck {
    let Some((prefix, message)) = bytes.split_first_chunk::<PREFIX>() else {
        return FrameCheck::NeedMore;
    };
    let length = usize::from(u16::from_be_bytes(*prefix));
    if length < HEADER {
        return FrameCheck::NotMessage;
    }
    let Some(header) = message.first_chunk::<HEADER>() else { return FrameCheck::NeedMore };
    if !is_plausible_header(header, length) {
        return FrameCheck::NotMessage;
    }
    if let Some(whole) = message.get(..length) {
        let is_message = sections_end(whole, budget) == Some(length);
        return if is_message { FrameCheck::Message } else { FrameCheck::NotMessage };
    }
    match (questions_end(message, budget), cut) {
        (Err(WalkError::Bad), _) => FrameCheck::NotMessage,
        (Ok(end), _) if end > length => FrameCheck::NotMessage,
        (Ok(_), _) | (Err(WalkError::Short), true) => FrameCheck::Message,
        (Err(WalkError::Short), false) => FrameCheck::NeedMore,
    }
}

/// Returns whether `bytes` is exactly one message, whose length was in an earlier segment.
pub(super) fn is_unframed_message(bytes: &[u8]) -> bool {
    let mut budget = StepBudget::for_bytes(bytes.len());
    bytes.first_chunk().is_some_and(|header| is_plausible_header(header, bytes.len()))
        && sections_end(bytes, &mut budget) == Some(bytes.len())
}

/// Returns whether `bytes` begins with a length and a complete message.
pub(super) fn begins_with_message(bytes: &[u8]) -> bool {
    bytes.split_first_chunk::<PREFIX>().is_some_and(|(prefix, message)| {
        message.get(..usize::from(u16::from_be_bytes(*prefix))).is_some_and(is_unframed_message)
    })
}

/// Returns whether the header (RFC 1035, 4.1.1) fits a message of `length` bytes.
fn is_plausible_header(header: &[u8; HEADER], length: usize) -> bool {
    let count = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
    let (questions, answers) = (count(4), count(6));
    let records = answers + count(8) + count(10);
    let (response, opcode) = (header[2] & 0x80 != 0, header[2] >> 3 & 0x0f);
    let (zero, rcode) = (header[3] & 0x40, header[3] & 0x0f);
    // Only NOTIFY and UPDATE requests contain answers (RFC 1996, RFC 2136).
    let fits = response || (rcode == 0 && (answers == 0 || matches!(opcode, 4 | 5)));
    let asks = match opcode {
        // DSO messages have zero counts (RFC 8490, 5.4).
        DSO => questions == 0 && records == 0,
        // Zone transfers continue without a question (RFC 5936, 2.2.1).
        _ => questions == 1 || (questions == 0 && response && answers > 0),
    };
    matches!(opcode, 0 | 1 | 2 | 4 | 5 | 6)
        && zero == 0
        && fits
        && asks
        && HEADER + questions * 5 + records * 11 <= length
}

/// Why a walk over a message's sections ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WalkError {
    /// The sections are invalid.
    Bad,
    /// The bytes end inside the sections.
    Short,
}

/// Returns the end of the question section.
fn questions_end(message: &[u8], budget: &mut StepBudget) -> Result<usize, WalkError> {
    let questions = read_u16(message, 4).ok_or(WalkError::Short)?;
    let mut at = HEADER;
    for _ in 0..questions {
        at = name_end(message, at, budget)? + 4;
    }
    if at <= message.len() { Ok(at) } else { Err(WalkError::Short) }
}

/// Returns the end of the last section of a whole message; `None` if a section is invalid.
fn sections_end(message: &[u8], budget: &mut StepBudget) -> Option<usize> {
    let mut at = questions_end(message, budget).ok()?;
    if message.get(2).is_some_and(|flags| flags >> 3 & 0x0f == DSO) {
        return tlvs_end(message, at, budget);
    }
    let records: usize = [6, 8, 10].iter().filter_map(|at| read_u16(message, *at)).sum();
    for _ in 0..records {
        let end = name_end(message, at, budget).ok()?;
        at = end + 10 + read_u16(message, end + 8)?;
    }
    (at <= message.len()).then_some(at)
}

/// Returns the end of the name at `at`; pointers are not followed.
fn name_end(message: &[u8], mut at: usize, budget: &mut StepBudget) -> Result<usize, WalkError> {
    let start = at;
    while budget.take() {
        match message.get(at) {
            None => return Err(WalkError::Short),
            Some(0) => return Ok(at + 1),
            Some(length @ 1..=63) => at += 1 + usize::from(*length),
            Some(0xc0..) => return Ok(at + 2),
            Some(_) => break,
        }
        if at - start > 255 {
            break;
        }
    }
    Err(WalkError::Bad)
}

/// Returns the end of a DSO message's TLVs (RFC 8490, 5.4.4).
fn tlvs_end(message: &[u8], mut at: usize, budget: &mut StepBudget) -> Option<usize> {
    while at < message.len() && budget.take() {
        at += 4 + read_u16(message, at + 2)?;
    }
    (at == message.len()).then_some(at)
}

fn read_u16(message: &[u8], at: usize) -> Option<usize> {
    let two = message.get(at..)?.first_chunk::<2>()?;
    Some(usize::from(u16::from_be_bytes(*two)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(bytes: &[u8], cut: bool) -> FrameCheck {
        check_frame(bytes, cut, &mut StepBudget::for_bytes(bytes.len()))
    }

    fn query() -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(b"\x07example\x03com\x00\x00\x01\x00\x01");
        message
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(message.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(message);
        bytes
    }

    #[test]
    fn rejects_middle_of_message() {
        let bytes = framed(&query());
        assert_eq!(judged(&bytes, false), FrameCheck::Message);
        for middle in 1..bytes.len() - 14 {
            assert_eq!(judged(&bytes[middle..], false), FrameCheck::NotMessage, "{middle}");
        }
        assert!(is_unframed_message(&bytes[2..]));
        assert!(!is_unframed_message(&bytes));
    }

    #[test]
    fn needs_more_until_question_complete() {
        let bytes = framed(&query());
        for length in 0..bytes.len() {
            assert_eq!(judged(&bytes[..length], false), FrameCheck::NeedMore, "{length}");
        }
        assert_eq!(judged(&bytes[..14], true), FrameCheck::Message);
        let mut longer = bytes.clone();
        longer[1] += 20;
        assert_eq!(judged(&longer, false), FrameCheck::Message, "more of it to come");
    }

    #[test]
    fn rejects_other_protocols() {
        assert_eq!(
            judged(b"GET / HTTP/1.1\r\nHost: example\r\n\r\n", false),
            FrameCheck::NotMessage
        );
        assert_eq!(
            judged(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdef", false),
            FrameCheck::NotMessage
        );
        assert_eq!(judged(b"\x00\x0baaaaaaaaaaaaaaaaaaa", false), FrameCheck::NotMessage);
    }

    #[test]
    fn accepts_stateful_operations() {
        // A unidirectional keepalive: id 0, one TLV of eight bytes.
        let mut message = vec![0, 0, DSO << 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        message.extend([0, 1, 0, 8, 0, 0, 39, 16, 0, 0, 39, 16]);
        assert_eq!(judged(&framed(&message), false), FrameCheck::Message);
        assert!(is_unframed_message(&message));
        assert!(begins_with_message(&framed(&message)));
        message[15] = 9;
        assert_eq!(judged(&framed(&message), false), FrameCheck::NotMessage);
    }

    #[test]
    fn limits_steps() {
        // Zeros after a header with counts: each eleven bytes read as one record.
        let mut message = vec![0; 60_000];
        message[2..8].copy_from_slice(&[0x80, 0, 0, 0, 0x15, 0]);
        let end = message.len();
        let mut budget = StepBudget::for_bytes(end);
        assert_eq!(sections_end(&message, &mut budget), Some(12 + 0x1500 * 11));
        assert_eq!(sections_end(&message, &mut StepBudget(100)), None);
    }
}
