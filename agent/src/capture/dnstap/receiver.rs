//! Receives dnstap from servers that send it: the capture of `run --dnstap`.
//!
//! A thread for each sender reads without pause, so that no server waits for this agent: what cannot be kept is counted as
//! lost. The clock of this capture is late by [`DELAY`], and messages are passed on when it reaches them.

use super::acceptor::accept;
use super::address::DnstapAddress;
use super::arrivals::Arrivals;
use super::listener::Listener;
use super::order::{DELAY, Ordered};
use super::tls::DnstapTls;
use crate::capture::live::{CannotCapture, Clock};
use dnscribe_record::ledger;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::packet::Packet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{Shutdown, shutdown};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Most bytes of memory of messages that wait.
const MAX_WAITING_BYTES: usize = 256 << 20;

/// How far a sender's clock may be behind. Windows of ten minutes ago are closed, and begin anew after a step back.
const MAX_BEHIND: Duration = Duration::from_mins(4);

/// Most numbers of senders with a wrong clock that are remembered.
const MAX_WRONG_CLOCKS: usize = 1_024;

/// Shortest sleep while messages wait, so that several are processed in a turn.
const MIN_SLEEP: Duration = Duration::from_millis(10);

/// A capture of what servers report.
pub struct Receiver {
    /// A sentence with the addresses.
    pub description: String,
    /// Clock of the messages without the delay.
    pub(crate) clock: Clock,
    delay: Duration,
    /// Time up to which messages were passed on.
    horizon: Timestamp,
    ordered: Ordered,
    /// Messages passed on.
    received: u64,
    /// Senders of those of a turn, and whether they could be decoded.
    passed: Vec<(usize, bool)>,
    /// How far the clocks of senders are ahead, in nanoseconds, of those whose clock is wrong.
    wrong_clocks: BTreeMap<u32, i128>,
    arrivals: Arc<Arrivals>,
    listeners: Vec<Listener>,
    threads: Option<Threads>,
    /// Number of the first sender, which is the CPU in the ids of its messages.
    first_sender: u32,
}

/// The thread that accepts senders. It ends, and returns the threads of the senders, once the bell is dropped.
struct Threads {
    bell: UnixStream,
    acceptor: JoinHandle<Vec<JoinHandle<()>>>,
}

impl Receiver {
    /// Binds the addresses, and reads the files of those with TLS. No thread runs before [`Self::start`].
    ///
    /// # Errors
    /// An address cannot be bound, or a file of TLS cannot be used.
    pub fn bind(
        addresses: &[DnstapAddress],
        tls: Option<&DnstapTls>,
    ) -> Result<Self, CannotCapture> {
        let listeners: Result<Vec<_>, _> =
            addresses.iter().map(|address| Listener::bind(address, tls)).collect();
        let names: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let clock = Clock::new();
        Ok(Self {
            description: format!("dnstap at {}", names.join(", ")),
            delay: DELAY,
            horizon: clock.now().minus(DELAY),
            clock,
            ordered: Ordered::default(),
            received: 0,
            passed: Vec::new(),
            wrong_clocks: BTreeMap::new(),
            arrivals: Arc::new(Arrivals { limit: MAX_WAITING_BYTES, state: Mutex::default() }),
            listeners: listeners?,
            threads: None,
            first_sender: 0,
        })
    }

    /// Gives senders numbers from `first_sender` on, since ids with smaller ones are those of a hook.
    #[must_use]
    pub fn beside_hook(self, first_sender: u32) -> Self {
        Self { first_sender, ..self }
    }

