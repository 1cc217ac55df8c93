//! Quality of detection (`cargo xtask bench detect`): incidents of every kind in the traffic of nodes, days without
//! incident, and real captures.
//!
//! `detect_quality tuning|holdout SEEDS DAYS [CORPUS]`: incidents of SEEDS seeds each, and DAYS days of each of
//! the four nodes. The thresholds were tuned on `tuning`; `holdout` has other seeds. Prints JSON lines. All
//! traffic is generated: except for times, equal arguments give equal lines.

mod benign;
mod corpus;
mod cost;
use dnscribe_benches::cpu;
mod event;
mod incidents;
mod evaluate;
mod heap;
mod names;
mod report;

use benign::Profile;
use dnscribe_analysis::detect::{ExpectedResolvers, HostFacts};
use evaluate::{DetectedAlert, IncidentResult, run_incident, run_quiet_node};
use event::Rng;
use report::Report;
use std::error::Error;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

/// Allocator of the agent.
#[global_allocator]
static ALLOCATOR: heap::Counting = heap::Counting;

/// Returns the expected resolvers: those that the operator configured, or else those of the host.
fn meant(configured: &[IpAddr]) -> HostFacts {
    let system = [benign::RESOLVER.into(), benign::SECOND.into()].into();
    let configured = configured.iter().copied().collect();
    HostFacts { resolvers: ExpectedResolvers { configured, system }, ..HostFacts::default() }
}

/// A piece of work.
#[derive(Clone, Copy)]
enum Job {
    /// The incidents of a seed.
    Incidents(u64),
    /// Days of a node.
    Quiet(Profile, u64, f64),
}

/// Result of a job.
enum JobResult {
    Incidents(Vec<(incidents::Incident, IncidentResult)>),
    Quiet(Profile, f64, Vec<DetectedAlert>, u64),
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (set, seeds, days, corpus) = match words.as_slice() {
        [set, seeds, days] => (set, seeds.parse()?, days.parse()?, None),
        [set, seeds, days, corpus] => (set, seeds.parse()?, days.parse()?, Some(corpus)),
        _ => return Err("usage: detect_quality tuning|holdout SEEDS DAYS [CORPUS]".into()),
    };
    let first = match set.as_str() {
        "tuning" => 1,
        "holdout" => 2_000_001,
        other => return Err(format!("unknown set {other}: use tuning or holdout").into()),
    };
    let began = Instant::now();
    let mut report = Report::default();
    measure(first, seeds, days, &mut report);
    if let Some(corpus) = corpus {
        // The captures' resolvers are unknown; this address is in none of them.
        let unused = meant(&[Ipv4Addr::new(192, 0, 2, 1).into()]);
        for (name, file) in corpus::captures(Path::new(corpus))? {
            match corpus::replay(&file, &unused) {
                Some((found, transactions)) => {
                    report.capture(&name, corpus::label(&name), &found, transactions);
                }
                None => report.without_dns(&name),
            }
        }
    }
    let mut out = std::io::stdout().lock();
    report.print(set, began.elapsed(), &mut out)?;
    for line in cost::lines() {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Runs all jobs on all cores. The results do not depend on their order.
fn measure(first: u64, seeds: u64, days: f64, report: &mut Report) {
    let quiet_days = Profile::ALL.into_iter().filter(|_| days > 0.0);
    let mut jobs: Vec<Job> = quiet_days.map(|profile| Job::Quiet(profile, first, days)).collect();
    jobs.extend((first..first + seeds).map(Job::Incidents));
    let next = Mutex::new(jobs.iter().enumerate());
    let done = Mutex::new(Vec::new());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let job = next.lock().ok().and_then(|mut jobs| jobs.next());
                    let Some((place, job)) = job else { break };
                    let result = run_job(*job);
                    if let Ok(mut done) = done.lock() {
                        done.push((place, result));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(place, _)| *place);
    for (_, done) in done {
        match done {
            JobResult::Incidents(verdicts) => {
                for (incident, result) in verdicts {
                    report.incident(&incident, &result);
                }
            }
            JobResult::Quiet(profile, days, found, transactions) => {
                report.quiet(profile, days, &found, transactions);
            }
        }
    }
}

fn run_job(job: Job) -> JobResult {
    match job {
        Job::Incidents(seed) => {
            let mut rng = Rng::new(seed);
            let mut verdicts = Vec::new();
            for incident in incidents::all(&mut rng) {
                let result = run_incident(&incident, rng.next(), &meant(&[]));
                verdicts.push((incident, result));
            }
            JobResult::Incidents(verdicts)
        }
        Job::Quiet(profile, seed, days) => {
            let (found, transactions) = run_quiet_node(profile, seed, days, &meant(&[]));
            JobResult::Quiet(profile, days, found, transactions)
        }
    }
}

#[cfg(test)]
mod tests;
