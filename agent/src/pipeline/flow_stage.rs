//! Decoding, pairing and tracking of connections: the stages in which packets of a flow meet packets of the
//! same flow only. Takes packets from the capture and passes events to an [`EventSink`].
//!
//! One flow stage runs in the thread that also has the [`Pipeline`], or several run on
//! worker threads, each with a share of the flows.

use super::Pipeline;
use super::batch::EventBatch;
use super::control::Control;
use super::event::{Event, EventSink, Sender};
use super::followed::FollowedMessages;
use super::held::HeldPackets;
use super::renderer::Renderer;
use crate::capture::Received;
use dnscribe_record::Merge as _;
use dnscribe_record::ledger::{self, Counters};
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::decode::{
    Decoded, Decoder, DecoderOptions, Message, MessageKey, Unreachable,
};
use dnscribe_transaction::encrypted::{ConnectionOptions, ConnectionTable};
use dnscribe_transaction::packet::ports::PortSet;
use dnscribe_transaction::packet::{Body, Packet};
use dnscribe_transaction::pair::{PairOptions, Pairer};
use std::collections::VecDeque;
use std::time::Duration;

/// Time by the clock of the capture between two checks for expired entries.
const EXPIRE_INTERVAL: Duration = Duration::from_millis(500);

/// A packet may be older than the one before it by this much: CPUs stamp packets before they reserve space in
/// the ring, and not in the same order.
const CLOCK_SKEW: Duration = Duration::from_millis(1);

/// Time for which an ICMP error waits for the report that the query was discarded. A firewall that rejects a packet sends
/// the error first.
const EARLY: Duration = Duration::from_millis(10);

/// Most ICMP errors that wait.
const MAX_EARLY: usize = 256;

/// Options of all flow stages of a pipeline together. Limits are divided among the stages.
#[derive(Clone, Debug, Default)]
pub struct FlowOptions {
    /// Ports and limits of decoding.
    pub decoder: DecoderOptions,
    /// Timeout and limits of pairing.
    pub pairing: PairOptions,
    /// Timeouts and limits of connections of encrypted DNS, which are tracked if the decoder looks for them.
    pub connections: ConnectionOptions,
    /// How long a packet waits for what becomes of it, if the path of packets is captured.
    pub hold: Option<Duration>,
}

impl FlowOptions {
    /// Returns the options of one of `shards` stages.
    fn divided_by(self, shards: usize) -> Self {
        let Self { decoder, pairing, connections, hold } = self;
        Self {
            decoder: DecoderOptions {
                tcp_memory_bytes: decoder.tcp_memory_bytes.div_ceil(shards),
                tcp_streams: decoder.tcp_streams.div_ceil(shards),
                fragment_memory_bytes: decoder.fragment_memory_bytes.div_ceil(shards),
                fragment_datagrams: decoder.fragment_datagrams.div_ceil(shards),
                ..decoder
            },
            pairing: pairing_share(pairing, shards),
            connections: connections_share(connections, shards),
            hold,
        }
    }
}

/// Returns the options of one of `shards` stages: flows spread evenly enough.
fn pairing_share(options: PairOptions, shards: usize) -> PairOptions {
    PairOptions { max_transactions: options.max_transactions.div_ceil(shards), ..options }
}

/// Returns the options of one of `shards` stages.
fn connections_share(options: ConnectionOptions, shards: usize) -> ConnectionOptions {
    ConnectionOptions {
        max_connections: options.max_connections.div_ceil(shards),
        handshake_memory_bytes: options.handshake_memory_bytes.div_ceil(shards),
        ..options
    }
}

