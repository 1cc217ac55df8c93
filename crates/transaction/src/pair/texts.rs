//! Text forms of a message or transaction: query name, zone and answers, in buffers that are
//! reused.

use crate::decode::Message;
use crate::pair::Transaction;
use dnscribe_dns::{AnswerLimits, Answers, Question, RegistrableDomainCache};
use std::ops::Range;

/// Text forms of one transaction or message at a time.
#[derive(Debug, Default)]
pub struct MessageTexts {
    has_question: bool,
    qname: String,
    /// Range of the registrable domain in `qname`.
    zone: Option<Range<usize>>,
    has_case: bool,
    qname_case: String,
    /// The first answers; empty without a response.
    pub answers: Answers,
    /// Cache of registrable domains, where names are read.
    zones: Option<Box<RegistrableDomainCache>>,
}

impl MessageTexts {
    /// Text forms of no message.
    pub const EMPTY: &'static Self = &Self {
        has_question: false,
        qname: String::new(),
        zone: None,
        has_case: false,
        qname_case: String::new(),
        answers: Answers::EMPTY,
        zones: None,
    };

    /// Copies the contents of `other` into the existing buffers.
    pub fn copy_from(&mut self, other: &Self) {
        let Self { has_question, qname, zone, has_case, qname_case, answers, zones: _ } = other;
        (self.has_question, self.zone, self.has_case) = (*has_question, zone.clone(), *has_case);
        self.qname.clone_from(qname);
        self.qname_case.clone_from(qname_case);
        self.answers.copy_from(answers);
    }

    /// Returns the capacity of the buffers in bytes.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.qname.capacity() + self.qname_case.capacity() + self.answers.heap_bytes()
    }

    /// Reads a transaction: the question of its query, else of its response; the answers of its
    /// response, else of its query.
    pub fn read_transaction(&mut self, transaction: &Transaction<'_>, limits: AnswerLimits) {
        self.read_qname(transaction.question());
        let start = if self.has_question {
            self.zones.get_or_insert_default().domain_start(&self.qname)
        } else {
            None
        };
        self.zone = start.map(|start| start..self.qname.len());
        self.read_case(transaction.query.and_then(|query| query.dns.question()));
        match transaction.response.or(transaction.query) {
            Some(last) => self.answers.read(last.dns.answers(), limits),
            None => self.answers.clear(),
        }
    }

    /// Reads a message.
    pub fn read_message(&mut self, message: &Message<'_>, limits: AnswerLimits) {
        let question = message.dns.question();
        self.read_qname(question);
        self.zone = None;
        self.read_case(question);
        self.answers.read(message.dns.answers(), limits);
    }

    /// Returns the query name: lower case, without the last dot, escaped; the root is `.`.
    #[must_use]
    pub fn qname(&self) -> Option<&str> {
        self.has_question.then_some(&*self.qname)
    }

    /// Returns the query name as written, if it is not all lower case (0x20).
    #[must_use]
    pub fn qname_case(&self) -> Option<&str> {
        self.has_case.then_some(&*self.qname_case)
    }

    /// Returns the registrable domain of a transaction's query name.
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        self.qname.get(self.zone.clone()?)
    }

    fn read_qname(&mut self, question: Option<Question<'_>>) {
        self.has_question = question.is_some();
        self.qname.clear();
        if let Some(question) = question {
            question.name.push_lower_case(&mut self.qname);
        }
    }

    fn read_case(&mut self, question: Option<Question<'_>>) {
        let cased = question.filter(|question| question.name.has_upper_case());
        self.has_case = cased.is_some();
        self.qname_case.clear();
        if let Some(question) = cased {
            question.name.push(&mut self.qname_case);
        }
    }
}
