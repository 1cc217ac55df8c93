//! The rooms behind transactions: lookups, windows, detection.

use super::outbox::Outbox;
use super::output::Detects;
use crate::capture::sampling::{Unheard, Untold};
use crate::connection::Report;
use crate::decode::Message;
use crate::detect::{Alert, AlertCounters, DetectOptions, Detection};
use crate::filter::{Asked, Filters, Subject};
use crate::lookup::{Lookup, LookupCounters, LookupOptions, Lookups, Query};
use crate::observation::Observation;
use crate::pair::Vantage;
use crate::record::Identity;
use crate::sink::Stream;
use crate::time::Timestamp;
use crate::window::{self, Grouping, GroupingSet, Groups, Span, WindowOptions, Windows};
use std::time::Duration;

/// The way out for records, and which of them are told.
pub(super) type Out<'a> = (&'a mut Outbox, &'a Filters);

/// What is made of transactions, beside their own records. Rooms of which nobody wants anything are
/// not there.
pub(super) struct Analysis {
    looking: LookupOptions,
    lookups: Option<Lookups>,
    /// Room for the name of a query.
    qname: String,
    options: WindowOptions,
    windows: Option<Windows>,
    /// Whether a sink wants their records.
    writes: bool,
    /// Window records so far.
    written: u64,
    detection: Option<Detection>,
}

impl Analysis {
    /// What the sinks want of it.
    pub(super) fn new(
        options: WindowOptions,
        detection: Option<Detection>,
        identity: &Identity,
        outbox: &Outbox,
    ) -> Self {
        let looking = LookupOptions::DEFAULT;
        let lookups = outbox.wants(Stream::Lookups).then(|| Lookups::new(looking));
        let writes = outbox.wants(Stream::Metrics);
        let wanted = writes || detection.is_some();
        let windows = wanted.then(|| Windows::new(identity.epoch, options.lateness));
        let qname = String::new();
        Self { looking, lookups, qname, options, windows, writes, written: 0, detection }
    }

    /// How many records of windows and of alerts there were, as their ids count them.
    pub(super) fn ordinals(&self) -> (u64, u64) {
        (self.written, self.detection.as_ref().map_or(0, Detection::ordinal))
    }

    /// Begins now, in a capture that began before: with these ordinals, and windows of which it has seen a
    /// part only.
    pub(super) fn begin_at(&mut self, now: Timestamp, (windows, alerts): (u64, u64)) {
        self.written = windows;
        if let Some(detection) = &mut self.detection {
            detection.set_ordinal(alerts);
        }
        if let Some(windows) = &mut self.windows {
            *windows = Windows::new(now, self.options.lateness);
        }
    }

    /// Whether there is anybody to show a transaction to.
    pub(super) const fn is_wanted(&self) -> bool {
        self.windows.is_some() || self.lookups.is_some()
    }

    /// Takes a query that has begun a transaction.
    pub(super) fn begin(&mut self, query: &Message<'_>, identity: &Identity, out: Out<'_>) {
        let mut room = std::mem::take(&mut self.qname);
        self.with_lookups(identity, out, |lookups, each| {
            if let Some(query) = Query::of(query, &mut room) {
                lookups.begin(&query, each);
            }
        });
        self.qname = room;
    }

    /// Takes a transaction, whose outcome was known at `now`.
    pub(super) fn observe(&mut self, now: Timestamp, observation: &Observation<'_>) {
        if let Some(lookups) = &mut self.lookups {
            lookups.observe(now, observation);
        }
        if let Some(detection) = &mut self.detection {
            detection.observe(observation);
        }
        if let Some(windows) = &mut self.windows {
            windows.tick(now);
            windows.observe(observation);
        }
    }

    /// Takes what was not told, of a server with this name.
    pub(super) fn untold(&mut self, ts: Timestamp, untold: &Untold, resolver: Option<&str>) {
        let Some(windows) = &mut self.windows else { return };
        let Some(counts) = counts(untold) else { return };
        let vantage = Vantage::of(untold.sight, untold.what.is_from_server());
        let transport = untold.what.transport().name();
        windows.untold(ts, vantage, (transport, resolver), &counts);
    }

    /// Takes a report of a connection of encrypted DNS.
    pub(super) fn connection(&mut self, report: &Report<'_>, resolver: &str) {
        if let Some(detection) = &mut self.detection {
            detection.connection(report, resolver);
        }
    }

    /// Lets time pass.
    pub(super) fn expire(&mut self, now: Timestamp, identity: &Identity, out: Out<'_>) {
        let (outbox, filters) = out;
        let out = (&mut *outbox, filters);
        self.with_lookups(identity, out, |lookups, each| lookups.expire(now, each));
        self.with_windows(identity, outbox, |windows, each| windows.expire(now, each));
        self.with_detection(identity, outbox, |detection, each| detection.expire(now, each));
    }

    /// The capture has ended.
    pub(super) fn finish(&mut self, now: Timestamp, identity: &Identity, out: Out<'_>) {
        let (outbox, filters) = out;
        let out = (&mut *outbox, filters);
        self.with_lookups(identity, out, |lookups, each| lookups.finish(now, each));
        self.with_windows(identity, outbox, |windows, each| windows.finish(now, each));
        self.with_detection(identity, outbox, |detection, each| detection.finish(now, each));
    }

