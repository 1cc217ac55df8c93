//! The second room: packets become DNS messages.

use crate::capture::{Origin, Sight, Task, Transport};
use crate::time::Timestamp;
use std::net::SocketAddr;

/// A DNS message's place: which packet completed it, and which of the messages in that packet it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// The packet that completed the message.
    pub origin: Origin,
    /// 0 for the first message that the packet completed.
    pub index: u32,
}

/// The envelope of a message: who sent it to whom, when, how.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The packet that completed the message.
    pub id: MessageId,
    /// When that packet passed.
    pub ts: Timestamp,
    /// See [`crate::capture::Packet::scope`].
    pub scope: u64,
    /// See [`crate::capture::Packet::sight`].
    pub sight: Sight,
    /// See [`crate::capture::Packet::task`].
    pub task: Option<Task>,
    /// See [`crate::capture::Packet::cgroup_id`].
    pub cgroup_id: u64,
    /// UDP or TCP.
    pub transport: Transport,
    /// Sender.
    pub src: SocketAddr,
    /// Receiver.
    pub dst: SocketAddr,
}
