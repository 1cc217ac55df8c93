//! TLS over TCP: reads the records of both directions until they are encrypted (RFC 8446, 5; RFC
//! 5246, 6.2).

use super::cursor::Reassembler;
use super::hello::{self, Handshake, Side, TLS13};
use dnscribe_record::time::Timestamp;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// Bytes of a record's header: type, version, length.
const RECORD_HEADER: usize = 5;
/// Longest body of a record in bytes. Encryption before TLS 1.3 adds up to 2,048.
const MAX_BODY: usize = (1 << 14) + 2048;
/// Level of a fatal alert.
const FATAL: u8 = 2;
/// Length of an encrypted alert in TLS 1.3: level, description, type and tag. The client's
/// `Finished` is longer.
const ENCRYPTED_ALERT: usize = 19;

/// Reads both directions of a connection until the end of the handshake.
#[derive(Clone, Debug, Default)]
pub(super) struct TlsReader {
    directions: [Direction; 2],
}

/// State of one direction.
#[derive(Clone, Debug, Default)]
struct Direction {
    records: Reassembler,
    /// Contents of the handshake records. A message may be split across records.
    messages: Vec<u8>,
    /// Whether the hello was read.
    hello_read: bool,
    /// Whether the direction is encrypted.
    encrypted: bool,
}

impl TlsReader {
    /// Processes bytes at `offset` of one side's stream. Returns whether there is more to read.
    pub(super) fn read(
        &mut self,
        side: Side,
        offset: u64,
        bytes: &[u8],
        now: Timestamp,
        handshake: &mut Handshake,
    ) -> bool {
        handshake.note_data(side, now);
        let direction = &mut self.directions[side.index()];
        direction.records.insert(offset, bytes);
        while let Some(record) = direction.next() {
            match record {
                NextRecord::NotTls => return false,
                NextRecord::Record(kind, length) => direction.record(side, kind, length, handshake),
            }
        }
        if handshake.refused {
            return false;
        }
        if self.directions.iter().all(|direction| direction.encrypted) {
            // Without the client's hello the duration is unknown.
            handshake.completed = handshake.client.is_some().then_some(now);
            return false;
        }
        true
    }

    /// Returns the memory in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        let directions = self.directions.iter();
        directions.map(|one| one.records.memory_bytes() + one.messages.len()).sum()
    }
}

/// The next record of a direction.
enum NextRecord {
    /// Type and length of a record, of which the required part is present.
    Record(u8, usize),
    NotTls,
}

impl Direction {
    fn next(&self) -> Option<NextRecord> {
        let [kind, major, _, high, low] =
            *self.records.contiguous.first_chunk::<RECORD_HEADER>()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if !(CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(&kind)
            || major != 3
            || length > MAX_BODY
        {
            return Some(NextRecord::NotTls);
        }
        let needs_body = match kind {
            HANDSHAKE => !self.hello_read,
            ALERT => !self.encrypted,
            _ => false,
        };
        let known = self.records.contiguous.len() >= RECORD_HEADER + length;
        (known || !needs_body).then_some(NextRecord::Record(kind, length))
    }

    fn record(&mut self, side: Side, kind: u8, length: usize, handshake: &mut Handshake) {
        let is_13 = handshake.server.as_ref().is_some_and(|server| server.version >= TLS13);
        let body = self.records.contiguous.get(RECORD_HEADER..RECORD_HEADER + length);
        match (kind, body) {
            (HANDSHAKE, Some(body)) if !self.hello_read => {
                self.messages.extend_from_slice(body);
                self.read_hello(side, handshake);
            }
            // In TLS 1.3 it has no function and may come before a second hello.
            (CHANGE_CIPHER_SPEC, _) if handshake.server.is_some() && !is_13 => {
                self.encrypted = true;
            }
            (ALERT, Some([FATAL, _])) if !self.encrypted => handshake.refused = true,
            // Application data before the server's hello is early data.
            (APPLICATION_DATA, _) if handshake.server.is_some() || side == Side::Server => {
                if is_13 && side == Side::Client && !self.encrypted && length == ENCRYPTED_ALERT {
                    handshake.refused = true;
                }
                self.encrypted = true;
            }
            _ => {}
        }
        self.records.skip(RECORD_HEADER + length);
    }

    /// Reads the complete messages.
    fn read_hello(&mut self, side: Side, handshake: &mut Handshake) {
        while !self.hello_read
            && let Some(body) = hello::message_body(&self.messages, side)
        {
            let end = hello::MESSAGE_HEADER + body.len();
            self.hello_read = handshake.read_hello(side, body);
            self.messages.drain(..end);
        }
        // If another message comes first, the hello is not awaited.
        self.hello_read |= self.messages.first().is_some_and(|kind| *kind != side as u8);
        if self.hello_read {
            self.messages = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests;
