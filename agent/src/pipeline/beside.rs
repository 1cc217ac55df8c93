//! A hook and servers that send dnstap in one capture: what both saw becomes one event.
//!
//! Events of both come in order of time ([`BatchMerger`]) and wait for a second. If the other view of a message or transaction comes
//! meanwhile, one of the two goes: that of the socket stays, with what the server says, unless the server's has more of the
//! messages. What only the server saw, such as what is encrypted, gets the process and network of the server, once another
//! exchange has shown them.

use super::batch::EventBatch;
use super::batch_merger::BatchMerger;
use super::event::{Event, EventSink, RenderedEvent};
use super::flow_stage::{FlowCounters, FlowOptions, FlowStage};
use super::renderer::RenderOptions;
use super::{Control, Pipeline};
use dnscribe_record::ledger::SeenBy;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::decode::{Envelope, Message, View};
use dnscribe_transaction::packet::{Packet, Task, Transport};
use dnscribe_transaction::pair::{Status, Vantage};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState};
use std::net::SocketAddr;
use std::time::Duration;

/// Number of the first sender of dnstap beside a hook, which has the numbers of CPUs below. Ids of messages contain it.
pub const FIRST_SENDER: u32 = 1 << 31;

/// Longest time between both views of an exchange. Timers run out twice a second on either side.
const WINDOW: Duration = Duration::from_secs(1);

/// Most events that wait for their other view, some 500 MiB. Beyond that, the first go on without it.
const MAX_HELD: usize = 300_000;

/// Events of a batch.
const BATCH_EVENTS: usize = 256;

/// Lanes of the merger: the number of the flow stage.
const HOOK: usize = 0;
const DNSTAP: usize = 1;

/// The flow stage of dnstap, and the join of its events with those of the hook.
pub struct Beside {
    flow: FlowStage,
    merger: BatchMerger,
    /// Events of the hook since the last merge.
    hook: EventBatch,
    /// The hook is past this time.
    past: Timestamp,
    /// Emptied batches of both lanes.
    spare: Vec<EventBatch>,
    joiner: Joiner,
}

impl Beside {
    /// Creates the stage of dnstap for a pipeline, with the options of its other flow stages.
    #[must_use]
    pub fn new(options: FlowOptions, pipeline: &Pipeline) -> Self {
        let options = FlowOptions { hold: None, ..options };
        let mut flow = FlowStage::new(DNSTAP, 1, options, pipeline);
        // Records are rendered after the join.
        flow.apply(&Control::Render(RenderOptions::default()));
        let epoch = pipeline.epoch();
        Self {
            flow,
            merger: BatchMerger::new(vec![FlowCounters::default(); 2], usize::MAX, epoch),
            hook: EventBatch::default(),
            past: epoch,
            spare: Vec::new(),
            joiner: Joiner::default(),
        }
    }

    /// Where the events of the hook go.
    pub fn hook_side<'a>(&'a mut self, pipeline: &'a mut Pipeline) -> impl EventSink + 'a {
        HookSide { batch: &mut self.hook, past: &mut self.past, pipeline }
    }

