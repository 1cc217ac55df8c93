//! Receives dnstap from servers that send it: the capture of `run --dnstap`.
//!
//! A thread for each sender reads without pause, so that no server waits for this agent: what cannot be kept is counted as
//! lost. The clock of this capture is late by [`DELAY`], and messages are passed on when it reaches them.

use super::address::DnstapAddress;
use super::order::{Arrival, DELAY, Ordered};
use super::senders::{End, SenderRef, Senders};
use super::tls::{DnstapTls, HANDSHAKE_TIMEOUT, TlsStream};
use crate::capture::live::{CannotCapture, Clock};
use crate::capture::replay::{Frames, Problem, Source};
use dnscribe_record::ledger;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::packet::{Packet, PacketId, ServerReport};
use openssl::ssl::SslAcceptor;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{Shutdown, shutdown, sockopt};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Most senders at a time.
const MAX_SENDERS: usize = 64;

/// Most handshakes of TLS at a time, which strangers can begin: the oldest gives way to a new one.
const MAX_HANDSHAKES: usize = 64;

/// Most bytes of memory of messages that wait.
const MAX_WAITING_BYTES: usize = 256 << 20;

/// How long a sender may take to read an answer of the handshake.
const REPLY_TIMEOUT: Duration = Duration::from_secs(1);

/// How far a sender's clock may be behind. Windows of ten minutes ago are closed, and begin anew after a step back.
const MAX_BEHIND: Duration = Duration::from_mins(4);

/// Most numbers of senders with a wrong clock that are remembered.
const MAX_WRONG_CLOCKS: usize = 1_024;

/// Time without a word after which a host is asked whether it is still there, time between two questions, and their number.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_mins(1), Duration::from_secs(10), 6);

/// Shortest sleep while messages wait, so that several are processed in a turn.
const MIN_SLEEP: Duration = Duration::from_millis(10);

/// A capture of what servers report.
pub struct Receiver {
    /// A sentence with the addresses.
    pub description: String,
    /// Clock of the messages without the delay.
    pub(crate) clock: Clock,
    delay: Duration,
    /// Time up to which messages were passed on.
    horizon: Timestamp,
    ordered: Ordered,
    /// Messages passed on.
    received: u64,
    /// Senders of those of a turn, and whether they could be decoded.
    passed: Vec<(usize, bool)>,
    /// How far the clocks of senders are ahead, in nanoseconds, of those whose clock is wrong.
    wrong_clocks: BTreeMap<u32, i128>,
    arrivals: Arc<Arrivals>,
    listeners: Vec<Listener>,
    threads: Option<Threads>,
    /// Number of the first sender, which is the CPU in the ids of its messages.
    first_sender: u32,
}

/// The thread that accepts senders. It ends, and returns the threads of the senders, once the bell is dropped.
struct Threads {
    bell: UnixStream,
    acceptor: JoinHandle<Vec<JoinHandle<()>>>,
}

/// What the threads of senders have received.
struct Arrivals {
    /// Most bytes of memory that may wait.
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Not yet taken by the thread of the pipeline.
    arrived: Vec<Arrival>,
    /// Bytes of memory of these, and of those that were taken and not passed on.
    waiting_bytes: usize,
    submitted: u64,
    lost: u64,
    senders: Senders,
    /// Connections of senders, and of those that may become senders, by number.
    connections: HashMap<u32, OwnedFd>,
    /// Numbers of the connections whose handshake goes on, in the order of their beginning.
    handshakes: BTreeSet<u32>,
    /// Number of the senders that have a place.
    places: usize,
}

impl State {
    /// Gives a sender a place, if there is one.
    fn take_place(&mut self) -> io::Result<()> {
        if self.places >= MAX_SENDERS {
            return Err(io::Error::other(format!("there are {MAX_SENDERS} already")));
        }
        self.places += 1;
        Ok(())
    }

    /// Notes a handshake that begins, and ends the oldest if there are too many.
    fn begin_handshake(&mut self, number: u32) {
        self.handshakes.insert(number);
        if self.handshakes.len() > MAX_HANDSHAKES
            && let Some(oldest) = self.handshakes.pop_first()
            && let Some(connection) = self.connections.get(&oldest)
        {
            // Fails if it has gone.
            let _ = shutdown(connection, Shutdown::Both);
        }
    }

    /// Gives a connection the place of a sender if its handshake has succeeded.
    fn end_handshake<T>(&mut self, number: u32, ends: io::Result<T>) -> io::Result<T> {
        if !self.handshakes.remove(&number) {
            let why = format!("it gave way: there were {MAX_HANDSHAKES} handshakes after it");
            return Err(io::Error::other(why));
        }
        let ends = ends?;
        self.take_place().map(|()| ends)
    }
}

