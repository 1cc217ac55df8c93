//! Capture of real traffic of this host.

use dnscribe_agent::capture::live::testing::has_socket_diagnosis;
use dnscribe_agent::capture::live::{HookChoice, Live, LiveOptions};
use dnscribe_record::ledger::Ring;
use dnscribe_tests::environment::{self, privileged};
use dnscribe_transaction::packet::{Body, Direction, Task};
use rustix::net::{AddressFamily, SocketType, ipproto};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Runs an `#[ignore]`d part of a test as a process in its own network namespace.
pub fn run_in_new_namespace(test: &str) {
    let output = Command::new("unshare")
        .arg("--net")
        .arg(std::env::current_exe().expect("a path"))
        .args(["--exact", test, "--ignored", "--nocapture"])
        .output()
        .expect("starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{said}");
}

/// The compared fields of a packet.
#[derive(Clone, Debug)]
struct CapturedPacket {
    direction: Direction,
    task: Option<Task>,
    cgroup_id: u64,
    payload: Vec<u8>,
    error: Option<i32>,
}

fn open(hook: HookChoice, port: u16) -> Live {
    let options = LiveOptions {
        hook,
        ports: vec![port].try_into().expect("a port"),
        ring_bytes: 1 << 20,
        ..LiveOptions::default()
    };
    Live::open(&options).expect("opens")
}

/// Drains until `count` packets were captured, or for two seconds.
fn collect(live: &mut Live, count: usize) -> Vec<CapturedPacket> {
    let end = Instant::now() + Duration::from_secs(2);
    let mut seen = Vec::new();
    while seen.len() < count && Instant::now() < end {
        live.wait(Duration::from_millis(50), None).expect("waits");
        live.drain(100, &mut |packet| {
            let (payload, error) = match packet.body {
                Body::Ip { bytes, .. } => (bytes.get(28..).unwrap_or_default().to_vec(), None),
                Body::SocketError { errno, .. } => (Vec::new(), Some(errno)),
                other => panic!("not of the kernel: {other:?}"),
            };
            seen.push(CapturedPacket {
                direction: packet.direction,
                task: packet.task,
                cgroup_id: packet.cgroup_id,
                payload,
                error,
            });
        });
    }
    seen
}

fn comm(task: &Task) -> String {
    String::from_utf8_lossy(&task.comm).trim_end_matches('\0').to_owned()
}

fn own_comm() -> String {
    std::fs::read_to_string("/proc/self/comm").expect("a name").trim().to_owned()
}

fn server() -> (UdpSocket, u16) {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("an address").port();
    (server, port)
}

fn assert_sent_by(seen: &[CapturedPacket], payload: &[u8], pid: u32, name: &str) {
    let egress = seen
        .iter()
        .find(|seen| seen.direction == Direction::Egress && seen.payload == payload)
        .unwrap_or_else(|| panic!("no {payload:?} among {seen:?}"));
    let task = egress.task.expect("a task");
    assert_eq!((task.pid, comm(&task)), (pid, name.to_owned()));
    assert_eq!(task.uid, rustix::process::geteuid().as_raw());
    assert!(egress.cgroup_id > 0);
}

#[test]
fn attributes_packet_to_task() {
    if !privileged() {
        return;
    }
    // Created before the agent starts: found by the backfill.
    let (server, port) = server();
    let mut live = open(HookChoice::Cgroup, port);
    assert_eq!(live.hook(), "cgroup");
    let pid = std::process::id();

    let connected = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    connected.connect(("127.0.0.1", port)).expect("connects");
    connected.send(b"connected").expect("sends");
    let seen = collect(&mut live, 2);
    assert_sent_by(&seen, b"connected", pid, &own_comm());
    let ingress = seen.iter().find(|seen| seen.direction == Direction::Ingress).expect("arrives");
    if has_socket_diagnosis() {
        assert_eq!(ingress.task.expect("the server's owner").pid, pid);
    }

    let unconnected = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    unconnected.send_to(b"unconnected", ("127.0.0.1", port)).expect("sends");
    assert_sent_by(&collect(&mut live, 2), b"unconnected", pid, &own_comm());

    // No hook runs for a write to a socket that another process connected; the packet shows the
    // process.
    let mut child = Command::new("sh")
        .args(["-c", "printf child >&0"])
        .stdin(Stdio::from(OwnedFd::from(connected.try_clone().expect("a copy"))))
        .spawn()
        .expect("a shell");
    child.wait().expect("ends");
    assert_sent_by(&collect(&mut live, 2), b"child", child.id(), "sh");

    drop(server);
    connected.send(b"nobody").expect("sends");
    let seen = collect(&mut live, 2);
    assert!(seen.iter().any(|seen| seen.error == Some(111)), "{seen:?}");

    live.detach();
    connected.send(b"after").ok();
    let (kernel, ring) = live.counters();
    assert_eq!(ring.received, ring.submitted);
    assert_eq!(ring.sequence_gaps, 0);
    assert_eq!(kernel["icmp"].submitted, 1);
}

