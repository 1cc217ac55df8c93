//! `bench`: measurements, as JSON lines: one per repetition, then a summary. What counts are the
//! ratios within a run; absolute figures are the machine's.

mod detect;
mod e2e;
mod kafka;
mod latency;
mod pipeline;
mod timed;
mod usage;
mod windows;

use anyhow::Result;
use clap::ValueEnum as _;
use std::path::{Path, PathBuf};

/// What to measure, and how often.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Which benchmark; all of them where not given
    name: Option<Name>,
    /// Repetitions: of `e2e` each is bare, agent, agent, bare; of `kafka` each producer comes twice
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=50))]
    repetitions: u32,
    /// Queries of each repetition (`e2e`: 200000), of all (`latency`: 20000), messages of the capture (`pipeline`: 1000000,
    /// `kafka`: 2000000, two for each record), or transactions (`windows`: 1000000)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1000..=5_000_000))]
    count: Option<u32>,
    /// The agent to measure, instead of one built now
    #[arg(long)]
    binary: Option<PathBuf>,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    /// knot and dnsperf on loopback, flat out, without and with the agent
    E2e,
    /// A generated capture through `dnscribe replay`
    Pipeline,
    /// The agent's latencies against tshark's and dnsperf's
    Latency,
    /// Precision and recall of the detectors, on incidents and quiet days that are made, and on the corpus
    Detect,
    /// What windows cost for each transaction, and hold
    Windows,
    /// The Kafka sink beside kcat and Kafka's own producer, at one broker
    Kafka,
}

/// Runs the command.
pub fn main(args: &Args) -> Result<()> {
    let wanted = |name| args.name.is_none_or(|only| only == name);
    crate::setup::main(crate::setup::Args { test: true })?;
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => crate::build::release()?,
    };
    // What needs root comes last, and as root only that is left to do.
    if !crate::process::elevated() {
        if wanted(Name::Detect) {
            detect::main()?;
        }
        if wanted(Name::Pipeline) {
            pipeline::main(&binary, args.repetitions, args.count.unwrap_or(1_000_000))?;
        }
        if wanted(Name::Windows) {
            let program = crate::build::example("windows")?;
            windows::main(&program, args.repetitions, args.count.unwrap_or(1_000_000))?;
        }
        if wanted(Name::Kafka) {
            let sink = crate::build::example("kafka_sink")?;
            kafka::main(&binary, &sink, args.repetitions, args.count.unwrap_or(2_000_000))?;
        }
    }
    if wanted(Name::Latency) || wanted(Name::E2e) {
        become_root(args, &binary)?;
    }
    if wanted(Name::Latency) {
        latency::main(&binary, args.count.unwrap_or(20_000))?;
    }
    if wanted(Name::E2e) {
        e2e::main(&binary, args.repetitions, args.count.unwrap_or(200_000))?;
    }
    Ok(())
}

/// Goes on as root, where this is not, with the same agent.
fn become_root(args: &Args, binary: &Path) -> Result<()> {
    let mut again = vec!["bench".to_owned()];
    again.extend(args.name.and_then(|name| Some(name.to_possible_value()?.get_name().to_owned())));
    again.push(format!("--repetitions={}", args.repetitions));
    again.extend(args.count.map(|count| format!("--count={count}")));
    again.push(format!("--binary={}", binary.display()));
    crate::process::become_root_with("capturing", again.into_iter().map(Into::into))
}

/// The middle one of some measurements; the mean of the middle two where they are even in number.
fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match (values.len(), values.len() / 2) {
        (0, _) => f64::NAN,
        (count, middle) if count % 2 == 1 => values[middle],
        (_, middle) => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_in_the_middle() {
        assert!((median([3.0, 1.0, 2.0]) - 2.0).abs() < 1e-12);
        assert!((median([4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-12);
        assert!(median([]).is_nan());
    }
}