impl Arrivals {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a frame of a sender that says this of itself.
    fn push(&self, mut arrival: Arrival, sender: &mut SenderRef, says: Option<&ServerReport>) {
        let bytes = arrival.bytes();
        let mut state = self.lock();
        let identity = says.and_then(|says| says.identity.as_deref());
        arrival.sender = state.senders.row(sender, identity);
        let is_kept = state.waiting_bytes + bytes <= self.limit;
        state.senders.receive(arrival.sender, is_kept);
        if !is_kept {
            state.lost += 1;
            return;
        }
        state.submitted += 1;
        state.waiting_bytes += bytes;
        state.arrived.push(arrival);
    }
}

impl Receiver {
    /// Binds the addresses, and reads the files of those with TLS. No thread runs before [`Self::start`].
    ///
    /// # Errors
    /// An address cannot be bound, or a file of TLS cannot be used.
    pub fn bind(
        addresses: &[DnstapAddress],
        tls: Option<&DnstapTls>,
    ) -> Result<Self, CannotCapture> {
        let listeners: Result<Vec<_>, _> =
            addresses.iter().map(|address| Listener::bind(address, tls)).collect();
        let names: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let clock = Clock::new();
        Ok(Self {
            description: format!("dnstap at {}", names.join(", ")),
            delay: DELAY,
            horizon: clock.now().minus(DELAY),
            clock,
            ordered: Ordered::default(),
            received: 0,
            passed: Vec::new(),
            wrong_clocks: BTreeMap::new(),
            arrivals: Arc::new(Arrivals { limit: MAX_WAITING_BYTES, state: Mutex::default() }),
            listeners: listeners?,
            threads: None,
            first_sender: 0,
        })
    }

    /// Gives senders numbers from `first_sender` on, since ids with smaller ones are those of a hook.
    #[must_use]
    pub fn beside_hook(self, first_sender: u32) -> Self {
        Self { first_sender, ..self }
    }

