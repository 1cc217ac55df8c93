//! Client and server of the privileged helper that reads /proc for an unprivileged agent.

use super::ProcFiles;
use rustix::io::retry_on_intr;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Maximum size of an answer in bytes. Most of it are the names of cgroups.
const MESSAGE_BYTES: usize = 64 << 10;
/// Timeout of a request. It takes about 10 µs if the helper gets a CPU. Meanwhile, packets wait in
/// the ring.
const TIMEOUT: Duration = Duration::from_millis(250);
/// Time without requests after a timeout.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Client of the privileged helper.
#[derive(Debug)]
pub(super) struct HelperClient {
    socket: OwnedFd,
    buffer: Vec<u8>,
    retry_at: Option<Instant>,
    has_warned: bool,
}

impl HelperClient {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, buffer: vec![0; MESSAGE_BYTES], retry_at: None, has_warned: false }
    }

    /// Returns the contents of /proc for a pid, or `None` if the helper does not answer.
    pub(super) fn request(&mut self, pid: u32) -> Option<ProcFiles> {
        if self.retry_at.is_some_and(|retry_at| Instant::now() < retry_at) {
            return None;
        }
        self.retry_at = None;
        self.try_request(pid)
            .inspect_err(|error| {
                self.retry_at = Some(Instant::now() + RETRY_PAUSE);
                if !std::mem::replace(&mut self.has_warned, true) {
                    tracing::warn!(
                        %error,
                        "the privileged helper does not answer: some records have no executable"
                    );
                }
            })
            .ok()
    }

    fn try_request(&mut self, pid: u32) -> io::Result<ProcFiles> {
        exchange(&self.socket, &mut self.buffer, pid, TIMEOUT)
    }
}

/// Sends a request, and waits for its answer.
fn exchange(
    socket: &OwnedFd,
    buffer: &mut [u8],
    pid: u32,
    limit: Duration,
) -> io::Result<ProcFiles> {
    set_socket_timeout(socket, Timeout::Recv, Some(limit))?;
    send(socket, &pid.to_le_bytes(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
    loop {
        // A wait with a timeout ends with a signal even if its handler restarts system calls (signal(7)).
        let (length, _) = retry_on_intr(|| recv(socket, &mut buffer[..], RecvFlags::empty()))?;
        if length == 0 {
            return Err(io::Error::other("it has ended"));
        }
        let files: ProcFiles = serde_json::from_slice(buffer.get(..length).unwrap_or_default())?;
        // A late answer to an earlier request.
        if files.pid == pid {
            return Ok(files);
        }
    }
}

/// Waits until the process at the other end of `socket` answers a request.
///
/// # Errors
/// It has ended, or does not answer within `limit`.
pub fn await_process_server(socket: &OwnedFd, limit: Duration) -> io::Result<()> {
    let pid = std::process::id();
    exchange(socket, &mut vec![0; MESSAGE_BYTES], pid, limit).map(drop)
}

/// Serves requests until the other end is closed.
///
/// # Errors
/// Returns an error if the socket fails.
pub fn serve_process_requests(socket: &OwnedFd) -> io::Result<()> {
    let mut pid = [0; 4];
    loop {
        let (length, _) = retry_on_intr(|| recv(socket, &mut pid, RecvFlags::empty()))?;
        if length == 0 {
            return Ok(());
        }
        let files = ProcFiles::read(u32::from_le_bytes(pid));
        send(socket, &serde_json::to_vec(&files)?, SendFlags::NOSIGNAL)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::pthread::{pthread_kill, pthread_self};
    use nix::sys::signal::Signal;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use signal_hook::consts::SIGUSR2;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn pair() -> (OwnedFd, OwnedFd) {
        let (family, flags) = (AddressFamily::UNIX, SocketFlags::CLOEXEC);
        socketpair(family, SocketType::SEQPACKET, flags, None).unwrap()
    }

    #[test]
    fn returns_what_it_would_read_itself() {
        let (ours, theirs) = pair();
        let helper = std::thread::spawn(move || serve_process_requests(&theirs));
        let mut client = HelperClient::new(ours);
        let pid = std::process::id();
        let (received, own) = (client.request(pid).unwrap(), ProcFiles::read(pid));
        assert!(received.exe.is_some() && received.exe == own.exe, "{received:?}");
        assert_eq!((received.cgroups, received.start_ns), (own.cgroups, own.start_ns));
        drop(client);
        helper.join().unwrap().unwrap();
    }

    /// Waits until a thread of this process sleeps.
    fn wait_for_sleep(thread: &str) {
        let is_asleep = || {
            let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap();
            stat.rsplit_once(") ").unwrap().1.starts_with('S')
        };
        while !is_asleep() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn waits_on_after_a_signal() {
        let handled = Arc::new(AtomicBool::new(false));
        // The handler restarts system calls.
        signal_hook::flag::register(SIGUSR2, Arc::clone(&handled)).unwrap();
        let (ours, theirs) = pair();
        let (client, id) = (pthread_self(), rustix::thread::gettid().as_raw_nonzero().to_string());
        let helper = std::thread::spawn(move || {
            let mut pid = [0; 4];
            recv(&theirs, &mut pid[..], RecvFlags::empty()).unwrap();
            wait_for_sleep(&id);
            pthread_kill(client, Signal::SIGUSR2).unwrap();
            while !handled.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            let files = ProcFiles { pid: u32::from_le_bytes(pid), ..ProcFiles::default() };
            send(&theirs, &serde_json::to_vec(&files).unwrap(), SendFlags::empty()).unwrap();
        });
        assert_eq!(HelperClient::new(ours).try_request(7).unwrap().pid, 7);
        helper.join().unwrap();
    }

    #[test]
    fn does_not_wait_for_silent_or_ended_helper() {
        let (ours, theirs) = pair();
        let mut client = HelperClient::new(ours);
        assert!(client.request(1).is_none());
        let before = Instant::now();
        assert!(client.request(1).is_none() && before.elapsed() < TIMEOUT, "asked again at once");
        // A late answer must not be taken for the answer to the next request.
        let late = ProcFiles { pid: 1, ..ProcFiles::default() };
        send(&theirs, &serde_json::to_vec(&late).unwrap(), SendFlags::empty()).unwrap();
        client.retry_at = None;
        assert!(client.request(2).is_none());
        drop(theirs);
        client.retry_at = None;
        assert!(client.request(1).is_none());
    }
}
