//! What of messages is shown as text, in room that is used again.

use super::zone::Zones;
use crate::decode::Message;
use crate::decode::dns::{Answers, Question};
use crate::pair::Transaction;
use std::ops::Range;

/// The name asked for and the answers of one transaction or message at a time.
#[derive(Debug, Default)]
pub struct Texts {
    asked: bool,
    qname: String,
    /// Where in that the registrable domain is.
    zone: Option<Range<usize>>,
    cased: bool,
    qname_case: String,
    answers: Answers,
    /// What is remembered of zones, where names are read.
    zones: Option<Box<Zones>>,
}

impl Texts {
    /// Of nothing.
    pub const NONE: &'static Self = &Self {
        asked: false,
        qname: String::new(),
        zone: None,
        cased: false,
        qname_case: String::new(),
        answers: Answers::EMPTY,
        zones: None,
    };

    /// Becomes the same as another, in the room that there is.
    pub(crate) fn copy(&mut self, other: &Self) {
        let Self { asked, qname, zone, cased, qname_case, answers, zones: _ } = other;
        (self.asked, self.zone, self.cased) = (*asked, zone.clone(), *cased);
        self.qname.clone_from(qname);
        self.qname_case.clone_from(qname_case);
        self.answers.copy(answers);
    }

    /// Octets of room that it keeps.
    pub(crate) fn room_bytes(&self) -> usize {
        self.qname.capacity() + self.qname_case.capacity() + self.answers.room_bytes()
    }

    /// Takes those of a transaction: of its query's question, else its response's; of its response's
    /// answers, else its query's.
    pub fn read(&mut self, transaction: &Transaction<'_>) {
        self.ask(transaction.question());
        let start =
            if self.asked { self.zones.get_or_insert_default().start(&self.qname) } else { None };
        self.zone = start.map(|start| start..self.qname.len());
        self.spell(transaction.query.and_then(|query| query.dns.question()));
        match transaction.response.or(transaction.query) {
            Some(last) => self.answers.read(last.dns.answers()),
            None => self.answers.clear(),
        }
    }

    /// Takes those of a message.
    pub fn read_message(&mut self, message: &Message<'_>) {
        let question = message.dns.question();
        self.ask(question);
        self.zone = None;
        self.spell(question);
        self.answers.read(message.dns.answers());
    }

    /// The name asked for: in lower case, without its last dot, escaped; the root is `.`.
    #[must_use]
    pub fn qname(&self) -> Option<&str> {
        self.asked.then_some(&*self.qname)
    }

    /// The name as it was written, where that is not all lower case (0x20).
    #[must_use]
    pub fn qname_case(&self) -> Option<&str> {
        self.cased.then_some(&*self.qname_case)
    }

    /// The registrable domain of the name that a transaction asks for.
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        self.qname.get(self.zone.clone()?)
    }

    /// The records of the answer section.
    #[must_use]
    pub const fn answers(&self) -> &Answers {
        &self.answers
    }

    fn ask(&mut self, question: Option<Question<'_>>) {
        self.asked = question.is_some();
        self.qname.clear();
        if let Some(question) = question {
            question.name.push_lower_case(&mut self.qname);
        }
    }

    fn spell(&mut self, question: Option<Question<'_>>) {
        let cased = question.filter(|question| question.name.has_upper_case());
        self.cased = cased.is_some();
        self.qname_case.clear();
        if let Some(question) = cased {
            question.name.push(&mut self.qname_case);
        }
    }
}
