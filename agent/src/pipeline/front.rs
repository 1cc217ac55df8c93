//! The rooms in which packets of one flow meet each other, and those of other flows never: decoding,
//! pairing, connections of encrypted DNS. What they find out goes on as [`Event`]s.

use super::event::{Each, Event};
use crate::capture::Packet;
use crate::capture::ports::PortSet;
use crate::capture::sampling::Change;
use crate::connection::{ConnectionOptions, Connections};
use crate::decode::{Decoded, Decoder, DecoderOptions};
use crate::ledger;
use crate::pair::{Carried, PairOptions, Pairer};
use crate::time::Timestamp;

/// Packets in, events out.
pub(super) struct Front {
    decoder: Decoder,
    pairer: Pairer,
    connections: Option<Connections>,
}

impl Front {
    /// Rooms that have seen nothing.
    pub(super) fn new(decoder: DecoderOptions, pairing: PairOptions) -> Self {
        let (decoder, pairer) = (Decoder::new(decoder), Pairer::new(pairing));
        Self { decoder, pairer, connections: None }
    }

    /// Adds a room for encrypted DNS, or takes it away.
    pub(super) fn set_connections(&mut self, connections: Option<Connections>) {
        self.connections = connections;
    }

    /// Takes one packet.
    pub(super) fn observe(&mut self, packet: &Packet<'_>, each: Each<'_>) {
        let Self { decoder, pairer, connections } = self;
        let mut rooms = Rooms { pairer, connections };
        decoder.observe(packet, &mut |decoded| rooms.take(decoded, each));
    }

    /// Lets time pass: what has waited too long is given up.
    pub(super) fn expire(&mut self, now: Timestamp, each: Each<'_>) {
        let Self { decoder, pairer, connections } = self;
        let mut rooms = Rooms { pairer, connections };
        decoder.expire(now, &mut |decoded| rooms.take(decoded, each));
        rooms.pairer.expire(now, &mut |transaction| each(&Event::Transaction(transaction)));
        if let Some(connections) = rooms.connections {
            connections.expire(now, &mut |report| each(&Event::Connection(report)));
        }
    }

    /// The capture has ended at `now`: what waits becomes `open`, what lies behind holes is given.
    pub(super) fn finish(&mut self, now: Timestamp, each: Each<'_>) {
        let Self { decoder, pairer, connections } = self;
        let mut rooms = Rooms { pairer, connections };
        decoder.finish(&mut |decoded| rooms.take(decoded, each));
        rooms.pairer.finish(now, &mut |transaction| each(&Event::Transaction(transaction)));
        if let Some(connections) = rooms.connections {
            connections.finish(now, &mut |report| each(&Event::Connection(report)));
        }
    }

    /// Looks for DNS on these ports, too.
    pub(super) fn widen(&mut self, ports: &PortSet) {
        self.decoder.watch(self.decoder.ports().or(ports));
    }

    /// Looks for DNS on these ports only, and gives up what waits on others.
    pub(super) fn narrow(&mut self, ports: &PortSet, now: Timestamp, each: Each<'_>) {
        self.decoder.watch(ports.clone());
        let is_watched = |port| ports.contains(port);
        self.pairer.abandon(is_watched, now, &mut |ended| each(&Event::Transaction(ended)));
    }

    /// Another agent goes on from here: messages behind what never came are given, zone transfers under
    /// way are ended.
    pub(super) fn rest(&mut self, now: Timestamp, each: Each<'_>) {
        let Self { decoder, pairer, connections } = self;
        let mut rooms = Rooms { pairer, connections };
        decoder.finish(&mut |decoded| rooms.take(decoded, each));
        rooms.pairer.break_off(now, &mut |transaction| each(&Event::Transaction(transaction)));
    }

    /// Shows the queries that another agent is to go on with.
    pub(super) fn carry(&self, now: Timestamp, each: &mut dyn FnMut(&Carried<'_>)) {
        self.pairer.carry(now, each);
    }

    /// Another agent has gone on from here: what waits is `open`, whatever the time.
    pub(super) fn leave(&mut self, now: Timestamp, each: Each<'_>) {
        self.pairer.leave_open(&mut |transaction| each(&Event::Transaction(transaction)));
        if let Some(connections) = &mut self.connections {
            connections.finish(now, &mut |report| each(&Event::Connection(report)));
        }
    }

    /// Goes on from these counters of pairing.
    pub(super) fn adopt(&mut self, pairing: ledger::Pairing) {
        self.pairer.adopt(pairing);
    }

    /// Takes a query of another agent.
    pub(super) fn restore(&mut self, carried: &Carried<'_>, each: Each<'_>) {
        self.pairer.restore(carried, &mut |ended| each(&Event::Transaction(ended)));
        if carried.fate == crate::pair::Fate::Waiting {
            each(&Event::Began(carried.query));
        }
    }

    /// The decoder's counters as they are when what it holds is given up.
    pub(super) fn decode_given_up(&self) -> ledger::Decode {
        self.decoder.counters_given_up()
    }

    /// Another share of the transactions is told from here on.
    pub(super) fn sample(&mut self, change: Change) {
        self.pairer.sample(change);
    }

    /// The decoder's counters.
    pub(super) fn decode(&self) -> ledger::Decode {
        self.decoder.counters()
    }

    /// The counters of pairing.
    pub(super) fn pairing(&self) -> ledger::Pairing {
        self.pairer.counters()
    }

    /// The counters of the room for encrypted DNS, where there is one.
    pub(super) fn connections(&self) -> Option<ledger::Connections> {
        self.connections.as_ref().map(Connections::counters)
    }

    /// Memory used by packets that wait for others, in octets: see [`Decoder::memory_bytes`].
    pub(super) fn waiting_bytes(&self) -> usize {
        self.decoder.memory_bytes()
    }

    /// Memory used by pairing, in octets.
    #[cfg(test)]
    pub(super) fn pairing_bytes(&self) -> usize {
        self.pairer.memory_bytes()
    }

    /// Adopts other bounds.
    pub(super) fn reconfigure(&mut self, pairing: PairOptions, connecting: ConnectionOptions) {
        self.pairer.reconfigure(pairing);
        if let Some(connections) = &mut self.connections {
            connections.reconfigure(connecting);
        }
    }
}

/// The rooms behind the decoder.
struct Rooms<'a> {
    pairer: &'a mut Pairer,
    connections: &'a mut Option<Connections>,
}

impl Rooms<'_> {
    fn take(&mut self, decoded: Decoded<'_>, each: Each<'_>) {
        let Self { pairer, connections } = self;
        match decoded {
            Decoded::Message(message) => {
                each(&Event::Message(message));
                let began = pairer.observe(&message, &mut |ended| each(&Event::Transaction(ended)));
                if began {
                    each(&Event::Began(message));
                }
            }
            Decoded::Sealed(sealed) => {
                each(&Event::Sealed(&sealed.envelope));
                if let Some(connections) = connections {
                    connections.observe(&sealed, &mut |report| each(&Event::Connection(report)));
                }
            }
            Decoded::Unreachable(error) => {
                if let Some(connections) = connections
                    && connections.is_meant(&error)
                {
                    connections.unreachable(&error, &mut |report| each(&Event::Connection(report)));
                } else {
                    pairer.unreachable(&error, &mut |ended| each(&Event::Transaction(ended)));
                }
            }
            Decoded::DeadLetter(letter) => each(&Event::DeadLetter(&letter)),
        }
    }
}
