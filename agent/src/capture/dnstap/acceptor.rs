//! The threads that accept senders and read what each of them sends.

use super::arrivals::{Arrivals, MAX_SENDERS};
use super::listener::{Listener, Sender};
use super::order::Arrival;
use super::senders::{End, SenderRef};
use crate::capture::live::Clock;
use crate::capture::replay::{Frames, Problem, Source};
use dnscribe_transaction::packet::PacketId;
use rustix::event::{PollFd, PollFlags, poll};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(10);

/// Accepts senders until the other end of `bell` is dropped, and those that had connected before that. Returns their
/// threads.
pub(super) fn accept(
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
                    thread::sleep(PAUSE);
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
