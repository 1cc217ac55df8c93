//! The rooms behind transactions: windows.

use super::outbox::Outbox;
use crate::observation::Observation;
use crate::record::Identity;
use crate::sink::Stream;
use crate::time::Timestamp;
use crate::window::{Grouping, GroupingSet, Groups, Span, WindowOptions, Windows};

/// What is made of transactions, beside their own records. Rooms of which nobody wants anything are
/// not there.
#[derive(Debug)]
pub(super) struct Analysis {
    options: WindowOptions,
    windows: Option<Windows>,
    /// Window records so far.
    written: u64,
}

impl Analysis {
    /// What the sinks want of it.
    pub(super) fn new(options: WindowOptions, identity: &Identity, outbox: &Outbox) -> Self {
        let wanted = outbox.wants(Stream::Metrics);
        let windows = wanted.then(|| Windows::new(identity.epoch, options.lateness));
        Self { options, windows, written: 0 }
    }

    /// Whether there is anybody to show a transaction to.
    pub(super) const fn is_wanted(&self) -> bool {
        self.windows.is_some()
    }

    /// Takes a transaction.
    pub(super) fn observe(&mut self, observation: &Observation<'_>) {
        if let Some(windows) = &mut self.windows {
            windows.observe(observation);
        }
    }

    /// Lets time pass.
    pub(super) fn expire(&mut self, now: Timestamp, identity: &Identity, outbox: &mut Outbox) {
        self.with_windows(identity, outbox, |windows, each| windows.expire(now, each));
    }

    /// The capture has ended.
    pub(super) fn finish(&mut self, now: Timestamp, identity: &Identity, outbox: &mut Outbox) {
        self.with_windows(identity, outbox, |windows, each| windows.finish(now, each));
    }

    /// Adopts other options.
    pub(super) fn reconfigure(&mut self, options: WindowOptions) {
        if let Some(windows) = &mut self.windows {
            windows.reconfigure(options.lateness);
        }
        self.options = options;
    }

    /// Transactions that came too late for their windows.
    pub(super) fn late(&self) -> u64 {
        self.windows.as_ref().map_or(0, Windows::late)
    }

    /// Does something with the windows, and writes those that it closes.
    fn with_windows(
        &mut self,
        identity: &Identity,
        outbox: &mut Outbox,
        act: impl FnOnce(&mut Windows, &mut dyn FnMut(&Span, &Groups)),
    ) {
        let Self { options, windows, written } = self;
        let Some(windows) = windows else { return };
        act(windows, &mut |span, groups| {
            if options.spans.contains(span.kind) {
                write(span, groups, options.groupings, written, identity, outbox);
            }
        });
    }
}

/// Writes a window's groups, each as a record.
fn write(
    span: &Span,
    groups: &Groups,
    groupings: GroupingSet,
    written: &mut u64,
    identity: &Identity,
    outbox: &mut Outbox,
) {
    for (group, tally) in groups.sorted() {
        if !groupings.contains(group.grouping) {
            continue;
        }
        *written += 1;
        let record = identity.window(span, group, tally, *written);
        // What is of no resolver goes where all of its kind goes.
        let key = match group.grouping {
            Grouping::Node => identity.node.as_str(),
            _ => group.value.as_deref().unwrap_or("other"),
        };
        outbox.push(Stream::Metrics, record.event_id, &record, key.as_bytes());
    }
}
