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

/// How many labels and records may be looked at. A search judges every place among its octets, and
/// without a bound somebody could make each of them look like the beginning of a long message.
#[derive(Debug)]
pub(super) struct Steps(usize);

impl Steps {
    /// As many as searching so many octets of anything takes, and some more.
    pub(super) fn for_octets(octets: usize) -> Self {
        Self(1024 + 4 * octets)
    }

    /// Takes a step; whether there was one left.
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

/// Judges whether `bytes` begin with a length and a message of it. `cut`: the octets behind `bytes`
/// were not captured and never will be.
pub(super) fn judge(bytes: &[u8], cut: bool, steps: &mut Steps) -> Judgement {
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
        return if sections_end(whole, steps) == Walk::End(length) {
            Judgement::Yes
        } else {
            Judgement::No
        };
    }
    match (questions_end(message, steps), cut) {
        (Walk::Bad, _) => Judgement::No,
        (Walk::End(end), _) if end > length => Judgement::No,
        (Walk::End(_), _) | (Walk::Short, true) => Judgement::Yes,
        (Walk::Short, false) => Judgement::More,
    }
}

/// Whether `bytes` are exactly one message, whose length prefix was in an earlier segment.
pub(super) fn is_bare(bytes: &[u8]) -> bool {
    let mut steps = Steps::for_octets(bytes.len());
    bytes.first_chunk().is_some_and(|header| plausible_header(header, bytes.len()))
        && sections_end(bytes, &mut steps) == Walk::End(bytes.len())
}

/// Whether `bytes` begin with a length and a whole message of it.
pub(super) fn is_framed(bytes: &[u8]) -> bool {
    bytes.split_first_chunk::<PREFIX>().is_some_and(|(prefix, message)| {
        message.get(..usize::from(u16::from_be_bytes(*prefix))).is_some_and(is_bare)
    })
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
    let asks = match opcode {
        // DSO counts nothing (RFC 8490, 5.4).
        DSO => questions == 0 && records == 0,
        // Zone transfers go on without a question (RFC 5936, 2.2.1).
        _ => questions == 1 || (questions == 0 && response && answers > 0),
    };
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

fn questions_end(message: &[u8], steps: &mut Steps) -> Walk {
    let Some(questions) = count(message, 4) else { return Walk::Short };
    let mut at = HEADER;
    for _ in 0..questions {
        match name_end(message, at, steps) {
            Walk::End(end) => at = end + 4,
            other => return other,
        }
    }
    if at <= message.len() { Walk::End(at) } else { Walk::Short }
}

fn sections_end(message: &[u8], steps: &mut Steps) -> Walk {
    let Walk::End(mut at) = questions_end(message, steps) else { return Walk::Bad };
    if message.get(2).is_some_and(|flags| flags >> 3 & 0x0f == DSO) {
        return tlvs_end(message, at, steps);
    }
    let records: usize = [6, 8, 10].iter().filter_map(|at| count(message, *at)).sum();
    for _ in 0..records {
        let Walk::End(end) = name_end(message, at, steps) else { return Walk::Bad };
        let Some(data) = count(message, end + 8) else { return Walk::Bad };
        at = end + 10 + data;
    }
    if at <= message.len() { Walk::End(at) } else { Walk::Bad }
}

/// Where the name at `at` ends in the message; pointers are not followed.
fn name_end(message: &[u8], mut at: usize, steps: &mut Steps) -> Walk {
    let start = at;
    while steps.take() {
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
    Walk::Bad
}

/// Where the type-length-values of a DSO message end (RFC 8490, 5.4.4).
fn tlvs_end(message: &[u8], mut at: usize, steps: &mut Steps) -> Walk {
    while at < message.len() && steps.take() {
        let Some(length) = count(message, at + 2) else { return Walk::Bad };
        at += 4 + length;
    }
    if at == message.len() { Walk::End(at) } else { Walk::Bad }
}

fn count(message: &[u8], at: usize) -> Option<usize> {
    let two = message.get(at..)?.first_chunk::<2>()?;
    Some(usize::from(u16::from_be_bytes(*two)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(bytes: &[u8], cut: bool) -> Judgement {
        judge(bytes, cut, &mut Steps::for_octets(bytes.len()))
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
    fn tells_a_message_from_its_middle() {
        let bytes = framed(&query());
        assert_eq!(judged(&bytes, false), Judgement::Yes);
        for middle in 1..bytes.len() - 14 {
            assert_eq!(judged(&bytes[middle..], false), Judgement::No, "{middle}");
        }
        assert!(is_bare(&bytes[2..]));
        assert!(!is_bare(&bytes));
    }

    #[test]
    fn asks_for_more_until_the_question_is_there() {
        let bytes = framed(&query());
        for length in 0..bytes.len() {
            assert_eq!(judged(&bytes[..length], false), Judgement::More, "{length}");
        }
        assert_eq!(judged(&bytes[..14], true), Judgement::Yes);
        let mut longer = bytes.clone();
        longer[1] += 20;
        assert_eq!(judged(&longer, false), Judgement::Yes, "more of it to come");
    }

    #[test]
    fn refuses_other_protocols() {
        assert_eq!(judged(b"GET / HTTP/1.1\r\nHost: example\r\n\r\n", false), Judgement::No);
        assert_eq!(
            judged(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdef", false),
            Judgement::No
        );
        assert_eq!(judged(b"\x00\x0baaaaaaaaaaaaaaaaaaa", false), Judgement::No);
    }

    #[test]
    fn knows_stateful_operations() {
        // A keepalive that wants no answer: id 0, one TLV of eight octets.
        let mut message = vec![0, 0, DSO << 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        message.extend([0, 1, 0, 8, 0, 0, 39, 16, 0, 0, 39, 16]);
        assert_eq!(judged(&framed(&message), false), Judgement::Yes);
        assert!(is_bare(&message));
        assert!(is_framed(&framed(&message)));
        message[15] = 9;
        assert_eq!(judged(&framed(&message), false), Judgement::No);
    }

    #[test]
    fn looks_only_so_far() {
        // Zeros behind a header that counts records: each eleven octets are one.
        let mut message = vec![0; 60_000];
        message[2..8].copy_from_slice(&[0x80, 0, 0, 0, 0x15, 0]);
        let end = message.len();
        let mut steps = Steps::for_octets(end);
        assert_eq!(sections_end(&message, &mut steps), Walk::End(12 + 0x1500 * 11));
        assert_eq!(sections_end(&message, &mut Steps(100)), Walk::Bad);
    }
}
