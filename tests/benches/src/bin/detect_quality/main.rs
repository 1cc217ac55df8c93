//! How well detection detects: incidents of every kind amid the traffic of nodes, days of nodes on which
//! nothing happens, and real captures. What `cargo xtask bench detect` runs.
//!
//! `detect_quality tuning|holdout SEEDS DAYS [CORPUS]`: incidents of so many seeds each, and so many days
//! of each of the four nodes. The thresholds were chosen by looking at `tuning`; `holdout` has other seeds.
//! Prints JSON lines. Everything is made by our own code; the same arguments give the same lines, times of the
//! machine aside.

mod benign;
mod corpus;
mod cost;
use dnscribe_benches::cpu;
mod event;
mod incidents;
mod judge;
mod names;
mod report;

use benign::Profile;
use dnscribe::analysis::detect::Meant;
use event::Chance;
use judge::{Found, Verdict, quiet, troubled};
use report::Report;
use std::error::Error;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;
use tikv_jemallocator::Jemalloc;

/// As in the agent.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Resolvers that the operator has configured, or else those of the host's own configuration.
fn meant(configured: &[IpAddr]) -> Meant {
    let system = [benign::RESOLVER.into(), benign::SECOND.into()].into();
    Meant { configured: configured.iter().copied().collect(), system }
}

/// A piece of work.
#[derive(Clone, Copy)]
enum Job {
    /// The incidents of a seed.
    Incidents(u64),
    /// Days of a node.
    Quiet(Profile, u64, f64),
}

/// What came of it.
enum Done {
    Incidents(Vec<(incidents::Incident, Verdict)>),
    Quiet(Profile, f64, Vec<Found>, u64),
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
        other => return Err(format!("{other}: tuning or holdout?").into()),
    };
    let began = Instant::now();
    let mut report = Report::default();
    measure(first, seeds, days, &mut report);
    if let Some(corpus) = corpus {
        // Their resolvers are nobody's that were configured.
        let nobodys = meant(&[Ipv4Addr::new(192, 0, 2, 1).into()]);
        for (name, file) in corpus::captures(Path::new(corpus))? {
            match corpus::replay(&file, &nobodys) {
                Some((found, taken)) => report.capture(&name, corpus::label(&name), &found, taken),
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

/// Runs all jobs on all cores; what comes of it does not depend on their order.
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
                    let result = work(*job);
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
            Done::Incidents(verdicts) => {
                for (incident, verdict) in verdicts {
                    report.incident(&incident, &verdict);
                }
            }
            Done::Quiet(profile, days, found, taken) => report.quiet(profile, days, &found, taken),
        }
    }
}

fn work(job: Job) -> Done {
    match job {
        Job::Incidents(seed) => {
            let mut chance = Chance::new(seed);
            let mut verdicts = Vec::new();
            for incident in incidents::all(&mut chance) {
                let verdict = troubled(&incident, chance.next(), &meant(&[]));
                verdicts.push((incident, verdict));
            }
            Done::Incidents(verdicts)
        }
        Job::Quiet(profile, seed, days) => {
            let (found, transactions) = quiet(profile, seed, days, &meant(&[]));
            Done::Quiet(profile, days, found, transactions)
        }
    }
}

#[cfg(test)]
mod tests;
