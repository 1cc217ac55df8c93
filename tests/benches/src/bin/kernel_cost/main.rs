//! CPU time of the eBPF programs in the kernel (`cargo xtask bench kernel`). Prints figures as a JSON object.
//! Needs root and a separate network namespace (`unshare --net`), whose interfaces it sets up.
//!
//! `kernel_cost prices | run PROGRAM | traffic cgroup|socket | storm`.

mod baseline;
mod cgroup;
use dnscribe_benches::cpu;
mod frames;
mod prices;
mod syscall_loops;
mod test_run;
mod traffic;

use aya::sys::{Stats, enable_stats};
use dnscribe_agent::capture::live::{HookChoice, LiveOptions};
use serde_json::{Map, Value};
use std::error::Error;
use std::io::{Write as _, stdout};
use std::os::fd::OwnedFd;
use std::process::Command;

/// Default of the agent.
const RING_BYTES: u32 = 32 << 20;

const USAGE: &str = "usage: kernel_cost prices | run PROGRAM | traffic cgroup|socket | storm";

type Failure = Box<dyn Error>;

/// Measured values by name; names include the unit.
type Figures = Map<String, Value>;

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    ip("link set lo up")?;
    let figures = match words.as_slice() {
        ["prices"] => prices::measure()?,
        ["run", program] => test_run::measure(program)?,
        ["traffic", "cgroup"] => traffic::at_cgroup()?,
        ["traffic", "socket"] => traffic::at_interface()?,
        ["storm"] => syscall_loops::measure()?,
        _ => return Err(USAGE.into()),
    };
    Ok(writeln!(stdout(), "{}", Value::Object(figures))?)
}

/// Returns the agent's default options.
fn options() -> LiveOptions {
    LiveOptions { hook: HookChoice::Cgroup, ring_bytes: RING_BYTES, ..LiveOptions::default() }
}

/// Enables run time statistics of programs (`BPF_ENABLE_STATS`, Linux 5.8) until the result is dropped.
fn count_run_time() -> Result<OwnedFd, Failure> {
    Ok(enable_stats(Stats::RunTime)?)
}

/// Returns the median.
fn middle(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Runs `ip` with arguments.
fn ip(words: &str) -> Result<(), Failure> {
    let output = Command::new("ip").args(words.split(' ')).output()?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("`ip {words}`: {}; root is needed", stderr.trim_end()).into())
}
