//! The pcapng sink: messages as packets of a capture file, for Wireshark and others
//! (draft-ietf-opsawg-pcapng).
//!
//! What is captured are DNS messages. IP, UDP and TCP headers are made anew from the addresses of the record. Process,
//! container, pod and `event_id` are the packet's comment.

use super::frames::{self, FrameFormat, MessageFields};
use super::threaded::{SharedState, ThreadedSink};
use super::writer::{self, PORTION, is_transient, wait_writable};
use super::{SinkError, StreamSet};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The path that stands for stdout.
pub const STDOUT: &str = "-";

// Types of blocks and options.
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const COMMENT: u16 = 1;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
const SHB_USERAPPL: u16 = 4;

/// Link type of packets that begin with the IP header.
const LINKTYPE_RAW: u32 = 101;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Most bytes of a message in one TCP segment: with its headers it fits into an IPv4 packet.
const MAX_SEGMENT: usize = 65_000;
/// Most TCP connections whose sequence numbers are known. Beyond that, all begin anew.
const MAX_CONNECTIONS: usize = 16_384;

/// Makes blocks of messages, for one file.
#[derive(Debug, Default)]
pub(super) struct PacketEncoder {
    /// The next sequence numbers of a client and a server.
    connections: HashMap<(SocketAddr, SocketAddr), [u32; 2]>,
}

impl PacketEncoder {
    /// Returns the blocks that begin a file: its section, and an interface with the node's name.
    pub(super) fn header(node: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let program = concat!("dnscribe ", env!("CARGO_PKG_VERSION"));
        // Byte order, version 1.0, and a section whose length is not known.
        let section = [&[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0][..], &[0xff; 8]].concat();
        append_block(&mut out, SECTION_HEADER, &section, &[(SHB_USERAPPL, program.as_bytes())]);
        // No limit of lengths.
        let interface = [LINKTYPE_RAW, 0].map(u32::to_le_bytes).concat();
        let description = b"DNS messages; IP, UDP and TCP headers are made by dnscribe";
        let options =
            [(IF_NAME, node.as_bytes()), (IF_DESCRIPTION, description), (IF_TSRESOL, &[9])];
        append_block(&mut out, INTERFACE, &interface, &options);
        out
    }

    /// Appends the packet of a message, with TCP perhaps two. Returns false, and appends nothing, if it does not fit
    /// into a datagram, or has no bytes.
    pub(super) fn append(&mut self, message: &MessageFields<'_>, out: &mut Vec<u8>) -> bool {
        let Some(mut bytes) = message.wire() else { return false };
        let mut length = bytes.len().max(message.wire_bytes as usize);
        let comment = comment(message);
        let flags = match message.direction.as_deref() {
            Some("ingress") => 1_u32,
            Some("egress") => 2,
            _ => 0,
        };
        let flags = flags.to_le_bytes();
        let options = [(COMMENT, comment.as_bytes()), (EPB_FLAGS, &flags[..])];
        let mut write = |packet: &Packet<'_>| {
            let time = message.ts.as_nanos();
            let bytes = packet.bytes();
            let missing = packet.length - packet.payload.len();
            let lengths = [bytes.len(), bytes.len() + missing].map(length_32);
            let halves = [time >> 32, time & 0xffff_ffff];
            let [high, low] = halves.map(|half| u32::try_from(half).unwrap_or_default());
            let numbers = [0, high, low, lengths[0], lengths[1]];
            let mut body = numbers.map(u32::to_le_bytes).concat();
            body.extend(bytes);
            append_block(out, ENHANCED_PACKET, &body, &options);
        };
        let (src, dst) = message.ends();
        if !matches!(&*message.transport, "tcp" | "dot" | "doh") {
            let fits = length <= usize::from(u16::MAX) - 48;
            if fits {
                write(&Packet { src, dst, tcp: None, payload: &bytes, length });
            }
            return fits;
        }
        let Ok(prefix) = u16::try_from(length) else { return false };
        bytes.splice(..0, prefix.to_be_bytes());
        length += 2;
        if self.connections.len() >= MAX_CONNECTIONS {
            self.connections.clear();
        }
        let numbers = self.connections.entry(message.client_and_server()).or_insert([1; 2]);
        let side = usize::from(!message.is_query());
        for start in (0..length).step_by(MAX_SEGMENT) {
            let end = (start + MAX_SEGMENT).min(length);
            let payload = &bytes[start.min(bytes.len())..end.min(bytes.len())];
            let tcp = Some((numbers[side], numbers[1 - side]));
            write(&Packet { src, dst, tcp, payload, length: end - start });
            numbers[side] = numbers[side].wrapping_add(length_32(end - start));
        }
        true
    }
}