    /// Takes what has come of dnstap, by `drain`, which returns whether all was taken that is due at `now`; and passes on what
    /// has waited long enough.
    pub fn poll(
        &mut self,
        now: Timestamp,
        drain: impl FnOnce(&mut dyn FnMut(&Packet<'_>) -> bool) -> bool,
        pipeline: &mut Pipeline,
    ) {
        let mut batch = self.spare.pop().unwrap_or_default();
        let flow = &mut self.flow;
        let is_empty = drain(&mut |packet| {
            batch.packets += 1;
            flow.observe_report(packet, &mut batch)
        });
        if is_empty {
            flow.ring_drained(now, &mut batch);
        }
        flow.finish_batch(&mut batch, &[], is_empty.then_some(now));
        self.merger.push(batch);
        self.push_hook();
        self.merger.merge(&mut self.joiner);
        self.spare.extend(self.merger.spent());
        let until = self.merger.horizon().minus(WINDOW);
        self.joiner.release(Some(until), pipeline);
        pipeline.expire(until);
    }

    fn push_hook(&mut self) {
        let next = self.spare.pop().unwrap_or_default();
        let mut batch = std::mem::replace(&mut self.hook, next);
        (batch.shard, batch.until) = (HOOK, self.past);
        self.merger.push(batch);
    }

    /// Ends the stage at `now`, after the hook's, and passes on all that waits.
    pub fn finish(
        &mut self,
        now: Timestamp,
        drain: impl FnOnce(&mut dyn FnMut(&Packet<'_>) -> bool) -> bool,
        pipeline: &mut Pipeline,
    ) {
        self.poll(now, drain, pipeline);
        let mut batch = self.spare.pop().unwrap_or_default();
        self.flow.finish(now, &mut batch);
        self.flow.finish_batch(&mut batch, &[], Some(now));
        self.merger.push(batch);
        self.push_hook();
        self.merger.merge_all(&mut self.joiner);
        self.joiner.release(None, pipeline);
    }

    /// Applies a change of settings.
    pub fn apply(&mut self, control: &Control) {
        self.flow.apply(control);
    }

    /// Counters of the flow stage of dnstap.
    #[must_use]
    pub fn counters(&self) -> FlowCounters {
        self.flow.counters(&[])
    }

    /// Counts of transactions by who saw them.
    #[must_use]
    pub const fn seen_by(&self) -> &SeenBy {
        &self.joiner.counts
    }
}

/// Takes the events of the hook.
struct HookSide<'a> {
    batch: &'a mut EventBatch,
    past: &'a mut Timestamp,
    pipeline: &'a mut Pipeline,
}

impl EventSink for HookSide<'_> {
    fn event(&mut self, at: Timestamp, event: RenderedEvent<'_>) {
        if let Event::Message(message) = event.event {
            // It may have ended when the message has waited.
            self.pipeline.note_process(message.envelope.task.as_ref(), message.envelope.cgroup_id);
        }
        self.batch.event(at, event.event.into());
    }

    fn expired(&mut self, now: Timestamp) {
        *self.past = now;
    }
}

/// Where a server that sends dnstap runs.
#[derive(Clone, Copy, Debug)]
struct Origin {
    task: Task,
    cgroup_id: u64,
    scope: u64,
}

/// An event that waits for the other view of it.
struct Held {
    at: Timestamp,
    place: Place,
    /// Who saw it; none for events of which there is one view.
    seen_by: Option<View>,
    /// Outcome, of a transaction.
    status: Option<Status>,
    /// The key of its view, while the other is missing.
    key: Option<u64>,
    is_gone: bool,
}

/// Where an event is: the number of its batch, and its index there.
#[derive(Clone, Copy)]
struct Place {
    batch: u64,
    index: usize,
}

/// Joins both views of an event.
#[derive(Default)]
struct Joiner {
    held: VecDeque<Held>,
    /// Number of the first that is held.
    first: u64,
    /// The events that are held, and some that were passed on.
    batches: VecDeque<EventBatch>,
    /// Number of the first batch.
    first_batch: u64,
    spare: Vec<EventBatch>,
    /// Numbers of the events that wait for their other view, by key and whether the server saw them.
    waiting: HashMap<(u64, bool), VecDeque<u64>>,
    origins: HashMap<u32, Origin>,
    counts: SeenBy,
    /// Reused buffer.
    qname: String,
    hasher: RandomState,
}

impl EventSink for Joiner {
    fn event(&mut self, at: Timestamp, rendered: RenderedEvent<'_>) {
        let event = rendered.event;
        let subject = Subject::of(event);
        let mut held = Held {
            at,
            place: self.store(at, event),
            seen_by: subject.as_ref().map(Subject::view),
            status: subject.as_ref().and_then(|subject| subject.status),
            key: subject.as_ref().and_then(|subject| subject.key(&self.hasher, &mut self.qname)),
            is_gone: false,
        };
        if let (Some(key), Some(view)) = (held.key, held.seen_by) {
            let is_dnstap = view == View::Dnstap;
            self.join(key, is_dnstap, &mut held);
            if held.key.is_some() {
                let number = self.first + self.held.len() as u64;
                self.waiting.entry((key, is_dnstap)).or_default().push_back(number);
            }
        }
        self.held.push_back(held);
    }
}

impl Joiner {
    fn store(&mut self, at: Timestamp, event: &Event<'_>) -> Place {
        if self.batches.back().is_none_or(|batch| batch.len() >= BATCH_EVENTS) {
            self.batches.push_back(self.spare.pop().unwrap_or_default());
        }
        let number = self.first_batch + self.batches.len() as u64 - 1;
        let Some(batch) = self.batches.back_mut() else { return Place { batch: number, index: 0 } };
        let index = batch.len();
        batch.event(at, event.into());
        Place { batch: number, index }
    }

    /// Calls `each` with what the messages of an event carry.
    fn each_envelope(&mut self, place: Place, mut each: impl FnMut(&mut Envelope)) {
        let batch = usize::try_from(place.batch - self.first_batch).ok();
        if let Some(batch) = batch.and_then(|batch| self.batches.get_mut(batch)) {
            batch.each_envelope(place.index, &mut each);
        }
    }

    /// Joins an event with the other view of it, if that waits: one of the two goes.
    fn join(&mut self, key: u64, is_dnstap: bool, new: &mut Held) {
        let other = (key, !is_dnstap);
        let Some(numbers) = self.waiting.get_mut(&other) else { return };
        let number = numbers.pop_front();
        if numbers.is_empty() {
            self.waiting.remove(&other);
        }
        let index = number.and_then(|number| usize::try_from(number - self.first).ok());
        let Some(earlier) = index.and_then(|index| self.held.get(index)).map(|held| held.place)
        else {
            return;
        };
        let (hook, dnstap) = if is_dnstap { (earlier, new.place) } else { (new.place, earlier) };
        let (mut of_hook, mut of_server) = (0, 0);
        let (mut origin, mut sender, mut says) = (None, None, None);
        self.each_envelope(hook, |envelope| {
            of_hook += 1;
            let Envelope { task, cgroup_id, scope, .. } = *envelope;
            origin = origin.or(task.map(|task| Origin { task, cgroup_id, scope }));
        });
        self.each_envelope(dnstap, |envelope| {
            of_server += 1;
            sender = Some(envelope.id.packet.cpu);
            says = envelope.report.clone().or_else(|| says.take());
        });
        if let (Some(sender), Some(origin)) = (sender, origin) {
            self.origins.insert(sender, origin);
        }
        let server_has_more = of_server > of_hook;
        let stays = if server_has_more { dnstap } else { hook };
        self.each_envelope(stays, |envelope| envelope.report.clone_from(&says));
        let Some(earlier) = index.and_then(|index| self.held.get_mut(index)) else { return };
        (earlier.key, new.key) = (None, None);
        let new_goes = is_dnstap != server_has_more;
        let (stays, goes) = if new_goes { (earlier, new) } else { (new, earlier) };
        stays.seen_by = Some(View::Both);
        goes.is_gone = true;
        if let Some(status) = goes.status {
            *self.counts.merged.entry(status.name().to_owned()).or_default() += 1;
        }
    }

    /// Passes on what came until this time, or all.
    fn release(&mut self, until: Option<Timestamp>, pipeline: &mut Pipeline) {
        let is_due = |held: &Held| until.is_none_or(|until| held.at <= until);
        while self.held.front().is_some_and(|held| is_due(held) || self.held.len() > MAX_HELD)
            && let Some(held) = self.held.pop_front()
        {
            let number = self.first;
            self.first += 1;
            self.forget(&held, number);
            if !held.is_gone {
                self.mark(&held);
            }
            let Some(batch) = self.batches.front_mut() else { return };
            if held.is_gone {
                batch.skip_next();
            } else {
                batch.replay_next(pipeline);
            }
            if batch.is_empty()
                && let Some(mut spent) = self.batches.pop_front()
            {
                self.first_batch += 1;
                spent.clear();
                self.spare.push(spent);
            }
        }
    }

    /// Forgets that an event waits for its other view.
    fn forget(&mut self, held: &Held, number: u64) {
        let Some(key) = held.key.map(|key| (key, held.seen_by == Some(View::Dnstap))) else {
            return;
        };
        if let Some(numbers) = self.waiting.get_mut(&key) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.waiting.remove(&key);
            }
        }
    }

