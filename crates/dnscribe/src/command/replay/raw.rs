//! Messages of `dns.message/1` and dead letters as packets again, for `replay kafka://…`.
//!
//! Each message has the position of the packet that completed it, and its own among the messages of that
//! packet: so its `event_id` is the same again. What a record does not have is unknown: the task, its cgroup
//! and the network namespace.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use dnscribe_record::time::Timestamp;
use dnscribe_record::{EventId, Labels};
use dnscribe_transaction::packet::{Body, Direction, Packet, PacketId, Transport};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// A DNS message with its place in a capture. Sorts by capture, time and position.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RawMessage {
    /// Name of the node.
    pub node: String,
    /// Region of the node.
    pub region: Option<String>,
    /// Labels of the node.
    pub labels: Labels,
    /// Tag of node and epoch, the beginning of the `event_id`.
    pub tag: u32,
    /// Capture time.
    pub ts_ns: u64,
    /// Position of the packet.
    pub id: PacketId,
    /// Position in the topic: partition and offset. It orders the messages of one packet.
    pub offset: (i32, i64),
    /// `event_id` of the record.
    pub event_id: u128,
    /// Transport.
    pub transport: Transport,
    /// Direction at the point of capture.
    pub direction: WireDirection,
    /// Sender.
    pub src: SocketAddr,
    /// Receiver.
    pub dst: SocketAddr,
    /// The message.
    pub wire: Vec<u8>,
}

/// Field `direction` of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WireDirection {
    /// To a socket of the node.
    Ingress,
    /// From a socket of the node.
    Egress,
    /// Neither.
    #[default]
    Passive,
}

/// Fields of `dns.message/1` and `dns.dlq/1` that are needed.
#[derive(Deserialize)]
struct RawFields {
    event_id: EventId,
    ts: Timestamp,
    node: String,
    region: Option<String>,
    #[serde(default)]
    labels: Labels,
    stage: Option<String>,
    cpu: Option<u32>,
    seq: Option<u64>,
    #[serde(default)]
    direction: WireDirection,
    transport: Option<String>,
    src_ip: Option<IpAddr>,
    src_port: Option<u16>,
    dst_ip: Option<IpAddr>,
    dst_port: Option<u16>,
    wire: Option<String>,
    bytes: Option<String>,
}

/// Why a record cannot be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum NoMessage {
    /// It is no record.
    #[error("no records of dns.message/1 or dns.dlq/1")]
    NotARecord,
    /// The message itself is missing.
    #[error("without the message itself (messages.wire: true keeps it)")]
    NoBytes,
    /// It is a dead letter of another stage.
    #[error("dead letters of records, not of packets")]
    OtherStage,
}

impl RawMessage {
    /// Reads a record of `dns.message/1`, or a dead letter of stage `decode`. `offset` is its partition
    /// and offset.
    ///
    /// # Errors
    /// The record has no message.
    pub fn read(record: &[u8], offset: (i32, i64)) -> Result<Self, NoMessage> {
        let fields: RawFields =
            serde_json::from_slice(record).map_err(|_| NoMessage::NotARecord)?;
        if fields.stage.as_deref().is_some_and(|stage| stage != "decode") {
            return Err(NoMessage::OtherStage);
        }
        let wire = fields.wire.or(fields.bytes).and_then(|text| BASE64.decode(text).ok());
        let wire = wire.filter(|wire| !wire.is_empty()).ok_or(NoMessage::NoBytes)?;
        let address = |ip: Option<IpAddr>, port: Option<u16>| Some(SocketAddr::new(ip?, port?));
        let message = || {
            let transport = fields.transport?;
            Some(Self {
                node: fields.node,
                region: fields.region,
                labels: fields.labels,
                tag: fields.event_id.tag(),
                ts_ns: fields.ts.as_nanos(),
                id: PacketId { cpu: fields.cpu?, seq: fields.seq? },
                offset,
                event_id: fields.event_id.0,
                transport: Transport::ALL.into_iter().find(|one| one.name() == transport)?,
                direction: fields.direction,
                src: address(fields.src_ip, fields.src_port)?,
                dst: address(fields.dst_ip, fields.dst_port)?,
                wire,
            })
        };
        let message = message().filter(|message| message.src.is_ipv4() == message.dst.is_ipv4());
        message.ok_or(NoMessage::NotARecord)
    }

    /// Returns whether both are of one capture: one run of one node.
    #[must_use]
    pub fn same_capture(&self, other: &Self) -> bool {
        (self.tag, &self.node) == (other.tag, &other.node)
    }
}

/// Calls `each` with the messages that one packet completed, as packets of one message each.
pub fn packets_of(messages: &[RawMessage], each: &mut dyn FnMut(&Packet<'_>)) {
    for (index, message) in (0..).zip(messages) {
        let &RawMessage { transport, src, dst, .. } = message;
        let direction = match message.direction {
            WireDirection::Ingress => Direction::Ingress,
            WireDirection::Egress => Direction::Egress,
            WireDirection::Passive => Direction::Passive,
        };
        let body = Body::Message { transport, src, dst, index, bytes: &message.wire };
        each(&Packet::new(Timestamp::from_nanos(message.ts_ns), message.id, direction, body));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn record(changes: &Value) -> Vec<u8> {
        let mut record = json!({
            "schema": "dns.message/1", "event_id": "0123456789abcdef0123456789abcdef",
            "ts": "2026-11-20T07:30:00Z", "node": "n", "seq": 7, "cpu": 1, "vantage": "client",
            "direction": "egress", "transport": "udp", "src_ip": "192.0.2.1", "src_port": 4000,
            "dst_ip": "192.0.2.53", "dst_port": 53, "wire": "AAEAAAAAAAAAAAAA",
        });
        for (name, value) in changes.as_object().unwrap() {
            record[name] = value.clone();
        }
        record.to_string().into_bytes()
    }

    #[test]
    fn reads_messages_and_dead_letters() {
        let message = RawMessage::read(&record(&json!({})), (2, 9)).unwrap();
        assert_eq!((message.tag, message.offset), (0x0123_4567, (2, 9)));
        assert_eq!((message.direction, message.wire.len()), (WireDirection::Egress, 12));
        let letter = json!({"stage": "decode", "wire": null, "bytes": "AAEA", "direction": null});
        let letter: Value = letter;
        let mut letter: Value = serde_json::from_slice(&record(&letter)).unwrap();
        letter.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let letter = RawMessage::read(letter.to_string().as_bytes(), (0, 0)).unwrap();
        assert_eq!((letter.direction, letter.wire.len()), (WireDirection::Passive, 3));
        for (changes, expected) in [
            (json!({"wire": ""}), NoMessage::NoBytes),
            (json!({"stage": "deliver"}), NoMessage::OtherStage),
            (json!({"src_ip": "2001:db8::1"}), NoMessage::NotARecord),
            (json!({"transport": "sctp"}), NoMessage::NotARecord),
        ] {
            assert_eq!(RawMessage::read(&record(&changes), (0, 0)), Err(expected));
        }
    }

    #[test]
    fn messages_of_a_packet_are_numbered() {
        let message = RawMessage::read(&record(&json!({"transport": "dot"})), (0, 0)).unwrap();
        let mut found = Vec::new();
        packets_of(&[message.clone(), message], &mut |packet| {
            let Body::Message { transport, index, bytes, .. } = packet.body else { return };
            assert_eq!(packet.id, PacketId { cpu: 1, seq: 7 });
            found.push((transport.name(), index, bytes.len()));
        });
        assert_eq!(found, [("dot", 0, 12), ("dot", 1, 12)]);
    }
}
