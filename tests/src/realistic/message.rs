//! DNS messages with all features that resolvers use (RFC 1035, 6891, 7871, 7873, 8914, 9460), with
//! compressed names.

use super::names;
use crate::rng::Rng;

/// Record types.
pub mod kind {
    #![expect(missing_docs, reason = "the names are those of the types")]
    pub const A: u16 = 1;
    pub const NS: u16 = 2;
    pub const CNAME: u16 = 5;
    pub const SOA: u16 = 6;
    pub const PTR: u16 = 12;
    pub const MX: u16 = 15;
    pub const TXT: u16 = 16;
    pub const AAAA: u16 = 28;
    pub const SRV: u16 = 33;
    pub const OPT: u16 = 41;
    pub const DS: u16 = 43;
    pub const RRSIG: u16 = 46;
    pub const DNSKEY: u16 = 48;
    pub const HTTPS: u16 = 65;
}

/// A question and its options.
#[derive(Clone, Debug)]
pub struct Question {
    /// Message id.
    pub id: u16,
    /// Name, in the letter case in which it is sent.
    pub name: String,
    /// Zone whose SOA record is used for it.
    pub zone: String,
    /// Record type.
    pub kind: u16,
    /// EDNS options, if EDNS is used.
    pub edns: Option<Edns>,
}

/// Content of a query's OPT record.
#[derive(Clone, Copy, Debug)]
pub struct Edns {
    /// Whether DNSSEC records are requested (DO).
    pub dnssec_ok: bool,
    /// Whether a client cookie is added.
    pub cookie: bool,
    /// Whether a client subnet is added.
    pub subnet: bool,
}

/// Outcome of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answer records.
    Answer,
    /// The name exists, but has no such record (NODATA).
    NoData,
    /// NXDOMAIN.
    NxDomain,
    /// SERVFAIL.
    ServFail,
    /// REFUSED.
    Refused,
    /// Truncated (TC): retry over TCP.
    Truncated,
}

/// Builds the query.
#[must_use]
pub fn query(question: &Question) -> Vec<u8> {
    let mut message = Builder::new(question, [0x01, 0x00]);
    message.opt(question.edns, false);
    message.octets
}

/// Builds a response. `large`: too large for UDP.
#[must_use]
pub fn response(question: &Question, outcome: Outcome, large: bool, rng: &mut Rng) -> Vec<u8> {
    let (truncated, rcode) = match outcome {
        Outcome::Answer | Outcome::NoData => (0, 0),
        Outcome::ServFail => (0, 2),
        Outcome::NxDomain => (0, 3),
        Outcome::Refused => (0, 5),
        Outcome::Truncated => (0x02, 0),
    };
    let mut message = Builder::new(question, [0x81 | truncated, 0x80 | rcode]);
    match outcome {
        Outcome::Answer => message.answer(question, large, rng),
        Outcome::NoData | Outcome::NxDomain => message.soa(question, rng),
        _ => {}
    }
    message.opt(question.edns, outcome == Outcome::ServFail);
    message.octets
}

/// Offsets of the record counts in a message.
const ANSWERS: usize = 7;
const AUTHORITY: usize = 9;
const ADDITIONAL: usize = 11;
/// Class IN.
const IN: [u8; 2] = [0, 1];

struct Builder {
    octets: Vec<u8>,
    /// Names already written, with their offsets.
    known: Vec<(String, u16)>,
    ttl: u32,
}

impl Builder {
    fn new(question: &Question, flags: [u8; 2]) -> Self {
        let [high, low] = question.id.to_be_bytes();
        let octets = vec![high, low, flags[0], flags[1], 0, 1, 0, 0, 0, 0, 0, 0];
        let mut message = Self { octets, known: Vec::new(), ttl: 300 };
        message.name(&question.name);
        message.octets.extend(question.kind.to_be_bytes());
        message.octets.extend(IN);
        message
    }