/// Returns a name as it is, or in quotes where a reader could not tell where it ends: a process chooses its name itself.
fn quoted(name: &str) -> Cow<'_, str> {
    let is_plain = |letter: char| !letter.is_whitespace() && !letter.is_control() && letter != '"';
    if name.chars().all(is_plain) {
        Cow::Borrowed(name)
    } else {
        Value::from(name).to_string().into()
    }
}

/// Returns what is known of a message beside its bytes, such as `process=curl[123] uid=0`.
fn comment(message: &MessageFields<'_>) -> String {
    let mut parts = Vec::new();
    if let Some(process) = &message.process {
        let pid = process.pid.map(|pid| format!("[{pid}]")).unwrap_or_default();
        parts.push(format!("process={}{pid}", quoted(&process.comm)));
        parts.extend(process.uid.map(|uid| format!("uid={uid}")));
        parts.extend(process.exe.as_ref().map(|exe| format!("exe={}", quoted(exe))));
    }
    let container = message.container.as_ref().map(|container| quoted(&container.id));
    parts.extend(container.map(|id| format!("container={id}")));
    parts.extend(message.k8s.as_ref().map(|k8s| format!("pod={}/{}", k8s.namespace, k8s.pod)));
    if !matches!(&*message.transport, "udp" | "tcp") {
        parts.push(format!("transport={}", message.transport));
    }
    parts.push(format!("event_id={}", message.event_id));
    parts.join(" ")
}

/// Converts a length that fits.
fn length_16(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}

/// Converts a length that fits.
fn length_32(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Appends a block: its body, padded, and options.
fn append_block(out: &mut Vec<u8>, kind: u32, body: &[u8], options: &[(u16, &[u8])]) {
    let start = out.len();
    out.extend(kind.to_le_bytes());
    out.extend([0; 4]);
    append_padded(out, body);
    for (code, value) in options {
        // A comment is longer only if a name in it is: the option is cut then.
        let value = &value[..value.len().min(usize::from(u16::MAX))];
        out.extend(code.to_le_bytes());
        out.extend(length_16(value.len()).to_le_bytes());
        append_padded(out, value);
    }
    // End of options.
    out.extend([0; 4]);
    let length = length_32(out.len() - start + 4).to_le_bytes();
    out[start + 4..start + 8].copy_from_slice(&length);
    out.extend(length);
}

/// Appends bytes, and zeros up to a multiple of four.
fn append_padded(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(bytes);
    out.resize(out.len() + bytes.len().wrapping_neg() % 4, 0);
}

/// A packet whose headers are made.
struct Packet<'a> {
    src: SocketAddr,
    dst: SocketAddr,
    /// Sequence and acknowledgement number; with UDP none.
    tcp: Option<(u32, u32)>,
    /// The captured part of the payload.
    payload: &'a [u8],
    /// Bytes of the whole payload.
    length: usize,
}

