//! What the agent holds, with the streams that Kafka gets by default and all records made: at 50 thousand
//! queries a second, and for ten minutes of the capture's time in which every name is a new one.
//!
//! The capture is written to the standard input of `dnscribe replay` as it is made; the agent goes by its
//! clock, so nobody waits for ten minutes.

use super::Bench;
use super::case::{Figures, Plan};
use super::report::{Report, Row};
use super::usage;
use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::scale::Scale;
use dnscribe_tests::shell;
use std::io::BufWriter;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// How much more may be held after ten minutes than after two.
const FLAT: f64 = 1.1;

/// Measures it.
pub fn main(bench: &Bench) -> Result<Report> {
    let messages = bench.count(4_000_000);
    let busy = Scale { messages, resolvers: 4, zones: 20_000, ..Scale::default() };
    let seconds = u64::from(messages / 2 / busy.queries_per_second);
    let random_qps = messages / 2 / 600;
    let random = Scale { zones: 100, random: true, queries_per_second: random_qps, ..busy };
    let mut plan = Plan::new("memory");
    plan.slow_case("busy-50000-qps", move || {
        let held = held(bench.binary(), busy, seconds)?;
        Ok(Figures::default().with("resident_bytes", at(&held, seconds)?))
    });
    plan.slow_case("random-subdomains", move || {
        let held = held(bench.binary(), random, 600)?;
        let (early, late) = (at(&held, 120)?, at(&held, 600)?);
        Ok(Figures::default()
            .with("resident_bytes_minute_2", early)
            .with("resident_bytes", late)
            .with("minute_10_by_minute_2", late / early))
    });
    for case in ["busy-50000-qps", "random-subdomains"] {
        plan.row(Row::of(case, "resident_bytes"));
    }
    plan.row(Row::of("random-subdomains", "minute_10_by_minute_2").at_most(FLAT));
    bench.run(plan)
}

/// Octets held by the end of each second of the capture.
type Held = Vec<(u64, u64)>;

fn at(held: &Held, second: u64) -> Result<f64> {
    let found = held.iter().find(|(at, _)| *at >= second).context("the capture is too short")?;
    Ok(f64::from(u32::try_from(found.1 / 1024)?) * 1024.0)
}

/// Lets the agent read a capture, and looks at its memory until this second of it.
fn held(binary: &Path, scale: Scale, until: u64) -> Result<Held> {
    let mut command = Command::new(binary);
    command.args(["replay", "-", "--sink", "file:/dev/null"]);
    command.args(["--stream", "transactions,metrics,alerts"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().context("cannot start the agent")?;
    let mut held = Held::new();
    let given = give(&mut child, scale, until, &mut held);
    if given.is_err() {
        shell::end(&mut child);
    }
    given?;
    let status = child.wait()?;
    ensure!(status.success(), "`{}` failed ({status})", shell::shown(&command));
    Ok(held)
}

fn give(child: &mut Child, scale: Scale, until: u64, held: &mut Held) -> Result<()> {
    let pid = child.id();
    let input = child.stdin.take().context("no input")?;
    scale.write_watched(BufWriter::new(input), &mut |second| {
        if second <= until {
            held.push((second, usage::resident_bytes(pid).context("the agent is gone")?));
        }
        Ok(())
    })
}