#[test]
fn attributes_stream_to_task() {
    if !privileged() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let mut live = open(HookChoice::Cgroup, port);
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    let (mut accepted, _) = listener.accept().expect("accepts");
    client.write_all(b"to the server").expect("sends");
    accepted.write_all(b"to the client").expect("sends");
    let mut child = Command::new("sh")
        .args(["-c", "printf child >&0"])
        .stdin(Stdio::from(OwnedFd::from(client.try_clone().expect("a copy"))))
        .spawn()
        .expect("a shell");
    child.wait().expect("ends");
    let (pid, name) = (std::process::id(), own_comm());
    // A handshake with two SYNs, and three segments with payload; each captured twice.
    let seen = collect(&mut live, 10);
    for (payload, pid, name) in [
        (&b"to the server"[..], pid, &*name),
        (b"to the client", pid, &name),
        (b"child", child.id(), "sh"),
    ] {
        // The TCP header with options is longer than the eight bytes of UDP.
        let whole: Vec<CapturedPacket> = seen
            .iter()
            .filter(|seen| seen.payload.ends_with(payload))
            .map(|seen| CapturedPacket { payload: payload.to_vec(), ..seen.clone() })
            .collect();
        assert_sent_by(&whole, payload, pid, name);
    }
}

#[test]
fn names_the_listener_behind_a_stream_without_answer() {
    if !privileged() {
        return;
    }
    // Bound before the agent starts, and after.
    let early = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = early.local_addr().expect("an address").port();
    let mut live = open(HookChoice::Cgroup, port);
    let late = TcpListener::bind(("127.0.0.2", port)).expect("the port on another address");
    let listeners = if has_socket_diagnosis() { vec![early, late] } else { vec![late] };
    for listener in listeners {
        let address = listener.local_addr().expect("an address");
        // Not this process, whose name the listening socket would get for its answer to the SYN.
        let mut client = Command::new("bash")
            .args(["-c", "exec 3<>/dev/tcp/$0/$1; printf query >&3; sleep 0.1"])
            .args([address.ip().to_string(), port.to_string()])
            .spawn()
            .expect("a shell");
        let _accepted = listener.accept().expect("accepts");
        client.wait().expect("ends");
        // Two SYNs, the query and a FIN; each seen twice.
        let seen = collect(&mut live, 8);
        let query = |direction| {
            let wanted = |seen: &&CapturedPacket| {
                seen.direction == direction && seen.payload.ends_with(b"query")
            };
            seen.iter().find(wanted).and_then(|seen| seen.task).map(|task| task.pid)
        };
        assert_eq!(query(Direction::Egress), Some(client.id()), "{address}");
        assert_eq!(query(Direction::Ingress), Some(std::process::id()), "{address}");
    }
}

