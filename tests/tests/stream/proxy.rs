//! A proxy of Kafka's protocol that can hold back the commits of transactions.

use std::io::{Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::thread;

/// Request that commits or aborts a transaction (`EndTxn` in Kafka's protocol guide).
const END_TRANSACTION: u16 = 26;

/// What the proxy holds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None = 0,
    /// Requests to end a transaction: the broker does not get them.
    HoldCommits = 1,
    /// The broker's answers to those: the client does not get them.
    HoldAnswers = 2,
}

#[derive(Debug, Default)]
struct State {
    fault: AtomicU8,
    held: AtomicU32,
}

impl State {
    fn is(&self, fault: Fault) -> bool {
        self.fault.load(Ordering::SeqCst) == fault as u8
    }
}

/// A proxy that runs as long as the test program.
#[derive(Debug)]
pub struct Proxy {
    /// Address for clients.
    pub address: String,
    state: Arc<State>,
}

impl Proxy {
    /// Listens at `address` and forwards to `broker`.
    pub fn start(address: &str, broker: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let state = Arc::new(State::default());
        let (shared, broker) = (Arc::clone(&state), broker.to_owned());
        thread::spawn(move || {
            for client in listener.incoming() {
                // A client that is gone again, or a broker that is away.
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&broker)) else {
                    continue;
                };
                Connection { client, server, state: Arc::clone(&shared) }.forward();
            }
        });
        Self { address: address.to_owned(), state }
    }

    /// Holds back commits from now on.
    pub fn inject(&self, fault: Fault) {
        self.state.held.store(0, Ordering::SeqCst);
        self.state.fault.store(fault as u8, Ordering::SeqCst);
    }

    /// Passes everything; connections on which something was held back are closed.
    pub fn pass(&self) {
        self.inject(Fault::None);
    }

    /// Commits held back since the last [`Proxy::inject`].
    pub fn held(&self) -> u32 {
        self.state.held.load(Ordering::SeqCst)
    }
}

struct Connection {
    client: TcpStream,
    server: TcpStream,
    state: Arc<State>,
}

impl Connection {
    fn forward(self) {
        let (mut client, mut server) = (self.client, self.server);
        let (mut to_client, mut from_server) =
            (client.try_clone().unwrap(), server.try_clone().unwrap());
        // Set once an answer on this connection is to be held back.
        let holds = Arc::new(AtomicU32::new(0));
        let (state, answers) = (Arc::clone(&self.state), Arc::clone(&holds));
        thread::spawn(move || {
            while let Some(frame) = read_frame(&mut from_server) {
                if answers.load(Ordering::SeqCst) > 0 {
                    state.held.fetch_add(1, Ordering::SeqCst);
                    break;
                }
                if to_client.write_all(&frame).is_err() {
                    break;
                }
            }
            close(&from_server);
            wait_until_passing(&state);
            close(&to_client);
        });
        let state = self.state;
        thread::spawn(move || {
            while let Some(frame) = read_frame(&mut client) {
                let ends = frame.get(4..6) == Some(&END_TRANSACTION.to_be_bytes());
                if ends && state.is(Fault::HoldCommits) {
                    state.held.fetch_add(1, Ordering::SeqCst);
                    wait_until_passing(&state);
                    break;
                }
                if ends && state.is(Fault::HoldAnswers) {
                    holds.fetch_add(1, Ordering::SeqCst);
                }
                if server.write_all(&frame).is_err() {
                    break;
                }
            }
            close(&client);
            close(&server);
        });
    }
}

fn wait_until_passing(state: &State) {
    while !state.is(Fault::None) {
        thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// Reads a frame of Kafka's protocol: its length in four bytes, then its content. `None` at the end.
fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut frame = vec![0; 4 + u32::from_be_bytes(length) as usize];
    frame[..4].copy_from_slice(&length);
    stream.read_exact(&mut frame[4..]).ok()?;
    Some(frame)
}

fn close(stream: &TcpStream) {
    // It may be closed already.
    let _ = stream.shutdown(Shutdown::Both);
}
