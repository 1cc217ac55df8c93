//! The capture that `run` reads: programs of this host, or what servers report by dnstap.

use super::super::live_options;
use crate::capture::dnstap::{Counters, Receiver};
use crate::capture::live::{CannotCapture, CaptureStatus, ClockStep, ListenerPlace, Live, Reader};
use crate::config::Config;
use crate::pipeline::{CaptureCounters, EventSink, FIRST_SENDER, FlowCounters, FlowStage};
use aya::maps::MapError;
use dnscribe_cli::exit::Exit;
use dnscribe_record::ledger::DnstapSender;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::packet::Packet;
use dnscribe_transaction::packet::ports::PortSet;
use dnscribe_transaction::packet::sampling::{Change, NotExported};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// A capture. Its clock is that of its packets, and nobody sets it.
pub enum Capture {
    /// Programs at a hook.
    Hook(Box<Live>),
    /// Servers send dnstap.
    Dnstap(Receiver),
    /// Both, with a sentence about them.
    Both(Box<Live>, Receiver, String),
}

impl Capture {
    /// Attaches the programs, or binds the addresses for dnstap. `icmp`: where the listeners for ICMP errors run.
    ///
    /// # Errors
    /// This host cannot capture.
    pub fn open(config: &Config, icmp: ListenerPlace) -> Result<Self, Exit> {
        let receiver = (!config.dnstap.is_empty())
            .then(|| Receiver::bind(&config.dnstap, config.dnstap_tls.as_ref()))
            .transpose()?;
        let live = config
            .has_hook()
            .then(|| Live::open(&live_options(config, icmp)).map(Box::new))
            .transpose()?;
        let capture = match (live, receiver) {
            (Some(live), Some(receiver)) => {
                let description = format!("{}; {}", live.description, receiver.description);
                Self::Both(live, receiver.beside_hook(FIRST_SENDER), description)
            }
            (Some(live), None) => Self::Hook(live),
            (None, Some(receiver)) => Self::Dnstap(receiver),
            (None, None) => return Err(Exit::failed("nothing is captured")),
        };
        tracing::info!("{}", capture.description());
        Ok(capture)
    }

    /// A sentence with what is captured where.
    pub fn description(&self) -> &str {
        match self {
            Self::Hook(live) => &live.description,
            Self::Dnstap(receiver) => &receiver.description,
            Self::Both(.., description) => description,
        }
    }

    /// Whether it is seen that processes read messages over UDP.
    pub(super) const fn sees_reads(&self) -> bool {
        matches!(self, Self::Hook(live) | Self::Both(live, ..) if live.sees_reads)
    }

    /// What to do if nothing comes.
    pub(super) fn hint(&self, ports: &PortSet) -> String {
        let description = self.description();
        match self {
            Self::Hook(_) | Self::Both(..) => format!(
                "no DNS yet on port {ports}: {description}; make a query with, for example, `dig example.com`"
            ),
            Self::Dnstap(_) => format!(
                "no messages yet: {description}; let the server send them there, as docs/dnstap.md shows, and \
                 make a query"
            ),
        }
    }

    /// Starts its threads, which have the privileges of this one.
    pub(super) fn start(&mut self) -> Result<(), Exit> {
        match self {
            Self::Hook(live) => live.start_diagnostics(),
            Self::Dnstap(receiver) => start(receiver)?,
            Self::Both(live, receiver, _) => {
                live.start_diagnostics();
                start(receiver)?;
            }
        }
        Ok(())
    }

    /// Whether it goes on only with the privilege of reading maps.
    pub(super) fn needs_bpf(&self) -> Result<bool, CannotCapture> {
        match self {
            Self::Hook(live) | Self::Both(live, ..) => Ok(!live.is_readable_by_anyone()?),
            Self::Dnstap(_) => Ok(false),
        }
    }

    pub(in crate::session) fn now(&self) -> Timestamp {
        match self {
            Self::Hook(live) | Self::Both(live, ..) => live.now(),
            Self::Dnstap(receiver) => receiver.now(),
        }
    }

    /// Compares its clock with the host's: see [`Live::check_clock`].
    pub(super) fn check_clock(&self) -> Option<ClockStep> {
        match self {
            Self::Hook(live) => live.check_clock(),
            Self::Dnstap(receiver) => receiver.clock.check(),
            Self::Both(live, receiver, _) => {
                receiver.clock.check();
                live.check_clock()
            }
        }
    }

    pub(super) fn set_query_timeout(&mut self, query_timeout: Duration) {
        if let Self::Hook(live) | Self::Both(live, ..) = self {
            live.set_query_timeout(query_timeout);
        }
    }

    /// Captures these ports of plain DNS from now on. Servers report all that they have.
    pub(super) fn set_ports(&mut self, ports: &PortSet) -> Result<(), MapError> {
        match self {
            Self::Hook(live) | Self::Both(live, ..) => live.set_ports(ports),
            Self::Dnstap(_) => Ok(()),
        }
    }

