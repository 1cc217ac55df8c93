//! The way out: records are rendered once for all sinks of one look, and offered in batches.

mod post;
mod tray;

pub use post::{Next, Post};

use crate::decode::dns::hex_digits;
use crate::privacy::{BadKey, Masker, Privacy};
use crate::record::{AlertRecord, EventId, TransactionBody, TransactionContext, alert_line, line};
use crate::sink::{Look, Sink, Stream, push_begun_or_log, push_json_or_log};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tray::{Tray, trays};
use xxhash_rust::xxh3::xxh3_64;

/// How long a sink may take before replay asks whether it is still alive.
const PATIENCE: Duration = Duration::from_millis(200);

/// The sinks, and what collects for them.
pub struct Outbox {
    post: Post,
    trays: Vec<Tray>,
    /// Whether summaries collect. They travel apart from what they sum up, so that they find room where
    /// there is none for that.
    summaries: bool,
    /// Room for what a key is the hash of.
    key: Vec<u8>,
    masker: Masker,
    wait_for_sinks: Option<Arc<AtomicBool>>,
}

impl Outbox {
    /// Of these sinks, which are waited for until the flag is set, if there is one.
    pub(super) fn new(
        sinks: Vec<Box<dyn Sink>>,
        masker: Masker,
        wait_for_sinks: Option<Arc<AtomicBool>>,
    ) -> Self {
        let mut outbox = Self {
            trays: trays(&sinks),
            summaries: false,
            post: Post::new(sinks),
            key: Vec::new(),
            masker,
            wait_for_sinks,
        };
        outbox.hide_dead_letters();
        outbox
    }

    /// Does not tell other things from here on.
    pub(super) fn adopt(&mut self, privacy: Privacy) -> Result<(), BadKey> {
        self.masker.adopt(privacy)?;
        self.hide_dead_letters();
        Ok(())
    }

    fn hide_dead_letters(&mut self) {
        let hidden = self.masker.covers(Stream::Dlq);
        self.post.sinks_mut().for_each(|sink| sink.hide_dead_letters(hidden));
    }

    /// Sends from here on to other sinks; what has collected goes to those that there were. They are given
    /// so long to deliver what they have.
    pub fn replace(&mut self, next: Vec<Next>, patience: Duration) {
        self.offer();
        self.post.replace(next, patience);
        self.trays = trays(self.post.sinks());
        self.hide_dead_letters();
    }

    /// Looks after sinks that are to be closed, and those that wait for that.
    pub fn tend(&mut self) {
        if self.post.tend() {
            self.hide_dead_letters();
        }
    }

    /// The sinks, to look at.
    #[must_use]
    pub const fn post(&self) -> &Post {
        &self.post
    }

    /// What records do not tell.
    pub(super) const fn masker(&self) -> &Masker {
        &self.masker
    }

    /// Whether any sink wants records of the stream.
    pub(super) fn wants(&self, stream: Stream) -> bool {
        self.trays.iter().any(|tray| tray.streams.contains(stream))
    }

    /// Whether any sink wants to read records of the stream, and not only to count them.
    pub(super) fn renders(&self, stream: Stream) -> bool {
        self.trays.iter().any(|tray| tray.renders(stream))
    }

    /// Whether any sink wants records of the stream in this look.
    pub(super) fn wants_as(&self, look: Look, stream: Stream) -> bool {
        self.trays.iter().any(|tray| tray.look == look && tray.streams.contains(stream))
    }

    /// Whether a record of the stream is to be made, or at least, where some are `filtered`, whether it is one
    /// of those. Where it is not, it is counted for the sinks that want it.
    pub(super) fn asks_for(&mut self, stream: Stream, filtered: bool) -> bool {
        let asks = self.renders(stream) || filtered && self.wants(stream);
        if !asks {
            self.count(stream);
        }
        asks
    }

    /// Takes a record, as JSON in either look: only transactions and alerts have a line of their own.
    pub(super) fn push(
        &mut self,
        stream: Stream,
        id: EventId,
        record: &impl Serialize,
        key: &[u8],
    ) {
        self.turn_to(stream);
        if self.masker.covers(stream) {
            return self.push_masked(stream, id, |out| push_json_or_log(out, record), key);
        }
        self.trays.iter_mut().for_each(|tray| tray.add(stream, id, record, key));
        self.offer_full();
    }

    /// Takes a record that is begun already, as JSON in either look.
    pub(super) fn push_begun(
        &mut self,
        stream: Stream,
        id: EventId,
        (begun, rest): (&[u8], &impl Serialize),
        key: &[u8],
    ) {
        self.turn_to(stream);
        if self.masker.covers(stream) {
            let render = |out: &mut Vec<u8>| push_begun_or_log(out, begun, rest);
            return self.push_masked(stream, id, render, key);
        }
        for tray in &mut self.trays {
            tray.add_begun(stream, id, (begun, rest), key);
        }
        self.offer_full();
    }