    /// Starts to accept senders.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(&mut self) -> io::Result<()> {
        let listeners = std::mem::take(&mut self.listeners);
        let (bell, rung) = UnixStream::pair()?;
        let arrivals = Arc::clone(&self.arrivals);
        let acceptor = thread::Builder::new().name("dnstap".to_owned());
        let first = self.first_sender;
        let acceptor = acceptor.spawn(move || accept(&listeners, &rung, &arrivals, first))?;
        self.threads = Some(Threads { bell, acceptor });
        Ok(())
    }

    /// Returns the current time by the clock of this capture, which nobody sets: all messages before it were passed on.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now().minus(self.delay)
    }

    /// Time until messages may be due, at most `limit`.
    #[must_use]
    pub fn until_due(&self, limit: Duration) -> Duration {
        let due = self.ordered.first_due().map(|due| due.since(self.now()).max(MIN_SLEEP));
        due.map_or(limit, |due| due.min(limit))
    }

    /// Waits until messages may be due, `bell` can be read, or `limit` is over. Returns whether `bell` can be read.
    ///
    /// # Errors
    /// Returns an error if `poll(2)` fails.
    pub fn wait(&self, limit: Duration, bell: BorrowedFd<'_>) -> io::Result<bool> {
        let timeout = Timespec::try_from(self.until_due(limit)).map_err(io::Error::other)?;
        match poll(&mut [PollFd::from_borrowed_fd(bell, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Calls `each` with up to `max` messages that are due, in order of time, and returns their number. `each` returns whether a
    /// message could be decoded.
    pub fn drain(&mut self, max: usize, each: &mut dyn FnMut(&Packet<'_>) -> bool) -> usize {
        let (shift, present) = (self.clock.shift(), self.clock.now());
        let arrived = std::mem::take(&mut self.arrivals.lock().arrived);
        for mut arrival in arrived {
            // Servers have the host's time of day.
            let said = shift.undo(arrival.ts);
            arrival.ts = self.corrected(arrival.id.cpu, said, present);
            // A sender whose clock is ahead does not hold up what it sends.
            self.ordered.push(arrival.ts.min(present), arrival);
        }
        self.horizon = self.now();
        let mut bytes = 0;
        while self.passed.len() < max
            && let Some(arrival) = self.ordered.pop(self.horizon)
        {
            bytes += arrival.bytes();
            self.passed.push((arrival.sender, each(&arrival.packet())));
        }
        let count = self.passed.len();
        self.received += count as u64;
        let mut state = self.arrivals.lock();
        state.waiting_bytes -= bytes;
        for (sender, is_decoded) in self.passed.drain(..) {
            state.senders.pass(sender, is_decoded);
        }
        count
    }

    /// Returns the time of a message by the clock of this capture: time passes for all senders alike, and what one of them
    /// says must not end the waiting of others. From the first message on that is too far off, the difference to its arrival is
    /// taken from all times of its sender, so that those between them stay.
    fn corrected(&mut self, sender: u32, said: Timestamp, present: Timestamp) -> Timestamp {
        let nanos = |ts: Timestamp| i128::from(ts.as_nanos());
        let ahead = self.wrong_clocks.get(&sender).copied().unwrap_or(0);
        let ts = u64::try_from(nanos(said) - ahead).map(Timestamp::from_nanos);
        let is_near = |ts: &Timestamp| *ts <= present.plus(DELAY) && present <= ts.plus(MAX_BEHIND);
        if let Some(ts) = ts.ok().filter(is_near) {
            return ts;
        }
        if self.wrong_clocks.len() >= MAX_WRONG_CLOCKS {
            self.wrong_clocks.clear();
        }
        let ahead = nanos(said) - nanos(present);
        if self.wrong_clocks.insert(sender, ahead).is_none() {
            let (seconds, way) =
                (ahead.abs() / 1_000_000_000, if ahead > 0 { "ahead" } else { "behind" });
            tracing::warn!(
                "the clock of a sender of dnstap, number {sender}, is {seconds} s {way}: its times are taken from their \
                 arrival on; set its clock"
            );
        }
        present
    }

    /// Returns whether all messages that are due were passed on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ordered.first_due().is_none_or(|due| due > self.horizon)
    }

    /// Returns the counters of hook `dnstap`, those of the queue, which stands for the ring, and those of senders.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let (submitted, lost, senders) = {
            let state = self.arrivals.lock();
            (state.submitted, state.lost, state.senders.counters())
        };
        let kernel = ledger::Kernel {
            seen: submitted + lost,
            submitted,
            lost_ring_full: lost,
            ..ledger::Kernel::default()
        };
        let received = self.received;
        let ring = ledger::Ring {
            submitted,
            received,
            in_ring: submitted - received,
            sequence_gaps: lost,
        };
        Counters { kernel: BTreeMap::from([("dnstap".to_owned(), kernel)]), ring, senders }
    }

    /// Ends the connections, once what they have received is read. All of it is due then.
    pub fn detach(&mut self) {
        let Some(Threads { bell, acceptor }) = self.threads.take() else { return };
        drop(bell);
        let senders = acceptor.join().unwrap_or_default();
        for sender in self.arrivals.lock().connections.values() {
            // Fails if the sender has gone.
            let _ = shutdown(sender, Shutdown::Read);
        }
        for sender in senders {
            if sender.join().is_err() {
                tracing::error!("a thread of dnstap has failed; this is a bug, please report it");
            }
        }
        self.delay = Duration::ZERO;
    }
}

/// Counters of a [`Receiver`] at one moment.
pub struct Counters {
    /// Packets of hook `dnstap`.
    pub kernel: BTreeMap<String, ledger::Kernel>,
    /// Frames in the queue, which stands for the ring.
    pub ring: ledger::Ring,
    /// Frames and connections by sender.
    pub senders: Vec<ledger::DnstapSender>,
}

/// A bound address.
enum Listener {
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener),
    Tls(TcpListener, SslAcceptor),
}

impl Listener {
    fn bind(address: &DnstapAddress, tls: Option<&DnstapTls>) -> Result<Self, CannotCapture> {
        let listener = match address {
            DnstapAddress::Unix(path) => {
                bind_unix(path).map(|listener| Self::Unix(listener, path.clone()))
            }
            DnstapAddress::Tcp(address) => TcpListener::bind(address).map(Self::Tcp),
            DnstapAddress::Tls(address) => {
                let acceptor = tls
                    .map_or_else(|| Err("no certificate is given".to_owned()), DnstapTls::acceptor)
                    .map_err(|error| CannotCapture {
                        problem: format!("cannot receive dnstap at tls:{address}: {error}"),
                        remedy: "give capture.dnstap_tls.cert_file and key_file, in PEM, that this user may read".to_owned(),
                    })?;
                TcpListener::bind(address).map(|listener| Self::Tls(listener, acceptor))
            }
        };
        listener
            .and_then(|listener| {
                match &listener {
                    Self::Unix(listener, _) => listener.set_nonblocking(true),
                    Self::Tcp(listener) | Self::Tls(listener, _) => listener.set_nonblocking(true),
                }
                .map(|()| listener)
            })
            .map_err(|error| CannotCapture {
                problem: format!("cannot receive dnstap at {address}: {error}"),
                remedy: match error.kind() {
                    io::ErrorKind::NotFound => {
                        "make the folder of the socket, which the agent and the server may enter"
                    }
                    _ => "give an address that this user may bind and no program uses",
                }
                .to_owned(),
            })
    }