    /// Moves the readers out, for worker threads.
    pub(super) fn take_readers(&mut self) -> Vec<Reader> {
        match self {
            Self::Hook(live) | Self::Both(live, ..) => live.take_readers(),
            Self::Dnstap(_) => Vec::new(),
        }
    }

    /// Waits for packets, `bell` or `limit`. Returns whether `bell` can be read.
    pub(super) fn wait(&mut self, limit: Duration, bell: BorrowedFd<'_>) -> io::Result<bool> {
        match self {
            Self::Hook(live) | Self::Both(live, ..) => live.wait(limit, Some(bell)),
            Self::Dnstap(receiver) => receiver.wait(limit, bell),
        }
    }

    /// Passes up to `max` packets to a flow stage, and returns their number.
    pub(super) fn drain(
        &mut self,
        max: usize,
        flow: &mut FlowStage,
        sink: &mut dyn EventSink,
    ) -> usize {
        match self {
            Self::Hook(live) | Self::Both(live, ..) => {
                live.drain(max, &mut |packet| flow.observe(packet, sink))
            }
            Self::Dnstap(receiver) => {
                receiver.drain(max, &mut |packet| flow.observe_report(packet, sink))
            }
        }
    }

    /// Whether nothing waits in a ring.
    pub(in crate::session) fn is_empty(&self, ring: usize) -> bool {
        match self {
            Self::Hook(live) | Self::Both(live, ..) => live.is_empty(ring),
            Self::Dnstap(receiver) => receiver.is_empty(),
        }
    }

    /// Its counters, as of what flow stages with readers of their own have received, and those of senders of dnstap.
    pub(in crate::session) fn counters(
        &self,
        flows: &[FlowCounters],
    ) -> (CaptureCounters, Option<Vec<DnstapSender>>) {
        let of_hook = |live: &Live| {
            let flows = flows.iter().map(|flow| &*flow.received);
            live.counters_of(live.received().chain(flows))
        };
        match self {
            Self::Hook(live) => (of_hook(live), None),
            Self::Dnstap(receiver) => {
                let Counters { kernel, ring, senders } = receiver.counters();
                ((kernel, ring), Some(senders))
            }
            Self::Both(live, receiver, _) => {
                let (mut kernel, mut ring) = of_hook(live);
                let Counters { kernel: reported, ring: queue, senders } = receiver.counters();
                kernel.extend(reported);
                ring.submitted += queue.submitted;
                ring.received += queue.received;
                ring.in_ring += queue.in_ring;
                ring.sequence_gaps += queue.sequence_gaps;
                ((kernel, ring), Some(senders))
            }
        }
    }

    /// Time that may be slept until reports beside a hook are due, at most `limit`.
    pub(super) fn until_reports(&self, limit: Duration) -> Duration {
        match self {
            Self::Both(_, receiver, _) => receiver.until_due(limit),
            Self::Hook(_) | Self::Dnstap(_) => limit,
        }
    }

    /// Time up to which reports beside a hook are due.
    pub(super) fn reports_now(&self) -> Timestamp {
        match self {
            Self::Both(_, receiver, _) => receiver.now(),
            Self::Hook(_) | Self::Dnstap(_) => self.now(),
        }
    }

    /// Calls `each` with up to `max` reports beside a hook: see [`Receiver::drain`]. Returns their number, and whether no more are
    /// due.
    pub(super) fn drain_reports(
        &mut self,
        max: usize,
        each: &mut dyn FnMut(&Packet<'_>) -> bool,
    ) -> (usize, bool) {
        match self {
            Self::Both(_, receiver, _) => (receiver.drain(max, each), receiver.is_empty()),
            Self::Hook(_) | Self::Dnstap(_) => (0, true),
        }
    }

    /// Packets that were counted instead of exported, since the last call.
    pub(in crate::session) fn not_exported(&mut self) -> Vec<NotExported> {
        match self {
            Self::Hook(live) | Self::Both(live, ..) => live.not_exported(),
            Self::Dnstap(_) => Vec::new(),
        }
    }

    /// Changes the share of packets that is left out: see [`Live::regulate`].
    pub(super) fn regulate(&mut self, behind: Option<Duration>) -> Option<Change> {
        match self {
            Self::Hook(live) | Self::Both(live, ..) => live.regulate(behind),
            Self::Dnstap(_) => None,
        }
    }

    pub(super) fn status(&self) -> CaptureStatus {
        match self {
            Self::Hook(live) | Self::Both(live, ..) => live.status(),
            Self::Dnstap(receiver) => {
                CaptureStatus { clock_steps: receiver.clock.steps(), ..CaptureStatus::default() }
            }
        }
    }

    /// Lets nothing more in. What has arrived can still be drained.
    pub(super) fn detach(&mut self) {
        match self {
            Self::Hook(live) => live.detach(),
            Self::Dnstap(receiver) => receiver.detach(),
            Self::Both(live, receiver, _) => {
                live.detach();
                receiver.detach();
            }
        }
    }
}

fn start(receiver: &mut Receiver) -> Result<(), Exit> {
    receiver.start().map_err(|error| Exit::failed(format!("cannot start a thread: {error}")))
}