#[test]
fn names_the_parent_of_a_forked_sender() {
    if !privileged() {
        return;
    }
    let (_server, port) = server();
    let mut live = open(HookChoice::Cgroup, port);
    // A subshell sends, and ends at once; then a program that the shell executes does.
    let script = "(printf forked >/dev/udp/127.0.0.1/$0); \
                  exec 3<>/dev/udp/127.0.0.1/$0; (exec sh -c 'printf executed >&3')";
    let mut shell =
        Command::new("bash").args(["-c", script, &port.to_string()]).spawn().expect("a shell");
    shell.wait().expect("ends");
    let seen = collect(&mut live, 4);
    let sent = |payload: &[u8]| {
        let wanted =
            |seen: &&CapturedPacket| seen.direction == Direction::Egress && seen.payload == payload;
        seen.iter().find(wanted).and_then(|seen| seen.task).expect("a task")
    };
    let forked = sent(b"forked");
    assert_ne!(forked.pid, shell.id());
    assert_eq!(forked.parent_pid, shell.id(), "where the kernel has BTF");
    assert_eq!(sent(b"executed").parent_pid, 0);
}

#[test]
fn identities_hold_at_any_time() {
    if !privileged() {
        return;
    }
    let (server, port) = server();
    let mut live = open(HookChoice::Cgroup, port);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
                while !stop.load(Ordering::Relaxed) {
                    // The server never reads: packets that its socket drops are captured as well.
                    client.send_to(&[7; 100], ("127.0.0.1", port)).ok();
                }
            });
        }
        let end = Instant::now() + Duration::from_secs(2);
        let mut rounds = 0;
        while Instant::now() < end {
            // Reads slowly, so that the ring overflows.
            live.drain(50, &mut |_| ());
            assert_balance(&live);
            rounds += 1;
        }
        stop.store(true, Ordering::Relaxed);
        assert!(rounds > 10, "{rounds}");
    });
    drop(server);
    live.detach();
    while live.drain(1_000, &mut |_| ()) > 0 {}
    let ring = assert_balance(&live);
    assert!(ring.sequence_gaps > 0, "the ring never overflowed: {ring:?}");
    assert_eq!((ring.in_ring, live.ring_used_bytes()), (0, 0));
}

fn assert_balance(live: &Live) -> Ring {
    let (kernel, ring) = live.counters();
    let (mut submitted, mut lost) = (0, 0);
    for (hook, kernel) in &kernel {
        let skipped: u64 = kernel.skipped.values().sum();
        let outcomes = kernel.submitted + kernel.lost_ring_full + kernel.sampled_out + skipped;
        assert_eq!(kernel.seen, outcomes, "{hook}: {kernel:?}");
        submitted += kernel.submitted;
        lost += kernel.lost_ring_full;
    }
    assert_eq!(ring.submitted, submitted);
    assert_eq!(ring.submitted, ring.received + ring.in_ring);
    assert_eq!(ring.sequence_gaps, lost);
    ring
}

#[test]
fn first_packet_wakes_reader() {
    if !privileged() {
        return;
    }
    let (_server, port) = server();
    let mut live = open(HookChoice::Cgroup, port);
    let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    // Under load the reader requests no wakeups, and must request them again afterwards.
    for _ in 0..20 {
        for _ in 0..1_000 {
            client.send_to(b"load", ("127.0.0.1", port)).ok();
        }
        live.wait(Duration::from_millis(1), None).expect("waits");
        while live.drain(1_000, &mut |_| ()) > 0 {}
    }
    let end = Instant::now() + Duration::from_millis(500);
    while Instant::now() < end {
        live.wait(Duration::from_millis(10), None).expect("waits");
        while live.drain(1_000, &mut |_| ()) > 0 {}
    }
    let quickest = (0..10)
        .map(|_| {
            let sender = client.try_clone().expect("a copy");
            let sending = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(30));
                let sent = Instant::now();
                sender.send_to(b"first", ("127.0.0.1", port)).ok();
                sent
            });
            live.wait(Duration::from_millis(200), None).expect("waits");
            let woken = Instant::now();
            let sent = sending.join().expect("sends");
            while live.drain(1_000, &mut |_| ()) > 0 {}
            woken.checked_duration_since(sent).unwrap_or(Duration::MAX)
        })
        .min();
    assert!(quickest.is_some_and(|took| took < Duration::from_millis(20)), "{quickest:?}");
}

/// Started and killed by [`nothing_stays_attached_after_kill`].
#[test]
#[ignore = "a part of another test"]
fn attached_until_killed() {
    let _live = open(HookChoice::Cgroup, 5389);
    println!("attached");
    std::thread::sleep(Duration::from_secs(30));
}