    /// Has the rooms that the sinks want something of: those that stay go on as they are, those that are new
    /// have seen nothing.
    pub(super) fn adopt(&mut self, detects: Detects, now: Timestamp, outbox: &Outbox) {
        if !outbox.wants(Stream::Lookups) {
            self.lookups = None;
        } else if self.lookups.is_none() {
            self.lookups = Some(Lookups::new(self.looking));
        }
        match detects {
            Detects::No => self.detection = None,
            Detects::AsBefore => {}
            Detects::Newly(detection) => self.detection = Some(*detection),
        }
        self.writes = outbox.wants(Stream::Metrics);
        if !self.writes && self.detection.is_none() {
            self.windows = None;
        } else if self.windows.is_none() {
            self.windows = Some(Windows::new(now, self.options.lateness));
        }
    }

    /// Adopts other options.
    pub(super) fn reconfigure(&mut self, options: WindowOptions, detect: Option<DetectOptions>) {
        if let (Some(detection), Some(detect)) = (&mut self.detection, detect) {
            detection.reconfigure(detect);
        }
        if let Some(windows) = &mut self.windows {
            windows.reconfigure(options.lateness);
        }
        self.options = options;
    }

    /// Adopts how long a query waits for its response.
    pub(super) fn adopt_query_timeout(&mut self, query_timeout: Duration) {
        self.looking.query_timeout = query_timeout;
        if let Some(lookups) = &mut self.lookups {
            lookups.adopt_query_timeout(query_timeout);
        }
    }

    /// Transactions that came too late for their windows.
    pub(super) fn late(&self) -> u64 {
        self.windows.as_ref().map_or(0, Windows::late)
    }

    /// Octets that the windows take, where there are any.
    pub(super) fn windows_bytes(&self) -> Option<u64> {
        self.windows.as_ref().map(|windows| windows.bytes() as u64)
    }

    /// What the lookups came to, where they are made.
    pub(super) fn looked_up(&self) -> Option<&LookupCounters> {
        self.lookups.as_ref().map(Lookups::counters)
    }

    /// Does something with the lookups, and writes those that it ends.
    fn with_lookups(
        &mut self,
        identity: &Identity,
        (outbox, filters): Out<'_>,
        act: impl FnOnce(&mut Lookups, &mut dyn FnMut(&Lookup)),
    ) {
        let Some(lookups) = &mut self.lookups else { return };
        let rendered = outbox.renders(Stream::Lookups);
        let filter = filters.of(Stream::Lookups);
        act(lookups, &mut |lookup| {
            if filter.is_some_and(|filter| !filter.admits(&subject(lookup))) {
                outbox.filter(Stream::Lookups);
                return;
            }
            if !rendered {
                outbox.count(Stream::Lookups);
                return;
            }
            let record = identity.lookup(lookup);
            let key = lookup.client.to_string();
            outbox.push(Stream::Lookups, record.head.event_id, &record, key.as_bytes());
        });
    }

    /// How many alerts there were, where there is detection.
    pub(super) fn alerts(&self) -> Option<&AlertCounters> {
        self.detection.as_ref().map(Detection::counters)
    }

    /// Does something with detection, and writes the alerts that change.
    fn with_detection(
        &mut self,
        identity: &Identity,
        outbox: &mut Outbox,
        act: impl FnOnce(&mut Detection, &mut dyn FnMut(&Alert)),
    ) {
        let Some(detection) = &mut self.detection else { return };
        let runbooks = detection.runbooks().to_owned();
        act(detection, &mut |alert| outbox.push_alert(&identity.alert(alert, &runbooks)));
    }

    /// Does something with the windows, and writes those that it closes.
    fn with_windows(
        &mut self,
        identity: &Identity,
        outbox: &mut Outbox,
        act: impl FnOnce(&mut Windows, &mut dyn FnMut(&Span, &Groups)),
    ) {
        let Self { options, windows, writes, written, detection, .. } = self;
        let Some(windows) = windows else { return };
        act(windows, &mut |span, groups| {
            if let Some(detection) = detection {
                detection.window(span, groups);
            }
            if *writes && options.spans.contains(span.kind) {
                write(span, groups, options.groupings, written, identity, outbox);
            }
        });
    }
}

/// What filters look at.
fn subject(lookup: &Lookup) -> Subject<'_> {
    let process = lookup.process.as_ref();
    let container = lookup.container.as_ref();
    let place = container.and_then(|container| container.place.as_ref());
    Subject {
        asked: Some(Asked { qname: Some(&lookup.qname), qtypes: &lookup.qtypes }),
        client: Some(lookup.client),
        comm: process.map(|process| &*process.comm),
        exe: process.and_then(|process| process.exe.as_deref()),
        container: container.map(|container| &*container.id),
        pod: place.map(|place| (&*place.pod.namespace, &*place.pod.name)),
    }
}

/// What windows count of it; nothing of what cannot be a message by itself.
fn counts(untold: &Untold) -> Option<window::Untold> {
    let (count, lost) = (untold.sampled + untold.lost, untold.lost);
    let counts = window::Untold { lost, ..window::Untold::default() };
    Some(match untold.what {
        Unheard::Query => window::Untold { queries: count, ..counts },
        Unheard::Response { rcode, truncated } => {
            let mut rcodes = [0; window::RCODES];
            rcodes[usize::from(rcode) % window::RCODES] = count;
            let truncated = if truncated { count } else { 0 };
            window::Untold { responses: count, rcodes, truncated, ..counts }
        }
        Unheard::Segment { .. } => window::Untold { segments: count, ..counts },
        Unheard::Other => return None,
    })
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
        outbox.push(Stream::Metrics, record.head.event_id, &record, key.as_bytes());
    }
}
