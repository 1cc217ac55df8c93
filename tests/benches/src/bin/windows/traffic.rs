//! Made-up transactions, the same every time: ordinary ones, and a flood of what was never seen before.

use dnscribe::analysis::view::{Observation, Process};
use dnscribe::capture::Transport;
use dnscribe::decode::MessageId;
use dnscribe::pair::{Status, Vantage};
use dnscribe_dns::{Answers, Flags};
use dnscribe_record::time::Timestamp;
use std::net::SocketAddr;

/// When the first transaction is, in seconds since 1970: the beginning of five minutes.
pub const EPOCH_SECONDS: u64 = 1_700_000_100;

/// Different names and zones of ordinary traffic.
const NAMES: u64 = 20_000;
const ZONES: u64 = 3_000;

/// What transactions are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Names by Zipf's law, of some hundred clients, at some resolvers.
    Ordinary,
    /// Nine of ten have a name, zone, resolver, client, process and pod that no other has.
    Attack,
}

/// A transaction, with texts of its own.
pub struct Given {
    ts: Timestamp,
    client: SocketAddr,
    resolver: String,
    qname: String,
    zone_at: usize,
    qtype: u16,
    status: Status,
    rcode: Option<u16>,
    latency_ms: f64,
    process: String,
    pod: String,
}

impl Given {
    /// When it was.
    pub const fn ts(&self) -> Timestamp {
        self.ts
    }

    /// As the windows see it.
    pub fn observation(&self) -> Observation<'_> {
        let answered = self.status == Status::Answered;
        Observation {
            id: MessageId::default(),
            ts: self.ts,
            response_ts: None,
            vantage: Vantage::Client,
            transport: Transport::Udp,
            client: self.client,
            server: self.client,
            resolver: &self.resolver,
            opcode: 0,
            query: None,
            qname: Some(&self.qname),
            zone: self.qname.get(self.zone_at..),
            qtype: Some(self.qtype),
            qclass: Some(1),
            status: self.status,
            rcode: self.rcode,
            ede: None,
            flags: Flags(0x8180),
            latency_ms: answered.then_some(self.latency_ms),
            retries: u32::from(!answered),
            dnssec_ok: self.qtype == 28,
            client_subnet: false,
            answers: Answers::NONE,
            answer_count: answered.then_some(1),
            min_ttl_seconds: answered.then_some(u32::from(self.qtype) * 10),
            query_bytes: Some(40),
            response_bytes: answered.then_some(120),
            conflict: false,
            rejected: 0,
            sample_ratio: 1.0,
            orphan_reason: None,
            resembles: None,
            tcp_fallback_of: None,
            parent: None,
            cache: None,
            process: Some(Process { pid: 1, uid: 1, comm: &self.process, exe: None }),
            container: None,
            pod: Some(&self.pod),
        }
    }
}

/// So many transactions in so many seconds.
pub fn transactions(kind: Kind, count: u32, seconds: u64) -> impl Iterator<Item = Given> {
    let step = seconds * 1_000_000_000 / u64::from(count.max(1));
    (0..count).map(move |number| {
        let ts = Timestamp::from_nanos(EPOCH_SECONDS * 1_000_000_000 + u64::from(number) * step);
        if kind == Kind::Attack && number % 10 != 0 {
            flood(ts, number)
        } else {
            ordinary(ts, number)
        }
    })
}

fn ordinary(ts: Timestamp, number: u32) -> Given {
    let mut dice = Dice(u64::from(number));
    let name = dice.zipf(NAMES);
    let zone = format!("zone-{}.example", name % ZONES);
    let host = format!("host-{name}.");
    let qtype = *dice.of(&[1, 1, 1, 1, 1, 1, 28, 28, 28, 65, 16, 12]);
    let fate = dice.below(100);
    let (status, rcode) = match fate {
        0 => (Status::Timeout, None),
        1..3 => (Status::Answered, Some(2)),
        3..12 => (Status::Answered, Some(3)),
        _ => (Status::Answered, Some(0)),
    };
    let (client, pod) = (dice.zipf(200), dice.zipf(30));
    Given {
        ts,
        client: address(10, client),
        resolver: format!("192.0.2.{}", dice.zipf(5)),
        zone_at: host.len(),
        qname: host + &zone,
        qtype,
        status,
        rcode,
        latency_ms: latency(&mut dice),
        process: format!("process-{}", dice.zipf(30)),
        pod: format!("default/pod-{pod}"),
    }
}

fn flood(ts: Timestamp, number: u32) -> Given {
    let mut dice = Dice(u64::from(number));
    let (host, zone) = (format!("{:016x}.", dice.next()), format!("{:010x}.example", dice.next()));
    Given {
        ts,
        client: address(11, number.into()),
        resolver: address(12, number.into()).ip().to_string(),
        zone_at: host.len(),
        qname: host + &zone,
        qtype: u16::try_from(number % 60_000).unwrap_or(1),
        status: Status::Answered,
        rcode: Some(u16::try_from(number % 4096).unwrap_or(0)),
        latency_ms: latency(&mut dice),
        process: format!("p{number:014}"),
        pod: format!("default/flood-{number}"),
    }
}

/// From a cache three times of five, else from afar.
fn latency(dice: &mut Dice) -> f64 {
    let share = dice.share();
    if share < 0.6 { 0.05 + share } else { 2.0 * (8.0 * dice.share()).exp2() }
}

fn address(first: u8, number: u64) -> SocketAddr {
    let [.., a, b, c] = number.to_be_bytes();
    SocketAddr::from(([first, a, b, c], 40_000))
}

/// Numbers by chance, the same ones for the same seed: splitmix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        let place = usize::try_from(self.below(all.len() as u64)).unwrap_or(0);
        &all[place]
    }

    /// From 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are kept")]
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A rank from 0, rank `r` about as often as 1 / (r + 1).
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "some thousand"
    )]
    fn zipf(&mut self, ranks: u64) -> u64 {
        (((ranks as f64 + 1.0).powf(self.share()) - 1.0) as u64).min(ranks - 1)
    }
}
