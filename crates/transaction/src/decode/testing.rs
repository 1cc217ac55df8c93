//! Messages for tests: editable fields that are written in wire format on request.

use super::{Dns, Envelope, Message, OwnedMessage};
use dnscribe_dns::{Answer, Answers, Counts, Flags, MessageIndex};

/// An editable message.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub envelope: Envelope,
    pub dns: DraftDns,
    pub wire_bytes: u32,
}

/// Contents of an editable message.
#[derive(Clone, Debug, Default)]
pub(crate) struct DraftDns {
    pub id: u16,
    pub flags: Flags,
    /// Number of authority records, which are not written.
    pub authority: u16,
    /// Serial of an SOA record in the authority section, as in a query for an IXFR.
    pub client_serial: Option<u32>,
    pub question: Option<DraftQuestion>,
    pub answers: Answers,
    /// The options of the OPT record; without options there is no OPT record.
    pub options: Vec<(u16, Vec<u8>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DraftQuestion {
    pub qname: Box<str>,
    pub qtype: u16,
    pub qclass: u16,
}

impl DraftDns {
    pub fn rcode(&self) -> u16 {
        self.flags.rcode().into()
    }
}

impl Draft {
    pub fn client_and_server(&self) -> (std::net::SocketAddr, std::net::SocketAddr) {
        let Envelope { src, dst, .. } = self.envelope;
        if self.dns.flags.is_response() { (dst, src) } else { (src, dst) }
    }

    /// Returns the message in wire format.
    pub fn to_message(&self) -> OwnedMessage {
        let octets = self.dns.to_bytes();
        // Only the count of the authority section is present.
        let outline = MessageIndex::parse(&octets, true).unwrap();
        let dns = Dns::new(&octets, &outline);
        assert_eq!(dns.answers().count(), self.dns.answers.len());
        assert_eq!(dns.question().is_some(), self.dns.question.is_some());
        Message { envelope: &self.envelope, dns, wire_bytes: self.wire_bytes }.into()
    }
}

impl DraftDns {
    pub fn to_bytes(&self) -> Vec<u8> {
        let count = |there: usize| u16::try_from(there).unwrap();
        let counts = Counts {
            question: count(usize::from(self.question.is_some())),
            answer: count(self.answers.len()),
            authority: self.authority + u16::from(self.client_serial.is_some()),
            additional: count(usize::from(!self.options.is_empty())),
        };
        let Counts { question, answer, authority, additional } = counts;
        let words = [self.id, self.flags.0, question, answer, authority, additional];
        let mut octets: Vec<u8> = words.into_iter().flat_map(u16::to_be_bytes).collect();
        if let Some(question) = &self.question {
            push_name(&mut octets, &question.qname);
            octets.extend([question.qtype, question.qclass].into_iter().flat_map(u16::to_be_bytes));
        }
        self.answers.iter().for_each(|answer| push_answer(&mut octets, &answer));
        if let Some(serial) = self.client_serial {
            let data = &format!("ns hostmaster {serial} 1 1 1 1");
            let soa = Answer { name: "a", class: 1, rtype: 6, ttl_seconds: 0, data };
            push_answer(&mut octets, &soa);
        }
        if !self.options.is_empty() {
            octets.extend(b"\0\0\x29\x04\xD0\0\0\0\0");
            let mut options = Vec::new();
            for (code, data) in &self.options {
                options.extend([*code, count(data.len())].into_iter().flat_map(u16::to_be_bytes));
                options.extend(data);
            }
            octets.extend(count(options.len()).to_be_bytes());
            octets.extend(options);
        }
        octets
    }
}

fn push_answer(octets: &mut Vec<u8>, answer: &Answer<'_>) {
    push_name(octets, answer.name);
    octets.extend([answer.rtype, answer.class].into_iter().flat_map(u16::to_be_bytes));
    octets.extend(answer.ttl_seconds.to_be_bytes());
    let mut data = Vec::new();
    match answer.rtype {
        1 => data.extend(answer.data.parse::<std::net::Ipv4Addr>().unwrap().octets()),
        5 | 12 => push_name(&mut data, answer.data),
        6 => {
            let mut fields = answer.data.split(' ');
            push_name(&mut data, fields.next().unwrap());
            push_name(&mut data, fields.next().unwrap());
            fields.for_each(|field| data.extend(field.parse::<u32>().unwrap().to_be_bytes()));
        }
        16 => data.extend(
            answer
                .data
                .bytes()
                .collect::<Vec<_>>()
                .chunks(255)
                .flat_map(|text| [&[u8::try_from(text.len()).unwrap()], text].concat()),
        ),
        other => panic!("type {other}"),
    }
    octets.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    octets.extend(data);
}

/// Writes a name without escapes.
fn push_name(octets: &mut Vec<u8>, name: &str) {
    for label in name.split('.').filter(|label| !label.is_empty()) {
        octets.push(u8::try_from(label.len()).unwrap());
        octets.extend(label.as_bytes());
    }
    octets.push(0);
}