#[test]
fn nothing_stays_attached_after_kill() {
    if !privileged() {
        return;
    }
    if Command::new("bpftool").arg("version").output().is_err() {
        return environment::skip("there is no bpftool to list links with");
    }
    let mut agent = Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", "host::attached_until_killed", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let attached = BufReader::new(agent.stdout.take().expect("a pipe"))
        .lines()
        .any(|line| line.is_ok_and(|line| line.ends_with("attached")));
    let links = links_of(agent.id());
    agent.kill().expect("kills");
    agent.wait().expect("ends");
    assert!(attached);
    assert!(links.len() >= 2, "{links:?}");
    // The kernel releases them in the background.
    std::thread::sleep(Duration::from_millis(200));
    for link in links {
        let found = Command::new("bpftool").args(["link", "show", "id", &link]).output();
        assert!(!found.expect("runs").status.success(), "link {link} is still there");
    }
}

/// Returns the ids of the links that a process holds.
fn links_of(pid: u32) -> Vec<String> {
    std::fs::read_dir(format!("/proc/{pid}/fdinfo"))
        .expect("a process")
        .flatten()
        .filter_map(|entry| {
            let info = std::fs::read_to_string(entry.path()).ok()?;
            let id = info.lines().find_map(|line| line.strip_prefix("link_id:"))?;
            Some(id.trim().to_owned())
        })
        .collect()
}

#[test]
fn raw_sockets_get_no_second_packet() {
    if !privileged() {
        return;
    }
    let (_server, port) = server();
    let mut live = open(HookChoice::Cgroup, port);
    let _raw = rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::UDP))
        .expect("a raw socket");
    let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for payload in [b"first", b"later"] {
        client.send_to(payload, ("127.0.0.1", port)).expect("sends");
    }
    let seen = collect(&mut live, 4);
    let of = |direction, payload: &[u8]| {
        seen.iter().filter(|seen| seen.direction == direction && seen.payload == payload).count()
    };
    for payload in [b"first", b"later"] {
        let counts = (of(Direction::Egress, payload), of(Direction::Ingress, payload));
        assert_eq!(counts, (1, 1), "{seen:?}");
    }
    assert_eq!(live.counters().0["cgroup"].seen, 4);
}

#[test]
fn merges_both_copies_of_loopback_packet() {
    if !privileged() {
        return;
    }
    let (_server, port) = server();
    let mut live = open(HookChoice::Socket, port);
    assert_eq!(live.hook(), "socket");
    let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    client.send_to(b"once", ("127.0.0.1", port)).expect("sends");
    let seen = collect(&mut live, 2);
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!((seen[0].direction, &seen[0].payload[..]), (Direction::Loopback, &b"once"[..]));
    let (kernel, ring) = live.counters();
    let socket = &kernel["socket"];
    assert_eq!((socket.seen, socket.submitted, socket.skipped["loopback_copy"]), (2, 1, 1));
    assert_eq!((ring.received, ring.in_ring, ring.sequence_gaps), (1, 0, 0));
}

#[test]
fn errors_name_problem_and_remedy() {
    if !privileged() {
        return;
    }
    let base = LiveOptions {
        ports: vec![5390].try_into().expect("a port"),
        ring_bytes: 1 << 20,
        snap_bytes: 1_500,
        ..LiveOptions::default()
    };
    let refused = |options: &LiveOptions| match Live::open(options) {
        Ok(_) => panic!("opened in spite of the error"),
        Err(error) => error.to_string(),
    };
    let interface = refused(&LiveOptions { interfaces: vec!["nosuch0".into()], ..base.clone() });
    assert!(interface.contains("nosuch0") && interface.contains("lo"), "{interface}");
    let cgroup = refused(&LiveOptions { cgroup: Some("no/such".into()), ..base.clone() });
    assert!(cgroup.contains("no/such"), "{cgroup}");
    let ring = refused(&LiveOptions { ring_bytes: 5_000, ..base });
    assert!(ring.contains("power of two"), "{ring}");
}
