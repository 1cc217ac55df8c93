//! The rooms in which all flows come together: joining, and the output with what is made of many
//! transactions.

use super::event::Event;
use super::output::Output;
use super::scribe::{Scribe, Told, Wanted};
use crate::join::{Joiner, Joining};
use crate::time::Timestamp;

/// Events in, records out.
pub(super) struct Back {
    pub(super) joiner: Joiner,
    pub(super) output: Output,
    scribe: Scribe,
}

impl Back {
    /// Rooms that have seen nothing.
    pub(super) fn new(joining: Joining, output: Output) -> Self {
        Self { joiner: Joiner::new(joining), scribe: output.scribe(), output }
    }

    /// Begins other records from here on.
    pub(super) const fn write(&mut self, wanted: Wanted) {
        self.scribe.write(wanted);
    }

    /// Takes an event that came to light at this time. They are to come in the order in which the front
    /// gave them.
    pub(super) fn take(&mut self, at: Timestamp, told: Told<'_>) {
        let Self { joiner, output, scribe } = self;
        output.tick(at);
        let told = if scribe.has_begun(&told) { told } else { scribe.tell(told.event) };
        match told.event {
            Event::Message(message) => output.message(message, told.json),
            Event::Transaction(transaction) => {
                let links = joiner.end(transaction);
                output.transaction(transaction, &links, &told);
            }
            Event::Began(query) => {
                joiner.begin(query);
                output.begin(query);
            }
            Event::Sealed(envelope) => output.glance(envelope),
            Event::Connection(report) => output.connection(report),
            Event::DeadLetter(letter) => output.dead_letter(letter),
        }
    }
}
