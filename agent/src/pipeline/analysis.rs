//! Analyses of transactions: lookups, what used them, windows, detection. Takes transaction views from the merge stage and exports
//! the records of what the analyses find.

mod learning;

use super::DetectionChange;
use super::attribution::filter_subject;
use crate::pipeline::filter::{FilterQuestion, FilterSubject, StreamFilters};
use crate::record::RecordBuilder;
use dnscribe_analysis::detect::{Alert, DetectOptions, Detection, HostFacts};
use dnscribe_analysis::lookup::{Lookup, LookupOptions, LookupTable, Query};
use dnscribe_analysis::uses::{Connecting, Use, UseOptions, UseTable};
use dnscribe_analysis::view::TransactionView;
use dnscribe_analysis::window::{
    self, Group, Grouping, GroupingSet, Groups, Span, WindowOptions, Windows,
};
use dnscribe_delivery::SinkRouter;
use dnscribe_record::privacy::{Mask, MaskingMethod};
use dnscribe_record::time::{ClockShift, Timestamp};
use dnscribe_record::{Stream, StreamSet};
use dnscribe_transaction::decode::{Connect, Message};
use dnscribe_transaction::encrypted::ConnectionReport;
use dnscribe_transaction::packet::Task;
use dnscribe_transaction::packet::sampling::{Change, NotExported, PacketClass};
use dnscribe_transaction::pair::Vantage;
use learning::LearningLog;
use std::time::Duration;

/// Where a stage exports records: their writer, the sinks, and the filters.
pub(super) struct Export<'a> {
    pub(super) identity: &'a RecordBuilder,
    pub(super) router: &'a mut SinkRouter,
    pub(super) filters: &'a StreamFilters,
}

/// The analyses. Those whose results no sink wants are absent.
pub(super) struct Analysis {
    /// How far the host's clock was set since capture began.
    clock: ClockShift,
    lookup_options: LookupOptions,
    pub(super) lookups: Option<LookupTable>,
    /// Where connections are captured.
    pub(super) uses: Option<UseTable>,
    /// Reused buffer for the name of a query.
    qname: String,
    window_options: WindowOptions,
    pub(super) windows: Option<Windows>,
    /// Late transactions of windows before the present ones.
    late: u64,
    /// Whether a sink wants records of windows.
    exports_windows: bool,
    /// Window records so far.
    window_ordinal: u64,
    pub(super) detection: Option<Detection>,
    learning: LearningLog,
}

impl Analysis {
    /// Creates the analyses that the sinks want. `uses`: where connections are captured.
    pub(super) fn new(
        window_options: WindowOptions,
        uses: Option<UseOptions>,
        detection: Option<Detection>,
        identity: &RecordBuilder,
        router: &SinkRouter,
    ) -> Self {
        let lookup_options = LookupOptions::DEFAULT;
        let exports_windows = router.wants(Stream::Metrics);
        let has_windows = exports_windows || detection.is_some();
        Self {
            clock: identity.clock,
            lookup_options,
            lookups: (uses.is_some() || router.wants(Stream::Lookups))
                .then(|| LookupTable::new(lookup_options)),
            uses: uses.map(UseTable::new),
            qname: String::new(),
            window_options,
            windows: has_windows
                .then(|| new_windows(identity.epoch, window_options, identity.clock)),
            late: 0,
            exports_windows,
            window_ordinal: 0,
            detection,
            learning: LearningLog::default(),
        }
    }

    /// Returns whether any analysis takes transactions.
    pub(super) const fn is_active(&self) -> bool {
        self.windows.is_some() || self.lookups.is_some()
    }

    /// Processes a query that has begun a transaction.
    pub(super) fn begin(&mut self, query: &Message<'_>, export: &mut Export<'_>) {
        let mut qname = std::mem::take(&mut self.qname);
        self.with_lookups(export, |lookups, each| {
            if let Some(query) = Query::from_message(query, &mut qname) {
                lookups.begin(&query, each);
            }
        });
        self.qname = qname;
    }

    /// Processes a transaction, the outcome of which was known at `now`; `task` sent its query.
    pub(super) fn observe(
        &mut self,
        now: Timestamp,
        view: &TransactionView<'_>,
        task: Option<&Task>,
    ) {
        if let Some(uses) = &mut self.uses {
            let answered = view.query.zip(view.response_ts);
            let lookup = self.lookups.as_ref().zip(answered);
            uses.observe(
                task,
                view,
                lookup.and_then(|(lookups, (id, at))| lookups.of_query(id, at)),
            );
        }
        if let Some(lookups) = &mut self.lookups {
            lookups.observe(now, view);
        }
        if let Some(detection) = &mut self.detection {
            detection.observe(view);
        }
        if let Some(windows) = &mut self.windows {
            windows.now = now;
            windows.observe(view);
        }
    }

