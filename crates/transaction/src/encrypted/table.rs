//! The bounded table of connections and their timers.

use super::hello::Side;
use super::{Connection, ConnectionOptions, ConnectionReport, ConnectionStatus, Protocol};
use crate::decode::{EncryptedContent, EncryptedPacket, Unreachable};
use crate::packet::Transport;
use crate::packet::encrypted::Encrypted;
use crate::pair::Vantage;
use dnscribe_record::ledger;
use dnscribe_record::time::Timestamp;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// How long an ended connection is remembered, so that its late packets do not start a new one. A
/// SYN is retransmitted after up to 64 s.
const REMEMBER_ENDED: Duration = Duration::from_secs(70);

/// Receives the reports.
type ReportSink<'a> = &'a mut dyn FnMut(&ConnectionReport<'_>);

/// Most ended connections remembered.
const MAX_REMEMBERED: usize = 1 << 16;

/// Identifies a connection at one point of capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ConnectionKey {
    scope: u64,
    pub(super) vantage: Vantage,
    transport: Transport,
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
}

/// State of a table entry.
#[derive(Debug)]
enum State {
    Live(Box<Connection>),
    /// Ended, with its status and the sequence number of the client's SYN.
    Ended(ConnectionStatus, Option<u32>),
}

/// Number of a connection in order of creation; distinguishes connections with one key.
type Number = u64;

/// Tracks the connections of encrypted DNS and reports them.
#[derive(Debug)]
pub struct ConnectionTable {
    encrypted: Encrypted,
    /// What was configured.
    pub options: ConnectionOptions,
    entries: HashMap<ConnectionKey, (Number, State), foldhash::fast::RandomState>,
    /// One timer for each connection that has not ended: time and number, with the key.
    timers: BTreeMap<(Timestamp, Number), ConnectionKey>,
    /// Ended connections in order of their end.
    ended: VecDeque<(Timestamp, ConnectionKey, Number)>,
    created: Number,
    live: usize,
    handshake_bytes: usize,
    counters: ledger::Connections,
}

impl ConnectionTable {
    /// Creates an empty table.
    #[must_use]
    pub fn new(encrypted: Encrypted, options: ConnectionOptions) -> Self {
        Self {
            encrypted,
            options,
            entries: HashMap::default(),
            timers: BTreeMap::new(),
            ended: VecDeque::new(),
            created: 0,
            live: 0,
            handshake_bytes: 0,
            counters: ledger::Connections::default(),
        }
    }

    /// Returns the counters. `open` is the number of connections that have not ended.
    #[must_use]
    pub fn counters(&self) -> ledger::Connections {
        ledger::Connections { open: self.live as u64, ..self.counters }
    }

    /// Returns the number of timers.
    #[cfg(test)]
    pub(super) fn timers(&self) -> usize {
        self.timers.len()
    }

    /// Replaces timeouts and limits.
    pub fn reconfigure(&mut self, options: ConnectionOptions) {
        self.options = options;
    }

    /// Returns whether an undelivered packet was meant for a server of encrypted DNS.
    #[must_use]
    pub fn is_for_encrypted_dns(&self, error: &Unreachable) -> bool {
        self.encrypted.rule_of(error.server).is_some()
    }

    /// Processes a packet; reports the connections that end.
    pub fn observe(&mut self, packet: &EncryptedPacket, each: ReportSink<'_>) {
        self.expire(packet.envelope.ts, each);
        self.counters.packets += 1;
        let Some((key, side, protocol)) = self.find_connection(packet) else {
            self.counters.stray += 1;
            return;
        };
        if !self.ensure_tracked(key, side, packet, protocol, each) {
            self.counters.stray += 1;
            return;
        }
        let Some((_, State::Live(connection))) = self.entries.get_mut(&key) else { return };
        let before = connection.memory_bytes();
        let ended = connection.observe(side, packet);
        let after = connection.memory_bytes();
        self.handshake_bytes = self.handshake_bytes + after - before;
        if self.handshake_bytes > self.options.handshake_memory_bytes {
            connection.reader = None;
            self.handshake_bytes -= after;
        }
        if let Some(status) = ended {
            self.end(key, status, packet.envelope.ts, each);
        }
    }

