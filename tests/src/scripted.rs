//! A DNS server whose behaviour is chosen by the first label of each name.
//!
//! | label | over UDP | over TCP |
//! |---|---|---|
//! | `ok` | an address | the same |
//! | `silent` | nothing | nothing |
//! | `second` | no answer to the first query, an answer to the retry | |
//! | `slow`, `late` | an answer after [`SLOW`], [`LATE`] | the same |
//! | `refused`, `servfail`, `formerr` | this code; SERVFAIL with an extended error, FORMERR without question | |
//! | `truncated` | TC | an address |
//! | `wrongid` | another id | |
//! | `aside` | answer from another address | |
//! | `twice`, `race` | two answers, equal or different | |
//! | `port-N` | answer to port N of the client | |
//! | `swap-N` | | waits for N queries, answers the last one first |
//! | `close` | | closes without an answer |
//! | `reset` | | resets in the middle of an answer |

use crate::lab::{Host, Lab, SpecialAddress};
use crate::wire::{self, Reply};
use anyhow::{Context as _, Result};
use rustix::net::sockopt::set_socket_linger;
use std::collections::HashSet;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// DNS port.
pub const PORT: u16 = 53;
/// Delay of `slow`.
pub const SLOW: Duration = Duration::from_millis(300);
/// Delay of `late`.
pub const LATE: Duration = Duration::from_millis(2300);
/// Address in answers.
pub const ADDRESS: [u8; 4] = [192, 0, 2, 7];
/// Interval at which a thread checks whether it must end.
const TICK: Duration = Duration::from_millis(50);
/// Lifetime of a TCP connection.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// The running server, on [`SpecialAddress::Scripted`] of a lab. Dropping it stops it.
#[derive(Debug)]
pub struct Scripted {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Scripted {
    /// Opens sockets for IPv4 and IPv6 and starts to answer. Needs [`Lab::add_special_addresses`].
    pub fn start(lab: &Lab) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for ipv6 in [false, true] {
            let at = |special| SocketAddr::new(lab.special_address(special, ipv6), PORT);
            let (udp, secondary, tcp) = lab.inside(Host::Server, || {
                Ok::<_, io::Error>((
                    UdpSocket::bind(at(SpecialAddress::Scripted))?,
                    UdpSocket::bind(at(SpecialAddress::Secondary))?,
                    TcpListener::bind(at(SpecialAddress::Scripted))?,
                ))
            })??;
            udp.set_read_timeout(Some(TICK))?;
            tcp.set_nonblocking(true)?;
            let over = Arc::clone(&stop);
            threads.push(thread::spawn(move || datagrams(&udp, &secondary, &over)));
            let over = Arc::clone(&stop);
            threads.push(thread::spawn(move || connections(&tcp, &over)));
        }
        Ok(Self { stop, threads })
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked left queries unanswered, so its test fails anyway.
            let _ = thread.join();
        }
    }
}

fn datagrams(udp: &UdpSocket, secondary: &UdpSocket, stop: &AtomicBool) {
    let mut seen = HashSet::new();
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, from)) = udp.recv_from(&mut buffer) else { continue };
        let query = buffer.get(..length).unwrap_or_default().to_vec();
        let again = !seen.insert((from, query.clone()));
        // A client that is gone must not end the server.
        let _ = datagram(udp, secondary, from, &query, again);
    }
}

fn datagram(
    udp: &UdpSocket,
    secondary: &UdpSocket,
    from: SocketAddr,
    query: &[u8],
    again: bool,
) -> Result<()> {
    let labels = wire::labels(query);
    let script = labels.first().map(String::as_str).unwrap_or_default();
    let good = Reply::to(query).address(ADDRESS);
    match script.split_once('-').unwrap_or((script, "")) {
        ("silent", _) => {}
        ("second", _) if !again => {}
        ("slow", _) => send_delayed(udp, from, good, SLOW)?,
        ("late", _) => send_delayed(udp, from, good, LATE)?,
        ("aside", _) => send(secondary, from, good)?,
        ("port", port) => {
            let port = port.parse().context("port-N")?;
            send(udp, SocketAddr::new(from.ip(), port), good)?;
        }
        ("twice", _) => {
            send(udp, from, good.clone())?;
            send(udp, from, good)?;
        }
        ("race", _) => {
            send(udp, from, good)?;
            send(udp, from, Reply::to(query).address([203, 0, 113, 66]))?;
        }
        (other, _) => send(udp, from, immediate_reply(other, query).unwrap_or(good))?,
    }
    Ok(())
}

/// Returns the response for scripts that answer with one UDP message at once.
fn immediate_reply(script: &str, query: &[u8]) -> Option<Reply> {
    let reply = Reply::to(query);
    match script {
        "refused" => Some(reply.rcode(5)),
        "servfail" => Some(reply.rcode(2).extended_error(22, "no authority answers")),
        "formerr" => Some(reply.rcode(1).without_question()),
        "truncated" => Some(reply.truncated()),
        "wrongid" => Some(reply.id(!wire::id(query)).address(ADDRESS)),
        _ => None,
    }
}

fn send(socket: &UdpSocket, to: SocketAddr, reply: Reply) -> Result<()> {
    socket.send_to(&reply.octets(), to).map(drop).context("cannot answer")
}

fn send_delayed(socket: &UdpSocket, to: SocketAddr, reply: Reply, pause: Duration) -> Result<()> {
    let socket = socket.try_clone()?;
    thread::spawn(move || {
        thread::sleep(pause);
        // A client that is gone needs no answer.
        let _ = send(&socket, to, reply);
    });
    Ok(())
}

fn connections(listener: &TcpListener, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                // A connection that the client breaks ends by itself.
                thread::spawn(move || connection(stream));
            }
            Err(_) => thread::sleep(TICK / 10),
        }
    }
}

fn connection(mut stream: TcpStream) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    let mut waiting = Vec::new();
    while let Some(query) = read_message(&mut stream)? {
        let labels = wire::labels(&query);
        let script = labels.first().map(String::as_str).unwrap_or_default();
        let good = wire::framed(&Reply::to(&query).address(ADDRESS).octets())?;
        match script.split_once('-').unwrap_or((script, "")) {
            ("silent", _) => {}
            ("close", _) => return Ok(()),
            ("reset", _) => {
                stream.write_all(&good[..good.len() / 2])?;
                // Closing the socket now sends a reset.
                return set_socket_linger(&stream, Some(Duration::ZERO)).context("SO_LINGER");
            }
            ("swap", count) => {
                waiting.push(good);
                if waiting.len() >= count.parse().context("swap-N")? {
                    waiting.reverse();
                    stream.write_all(&std::mem::take(&mut waiting).concat())?;
                }
            }
            ("slow", _) => {
                thread::sleep(SLOW);
                stream.write_all(&good)?;
            }
            _ => stream.write_all(&good)?,
        }
    }
    Ok(())
}

/// Reads the next message of a connection; `None` at its end.
pub fn read_message(stream: &mut TcpStream) -> Result<Option<Vec<u8>>> {
    let mut length = [0; 2];
    match stream.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(Some(message))
}