    /// Adds packets to or from a server that the kernel has counted instead of exporting.
    pub(super) fn add_not_exported(
        &mut self,
        ts: Timestamp,
        packets: &NotExported,
        resolver: Option<&str>,
    ) {
        let Some(windows) = &mut self.windows else { return };
        let Some(counts) = counts(packets) else { return };
        let vantage = Vantage::from_direction(packets.direction, packets.class.is_from_server());
        let transport = packets.class.transport().name();
        windows.add_not_exported(ts, vantage, (transport, resolver), &counts);
    }

    /// Processes a report of a connection of encrypted DNS.
    pub(super) fn connection(&mut self, report: &ConnectionReport<'_>, resolver: &str) {
        if let Some(detection) = &mut self.detection {
            detection.connection(report, resolver);
        }
    }

    /// Takes note that the sampling ratio has changed.
    pub(super) fn note_sampling(&mut self, change: Change) {
        if let Some(uses) = &mut self.uses {
            uses.set_missing(change.at, change.cut > 0);
        }
    }

    /// Takes note that packets were not exported in a span of time.
    pub(super) fn note_missing(&mut self, from: Timestamp, to: Timestamp) {
        if let Some(uses) = &mut self.uses {
            uses.note_missing(from, to);
        }
    }

    /// Processes a step of a connection of a process.
    pub(super) fn connect(
        &mut self,
        connect: &Connect,
        connecting: &mut impl Connecting,
        export: &mut Export<'_>,
    ) {
        let lookups = self.lookups.take();
        self.with_uses(export, |uses, each| {
            uses.connect(connect, connecting, lookups.as_ref(), each);
        });
        self.lookups = lookups;
    }

    /// Reports what has ended at `now`.
    pub(super) fn expire(&mut self, now: Timestamp, export: &mut Export<'_>) {
        self.with_uses(export, |uses, each| uses.expire(now, each));
        self.with_lookups(export, |lookups, each| lookups.expire(now, each));
        self.with_windows(export, |windows, each| windows.expire(now, each));
        self.with_detection(export, |detection, each| detection.expire(now, each));
        self.learning.update(self.detection.as_ref());
    }

    /// Ends the capture and reports everything.
    pub(super) fn finish(&mut self, now: Timestamp, export: &mut Export<'_>) {
        self.with_uses(export, |uses, each| uses.finish(now, each));
        self.with_lookups(export, |lookups, each| lookups.finish(now, each));
        self.with_windows(export, |windows, each| windows.finish(now, each));
        self.with_detection(export, |detection, each| detection.finish(now, each));
        self.learning.finish(self.detection.as_ref());
    }

    /// Starts and ends analyses before a change of the sinks, which will want `streams`. Those that stay keep their state;
    /// of those that end the present sinks get what is open.
    pub(super) fn set_streams(
        &mut self,
        streams: StreamSet,
        detection: DetectionChange,
        now: Timestamp,
        export: &mut Export<'_>,
    ) {
        if self.uses.is_none() && !streams.contains(Stream::Lookups) {
            self.with_lookups(export, |lookups, each| lookups.finish(now, each));
            self.lookups = None;
        } else if self.lookups.is_none() {
            self.lookups = Some(LookupTable::new(self.lookup_options));
        }
        if self.exports_windows && !streams.contains(Stream::Metrics) {
            self.with_windows(export, |windows, each| windows.restart(now, each));
        }
        match detection {
            DetectionChange::Off => {
                self.with_detection(export, |detection, each| detection.finish(now, each));
                self.detection = None;
            }
            DetectionChange::Keep => {}
            DetectionChange::Start(mut detection) => {
                detection.clock = self.clock;
                self.detection = Some(*detection);
            }
        }
        self.exports_windows = streams.contains(Stream::Metrics);
        if !self.exports_windows && self.detection.is_none() {
            self.late = self.late();
            self.windows = None;
        } else if self.windows.is_none() {
            let mut windows = new_windows(now, self.window_options, self.clock);
            windows.late = self.late;
            self.windows = Some(windows);
        }
    }

    /// Transactions that came too late for their window, since capture began.
    pub(super) fn late(&self) -> u64 {
        self.windows.as_ref().map_or(self.late, |windows| windows.late)
    }