    fn accept(&self) -> io::Result<Sender> {
        match self {
            Self::Unix(listener, path) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(false)?;
                stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
                let fd = stream.try_clone()?.into();
                let replies = stream.try_clone()?;
                Ok(Sender {
                    name: path.display().to_string(),
                    peer: path.display().to_string(),
                    fd,
                    has_handshake: false,
                    open: Box::new(|| Ok((Box::new(stream), Box::new(replies)))),
                })
            }
            Self::Tcp(listener) => {
                let (stream, peer) = accept_tcp(listener)?;
                let fd = stream.try_clone()?.into();
                let replies = stream.try_clone()?;
                Ok(Sender {
                    name: peer.to_string(),
                    peer: host(peer),
                    fd,
                    has_handshake: false,
                    open: Box::new(|| Ok((Box::new(stream), Box::new(replies)))),
                })
            }
            Self::Tls(listener, acceptor) => {
                let (stream, peer) = accept_tcp(listener)?;
                let fd = stream.try_clone()?.into();
                let acceptor = acceptor.clone();
                let open = move || -> io::Result<Ends> {
                    let stream = TlsStream::accept(&acceptor, stream, HANDSHAKE_TIMEOUT)?;
                    Ok((Box::new(stream.clone()), Box::new(stream)))
                };
                Ok(Sender {
                    name: format!("{peer}, TLS"),
                    peer: host(peer),
                    fd,
                    has_handshake: true,
                    open: Box::new(open),
                })
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // Not allowed after privileges were dropped; the next start then replaces it.
            let _ = fs::remove_file(path);
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(listener, _) => listener.as_fd(),
            Self::Tcp(listener) | Self::Tls(listener, _) => listener.as_fd(),
        }
    }
}

/// Binds a path. Servers run as users of their own, so anyone may connect who can enter the folder.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path).or_else(|error| {
        // A regular file refuses a connection as well.
        let is_socket =
            || fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_socket());
        let is_left_over = error.kind() == io::ErrorKind::AddrInUse
            && is_socket()
            && UnixStream::connect(path)
                .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        if !is_left_over {
            return Err(error);
        }
        fs::remove_file(path)?;
        UnixListener::bind(path)
    })?;
    fs::set_permissions(path, Permissions::from_mode(0o666))?;
    Ok(listener)
}

/// A server that has connected.
struct Sender {
    /// Its name in the log.
    name: String,
    /// Its name in counters while its frames have no identity: the next connection of the server has it, too.
    peer: String,
    /// The connection, to end it.
    fd: OwnedFd,
    /// Whether it has a place only after a handshake of TLS.
    has_handshake: bool,
    /// Does the handshake of TLS, if there is one, in the sender's thread.
    open: Box<dyn FnOnce() -> io::Result<Ends> + Send>,
}

fn host(peer: SocketAddr) -> String {
    peer.ip().to_canonical().to_string()
}

/// Where frames come from, and where answers go.
type Ends = (Box<dyn Read>, Box<dyn Write>);

fn accept_tcp(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, peer) = listener.accept()?;
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
    // A host that has vanished must not take a sender's place for ever.
    let (idle, interval, count) = KEEPALIVE;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, idle)?;
    sockopt::set_tcp_keepintvl(&stream, interval)?;
    sockopt::set_tcp_keepcnt(&stream, count)?;
    Ok((stream, peer))
}

/// Accepts senders until the other end of `bell` is dropped, and those that had connected before that. Returns their
/// threads.
fn accept(
    listeners: &[Listener],
    bell: &UnixStream,
    arrivals: &Arc<Arrivals>,
    first_sender: u32,
) -> Vec<JoinHandle<()>> {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    let mut number = first_sender;
    let mut last_turns = MAX_SENDERS;
    loop {
        let fds = listeners.iter().map(AsFd::as_fd).chain([bell.as_fd()]);
        let mut fds: Vec<_> = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                tracing::error!("cannot wait for senders of dnstap: {error}");
                return threads;
            }
        }
        let is_ending = fds.last().is_some_and(|bell| !bell.revents().is_empty());
        let mut accepted = false;
        threads.retain(|thread| !thread.is_finished());
        for listener in listeners {
            match listener.accept() {
                Ok(sender) => {
                    accepted = true;
                    let name = sender.name.clone();
                    match start_sender(sender, number, arrivals) {
                        Ok(thread) => threads.push(thread),
                        Err(why) => {
                            tracing::warn!("a sender of dnstap was refused: {name}: {why}");
                        }
                    }
                    number += 1;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    tracing::warn!("cannot accept a sender of dnstap: {error}");
                    // Without a descriptor left, the next attempt fails at once.
                    thread::sleep(MIN_SLEEP);
                }
            }
        }
        if is_ending {
            last_turns -= 1;
            if !accepted || last_turns == 0 {
                return threads;
            }
        }
    }
}

