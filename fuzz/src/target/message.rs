//! One DNS message.

use dnscribe::decode::dns::Dns;

/// Octets of a header, RFC 1035, 4.1.1.
const HEADER_BYTES: usize = 12;
/// A record takes eleven octets or more, and shows two names of 255 octets, each escaped to four
/// characters, and what else its data hold.
const SHOWN_PER_RECORD: usize = 3 * 4 * 255;

/// See [`super::Target::run`].
pub fn run(data: &[u8]) {
    let clipped = Dns::decode(data, true);
    assert_eq!(clipped.is_ok(), data.len() >= HEADER_BYTES, "a clipped message needs its header");
    let Ok(dns) = Dns::decode(data, false) else { return };
    // What lies behind a message is its own only where nothing of it was cut off.
    let clipped = clipped.map(|clipped| Dns { trailing_bytes: dns.trailing_bytes, ..clipped });
    assert_eq!(Ok(&dns), clipped.as_ref(), "what is whole reads the same where it may be clipped");
    assert!(dns.trailing_bytes <= data.len() - HEADER_BYTES);
    let announced = usize::from(dns.counts.answer);
    // What is truncated may end in mid record.
    let every = dns.answers.len() == announced || dns.flags.truncated();
    assert!(every && dns.answers.len() <= announced, "every answer is there");
    let shown: usize = dns.answers.iter().map(|one| one.name.len() + one.data.len()).sum();
    let most = (data.len() / 11 + 1) * SHOWN_PER_RECORD + 4 * data.len();
    assert!(shown <= most, "{} octets show as {shown}", data.len());
    if let Some(question) = &dns.question {
        assert!(!question.qname.bytes().any(|octet| octet.is_ascii_uppercase()));
        assert!(question.qname.bytes().all(|octet| (0x21..0x7f).contains(&octet)));
    }
}