/// Decoder, pairing and connections of a share of the flows, with their clock.
pub struct FlowStage {
    /// The number of this stage among `shards`, counted from 0.
    pub shard: usize,
    shards: usize,
    pub(super) decoder: Decoder,
    pub(super) trackers: Trackers,
    renderer: Renderer,
    /// Time of the newest packet; the epoch before the first packet.
    pub last_packet: Timestamp,
    /// Timers were checked up to this time.
    pub expired: Timestamp,
    /// Packets that the kernel may yet discard, if such packets are captured.
    held: Option<HeldPackets>,
    /// Messages on their way, if the path of packets is captured.
    followed: FollowedMessages,
    /// Ports that replace the current ones once the ring has been found empty.
    pending_ports: Option<PortSet>,
}

/// Counters of a flow stage at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowCounters {
    /// Records read from the ring, by CPU. Empty if the stage does not read a ring of its own.
    pub received: Vec<Received>,
    pub(super) decode: ledger::Decode,
    pub(super) pairing: ledger::Pairing,
    pub(super) connections: Option<ledger::Connections>,
    pub(super) path: Option<ledger::Path>,
    /// Connections that wait behind a response, and have no match yet.
    held_connects: u64,
}

impl FlowCounters {
    /// Adds these counters to those of the ledger.
    pub(super) fn add_to(&self, counters: &mut Counters) {
        counters.decode.merge(&self.decode);
        counters.pairing.merge(&self.pairing);
        if let Some(connections) = &self.connections {
            counters.connections.get_or_insert_default().merge(connections);
        }
        if let Some(path) = &self.path {
            counters.path.get_or_insert_default().merge(path);
        }
        if let Some(uses) = &mut counters.uses {
            uses.connects += self.held_connects;
            uses.held += self.held_connects;
        }
    }
}

/// The stages behind the decoder.
pub(super) struct Trackers {
    pub(super) pairer: Pairer,
    pub(super) connections: Option<ConnectionTable>,
    /// ICMP errors without a query, in order.
    early: VecDeque<Unreachable>,
    /// Whether the packet was never seen but as the kernel discarded it.
    is_unseen: bool,
}

