//! What the programs cost in the kernel, as one JSON object of figures: what `cargo xtask bench kernel`
//! runs. As root, and in a network namespace of its own (`unshare --net`), whose interfaces it sets up.
//!
//! `kernel_cost prices`, or `run PROGRAM`, `traffic cgroup|socket`, `storm`.

mod cgroup;
use dnscribe_benches::cpu;
mod frames;
mod prices;
mod storm;
mod test_run;
mod traffic;

use dnscribe::capture::live::{HookChoice, LiveOptions};
use serde_json::{Map, Value};
use std::error::Error;
use std::io::{Write as _, stdout};
use std::process::Command;

/// As the agent's by default.
const RING_BYTES: u32 = 32 << 20;

const USAGE: &str = "usage: kernel_cost prices | run PROGRAM | traffic cgroup|socket | storm";

type Failure = Box<dyn Error>;

/// What was measured: names with their units in them, and values.
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
        ["storm"] => storm::measure()?,
        _ => return Err(USAGE.into()),
    };
    Ok(writeln!(stdout(), "{}", Value::Object(figures))?)
}

/// What the agent asks for by default.
fn options() -> LiveOptions {
    LiveOptions { hook: HookChoice::Cgroup, ring_bytes: RING_BYTES, ..LiveOptions::default() }
}

/// The middle one.
fn middle(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Sets the namespace's interfaces up.
fn ip(words: &str) -> Result<(), Failure> {
    let output = Command::new("ip").args(words.split(' ')).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("`ip {words}`: {}; root is needed", said.trim_end()).into())
}
