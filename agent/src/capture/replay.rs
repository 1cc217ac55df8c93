//! Replay: reads packets from capture files (pcap and pcapng, plain or compressed), filters them as the eBPF
//! programs do, and passes them to the decoder. Messages of dnstap files take the same way, unfiltered.
//!
//! The formats are parsed here instead of by a crate: pcap-parser 0.17 does not support clocks of binary resolution,
//! reads `if_tsoffset` in one byte order only and treats a damaged block as the end of the file; pcap-file 3 is not
//! released. Only framing is needed, in constant memory and with every length checked.

mod filter;
mod format;
mod link;
mod source;

pub(super) use format::frame_streams::Frames;
#[cfg(test)]
pub(super) use format::frame_streams::control;
pub use source::{InputError, WaitForInput};
pub(super) use source::{Problem, Source};

use super::dnstap::{Arrival, DELAY, Ordered};
use dnscribe_record::ledger;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::packet::encrypted::Encrypted;
use dnscribe_transaction::packet::ports::PortSet;
use dnscribe_transaction::packet::{Body, Direction, Packet, PacketId};
use filter::Filter;
use format::{Frame, Reader};
use link::Inside;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// Most bytes of memory of frames of dnstap that wait for earlier ones.
const MAX_WAITING_BYTES: usize = 64 << 20;

/// Most frames of dnstap that cannot be read before the first that can, which has the time.
const MAX_UNREADABLE: usize = 256;

/// Longest time that a single frame can have after the one before it to be believed: one whose clock is wrong by years
/// must not end the capture then. The frame after it is believed again, wherever it is.
const MAX_FRAME_GAP: Duration = Duration::from_hours(24);

/// Summary of one replayed file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileSummary {
    /// Packets in the file, of any kind.
    pub packets: u64,
    /// Warning about the file, as a sentence.
    pub warning: Option<String>,
}

/// Reader of capture files, with the filter and the counters of the eBPF programs.
#[expect(missing_debug_implementations, reason = "a function has none")]
pub struct Replay {
    filter: Rc<RefCell<Filter>>,
    files: u32,
    /// How inputs that are no files are waited for. Without it, they block.
    pub wait: Option<WaitForInput>,
    /// Time of the first packet of any kind in the first file.
    pub first_packet: Option<Timestamp>,
    /// Time at which the capture ended: that of the last frame of any kind, in the order of the files.
    pub end: Timestamp,
    /// Time of the last frame, believed or not.
    last_frame: Option<Timestamp>,
}

/// Callback for packets. It breaks to stop the replay.
pub type PacketHandler<'a> = dyn FnMut(&Packet<'_>, &ReplayProgress<'_>) -> ControlFlow<()> + 'a;

/// State of the reader when it passes a packet on, including that packet.
#[derive(Debug)]
pub struct ReplayProgress<'a> {
    filter: &'a Filter,
    /// Time of the first packet of any kind.
    pub first_packet: Timestamp,
}

impl ReplayProgress<'_> {
    /// Returns the counters: see [`Replay::counters`].
    #[must_use]
    pub fn counters(&self) -> (BTreeMap<String, ledger::Kernel>, ledger::Ring) {
        counters(self.filter)
    }
}

impl Replay {
    /// Creates a reader that captures plain DNS on `ports`.
    #[must_use]
    pub fn new(ports: PortSet) -> Self {
        let filter = Rc::new(RefCell::new(Filter::new(ports)));
        Self {
            filter,
            files: 0,
            wait: None,
            first_packet: None,
            end: Timestamp::default(),
            last_frame: None,
        }
    }

    /// Adds rules for encrypted DNS.
    #[must_use]
    pub fn with_encrypted(self, encrypted: Option<Encrypted>) -> Self {
        self.filter.borrow_mut().encrypted = encrypted;
        self
    }

    /// Calls `each` with the packets of a file that may carry DNS, in the order of the file, until it breaks. `input`
    /// is a path, or `-` for standard input.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, is not a capture file, is damaged, or has packets of an unknown
    /// link type. The packets before the error were passed on.
    pub fn file(
        &mut self,
        input: &Path,
        each: &mut PacketHandler<'_>,
    ) -> Result<FileSummary, InputError> {
        self.packets(source::name(input), Source::open(input, self.wait.as_ref()), each)
    }

    /// Replays a capture file from any reader; `name` is for error messages.
    ///
    /// # Errors
    /// Returns the errors of [`Self::file`].
    pub fn stream(
        &mut self,
        name: &str,
        input: Box<dyn std::io::Read>,
        each: &mut PacketHandler<'_>,
    ) -> Result<FileSummary, InputError> {
        self.packets(name.into(), Source::new(input), each)
    }

    fn packets(
        &mut self,
        name: String,
        source: Result<Source, Problem>,
        each: &mut PacketHandler<'_>,
    ) -> Result<FileSummary, InputError> {
        let summary = source.and_then(|source| self.try_packets(source, each));
        self.files += 1;
        summary.map_err(|problem| InputError { name, problem })
    }