    /// Processes an ICMP error; reports the attempt that fails.
    pub fn unreachable(&mut self, error: &Unreachable, each: ReportSink<'_>) {
        self.expire(error.ts, each);
        for vantage in Vantage::ALL {
            let Unreachable { scope, transport, client, server, .. } = *error;
            let key = ConnectionKey { scope, vantage, transport, client, server };
            let Some((_, State::Live(connection))) = self.entries.get_mut(&key) else { continue };
            // Not once the server has answered: ICMP may be forged.
            if !connection.answered {
                connection.last = connection.last.max(error.ts);
                self.end(key, ConnectionStatus::Refused, error.ts, each);
                return;
            }
        }
    }

    /// Ends connections whose timeout has passed at `now`, and reports those that are open for
    /// long.
    pub fn expire(&mut self, now: Timestamp, each: ReportSink<'_>) {
        let options = self.options;
        while let Some(timer) = self.timers.first_entry().filter(|timer| timer.key().0 < now) {
            let ((_, number), key) = timer.remove_entry();
            let Some((_, State::Live(connection))) = self.entries.get_mut(&key) else { continue };
            let (deadline, status) = connection.deadline(&options);
            if deadline < now {
                self.end(key, status, now, each);
                continue;
            }
            let mut next = connection.last_reported.plus(options.report_every);
            if next <= now {
                if connection.last >= connection.last_reported {
                    let status = ConnectionStatus::Open;
                    each(&ConnectionReport { connection, status, is_final: false });
                    connection.reports += 1;
                    self.counters.interim += 1;
                }
                connection.last_reported = now;
                next = now.plus(options.report_every);
            }
            connection.timer = deadline.min(next);
            self.timers.insert((connection.timer, number), key);
        }
        while self.ended.front().is_some_and(|(since, ..)| {
            now.since(*since) > REMEMBER_ENDED || self.ended.len() > MAX_REMEMBERED
        }) {
            self.forget_oldest();
        }
    }

    /// Ends the capture at `now`. Connections that have not ended are reported as `open` and stay
    /// so in the counters.
    pub fn finish(&mut self, now: Timestamp, each: ReportSink<'_>) {
        self.expire(now, each);
        let mut left: Vec<_> = self
            .entries
            .iter()
            .filter_map(|(key, (number, state))| {
                let State::Live(connection) = state else { return None };
                // A deadline may have moved before its timer.
                let (deadline, status) = connection.deadline(&self.options);
                let status = if deadline < now { status } else { connection.status_at_end() };
                Some((*number, *key, status))
            })
            .collect();
        left.sort_unstable_by_key(|(number, ..)| *number);
        for (_, key, status) in left {
            if status != ConnectionStatus::Open {
                self.end(key, status, now, each);
            } else if let Some((_, State::Live(connection))) = self.entries.get(&key) {
                each(&ConnectionReport { connection, status, is_final: true });
            }
        }
    }

    /// Returns the packet's connection, its sender's side and the protocol.
    fn find_connection(&self, packet: &EncryptedPacket) -> Option<(ConnectionKey, Side, Protocol)> {
        let envelope = &packet.envelope;
        let (scope, transport) = (envelope.scope, envelope.transport);
        let key = |side: Side| {
            let (client, server) = match side {
                Side::Client => (envelope.src, envelope.dst),
                Side::Server => (envelope.dst, envelope.src),
            };
            let vantage = Vantage::from_direction(envelope.direction, side == Side::Server);
            let service = self.encrypted.rule_of(server)?;
            let key = ConnectionKey { scope, vantage, transport, client, server };
            Some((key, side, Protocol::of(service, transport)))
        };
        let (to, from) = (key(Side::Client), key(Side::Server));
        if to.is_some() && from.is_some() {
            // Both endpoints are servers of encrypted DNS: a known connection decides, else the
            // sender of the SYN is the client.
            let known =
                |found: &(ConnectionKey, Side, Protocol)| self.entries.contains_key(&found.0);
            let answers = matches!(
                packet.content,
                EncryptedContent::Segment { ack: true, flags, .. } if flags.syn
            );
            let (first, second) = if answers { (from, to) } else { (to, from) };
            return first.filter(known).or_else(|| second.filter(known)).or(first);
        }
        to.or(from)
    }

