//! Generated transactions, and a pseudo-random generator with fixed seeds.

use dnscribe_analysis::view::{ProcessView, TransactionView};
pub(super) use dnscribe_dns::rcode::{NXDOMAIN, SERVFAIL};
use dnscribe_dns::registrable_domain;
pub(super) use dnscribe_dns::rtype::{A, AAAA, ANY, CNAME, DNSKEY, HTTPS, MX, NULL, PTR, SRV, TXT};
use dnscribe_dns::{Answer, Answers, Flags};
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::decode::MessageId;
use dnscribe_transaction::packet::{PacketId, Transport};
use dnscribe_transaction::pair::{OrphanReason, Status, Vantage};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

const RESPONSE: u16 = 0x8080;
const RECURSION_DESIRED: u16 = 0x100;
/// Bytes of a DNS header and of the fixed part of a question.
const QUESTION_BYTES: usize = 18;
/// Bytes of an address record with a compressed owner.
const ADDRESS_BYTES: u64 = 16;

/// Time after which a query without response is a timeout.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Pseudo-random generator `SplitMix64`: gives the same numbers on every machine.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03)
    }

    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `limit`, which must not be 0.
    pub const fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Returns a number from 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Returns true with a probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Returns an item of a non-empty slice.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let index = self.below(items.len() as u64);
        &items[usize::try_from(index).unwrap_or(0)]
    }

    /// Returns the seconds to the next event of a Poisson process; `rate` is in events per second.
    pub fn interval(&mut self, rate: f64) -> f64 {
        -(1.0 - self.unit()).ln() / rate
    }

    /// Returns random letters of an alphabet.
    pub fn text(&mut self, alphabet: &[u8], length: u64) -> String {
        (0..length).map(|_| char::from(*self.pick(alphabet))).collect()
    }
}

pub const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
pub const HEX: &[u8] = b"0123456789abcdef";
pub const BASE32: &[u8] = b"abcdefghijklmnopqrstuvwxyz234567";
pub const BASE36: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
pub const BASE64: &[u8] = b"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Client of a transaction, and the vantage at which it is observed.
#[derive(Clone, Debug)]
pub struct Client {
    pub vantage: Vantage,
    pub address: IpAddr,
    pub process: Option<(&'static str, u32)>,
    pub pod: Option<String>,
}

impl Client {
    /// Creates a process on this host.
    pub fn local(comm: &'static str, pid: u32) -> Self {
        let address = Ipv4Addr::new(10, 1, 0, 9).into();
        Self { vantage: Vantage::Client, address, process: Some((comm, pid)), pod: None }
    }

    /// Creates a client of a DNS server on this host.
    pub fn remote(address: Ipv4Addr) -> Self {
        let process = Some(("unbound", 700));
        Self { vantage: Vantage::Server, address: address.into(), process, pod: None }
    }
}

/// A generated transaction with its own strings.
#[derive(Clone, Debug)]
pub struct Event {
    pub at: Timestamp,
    pub latency: Option<Duration>,
    pub client: Client,
    pub transport: Transport,
    pub server: IpAddr,
    pub qname: String,
    pub qtype: u16,
    pub status: Status,
    pub rcode: Option<u16>,
    pub recursion: bool,
    pub answers: Answers,
    pub response_bytes: Option<u64>,
    pub conflict: bool,
    pub retries: u32,
    pub rejected: u32,
    pub stray: Option<OrphanReason>,
    pub resembles: bool,
}

impl Event {
    /// Creates a query with an empty response after 12 ms.
    pub fn new(at: Timestamp, client: &Client, server: IpAddr, qname: String, qtype: u16) -> Self {
        let bytes = (qname.len() + QUESTION_BYTES) as u64;
        Self {
            at,
            latency: Some(Duration::from_millis(12)),
            client: client.clone(),
            transport: Transport::Udp,
            server,
            qname,
            qtype,
            status: Status::Answered,
            rcode: Some(0),
            recursion: true,
            answers: Answers::default(),
            response_bytes: Some(bytes),
            conflict: false,
            retries: 0,
            rejected: 0,
            stray: None,
            resembles: false,
        }
    }

