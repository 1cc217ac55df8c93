//! A DNS server that misbehaves as the first label of each name says.
//!
//! | label | over UDP | over TCP |
//! |---|---|---|
//! | `ok` | an address | the same |
//! | `silent` | nothing | nothing |
//! | `second` | nothing at first, an answer when asked again | |
//! | `slow`, `late` | an answer after [`SLOW`], [`LATE`] | the same |
//! | `refused`, `servfail`, `formerr` | that; SERVFAIL with an extended error, FORMERR without question | |
//! | `truncated` | TC | an address |
//! | `wrongid` | another id | |
//! | `aside` | the answer comes from another address | |
//! | `twice`, `race` | two answers, the same or different | |
//! | `port-N` | the answer goes to port N of the client | |
//! | `swap-N` | | waits for N queries, answers the last first |
//! | `close` | | closes without an answer |
//! | `reset` | | resets in mid answer |

use crate::lab::{Fate, Host, Lab};
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

/// Port of DNS.
pub const PORT: u16 = 53;
/// When `slow` answers.
pub const SLOW: Duration = Duration::from_millis(300);
/// When `late` answers.
pub const LATE: Duration = Duration::from_millis(2300);
/// The address that answers give.
pub const ADDRESS: [u8; 4] = [192, 0, 2, 7];
/// How long a thread waits before it looks whether it is to end.
const TICK: Duration = Duration::from_millis(50);
/// How long a TCP connection is kept.
const PATIENCE: Duration = Duration::from_secs(10);

/// The server while it runs, on [`Fate::Scripted`] of a lab. Dropping it ends it.
#[derive(Debug)]
pub struct Scripted {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Scripted {
    /// Opens its sockets, for IPv4 and IPv6, and begins to answer. The lab needs its hazards.
    pub fn start(lab: &Lab) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for ipv6 in [false, true] {
            let at = |fate| SocketAddr::new(lab.hazard(fate, ipv6), PORT);
            let (udp, aside, tcp) = lab.inside(Host::Server, || {
                Ok::<_, io::Error>((
                    UdpSocket::bind(at(Fate::Scripted))?,
                    UdpSocket::bind(at(Fate::Aside))?,
                    TcpListener::bind(at(Fate::Scripted))?,
                ))
            })??;
            udp.set_read_timeout(Some(TICK))?;
            tcp.set_nonblocking(true)?;
            let over = Arc::clone(&stop);
            threads.push(thread::spawn(move || datagrams(&udp, &aside, &over)));
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
            // One that has panicked has left queries without answers, which a test notices.
            let _ = thread.join();
        }
    }
}

fn datagrams(udp: &UdpSocket, aside: &UdpSocket, stop: &AtomicBool) {
    let mut seen = HashSet::new();
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, from)) = udp.recv_from(&mut buffer) else { continue };
        let query = buffer.get(..length).unwrap_or_default().to_vec();
        let again = !seen.insert((from, query.clone()));
        // A client that is gone is no reason to end.
        let _ = datagram(udp, aside, from, &query, again);
    }
}

fn datagram(
    udp: &UdpSocket,
    aside: &UdpSocket,
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
        ("slow", _) => later(udp, from, good, SLOW)?,
        ("late", _) => later(udp, from, good, LATE)?,
        ("aside", _) => send(aside, from, good)?,
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
        (other, _) => send(udp, from, plain(other, query).unwrap_or(good))?,
    }
    Ok(())
}

/// What comes in one message, at once, over UDP.
fn plain(script: &str, query: &[u8]) -> Option<Reply> {
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

fn later(socket: &UdpSocket, to: SocketAddr, reply: Reply, pause: Duration) -> Result<()> {
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
                // One that the client breaks ends by itself.
                thread::spawn(move || connection(stream));
            }
            Err(_) => thread::sleep(TICK / 10),
        }
    }
}

fn connection(mut stream: TcpStream) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut waiting = Vec::new();
    while let Some(query) = next(&mut stream)? {
        let labels = wire::labels(&query);
        let script = labels.first().map(String::as_str).unwrap_or_default();
        let good = wire::framed(&Reply::to(&query).address(ADDRESS).octets())?;
        match script.split_once('-').unwrap_or((script, "")) {
            ("silent", _) => {}
            ("close", _) => return Ok(()),
            ("reset", _) => {
                stream.write_all(&good[..good.len() / 2])?;
                // Closing now resets.
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

/// The next message of a connection; `None` at its end.
pub fn next(stream: &mut TcpStream) -> Result<Option<Vec<u8>>> {
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