    /// Writes a name; known suffixes become pointers (RFC 1035, section 4.1.4).
    fn name(&mut self, name: &str) {
        let mut rest = name;
        while !rest.is_empty() {
            let known = self.known.iter().find(|(known, _)| known == rest);
            if let Some((_, place)) = known {
                self.octets.extend((0xc000 | place).to_be_bytes());
                return;
            }
            if let Ok(place @ 0..0x4000) = u16::try_from(self.octets.len()) {
                self.known.push((rest.to_owned(), place));
            }
            let (label, behind) = rest.split_once('.').unwrap_or((rest, ""));
            self.octets.push(u8::try_from(label.len()).unwrap_or(63));
            self.octets.extend(label.bytes().take(63));
            rest = behind;
        }
        self.octets.push(0);
    }

    /// Writes a record of a section; `data` writes its data.
    fn record(&mut self, section: usize, owner: &str, kind: u16, data: impl FnOnce(&mut Self)) {
        self.name(owner);
        self.octets.extend(kind.to_be_bytes());
        self.octets.extend(IN);
        self.octets.extend(self.ttl.to_be_bytes());
        let length = self.octets.len();
        self.octets.extend([0, 0]);
        data(self);
        let octets = u16::try_from(self.octets.len() - length - 2).unwrap_or(0);
        self.octets[length..length + 2].copy_from_slice(&octets.to_be_bytes());
        self.octets[section] += 1;
    }

    /// Writes records of the requested type, after one or two aliases where the name may have them.
    fn answer(&mut self, question: &Question, large: bool, rng: &mut Rng) {
        self.ttl = rng.weighted(&[(30, 60), (30, 300), (20, 30), (15, 3600), (5, 86_400)]);
        let mut owner = question.name.clone();
        if matches!(question.kind, kind::A | kind::AAAA | kind::HTTPS) {
            for hop in 0..rng.weighted(&[(60, 0), (25, 1), (12, 2), (3, 3)]) {
                let target = names::alias(&owner, hop, rng);
                self.record(ANSWERS, &owner, kind::CNAME, |message| message.name(&target));
                owner = target;
            }
        }
        let count = match (question.kind, large) {
            (_, true) => 8 + rng.below(8),
            (kind::A | kind::AAAA, _) => rng.weighted(&[(50, 1), (20, 2), (10, 3), (20, 4)]),
            (kind::NS | kind::MX, _) => 2 + rng.below(3),
            (kind::PTR | kind::HTTPS | kind::SOA, _) => 1,
            _ => 1 + rng.below(3),
        };
        for number in 0..count {
            self.record(ANSWERS, &owner, question.kind, |message| {
                message.data(question, number, large, rng);
            });
        }
        if question.edns.is_some_and(|edns| edns.dnssec_ok) && rng.chance(0.4) {
            self.signature(ANSWERS, &owner, question, rng);
        }
    }

    /// Writes the data of record `number`.
    fn data(&mut self, question: &Question, number: u64, large: bool, rng: &mut Rng) {
        let zone = &question.zone;
        let [.., low] = number.to_be_bytes();
        let preference = [0, low * 10];
        match question.kind {
            kind::A => self.random(4, rng),
            kind::AAAA => {
                self.octets.extend([0x20, 0x01, 0x0d, 0xb8]);
                self.random(12, rng);
            }
            kind::NS => self.name(&format!("ns{number}.{zone}")),
            kind::PTR => self.name(&names::host(u32::try_from(rng.below(100_000)).unwrap_or(0))),
            kind::MX => {
                self.octets.extend(preference);
                self.name(&format!("mx{number}.{zone}"));
            }
            kind::SRV => {
                self.octets.extend([0, 0, 0, 5, 1, 133]);
                self.plain_name(&format!("dc{number}.{zone}"));
            }
            kind::SOA => self.soa_data(zone),
            // Priority 1, the owner itself, `alpn=h3,h2`, `ipv4hint`.
            kind::HTTPS => {
                self.octets.extend([0, 1, 0, 0, 1, 0, 6, 2, b'h', b'3', 2, b'h', b'2', 0, 4, 0, 4]);
                self.random(4, rng);
            }
            kind::DS => {
                self.random(2, rng);
                self.octets.extend([13, 2]);
                self.random(32, rng);
            }
            kind::DNSKEY => {
                self.octets.extend([1, 1, 3, 8]);
                self.random(260, rng);
            }
            _ => self.text(if large { 200 } else { 20 + rng.below(80) }, rng),
        }
    }

