//! DNS as a client: resolvers, connections to them, and exchanges of one query and its response.

mod resolver;

pub use resolver::{Protocol, Resolver, ResolverHost};

use futures_util::StreamExt as _;
use hickory_net::NetError;
use hickory_net::client::Client;
use hickory_net::runtime::TokioRuntimeProvider;
use hickory_net::tcp::TcpClientStream;
use hickory_net::udp::UdpClientStream;
use hickory_net::xfer::{DnsHandle as _, DnsMultiplexer};
use hickory_proto::op::{DnsRequestOptions, Message, Query};
use hickory_proto::rr::{Name, RecordType};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A response with how it was got.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The response.
    pub response: Message,
    /// Protocol that brought it: TCP after a truncated response over UDP.
    pub protocol: Protocol,
    /// Time from the query to the response.
    pub latency: Duration,
}

/// Asks a server over UDP, and over TCP if the response is truncated.
pub async fn exchange_udp(
    server: SocketAddr,
    name: &Name,
    record_type: RecordType,
    timeout: Duration,
) -> Result<Exchange, NetError> {
    let stream = UdpClientStream::builder(server, TokioRuntimeProvider::new())
        .with_timeout(Some(timeout))
        .with_max_retries(0)
        .build();
    let (client, background) = Client::<TokioRuntimeProvider>::from_sender(stream);
    let background = tokio::spawn(background);
    let answer = ask(&client, name, record_type).await;
    background.abort();
    let (response, latency) = answer?;
    if response.metadata.truncation {
        return exchange_tcp(server, name, record_type, timeout).await;
    }
    Ok(Exchange { response, protocol: Protocol::Udp, latency })
}

/// Asks a server over TCP.
pub async fn exchange_tcp(
    server: SocketAddr,
    name: &Name,
    record_type: RecordType,
    timeout: Duration,
) -> Result<Exchange, NetError> {
    let provider = TokioRuntimeProvider::new();
    let (connecting, handle) = TcpClientStream::new(server, None, Some(timeout), provider);
    let sender = DnsMultiplexer::new(connecting.await?, handle).with_timeout(timeout);
    let (client, background) = Client::<TokioRuntimeProvider>::from_sender(sender);
    let background = tokio::spawn(background);
    let answer = ask(&client, name, record_type).await;
    background.abort();
    let (response, latency) = answer?;
    Ok(Exchange { response, protocol: Protocol::Tcp, latency })
}

async fn ask(
    client: &Client<TokioRuntimeProvider>,
    name: &Name,
    record_type: RecordType,
) -> Result<(Message, Duration), NetError> {
    let begin = Instant::now();
    let mut options = DnsRequestOptions::default();
    options.use_edns = true;
    let query = Query::query(name.clone(), record_type);
    let response = match client.lookup(query, options).next().await {
        Some(response) => response?,
        None => return Err(NetError::Timeout),
    };
    Ok((response.into_message(), begin.elapsed()))
}

/// Returns a name as records have it: in lower case, without the trailing dot.
#[must_use]
pub fn presentation(name: &Name) -> String {
    let text = name.to_lowercase().to_ascii();
    text.strip_suffix('.').filter(|text| !text.is_empty()).unwrap_or(&text).to_owned()
}
