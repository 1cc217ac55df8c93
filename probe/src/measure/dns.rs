//! `dns`: a name at several resolvers in one round.

use super::{Context, Failure, Stage, begin, finish, milliseconds};
use crate::dns::{Question, Resolver, exchange, presentation, rcode_reason};
use crate::target::{DnsTarget, Target};
use dnscribe_dns::rcode_name;
use dnscribe_record::ProbeFields;
use futures_util::future::join_all;
use hickory_proto::op::Message;
use std::fmt::Write as _;
use std::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

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
    let question = Question::new(dns.name.clone(), dns.record_type);
    let found = exchange(resolver, &context.trust, &question, target.timeout).await?;
    fields.address = Some(found.server.ip().to_string());
    fields.protocol = Some(found.protocol.name().to_owned());
    fields.latency_ms = Some(milliseconds(found.latency));
    fields.connect_ms = found.connect.map(milliseconds);
    fields.handshake_ms = found.handshake.map(milliseconds);
    describe(fields, &found.response, dns);
    judge(&found.response, fields, dns)
}

/// Fills in what a response says.
fn describe(fields: &mut ProbeFields, response: &Message, dns: &DnsTarget) {
    let rcode = rcode_name(response.metadata.response_code.into()).into_owned();
    let wanted = response.answers.iter().filter(|record| record.record_type() == dns.record_type);
    let mut answers: Vec<String> = wanted.clone().map(|record| record.data.to_string()).collect();
    answers.sort();
    answers.dedup();
    fields.min_ttl_seconds = wanted.map(|record| record.ttl).min();
    fields.answer_digest = Some(digest(&rcode, &answers));
    fields.rcode = Some(rcode);
    fields.answers = answers;
}

fn judge(response: &Message, fields: &ProbeFields, dns: &DnsTarget) -> Result<(), Failure> {
    let rcode = fields.rcode.as_deref().unwrap_or_default();
    if !dns.rcodes.iter().any(|good| good == rcode) {
        let reason = rcode_reason(response.metadata.response_code);
        return Err(Failure::new(Stage::Dns, reason).with_detail(format!("response code {rcode}")));
    }
    if rcode == "NOERROR" && fields.answers.is_empty() {
        let detail = format!("no record of type {}", dns.record_type);
        return Err(Failure::new(Stage::Dns, "no_data").with_detail(detail));
    }
    Ok(())
}

/// Hash of a response code and a set of answers, whatever their order.
fn digest(rcode: &str, answers: &[String]) -> String {
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
