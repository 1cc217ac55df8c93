//! A process of the attribution test. Each query names the asking process, and each answer holds an
//! address that names the answering server. The expected attribution therefore does not depend on
//! the agent.
//!
//! `dns-worker ask SOCKET ROLE SUFFIX COUNT wait|leave ADDRESS…` queries the servers in turn.
//! SOCKET is `udp` (connected), `free` (not connected), `tcp`, or `heir` (a UDP socket inherited as
//! standard input). Other commands: `threads`, `exec`, `pass`, `serve`, `serve-heir`,
//! `serve-threads`.

use anyhow::{Context as _, Result, bail, ensure};
use dnscribe_tests::wire::{self, Reply};
use dnscribe_tests::{scripted, worker};
use rustix::net::sockopt::set_socket_reuseport;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketType, bind, recvmsg, sendmsg, socket,
};
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// Time limit for an answer, retries included.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Number of threads of `threads` and `serve-threads`.
const THREADS: usize = 3;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *words.as_slice() {
        ["ask", socket, role, suffix, count, how, ref servers @ ..] => {
            let sender = QuerySender { role, suffix, wait: how == "wait" };
            sender.ask(socket, count.parse()?, &addresses(servers)?)
        }
        ["threads", role, suffix, ref servers @ ..] => threads(role, suffix, &addresses(servers)?),
        ["exec", role, suffix, program, server] => exec(role, suffix, program, server),
        ["pass", role, suffix, server] => pass(role, suffix, server),
        ["receive", role, suffix, server] => receive(role, suffix, server),
        ["serve", address] => serve(&reusable(address.parse()?)?, &tcp(address.parse()?)?),
        ["serve-parent", address] => serve_parent(address.parse()?),
        ["serve-heir"] => answer(&UdpSocket::from(io::stdin().as_fd().try_clone_to_owned()?)),
        ["serve-threads", address] => serve_threads(address.parse()?),
        _ => bail!("see the head of dns-worker.rs"),
    }
}

fn addresses(words: &[&str]) -> Result<Vec<SocketAddr>> {
    words.iter().map(|word| word.parse().with_context(|| format!("ADDRESS {word}"))).collect()
}

struct QuerySender<'a> {
    role: &'a str,
    suffix: &'a str,
    /// Whether the process waits for answers; otherwise it ends at once.
    wait: bool,
}

impl QuerySender<'_> {
    fn ask(&self, socket: &str, count: usize, servers: &[SocketAddr]) -> Result<()> {
        for number in 0..count {
            let server = *servers.get(number % servers.len().max(1)).context("no server")?;
            match socket {
                "udp" => self.over_udp(&connected(server)?, server, true, number)?,
                "free" => self.over_udp(&unconnected(server)?, server, false, number)?,
                "heir" => {
                    let socket = UdpSocket::from(io::stdin().as_fd().try_clone_to_owned()?);
                    let connected = socket.peer_addr().is_ok();
                    self.over_udp(&socket, server, connected, number)?;
                }
                "tcp" => self.over_tcp(server, number)?,
                _ => bail!("SOCKET {socket}"),
            }
        }
        Ok(())
    }

    fn query(&self, number: usize) -> Result<Vec<u8>> {
        let name = worker::name(number, self.role, self.suffix)?;
        wire::query(worker::id(number), &name, wire::A)
    }

    fn over_udp(
        &self,
        socket: &UdpSocket,
        server: SocketAddr,
        connected: bool,
        number: usize,
    ) -> Result<()> {
        let query = self.query(number)?;
        if connected { socket.send(&query) } else { socket.send_to(&query, server) }?;
        if self.wait {
            socket.set_read_timeout(Some(ANSWER_LIMIT))?;
            let mut answer = [0; 512];
            // Other processes may read from this socket.
            while wire::id(&answer) != wire::id(&query) {
                socket.recv(&mut answer).context("no answer")?;
            }
        }
        Ok(())
    }

    fn over_tcp(&self, server: SocketAddr, number: usize) -> Result<()> {
        let mut stream = TcpStream::connect(server)?;
        stream.write_all(&wire::framed(&self.query(number)?)?)?;
        if self.wait {
            scripted::read_message(&mut stream)?.context("no answer")?;
        }
        Ok(())
    }
}

fn unspecified_address(like: SocketAddr) -> IpAddr {
    if like.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}

fn unconnected(server: SocketAddr) -> Result<UdpSocket> {
    UdpSocket::bind((unspecified_address(server), 0)).context("no socket")
}

fn connected(server: SocketAddr) -> Result<UdpSocket> {
    let socket = unconnected(server)?;
    socket.connect(server)?;
    Ok(socket)
}