/// Receiver of events inside a flow stage.
pub(super) type Emit<'a> = &'a mut dyn FnMut(&Event<'_>);

impl FlowStage {
    /// Creates stage `shard` of `shards`. Limits in `options` are those of all stages together.
    pub(super) fn new(
        shard: usize,
        shards: usize,
        options: FlowOptions,
        pipeline: &Pipeline,
    ) -> Self {
        let FlowOptions { decoder, pairing, connections, hold } = options.divided_by(shards);
        let encrypted = decoder.encrypted.clone();
        let connections = encrypted.map(|encrypted| ConnectionTable::new(encrypted, connections));
        Self {
            shard,
            shards,
            decoder: Decoder::new(decoder),
            trackers: Trackers {
                pairer: Pairer::new(pairing),
                connections,
                early: VecDeque::new(),
                is_unseen: false,
            },
            renderer: pipeline.renderer(),
            last_packet: pipeline.epoch(),
            expired: pipeline.epoch(),
            held: hold.map(|hold| HeldPackets::new(hold, shards)),
            followed: FollowedMessages::new(shards),
            pending_ports: None,
        }
    }

    /// Runs `step` on the stages and passes its events to `sink`, as of time `at`.
    pub(super) fn run(
        &mut self,
        at: Timestamp,
        sink: &mut dyn EventSink,
        step: impl FnOnce(&mut Decoder, &mut Trackers, Emit<'_>),
    ) {
        let Self { decoder, trackers, renderer, .. } = self;
        step(decoder, trackers, &mut |event| sink.event(at, renderer.render(event)));
    }

    /// Takes one packet, and processes it unless it must wait for what becomes of it, or of one before it.
    pub fn observe(&mut self, packet: &Packet<'_>, sink: &mut dyn EventSink) {
        let Some(mut held) = self.held.take() else { return self.process(packet, sink) };
        held.release(packet.ts, &mut |earlier| self.process(earlier, sink));
        let is_dns = |port| self.decoder.ports.contains(port);
        let arriving = self.followed.observe(packet, is_dns);
        let is_held = held.hold(packet, arriving.filter(|message| message.is_response));
        let at = held.oldest().map_or(packet.ts, |oldest| oldest.min(packet.ts));
        if is_held {
            if let Some(task) = packet.task {
                let sender = Sender { task, cgroup_id: packet.cgroup_id };
                self.run(at, sink, |_, _, emit| emit(&Event::Sender(sender)));
            }
        } else {
            // What others wait for comes before them, and must not end what they complete.
            if self.settle(&mut held, at, packet, sink) {
                held.release(packet.ts, &mut |settled| self.process(settled, sink));
            }
        }
        self.held = Some(held);
    }

    /// Takes one message that a server reports. Returns whether it could be decoded.
    pub fn observe_report(&mut self, packet: &Packet<'_>, sink: &mut dyn EventSink) -> bool {
        let before = self.decoder.malformed();
        self.observe(packet, sink);
        self.decoder.malformed() == before
    }

    /// Processes a packet that does not wait. Returns whether one waited for what this one reports: that a message was read
    /// or discarded.
    fn settle(
        &mut self,
        held: &mut HeldPackets,
        at: Timestamp,
        packet: &Packet<'_>,
        sink: &mut dyn EventSink,
    ) -> bool {
        let mut packet = *packet;
        let mut is_settled = false;
        match packet.body {
            Body::Dropped { bytes, wire_bytes, loss: Some(_), is_unseen: false } => {
                if let Some(message) = MessageKey::read(bytes, wire_bytes)
                    && let Some(copy) = held.discard(packet.scope, &message)
                {
                    // A datagram in a queue has no device any more, which has the network.
                    (packet.ts, packet.scope, is_settled) = (copy.ts, copy.scope, true);
                }
            }
            Body::Read { local, remote } => {
                if let Some((step, at_socket)) = self.followed.read(&packet, local, remote) {
                    is_settled = held.read(&step.message, at_socket);
                    self.run(at, sink, |_, _, emit| emit(&Event::Step(&step)));
                }
            }
            _ => {}
        }
        self.process_at(at, &packet, sink);
        is_settled
    }

    /// Processes the packets that have waited long enough at `now`; all of them without it.
    fn release(&mut self, now: Option<Timestamp>, sink: &mut dyn EventSink) {
        let Some(mut held) = self.held.take() else { return };
        match now {
            Some(now) => held.release(now, &mut |packet| self.process(packet, sink)),
            None => held.release_all(&mut |packet| self.process(packet, sink)),
        }
        self.held = Some(held);
    }

    /// Processes one packet; before that, expires what is due.
    fn process(&mut self, packet: &Packet<'_>, sink: &mut dyn EventSink) {
        self.process_at(packet.ts, packet, sink);
    }

    /// Processes one packet as of time `at`; before that, expires what is due.
    fn process_at(&mut self, at: Timestamp, packet: &Packet<'_>, sink: &mut dyn EventSink) {
        // The clock may step back, and then expiry must not pause until the clock has caught up.
        if at >= self.expired.plus(EXPIRE_INTERVAL) || at < self.last_packet {
            self.expire(at, sink);
        }
        self.last_packet = at;
        self.trackers.is_unseen = matches!(packet.body, Body::Dropped { is_unseen: true, .. });
        self.run(at, sink, |decoder, trackers, emit| {
            decoder.observe(packet, &mut |decoded| trackers.process(decoded, emit));
        });
    }

    /// Ends whatever has waited too long at `now`.
    pub fn expire(&mut self, now: Timestamp, sink: &mut dyn EventSink) {
        self.expired = now;
        self.followed.expire(now);
        self.run(now, sink, |decoder, trackers, emit| {
            decoder.expire(now, &mut |decoded| trackers.process(decoded, emit));
            let Trackers { pairer, connections, .. } = trackers;
            pairer.expire(now, &mut |transaction| emit(&Event::Transaction(transaction)));
            if let Some(connections) = connections {
                connections.expire(now, &mut |report| emit(&Event::Connection(report)));
            }
        });
        sink.expired(now);
    }

    /// To be called when the ring was found empty, with the time before it was checked: expires what is due
    /// at `now`, and applies a change of ports that waits for this.
    pub fn ring_drained(&mut self, now: Timestamp, sink: &mut dyn EventSink) {
        self.release(Some(now), sink);
        self.expire(self.not_held(now), sink);
        let Some(ports) = self.pending_ports.take() else { return };
        self.decoder.set_ports(ports.clone());
        self.run(now, sink, |_, trackers, emit| {
            let is_watched = |port| ports.contains(port);
            let pairer = &mut trackers.pairer;
            pairer.drop_unwatched_ports(is_watched, now, &mut |ended| {
                emit(&Event::Transaction(ended));
            });
        });
    }

    /// Time of the oldest packet that waits for what becomes of it.
    #[must_use]
    pub fn oldest_held(&self) -> Option<Timestamp> {
        self.held.as_ref().and_then(HeldPackets::oldest)
    }

    /// Returns the time up to which no packet is held any more, at most `now`.
    fn not_held(&self, now: Timestamp) -> Timestamp {
        self.oldest_held().map_or(now, |oldest| oldest.min(now))
    }

    /// Returns when a capture ends for this stage that stopped at `stopped`: earlier if the ring was not emptied, since the
    /// packets in it are from after the newest one, and may answer queries.
    #[must_use]
    pub fn end_of_capture(&self, stopped: Timestamp, is_empty: bool) -> Timestamp {
        if is_empty { stopped } else { stopped.min(self.last_packet) }
    }

    /// Ends the capture at `now`: queries that wait become `open`, and data behind gaps is delivered.
    pub fn finish(&mut self, now: Timestamp, sink: &mut dyn EventSink) {
        self.release(None, sink);
        self.run(now, sink, |decoder, trackers, emit| {
            decoder.finish(&mut |decoded| trackers.process(decoded, emit));
            let Trackers { pairer, connections, .. } = trackers;
            pairer.finish(now, &mut |transaction| emit(&Event::Transaction(transaction)));
            if let Some(connections) = connections {
                connections.finish(now, &mut |report| emit(&Event::Connection(report)));
            }
        });
    }

    /// Applies a change of settings.
    pub fn apply(&mut self, control: &Control) {
        let Trackers { pairer, connections, .. } = &mut self.trackers;
        match control {
            Control::Reconfigure(settings) => {
                pairer.set_limits(pairing_share(settings.pairing, self.shards));
                if let Some(connections) = connections {
                    connections.reconfigure(connections_share(settings.connections, self.shards));
                }
            }
            // Transactions are matched behind the flow stages.
            Control::Match(_) => {}
            Control::Sample(change) => {
                pairer.note_sampling(*change);
                // Messages are left out, and so is that they are read.
                self.followed.clear();
                if let Some(held) = &mut self.held {
                    held.sees_reads = change.cut == 0;
                }
            }
            Control::SetClock(shift) => self.renderer.set_clock(*shift),
            Control::Render(options) => self.renderer.options = *options,
            Control::AddPorts(ports) => {
                self.pending_ports = None;
                self.decoder.set_ports(self.decoder.ports.union(ports));
            }
            Control::SetPorts(ports) => self.pending_ports = Some(ports.clone()),
        }
    }

    /// Returns whether a change waits until the ring was found empty.
    #[must_use]
    pub const fn has_pending_change(&self) -> bool {
        self.pending_ports.is_some()
    }

    /// Completes a batch. The stage has read `received` from its ring and passes no event from before `until`
    /// any more; without `until`, none from before its newest packet, give or take the skew of clocks. Returns
    /// whether the batch has anything that its receiver does not know yet.
    pub fn finish_batch(
        &self,
        batch: &mut EventBatch,
        received: &[Received],
        until: Option<Timestamp>,
    ) -> bool {
        let is_idle = batch.packets == 0 && batch.is_empty() && !batch.is_last;
        batch.shard = self.shard;
        batch.until = self.not_held(until.unwrap_or_else(|| self.last_packet.minus(CLOCK_SKEW)));
        batch.counters = self.counters(received);
        !is_idle
    }

    /// Counters of this stage, which has read `received` from its ring.
    #[must_use]
    pub fn counters(&self, received: &[Received]) -> FlowCounters {
        let mut decode = self.decoder.counters();
        let held = self.held.as_ref().map_or(0, |held| held.len() as u64);
        decode.received += held;
        decode.held += held;
        let connections = self.trackers.connections.as_ref().map(ConnectionTable::counters);
        let pairing = self.trackers.pairer.counters();
        let path = self.held.as_ref().map(|_| self.followed.counters());
        let held_connects = self.held.as_ref().map_or(0, HeldPackets::connects);
        let received = received.to_vec();
        FlowCounters { received, decode, pairing, connections, path, held_connects }
    }

    /// Bytes used by packets that wait for others: see [`Decoder::memory_bytes`].
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.decoder.memory_bytes()
    }
}

#[cfg(test)]
impl FlowStage {
    /// The settings that the stages of this thread use, as text.
    pub(crate) fn settings_in_force(&self) -> String {
        let Trackers { pairer, connections, .. } = &self.trackers;
        let connections = connections.as_ref().map(|connections| connections.options);
        format!("{:#?}", (pairer.options, connections))
    }
}

impl Trackers {
    /// Passes on what the decoder found, with what follows from it.
    pub(super) fn process(&mut self, decoded: Decoded<'_>, emit: Emit<'_>) {
        let Self { pairer, connections, early, .. } = self;
        match decoded {
            Decoded::Message(message) => {
                emit(&Event::Message(message));
                let began = pairer.observe(&message, &mut |ended| emit(&Event::Transaction(ended)));
                if began {
                    emit(&Event::Began(message));
                    if self.is_unseen {
                        self.apply_early(&message, emit);
                    }
                }
            }
            Decoded::Encrypted(encrypted) => {
                emit(&Event::Encrypted(&encrypted.envelope));
                if let Some(connections) = connections {
                    connections.observe(&encrypted, &mut |report| emit(&Event::Connection(report)));
                }
            }
            Decoded::Unreachable(error) => {
                if let Some(connections) = connections
                    && connections.is_for_encrypted_dns(&error)
                {
                    connections.unreachable(&error, &mut |report| emit(&Event::Connection(report)));
                } else if !pairer
                    .observe_icmp_error(&error, &mut |ended| emit(&Event::Transaction(ended)))
                {
                    if early.len() == MAX_EARLY {
                        early.pop_front();
                    }
                    early.push_back(error);
                }
            }
            Decoded::Connect(connect) => emit(&Event::Connect(&connect)),
            Decoded::Dropped(dropped) => emit(&Event::Dropped(&dropped)),
            Decoded::Step(step) => emit(&Event::Step(&step)),
            Decoded::DeadLetter(letter) => emit(&Event::DeadLetter(&letter)),
        }
    }

    /// Applies an ICMP error to its query, which the kernel has discarded after it had sent the error.
    fn apply_early(&mut self, query: &Message<'_>, emit: Emit<'_>) {
        let (ts, id) = (query.envelope.ts, query.dns.id);
        self.early.retain(|error| error.ts.plus(EARLY) >= ts);
        let is_of_query = |error: &Unreachable| {
            (error.client, error.server) == query.client_and_server()
                && error.query_id.is_none_or(|of| of == id)
        };
        let found = self.early.iter().position(is_of_query);
        if let Some(error) = found.and_then(|found| self.early.remove(found)) {
            let error = Unreachable { ts, query_id: Some(id), ..error };
            self.pairer.observe_icmp_error(&error, &mut |ended| emit(&Event::Transaction(ended)));
        }
    }
}
