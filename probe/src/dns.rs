//! DNS as a client: resolvers, connections to them, and exchanges of one query and its response.

mod address;
mod dnssec;
mod https;
mod quic;
mod resolver;
mod stream;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod udp;

pub(crate) use address::referral;
pub use address::{AddressFamily, addresses, aliases};
pub use dnssec::{CacheLimits, Security, SignedUntil, Validation, Validators};
pub use resolver::{Protocol, Resolver, ResolverHost};

pub(crate) use crate::name::unescape;
pub use crate::name::{parse_name, presentation};

use crate::failure::{Failure, Stage};
use crate::source::Source;
use crate::trust::Trust;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// UDP payload size in bytes that queries announce, which fits into a packet of every network (RFC 9715).
const UDP_PAYLOAD_BYTES: u16 = 1232;

/// Length of a header in bytes (RFC 1035, section 4.1.1).
const HEADER_BYTES: usize = 12;

/// A question with the flags of its query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Name asked for.
    pub name: Name,
    /// Type asked for.
    pub record_type: RecordType,
    /// Whether the server is to recurse (RD).
    pub recursion: bool,
    /// Whether the server is to send signatures (DO; RFC 3225).
    pub dnssec_ok: bool,
    /// Whether the server is to leave their validation to the client (CD; RFC 4035, section 3.2.2).
    pub checking_disabled: bool,
    /// Number of further attempts where there is no response.
    pub retries: u32,
}

/// Time between a failure and the next attempt, for a server that is being restarted.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Number of further attempts of queries that have no setting of their own.
pub const QUERY_RETRIES: u32 = 1;

impl Question {
    /// Creates a question for a resolver.
    #[must_use]
    pub const fn new(name: Name, record_type: RecordType) -> Self {
        Self {
            name,
            record_type,
            recursion: true,
            dnssec_ok: false,
            checking_disabled: false,
            retries: QUERY_RETRIES,
        }
    }

    /// Creates a question for an authoritative server.
    #[must_use]
    pub const fn authoritative(name: Name, record_type: RecordType) -> Self {
        let mut question = Self::new(name, record_type);
        question.recursion = false;
        question
    }

    /// Makes a query with a random id.
    fn query(&self) -> Message {
        let mut message = Message::query();
        message.metadata.recursion_desired = self.recursion;
        message.metadata.checking_disabled = self.checking_disabled;
        message.add_query(Query::query(self.name.clone(), self.record_type));
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_PAYLOAD_BYTES).set_dnssec_ok(self.dnssec_ok);
        message.set_edns(edns);
        message
    }
}

/// A response with how it was got.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The response.
    pub response: Message,
    /// The response as it was received.
    pub wire: Vec<u8>,
    /// Protocol that brought it: TCP after a truncated response over UDP.
    pub protocol: Protocol,
    /// Server that sent it.
    pub server: SocketAddr,
    /// Time from the query to the response, without connecting.
    pub latency: Duration,
    /// Time to connect (TCP), where there is a connection.
    pub connect: Option<Duration>,
    /// Duration of the TLS handshake, where there is one.
    pub handshake: Option<Duration>,
    /// Number of attempts that were made.
    pub attempts: u32,
}

/// Asks a resolver, again if there is no response (`question.retries`). Over UDP, a truncated response is asked for
/// again over TCP. Ends within `limit`.
///
/// # Errors
/// The stage that failed: the resolver's name, the connection, TLS, HTTP, or the exchange itself.
pub async fn exchange(
    resolver: &Resolver,
    trust: &Trust,
    question: &Question,
    limit: Duration,
) -> Result<Exchange, Failure> {
    let deadline = Instant::now() + limit;
    let mut attempts = 1;
    loop {
        match ask_once(resolver, trust, question, deadline).await {
            // Over UDP, a truncated response is not the end.
            Ok(found) if found.response.metadata.truncation => {
                let detail = format!("TC is set over {}", found.protocol.name());
                let failure = Failure::new(Stage::Dns, "truncated").with_detail(detail);
                return Err(Failure { attempts: attempts.max(found.attempts), ..failure });
            }
            Ok(found) => return Ok(Exchange { attempts: attempts.max(found.attempts), ..found }),
            Err(failure)
                // Queries over UDP were repeated already.
                if (resolver.protocol != Protocol::Udp || failure.stage == Stage::Resolve)
                    && failure.is_transient()
                    && attempts <= question.retries
                    && Instant::now() + RETRY_PAUSE < deadline =>
            {
                sleep(RETRY_PAUSE).await;
                attempts += 1;
            }
            Err(failure) => {
                return Err(Failure { attempts: attempts.max(failure.attempts), ..failure });
            }
        }
    }
}