    /// Adds the packet's connection to the table if it is new. Returns false if the packet belongs
    /// to none: it is late, or ends a connection that was not seen.
    fn ensure_tracked(
        &mut self,
        key: ConnectionKey,
        side: Side,
        packet: &EncryptedPacket,
        protocol: Protocol,
        each: ReportSink<'_>,
    ) -> bool {
        match self.entries.get(&key) {
            Some((_, State::Live(connection))) => {
                if !is_new_attempt(packet, side, connection.attempt()) {
                    return true;
                }
                // The port is reused, and the end of the previous connection was not seen.
                let status = connection.final_status(ConnectionStatus::Idle);
                self.end(key, status, packet.envelope.ts, each);
            }
            Some((_, State::Ended(status, attempt))) => {
                if !begins_new_connection(packet, side, *status, *attempt) {
                    return false;
                }
            }
            None => {
                if let EncryptedContent::Segment { flags, payload_wire, .. } = &packet.content
                    && (flags.fin || flags.rst)
                    && *payload_wire == 0
                    && !flags.syn
                {
                    return false;
                }
            }
        }
        self.evict_if_full(packet.envelope.ts, each);
        let mut connection = Connection::new(&packet.envelope, &key, protocol);
        let (deadline, _) = connection.deadline(&self.options);
        // The first packet, not processed yet, decides about the timeout.
        connection.timer = deadline.min(packet.envelope.ts.plus(self.options.answer_timeout));
        self.created += 1;
        self.timers.insert((connection.timer, self.created), key);
        self.entries.insert(key, (self.created, State::Live(Box::new(connection))));
        self.live += 1;
        self.counters.connections += 1;
        true
    }

    fn evict_if_full(&mut self, now: Timestamp, each: ReportSink<'_>) {
        while self.live >= self.options.max_connections.max(1) {
            let Some((_, key)) = self.timers.first_key_value() else { return };
            self.end(*key, ConnectionStatus::Evicted, now, each);
        }
    }

    fn end(
        &mut self,
        key: ConnectionKey,
        status: ConnectionStatus,
        now: Timestamp,
        each: ReportSink<'_>,
    ) {
        let Some((number, state)) = self.entries.get_mut(&key) else { return };
        let State::Live(connection) = state else { return };
        self.timers.remove(&(connection.timer, *number));
        each(&ConnectionReport { connection, status, is_final: true });
        self.live -= 1;
        self.handshake_bytes -= connection.memory_bytes();
        *counter_mut(&mut self.counters, status) += 1;
        *state = State::Ended(status, connection.attempt());
        self.ended.push_back((now, key, *number));
    }

    fn forget_oldest(&mut self) {
        let Some((_, key, number)) = self.ended.pop_front() else { return };
        if let Some((found, State::Ended(..))) = self.entries.get(&key)
            && *found == number
        {
            self.entries.remove(&key);
        }
    }
}

/// Returns the counter of connections that ended with `status`.
const fn counter_mut(counters: &mut ledger::Connections, status: ConnectionStatus) -> &mut u64 {
    match status {
        ConnectionStatus::Closed => &mut counters.closed,
        ConnectionStatus::Reset => &mut counters.reset,
        ConnectionStatus::Refused => &mut counters.refused,
        ConnectionStatus::Timeout => &mut counters.timeout,
        ConnectionStatus::HandshakeFailed => &mut counters.handshake_failed,
        ConnectionStatus::Idle => &mut counters.idle,
        ConnectionStatus::Evicted => &mut counters.evicted,
        ConnectionStatus::Open => &mut counters.open,
    }
}

/// Returns whether the packet is a client's SYN of another attempt.
fn is_new_attempt(packet: &EncryptedPacket, side: Side, attempt: Option<u32>) -> bool {
    match &packet.content {
        EncryptedContent::Segment { seq, ack: false, flags, .. } => {
            side == Side::Client && flags.syn && !flags.rst && attempt != Some(*seq)
        }
        _ => false,
    }
}

/// Returns whether a packet begins a new connection after one with the same key has ended.
fn begins_new_connection(
    packet: &EncryptedPacket,
    side: Side,
    status: ConnectionStatus,
    attempt: Option<u32>,
) -> bool {
    match &packet.content {
        // A late answer.
        EncryptedContent::Segment { ack: true, flags, .. } if flags.syn => {
            status == ConnectionStatus::Timeout
        }
        EncryptedContent::Segment { payload_wire, flags, .. }
            if status == ConnectionStatus::Idle =>
        {
            *payload_wire > 0 || flags.syn
        }
        EncryptedContent::Segment { .. } => is_new_attempt(packet, side, attempt),
        // A server's late packet belongs to the ended connection, unless that only timed out.
        EncryptedContent::Datagram { .. } => {
            side == Side::Client
                || matches!(status, ConnectionStatus::Idle | ConnectionStatus::Timeout)
        }
    }
}