    /// Writes down who saw an event, and counts it.
    fn mark(&mut self, held: &Held) {
        let Some(view) = held.seen_by else { return };
        let origins = std::mem::take(&mut self.origins);
        self.each_envelope(held.place, |envelope| {
            envelope.seen_by = Some(view);
            if envelope.task.is_none()
                && let Some(origin) = origins.get(&envelope.id.packet.cpu)
            {
                let Origin { task, cgroup_id, scope } = *origin;
                (envelope.task, envelope.cgroup_id, envelope.scope) =
                    (Some(task), cgroup_id, scope);
            }
        });
        self.origins = origins;
        if held.status.is_some() {
            match view {
                View::Both => self.counts.both += 1,
                View::Socket => self.counts.socket += 1,
                View::Dnstap => self.counts.dnstap += 1,
            }
        }
    }
}

/// What an event is about.
struct Subject<'a> {
    /// Tells events of one message apart.
    kind: u8,
    vantage: Vantage,
    /// A message of it, of the query if there is one.
    message: Message<'a>,
    /// Another, which may have the question.
    other: Option<Message<'a>>,
    status: Option<Status>,
}

impl<'a> Subject<'a> {
    fn of(event: &Event<'a>) -> Option<Self> {
        let of_message = |kind, message: Message<'a>| {
            let is_response = message.dns.flags.is_response();
            let vantage = Vantage::from_direction(message.envelope.direction, is_response);
            let kind = kind + u8::from(is_response);
            Self { kind, vantage, message, other: None, status: None }
        };
        match *event {
            Event::Message(message) => Some(of_message(0, message)),
            Event::Began(query) => Some(of_message(2, query)),
            Event::Transaction(transaction) => Some(Self {
                kind: 4,
                vantage: transaction.vantage,
                message: transaction.query.or(transaction.response)?,
                other: transaction.response,
                status: Some(transaction.status),
            }),
            _ => None,
        }
    }

    /// Which of the two has seen it.
    const fn view(&self) -> View {
        if self.message.envelope.id.packet.cpu >= FIRST_SENDER {
            View::Dnstap
        } else {
            View::Socket
        }
    }

    /// Returns a hash that both views of an event have. None where there is one view: the socket sees no message inside of TLS, HTTPS or QUIC,
    /// and no server reports what passes by. Servers do not always know their own address, which is not part of it.
    fn key(&self, hasher: &RandomState, qname: &mut String) -> Option<u64> {
        let Self { kind, vantage, message, other, .. } = self;
        let transport = message.envelope.transport;
        if !matches!(transport, Transport::Udp | Transport::Tcp) {
            return None;
        }
        let (client, server) = message.client_and_server();
        let peer: SocketAddr = match vantage {
            Vantage::Server => client,
            Vantage::Client => server,
            Vantage::Passive => return None,
        };
        let mut hasher = hasher.build_hasher();
        (kind, *vantage as u8, transport as u8, message.dns.id).hash(&mut hasher);
        (peer.ip().to_canonical(), peer.port()).hash(&mut hasher);
        let question = message.dns.question().or_else(|| other.as_ref()?.dns.question());
        if let Some(question) = question {
            qname.clear();
            question.name.push_lower_case(qname);
            (&*qname, question.qtype, question.qclass).hash(&mut hasher);
        }
        Some(hasher.finish())
    }
}