    /// Starts to accept senders.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(&mut self) -> io::Result<()> {
        let listeners = std::mem::take(&mut self.listeners);
        let (bell, rung) = UnixStream::pair()?;
        let arrivals = Arc::clone(&self.arrivals);
        let acceptor = thread::Builder::new().name("dnstap".to_owned());
        let first = self.first_sender;
        let acceptor = acceptor.spawn(move || accept(&listeners, &rung, &arrivals, first))?;
        self.threads = Some(Threads { bell, acceptor });
        Ok(())
    }

    /// Returns the current time by the clock of this capture, which nobody sets: all messages before it were passed on.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now().minus(self.delay)
    }

    /// Time until messages may be due, at most `limit`.
    #[must_use]
    pub fn until_due(&self, limit: Duration) -> Duration {
        let due = self.ordered.first_due().map(|due| due.since(self.now()).max(MIN_SLEEP));
        due.map_or(limit, |due| due.min(limit))
    }

    /// Waits until messages may be due, `bell` can be read, or `limit` is over. Returns whether `bell` can be read.
    ///
    /// # Errors
    /// Returns an error if `poll(2)` fails.
    pub fn wait(&self, limit: Duration, bell: BorrowedFd<'_>) -> io::Result<bool> {
        let timeout = Timespec::try_from(self.until_due(limit)).map_err(io::Error::other)?;
        match poll(&mut [PollFd::from_borrowed_fd(bell, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Calls `each` with up to `max` messages that are due, in order of time, and returns their number. `each` returns whether a
    /// message could be decoded.
    pub fn drain(&mut self, max: usize, each: &mut dyn FnMut(&Packet<'_>) -> bool) -> usize {
        let (shift, present) = (self.clock.shift(), self.clock.now());
        let arrived = std::mem::take(&mut self.arrivals.lock().arrived);
        for mut arrival in arrived {
            // Servers have the host's time of day.
            let said = shift.undo(arrival.ts);
            arrival.ts = self.corrected(arrival.id.cpu, said, present);
            // A sender whose clock is ahead does not hold up what it sends.
            self.ordered.push(arrival.ts.min(present), arrival);
        }
        self.horizon = self.now();
        let mut bytes = 0;
        while self.passed.len() < max
            && let Some(arrival) = self.ordered.pop(self.horizon)
        {
            bytes += arrival.bytes();
            self.passed.push((arrival.sender, each(&arrival.packet())));
        }
        let count = self.passed.len();
        self.received += count as u64;
        let mut state = self.arrivals.lock();
        state.waiting_bytes -= bytes;
        for (sender, is_decoded) in self.passed.drain(..) {
            state.senders.pass(sender, is_decoded);
        }
        count
    }

    /// Returns the time of a message by the clock of this capture: time passes for all senders alike, and what one of them
    /// says must not end the waiting of others. From the first message on that is too far off, the difference to its arrival is
    /// taken from all times of its sender, so that those between them stay.
    fn corrected(&mut self, sender: u32, said: Timestamp, present: Timestamp) -> Timestamp {
        let nanos = |ts: Timestamp| i128::from(ts.as_nanos());
        let ahead = self.wrong_clocks.get(&sender).copied().unwrap_or(0);
        let ts = u64::try_from(nanos(said) - ahead).map(Timestamp::from_nanos);
        let is_near = |ts: &Timestamp| *ts <= present.plus(DELAY) && present <= ts.plus(MAX_BEHIND);
        if let Some(ts) = ts.ok().filter(is_near) {
            return ts;
        }
        if self.wrong_clocks.len() >= MAX_WRONG_CLOCKS {
            self.wrong_clocks.clear();
        }
        let ahead = nanos(said) - nanos(present);
        if self.wrong_clocks.insert(sender, ahead).is_none() {
            let (seconds, way) =
                (ahead.abs() / 1_000_000_000, if ahead > 0 { "ahead" } else { "behind" });
            tracing::warn!(
                "the clock of a sender of dnstap, number {sender}, is {seconds} s {way}: its times are taken from their \
                 arrival on; set its clock"
            );
        }
        present
    }

    /// Returns whether all messages that are due were passed on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ordered.first_due().is_none_or(|due| due > self.horizon)
    }

    /// Returns the counters of hook `dnstap`, those of the queue, which stands for the ring, and those of senders.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let (submitted, lost, senders) = {
            let state = self.arrivals.lock();
            (state.submitted, state.lost, state.senders.counters())
        };
        let kernel = ledger::Kernel {
            seen: submitted + lost,
            submitted,
            lost_ring_full: lost,
            ..ledger::Kernel::default()
        };
        let received = self.received;
        let ring = ledger::Ring {
            submitted,
            received,
            in_ring: submitted - received,
            sequence_gaps: lost,
        };
        Counters { kernel: BTreeMap::from([("dnstap".to_owned(), kernel)]), ring, senders }
    }

    /// Ends the connections, once what they have received is read. All of it is due then.
    pub fn detach(&mut self) {
        let Some(Threads { bell, acceptor }) = self.threads.take() else { return };
        drop(bell);
        let senders = acceptor.join().unwrap_or_default();
        for sender in self.arrivals.lock().connections.values() {
            // Fails if the sender has gone.
            let _ = shutdown(sender, Shutdown::Read);
        }
        for sender in senders {
            if sender.join().is_err() {
                tracing::error!("a thread of dnstap has failed; this is a bug, please report it");
            }
        }
        self.delay = Duration::ZERO;
    }
}

/// Counters of a [`Receiver`] at one moment.
pub struct Counters {
    /// Packets of hook `dnstap`.
    pub kernel: BTreeMap<String, ledger::Kernel>,
    /// Frames in the queue, which stands for the ring.
    pub ring: ledger::Ring,
    /// Frames and connections by sender.
    pub senders: Vec<ledger::DnstapSender>,
}

#[cfg(test)]
pub(crate) mod tests;
