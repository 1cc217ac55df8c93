//! The filter of an `AF_PACKET` socket of type `SOCK_DGRAM`, where octets begin with the network
//! header. There is no direct access to packets here.

use crate::counters::Counters;
use crate::parse::{self, Fate, UDP, be16, load};
use crate::ring::{self, Context};
use aya_ebpf::bindings::__sk_buff;
use dnscribe_common::counter::{Counter, Hook};
use dnscribe_common::record::DIRECTION_TAP;

const ETH_P_IP: u16 = 0x0800;
const ETH_P_8021Q: u16 = 0x8100;
const ETH_P_IPV6: u16 = 0x86dd;
const ETH_P_8021AD: u16 = 0x88a8;

/// `PACKET_OUTGOING` of `linux/if_packet.h`.
const PACKET_OUTGOING: u32 = 4;
/// The loopback interface is the first of every network namespace.
const LOOPBACK: u32 = 1;

#[inline(always)]
pub fn observe(skb: *mut __sk_buff) {
    // SAFETY: the kernel hands a valid context.
    let (length, ethertype, packet_type, ifindex, segment) = unsafe {
        (
            (*skb).len,
            u16::from_be((*skb).protocol as u16),
            (*skb).pkt_type,
            (*skb).ifindex,
            (*skb).gso_size,
        )
    };
    let Some(start) = network_header(skb, ethertype, packet_type) else { return };
    let verdict = parse::classify(skb, start, true);
    if verdict.fate == Fate::NotOurs {
        return;
    }
    let Some(counters) = Counters::this_cpu() else { return };
    counters.add(Hook::Socket, Counter::Seen);
    if ifindex == LOOPBACK && packet_type == PACKET_OUTGOING {
        return counters.add(Hook::Socket, Counter::LoopbackCopy);
    }
    match verdict.fate {
        Fate::Emit => {}
        Fate::EncryptedFragment => {
            return counters.add(Hook::Socket, Counter::EncryptedFragment);
        }
        _ => return counters.add(Hook::Socket, Counter::TcpNoPayload),
    }
    let context = Context {
        hook: Hook::Socket,
        direction: DIRECTION_TAP,
        packet_type: packet_type as u8,
        datagram_bytes: if verdict.protocol == UDP { segment as u16 } else { 0 },
        most: verdict.end - start,
        ifindex,
        netns_cookie: 0,
        cgroup_id: 0,
        task: None,
    };
    ring::packet(counters, skb, start, length.saturating_sub(start), &context);
}

/// Where the IP header begins: at 0, or after VLAN tags that are still in the packet. The kernel
/// took the outermost one off (`vlan_tci`); of a packet on its way out it skips them all.
#[inline(always)]
fn network_header(skb: *mut __sk_buff, ethertype: u16, packet_type: u32) -> Option<u32> {
    let mut kind = ethertype;
    let mut at = 0;
    for _ in 0..2 {
        match kind {
            ETH_P_IP | ETH_P_IPV6 => return Some(at),
            ETH_P_8021Q | ETH_P_8021AD if packet_type == PACKET_OUTGOING => return Some(0),
            ETH_P_8021Q | ETH_P_8021AD => {
                let [_, _, high, low] = load::<4>(skb, at)?;
                kind = be16(high, low);
                at += 4;
            }
            _ => return None,
        }
    }
    (kind == ETH_P_IP || kind == ETH_P_IPV6).then_some(at)
}
