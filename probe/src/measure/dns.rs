//! `dns`: a name at several resolvers in one round.

use super::{Context, Failure, Stage, begin, finish, milliseconds};
use crate::dns::{
    Exchange, Question, Resolver, Security, Validation, answer_owner, exchange, presentation,
    rcode_reason,
};
use crate::target::{DnsTarget, Target};
use dnscribe_dns::{Dns, MessageIndex, rcode_name};
use dnscribe_record::ProbeFields;
use futures_util::future::join_all;
use hickory_proto::rr::{Name, Record, RecordType};
use std::fmt::Write as _;
use std::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

/// Number of answers in a record; a count tells of more.
const MAX_ANSWERS: usize = 100;

/// Asks all resolvers at once.
pub(super) async fn measure(
    context: &Context,
    target: &Target,
    dns: &DnsTarget,
) -> Vec<ProbeFields> {
    let asked = dns.resolvers.iter().map(|resolver| one(context, target, dns, resolver));
    let mut found = join_all(asked).await;
    compare(&mut found);
    found
}

async fn one(
    context: &Context,
    target: &Target,
    dns: &DnsTarget,
    resolver: &Resolver,
) -> ProbeFields {
    let start = Instant::now();
    let mut fields = begin(context, target);
    fields.resolver = Some(resolver.name.clone());
    fields.protocol = Some(resolver.protocol.name().to_owned());
    fields.qname = Some(presentation(&dns.name));
    fields.qtype = Some(dns.record_type.to_string());
    let result = ask(&mut fields, context, target, dns, resolver).await;
    finish(fields, start, result)
}

async fn ask(
    fields: &mut ProbeFields,
    context: &Context,
    target: &Target,
    dns: &DnsTarget,
    resolver: &Resolver,
) -> Result<(), Failure> {
    let start = Instant::now();
    let question = Question {
        recursion: dns.recursion_desired,
        ..Question::new(dns.name.clone(), dns.record_type)
    };
    let found = exchange(resolver, &context.trust, &question, target.timeout).await?;
    let owner = answer_owner(&dns.name, dns.record_type, &found.response);
    describe(fields, &found, owner.as_ref().unwrap_or(&dns.name), dns.record_type)?;
    // Signatures cover record sets, and these types are none.
    let is_set = !matches!(dns.record_type, RecordType::ANY | RecordType::RRSIG);
    if dns.dnssec && is_set {
        // After the exchange, so that its latency is what other clients see.
        let left = target.timeout.saturating_sub(start.elapsed());
        let (validators, trust) = (&context.validators, &context.trust);
        let validating = validators.validate(resolver, trust, &dns.name, dns.record_type, left);
        judge_validation(fields, dns, validating.await)?;
    }
    let no_owner = || Failure::new(Stage::Dns, "cname_loop").with_detail("CNAME records in a loop");
    judge(fields, dns, &found, &owner.ok_or_else(no_owner)?)?;
    judge_security(fields, dns)
}

/// Fills in what a response says of its answers, which `owner` has.
fn describe(
    fields: &mut ProbeFields,
    found: &Exchange,
    owner: &Name,
    record_type: RecordType,
) -> Result<(), Failure> {
    fields.address = Some(found.server.ip().to_string());
    fields.protocol = Some(found.protocol.name().to_owned());
    fields.latency_ms = Some(milliseconds(found.latency));
    fields.connect_ms = found.connect.map(milliseconds);
    fields.handshake_ms = found.handshake.map(milliseconds);
    let rcode = rcode_name(found.response.metadata.response_code.into()).into_owned();
    let response = &found.response;
    let sections = [&response.answers, &response.authorities, &response.additionals];
    let count = |section: &Vec<Record>| u32::try_from(section.len()).ok();
    [fields.answer_records, fields.authority_records, fields.additional_records] =
        sections.map(count);
    let answers = answers_of(found, owner, record_type)?;
    fields.min_ttl_seconds = answers.iter().map(|(_, ttl)| *ttl).min();
    let mut texts: Vec<String> = answers.into_iter().map(|(text, _)| text).collect();
    texts.sort();
    texts.dedup();
    fields.answer_digest = Some(digest(&rcode, &texts));
    fields.rcode = Some(rcode);
    if texts.len() > MAX_ANSWERS {
        fields.answer_count = u32::try_from(texts.len()).ok();
        texts.truncate(MAX_ANSWERS);
    }
    fields.answers = texts;
    Ok(())
}

