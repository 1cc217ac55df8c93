//! The process, container and pod behind a transaction, a connection or a dead letter, as far as known.

use crate::enrich::Enricher;
use crate::pipeline::filter::{Filter, FilterQuestion, FilterSubject};
use dnscribe_analysis::attribution::{Attribution, Process};
use dnscribe_dns::Question;
use dnscribe_transaction::decode::Message;
use dnscribe_transaction::packet::Task;
use dnscribe_transaction::pair::{Transaction, Vantage};
use std::net::IpAddr;

/// Looks up a task. The first lookup must come while the task is alive.
pub(super) fn attribute(
    enricher: &mut Option<Enricher>,
    task: Option<&Task>,
    cgroup_id: u64,
) -> Attribution {
    match enricher {
        Some(enricher) => enricher.attribute(task, cgroup_id),
        None => Attribution {
            process: task.map(|task| Process::new(task, None)),
            ..Attribution::default()
        },
    }
}

/// Looks up the sender of a message.
pub(super) fn attribute_sender(
    enricher: &mut Option<Enricher>,
    message: &Message<'_>,
) -> Attribution {
    let envelope = message.envelope;
    attribute(enricher, envelope.task.as_ref(), envelope.cgroup_id)
}

/// Looks up the process of a transaction: at the server, the sender of the response; elsewhere, the sender of
/// the query. If its task is unknown, the other one.
pub(super) fn attribute_transaction(
    enricher: &mut Option<Enricher>,
    transaction: &Transaction<'_>,
) -> Attribution {
    let (first, second) = match transaction.vantage {
        Vantage::Server => (transaction.response, transaction.query),
        Vantage::Client | Vantage::Passive => (transaction.query, transaction.response),
    };
    let has_task = |message: &Message<'_>| message.envelope.task.is_some();
    let known = first.filter(has_task).or_else(|| second.filter(has_task));
    let sender = known.or(first).or(second);
    sender.map(|message| attribute_sender(enricher, &message)).unwrap_or_default()
}

/// Returns whether a filter admits a message or transaction; `subject` is what matches beside its question.
pub(super) fn passes(
    filter: &Filter,
    question: Option<Question<'_>>,
    subject: FilterSubject<'_>,
) -> bool {
    let qname = question.filter(|_| filter.reads_names()).map(|question| question.qname());
    let qtype = question.map(|question| question.qtype);
    let asked = FilterQuestion { qname: qname.as_deref(), qtypes: qtype.as_slice() };
    filter.admits(&FilterSubject { question: Some(asked), ..subject })
}

/// What filters match of a client and its process, without a question, a server and an outcome.
pub(super) fn filter_subject(attribution: &Attribution, client: IpAddr) -> FilterSubject<'_> {
    let process = attribution.process.as_ref();
    FilterSubject {
        question: None,
        client: Some(client),
        // A name that is not UTF-8 matches no criterion: criteria are UTF-8.
        comm: process.and_then(Process::utf8_name),
        exe: process.and_then(|process| process.exe.as_deref()),
        container: attribution.container.as_ref().map(|container| &*container.id),
        pod: attribution.pod.as_ref().map(|place| (&*place.pod.namespace, &*place.pod.name)),
        ..FilterSubject::default()
    }
}
