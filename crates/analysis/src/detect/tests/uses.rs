//! Connections and answers of a process, for the tests of rules on both.

use crate::attribution::{self, Process};
use crate::detect::{Detector, Finding};
use crate::uses::{LookupScope, Match, Use, UseOutcome};
use crate::view::{ProcessView, TransactionView, testing::example};
use dnscribe_dns::{Answer, Answers};
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::decode::MessageId;
use dnscribe_transaction::packet::{Task, Transport};
use std::time::Duration;

/// A process. `start_ns` by `CLOCK_BOOTTIME`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    pub(crate) comm: &'static str,
    pub(crate) pid: u32,
    pub(crate) start_ns: u64,
}

pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_nanos((1_795_000_000 + seconds) * 1_000_000_000)
}

pub(crate) fn findings(detector: &mut dyn Detector, seconds: u64) -> Vec<Finding> {
    let mut found = Vec::new();
    detector.evaluate(at(seconds), &mut |finding| found.push(finding));
    found
}

impl Program {
    fn attribution(self) -> attribution::Attribution {
        let mut task = Task { pid: self.pid, start_ns: self.start_ns, ..Task::default() };
        task.comm[..self.comm.len()].copy_from_slice(self.comm.as_bytes());
        let process = Some(Process::new(&task, None));
        attribution::Attribution { process, ..attribution::Attribution::default() }
    }

    /// A connection to `remote` without a lookup.
    pub(crate) fn connects(self, seconds: u64, remote: &str) -> Use {
        Use {
            id: MessageId::default(),
            count: 1,
            first: at(seconds),
            last: at(seconds),
            transport: Transport::Tcp,
            remote: remote.parse().unwrap(),
            matched: Match::None,
            name: None,
            candidates: Vec::new(),
            lookup: None,
            age_and_ttl: None,
            lookup_time: None,
            connect_time: None,
            rtt: None,
            first_byte_time: None,
            outcome: UseOutcome::Established,
            attribution: self.attribution(),
        }
    }

    /// A connection to `remote` by `name`, `age` seconds after an answer with a TTL of 30 s.
    pub(crate) fn uses(self, seconds: u64, name: &str, remote: &str, age: u64) -> Use {
        Use {
            matched: Match::Sole,
            name: Some(name.into()),
            lookup: Some((MessageId::default(), LookupScope::Process)),
            age_and_ttl: Some((Duration::from_secs(age), Duration::from_secs(30))),
            ..self.connects(seconds, remote)
        }
    }

    /// Passes an answer with `address` to `take`.
    pub(crate) fn looks_up(
        self,
        seconds: u64,
        name: &str,
        address: &str,
        take: impl FnOnce(&TransactionView<'_>),
    ) {
        let (mut answers, attribution) = (Answers::default(), self.attribution());
        let rtype = if address.contains(':') { 28 } else { 1 };
        answers.push(&Answer { name, rtype, class: 1, ttl_seconds: 30, data: address });
        take(&TransactionView {
            qname: Some(name),
            qtype: Some(rtype),
            answers: &answers,
            process: Some(ProcessView { pid: self.pid, comm: self.comm }),
            attribution: Some(&attribution),
            ..example(at(seconds))
        });
    }
}
