//! Finding the beginning of a DNS message in a stream joined in the middle.
//!
//! A message stands after its length in two octets (RFC 1035, 4.2.2). Whether some place in a
//! stream is such a beginning is told by the header behind it, its counts, and, once all of it is
//! there, whether its sections end where the length says.

/// Whether a message begins at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    Yes,
    No,
    /// Too few octets to tell.
    More,
}

const PREFIX: usize = 2;
const HEADER: usize = 12;

/// Judges whether `bytes` begin with a length and a message of it. `cut`: the octets behind `bytes`
/// were not captured and never will be.
pub(super) fn judge(bytes: &[u8], cut: bool) -> Judgement {
    let Some((prefix, message)) = bytes.split_first_chunk::<PREFIX>() else {
        return Judgement::More;
    };
    let length = usize::from(u16::from_be_bytes(*prefix));
    if length < HEADER {
        return Judgement::No;
    }
    let Some(header) = message.first_chunk::<HEADER>() else { return Judgement::More };
    if !plausible_header(header, length) {
        return Judgement::No;
    }
    if let Some(whole) = message.get(..length) {
        return if sections_end(whole) == Walk::End(length) {
            Judgement::Yes
        } else {
            Judgement::No
        };
    }
    match (questions_end(message), cut) {
        (Walk::Bad, _) => Judgement::No,
        (Walk::End(end), _) if end > length => Judgement::No,
        (Walk::End(_), _) | (Walk::Short, true) => Judgement::Yes,
        (Walk::Short, false) => Judgement::More,
    }
}

/// Whether `bytes` are exactly one message, whose length prefix was in an earlier segment.
pub(super) fn is_bare(bytes: &[u8]) -> bool {
    bytes.first_chunk().is_some_and(|header| plausible_header(header, bytes.len()))
        && sections_end(bytes) == Walk::End(bytes.len())
}

/// Whether the header (RFC 1035, 4.1.1) could be that of a message of `length` octets.
fn plausible_header(header: &[u8; HEADER], length: usize) -> bool {
    let count = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
    let (questions, answers) = (count(4), count(6));
    let records = answers + count(8) + count(10);
    let (response, opcode) = (header[2] & 0x80 != 0, header[2] >> 3 & 0x0f);
    let (zero, rcode) = (header[3] & 0x40, header[3] & 0x0f);
    // Notify and update (RFC 1996, 2136) ask with answers, others do not.
    let fits = response || (rcode == 0 && (answers == 0 || matches!(opcode, 4 | 5)));
    // Zone transfers go on without a question (RFC 5936, 2.2.1).
    let asks = questions == 1 || (questions == 0 && response && answers > 0);
    matches!(opcode, 0 | 1 | 2 | 4 | 5 | 6)
        && zero == 0
        && fits
        && asks
        && HEADER + questions * 5 + records * 11 <= length
}

/// How far a walk over a message's sections came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walk {
    /// To this octet.
    End(usize),
    /// To something that cannot be.
    Bad,
    /// To the end of the octets.
    Short,
}

fn questions_end(message: &[u8]) -> Walk {
    let Some(questions) = count(message, 4) else { return Walk::Short };
    let mut at = HEADER;
    for _ in 0..questions {
        match name_end(message, at) {
            Walk::End(end) => at = end + 4,
            other => return other,
        }
    }
    if at <= message.len() { Walk::End(at) } else { Walk::Short }
}

fn sections_end(message: &[u8]) -> Walk {
    let Walk::End(mut at) = questions_end(message) else { return Walk::Bad };
    let records: usize = [6, 8, 10].iter().filter_map(|at| count(message, *at)).sum();
    for _ in 0..records {
        let Walk::End(end) = name_end(message, at) else { return Walk::Bad };
        let Some(data) = count(message, end + 8) else { return Walk::Bad };
        at = end + 10 + data;
    }
    if at <= message.len() { Walk::End(at) } else { Walk::Bad }
}

/// Where the name at `at` ends in the message; pointers are not followed.
fn name_end(message: &[u8], mut at: usize) -> Walk {
    let start = at;
    loop {
        match message.get(at) {
            None => return Walk::Short,
            Some(0) => return Walk::End(at + 1),
            Some(length @ 1..=63) => at += 1 + usize::from(*length),
            Some(0xc0..) => return Walk::End(at + 2),
            Some(_) => return Walk::Bad,
        }
        if at - start > 255 {
            return Walk::Bad;
        }
    }
}

fn count(message: &[u8], at: usize) -> Option<usize> {
    let two = message.get(at..)?.first_chunk::<2>()?;
    Some(usize::from(u16::from_be_bytes(*two)))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn tells_a_message_from_its_middle() {
        let bytes = framed(&query());
        assert_eq!(judge(&bytes, false), Judgement::Yes);
        for middle in 1..bytes.len() - 14 {
            assert_eq!(judge(&bytes[middle..], false), Judgement::No, "{middle}");
        }
        assert!(is_bare(&bytes[2..]));
        assert!(!is_bare(&bytes));
    }

    #[test]
    fn asks_for_more_until_the_question_is_there() {
        let bytes = framed(&query());
        for length in 0..bytes.len() {
            assert_eq!(judge(&bytes[..length], false), Judgement::More, "{length}");
        }
        assert_eq!(judge(&bytes[..14], true), Judgement::Yes);
        let mut longer = bytes.clone();
        longer[1] += 20;
        assert_eq!(judge(&longer, false), Judgement::Yes, "more of it to come");
    }

    #[test]
    fn refuses_other_protocols() {
        assert_eq!(judge(b"GET / HTTP/1.1\r\nHost: example\r\n\r\n", false), Judgement::No);
        assert_eq!(
            judge(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdef", false),
            Judgement::No
        );
        assert_eq!(judge(b"\x00\x0baaaaaaaaaaaaaaaaaaa", false), Judgement::No);
    }
}