    pub fn rcode(mut self, rcode: u16) -> Self {
        self.rcode = Some(rcode);
        self
    }

    pub fn timeout(mut self) -> Self {
        self.status = Status::Timeout;
        (self.rcode, self.response_bytes, self.latency) = (None, None, None);
        self
    }

    pub fn latency_ms(mut self, ms: f64) -> Self {
        self.latency = Some(Duration::from_secs_f64(ms / 1000.0));
        self
    }

    /// Adds an address to the answer.
    pub fn address(self, address: IpAddr) -> Self {
        let rtype = if address.is_ipv4() { A } else { AAAA };
        self.data(rtype, &address.to_string(), ADDRESS_BYTES)
    }

    /// Adds a record to the answer.
    pub fn data(mut self, rtype: u16, data: &str, bytes: u64) -> Self {
        let name = &self.qname;
        self.answers.push(&Answer { name, rtype, class: 1, ttl_seconds: 60, data });
        self.response_bytes = self.response_bytes.map(|total| total + bytes);
        self
    }

    /// Time of the response or of the timeout.
    pub fn ends_at(&self) -> Timestamp {
        self.at.plus(self.latency.unwrap_or(QUERY_TIMEOUT))
    }

    /// Calls `observe` with the view of the transaction.
    pub fn with_view<R>(&self, number: u64, observe: impl FnOnce(&TransactionView<'_>) -> R) -> R {
        observe(&self.observation(
            number,
            &self.server.to_string(),
            registrable_domain(&self.qname),
        ))
    }

    /// Returns the view of the transaction with the resolver's name and the registrable domain.
    pub fn observation<'a>(
        &'a self,
        number: u64,
        resolver: &'a str,
        zone: Option<&'a str>,
    ) -> TransactionView<'a> {
        let flags = RESPONSE | if self.recursion { RECURSION_DESIRED } else { 0 };
        let is_orphan = self.status == Status::Orphan;
        let query_bytes = u32::try_from(self.qname.len() + QUESTION_BYTES).ok();
        let id = MessageId { packet: PacketId { cpu: 0, seq: number }, index: 0 };
        TransactionView {
            id,
            query: (!is_orphan).then_some(id),
            ts: self.at,
            response_ts: self.latency.map(|latency| self.at.plus(latency)),
            vantage: self.client.vantage,
            transport: self.transport,
            client: SocketAddr::new(self.client.address, 40_000),
            server: SocketAddr::new(self.server, 53),
            resolver,
            opcode: 0,
            qname: Some(&self.qname),
            zone,
            qtype: Some(self.qtype),
            status: self.status,
            rcode: self.rcode,
            flags: Flags(flags),
            latency_ms: self.latency.map(|latency| latency.as_secs_f64() * 1000.0),
            retries: self.retries,
            dnssec_ok: false,
            client_subnet: false,
            answers: &self.answers,
            answer_count: u16::try_from(self.answers.len()).ok(),
            min_ttl_seconds: self.answers.first().map(|answer| answer.ttl_seconds),
            query_bytes: query_bytes.filter(|_| !is_orphan),
            response_bytes: self.response_bytes,
            conflict: self.conflict,
            rejected: self.rejected,
            sample_ratio: 1.0,
            orphan_reason: self.stray,
            resembles: self.resembles.then(MessageId::default),
            tcp_fallback_of: None,
            parent: None,
            cache: None,
            process: self.client.process.map(|(comm, pid)| ProcessView { pid, comm }),
            pod: self.client.pod.as_deref(),
            attribution: None,
            lost: None,
            indicators: &[],
        }
    }
}

/// Returns a timestamp from seconds.
pub fn seconds(seconds: f64) -> Timestamp {
    Timestamp::default().plus(Duration::from_secs_f64(seconds))
}
