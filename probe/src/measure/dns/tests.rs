//! Answers, their signatures, and resolvers that tell some clients something else.

use super::*;
use crate::dns::testing::{a, record, response, serve_tcp, serve_udp, sockets, udp};
use crate::measure::{Round, measure};
use crate::target::TargetKind;
use crate::trust::{Anchor, Trust};
use hickory_proto::dnssec::crypto::Ed25519SigningKey;
use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS, RRSIG, SigInput};
use hickory_proto::dnssec::{Algorithm, DigestType, PublicKey as _, SigningKey as _, TBS};
use hickory_proto::op::Message;
use hickory_proto::rr::rdata::{CNAME, NS, SOA};
use hickory_proto::rr::{DNSClass, RData, SerialNumber};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const TRUE: [u8; 4] = [192, 0, 2, 80];
const FORGED: [u8; 4] = [203, 0, 113, 66];

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

/// A zone that is signed with one key: `test.`, whose key is the trust anchor, or one below it.
struct Zone {
    name: Name,
    key: Ed25519SigningKey,
    dnskey: DNSKEY,
}

impl Zone {
    fn new() -> Self {
        Self::named("test.")
    }

    fn named(zone: &str) -> Self {
        let key = Ed25519SigningKey::generate_pkcs8().unwrap();
        let key = Ed25519SigningKey::from_pkcs8(&key).unwrap();
        let dnskey = DNSKEY::with_flags(257, key.to_public_key().unwrap());
        Self { name: name(zone), key, dnskey }
    }

    fn trust(&self) -> Trust {
        let zone = self.name.clone();
        let digest = self.dnskey.to_digest(&zone, DigestType::SHA256).unwrap();
        let ds = DS::new(
            self.dnskey.calculate_key_tag().unwrap(),
            self.dnskey.public_key().algorithm(),
            DigestType::SHA256,
            digest.as_ref().to_vec(),
        );
        Trust { anchors: [Anchor { zone, ds }].into(), ..Trust::load(Some(&[]), None).unwrap() }
    }

    /// Describes the signature of a set with this record until `days` from now.
    fn input(&self, first: &Record, days: u32) -> SigInput {
        let seconds = Timestamp::now().as_nanos() / 1_000_000_000;
        let now = u32::try_from(seconds).unwrap();
        SigInput {
            type_covered: first.record_type(),
            algorithm: self.dnskey.public_key().algorithm(),
            num_labels: first.name.num_labels(),
            original_ttl: first.ttl,
            sig_expiration: SerialNumber::new(now + days * 86_400),
            sig_inception: SerialNumber::new(now - 86_400),
            key_tag: self.dnskey.calculate_key_tag().unwrap(),
            signer_name: self.name.clone(),
        }
    }

    /// Signs records of one set until `days` from now.
    fn sign(&self, set: &[Record], days: u32) -> Record {
        let first = &set[0];
        let input = self.input(first, days);
        let bytes = TBS::from_input(&first.name, DNSClass::IN, &input, set.iter()).unwrap();
        let signature = RRSIG::from_sig(input, self.key.sign(&bytes).unwrap());
        let data = RData::DNSSEC(DNSSECRData::RRSIG(signature));
        Record::from_rdata(first.name.clone(), first.ttl, data)
    }

    /// Answers a query for the keys; for anything else with these records, signed if `is_signed`.
    fn answer(&self, query: &Message, records: &[Record], is_signed: bool) -> Vec<u8> {
        let mut message = response(query);
        let key = RData::DNSSEC(DNSSECRData::DNSKEY(self.dnskey.clone()));
        let keys = [Record::from_rdata(self.name.clone(), 60, key)];
        let is_of_keys = query.queries[0].query_type() == RecordType::DNSKEY;
        let records = if is_of_keys { &keys[..] } else { records };
        message.add_answers(records.iter().cloned());
        if is_signed || is_of_keys {
            message.add_answer(self.sign(records, 10));
        }
        message.to_vec().unwrap()
    }
}

fn asks_for_signatures(query: &Message) -> bool {
    query.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok)
}

