//! CPU time of the agent's stages, compared with other programs on the same capture of realistic messages
//! (`dnscribe_tests::realistic`).
//!
//! `tests/benches/src/bin/pipeline` reads packets from memory in one thread: up to transactions without sink,
//! up to records, and with each further stream. It also measures hickory's full parse and a walk with `domain`
//! on the same messages. `replay-…` is the whole program reading the file, as are the cases of other programs.

use super::Bench;
use super::case::{Figures, Plan};
use super::report::{Report, Row};
use super::statistics::per_million;
use super::timed;
use anyhow::Result;
use dnscribe_tests::realistic::Realistic;
use dnscribe_tests::{environment, shell};
use std::ffi::OsString;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Figure that is compared within one thread.
const US: &str = "us_per_message";
/// Figure that is compared between programs.
const CPU: &str = "cpu_seconds_per_million_messages";

/// Cases with further streams: name, streams.
const FURTHER: [(&str, &str); 5] = [
    ("ndjson+messages", "transactions,messages"),
    ("ndjson+lookups", "transactions,lookups"),
    ("ndjson+metrics", "transactions,metrics"),
    ("ndjson+alerts", "transactions,alerts"),
    ("ndjson+default", "transactions,metrics,alerts,dlq,ledger"),
];

/// Runs this part of the benchmark and returns its report.
pub fn main(bench: &Bench) -> Result<Report> {
    // Gigabytes: not in /tmp, which may be in memory.
    let folder = tempfile::tempdir_in(environment::target())?;
    let capture = folder.path().join("capture.pcap");
    let file = BufWriter::new(File::create(&capture)?);
    let realistic = Realistic { messages: bench.count(1_000_000), ..Realistic::default() };
    let messages = realistic.write(file)?.messages();
    let program = bench.program("pipeline");
    let mut plan = Plan::new("pipeline");
    in_memory(&mut plan, &BenchProgram { program: &program, capture: &capture });
    programs(&mut plan, bench.binary(), &capture, messages);
    bench.run(plan)
}

/// The program `pipeline`, and the capture that it reads.
#[derive(Clone, Copy)]
struct BenchProgram<'a> {
    program: &'a Path,
    capture: &'a Path,
}

impl BenchProgram<'_> {
    fn run(self, who: &str, flags: &[&str]) -> Result<Figures> {
        Figures::measure(Command::new(self.program).arg(who).arg(self.capture).args(flags))
    }
}

/// Adds the cases that run in one thread with packets in memory.
fn in_memory<'a>(plan: &mut Plan<'a>, program: &BenchProgram<'a>) {
    let program = *program;
    plan.case("hickory", move || program.run("hickory", &[]));
    plan.case("domain-walk", move || program.run("domain", &[]));
    let flags = |sink, streams| ["--sink", sink, "--output", "json", "--stream", streams];
    plan.case("transactions", move || program.run("agent", &flags("null", "transactions")));
    plan.case("ndjson", move || program.run("agent", &flags("stdout", "transactions")));
    for (name, streams) in FURTHER {
        plan.case(name, move || program.run("agent", &flags("stdout", streams)));
    }
    for (name, sink) in [("allocations-null", "null"), ("allocations-ndjson", "stdout")] {
        let flags = ["--sink", sink, "--stream", "transactions", "--allocations"];
        plan.slow_case(name, move || program.run("agent", &flags));
    }
    plan.row(Row::new("hickory", US));
    plan.row(Row::new("domain-walk", US).relative_to("hickory"));
    plan.row(Row::new("transactions", US).relative_to("hickory").at_most(1.1));
    plan.row(Row::new("transactions", "messages_per_second").at_least(1.5e6));
    plan.row(Row::new("ndjson", US).relative_to("transactions"));
    plan.row(Row::new("ndjson", "bytes_per_record"));
    for (name, _) in FURTHER {
        plan.row(Row::new(name, US).relative_to("ndjson"));
    }
    plan.row(Row::new("allocations-null", "allocations_per_message").at_most(0.1));
    plan.row(Row::new("allocations-ndjson", "allocations_per_message"));
}

/// Adds the cases of whole programs that read the file.
fn programs<'a>(plan: &mut Plan<'a>, agent: &'a Path, capture: &'a Path, messages: u32) {
    for (name, sink) in [("replay-null", "null"), ("replay-ndjson", "stdout")] {
        let flags = ["--sink", sink, "--output", "json", "--stream", "transactions"];
        plan.case(name, move || {
            run(Command::new(agent).arg("replay").arg(capture).args(flags), messages)
        });
    }
    for peer in PEERS {
        match peer.arguments(capture) {
            Err(reason) => plan.absent(peer.name, &reason),
            Ok(words) => {
                let measure = move || run(Command::new(peer.program).args(&words), messages);
                if peer.slow {
                    plan.slow_case(peer.name, measure)
                } else {
                    plan.case(peer.name, measure)
                }
            }
        };
    }
    plan.row(Row::new("replay-null", CPU).relative_to("dnstop"));
    plan.row(Row::new("replay-ndjson", CPU).relative_to("dnscap-txtout").at_most(0.25));
    for peer in PEERS {
        plan.row(Row::new(peer.name, CPU).relative_to("replay-ndjson"));
    }
}

fn run(command: &mut Command, messages: u32) -> Result<Figures> {
    // Some programs print to standard error.
    let took = timed::run(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
    let cpu = per_million(took.cpu_seconds, messages.into())?;
    Ok(Figures::default().with(CPU, cpu).with("wall_seconds", took.wall_seconds))
}

/// Another program, which Debian packages.
struct Peer {
    name: &'static str,
    program: &'static str,
    /// Arguments before the file.
    flags: &'static [&'static str],
    /// Plug-in of dnscap.
    plug_in: Option<&'static str>,
    slow: bool,
}

impl Peer {
    const fn new(program: &'static str, flags: &'static [&'static str]) -> Self {
        Self { name: program, program, flags, plug_in: None, slow: true }
    }

    /// Arguments of the program.
    ///
    /// # Errors
    /// If it cannot run on this host, with the reason.
    fn arguments(&self, capture: &Path) -> Result<Vec<OsString>, String> {
        let Self { program, .. } = self;
        if shell::which(program).is_none() {
            return Err(format!("{program} is not installed"));
        }
        let mut words: Vec<OsString> = self.flags.iter().map(Into::into).collect();
        words.push(capture.into());
        if let Some(name) = self.plug_in {
            let file = plug_in(name).ok_or_else(|| format!("{program} has no plug-in {name}"))?;
            words.extend(["-P".into(), file.into()]);
        }
        Ok(words)
    }
}

/// Other programs: dnstop prints counts; tcpdump, tshark and dnscap's plug-in print a line per message; dnscap
/// itself prints every field, which is closest to our records.
const PEERS: [Peer; 5] = [
    Peer { slow: false, ..Peer::new("dnstop", &["-l", "3"]) },
    Peer::new("tcpdump", &["-nn", "-r"]),
    Peer {
        name: "dnscap-txtout",
        plug_in: Some("txtout.so"),
        ..Peer::new("dnscap", &["-T", "-r"])
    },
    Peer { name: "dnscap-g", ..Peer::new("dnscap", &["-T", "-g", "-r"]) },
    Peer::new("tshark", &["-n", "-r"]),
];

/// Path of a plug-in of dnscap.
fn plug_in(name: &str) -> Option<PathBuf> {
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib", "/usr/local/lib"]
        .map(|folder| Path::new(folder).join("dnscap").join(name))
        .into_iter()
        .find(|file| file.is_file())
}