    fn try_packets(
        &mut self,
        mut source: Source,
        each: &mut PacketHandler<'_>,
    ) -> Result<FileSummary, Problem> {
        if Frames::begin(&mut source)? {
            return self.reports(Frames::new(source), each);
        }
        let mut reader = Reader::new(source)?;
        if let Some(link) = reader.link() {
            link::inside(link, &[]).map_err(Problem::UnknownLink)?;
        }
        let mut packets = 0;
        while let Some(frame) = reader.next()? {
            packets += 1;
            let first_packet = self.note_time(frame.ts);
            let origin = PacketId { cpu: self.files, seq: packets };
            let range = match link::inside(frame.link, frame.bytes).map_err(Problem::UnknownLink)? {
                Inside::Ip(range) => range,
                Inside::Nothing => continue,
                Inside::TooDeep => {
                    self.filter.borrow_mut().skip_too_deep();
                    continue;
                }
            };
            let Some(packet) = packet(&frame, range, origin) else { continue };
            let pass_on = &mut |packet: &Packet<'_>, filter: &Filter| {
                each(packet, &ReplayProgress { filter, first_packet })
            };
            if self.filter.borrow_mut().offer(&packet, pass_on).is_break() {
                break;
            }
        }
        Ok(FileSummary { packets, warning: reader.warning })
    }

    /// Takes note of a frame's time. Returns that of the first.
    fn note_time(&mut self, ts: Timestamp) -> Timestamp {
        let before = self.last_frame.replace(ts).unwrap_or(ts);
        if ts.since(before) <= MAX_FRAME_GAP {
            self.end = ts;
        }
        *self.first_packet.get_or_insert(ts)
    }

    /// Passes the messages of a dnstap file on, in order of time. A frame that cannot be read has the time of the one before
    /// it; of the first that can, if there is none before it.
    fn reports(
        &mut self,
        mut frames: Frames,
        each: &mut PacketHandler<'_>,
    ) -> Result<FileSummary, Problem> {
        let mut packets = 0;
        let mut newest = None;
        let mut last = None;
        let mut says = None;
        let mut early = Vec::new();
        let mut ordered = Ordered::default();
        let mut more = true;
        let mut failure = None;
        while more {
            let next = frames.next().unwrap_or_else(|problem| {
                failure = Some(problem);
                None
            });
            more = match next {
                Some(frame) => {
                    packets += 1;
                    let id = PacketId { cpu: self.files, seq: packets };
                    let arrival = Arrival::read(frame, id, last.unwrap_or_default(), &mut says);
                    if last.is_none() && !arrival.is_readable() {
                        if early.len() == MAX_UNREADABLE {
                            return Err(Problem::NoReport);
                        }
                        early.push(arrival);
                        continue;
                    }
                    let ts = arrival.ts;
                    early.push(arrival);
                    for mut arrival in early.drain(..) {
                        arrival.ts = ts;
                        ordered.push(ts, arrival);
                    }
                    last = Some(ts);
                    newest = newest.max(last);
                    true
                }
                None => false,
            };
            let Some(newest) = newest else { continue };
            let horizon = |ordered: &Ordered| {
                let may_wait = more && ordered.bytes <= MAX_WAITING_BYTES;
                if may_wait { newest.minus(DELAY) } else { newest }
            };
            while let Some(arrival) = ordered.pop(horizon(&ordered)) {
                let first_packet = self.note_time(arrival.ts);
                let pass_on = &mut |packet: &Packet<'_>, filter: &Filter| {
                    each(packet, &ReplayProgress { filter, first_packet })
                };
                if self.filter.borrow_mut().pass(&arrival.packet(), pass_on).is_break() {
                    return Ok(FileSummary { packets, warning: None });
                }
            }
        }
        match failure {
            Some(problem) => Err(problem),
            None if !early.is_empty() => Err(Problem::NoReport),
            None => Ok(FileSummary { packets, warning: frames.warning }),
        }
    }

    /// Returns the counters of hook `replay`, and matching ones for the ring, which replay does not use.
    #[must_use]
    pub fn counters(&self) -> (BTreeMap<String, ledger::Kernel>, ledger::Ring) {
        counters(&self.filter.borrow())
    }

    /// Returns a reader of the [counters](Self::counters), for [`Self::wait`].
    pub fn counter(&self) -> impl Fn() -> (BTreeMap<String, ledger::Kernel>, ledger::Ring) + use<> {
        let filter = Rc::clone(&self.filter);
        move || counters(&filter.borrow())
    }
}

fn counters(filter: &Filter) -> (BTreeMap<String, ledger::Kernel>, ledger::Ring) {
    let kernel = filter.counters();
    let (submitted, received) = (kernel.submitted, kernel.submitted);
    let ring = ledger::Ring { submitted, received, ..ledger::Ring::default() };
    (BTreeMap::from([("replay".to_owned(), kernel)]), ring)
}

/// Returns the IP packet at a range of a frame.
fn packet<'a>(frame: &Frame<'a>, ip: Range<usize>, origin: PacketId) -> Option<Packet<'a>> {
    let bytes = frame.bytes.get(ip.clone())?;
    let trailing = u32::try_from(frame.bytes.len().checked_sub(ip.end)?).ok()?;
    let wire_bytes = frame.wire_bytes.checked_sub(u32::try_from(ip.start).ok()?)?;
    let body = Body::Ip { bytes, wire_bytes: wire_bytes.saturating_sub(trailing) };
    Some(Packet::new(frame.ts, origin, Direction::Passive, body))
}

#[cfg(test)]
mod tests;