/// Starts the thread of a connection, which gets a sender's place at once or, with TLS, after its handshake.
fn start_sender(
    sender: Sender,
    number: u32,
    arrivals: &Arc<Arrivals>,
) -> io::Result<JoinHandle<()>> {
    let Sender { name, peer, fd, has_handshake, open } = sender;
    let mut state = arrivals.lock();
    if has_handshake {
        state.begin_handshake(number);
    } else if let Err(why) = state.take_place() {
        state.senders.end(&SenderRef::new(peer), End::Refused);
        return Err(why);
    }
    state.connections.insert(number, fd);
    drop(state);
    let shared = Arc::clone(arrivals);
    let work = move || {
        let mut ends = open();
        if has_handshake {
            ends = shared.lock().end_handshake(number, ends);
        }
        let has_place = ends.is_ok() || !has_handshake;
        let mut sender = SenderRef::new(peer);
        let end = match ends {
            Ok((stream, replies)) => {
                let frames = Frames::of_sender(Source::plain(stream), replies);
                receive(frames, &name, number, &mut sender, &shared)
            }
            Err(why) => {
                tracing::warn!("a sender of dnstap was refused: {name}: {why}");
                End::Refused
            }
        };
        let mut state = shared.lock();
        state.senders.end(&sender, end);
        state.connections.remove(&number);
        state.places -= usize::from(has_place);
    };
    thread::Builder::new().name(format!("dnstap-{number}")).spawn(work).inspect_err(|_| {
        let mut state = arrivals.lock();
        state.connections.remove(&number);
        state.handshakes.remove(&number);
        state.places -= usize::from(!has_handshake);
    })
}