    /// Writes one character string.
    fn text(&mut self, length: u64, rng: &mut Rng) {
        const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz:./=01";
        self.octets.push(u8::try_from(length).unwrap_or(255));
        for _ in 0..length.min(255) {
            self.octets.push(LETTERS[usize::try_from(rng.below(32)).unwrap_or(0)]);
        }
    }

    /// Writes a name without compression.
    fn plain_name(&mut self, name: &str) {
        for label in name.split('.') {
            self.octets.push(u8::try_from(label.len()).unwrap_or(63));
            self.octets.extend(label.bytes().take(63));
        }
        self.octets.push(0);
    }

    fn random(&mut self, count: usize, rng: &mut Rng) {
        let end = self.octets.len() + count;
        while self.octets.len() < end {
            let octets = rng.next_u64().to_be_bytes();
            self.octets.extend(octets.into_iter().take(end - self.octets.len()));
        }
    }

    fn soa_data(&mut self, zone: &str) {
        self.name(&format!("ns1.{zone}"));
        self.name(&format!("hostmaster.{zone}"));
        for number in [2_024_010_101_u32, 7200, 900, 1_209_600, 300] {
            self.octets.extend(number.to_be_bytes());
        }
    }

    /// Writes the SOA record of the zone, signed if DNSSEC records were requested.
    fn soa(&mut self, question: &Question, rng: &mut Rng) {
        self.ttl = 300;
        self.record(AUTHORITY, &question.zone, kind::SOA, |message| {
            message.soa_data(&question.zone);
        });
        if question.edns.is_some_and(|edns| edns.dnssec_ok) && rng.chance(0.4) {
            self.signature(AUTHORITY, &question.zone, question, rng);
        }
    }

    /// Writes an ECDSA signature (RFC 4034, RFC 6605).
    fn signature(&mut self, section: usize, owner: &str, question: &Question, rng: &mut Rng) {
        let covered = if section == AUTHORITY { kind::SOA } else { question.kind };
        let ttl = self.ttl;
        self.record(section, owner, kind::RRSIG, |message| {
            message.octets.extend(covered.to_be_bytes());
            message.octets.extend([13, 2]);
            message.octets.extend(ttl.to_be_bytes());
            message.octets.extend([0x65, 0x80, 0, 0, 0x65, 0x70, 0, 0, 0x30, 0x39]);
            message.plain_name(&question.zone);
            message.random(64, rng);
        });
    }

    /// Writes the OPT record, if any, with an extended error if the query failed.
    fn opt(&mut self, edns: Option<Edns>, failed: bool) {
        let Some(edns) = edns else { return };
        let mut options: Vec<u8> = Vec::new();
        if edns.cookie {
            options.extend([0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
        }
        if edns.subnet {
            options.extend([0, 8, 0, 7, 0, 1, 24, 0, 198, 51, 100]);
        }
        if failed {
            options.extend([0, 15, 0, 2, 0, 22]);
        }
        let flags = if edns.dnssec_ok { 0x80 } else { 0 };
        self.octets.extend([0, 0, 41, 0x04, 0xd0, 0, 0, flags, 0, 0]);
        self.octets.push(u8::try_from(options.len()).unwrap_or(0));
        self.octets.extend(options);
        self.octets[ADDITIONAL] += 1;
    }
}
