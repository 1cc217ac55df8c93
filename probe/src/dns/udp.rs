//! One query and its response over UDP.
//!
//! The socket is connected, so that the kernel passes on ICMP errors and datagrams of the server alone.

use super::{Exchange, Protocol, Question, encode, read_response};
use crate::failure::{Failure, Stage, io_reason};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

/// Largest datagram in bytes.
const MAX_DATAGRAM_BYTES: usize = 65_535;

pub(super) async fn exchange(
    server: SocketAddr,
    question: &Question,
    deadline: Instant,
) -> Result<Exchange, Failure> {
    let query = question.query();
    let bytes = encode(&query)?;
    let socket = connect(server).await.map_err(|error| Failure::io(Stage::Connect, &error))?;
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
            let (connect, handshake) = (None, None);
            return Ok(Exchange { response, wire, protocol, server, latency, connect, handshake });
        }
        ignored += 1;
    }
}

async fn connect(server: SocketAddr) -> io::Result<UdpSocket> {
    let any = match server {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    Ok(socket)
}

/// Receives a datagram. The buffer is allocated once one is there: waiting queries take no memory.
async fn receive(socket: &UdpSocket) -> io::Result<Vec<u8>> {
    loop {
        socket.readable().await?;
        let mut buffer = Vec::with_capacity(MAX_DATAGRAM_BYTES);
        match socket.try_recv_buf(&mut buffer) {
            Ok(_) => {
                buffer.shrink_to_fit();
                return Ok(buffer);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Names an error that ICMP or the network reports.
fn failed(error: &io::Error) -> Failure {
    let reason = match error.kind() {
        io::ErrorKind::ConnectionRefused => "port_unreachable",
        _ => io_reason(error),
    };
    Failure::new(Stage::Dns, reason).with_detail(error.to_string())
}
