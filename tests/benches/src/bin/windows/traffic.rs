//! Generated transactions, the same in every run: ordinary ones, and a flood of new keys.

use dnscribe_analysis::view::{ProcessView, TransactionView};
use dnscribe_dns::{Answers, Flags};
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::decode::MessageId;
use dnscribe_transaction::packet::Transport;
use dnscribe_transaction::pair::{Status, Vantage};
use std::net::SocketAddr;

/// Time of the first transaction in seconds since 1970, at the beginning of a window of five minutes.
pub const EPOCH_SECONDS: u64 = 1_700_000_100;

/// Number of names and of zones in ordinary traffic.
const NAMES: u64 = 20_000;
const ZONES: u64 = 3_000;

/// Kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Names by Zipf's law, some hundred clients, a few resolvers.
    Ordinary,
    /// Nine of ten transactions have a unique name, zone, resolver, client, process and pod.
    Attack,
}

/// A generated transaction with its own strings.
pub struct Transaction {
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

impl Transaction {
    /// Time of the transaction.
    pub const fn ts(&self) -> Timestamp {
        self.ts
    }

    /// Returns the view that the windows get.
    pub fn observation(&self) -> TransactionView<'_> {
        let answered = self.status == Status::Answered;
        TransactionView {
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
            status: self.status,
            rcode: self.rcode,
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
            process: Some(ProcessView { pid: 1, comm: &self.process }),
            pod: Some(&self.pod),
            attribution: None,
            lost: None,
            indicators: &[],
        }
    }
}

/// Returns `count` transactions, evenly distributed over `seconds`.
pub fn transactions(kind: Kind, count: u32, seconds: u64) -> impl Iterator<Item = Transaction> {
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

fn ordinary(ts: Timestamp, number: u32) -> Transaction {
    let mut rng = Rng(u64::from(number));
    let name = rng.zipf(NAMES);
    let zone = format!("zone-{}.example", name % ZONES);
    let host = format!("host-{name}.");
    let qtype = *rng.pick(&[1, 1, 1, 1, 1, 1, 28, 28, 28, 65, 16, 12]);
    let draw = rng.below(100);
    let (status, rcode) = match draw {
        0 => (Status::Timeout, None),
        1..3 => (Status::Answered, Some(2)),
        3..12 => (Status::Answered, Some(3)),
        _ => (Status::Answered, Some(0)),
    };
    let (client, pod) = (rng.zipf(200), rng.zipf(30));
    Transaction {
        ts,
        client: address(10, client),
        resolver: format!("192.0.2.{}", rng.zipf(5)),
        zone_at: host.len(),
        qname: host + &zone,
        qtype,
        status,
        rcode,
        latency_ms: latency(&mut rng),
        process: format!("process-{}", rng.zipf(30)),
        pod: format!("default/pod-{pod}"),
    }
}

fn flood(ts: Timestamp, number: u32) -> Transaction {
    let mut rng = Rng(u64::from(number));
    let (host, zone) = (format!("{:016x}.", rng.next()), format!("{:010x}.example", rng.next()));
    Transaction {
        ts,
        client: address(11, number.into()),
        resolver: address(12, number.into()).ip().to_string(),
        zone_at: host.len(),
        qname: host + &zone,
        qtype: u16::try_from(number % 60_000).unwrap_or(1),
        status: Status::Answered,
        rcode: Some(u16::try_from(number % 4096).unwrap_or(0)),
        latency_ms: latency(&mut rng),
        process: format!("p{number:014}"),
        pod: format!("default/flood-{number}"),
    }
}

/// Latency in ms: three of five responses come from a cache.
fn latency(rng: &mut Rng) -> f64 {
    let random = rng.unit();
    if random < 0.6 { 0.05 + random } else { 2.0 * (8.0 * rng.unit()).exp2() }
}

fn address(first: u8, number: u64) -> SocketAddr {
    let [.., a, b, c] = number.to_be_bytes();
    SocketAddr::from(([first, a, b, c], 40_000))
}

/// Pseudo-random generator `SplitMix64`.
struct Rng(u64);

impl Rng {
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

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        let place = usize::try_from(self.below(all.len() as u64)).unwrap_or(0);
        &all[place]
    }

    /// Returns a number from 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are kept")]
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Returns a rank from 0; rank `r` has a probability proportional to 1 / (r + 1).
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "some thousand"
    )]
    fn zipf(&mut self, ranks: u64) -> u64 {
        (((ranks as f64 + 1.0).powf(self.unit()) - 1.0) as u64).min(ranks - 1)
    }
}
