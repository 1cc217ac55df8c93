//! A way to a resolver on which datagrams get lost.

use crate::lab::{Host, Lab, inside};
use anyhow::Result;
use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

/// Port at which it is.
const PORT: u16 = 5454;

/// Starts a relay to a resolver on the same host that loses the first datagram with each question, and passes on the
/// others with their responses. Returns its address.
pub(super) fn start(lab: &Lab, resolver: SocketAddr) -> Result<SocketAddr> {
    let address = SocketAddr::new(resolver.ip(), PORT);
    let socket = lab.inside(Host::Resolver, || UdpSocket::bind(address))??;
    let namespace = lab.namespace_path(Host::Resolver);
    // Ends with the test's process.
    thread::spawn(move || inside(&namespace, || relay(&socket, resolver)));
    Ok(address)
}

fn relay(socket: &UdpSocket, resolver: SocketAddr) {
    let mut seen = HashSet::new();
    let mut buffer = [0; 4096];
    while let Ok((length, client)) = socket.recv_from(&mut buffer) {
        // The id differs from query to query; EDNS may bring a cookie.
        let question = buffer[12..length].split(|byte| *byte == 0).next().unwrap_or_default();
        if seen.insert((client.ip(), question.to_vec())) {
            continue;
        }
        let answered = forward(&buffer[..length], resolver);
        if let Ok(response) = answered {
            // The client may have gone.
            let _ = socket.send_to(&response, client);
        }
    }
}

fn forward(query: &[u8], resolver: SocketAddr) -> std::io::Result<Vec<u8>> {
    let upstream = UdpSocket::bind((resolver.ip(), 0))?;
    upstream.set_read_timeout(Some(Duration::from_secs(2)))?;
    upstream.send_to(query, resolver)?;
    let mut response = vec![0; 4096];
    let length = upstream.recv(&mut response)?;
    response.truncate(length);
    Ok(response)
}
