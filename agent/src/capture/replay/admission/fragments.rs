//! Fragments whose first one, that alone has the ports, has not come yet.

use crate::capture::{Body, Origin, Packet, Sight};
use crate::net::{Fragment, Ip};
use dnscribe_record::time::Timestamp;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

/// How long the fragments of a datagram belong together, by capture time (RFC 1122, 3.3.2: 60 to
/// 120 s; hosts in use take 30).
const LIFETIME: Duration = Duration::from_secs(30);
/// Datagrams remembered.
const MAX_DATAGRAMS: usize = 8192;
/// Fragments kept.
const MAX_KEPT: usize = 16_384;
/// Octets kept.
const MAX_KEPT_BYTES: usize = 32 * 1024 * 1024;

/// What names a datagram (RFC 791, 3.2; IPv6 leaves the protocol out).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Datagram {
    src: IpAddr,
    dst: IpAddr,
    id: u32,
    protocol: u8,
}

impl Datagram {
    pub(super) fn of(ip: &Ip<'_>, fragment: Fragment) -> Self {
        let protocol = if ip.src.is_ipv4() { ip.protocol } else { 0 };
        Self { src: ip.src, dst: ip.dst, id: fragment.id, protocol }
    }
}

/// What the first fragment's ports decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Submit,
    Pass,
}

/// A packet set aside.
#[derive(Debug)]
pub(super) struct Kept {
    ts: Timestamp,
    origin: Origin,
    wire_bytes: u32,
    bytes: Box<[u8]>,
}

impl Kept {
    pub(super) fn packet(&self) -> Packet<'_> {
        Packet {
            ts: self.ts,
            origin: self.origin,
            scope: 0,
            sight: Sight::Passive,
            task: None,
            datagram_bytes: 0,
            cgroup_id: 0,
            body: Body::Ip { bytes: &self.bytes, wire_bytes: self.wire_bytes },
        }
    }
}

#[derive(Debug)]
struct Entry {
    since: Timestamp,
    verdict: Option<Verdict>,
    kept: Vec<Kept>,
}

/// The datagrams in pieces, oldest forgotten first where there are too many.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    entries: HashMap<Datagram, Entry>,
    /// Every entry once, in order of arrival.
    order: VecDeque<(Timestamp, Datagram)>,
    kept: usize,
    kept_bytes: usize,
}

impl Fragments {
    /// Notes what a first fragment decided, and gives what waited for it.
    pub(super) fn decide(
        &mut self,
        datagram: Datagram,
        verdict: Verdict,
        now: Timestamp,
    ) -> Vec<Kept> {
        let entry = self.entry(datagram, now);
        entry.verdict = Some(verdict);
        let kept = std::mem::take(&mut entry.kept);
        self.uncount(&kept);
        if verdict == Verdict::Pass { Vec::new() } else { kept }
    }

    /// What the first fragment decided, if it has come.
    pub(super) fn verdict(&mut self, datagram: &Datagram, now: Timestamp) -> Option<Verdict> {
        self.expire(now);
        self.entries.get(datagram)?.verdict
    }

    /// Keeps a fragment until the first one comes.
    pub(super) fn keep(
        &mut self,
        datagram: Datagram,
        packet: &Packet<'_>,
        bytes: &[u8],
        wire_bytes: u32,
    ) {
        let kept = Kept { ts: packet.ts, origin: packet.origin, wire_bytes, bytes: bytes.into() };
        self.entry(datagram, packet.ts).kept.push(kept);
        self.kept += 1;
        self.kept_bytes += bytes.len();
        while self.kept > MAX_KEPT || self.kept_bytes > MAX_KEPT_BYTES {
            if !self.forget_oldest() {
                break;
            }
        }
    }

    fn entry(&mut self, datagram: Datagram, now: Timestamp) -> &mut Entry {
        self.expire(now);
        if !self.entries.contains_key(&datagram) {
            if self.entries.len() >= MAX_DATAGRAMS {
                self.forget_oldest();
            }
            self.order.push_back((now, datagram));
        }
        self.entries.entry(datagram).or_insert_with(|| Entry {
            since: now,
            verdict: None,
            kept: Vec::new(),
        })
    }

    fn expire(&mut self, now: Timestamp) {
        while let Some((since, _)) = self.order.front()
            && now.since(*since) > LIFETIME
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) -> bool {
        let Some((since, datagram)) = self.order.pop_front() else { return false };
        if self.entries.get(&datagram).is_some_and(|entry| entry.since == since)
            && let Some(entry) = self.entries.remove(&datagram)
        {
            self.uncount(&entry.kept);
        }
        true
    }

    fn uncount(&mut self, kept: &[Kept]) {
        self.kept -= kept.len();
        self.kept_bytes -= kept.iter().map(|kept| kept.bytes.len()).sum::<usize>();
    }
}
