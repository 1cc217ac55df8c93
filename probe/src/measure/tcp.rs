//! `tcp`: whether a port accepts a connection.

use super::{Context, Failure, Stage, begin, finish, milliseconds};
use crate::target::{Host, HostName, Target, TcpTarget};
use dnscribe_record::ProbeFields;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Measures the time to connect.
pub(super) async fn measure(context: &Context, target: &Target, tcp: &TcpTarget) -> ProbeFields {
    let start = Instant::now();
    let mut fields = begin(context, target);
    let result = connect(&mut fields, &tcp.host, target.timeout).await.map(drop);
    finish(fields, start, result)
}

/// Resolves a host and connects to it.
pub(super) async fn connect(
    fields: &mut ProbeFields,
    host: &Host,
    limit: Duration,
) -> Result<TcpStream, Failure> {
    let HostName::Address(address) = &host.name else {
        return Err(Failure::new(Stage::Resolve, "unsupported"));
    };
    fields.address = Some(address.to_string());
    let begin = Instant::now();
    let connecting = TcpStream::connect(SocketAddr::new(*address, host.port));
    let stream = match timeout(limit, connecting).await {
        Ok(connected) => connected.map_err(|error| failed(&error))?,
        Err(_) => return Err(Failure::new(Stage::Connect, "timeout")),
    };
    fields.connect_ms = Some(milliseconds(begin.elapsed()));
    Ok(stream)
}

/// Names an error of a connection.
fn failed(error: &io::Error) -> Failure {
    let reason = match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused",
        io::ErrorKind::ConnectionReset => "reset",
        io::ErrorKind::TimedOut => "timeout",
        io::ErrorKind::HostUnreachable => "host_unreachable",
        io::ErrorKind::NetworkUnreachable => "network_unreachable",
        _ => "io",
    };
    Failure::new(Stage::Connect, reason).with_detail(error.to_string())
}
