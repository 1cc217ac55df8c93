//! Cost of the agent for processes that use sockets: CPU time of loops of system calls, without the agent, with it, and
//! with it capturing connections, or packets that the kernel discards, forward and backward.

use crate::cgroup::Cgroup;
use crate::cpu::cpu_time;
use crate::frames::{DNS, OTHER};
use crate::{Failure, Figures, count_run_time, middle, options};
use dnscribe_agent::capture::live::{Live, LiveOptions};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};

const ROUNDS: usize = 3;
/// What runs in each pass of a round, as an index of [`NAMES`].
const ORDER: [usize; 8] = [0, 1, 2, 3, 3, 2, 1, 0];
/// Ends of the names of figures: without the agent, with it, with connections, with discarded packets.
const NAMES: [&str; 4] = ["_bare", "", "_connects", "_path"];
/// A port of a UDP socket, and of no DNS.
const OTHER_UDP: u16 = OTHER + 1;
const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;

type Iteration = Box<dyn Fn() -> Result<(), Failure>>;

/// A loop of system calls: name, number of iterations, one iteration.
struct SyscallLoop(&'static str, u32, Iteration);

/// Runs the loops.
pub fn measure() -> Result<Figures, Failure> {
    let cgroup = Cgroup::enter()?;
    let loops = loops()?;
    let mut readings = vec![[const { Vec::new() }; NAMES.len()]; loops.len()];
    for _ in 0..ROUNDS {
        for with in ORDER {
            let mut live = (with > 0).then(|| open(&cgroup, with)).transpose()?;
            for (syscall_loop, readings) in loops.iter().zip(&mut readings) {
                readings[with].push(time_loop(syscall_loop)?);
                while live.as_mut().is_some_and(|live| live.drain(10_000, &mut |_| ()) > 0) {}
            }
        }
    }
    let mut figures = Figures::new();
    for (SyscallLoop(name, ..), readings) in loops.iter().zip(readings) {
        let readings = readings.map(middle);
        for (end, reading) in NAMES.into_iter().zip(readings) {
            figures.insert(format!("{name}{end}_ns"), reading.into());
        }
        for (end, reading) in NAMES.into_iter().zip(readings).skip(1) {
            figures.insert(format!("{name}{end}_to_bare"), (reading / readings[0]).into());
        }
    }
    // The share of the programs themselves. The kernel's statistics add a cost, so this comes last.
    let _counting = count_run_time()?;
    for (with, end) in NAMES.into_iter().enumerate().skip(1) {
        let mut live = open(&cgroup, with)?;
        for syscall_loop in &loops {
            time_loop(syscall_loop)?;
            while live.drain(10_000, &mut |_| ()) > 0 {}
        }
        for entry in live.loaded().map_or(&[][..], |loaded| &loaded.entries) {
            let name = entry.name;
            let Some(info) = live.program_info(name).filter(|info| info.run_count() > 0) else {
                continue;
            };
            #[expect(clippy::cast_precision_loss, reason = "far from 2^52 nanoseconds")]
            let each = info.run_time().as_nanos() as f64 / info.run_count() as f64;
            figures.insert(format!("program_{name}{end}_ns"), each.into());
        }
    }
    Ok(figures)
}

/// Opens a capture; `with` is an index of [`NAMES`].
fn open(cgroup: &Cgroup, with: usize) -> Result<Live, Failure> {
    let cgroup = Some(cgroup.path().to_owned());
    let (connects, path) = (with == 2, with == 3);
    Ok(Live::open(&LiveOptions { cgroup, connects, path, ..options() })?)
}

fn loops() -> Result<Vec<SyscallLoop>, Failure> {
    let listener = TcpListener::bind((LOCAL, OTHER))?;
    let unconnected = UdpSocket::bind((LOCAL, 0))?;
    let sink = UdpSocket::bind((LOCAL, OTHER))?;
    let connect = |port: u16| -> Iteration {
        Box::new(move || Ok(UdpSocket::bind(("0.0.0.0", 0))?.connect((LOCAL, port))?))
    };
    let connected = UdpSocket::bind((LOCAL, OTHER_UDP))?;
    let discard = |port: u16| -> Result<Iteration, Failure> {
        let (client, deaf) = (UdpSocket::bind((LOCAL, 0))?, UdpSocket::bind((LOCAL, port))?);
        Ok(Box::new(move || {
            client.send_to(&[7; 100], deaf.local_addr()?)?;
            Ok(())
        }))
    };
    Ok(vec![
        SyscallLoop("udp_connect", 4_000, connect(OTHER)),
        // To sockets that read nothing: their buffers are full after the first hundreds.
        SyscallLoop("udp_discard", 10_000, discard(OTHER_UDP + 1)?),
        SyscallLoop("udp_discard_dns", 10_000, discard(DNS)?),
        SyscallLoop(
            "udp_connect_send",
            4_000,
            Box::new(move || {
                let client = UdpSocket::bind(("0.0.0.0", 0))?;
                client.connect((LOCAL, OTHER_UDP))?;
                client.send(&[7; 100])?;
                connected.recv(&mut [0; 200])?;
                Ok(())
            }),
        ),
        SyscallLoop("udp_connect_dns", 4_000, connect(DNS)),
        SyscallLoop(
            "tcp_connect",
            1_000,
            Box::new(move || {
                let client = TcpStream::connect((LOCAL, OTHER))?;
                drop((client, listener.accept()?));
                Ok(())
            }),
        ),
        SyscallLoop(
            "udp_send_unconnected",
            10_000,
            Box::new(move || {
                unconnected.send_to(&[7; 100], (LOCAL, OTHER))?;
                sink.recv(&mut [0; 200])?;
                Ok(())
            }),
        ),
    ])
}

/// Runs a loop and returns nanoseconds of CPU time per iteration.
fn time_loop(SyscallLoop(_, count, iteration): &SyscallLoop) -> Result<f64, Failure> {
    let before = cpu_time();
    for _ in 0..*count {
        iteration()?;
    }
    Ok(cpu_time().saturating_sub(before).as_secs_f64() * 1e9 / f64::from(*count))
}
