//! Whose transactions, connections and dead letters they are.

use crate::capture::Task;
use crate::decode::Message;
use crate::decode::dns::Question;
use crate::enrich::{Enricher, Known, Place};
use crate::filter::{Asked, Filter, Subject};
use crate::pair::{Transaction, Vantage};
use crate::record::{ContainerFields, K8sFields, ProcessFields, container_fields};
use std::borrow::Cow;
use std::net::IpAddr;

/// The task behind something, and what is known of it.
#[derive(Debug, Default)]
pub(super) struct Who<'a> {
    task: Option<&'a Task>,
    known: Known,
}

impl<'a> Who<'a> {
    /// Looks a task up; the first time while it lives.
    pub(super) fn of(
        enricher: &mut Option<Enricher>,
        task: Option<&'a Task>,
        cgroup_id: u64,
    ) -> Self {
        let known = enricher.as_mut().map(|enricher| enricher.known(task, cgroup_id));
        Self { task, known: known.unwrap_or_default() }
    }

    /// Who sent a message.
    pub(super) fn sent(enricher: &mut Option<Enricher>, message: &Message<'a>) -> Self {
        let envelope = message.envelope;
        Self::of(enricher, envelope.task.as_ref(), envelope.cgroup_id)
    }

    /// The transaction's process: at the server that of the response, elsewhere that of the query;
    /// where that is unknown, the other's.
    pub(super) fn behind(enricher: &mut Option<Enricher>, transaction: &Transaction<'a>) -> Self {
        let (first, second) = match transaction.vantage {
            Vantage::Server => (transaction.response, transaction.query),
            Vantage::Client | Vantage::Passive => (transaction.query, transaction.response),
        };
        let knows_task = |message: &Message<'_>| message.envelope.task.is_some();
        let known = first.filter(knows_task).or_else(|| second.filter(knows_task));
        let sender = known.or(first).or(second);
        sender.map(|message| Self::sent(enricher, &message)).unwrap_or_default()
    }

    /// What filters look at, of what asks for nothing.
    pub(super) fn subject(&self, client: IpAddr) -> Subject<'_> {
        Subject {
            asked: None,
            client: Some(client),
            // What is no text fits no criterion, which is.
            comm: self.task.and_then(|task| std::str::from_utf8(name(task)).ok()),
            exe: self.known.exe.as_deref(),
            container: self.known.container.as_ref().map(|container| &*container.id),
            pod: self.place().map(|place| (&*place.pod.namespace, &*place.pod.name)),
        }
    }

    /// Whether a filter lets a message or transaction pass.
    pub(super) fn passes(
        &self,
        filter: &Filter,
        question: Option<Question<'_>>,
        client: IpAddr,
    ) -> bool {
        let qname = question.filter(|_| filter.reads_names()).map(|question| question.qname());
        let qtype = question.map(|question| question.qtype);
        let asked = Asked { qname: qname.as_deref(), qtypes: qtype.as_slice() };
        filter.admits(&Subject { asked: Some(asked), ..self.subject(client) })
    }

    /// The process, as records have it.
    pub(super) fn process(&self) -> Option<ProcessFields<'_>> {
        let task = self.task?;
        Some(ProcessFields {
            pid: task.pid,
            uid: task.uid,
            comm: comm(task),
            exe: self.known.exe.as_deref(),
        })
    }

    /// Its container, as records have it.
    pub(super) fn container(&self) -> Option<ContainerFields<'_>> {
        let container = self.known.container.as_deref();
        container.map(|container| container_fields(container, self.place()))
    }

    /// Its pod, as records have it.
    pub(super) fn k8s(&self) -> Option<K8sFields<'_>> {
        self.place().map(Into::into)
    }

    /// Its pod.
    pub(super) const fn place(&self) -> Option<&Place> {
        self.known.place.as_ref()
    }

    /// Counts a transaction of theirs.
    pub(super) fn count(&self, enricher: &mut Option<Enricher>) {
        if let Some(enricher) = enricher {
            enricher.count(&self.known);
        }
    }
}

fn comm(task: &Task) -> Cow<'_, str> {
    String::from_utf8_lossy(name(task))
}

fn name(task: &Task) -> &[u8] {
    task.comm.split(|octet| *octet == 0).next().unwrap_or_default()
}