    /// Takes the record of a transaction: what is there of it in JSON, and what is to be added; what it
    /// says by itself comes from `body`, for those that read it as text.
    pub(super) fn push_transaction<'a>(
        &mut self,
        id: EventId,
        (begun, context): (&[u8], &TransactionContext<'_>),
        zone: Option<&str>,
        body: impl Fn() -> Option<TransactionBody<'a>>,
    ) {
        let stream = Stream::Transactions;
        self.turn_to(stream);
        let mut hash = [0; 16];
        let key = partition_key(&mut self.key, context.resolver, zone);
        let hash = hex_digits(&mut hash, &key.to_be_bytes()).as_bytes();
        if self.masker.covers(stream) {
            let render = |out: &mut Vec<u8>| match begun {
                [] => {
                    if let Some(body) = body() {
                        let mut begun = Vec::new();
                        push_json_or_log(&mut begun, &body);
                        push_begun_or_log(out, &begun, context);
                    }
                }
                begun => push_begun_or_log(out, begun, context),
            };
            return self.push_masked(stream, id, render, hash);
        }
        for tray in &mut self.trays {
            if tray.look != Look::Text {
                tray.add_begun(stream, id, (begun, context), hash);
            } else if tray.streams.contains(stream)
                && let Some(body) = body()
            {
                let render = |out: &mut Vec<u8>| line(out, &body, context);
                tray.batch.push(stream, id.0, render, |out| out.extend(hash));
            }
        }
        self.offer_full();
    }

    /// Takes the record of an alert.
    pub(super) fn push_alert(&mut self, record: &AlertRecord<'_>) {
        let (stream, key) = (Stream::Alerts, record.entity.as_bytes());
        self.turn_to(stream);
        if self.masker.covers(stream) {
            let render = |out: &mut Vec<u8>| push_json_or_log(out, record);
            return self.push_masked(stream, record.head.event_id, render, key);
        }
        for tray in &mut self.trays {
            if tray.look != Look::Text {
                tray.add(stream, record.head.event_id, record, key);
            } else if tray.streams.contains(stream) {
                let render = |out: &mut Vec<u8>| alert_line(out, record);
                tray.batch.push(stream, record.head.event_id.0, render, |out| out.extend(key));
            }
        }
        self.offer_full();
    }

    /// Takes a record that is not told as it is.
    fn push_masked(
        &mut self,
        stream: Stream,
        id: EventId,
        render: impl FnOnce(&mut Vec<u8>),
        key: &[u8],
    ) {
        let Self { trays, masker, .. } = self;
        if trays.iter().any(|tray| tray.renders(stream)) {
            let masked = masker.masked(stream, render, key);
            for tray in trays {
                tray.add_masked(stream, id, masked);
            }
        } else {
            for tray in trays {
                tray.count(stream);
            }
        }
        self.offer_full();
    }

    /// Takes a record that a filter leaves out.
    pub(super) fn filter(&mut self, stream: Stream) {
        self.turn_to(stream);
        for tray in self.trays.iter_mut().filter(|tray| tray.streams.contains(stream)) {
            tray.batch.filter(stream);
        }
        self.offer_full();
    }

    /// Takes a record of which nothing is rendered.
    pub(super) fn count(&mut self, stream: Stream) {
        self.turn_to(stream);
        self.trays.iter_mut().for_each(|tray| tray.count(stream));
        self.offer_full();
    }

    /// Sends what was rendered to the sinks.
    pub fn offer(&mut self) {
        for tray in &mut self.trays {
            if tray.batch.is_empty() {
                continue;
            }
            let next = tray.next_batch();
            let batch = Arc::new(std::mem::replace(&mut tray.batch, next));
            for sink in self.post.sinks_mut().filter(|sink| sink.look() == tray.look) {
                while let Some(stop) = &self.wait_for_sinks
                    && !stop.load(Ordering::Relaxed)
                    && !sink.wait_for_room(&batch, PATIENCE)
                {}
                sink.offer(&batch);
            }
        }
    }

    /// What collects next is of the kind of this stream.
    fn turn_to(&mut self, stream: Stream) {
        if stream.is_summary() != self.summaries {
            self.offer();
            self.summaries = stream.is_summary();
        }
    }

    fn offer_full(&mut self) {
        if self.trays.iter().any(Tray::is_full) {
            self.offer();
        }
    }

    /// Waits until the sinks have delivered or dropped all, for `limit` at most; where sinks are
    /// waited for, no longer than until a stop is asked for meanwhile.
    pub fn flush(&mut self, limit: Duration) {
        let stop = self.wait_for_sinks.clone().filter(|stop| !stop.load(Ordering::Relaxed));
        let stopped = || stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed));
        self.post.flush(limit, PATIENCE, &stopped);
    }

    /// Ends the sinks; what they still hold is dropped and counted.
    pub fn close(&mut self) {
        self.post.close();
    }

    /// Has the sinks reopen their files.
    pub fn reopen(&mut self) {
        self.post.sinks_mut().for_each(|sink| sink.reopen());
    }
}

/// Hash of resolver and zone: records of one zone at one resolver stay in order in one partition.
/// `room` is for what is hashed.
fn partition_key(room: &mut Vec<u8>, resolver: &str, zone: Option<&str>) -> u64 {
    room.clear();
    room.extend(resolver.as_bytes());
    room.push(0);
    room.extend(zone.unwrap_or("").as_bytes());
    xxh3_64(room)
}
