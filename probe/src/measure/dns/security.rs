//! Whether an answer is what its zone's keys sign, and whether the resolver gives the same one to clients that ask
//! without DO, as most do.

use super::{Asking, presentation};
use crate::dns::{Exchange, Question, Security, Validation, exchange, rcode_reason, type_name};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::collections::HashSet;

/// Number of answers without DO that are compared before a resolver is said to forge them: an answer may change from
/// query to query.
const MAX_COMPARED: usize = 3;

/// Number of forged records that a reason names.
const MAX_SHOWN: usize = 4;

/// Result of a validation.
pub(super) struct Validated {
    pub(super) validation: Validation,
    /// Whether the answer is secure, and clients that ask without DO get another one.
    pub(super) is_forged: bool,
}

impl From<Validation> for Validated {
    fn from(validation: Validation) -> Self {
        Self { validation, is_forged: false }
    }
}

/// Validates the answer that was measured.
pub(super) async fn validate(asking: &Asking<'_>, found: &Exchange) -> Validated {
    let Asking { context, dns, resolver, .. } = asking;
    let (validators, trust) = (&context.validators, &context.trust);
    match found.response.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => {
            let answer = &found.response;
            let validating = validators.validate(resolver, trust, answer, asking.time_left());
            let validation = validating.await;
            if validation.security != Security::Secure {
                return validation.into();
            }
            match find_forgery(asking, answer).await {
                Some(reason) => {
                    let validation = Validation { reason: Some(reason), ..validation };
                    let validation = Validation { security: Security::Bogus, ..validation };
                    Validated { validation, is_forged: true }
                }
                None => validation.into(),
            }
        }
        ResponseCode::ServFail => {
            let (name, record_type) = (&dns.name, dns.record_type);
            let limit = asking.time_left();
            validators.diagnose(resolver, trust, name, record_type, limit).await.into()
        }
        rcode => {
            let reason = format!("the response code {} proves nothing", rcode_reason(rcode));
            Validation::indeterminate(reason).into()
        }
    }
}

/// Records that are proved to be there.
struct Proved {
    rcode: ResponseCode,
    records: HashSet<(Name, RData)>,
    has_answer: bool,
}

impl Proved {
    fn of(answer: &Message, record_type: RecordType) -> Self {
        let mut proved = Self {
            rcode: answer.metadata.response_code,
            records: HashSet::new(),
            has_answer: has_answer(answer, record_type),
        };
        proved.add(answer);
        proved
    }

    fn add(&mut self, answer: &Message) {
        self.records.extend(records(answer));
    }

    /// Returns whether an answer has nothing but proved records, and some where there are some.
    fn covers(&self, answer: &Message, record_type: RecordType) -> bool {
        answer.metadata.response_code == self.rcode
            && has_answer(answer, record_type) == self.has_answer
            && records(answer).all(|record| self.records.contains(&record))
    }
}

fn records(answer: &Message) -> impl Iterator<Item = (Name, RData)> {
    let set = answer.answers.iter().filter(|record| !is_signature(record));
    set.map(|record| (record.name.to_lowercase(), record.data.clone()))
}

fn is_signature(record: &Record) -> bool {
    record.record_type() == RecordType::RRSIG
}

fn has_answer(answer: &Message, record_type: RecordType) -> bool {
    answer.answers.iter().any(|record| record.record_type() == record_type)
}

/// Compares a secure answer with the one that clients get who ask without DO. A resolver with response policies leaves
/// alone what such a client as the probe would find out (`break-dnssec no` of BIND). Returns what is forged.
async fn find_forgery(asking: &Asking<'_>, answer: &Message) -> Option<String> {
    let record_type = asking.dns.record_type;
    let mut proved = Proved::of(answer, record_type);
    if record_type == RecordType::AAAA && !proved.has_answer {
        // DNS64 makes addresses of those of IPv4 (RFC 6147, section 5.5).
        return None;
    }
    let plain = asking.question();
    let signed = Question { dnssec_ok: true, ..plain.clone() };
    let Asking { context, resolver, .. } = asking;
    let (validators, trust) = (&context.validators, &context.trust);
    for compared in 1..=MAX_COMPARED {
        let found = exchange(resolver, trust, &plain, asking.time_left()).await;
        let found = match found {
            Ok(found) => found.response,
            Err(failure) => {
                tracing::debug!(?failure, %resolver, "no answer without DO to compare");
                return None;
            }
        };
        let is_answer =
            matches!(found.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain);
        if !is_answer || proved.covers(&found, record_type) {
            return None;
        }
        if compared == MAX_COMPARED {
            return Some(describe(&proved, &found));
        }
        // Answers that rotate: what is signed now may be what was not a moment ago.
        let again = exchange(resolver, trust, &signed, asking.time_left()).await.ok()?.response;
        let validating = validators.validate(resolver, trust, &again, asking.time_left());
        if validating.await.security == Security::Secure {
            proved.add(&again);
        }
        if proved.covers(&found, record_type) {
            return None;
        }
    }
    None
}

fn describe(proved: &Proved, found: &Message) -> String {
    let unproved = records(found).filter(|record| !proved.records.contains(record));
    let shown: Vec<String> = unproved
        .take(MAX_SHOWN)
        .map(|(name, data)| {
            format!("{} {} {data}", presentation(&name), type_name(data.record_type()))
        })
        .collect();
    let what = if shown.is_empty() {
        let rcode = rcode_reason(found.metadata.response_code);
        format!(
            "an answer that the signatures do not prove ({rcode}, {} records)",
            found.answers.len()
        )
    } else {
        format!("{}, which no signature covers", shown.join(", "))
    };
    format!("clients that ask without DO get {what}")
}