/// Measures `www.test. A` at a resolver.
async fn probe(server: SocketAddr, trust: Trust) -> ProbeFields {
    let dns = DnsTarget {
        name: name("www.test."),
        record_type: RecordType::A,
        resolvers: vec![Arc::new(Resolver::udp("one", server))],
        rcodes: vec!["NOERROR".to_owned()],
        expected: None,
        dnssec: true,
        require_secure: false,
        recursion_desired: true,
    };
    let target = Target {
        service: "shop".into(),
        name: "www.test A".to_owned(),
        interval: Duration::from_mins(1),
        timeout: Duration::from_secs(5),
        retries: 1,
        kind: TargetKind::Dns(dns),
    };
    let context = Context::new("test".to_owned(), trust);
    let Round { mut found, .. } = measure(&context, &Arc::new(target)).await;
    found.remove(0)
}

fn result(fields: &ProbeFields) -> (&str, &str) {
    let reason = fields.error.as_ref().map_or("", |error| error.reason.as_str());
    (reason, fields.dnssec.as_deref().unwrap_or_default())
}

#[tokio::test]
async fn what_is_measured_is_what_is_validated() {
    let zone = Arc::new(Zone::new());
    let trust = zone.trust();
    // A resolver that gives the first who asks a false answer, and everybody else the true one.
    let asked = AtomicU32::new(0);
    let server = udp(move |query| {
        let is_of_name = query.queries[0].query_type() == RecordType::A;
        if is_of_name && asked.fetch_add(1, Ordering::Relaxed) == 0 {
            return vec![zone.answer(&query, &[a("www.test.", FORGED)], false)];
        }
        let is_signed = asks_for_signatures(&query);
        vec![zone.answer(&query, &[a("www.test.", TRUE)], is_signed)]
    })
    .await;
    let fields = probe(server, trust).await;
    assert_eq!(fields.answers, ["203.0.113.66"]);
    assert_eq!(result(&fields), ("bogus", "bogus"), "{fields:?}");
}

/// Without its DS records, a zone is unsigned, and whoever takes them away may forge what it has.
#[tokio::test]
async fn a_resolver_that_takes_ds_records_away_is_found_out() {
    let (parent, child) = (Zone::new(), Zone::named("www.test."));
    let trust = parent.trust();
    let server = udp(move |query| {
        let question = &query.queries[0];
        vec![match question.query_type() {
            RecordType::DNSKEY if *question.name() == child.name => child.answer(&query, &[], true),
            RecordType::DNSKEY => parent.answer(&query, &[], true),
            RecordType::A => {
                let signature = child.sign(&[a("www.test.", TRUE)], 10);
                let mut message = response(&query);
                message.add_answers([a("www.test.", FORGED), signature]);
                message.to_vec().unwrap()
            }
            _ => response(&query).to_vec().unwrap(),
        }]
    })
    .await;
    let fields = probe(server, trust).await;
    assert_eq!(result(&fields), ("bogus", "bogus"), "{fields:?}");
    let reason = fields.dnssec_reason.unwrap();
    assert_eq!(reason, "NSEC or NSEC3 proof is missing: www.test has no DS record");
}

#[tokio::test]
async fn algorithms_that_are_unknown_here_are_named() {
    let (parent, child) = (Zone::new(), Zone::named("www.test."));
    let trust = parent.trust();
    // That of Ed448.
    let algorithm = Algorithm::Unknown(16);
    let server = udp(move |query| {
        let question = &query.queries[0];
        vec![match question.query_type() {
            RecordType::DNSKEY if *question.name() == child.name => child.answer(&query, &[], true),
            RecordType::DS => {
                let ds = DS::new(1, algorithm, DigestType::SHA256, vec![0; 32]);
                let ds = record("www.test.", RData::DNSSEC(DNSSECRData::DS(ds)));
                parent.answer(&query, &[ds], true)
            }
            RecordType::A => {
                let input = child.input(&a("www.test.", TRUE), 10);
                let signature = RRSIG::from_sig(SigInput { algorithm, ..input }, vec![0; 114]);
                let signature = RData::DNSSEC(DNSSECRData::RRSIG(signature));
                let mut message = response(&query);
                message.add_answers([a("www.test.", TRUE), record("www.test.", signature)]);
                message.to_vec().unwrap()
            }
            RecordType::DNSKEY => parent.answer(&query, &[], true),
            _ => response(&query).to_vec().unwrap(),
        }]
    })
    .await;
    let fields = probe(server, trust).await;
    assert_eq!(result(&fields), ("", "indeterminate"), "{fields:?}");
    let reason = fields.dnssec_reason.unwrap();
    assert!(reason.starts_with("www.test is signed by algorithm 16, "), "{reason}");
}