/// Sends queries from several named threads over one socket.
fn threads(role: &str, suffix: &str, servers: &[SocketAddr]) -> Result<()> {
    let server = *servers.first().context("no server")?;
    let socket = unconnected(server)?;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                let builder = thread::Builder::new().name(format!("resolver-{number}"));
                let sender = QuerySender { role, suffix, wait: false };
                let socket = &socket;
                builder.spawn_scoped(scope, move || sender.over_udp(socket, server, false, number))
            })
            .collect();
        threads.into_iter().try_for_each(|thread| {
            thread?.join().map_err(|_| anyhow::anyhow!("a thread has panicked"))?
        })
    })
}

/// Sends a query, then executes another program, which sends a query over the same socket.
fn exec(role: &str, suffix: &str, program: &str, server: &str) -> Result<()> {
    let address = server.parse()?;
    let socket = connected(address)?;
    QuerySender { role, suffix, wait: true }.over_udp(&socket, address, true, 0)?;
    let mut next = Command::new(program);
    next.args(["ask", "heir", role, suffix, "1", "wait", server]);
    Err(next.stdin(Stdio::from(OwnedFd::from(socket))).exec()).context("cannot exec")
}

/// Passes its socket (`SCM_RIGHTS`) to a child that was started before the socket was opened; both
/// send a query.
fn pass(role: &str, suffix: &str, server: &str) -> Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["receive", role, suffix, server])
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()?;
    let address = server.parse()?;
    let socket = unconnected(address)?;
    QuerySender { role, suffix, wait: true }.over_udp(&socket, address, false, 0)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [socket.as_fd()];
    ensure!(
        control.push(SendAncillaryMessage::ScmRights(&descriptors)),
        "the control message does not fit"
    );
    sendmsg(&ours, &[IoSlice::new(b"!")], &mut control, SendFlags::empty())?;
    ensure!(child.wait()?.success(), "the child failed");
    Ok(())
}

fn receive(role: &str, suffix: &str, server: &str) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut octet = [0];
    recvmsg(io::stdin(), &mut [IoSliceMut::new(&mut octet)], &mut control, RecvFlags::empty())?;
    let passed = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let socket = UdpSocket::from(passed.context("no socket was received")?);
    QuerySender { role, suffix, wait: true }.over_udp(&socket, server.parse()?, false, 1)
}

/// Binds a UDP socket to an address that other sockets use too.
fn reusable(address: SocketAddr) -> Result<UdpSocket> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket(family, SocketType::DGRAM, None)?;
    set_socket_reuseport(&socket, true)?;
    bind(&socket, &address)?;
    Ok(UdpSocket::from(socket))
}

/// Listens on a TCP address with `SO_REUSEPORT`; returns `None` if another process has it.
fn tcp(address: SocketAddr) -> Result<TcpListener> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket(family, SocketType::STREAM, None)?;
    set_socket_reuseport(&socket, true)?;
    bind(&socket, &address)?;
    rustix::net::listen(&socket, 16)?;
    Ok(TcpListener::from(socket))
}

fn serve(udp: &UdpSocket, tcp: &TcpListener) -> Result<()> {
    ready()?;
    thread::scope(|scope| {
        scope.spawn(|| {
            for stream in tcp.incoming() {
                // A client that leaves without waiting must not end the server.
                let _ = stream.map_err(Into::into).and_then(serve_connection);
            }
        });
        answer(udp)
    })
}

fn serve_connection(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    while let Some(query) = scripted::read_message(&mut stream)? {
        stream.write_all(&wire::framed(&reply(&query))?)?;
    }
    Ok(())
}

/// Binds the socket; child processes that inherit it answer.
fn serve_parent(address: SocketAddr) -> Result<()> {
    let socket = reusable(address)?;
    let children: Vec<_> = (0..THREADS)
        .map(|_| {
            let heir = OwnedFd::from(socket.try_clone()?);
            let program = std::env::current_exe()?;
            Ok(Command::new(program).arg("serve-heir").stdin(Stdio::from(heir)).spawn()?)
        })
        .collect::<Result<_>>()?;
    ready()?;
    // Runs until the parent process ends.
    io::stdin().read_to_end(&mut Vec::new())?;
    for mut child in children {
        // A child that has ended already is only reaped.
        let _ = child.kill();
        child.wait()?;
    }
    Ok(())
}

/// Answers from several named threads on one socket.
fn serve_threads(address: SocketAddr) -> Result<()> {
    let socket = reusable(address)?;
    ready()?;
    thread::scope(|scope| {
        for number in 0..THREADS {
            let builder = thread::Builder::new().name(format!("answerer-{number}"));
            builder.spawn_scoped(scope, || answer(&socket))?;
        }
        Ok(())
    })
}

fn answer(socket: &UdpSocket) -> Result<()> {
    let mut query = [0; 512];
    loop {
        let (length, from) = socket.recv_from(&mut query)?;
        // A client that leaves without waiting must not end the server.
        let _ = socket.send_to(&reply(&query[..length]), from);
    }
}

fn reply(query: &[u8]) -> Vec<u8> {
    Reply::to(query).address(worker::pid().to_be_bytes()).octets()
}

fn ready() -> Result<()> {
    let mut out = io::stdout();
    writeln!(out, "ready")?;
    out.flush().context("standard output")
}
