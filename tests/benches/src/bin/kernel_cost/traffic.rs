//! CPU time by the kernel's run-time statistics: the programs are attached as in the agent, one hook after the
//! other, while packets are sent.

use crate::baseline::Baseline;
use crate::cgroup::Cgroup;
use crate::frames::{DNS, OTHER, QUERY_BYTES, RESPONSE_BYTES};
use crate::{Failure, Figures, RING_BYTES, count_run_time, ip, middle, options};
use aya::programs::ProgramInfo;
use dnscribe_agent::capture::live::{HookChoice, Live, LiveOptions};
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};

/// Packets of each kind for one program; their records fit into the ring.
const PACKETS: u32 = 20_000;
/// Order of attachment: forward and backward, so that a drift of the machine affects all alike.
const ORDER: [&str; 8] = ["empty", "small", "large", "ours", "ours", "large", "small", "empty"];
/// Bytes of a packet that is not DNS.
const OTHER_BYTES: usize = 100;

/// A kind of packet: its name, the baseline for its record, and who sends it.
struct Kind {
    name: &'static str,
    floor: Option<&'static str>,
    from: UdpSocket,
    to: SocketAddr,
    /// Receiving socket, if any.
    receiver: Option<UdpSocket>,
    bytes: Vec<u8>,
}

impl Kind {
    fn send(&self) -> Result<(), Failure> {
        let mut buffer = [0; 2048];
        for _ in 0..PACKETS {
            self.from.send_to(&self.bytes, self.to)?;
            if let Some(receiver) = &self.receiver {
                receiver.recv(&mut buffer)?;
            }
        }
        Ok(())
    }
}

/// Attached programs.
enum Attached {
    Ours(Box<Live>),
    Other(Box<Baseline>, String),
}

impl Attached {
    fn costs(&mut self) -> Result<Vec<(String, ProgramInfo)>, Failure> {
        Ok(match self {
            Self::Ours(live) => {
                let entries = live.loaded().map_or(&[][..], |loaded| &loaded.entries);
                let names = entries.iter().map(|entry| entry.name);
                names.filter_map(|name| Some((name.into(), live.program_info(name)?))).collect()
            }
            Self::Other(baseline, name) => vec![(name.clone(), baseline.info(name)?)],
        })
    }

    /// Empties the ring.
    ///
    /// # Errors
    /// If the ring was full.
    fn drain(&mut self) -> Result<(), Failure> {
        let lost = match self {
            Self::Ours(live) => {
                while live.drain(PACKETS as usize, &mut |_| ()) > 0 {}
                live.counters().0.values().map(|kernel| kernel.lost_ring_full).sum()
            }
            Self::Other(baseline, _) => {
                baseline.drain();
                baseline.full()?
            }
        };
        if lost > 0 { Err("the ring was full".into()) } else { Ok(()) }
    }
}

/// Measures hook `cgroup`: UDP over loopback, sent and received by this process in a separate cgroup.
pub fn at_cgroup() -> Result<Figures, Failure> {
    let cgroup = Cgroup::enter()?;
    let bound = |port: u16| UdpSocket::bind(("127.0.0.1", port));
    let (client, server, other) = (bound(0)?, bound(DNS)?, bound(OTHER)?);
    let kinds = [
        kind("other", None, &client, &other, OTHER_BYTES)?,
        kind("query", Some("small"), &client, &server, QUERY_BYTES)?,
        kind("response", Some("large"), &server, &client, RESPONSE_BYTES)?,
    ];
    measure(&kinds, &["cgroup_egress", "cgroup_ingress"], |what| {
        if what == "ours" {
            let cgroup = Some(cgroup.path().to_owned());
            return Ok(Attached::Ours(Box::new(Live::open(&LiveOptions { cgroup, ..options() })?)));
        }
        let name = format!("{what}_cgroup");
        let mut baseline = Baseline::load(RING_BYTES)?;
        let cgroup = cgroup.open()?;
        baseline.attach_cgroup(&name, &cgroup, true)?;
        baseline.attach_cgroup(&name, &cgroup, false)?;
        Ok(Attached::Other(Box::new(baseline), name))
    })
}

