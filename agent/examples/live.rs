//! Shows what live capture sees: `live [auto|cgroup|socket] [SECONDS] [PORTS] [quiet]`.
//!
//! Needs privilege. With `quiet` it counts only, to see whether draining keeps up.

use dnscribe::capture::live::{HookChoice, Live, LiveOptions};
use std::io::Write;
use std::time::{Duration, Instant};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let hook = match args.next().as_deref() {
        Some("cgroup") => HookChoice::Cgroup,
        Some("socket") => HookChoice::Socket,
        _ => HookChoice::Auto,
    };
    let seconds = args.next().map_or(Ok(5), |text| text.parse())?;
    let ports = args.next().unwrap_or_else(|| "53".into()).parse()?;
    let quiet = args.next().is_some();
    let options = LiveOptions {
        hook,
        cgroup: None,
        interfaces: Vec::new(),
        ports,
        ring_bytes: 32 << 20,
        snap_bytes: 65_536,
    };
    let mut live = Live::open(&options)?;
    let mut out = std::io::stderr().lock();
    writeln!(out, "{}", live.describe())?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut total, mut most) = (0_usize, 0);
    while Instant::now() < end {
        live.wait(Duration::from_millis(100))?;
        most = most.max(live.ring_used_bytes());
        loop {
            let taken = live.drain(1024, &mut |packet| {
                if !quiet {
                    let comm = packet.task.map(|task| {
                        String::from_utf8_lossy(&task.comm).trim_end_matches('\0').to_owned()
                    });
                    // Nobody is left to tell where stderr is gone.
                    let _ = writeln!(out, "{comm:?} {packet:?}");
                }
            });
            total += taken;
            if taken < 1024 {
                break;
            }
        }
    }
    live.detach();
    while live.drain(1024, &mut |_| total += 1) > 0 {}
    let (kernel, ring) = live.counters();
    writeln!(out, "{total} packets, {most} octets in the ring at most\n{kernel:#?}\n{ring:?}")?;
    Ok(())
}
