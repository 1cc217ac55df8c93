//! `dns`: a name at several resolvers in one round.
//!
//! Where the answer is validated, it is asked for with DO, once: what is recorded is what was validated.

mod security;
#[cfg(test)]
mod tests;

use super::{Context, Failure, Stage, begin, finish, milliseconds, printable};
use crate::dns::{
    Exchange, Protocol, Question, Resolver, Security, Validation, aliases, exchange, presentation,
    rcode_reason, referral, type_name,
};
use crate::failure::{OPEN_FILES, SOURCE_ADDRESS};
use crate::target::{DnsTarget, Target};
use dnscribe_dns::{Dns, MessageIndex, rcode_name};
use dnscribe_record::time::Timestamp;
use dnscribe_record::{EdeFields, ProbeFields, SignatureFields};
use futures_util::future::join_all;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, Record, RecordType};
use security::Validated;
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::xxh3_64;

/// Number of answers in a record; a count tells of more.
const MAX_ANSWERS: usize = 100;

/// Number of extended errors in a record.
const MAX_EXTENDED_ERRORS: usize = 8;

const SECONDS_OF_DAY: f64 = 86_400.0;

/// One resolver that is asked for a target.
struct Asking<'a> {
    context: &'a Context,
    dns: &'a DnsTarget,
    resolver: &'a Resolver,
    retries: u32,
    deadline: Instant,
}