async fn ask_once(
    resolver: &Resolver,
    trust: &Trust,
    question: &Question,
    deadline: Instant,
) -> Result<Exchange, Failure> {
    let servers = server_addresses(resolver, deadline).await?;
    let mut failures = Vec::new();
    for (index, server) in servers.iter().enumerate() {
        let left = u32::try_from(servers.len() - index).unwrap_or(u32::MAX);
        let share = Instant::now() + deadline.saturating_duration_since(Instant::now()) / left;
        match Box::pin(exchange_with(*server, resolver, trust, question, share)).await {
            Err(failure) if failure.stage == Stage::Connect => failures.push(failure),
            asked => return asked,
        }
    }
    let worst = failures.into_iter().max_by_key(Failure::weight);
    Err(worst.unwrap_or_else(|| Failure::new(Stage::Resolve, "no_address")))
}

async fn exchange_with(
    server: SocketAddr,
    resolver: &Resolver,
    trust: &Trust,
    question: &Question,
    deadline: Instant,
) -> Result<Exchange, Failure> {
    match resolver.protocol {
        Protocol::Udp => exchange_udp(server, resolver.source, question, deadline).await,
        Protocol::Tcp => {
            stream::exchange_tcp(server, resolver.source, question, deadline, deadline).await
        }
        Protocol::Tls => stream::exchange_tls(server, resolver, trust, question, deadline).await,
        Protocol::Https => https::exchange(server, resolver, trust, question, deadline).await,
        Protocol::Quic => quic::exchange(server, resolver, trust, question, deadline).await,
    }
}

/// Asks a server over UDP, and over TCP if the response is truncated. Signatures make a response long, so half of the
/// time is left to ask without them where there is no connection over TCP.
async fn exchange_udp(
    server: SocketAddr,
    source: Source,
    question: &Question,
    deadline: Instant,
) -> Result<Exchange, Failure> {
    let found = repeat_udp(server, source, question, deadline).await?;
    if !found.response.metadata.truncation {
        return Ok(found);
    }
    let attempts = found.attempts;
    let left = deadline.saturating_duration_since(Instant::now());
    let connect_by = if question.dnssec_ok { deadline - left / 2 } else { deadline };
    match stream::exchange_tcp(server, source, question, connect_by, deadline).await {
        Ok(found) => Ok(Exchange { attempts, ..found }),
        Err(mut failure) => {
            let detail = failure.detail.map(|detail| format!(": {detail}")).unwrap_or_default();
            failure.detail = Some(format!("over TCP, after a truncated response over UDP{detail}"));
            Err(failure)
        }
    }
}

/// Sends a query over UDP up to `1 + question.retries` times, at equal parts of the time limit, each from another port
/// with another id, and takes the first response to any of them: neither a datagram that gets lost, nor a slow server, nor
/// an ICMP error while it is being restarted is a failure.
async fn repeat_udp(
    server: SocketAddr,
    source: Source,
    question: &Question,
    deadline: Instant,
) -> Result<Exchange, Failure> {
    let (start, most) = (Instant::now(), question.retries.saturating_add(1));
    let share = deadline.saturating_duration_since(start) / most;
    let mut asked = FuturesUnordered::new();
    let mut attempts = 0;
    let mut kept = None;
    loop {
        if attempts < most && Instant::now() >= start + share * attempts {
            asked.push(udp::exchange(server, source, question, deadline));
            attempts += 1;
        }
        let next = if attempts < most { start + share * attempts } else { deadline };
        tokio::select! {
            Some(result) = asked.next() => match result {
                Ok(found) => return Ok(Exchange { attempts, ..found }),
                Err(failure) => {
                    let is_final = failure.reason == "malformed" || failure.stage == Stage::Connect;
                    // An error says more than a time limit.
                    if kept.is_none() || failure.reason != "timeout" {
                        kept = Some(failure);
                    }
                    // The last query waits as long as the others.
                    if is_final || attempts == most && asked.is_empty() {
                        let timeout = || Failure::new(Stage::Dns, "timeout");
                        return Err(Failure { attempts, ..kept.unwrap_or_else(timeout) });
                    }
                }
            },
            () = sleep_until(next), if attempts < most => {}
        }
    }
}

