//! What the rooms of the agent cost, beside other programs on the same capture of realistic messages
//! (`dnscribe_tests::realistic`).
//!
//! `agent/examples/pipeline` has the packets in memory and measures one thread: to transactions that
//! nobody reads, to records, and what each further stream adds; hickory's full parse and a walk with
//! `domain` are measured there too, on the same messages. `replay-…` is the way that a user goes, the whole
//! program with the file, as are those of the others.

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

/// What is compared within one thread.
const US: &str = "us_per_message";
/// What is compared between programs.
const CPU: &str = "cpu_seconds_per_million_messages";

/// Streams beside transactions, and their cases.
const FURTHER: [(&str, &str); 5] = [
    ("ndjson+messages", "transactions,messages"),
    ("ndjson+lookups", "transactions,lookups"),
    ("ndjson+metrics", "transactions,metrics"),
    ("ndjson+alerts", "transactions,alerts"),
    ("ndjson+default", "transactions,metrics,alerts,dlq,ledger"),
];

/// Measures it.
pub fn main(bench: &Bench) -> Result<Report> {
    // Gigabytes: not where temporary files may be kept in memory.
    let folder = tempfile::tempdir_in(environment::target())?;
    let capture = folder.path().join("capture.pcap");
    let file = BufWriter::new(File::create(&capture)?);
    let realistic = Realistic { messages: bench.count(1_000_000), ..Realistic::default() };
    let messages = realistic.write(file)?.messages();
    let program = bench.example("pipeline");
    let mut plan = Plan::new("pipeline");
    in_memory(&mut plan, &Example { program: &program, capture: &capture });
    programs(&mut plan, bench.binary(), &capture, messages);
    bench.run(plan)
}

/// The example, and what it is given.
#[derive(Clone, Copy)]
struct Example<'a> {
    program: &'a Path,
    capture: &'a Path,
}

impl Example<'_> {
    fn run(self, who: &str, flags: &[&str]) -> Result<Figures> {
        Figures::of(Command::new(self.program).arg(who).arg(self.capture).args(flags))
    }
}

/// One thread, packets in memory.
fn in_memory<'a>(plan: &mut Plan<'a>, example: &Example<'a>) {
    let example = *example;
    plan.case("hickory", move || example.run("hickory", &[]));
    plan.case("domain-walk", move || example.run("domain", &[]));
    let to = |sink, streams| ["--sink", sink, "--output", "json", "--stream", streams];
    plan.case("transactions", move || example.run("agent", &to("null", "transactions")));
    plan.case("ndjson", move || example.run("agent", &to("stdout", "transactions")));
    for (name, streams) in FURTHER {
        plan.case(name, move || example.run("agent", &to("stdout", streams)));
    }
    for (name, sink) in [("allocations-null", "null"), ("allocations-ndjson", "stdout")] {
        let flags = ["--sink", sink, "--stream", "transactions", "--allocations"];
        plan.slow_case(name, move || example.run("agent", &flags));
    }
    plan.row(Row::of("hickory", US));
    plan.row(Row::of("domain-walk", US).beside("hickory"));
    plan.row(Row::of("transactions", US).beside("hickory").at_most(1.1));
    plan.row(Row::of("transactions", "messages_per_second").at_least(1.5e6));
    plan.row(Row::of("ndjson", US).beside("transactions"));
    plan.row(Row::of("ndjson", "bytes_per_record"));
    for (name, _) in FURTHER {
        plan.row(Row::of(name, US).beside("ndjson"));
    }
    plan.row(Row::of("allocations-null", "allocations_per_message").at_most(0.1));
    plan.row(Row::of("allocations-ndjson", "allocations_per_message"));
}

/// Whole programs, from the file.
fn programs<'a>(plan: &mut Plan<'a>, agent: &'a Path, capture: &'a Path, messages: u32) {
    for (name, sink) in [("replay-null", "null"), ("replay-ndjson", "stdout")] {
        let flags = ["--sink", sink, "--output", "json", "--stream", "transactions"];
        plan.case(name, move || {
            run(Command::new(agent).arg("replay").arg(capture).args(flags), messages)
        });
    }
    for peer in PEERS {
        match peer.command(capture) {
            Err(why) => plan.absent(peer.name, &why),
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
    plan.row(Row::of("replay-null", CPU).beside("dnstop"));
    plan.row(Row::of("replay-ndjson", CPU).beside("dnscap-txtout").at_most(0.25));
    for peer in PEERS {
        plan.row(Row::of(peer.name, CPU).beside("replay-ndjson"));
    }
}

fn run(command: &mut Command, messages: u32) -> Result<Figures> {
    // Text to standard error is no less text.
    let took = timed::run(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
    let cpu = per_million(took.cpu_seconds, messages.into())?;
    Ok(Figures::default().with(CPU, cpu).with("wall_seconds", took.wall_seconds))
}

/// Another program, from Debian.
struct Peer {
    name: &'static str,
    program: &'static str,
    /// What stands before the file.
    flags: &'static [&'static str],
    /// A plug-in of dnscap's.
    plug_in: Option<&'static str>,
    slow: bool,
}

impl Peer {
    const fn new(program: &'static str, flags: &'static [&'static str]) -> Self {
        Self { name: program, program, flags, plug_in: None, slow: true }
    }

    /// The words behind its name; where it cannot run here, why.
    fn command(&self, capture: &Path) -> Result<Vec<OsString>, String> {
        let Self { program, .. } = self;
        if shell::which(program).is_none() {
            return Err(format!("{program} is not installed"));
        }
        let mut words: Vec<OsString> = self.flags.iter().map(Into::into).collect();
        words.push(capture.into());
        if let Some(name) = self.plug_in {
            let file = plug_in(name).ok_or_else(|| format!("{program} has no {name} here"))?;
            words.extend(["-P".into(), file.into()]);
        }
        Ok(words)
    }
}

/// Counts by dnstop; a line for each message by tcpdump, tshark and dnscap's plug-in; by dnscap itself
/// all that is in it, which is nearest to our records.
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

/// Where a plug-in of dnscap is.
fn plug_in(name: &str) -> Option<PathBuf> {
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib", "/usr/local/lib"]
        .map(|folder| Path::new(folder).join("dnscap").join(name))
        .into_iter()
        .find(|file| file.is_file())
}
