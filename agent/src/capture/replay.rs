//! Capture files as a source of packets: pcap and pcapng, plain or compressed.
//!
//! The file formats are read here rather than by a crate: pcap-parser 0.17 knows no clocks of
//! binary resolution, reads `if_tsoffset` in one byte order only and takes a damaged block for the
//! file's end; pcap-file 3 is not released. Only framing is needed, in constant memory, with every
//! length bounded before it is believed.

#![forbid(unsafe_code)]

mod admission;
mod format;
mod link;
mod source;

pub use source::InputError;

use super::encrypted::Encrypted;
use super::ports::PortSet;
use super::{Body, Origin, Packet, Sight};
use admission::Admission;
use dnscribe_record::ledger;
use dnscribe_record::time::Timestamp;
use format::{Frame, Reader};
use link::{Inside, Link};
use source::{Problem, Source};
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::path::Path;

/// What one file held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileSummary {
    /// Packets in the file, of any kind.
    pub packets: u64,
    /// What was odd about the file, as a sentence.
    pub warning: Option<String>,
}

/// Reads capture files as if their packets passed a hook now: the same filter as the kernel's, the
/// same counters.
#[derive(Debug)]
pub struct Replay {
    admission: Admission,
    files: u32,
    first_packet: Option<Timestamp>,
}

/// What takes packets, and breaks when it wants no more.
pub type Each<'a> = dyn FnMut(&Packet<'_>, &Passed<'_>) -> ControlFlow<()> + 'a;

/// How far the reader is when it hands a packet over, that packet counted.
#[derive(Debug)]
pub struct Passed<'a> {
    admission: &'a Admission,
    first_packet: Timestamp,
}

impl Passed<'_> {
    /// See [`Replay::counters`].
    #[must_use]
    pub fn counters(&self) -> (BTreeMap<String, ledger::Kernel>, ledger::Ring) {
        counters(self.admission)
    }

    /// When the first packet passed, of any kind.
    #[must_use]
    pub const fn first_packet(&self) -> Timestamp {
        self.first_packet
    }
}

impl Replay {
    /// A reader that looks for DNS on `ports`.
    #[must_use]
    pub fn new(ports: PortSet) -> Self {
        Self { admission: Admission::new(ports), files: 0, first_packet: None }
    }

    /// The same reader, that hands over encrypted DNS too.
    #[must_use]
    pub fn with_encrypted(mut self, encrypted: Option<Encrypted>) -> Self {
        self.admission.watch(encrypted);
        self
    }

    /// Hands the packets of a file that may carry DNS to `each`, in the file's order, until it
    /// breaks. `input` is a path, or `-` for standard input. Errors: the file cannot be read, is
    /// no capture, is damaged, or holds packets of an unknown link type; the packets before that
    /// were handed over.
    pub fn file(&mut self, input: &Path, each: &mut Each<'_>) -> Result<FileSummary, InputError> {
        let name = source::name(input);
        let summary = Source::open(input).and_then(|source| self.packets(source, each));
        self.files += 1;
        summary.map_err(|problem| InputError { name, problem })
    }

    /// [`Self::file`] for octets that come from elsewhere.
    pub fn stream(
        &mut self,
        name: &str,
        input: Box<dyn std::io::Read>,
        each: &mut Each<'_>,
    ) -> Result<FileSummary, InputError> {
        let summary = Source::new(input).and_then(|source| self.packets(source, each));
        self.files += 1;
        summary.map_err(|problem| InputError { name: name.into(), problem })
    }

    fn packets(&mut self, source: Source, each: &mut Each<'_>) -> Result<FileSummary, Problem> {
        let mut reader = Reader::new(source)?;
        if let Some(link) = reader.link() {
            Link::try_from(link).map_err(Problem::UnknownLink)?;
        }
        let mut packets = 0;
        while let Some(frame) = reader.next()? {
            packets += 1;
            let first_packet = *self.first_packet.get_or_insert(frame.ts);
            let link = Link::try_from(frame.link).map_err(Problem::UnknownLink)?;
            let origin = Origin { cpu: self.files, seq: packets };
            let range = match link.inside(frame.bytes) {
                Inside::Ip(range) => range,
                Inside::Nothing => continue,
                Inside::TooDeep => {
                    self.admission.skip_too_deep();
                    continue;
                }
            };
            let Some(packet) = packet(&frame, range, origin) else { continue };
            let pass = &mut |packet: &Packet<'_>, admission: &Admission| {
                each(packet, &Passed { admission, first_packet })
            };
            if self.admission.offer(&packet, pass).is_break() {
                break;
            }
        }
        Ok(FileSummary { packets, warning: reader.warning() })
    }

    /// The counters of hook `replay`, and those of the ring that replay does not need.
    #[must_use]
    pub fn counters(&self) -> (BTreeMap<String, ledger::Kernel>, ledger::Ring) {
        counters(&self.admission)
    }

    /// When the first packet of the first file passed, of any kind.
    #[must_use]
    pub const fn first_packet(&self) -> Option<Timestamp> {
        self.first_packet
    }
}

fn counters(admission: &Admission) -> (BTreeMap<String, ledger::Kernel>, ledger::Ring) {
    let kernel = admission.counters();
    let (submitted, received) = (kernel.submitted, kernel.submitted);
    let ring = ledger::Ring { submitted, received, ..ledger::Ring::default() };
    (BTreeMap::from([("replay".to_owned(), kernel)]), ring)
}

/// The IP packet at a place in a frame.
fn packet<'a>(frame: &Frame<'a>, ip: Range<usize>, origin: Origin) -> Option<Packet<'a>> {
    let bytes = frame.bytes.get(ip.clone())?;
    let behind = u32::try_from(frame.bytes.len().checked_sub(ip.end)?).ok()?;
    let wire_bytes = frame.wire_bytes.checked_sub(u32::try_from(ip.start).ok()?)?;
    Some(Packet {
        ts: frame.ts,
        origin,
        scope: 0,
        sight: Sight::Passive,
        task: None,
        datagram_bytes: 0,
        cgroup_id: 0,
        body: Body::Ip { bytes, wire_bytes: wire_bytes.saturating_sub(behind) },
    })
}

#[cfg(test)]
mod tests;