/// Reads what a sender sends, until it ends. Returns how.
fn receive(
    mut frames: Frames,
    name: &str,
    number: u32,
    sender: &mut SenderRef,
    arrivals: &Arrivals,
) -> End {
    tracing::info!("a sender of dnstap has connected: {name}");
    let (mut seq, mut last, mut says) = (0, Clock::new().now(), None);
    let (end, why) = loop {
        match frames.next() {
            Ok(Some(frame)) => {
                seq += 1;
                let arrival = Arrival::read(frame, PacketId { cpu: number, seq }, last, &mut says);
                last = arrival.ts;
                arrivals.push(arrival, sender, says.as_deref());
            }
            Ok(None) => match frames.warning.take() {
                None => {
                    tracing::info!("a sender of dnstap has ended after {seq} frames: {name}");
                    return End::Closed;
                }
                Some(why) => break (End::CutOff, why),
            },
            Err(Problem::Read(error)) => break (End::CutOff, error.to_string()),
            Err(problem) => break (End::Refused, problem.cause()),
        }
    };
    tracing::warn!("a sender of dnstap is gone after {seq} frames: {name}: {why}");
    end
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::capture::dnstap::CONTENT_TYPE;
    use crate::capture::dnstap::tests::{frame_at, frame_of};
    use crate::capture::replay::control;
    use dnscribe_tests::certificates::{Authority, Validity};
    use dnscribe_transaction::packet::Body;
    use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};

    const ACCEPT: u32 = 1;
    const START: u32 = 2;
    const STOP: u32 = 3;
    const READY: u32 = 4;
    const FINISH: u32 = 5;

    fn data(frame: &[u8]) -> Vec<u8> {
        [&u32::try_from(frame.len()).unwrap().to_be_bytes()[..], frame].concat()
    }

    fn receiver(folder: &Path) -> (Receiver, PathBuf) {
        let path = folder.join("dnstap.sock");
        let mut receiver = Receiver::bind(&[DnstapAddress::Unix(path.clone())], None).unwrap();
        receiver.start().unwrap();
        (receiver, path)
    }

    /// Connects, greets, and returns the connection once the greeting is answered.
    fn sender(path: &Path) -> UnixStream {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(&control(READY, Some(CONTENT_TYPE))).unwrap();
        expect(&mut stream, &control(ACCEPT, Some(CONTENT_TYPE)));
        stream.write_all(&control(START, Some(CONTENT_TYPE))).unwrap();
        stream
    }

    fn expect(stream: &mut UnixStream, bytes: &[u8]) {
        let mut answer = vec![0; bytes.len()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, bytes);
    }

    /// A capture that has received a query of each second.
    pub(crate) fn received(folder: &Path, seconds: impl Iterator<Item = u64>) -> Receiver {
        let (receiver, path) = receiver(folder);
        let mut stream = sender(&path);
        for second in seconds {
            stream.write_all(&data(&frame_at(second))).unwrap();
        }
        stream.write_all(&control(STOP, None)).unwrap();
        expect(&mut stream, &control(FINISH, None));
        receiver
    }

    /// Ends the capture; returns sender, number and readability of what it passes on, and its counters.
    fn end(receiver: Receiver) -> (Vec<(u32, u64, bool)>, ledger::Kernel, ledger::Ring) {
        let (found, mut counters) = ended(receiver);
        (found, counters.kernel.remove("dnstap").unwrap(), counters.ring)
    }

    fn ended(mut receiver: Receiver) -> (Vec<(u32, u64, bool)>, Counters) {
        receiver.detach();
        let mut found = Vec::new();
        receiver.drain(usize::MAX, &mut |packet| {
            let is_readable = matches!(packet.body, Body::Message { .. });
            found.push((packet.id.cpu, packet.id.seq, is_readable));
            is_readable
        });
        assert!(receiver.is_empty());
        let counters = receiver.counters();
        check(&counters);
        (found, counters)
    }

    /// Checks what senders have together.
    fn check(counters: &Counters) {
        let Counters { kernel, ring, senders } = counters;
        let counters = ledger::Counters {
            kernel: kernel.clone(),
            ring: ring.clone(),
            senders: Some(senders.clone()),
            ..ledger::Counters::default()
        };
        let imbalances = counters.imbalances().into_iter();
        // There is no decoder here.
        let ours = imbalances.filter(|one| {
            one.place != "decode" && one.identity != "sum of malformed = decode.malformed"
        });
        assert_eq!(ours.collect::<Vec<_>>(), []);
    }

    #[test]
    fn messages_of_all_senders_come_in_order_of_time_and_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let (receiver, path) = receiver(folder.path());
        let now = receiver.clock.now().as_nanos() / 1_000_000_000;
        let mut one = sender(&path);
        let mut other = sender(&path);
        for age in [3, 1, 5] {
            one.write_all(&data(&frame_at(now - age))).unwrap();
        }
        other.write_all(&data(b"junk")).unwrap();
        other.write_all(&data(&frame_at(now - 4))).unwrap();
        for stream in [&mut one, &mut other] {
            stream.write_all(&control(STOP, None)).unwrap();
            expect(stream, &control(FINISH, None));
        }
        let (found, kernel, ring) = end(receiver);
        // What cannot be read has the time of its arrival.
        let expected = [(0, 3, true), (1, 2, true), (0, 1, true), (0, 2, true), (1, 1, false)];
        assert_eq!(found, expected);
        assert_eq!((kernel.seen, kernel.submitted, kernel.lost_ring_full), (5, 5, 0));
        assert_eq!((ring.received, ring.in_ring, ring.sequence_gaps), (5, 0, 0));
        assert!(!path.exists());
    }

    #[test]
    fn a_wrong_clock_moves_no_time() {
        let folder = tempfile::tempdir().unwrap();
        let (mut receiver, path) = receiver(folder.path());
        let now = receiver.clock.now().as_nanos() / 1_000_000_000;
        // One that is ahead by an hour, one that says anything, and one that is right.
        let senders =
            [vec![now + 3_600, now + 3_601], vec![1, 16_000_000_000, now - 3_600], vec![now - 100]];
        for said in &senders {
            let mut stream = sender(&path);
            for said in said {
                stream.write_all(&data(&frame_at(*said))).unwrap();
            }
            stream.write_all(&control(STOP, None)).unwrap();
            expect(&mut stream, &control(FINISH, None));
        }
        receiver.detach();
        let mut times = BTreeMap::new();
        // The second message of the first sender is a second later than its arrival.
        receiver.delay = Duration::ZERO;
        let since = std::time::Instant::now();
        while times.len() < 6 && since.elapsed() < DELAY * 4 {
            receiver.drain(9, &mut |packet| {
                times.insert((packet.id.cpu, packet.id.seq), packet.ts.as_nanos());
                true
            });
        }
        let arrived = now * 1_000_000_000..=receiver.clock.now().as_nanos();
        assert_eq!(times.get(&(2, 1)).map(|ts| ts / 1_000_000_000), Some(now - 100));
        assert_eq!(times[&(0, 2)] - times[&(0, 1)], 1_000_000_000, "what lies between them stays");
        let at_arrival = [(0, 1), (1, 1), (1, 2), (1, 3)];
        assert!(at_arrival.iter().all(|id| arrived.contains(&times[id])), "{times:?}");
        assert_eq!(receiver.wrong_clocks.len(), 2);
    }

    #[test]
    fn messages_wait_for_earlier_ones() {
        let folder = tempfile::tempdir().unwrap();
        let (mut receiver, path) = receiver(folder.path());
        let mut stream = sender(&path);
        let future = receiver.clock.now().as_nanos() / 1_000_000_000 + 60;
        stream.write_all(&data(&frame_at(future))).unwrap();
        stream.write_all(&control(STOP, None)).unwrap();
        expect(&mut stream, &control(FINISH, None));
        let count = |receiver: &mut Receiver| receiver.drain(9, &mut |_| true);
        assert_eq!(count(&mut receiver), 0);
        assert_eq!(receiver.counters().ring.in_ring, 1);
        let (bell, _other) = UnixStream::pair().unwrap();
        // A clock that is ahead does not hold it up longer.
        let since = std::time::Instant::now();
        while count(&mut receiver) == 0 && since.elapsed() < DELAY * 4 {
            assert!(!receiver.wait(DELAY * 4, bell.as_fd()).unwrap());
        }
        assert_eq!(receiver.counters().ring.received, 1);
    }

    #[test]
    fn what_cannot_be_kept_is_lost_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dnstap.sock");
        let mut receiver = Receiver::bind(&[DnstapAddress::Unix(path.clone())], None).unwrap();
        let state = Mutex::default();
        receiver.arrivals = Arc::new(Arrivals { limit: 1_000, state });
        receiver.start().unwrap();
        let mut stream = sender(&path);
        for _ in 0..9 {
            stream.write_all(&data(&[1; 300])).unwrap();
        }
        stream.write_all(&control(STOP, None)).unwrap();
        expect(&mut stream, &control(FINISH, None));
        let (found, kernel, ring) = end(receiver);
        let kept = found.len() as u64;
        assert!((1..9).contains(&kept), "{kept}");
        assert_eq!((kernel.seen, kernel.submitted), (9, kept));
        assert_eq!((kernel.lost_ring_full, ring.sequence_gaps), (9 - kept, 9 - kept));
    }

    #[test]
    fn what_is_no_dnstap_ends_its_connection_only() {
        let folder = tempfile::tempdir().unwrap();
        let (receiver, path) = receiver(folder.path());
        for junk in [&b"GET / HTTP/1.1\r\n\r\n"[..], &control(READY, Some(b"protobuf:other"))] {
            let mut stream = UnixStream::connect(&path).unwrap();
            stream.write_all(junk).unwrap();
            assert_eq!(stream.read(&mut [0; 9]).unwrap_or(0), 0);
        }
        // Killed in a frame.
        let mut cut = sender(&path);
        cut.write_all(&data(&frame_at(1))[..9]).unwrap();
        drop(cut);
        // Without a handshake.
        let mut plain = UnixStream::connect(&path).unwrap();
        plain.write_all(&control(START, Some(CONTENT_TYPE))).unwrap();
        plain.write_all(&data(&frame_at(1))).unwrap();
        drop(plain);
        let (found, counters) = ended(receiver);
        assert_eq!(found, [(3, 1, true)]);
        let sum =
            |of: fn(&ledger::DnstapSender) -> u64| counters.senders.iter().map(of).sum::<u64>();
        assert_eq!((sum(|one| one.connections), sum(|one| one.refused)), (4, 2));
        assert_eq!((sum(|one| one.cut_off), sum(|one| one.closed)), (1, 1));
        let ours = counters.senders.iter().find(|one| one.name == *path.to_str().unwrap()).unwrap();
        assert_eq!((ours.received, ours.decoded, ours.closed), (1, 1, 1));
    }

    /// Returns the acceptor of a server and a connector that trusts anyone.
    fn tls(folder: &Path) -> (DnstapTls, SslConnector) {
        let server = Authority::new("lab").unwrap().server(&["localhost"], Validity::Current);
        let server = server.unwrap();
        let [cert_file, key_file] = ["cert.pem", "key.pem"].map(|name| folder.join(name));
        fs::write(&cert_file, server.certificate).unwrap();
        fs::write(&key_file, server.key).unwrap();
        let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
        connector.set_verify(SslVerifyMode::NONE);
        (DnstapTls { cert_file, key_file, client_ca_file: None }, connector.build())
    }

    #[test]
    fn strangers_before_their_handshake_take_no_place_of_a_sender() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dnstap.sock");
        let (files, connector) = tls(folder.path());
        let any = "tls:127.0.0.1:0".parse().unwrap();
        let addresses = [DnstapAddress::Unix(path.clone()), any];
        let mut receiver = Receiver::bind(&addresses, Some(&files)).unwrap();
        let Listener::Tls(listener, _) = &receiver.listeners[1] else { unreachable!("TLS") };
        let address = listener.local_addr().unwrap();
        receiver.start().unwrap();
        let strangers: Vec<_> =
            (0..MAX_SENDERS).map(|_| TcpStream::connect(address).unwrap()).collect();
        while receiver.arrivals.lock().handshakes.len() < strangers.len() {
            thread::yield_now();
        }
        let plain = sender(&path);
        // The oldest gives way to another, which is a sender after its handshake.
        let stream = TcpStream::connect(address).unwrap();
        let mut stream = connector.connect("localhost", stream).unwrap();
        stream.write_all(&control(READY, Some(CONTENT_TYPE))).unwrap();
        let mut answer = vec![0; control(ACCEPT, Some(CONTENT_TYPE)).len()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, control(ACCEPT, Some(CONTENT_TYPE)));
        let mut oldest = &strangers[0];
        assert_eq!(oldest.read(&mut [0; 9]).unwrap_or(0), 0, "it is closed");
        assert_eq!(receiver.arrivals.lock().places, 2);
        drop((plain, stream));
        let (_, counters) = ended(receiver);
        let refused: u64 = counters.senders.iter().map(|one| one.refused).sum();
        assert_eq!(refused, strangers.len() as u64);
    }

    #[test]
    fn a_handshake_byte_by_byte_ends_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let acceptor = tls(folder.path()).0.acceptor().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut slow = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let limit = Duration::from_millis(300);
        let accepted = thread::spawn(move || TlsStream::accept(&acceptor, stream, limit).err());
        // A record of 16 KiB begins; each byte of it comes long before the limit.
        slow.set_read_timeout(Some(limit / 30)).unwrap();
        slow.write_all(&[22, 3, 1, 0x40, 0]).unwrap();
        let is_open = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
        while slow.write_all(&[1]).is_ok() && slow.read(&mut [0; 9]).is_err_and(|e| is_open(&e)) {}
        let error = accepted.join().unwrap().unwrap();
        assert_eq!(error.to_string(), "its handshake takes more than 300ms");
    }

    #[test]
    fn a_sender_keeps_its_counters_when_it_connects_again() {
        let folder = tempfile::tempdir().unwrap();
        let (receiver, path) = receiver(folder.path());
        // Twice the same server, the second time killed in a frame, and another one with its identity meanwhile.
        let mut twin = sender(&path);
        twin.write_all(&data(&frame_of("ns1", 7))).unwrap();
        for cut in [false, true] {
            let mut stream = sender(&path);
            for frame in [frame_of("ns1", 1), frame_of("ns2", 2), b"junk".to_vec()] {
                stream.write_all(&data(&frame)).unwrap();
            }
            if cut {
                stream.write_all(&data(&frame_of("ns1", 3))[..9]).unwrap();
            } else {
                stream.write_all(&control(STOP, None)).unwrap();
                expect(&mut stream, &control(FINISH, None));
            }
        }
        let (found, counters) = ended(receiver);
        assert_eq!(found.len(), 7);
        let rows: Vec<_> = counters
            .senders
            .iter()
            .map(|one| (&*one.name, one.received, one.decoded, one.malformed))
            .collect();
        // What cannot be read is of the server of the frame before it.
        assert_eq!(rows, [("ns1", 3, 3, 0), ("ns2", 4, 2, 2)]);
        let ns1 = &counters.senders[0];
        assert_eq!((ns1.connections, ns1.closed, ns1.cut_off, ns1.open), (3, 2, 1, 0));
    }

    #[test]
    fn a_socket_that_was_left_is_replaced_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dnstap.sock");
        drop(UnixListener::bind(&path).unwrap());
        let (receiver, path) = receiver(folder.path());
        let again = Receiver::bind(&[DnstapAddress::Unix(path.clone())], None).err().unwrap();
        assert!(again.problem.contains("in use"), "{}", again.problem);
        sender(&path);
        drop(receiver);
        fs::write(folder.path().join("file"), "").unwrap();
        let file = DnstapAddress::Unix(folder.path().join("file"));
        assert!(Receiver::bind(&[file], None).is_err(), "no file is removed");
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = DnstapAddress::Tcp(tcp.local_addr().unwrap());
        assert!(Receiver::bind(&[tcp], None).is_err());
    }
}