#[tokio::test]
async fn a_name_that_is_signed_exists() {
    let zone = Arc::new(Zone::new());
    let trust = zone.trust();
    let server = udp(move |query| {
        let answer = zone.answer(&query, &[a("www.test.", TRUE)], asks_for_signatures(&query));
        let mut message = Message::from_vec(&answer).unwrap();
        if query.queries[0].query_type() == RecordType::A {
            message.metadata.response_code = ResponseCode::NXDomain;
        }
        vec![message.to_vec().unwrap()]
    })
    .await;
    let fields = probe(server, trust).await;
    assert_eq!(result(&fields), ("bogus", "bogus"), "{fields:?}");
}

#[tokio::test]
async fn a_secure_answer_has_the_end_of_its_signatures() {
    let zone = Arc::new(Zone::new());
    let trust = zone.trust();
    let server = udp(move |query| {
        vec![zone.answer(&query, &[a("www.test.", TRUE)], asks_for_signatures(&query))]
    })
    .await;
    let fields = probe(server, trust).await;
    assert_eq!(result(&fields), ("", "secure"), "{fields:?}");
    // As other clients get it: without the signature.
    assert_eq!((fields.answer_records, fields.answers.len()), (Some(1), 1));
    assert_eq!(fields.answer_digest, Some(digest("NOERROR", &fields.answers)));
    let signature = fields.signature.unwrap();
    assert!((9.9..=10.0).contains(&signature.expiry_days), "{signature:?}");
    assert!((signature.lifetime_days - 11.0).abs() < 0.01, "{signature:?}");
}

#[tokio::test]
async fn answers_for_clients_without_do_are_compared() {
    let other = [192, 0, 2, 81];
    // What is answered without DO, what with DO at the first and at later queries, and the result.
    for (plain, signed, expected) in [
        (vec![FORGED], [TRUE, TRUE], ("forged", "bogus")),
        (vec![], [TRUE, TRUE], ("forged", "bogus")),
        (vec![TRUE], [TRUE, TRUE], ("", "secure")),
        // An answer that rotates: all of its records are signed.
        (vec![other], [TRUE, other], ("", "secure")),
    ] {
        let zone = Arc::new(Zone::new());
        let trust = zone.trust();
        let asked = AtomicU32::new(0);
        let answered = plain.clone();
        let server = udp(move |query| {
            if !asks_for_signatures(&query) {
                let records = answered.iter().map(|address| a("www.test.", *address));
                return vec![zone.answer(&query, &records.collect::<Vec<_>>(), false)];
            }
            let is_of_name = query.queries[0].query_type() == RecordType::A;
            let is_later = is_of_name && asked.fetch_add(1, Ordering::Relaxed) > 0;
            vec![zone.answer(&query, &[a("www.test.", signed[usize::from(is_later)])], true)]
        })
        .await;
        let fields = probe(server, trust).await;
        assert_eq!(result(&fields), expected, "{plain:?}: {fields:?}");
        if plain == [FORGED] {
            let reason = fields.dnssec_reason.unwrap();
            assert!(reason.contains("www.test A 203.0.113.66"), "{reason}");
        }
    }
}

#[tokio::test]
async fn resolvers_without_signatures_are_asked_without() {
    let zone = Arc::new(Zone::new());
    // One that does not know DO, and one that would need TCP, which it does not have.
    let refusing = |query: &Message| {
        let mut message = response(query);
        message.metadata.response_code = ResponseCode::FormErr;
        message.to_vec().unwrap()
    };
    let truncating = |query: &Message| {
        let mut message = response(query);
        message.metadata.truncation = true;
        message.to_vec().unwrap()
    };
    for limited in [refusing as fn(&Message) -> Vec<u8>, truncating] {
        let server = udp(move |query| {
            let is_signed = asks_for_signatures(&query);
            let plain = || response(&query).add_answer(a("www.test.", TRUE)).to_vec().unwrap();
            vec![if is_signed { limited(&query) } else { plain() }]
        })
        .await;
        let fields = probe(server, zone.trust()).await;
        assert_eq!(result(&fields), ("", "indeterminate"), "{fields:?}");
        assert_eq!(fields.answers, ["192.0.2.80"]);
        let reason = fields.dnssec_reason.unwrap();
        assert!(reason.starts_with("the resolver gives no signatures: "), "{reason}");
    }
    // A resolver that answers without those that it was asked for says nothing of the zone.
    let server =
        udp(move |query| vec![response(&query).add_answer(a("www.test.", TRUE)).to_vec().unwrap()])
            .await;
    let fields = probe(server, zone.trust()).await;
    assert_eq!(result(&fields), ("", "indeterminate"), "{fields:?}");
}

