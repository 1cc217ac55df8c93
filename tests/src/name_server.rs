//! A name server in a thread, whose answers a test decides.

use crate::lab::{Host, Lab};
use anyhow::Result;
use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A name server on the lab's server, over UDP. Dropping it stops it.
#[derive(Debug)]
pub struct NameServer {
    /// Its address; the port is 53.
    pub address: IpAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Starts it on an address of its own, the lab's address `number`. `answer` returns the response to a query, or
    /// none to let it wait.
    ///
    /// # Errors
    /// The address cannot be added, or port 53 is taken.
    pub fn start(
        lab: &Lab,
        number: u8,
        answer: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static,
    ) -> Result<Self> {
        lab.add_address(Host::Server, number)?;
        let address = lab.address_number(number);
        let socket = lab.inside(Host::Server, || UdpSocket::bind((address, 53)))??;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !stopped.load(Ordering::Relaxed) {
                match socket.recv_from(&mut buffer) {
                    Ok((length, client)) => {
                        let reply = buffer.get(..length).and_then(&answer);
                        if let Some(reply) = reply {
                            // A client that has gone does not matter.
                            let _ = socket.send_to(&reply, client);
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    // An ICMP error for an earlier answer.
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                    Err(error) => {
                        eprintln!("the name server stops: {error}");
                        return;
                    }
                }
            }
        });
        Ok(Self { address, stop, thread: Some(thread) })
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
