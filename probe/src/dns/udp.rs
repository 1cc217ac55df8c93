//! One query and its response over UDP.
//!
//! The socket is connected, so that the kernel passes on ICMP errors and datagrams of the server alone.

use super::{Exchange, Protocol, Question, encode, read_response};
use crate::failure::{Failure, Stage, io_reason};
use crate::source::Source;
use rustix::net::RecvFlags;
use std::io;
use std::net::SocketAddr;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

/// Largest datagram in bytes.
const MAX_DATAGRAM_BYTES: usize = 65_535;

pub(super) async fn exchange(
    server: SocketAddr,
    source: Source,
    question: &Question,
    deadline: Instant,
) -> Result<Exchange, Failure> {
    let query = question.query();
    let bytes = encode(&query)?;
    let socket = source.connect_udp(server).await;
    let socket = socket.map_err(|error| Failure::io(Stage::Connect, &error))?;
    let sent = Instant::now();
    socket.send(&bytes).await.map_err(|error| failed(&error))?;
    let mut ignored = 0_u32;
    loop {
        let Ok(received) = timeout_at(deadline, receive(&socket)).await else {
            let failure = Failure::new(Stage::Dns, "timeout");
            return Err(match ignored {
                0 => failure,
                _ => failure.with_detail(format!(
                    "{ignored} datagrams with another id or question were ignored"
                )),
            });
        };
        let wire = received.map_err(|error| failed(&error))?;
        let latency = sent.elapsed();
        if let Some(response) = read_response(&query, &wire)? {
            let protocol = Protocol::Udp;
            return Ok(Exchange {
                response,
                wire,
                protocol,
                server,
                latency,
                connect: None,
                handshake: None,
                attempts: 1,
            });
        }
        ignored += 1;
    }
}

/// Receives a datagram, or the error that ICMP reports. The buffer is allocated once one of them is there:
/// queries that wait take no memory.
async fn receive(socket: &UdpSocket) -> io::Result<Vec<u8>> {
    let read = || {
        let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
        let (_, length) = rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty())?;
        buffer.truncate(length);
        buffer.shrink_to_fit();
        Ok(buffer)
    };
    // An error does not make a socket readable.
    socket.async_io(Interest::READABLE | Interest::ERROR, read).await
}

/// Names an error that ICMP or the network reports.
fn failed(error: &io::Error) -> Failure {
    let reason = match error.kind() {
        io::ErrorKind::ConnectionRefused => "port_unreachable",
        _ => io_reason(error),
    };
    Failure::new(Stage::Dns, reason).with_detail(error.to_string())
}