#[tokio::test]
async fn long_signed_answers_are_validated_over_tcp() {
    let zone = Arc::new(Zone::new());
    let trust = zone.trust();
    let (socket, listener) = sockets(Ipv4Addr::LOCALHOST.into(), 0).await;
    let server = listener.local_addr().unwrap();
    let over_udp = Arc::clone(&zone);
    tokio::spawn(serve_udp(socket, move |query| {
        let is_of_name = query.queries[0].query_type() == RecordType::A;
        if !asks_for_signatures(&query) || !is_of_name {
            return vec![over_udp.answer(&query, &[a("www.test.", TRUE)], false)];
        }
        let mut message = response(&query);
        message.metadata.truncation = true;
        vec![message.to_vec().unwrap()]
    }));
    tokio::spawn(serve_tcp(listener, move |query| {
        zone.answer(&query, &[a("www.test.", TRUE)], true)
    }));
    let fields = probe(server, trust).await;
    assert_eq!(result(&fields), ("", "secure"), "{fields:?}");
    assert_eq!(fields.protocol.as_deref(), Some("tcp"));
}

#[tokio::test]
async fn a_referral_says_nothing_of_the_name() {
    // What the server says besides its nameservers: whether it recurses or has authority, and an SOA record.
    for (recurses, authoritative, has_soa, expected) in [
        (false, false, false, "refused"),
        (true, false, false, "no_data"),
        (false, true, false, "no_data"),
        (false, false, true, "no_data"),
    ] {
        let server = udp(move |query| {
            let mut message = response(&query);
            message.metadata.recursion_desired = true;
            message.metadata.recursion_available = recurses;
            message.metadata.authoritative = authoritative;
            message.add_authority(record("test.", RData::NS(NS(name("ns.test.")))));
            if has_soa {
                let soa = SOA::new(name("ns.test."), name("admin.test."), 1, 1, 1, 1, 1);
                message.add_authority(record("test.", RData::SOA(soa)));
            }
            vec![message.to_vec().unwrap()]
        })
        .await;
        let trust = Trust { anchors: Arc::from([]), ..Trust::load(Some(&[]), None).unwrap() };
        let error = probe(server, trust).await.error.unwrap();
        assert_eq!((error.stage.as_str(), error.reason.as_str()), ("dns", expected));
        let detail = "the server does not recurse: it refers to the nameservers of test";
        assert_eq!(error.detail.as_deref() == Some(detail), expected == "refused");
    }
}

#[tokio::test]
async fn names_the_target_of_a_dangling_alias_and_what_the_resolver_says() {
    let alias = |from: &str, to: &str| record(from, RData::CNAME(CNAME(name(to))));
    let server = udp(move |query| {
        let mut message = response(&query);
        message.metadata.response_code = ResponseCode::NXDomain;
        message.add_answer(alias("www.test.", "CDN.test."));
        message.add_answer(alias("cdn.test.", "old.gone.test."));
        let mut wire = message.to_vec().unwrap();
        // OPT with two extended errors, the second with a text.
        wire[11] = 1;
        wire.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 18]);
        wire.extend([0, 15, 0, 2, 0, 15, 0, 15, 0, 8, 0, 22]);
        wire.extend(b"at \x07ns");
        vec![wire]
    })
    .await;
    let trust = Trust { anchors: Arc::from([]), ..Trust::load(Some(&[]), None).unwrap() };
    let fields = probe(server, trust).await;
    let error = fields.error.clone().unwrap();
    assert_eq!((error.stage.as_str(), error.reason.as_str()), ("dns", "dangling_cname"));
    let detail = error.detail.unwrap();
    assert_eq!(detail, "cdn.test is an alias of old.gone.test, which does not exist");
    assert_eq!(fields.cname_chain, ["cdn.test", "old.gone.test"]);
    let shown: Vec<String> = fields.ede.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["EDE 15 (Blocked)", "EDE 22 (No Reachable Authority): at \u{fffd}ns"]);
}
