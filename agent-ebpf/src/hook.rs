//! Hooks: one file per program attach type.

pub mod cgroup_skb;
pub mod cgroup_sock;
pub mod connect;
pub mod datagram_drop;
pub mod kernel_packet;
pub mod packet_drop;
pub mod packet_sent;
pub mod sock_addr;
pub mod socket_error;
pub mod socket_read;
pub mod tap;
pub mod translation;
pub mod unconnected;
