//! Tests of senders at real sockets.

use super::*;
use crate::capture::dnstap::CONTENT_TYPE;
use crate::capture::dnstap::arrivals::MAX_SENDERS;
use crate::capture::dnstap::tests::{frame_at, frame_of};
use crate::capture::dnstap::tls::TlsStream;
use crate::capture::replay::control;
use dnscribe_tests::certificates::{Authority, Validity};
use dnscribe_transaction::packet::Body;
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

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
    let sum = |of: fn(&ledger::DnstapSender) -> u64| counters.senders.iter().map(of).sum::<u64>();
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
