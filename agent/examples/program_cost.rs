//! How long the programs take per packet, in nanoseconds. Needs privilege.

use dnscribe::capture::live::testing::Bench;
use dnscribe::capture::live::{HookChoice, LiveOptions};
use std::io::Write;

const RUNS: u32 = 100_000;

fn frame(port: u16) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend([8, 0, 0x45, 0, 0, 75, 0, 1, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
    frame.extend([0x99, 0x99]);
    frame.extend(port.to_be_bytes());
    frame.extend([0, 55, 0, 0]);
    frame.extend([7; 47]);
    frame
}

fn main() -> anyhow::Result<()> {
    let options = LiveOptions {
        hook: HookChoice::Auto,
        cgroup: None,
        interfaces: Vec::new(),
        ports: "5391".parse()?,
        ring_bytes: 32 << 20,
        snap_bytes: 65_536,
    };
    let mut out = std::io::stdout().lock();
    for (program, tap) in [("cgroup_ingress", false), ("cgroup_egress", false), ("tap", true)] {
        let mut bench = Bench::load(&options, tap)?;
        for (what, port) in [("a query", 5391), ("another port", 5392)] {
            let mut best = u32::MAX;
            for _ in 0..7 {
                best = best.min(bench.time(program, &frame(port), RUNS)?.1);
                while bench.live.drain(4096, &mut |_| ()) > 0 {}
            }
            writeln!(out, "{program}: {what}: {best} ns")?;
        }
    }
    Ok(())
}