/// Measures hook `socket`: UDP through a pair of interfaces without receiver, so that each packet is seen once.
pub fn at_interface() -> Result<Figures, Failure> {
    ip("link add bench0 type veth peer name bench1")?;
    ip("address add 198.18.255.1/24 dev bench0")?;
    ip("link set bench0 up")?;
    ip("link set bench1 up")?;
    ip("neighbor add 198.18.255.2 lladdr 02:00:00:00:00:02 dev bench0")?;
    let sent = |name, floor, from: u16, to: u16, bytes| {
        let from = UdpSocket::bind(("198.18.255.1", from))?;
        let to = SocketAddr::from(([198, 18, 255, 2], to));
        Ok::<_, Failure>(Kind { name, floor, from, to, receiver: None, bytes: vec![7; bytes] })
    };
    let kinds = [
        sent("other", None, 0, OTHER, OTHER_BYTES)?,
        sent("query", Some("small"), 0, DNS, QUERY_BYTES)?,
        sent("response", Some("large"), DNS, 40_000, RESPONSE_BYTES)?,
    ];
    measure(&kinds, &["tap"], |what| {
        if what == "ours" {
            let interfaces = vec!["bench1".to_owned()];
            let options = LiveOptions { hook: HookChoice::Socket, interfaces, ..options() };
            return Ok(Attached::Ours(Box::new(Live::open(&options)?)));
        }
        let name = format!("{what}_tap");
        let mut baseline = Baseline::load(RING_BYTES)?;
        baseline.attach_tap(&name, "bench1")?;
        Ok(Attached::Other(Box::new(baseline), name))
    })
}

fn kind(
    name: &'static str,
    floor: Option<&'static str>,
    from: &UdpSocket,
    receiver: &UdpSocket,
    bytes: usize,
) -> Result<Kind, Failure> {
    let (from, to) = (from.try_clone()?, receiver.local_addr()?);
    let receiver = Some(receiver.try_clone()?);
    Ok(Kind { name, floor, from, to, receiver, bytes: vec![7; bytes] })
}

fn measure(
    kinds: &[Kind],
    programs: &[&str],
    attach: impl Fn(&str) -> Result<Attached, Failure>,
) -> Result<Figures, Failure> {
    let _counting = count_run_time()?;
    let mut readings = BTreeMap::<(&str, String), Vec<f64>>::new();
    for what in ORDER {
        let mut attached = attach(what)?;
        for kind in kinds {
            let before = attached.costs()?;
            kind.send()?;
            for ((name, after), (_, before)) in attached.costs()?.into_iter().zip(before) {
                let runs = after.run_count() - before.run_count();
                if runs > 0 {
                    let time = after.run_time().saturating_sub(before.run_time());
                    #[expect(clippy::cast_precision_loss, reason = "far from 2^52 nanoseconds")]
                    let each = time.as_nanos() as f64 / runs as f64;
                    readings.entry((kind.name, name)).or_default().push(each);
                }
            }
            attached.drain()?;
        }
    }
    let median = |kind: &str, name: &str| {
        let found = readings.iter().find(|((known, program), _)| *known == kind && program == name);
        middle(found.map(|(_, values)| values.clone()).unwrap_or_default())
    };
    let hook = if programs == ["tap"] { "tap" } else { "cgroup" };
    let mut figures = Figures::new();
    for kind in kinds {
        let empty = median(kind.name, &format!("empty_{hook}"));
        figures.insert(format!("{}_empty_ns", kind.name), empty.into());
        let (base, ratio) = match kind.floor {
            None => (empty, "to_empty"),
            Some(floor) => (median(kind.name, &format!("{floor}_{hook}")), "to_floor"),
        };
        if kind.floor.is_some() {
            figures.insert(format!("{}_floor_ns", kind.name), base.into());
        }
        for program in programs {
            let ours = median(kind.name, program);
            figures.insert(format!("{}_{program}_ns", kind.name), ours.into());
            figures.insert(format!("{}_{program}_{ratio}", kind.name), (ours / base).into());
        }
    }
    Ok(figures)
}