/// Returns the answers of a name and type in presentation format, with their TTLs.
pub(super) fn answers_of(
    found: &Exchange,
    owner: &Name,
    record_type: RecordType,
) -> Result<Vec<(String, u32)>, Failure> {
    let index = MessageIndex::parse(&found.wire, false)
        .map_err(|error| Failure::new(Stage::Dns, "malformed").with_detail(error.to_string()))?;
    // Both readers give the records in the order of the message.
    let records = found.response.answers.iter().zip(Dns::new(&found.wire, &index).answers());
    let wanted = records.filter(|(record, _)| {
        record.name == *owner
            && (record.record_type() == record_type || record_type == RecordType::ANY)
    });
    let write = |(_, record): (_, dnscribe_dns::Record<'_>)| {
        let mut text = String::new();
        record.push_data(&mut text);
        (text, record.ttl_seconds)
    };
    Ok(wanted.map(write).collect())
}

/// Notes the result of a validation. A bogus answer is a failure, whatever else the response says.
fn judge_validation(
    fields: &mut ProbeFields,
    dns: &DnsTarget,
    validation: Validation,
) -> Result<(), Failure> {
    let Validation { security, reason } = validation;
    fields.dnssec = Some(security.name().to_owned());
    fields.dnssec_reason.clone_from(&reason);
    if security != Security::Bogus {
        return Ok(());
    }
    let rcode = fields.rcode.as_deref().unwrap_or_default();
    let mut detail = reason.unwrap_or_default();
    if !dns.rcodes.iter().any(|good| good == rcode) {
        detail = format!("{detail}; response code {rcode}");
    }
    Err(Failure::new(Stage::Dns, "bogus").with_detail(detail))
}

fn judge(
    fields: &ProbeFields,
    dns: &DnsTarget,
    found: &Exchange,
    owner: &Name,
) -> Result<(), Failure> {
    let rcode = fields.rcode.as_deref().unwrap_or_default();
    if !dns.rcodes.iter().any(|good| good == rcode) {
        let reason = rcode_reason(found.response.metadata.response_code);
        return Err(Failure::new(Stage::Dns, reason).with_detail(format!("response code {rcode}")));
    }
    if rcode == "NOERROR" && fields.answers.is_empty() {
        let owner = presentation(owner);
        let mut detail = format!("{owner} has no record of type {}", dns.record_type);
        if !found.response.answers.is_empty() {
            let count = found.response.answers.len();
            detail = format!("{detail} among {count} records of the answer");
        }
        return Err(Failure::new(Stage::Dns, "no_data").with_detail(detail));
    }
    Ok(())
}

fn judge_security(fields: &ProbeFields, dns: &DnsTarget) -> Result<(), Failure> {
    let security = fields.dnssec.as_deref().unwrap_or(Security::Indeterminate.name());
    if !dns.require_secure || security == Security::Secure.name() {
        return Ok(());
    }
    let reason = fields.dnssec_reason.as_ref();
    let detail = reason.map_or(security.to_owned(), |reason| format!("{security}: {reason}"));
    Err(Failure::new(Stage::Dns, "not_secure").with_detail(detail))
}

/// Hash of a response code and a set of answers, whatever their order.
pub(super) fn digest(rcode: &str, answers: &[String]) -> String {
    let mut text = rcode.to_owned();
    for answer in answers {
        text.push('\n');
        text.push_str(answer);
    }
    let mut digest = String::new();
    // Writing to a String cannot fail.
    let _ = write!(digest, "{:016x}", xxh3_64(text.as_bytes()));
    digest
}

/// Says of each resolver which others gave other answers.
fn compare(found: &mut [ProbeFields]) {
    let digests: Vec<_> =
        found.iter().map(|one| (one.resolver.clone(), one.answer_digest.clone())).collect();
    for one in found.iter_mut().filter(|one| one.answer_digest.is_some()) {
        let others =
            digests.iter().filter(|(_, other)| other.is_some() && *other != one.answer_digest);
        one.differs_from = others.filter_map(|(resolver, _)| resolver.clone()).collect();
    }
}
