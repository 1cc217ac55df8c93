//! One DNS message.

use dnscribe::decode::dns::{Answers, Dns, Outline};

/// Octets of a header, RFC 1035, 4.1.1.
const HEADER_BYTES: usize = 12;
/// A record takes eleven octets or more, and shows two names of 255 octets, each escaped to four
/// characters, and what else its data hold.
const SHOWN_PER_RECORD: usize = 3 * 4 * 255;

/// See [`super::Target::run`].
pub fn run(data: &[u8]) {
    let clipped = Outline::read(data, true);
    assert_eq!(clipped.is_ok(), data.len() >= HEADER_BYTES, "a clipped message needs its header");
    if let Ok(outline) = &clipped {
        show(data, outline);
    }
    let Ok(outline) = Outline::read(data, false) else { return };
    // What lies behind a message is its own only where nothing of it was cut off.
    let trailing_bytes = outline.trailing_bytes;
    let clipped = clipped.map(|mut clipped| {
        clipped.trailing_bytes = trailing_bytes;
        clipped
    });
    assert_eq!(
        Ok(&outline),
        clipped.as_ref(),
        "what is whole reads the same where it may be clipped"
    );
    assert!(trailing_bytes <= data.len() - HEADER_BYTES);
    let announced = usize::from(outline.counts.answer);
    // What is truncated may end in mid record.
    let shown = show(data, &outline);
    let every = shown == announced || outline.flags.truncated();
    assert!(every && shown <= announced, "every answer is there");
}

/// Shows all that stands in a message; the number of its answers.
fn show(data: &[u8], outline: &Outline) -> usize {
    let dns = Dns::new(data, outline);
    let mut answers = Answers::default();
    answers.read(dns.answers());
    let shown: usize = answers.iter().map(|one| one.name.len() + one.data.len()).sum();
    let most = (data.len() / 11 + 1) * SHOWN_PER_RECORD + 4 * data.len();
    assert!(shown <= most, "{} octets show as {shown}", data.len());
    assert_eq!(dns.question().is_some(), outline.asked().is_some());
    for question in dns.question().into_iter().chain(dns.further_questions()) {
        let qname = question.qname();
        assert!(!qname.bytes().any(|octet| octet.is_ascii_uppercase()));
        assert!(qname.bytes().all(|octet| (0x21..0x7f).contains(&octet)));
        assert_eq!(question.name.has_upper_case(), question.name.text() != qname);
    }
    if let Some(edns) = dns.edns() {
        edns.options().for_each(|option| drop(option.option_text()));
    }
    answers.len()
}