impl Asking<'_> {
    fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Returns the question as clients ask it.
    fn question(&self) -> Question {
        Question {
            recursion: self.dns.recursion_desired,
            retries: self.retries,
            ..Question::new(self.dns.name.clone(), self.dns.record_type)
        }
    }

    async fn ask(&self, question: &Question) -> Result<Exchange, Failure> {
        exchange(self.resolver, &self.context.trust, question, self.time_left()).await
    }

    /// Asks for the answer with its signatures. A resolver that cannot give these, because it does not know of DO or
    /// because they need TCP that it does not have, is asked without; returns then why nothing is validated.
    async fn ask_signed(&self) -> Result<(Exchange, Option<Validation>), Failure> {
        let question = Question { dnssec_ok: true, ..self.question() };
        let problem = match self.ask(&question).await {
            Ok(found) => match found.response.metadata.response_code {
                rcode @ (ResponseCode::FormErr | ResponseCode::NotImp) => {
                    rcode_reason(rcode).to_owned()
                }
                _ => return Ok((found, None)),
            },
            // A connection of a resolver that is asked over UDP is that for a truncated response.
            Err(failure)
                if failure.stage == Stage::Connect
                    && self.resolver.protocol == Protocol::Udp
                    && ![OPEN_FILES, SOURCE_ADDRESS].contains(&failure.reason) =>
            {
                let detail = failure.detail.map(|detail| format!(": {detail}"));
                format!("{}{}", failure.reason, detail.unwrap_or_default())
            }
            Err(failure) => return Err(failure),
        };
        let found = self.ask(&self.question()).await?;
        let reason = format!("the resolver gives no signatures: {problem}");
        Ok((found, Some(Validation::indeterminate(reason))))
    }
}

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
    fields.qtype = Some(type_name(dns.record_type).into_owned());
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
    let deadline = Instant::now() + target.timeout;
    let asking = Asking { context, dns, resolver, retries: target.retries, deadline };
    // Signatures cover record sets, and these types are none.
    let is_set = !matches!(dns.record_type, RecordType::ANY | RecordType::RRSIG);
    let is_validated = dns.dnssec && is_set;
    let (found, unsigned) = if is_validated {
        asking.ask_signed().await?
    } else {
        (asking.ask(&asking.question()).await?, None)
    };
    let chain = aliases(&dns.name, dns.record_type, &found.response);
    let names = chain.as_deref().unwrap_or_default();
    describe(fields, &found, names.last().unwrap_or(&dns.name), dns.record_type)?;
    fields.cname_chain = names.iter().map(presentation).collect();
    if let Some(refers) = referral(&found.response) {
        let detail = format!("the server {refers}");
        return Err(Failure::new(Stage::Dns, "refused").with_detail(detail));
    }
    if is_validated {
        // After the exchange, so that its latency is what other clients see.
        let validated = match unsigned {
            Some(validation) => validation.into(),
            None => security::validate(&asking, &found).await,
        };
        judge_validation(fields, dns, validated)?;
    }
    let no_end = || Failure::new(Stage::Dns, "cname_loop").with_detail("CNAME records in a loop");
    judge(fields, dns, &found, &chain.ok_or_else(no_end)?)?;
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
    fields.attempt = found.attempts;
    fields.latency_ms = Some(milliseconds(found.latency));
    fields.connect_ms = found.connect.map(milliseconds);
    fields.handshake_ms = found.handshake.map(milliseconds);
    let rcode = rcode_name(found.response.metadata.response_code.into()).into_owned();
    let response = &found.response;
    let sections = [&response.answers, &response.authorities, &response.additionals];
    // Without what only DO asks for: other clients do not get it.
    let is_counted =
        |record: &&Record| !is_of_dnssec(record) || record.record_type() == record_type;
    let count =
        |section: &Vec<Record>| u32::try_from(section.iter().filter(is_counted).count()).ok();
    [fields.answer_records, fields.authority_records, fields.additional_records] =
        sections.map(count);
    fields.ede = extended_errors(found)?;
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
    let index = index(found)?;
    let shown: Vec<_> = Dns::new(&found.wire, &index).answers().collect();
    let validated = &found.response.answers;
    // Two readers of one message: what is shown must be what is validated.
    let is_same = shown.len() == validated.len()
        && shown.iter().zip(validated).all(|(one, other)| {
            one.rtype == u16::from(other.record_type()) && one.class == u16::from(other.dns_class)
        });
    if !is_same {
        let detail = "the records of the answer cannot be told from each other";
        return Err(Failure::new(Stage::Dns, "malformed").with_detail(detail));
    }
    let wanted = validated.iter().zip(shown).filter(|(record, _)| {
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

fn index(found: &Exchange) -> Result<MessageIndex, Failure> {
    MessageIndex::parse(&found.wire, false)
        .map_err(|error| Failure::new(Stage::Dns, "malformed").with_detail(error.to_string()))
}

/// Returns what the resolver says of its own result (RFC 8914).
fn extended_errors(found: &Exchange) -> Result<Vec<EdeFields>, Failure> {
    let index = index(found)?;
    let edns = Dns::new(&found.wire, &index).edns();
    let errors = edns.iter().flat_map(|edns| edns.extended_errors().take(MAX_EXTENDED_ERRORS));
    Ok(errors.map(|error| EdeFields { code: error.code, text: printable(&error.text) }).collect())
}

/// Returns whether a record is one that servers add for those who ask with DO (RFC 4035, section 3.1).
fn is_of_dnssec(record: &Record) -> bool {
    let kind = record.record_type();
    matches!(kind, RecordType::RRSIG | RecordType::NSEC | RecordType::NSEC3 | RecordType::DS)
}

/// Notes the result of a validation. A bogus answer is a failure, whatever else the response says.
fn judge_validation(
    fields: &mut ProbeFields,
    dns: &DnsTarget,
    validated: Validated,
) -> Result<(), Failure> {
    let Validated { validation, is_forged } = validated;
    let Validation { security, reason, signed_until } = validation;
    fields.dnssec = Some(security.name().to_owned());
    fields.dnssec_reason.clone_from(&reason);
    fields.signature = signed_until.map(|set| SignatureFields {
        record: set.shown(),
        not_after: set.expires,
        expiry_days: days_until(set.expires),
        lifetime_days: round_days(set.lifetime.as_secs_f64()),
    });
    if security != Security::Bogus {
        return Ok(());
    }
    if is_forged {
        return Err(Failure::new(Stage::Dns, "forged").with_detail(reason.unwrap_or_default()));
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
    chain: &[Name],
) -> Result<(), Failure> {
    let rcode = fields.rcode.as_deref().unwrap_or_default();
    if !dns.rcodes.iter().any(|good| good == rcode) {
        if let ("NXDOMAIN", [above @ .., target]) = (rcode, chain) {
            let alias = presentation(above.last().unwrap_or(&dns.name));
            let detail =
                format!("{alias} is an alias of {}, which does not exist", presentation(target));
            return Err(Failure::new(Stage::Dns, "dangling_cname").with_detail(detail));
        }
        let reason = rcode_reason(found.response.metadata.response_code);
        return Err(Failure::new(Stage::Dns, reason).with_detail(format!("response code {rcode}")));
    }
    if rcode == "NOERROR" && fields.answers.is_empty() {
        let owner = presentation(chain.last().unwrap_or(&dns.name));
        let mut detail = format!("{owner} has no record of type {}", type_name(dns.record_type));
        if !found.response.answers.is_empty() {
            let count = found.response.answers.len();
            detail = format!("{detail} among {count} records of the answer");
        }
        return Err(Failure::new(Stage::Dns, "no_data").with_detail(detail));
    }
    let expected = dns.expected.as_ref().filter(|_| rcode == "NOERROR");
    match expected.and_then(|expected| expected.difference(&fields.answers)) {
        Some(detail) => Err(Failure::new(Stage::Dns, "answer_mismatch").with_detail(detail)),
        None => Ok(()),
    }
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

/// Days until a time, to a thousandth; negative once it has passed.
fn days_until(time: Timestamp) -> f64 {
    let now = Timestamp::now();
    round_days(time.since(now).as_secs_f64() - now.since(time).as_secs_f64())
}

fn round_days(seconds: f64) -> f64 {
    (seconds / SECONDS_OF_DAY * 1e3).round() / 1e3
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