    /// Applies other options.
    pub(super) fn reconfigure(
        &mut self,
        options: WindowOptions,
        detect: Option<(DetectOptions, HostFacts)>,
    ) {
        if let (Some(detection), Some((detect, facts))) = (&mut self.detection, detect) {
            detection.reconfigure(detect, &facts);
        }
        if let Some(windows) = &mut self.windows {
            windows.set_lateness(options.lateness);
            windows.count_pairs(options.groupings.contains(Grouping::ResolverZone));
        }
        self.window_options = options;
    }

    /// Follows the host's clock, which was set this far since capture began.
    pub(super) fn set_clock(&mut self, shift: ClockShift, export: &mut Export<'_>) {
        self.clock = shift;
        self.with_windows(export, |windows, each| windows.set_clock(shift, each));
        if let Some(detection) = &mut self.detection {
            detection.clock = shift;
        }
    }

    /// Sets how long a query waits for its response.
    pub(super) fn set_query_timeout(&mut self, query_timeout: Duration) {
        self.lookup_options.query_timeout = query_timeout;
        if let Some(lookups) = &mut self.lookups {
            lookups.options.query_timeout = query_timeout;
        }
    }

    /// Calls `act` on the lookups and exports those that it ends.
    fn with_lookups(
        &mut self,
        export: &mut Export<'_>,
        act: impl FnOnce(&mut LookupTable, &mut dyn FnMut(&Lookup<'_>)),
    ) {
        let Some(lookups) = &mut self.lookups else { return };
        let Export { identity, router, filters } = export;
        let filter = filters.get(Stream::Lookups);
        act(lookups, &mut |lookup| {
            if !router.asks_for(Stream::Lookups, filter.is_some()) {
                return;
            }
            if filter.is_some_and(|filter| !filter.admits(&subject(lookup))) {
                return router.filter(Stream::Lookups);
            }
            let record = identity.lookup(lookup);
            let key = lookup.fields.client_ip.to_string();
            let id = record.head.event_id;
            router.push(Stream::Lookups, id, &record, key.as_bytes());
        });
    }

    /// Calls `act` on the uses and exports those that it ends.
    fn with_uses(
        &mut self,
        export: &mut Export<'_>,
        act: impl FnOnce(&mut UseTable, &mut dyn FnMut(&Use)),
    ) {
        let Self { uses, detection, .. } = self;
        let Some(uses) = uses else { return };
        let Export { identity, router, filters } = export;
        let filter = filters.get(Stream::Uses);
        act(uses, &mut |one| {
            if let Some(detection) = detection {
                detection.used(one);
            }
            if !router.asks_for(Stream::Uses, filter.is_some()) {
                return;
            }
            if filter.is_some_and(|filter| !filter.admits(&use_subject(one))) {
                return router.filter(Stream::Uses);
            }
            let key = one.remote.ip().to_string();
            let record = identity.use_record(one);
            router.push(Stream::Uses, record.head.event_id, &record, key.as_bytes());
        });
    }

    /// Calls `act` on detection and exports the alerts that change.
    fn with_detection(
        &mut self,
        export: &mut Export<'_>,
        act: impl FnOnce(&mut Detection, &mut dyn FnMut(&Alert)),
    ) {
        let Some(detection) = &mut self.detection else { return };
        let DetectOptions { runbook_url, evidence, .. } = detection.options();
        let (runbooks, evidence) = (runbook_url.clone(), evidence.clone());
        act(detection, &mut |alert| {
            let Export { identity, router, .. } = export;
            let record = identity.alert(alert, &runbooks, evidence.as_deref());
            router.push(Stream::Alerts, record.head.event_id, &record, record.entity.as_bytes());
        });
    }

    /// Calls `act` on the windows and exports those that it closes.
    fn with_windows(
        &mut self,
        export: &mut Export<'_>,
        act: impl FnOnce(&mut Windows, &mut dyn FnMut(&Span, &Groups)),
    ) {
        let Self { window_options: options, windows, window_ordinal, detection, .. } = self;
        let Some(windows) = windows else { return };
        let exports_windows = self.exports_windows;
        act(windows, &mut |span, groups| {
            if let Some(detection) = detection {
                detection.window(span, groups);
            }
            if exports_windows && options.spans.contains(span.kind) {
                export_window(span, groups, options.groupings, window_ordinal, export);
            }
        });
    }
}

#[cfg(test)]
impl Analysis {
    /// The settings that the analyses use, as text.
    pub(super) fn settings_in_force(&self) -> String {
        let lookups = self.lookups.as_ref().map(|lookups| lookups.options);
        let windows = self.windows.as_ref().map(Windows::settings_in_force);
        let detection = self.detection.as_ref().map(Detection::settings_in_force);
        format!("{:#?}", (self.lookup_options, lookups, self.window_options, windows, detection))
    }
}

/// What filters match in a use. It has no client, resolver or type of a query.
fn use_subject(one: &Use) -> FilterSubject<'_> {
    let question =
        one.name.as_deref().map(|name| FilterQuestion { qname: Some(name), qtypes: &[] });
    FilterSubject {
        question,
        client: None,
        status: Some(one.outcome.name()),
        ..filter_subject(&one.attribution, one.remote.ip())
    }
}

/// What filters match in a lookup.
fn subject<'a>(lookup: &'a Lookup<'_>) -> FilterSubject<'a> {
    let question = FilterQuestion { qname: Some(lookup.fields.qname), qtypes: &lookup.qtypes };
    FilterSubject {
        question: Some(question),
        resolvers: &lookup.fields.resolvers,
        status: Some(lookup.outcome.name()),
        rcode: lookup.fields.rcode.as_deref(),
        ..filter_subject(lookup.attribution, lookup.fields.client_ip)
    }
}

/// Counts for windows; none for packets that cannot be a message on their own.
fn counts(packets: &NotExported) -> Option<window::NotExported> {
    let (count, lost) = (packets.sampled + packets.lost, packets.lost);
    let counts = window::NotExported { lost, ..window::NotExported::default() };
    Some(match packets.class {
        PacketClass::Query => window::NotExported { queries: count, ..counts },
        PacketClass::Response { rcode, truncated } => {
            let mut rcodes = [0; window::RCODES];
            rcodes[usize::from(rcode) % window::RCODES] = count;
            let truncated = if truncated { count } else { 0 };
            window::NotExported { responses: count, rcodes, truncated, ..counts }
        }
        PacketClass::Segment { .. } => window::NotExported { segments: count, ..counts },
        PacketClass::Other => return None,
    })
}

/// Creates the windows of a capture that begins at `epoch`.
fn new_windows(epoch: Timestamp, options: WindowOptions, clock: ClockShift) -> Windows {
    let mut windows = Windows::new(epoch, options.lateness);
    windows.set_clock(clock, &mut |_, _| {});
    windows.count_pairs(options.groupings.contains(Grouping::ResolverZone));
    windows
}

/// Returns the group with what masking leaves of its value: groups that it makes equal are one window.
fn identity_left(group: &Group, mask: Mask) -> Group {
    let of = |grouping| group.value_of(grouping);
    let is_left = |method| method != MaskingMethod::Drop;
    let value: Option<Box<str>> = match group.grouping {
        Grouping::Node | Grouping::Qtype => group.value.clone(),
        Grouping::Resolver => {
            of(Grouping::Resolver).and_then(|text| mask.left_of_resolver(text)).map(Into::into)
        }
        Grouping::Zone => {
            of(Grouping::Zone).and_then(|text| mask.left_of_zone(text)).map(Into::into)
        }
        Grouping::ResolverZone => {
            let resolver = of(Grouping::Resolver).and_then(|text| mask.left_of_resolver(text));
            let zone = of(Grouping::Zone).and_then(|text| mask.left_of_zone(text));
            resolver.zip(zone).map(|(resolver, zone)| format!("{resolver} {zone}").into())
        }
        Grouping::Process => group.value.clone().filter(|_| is_left(mask.process)),
        Grouping::Pod => group.value.clone().filter(|_| is_left(mask.container)),
    };
    Group { value, ..group.clone() }
}

/// Exports each group of a window as a record.
fn export_window(
    span: &Span,
    groups: &Groups,
    groupings: GroupingSet,
    ordinal: &mut u64,
    export: &mut Export<'_>,
) {
    let Export { identity, router, .. } = export;
    let mask = router.masker.rules_of(Stream::Metrics);
    let is_cut = |method| matches!(method, MaskingMethod::Truncate | MaskingMethod::Drop);
    let merges = [mask.qname, mask.server, mask.process, mask.container].into_iter().any(is_cut);
    let merged = merges.then(|| groups.renamed(|group| identity_left(group, mask)));
    let all = merged.as_ref().map_or_else(|| groups.sorted(), |merged| merged.iter().collect());
    for (group, tally) in all {
        if !groupings.contains(group.grouping) {
            continue;
        }
        *ordinal += 1;
        let record = identity.window(span, group, tally, *ordinal);
        // Groups without a value share a partition.
        let key = match group.grouping {
            Grouping::Node => identity.node.as_str(),
            _ => group.value.as_deref().unwrap_or("other"),
        };
        router.push(Stream::Metrics, record.head.event_id, &record, key.as_bytes());
    }
}
