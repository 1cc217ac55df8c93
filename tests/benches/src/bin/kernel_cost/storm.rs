//! What attribution costs those who make sockets: loops of system calls without the agent, with it, with
//! it, and without, by the CPU time of the thread that makes them.

use crate::cgroup::Cgroup;
use crate::cpu::cpu_time;
use crate::frames::{DNS, OTHER};
use crate::{Failure, Figures, middle, options};
use dnscribe::capture::live::testing::{costs, count_run_time};
use dnscribe::capture::live::{Live, LiveOptions};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};

const ROUNDS: usize = 3;
/// With the agent or without it.
const ORDER: [bool; 4] = [false, true, true, false];
const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;

type Turn = Box<dyn Fn() -> Result<(), Failure>>;

/// A loop: its name, how many turns, and one of them.
struct Storm(&'static str, u32, Turn);

/// Blows the storms.
pub fn measure() -> Result<Figures, Failure> {
    let cgroup = Cgroup::enter()?;
    let storms = storms()?;
    let mut readings = vec![[Vec::new(), Vec::new()]; storms.len()];
    for _ in 0..ROUNDS {
        for with in ORDER {
            let mut live = with.then(|| open(&cgroup)).transpose()?;
            for (storm, readings) in storms.iter().zip(&mut readings) {
                readings[usize::from(with)].push(blow(storm)?);
                while live.as_mut().is_some_and(|live| live.drain(10_000, &mut |_| ()) > 0) {}
            }
        }
    }
    let mut figures = Figures::new();
    for (Storm(name, ..), [without, with]) in storms.iter().zip(readings) {
        let (without, with) = (middle(without), middle(with));
        figures.insert(format!("{name}_bare_ns"), without.into());
        figures.insert(format!("{name}_ns"), with.into());
        figures.insert(format!("{name}_to_bare"), (with / without).into());
    }
    // What the programs themselves take of that: counting is not for free, so it comes last.
    let live = open(&cgroup)?;
    let _counting = count_run_time()?;
    for storm in &storms {
        blow(storm)?;
    }
    for (name, cost) in costs(&live)?.into_iter().filter(|(_, cost)| cost.runs > 0) {
        #[expect(clippy::cast_precision_loss, reason = "far from 2^52 nanoseconds")]
        let each = cost.nanoseconds as f64 / cost.runs as f64;
        figures.insert(format!("program_{name}_ns"), each.into());
    }
    Ok(figures)
}

fn open(cgroup: &Cgroup) -> Result<Live, Failure> {
    Ok(Live::open(&LiveOptions { cgroup: Some(cgroup.path().to_owned()), ..options() })?)
}

fn storms() -> Result<Vec<Storm>, Failure> {
    let listener = TcpListener::bind((LOCAL, OTHER))?;
    let unconnected = UdpSocket::bind((LOCAL, 0))?;
    let sink = UdpSocket::bind((LOCAL, OTHER))?;
    let connect = |port: u16| -> Turn {
        Box::new(move || Ok(UdpSocket::bind(("0.0.0.0", 0))?.connect((LOCAL, port))?))
    };
    Ok(vec![
        Storm("udp_connect", 4_000, connect(OTHER)),
        Storm("udp_connect_dns", 4_000, connect(DNS)),
        Storm(
            "tcp_connect",
            1_000,
            Box::new(move || {
                let client = TcpStream::connect((LOCAL, OTHER))?;
                drop((client, listener.accept()?));
                Ok(())
            }),
        ),
        Storm(
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

/// Nanoseconds of CPU time for a turn.
fn blow(Storm(_, turns, turn): &Storm) -> Result<f64, Failure> {
    let before = cpu_time();
    for _ in 0..*turns {
        turn()?;
    }
    Ok(cpu_time().saturating_sub(before).as_secs_f64() * 1e9 / f64::from(*turns))
}
