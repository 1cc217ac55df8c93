//! The DNS reader parses one message.

use dnscribe_dns::{AnswerLimits, Answers, Dns, MessageIndex};

/// Bytes of a header (RFC 1035, 4.1.1).
const HEADER_BYTES: usize = 12;
/// Longest text of a record: two names of 255 bytes, each byte escaped to four characters, and
/// other data. A record takes at least eleven bytes.
const MAX_TEXT_PER_RECORD: usize = 3 * 4 * 255;

/// See [`super::Target::run`].
pub fn run(data: &[u8]) {
    let clipped = MessageIndex::parse(data, true);
    assert_eq!(clipped.is_ok(), data.len() >= HEADER_BYTES, "a clipped message needs its header");
    if let Ok(outline) = &clipped {
        show(data, outline);
    }
    let Ok(outline) = MessageIndex::parse(data, false) else { return };
    // Trailing bytes are only known if nothing was cut off.
    let trailing_bytes = outline.trailing_bytes;
    let clipped = clipped.map(|mut clipped| {
        clipped.trailing_bytes = trailing_bytes;
        clipped
    });
    assert_eq!(
        Ok(&outline),
        clipped.as_ref(),
        "a whole message reads the same if it may be clipped"
    );
    assert!(trailing_bytes <= data.len() - HEADER_BYTES);
    let announced = usize::from(outline.counts.answer);
    // A truncated message may end inside a record.
    let shown = show(data, &outline);
    let every = shown == announced || outline.flags.is_truncated();
    assert!(every && shown <= announced, "an answer is missing");
}

/// Reads every part of a message; returns the number of answers.
fn show(data: &[u8], outline: &MessageIndex) -> usize {
    let dns = Dns::new(data, outline);
    let mut answers = Answers::default();
    answers.read(dns.answers(), AnswerLimits::NONE);
    let shown: usize = answers.iter().map(|one| one.name.len() + one.data.len()).sum();
    let most = (data.len() / 11 + 1) * MAX_TEXT_PER_RECORD + 4 * data.len();
    assert!(shown <= most, "{} bytes make {shown} bytes of text", data.len());
    assert_eq!(dns.question().is_some(), outline.question_type_and_class().is_some());
    for question in dns.question().into_iter().chain(dns.further_questions()) {
        let qname = question.qname();
        assert!(!qname.bytes().any(|byte| byte.is_ascii_uppercase()));
        assert!(qname.bytes().all(|byte| (0x21..0x7f).contains(&byte)));
        assert_eq!(question.name.has_upper_case(), question.name.text() != qname);
    }
    if let Some(edns) = dns.edns() {
        edns.options().for_each(|option| drop(option.option_text()));
    }
    answers.len()
}