/// Returns the addresses of a resolver, of which a name is resolved by the system.
async fn server_addresses(
    resolver: &Resolver,
    deadline: Instant,
) -> Result<Vec<SocketAddr>, Failure> {
    let found: Vec<IpAddr> = match &resolver.host {
        ResolverHost::Address(address) => vec![*address],
        ResolverHost::Name(name) => {
            let found = address::by_system(name, deadline).await;
            found.map_err(|failure| unresolved(name, failure))?
        }
    };
    Ok(found.into_iter().map(|address| SocketAddr::new(address, resolver.port)).collect())
}

/// Names a failure to find a resolver. What there is of its name says nothing of the names that it is asked for.
fn unresolved(resolver: &str, failure: Failure) -> Failure {
    match failure.reason {
        "nxdomain" | "no_data" => {
            let detail = format!("{resolver}: {}", failure.detail.unwrap_or_default());
            Failure::new(Stage::Resolve, "not_resolved").with_detail(detail)
        }
        _ => failure,
    }
}

/// Reads a message. Returns nothing where it is not the response to this query: another id or question, as
/// a forged response has.
///
/// # Errors
/// The message claims to be the response and cannot be read.
fn read_response(query: &Message, wire: &[u8]) -> Result<Option<Message>, Failure> {
    let is_response = wire.len() >= HEADER_BYTES
        && wire.starts_with(&query.metadata.id.to_be_bytes())
        && wire[2] & 0x80 != 0;
    if !is_response {
        return Ok(None);
    }
    let response = Message::from_vec(wire)
        .or_else(|error| read_truncated(wire).ok_or_else(|| malformed(error.to_string())))?;
    let metadata = &response.metadata;
    // A server that cannot read the question need not repeat it (RFC 1035, section 4.1.1).
    let matches = match response.queries.as_slice() {
        [] => metadata.response_code != ResponseCode::NoError,
        questions => questions == query.queries.as_slice(),
    };
    let is_query = metadata.op_code == OpCode::Query;
    if !(matches && is_query && metadata.message_type == MessageType::Response) {
        return Ok(None);
    }
    let sections = [&response.answers, &response.authorities, &response.additionals];
    // Of a signature of the message (RFC 2931), the class says nothing.
    let foreign = sections
        .into_iter()
        .flatten()
        .find(|record| record.dns_class != DNSClass::IN && record.record_type() != RecordType::SIG);
    if let Some(Record { dns_class, .. }) = foreign {
        let detail =
            format!("a record of class {dns_class} in a response to a question of class IN");
        return Err(malformed(detail));
    }
    Ok(Some(response))
}

/// Reads the question of a response that says that it is truncated, which servers cut anywhere.
fn read_truncated(wire: &[u8]) -> Option<Message> {
    let mut head = wire.to_vec();
    // Without records (RFC 1035, section 4.1.1).
    head[6..HEADER_BYTES].fill(0);
    Message::from_vec(&head).ok().filter(|message| message.metadata.truncation)
}

fn malformed(detail: impl Into<String>) -> Failure {
    Failure::new(Stage::Dns, "malformed").with_detail(detail)
}

fn encode(query: &Message) -> Result<Vec<u8>, Failure> {
    query.to_vec().map_err(|error| malformed(format!("the query cannot be written: {error}")))
}

/// Returns the reason that names a response code.
#[must_use]
pub fn rcode_reason(rcode: ResponseCode) -> &'static str {
    match rcode {
        ResponseCode::NoError => "noerror",
        ResponseCode::NXDomain => "nxdomain",
        ResponseCode::ServFail => "servfail",
        ResponseCode::Refused => "refused",
        ResponseCode::FormErr => "formerr",
        ResponseCode::NotImp => "notimp",
        _ => "rcode",
    }
}

/// Returns the mnemonic of a record type; `TYPE65280` for an unknown one (RFC 3597, section 5).
#[must_use]
pub fn type_name(record_type: RecordType) -> Cow<'static, str> {
    dnscribe_dns::type_name(record_type.into())
}