impl Packet<'_> {
    /// Returns the packet from its IP header on.
    fn bytes(&self) -> Vec<u8> {
        let addresses = match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => [src.octets(), dst.octets()].concat(),
            (src, dst) => [src, dst].map(ipv6).concat(),
        };
        let protocol = if self.tcp.is_some() { TCP } else { UDP };
        let mut transport = self.transport_header();
        let length = transport.len() + self.length;
        if self.payload.len() == self.length {
            let pseudo =
                [&addresses[..], &[0, protocol], &length_16(length).to_be_bytes()].concat();
            let sum = checksum(&[&pseudo, &transport, self.payload]);
            // With UDP, 0 stands for no checksum (RFC 768).
            let sum = if sum == 0 && protocol == UDP { u16::MAX } else { sum };
            let at = if protocol == TCP { 16 } else { 6 };
            transport[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        let mut out = if addresses.len() == 8 {
            // Version 4, header of 20 bytes; not fragmented; time to live 64.
            let total = length_16(20 + length).to_be_bytes();
            let mut header = vec![0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, protocol, 0, 0];
            header.extend(&addresses);
            let sum = checksum(&[&header]);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            header
        } else {
            let length = length_16(length).to_be_bytes();
            let header = [0x60, 0, 0, 0, length[0], length[1], protocol, 64];
            [&header[..], &addresses].concat()
        };
        out.extend(transport);
        out.extend(self.payload);
        out
    }

    /// Returns the header of UDP or TCP, without its checksum.
    fn transport_header(&self) -> Vec<u8> {
        let mut header = [self.src.port(), self.dst.port()].map(u16::to_be_bytes).concat();
        if let Some((sequence, acknowledged)) = self.tcp {
            header.extend([sequence, acknowledged].map(u32::to_be_bytes).concat());
            // Header of 20 bytes; PSH and ACK; the largest window.
            header.extend([0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
        } else {
            header.extend(length_16(8 + self.length).to_be_bytes());
            header.extend([0; 2]);
        }
        header
    }
}

fn ipv6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// Returns the checksum of the Internet (RFC 1071) over parts, of which only the last may have an odd length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let pairs = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u32 = pairs
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or_default()
}

/// The format of the sink.
struct PacketFile {
    path: PathBuf,
    node: String,
    encoder: PacketEncoder,
}

/// Opens the sink: a new file. One that is there already is renamed as a rotated file is.
pub(super) fn open(
    name: String,
    streams: StreamSet,
    path: &Path,
    node: &str,
) -> Result<ThreadedSink, SinkError> {
    let encoder = PacketEncoder::default();
    let file = PacketFile { path: path.into(), node: node.to_owned(), encoder };
    frames::open(name, streams, file, None)
}

impl fmt::Display for PacketFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

impl FrameFormat for PacketFile {
    type Output = PatientFile;

    fn file(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn open(
        &mut self,
        shared: &Arc<SharedState>,
        before: Option<&File>,
    ) -> io::Result<PatientFile> {
        let file = if self.path == Path::new(STDOUT) {
            File::from(io::stdout().as_fd().try_clone_to_owned()?)
        } else {
            writer::create_anew(&self.path, before)?
        };
        self.encoder = PacketEncoder::default();
        let is_regular = file.metadata()?.is_file();
        let mut output = PatientFile { file, is_regular, shared: Arc::clone(shared) };
        output.write_all(&PacketEncoder::header(&self.node))?;
        Ok(output)
    }

    fn file_of(output: &mut PatientFile) -> Option<&mut File> {
        Some(&mut output.file)
    }

    fn append_frame(&mut self, line: &[u8], out: &mut Vec<u8>) -> bool {
        MessageFields::read(line).is_some_and(|message| self.encoder.append(&message, out))
    }

    fn close(_: PatientFile) -> io::Result<()> {
        Ok(())
    }
}

/// A file, or a pipe whose reader is waited for until the sink is closed.
struct PatientFile {
    file: File,
    is_regular: bool,
    shared: Arc<SharedState>,
}

impl Write for PatientFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_regular {
            return self.file.write(bytes);
        }
        while !self.shared.stop.get() {
            if wait_writable(&self.file) {
                match self.file.write(&bytes[..bytes.len().min(PORTION)]) {
                    Err(error) if is_transient(&error) => {}
                    written => return written,
                }
            }
        }
        Err(ErrorKind::TimedOut.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
