//! What the threads of senders have received, and which of them may send.

use super::order::Arrival;
use super::senders::{SenderRef, Senders};
use dnscribe_transaction::packet::ServerReport;
use rustix::net::{Shutdown, shutdown};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most senders at a time.
pub(super) const MAX_SENDERS: usize = 64;

/// Most handshakes of TLS at a time, which strangers can begin: the oldest gives way to a new one.
pub(super) const MAX_HANDSHAKES: usize = 64;

/// What the threads of senders have received.
pub(super) struct Arrivals {
    /// Most bytes of memory that may wait.
    pub limit: usize,
    pub state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    /// Not yet taken by the thread of the pipeline.
    pub arrived: Vec<Arrival>,
    /// Bytes of memory of these, and of those that were taken and not passed on.
    pub waiting_bytes: usize,
    pub submitted: u64,
    pub lost: u64,
    pub senders: Senders,
    /// Connections of senders, and of those that may become senders, by number.
    pub connections: HashMap<u32, OwnedFd>,
    /// Numbers of the connections whose handshake goes on, in the order of their beginning.
    pub handshakes: BTreeSet<u32>,
    /// Number of the senders that have a place.
    pub places: usize,
}

impl State {
    /// Gives a sender a place, if there is one.
    pub(super) fn take_place(&mut self) -> io::Result<()> {
        if self.places >= MAX_SENDERS {
            return Err(io::Error::other(format!("there are {MAX_SENDERS} already")));
        }
        self.places += 1;
        Ok(())
    }

    /// Notes a handshake that begins, and ends the oldest if there are too many.
    pub(super) fn begin_handshake(&mut self, number: u32) {
        self.handshakes.insert(number);
        if self.handshakes.len() > MAX_HANDSHAKES
            && let Some(oldest) = self.handshakes.pop_first()
            && let Some(connection) = self.connections.get(&oldest)
        {
            // Fails if it has gone.
            let _ = shutdown(connection, Shutdown::Both);
        }
    }

    /// Gives a connection the place of a sender if its handshake has succeeded.
    pub(super) fn end_handshake<T>(&mut self, number: u32, ends: io::Result<T>) -> io::Result<T> {
        if !self.handshakes.remove(&number) {
            let why = format!("it gave way: there were {MAX_HANDSHAKES} handshakes after it");
            return Err(io::Error::other(why));
        }
        let ends = ends?;
        self.take_place().map(|()| ends)
    }
}

impl Arrivals {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a frame of a sender that says this of itself.
    pub(super) fn push(
        &self,
        mut arrival: Arrival,
        sender: &mut SenderRef,
        says: Option<&ServerReport>,
    ) {
        let bytes = arrival.bytes();
        let mut state = self.lock();
        let identity = says.and_then(|says| says.identity.as_deref());
        arrival.sender = state.senders.row(sender, identity);
        let is_kept = state.waiting_bytes + bytes <= self.limit;
        state.senders.receive(arrival.sender, is_kept);
        if !is_kept {
            state.lost += 1;
            return;
        }
        state.submitted += 1;
        state.waiting_bytes += bytes;
        state.arrived.push(arrival);
    }
}
