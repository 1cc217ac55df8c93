//! dnstap in: CPU time of reading a file of realistic messages, beside other readers of the same file; and what sending costs servers
//! while the agent reads, stands still, or is not there.

use super::Bench;
use super::case::{Figures, Plan};
use super::report::{Report, Row};
use super::statistics::per_million;
use super::{timed, usage};
use anyhow::{Context as _, Result};
use dnscribe_tests::agent::Agent;
use dnscribe_tests::dnsperf::Load;
use dnscribe_tests::dnstap::{self, Server, ServerKind};
use dnscribe_tests::realistic::Realistic;
use dnscribe_tests::{environment, shell};
use rustix::process::Signal;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Figure that is compared between readers.
const CPU: &str = "cpu_seconds_per_million_messages";
const PER_CORE: &str = "messages_per_second_per_core";
/// Figures that are compared between runs of a server.
const RATE: &str = "queries_per_second";
const SERVER_CPU: &str = "server_us_per_query";
/// Time for the agent to receive what a server has sent.
const LIMIT: Duration = Duration::from_mins(1);
/// Queries a second that a paced run asks for.
const PACE: u32 = 30_000;

/// Runs this part of the benchmark and returns its report.
pub fn main(bench: &Bench) -> Result<Report> {
    // Gigabytes: not in /tmp, which may be in memory.
    let folder = tempfile::tempdir_in(environment::target())?;
    let file = folder.path().join("messages.dnstap");
    let messages = write(bench, folder.path(), &file)?;
    let mut plan = Plan::new("dnstap");
    readers(&mut plan, bench.binary(), &file, messages);
    let queries = bench.scaled(400_000);
    for kind in ServerKind::ALL {
        server(&mut plan, bench.binary(), kind, queries);
    }
    bench.run(plan)
}

/// Writes realistic messages as dnstap; returns their number.
fn write(bench: &Bench, folder: &Path, file: &Path) -> Result<u32> {
    let capture = folder.join("capture.pcap");
    let realistic = Realistic { messages: bench.count(1_000_000), ..Realistic::default() };
    let messages = realistic.write(BufWriter::new(File::create(&capture)?))?.messages();
    let mut command = Command::new(bench.binary());
    command.arg("replay").arg(&capture).args(["--stream", "messages", "--sink"]);
    shell::output(command.arg(format!("dnstap:file:{}", file.display())))?;
    std::fs::remove_file(&capture)?;
    Ok(messages)
}

/// Adds the cases of programs that read the file.
fn readers<'a>(plan: &mut Plan<'a>, agent: &'a Path, file: &'a Path, messages: u32) {
    for (name, sink) in [("replay-null", "null"), ("replay-ndjson", "stdout")] {
        plan.case(name, move || {
            let mut command = Command::new(agent);
            command.arg("replay").arg(file).args(["--sink", sink, "--output", "json"]);
            read(command.args(["--stream", "transactions"]), messages)
        });
    }
    plan.row(Row::new("replay-null", PER_CORE).at_least(500_000.0));
    plan.row(Row::new("replay-ndjson", CPU).relative_to("replay-null"));
    let others = [
        ("dnstap-read", shell::which("dnstap-read").context("it is not installed"), &[][..]),
        ("golang-dnstap", dnstap::reader(), &["-q", "-r"]),
        ("golang-dnstap-json", dnstap::reader(), &["-j", "-r"]),
    ];
    for (name, program, flags) in others {
        match program {
            Ok(program) => plan.slow_case(name, move || {
                read(Command::new(&program).args(flags).arg(file), messages)
            }),
            Err(error) => plan.absent(name, &format!("{error:#}")),
        };
        plan.row(Row::new(name, CPU).relative_to("replay-ndjson"));
    }
}

fn read(command: &mut Command, messages: u32) -> Result<Figures> {
    let took = timed::run(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
    let cpu = per_million(took.cpu_seconds, messages.into())?;
    Ok(Figures::default().with(CPU, cpu).with(PER_CORE, 1e6 / cpu))
}

/// Who reads what a server sends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// The server sends nothing.
    Off,
    /// The server finds no listener.
    Nobody,
    Agent,
    /// The agent has accepted the connection, and reads nothing.
    StoppedAgent,
}

/// Adds the cases of a server: at full speed, and paced.
fn server<'a>(plan: &mut Plan<'a>, agent: &'a Path, kind: ServerKind, queries: u32) {
    let name = |reader| format!("{}-{reader}", kind.name());
    let bare = name("bare");
    let readers = [
        ("bare", Reader::Off),
        ("nobody", Reader::Nobody),
        ("agent", Reader::Agent),
        ("stopped", Reader::StoppedAgent),
    ];
    for (reader_name, reader) in readers {
        plan.slow_case(&name(reader_name), move || serve(agent, kind, reader, queries, None));
        for figure in [RATE, SERVER_CPU] {
            let row = Row::new(&name(reader_name), figure);
            plan.row(if reader == Reader::Off { row } else { row.relative_to(&bare) });
        }
    }
    let paced = name("paced");
    plan.slow_case(&paced, move || serve(agent, kind, Reader::Agent, queries, Some(PACE)));
    for figure in [RATE, "lost_queries", "reported_ratio", "agent_us_per_query"] {
        plan.row(Row::new(&paced, figure));
    }
}

fn serve(
    agent: &Path,
    kind: ServerKind,
    reader: Reader,
    queries: u32,
    qps: Option<u32>,
) -> Result<Figures> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("sock");
    let agent = matches!(reader, Reader::Agent | Reader::StoppedAgent)
        .then(|| {
            let address = format!("unix:{}", socket.display());
            let words = ["run", "--dnstap", &address, "--sink", "null", "--stream", "transactions"];
            Agent::start(Command::new(agent).args(words))
        })
        .transpose()?;
    let server = Server::start(kind, folder.path(), (reader != Reader::Off).then_some(&*socket))?;
    if let Some(agent) = &agent {
        shell::wait_for("the connection of the server", LIMIT, || {
            Ok(agent.log().contains("a sender of dnstap has connected").then_some(()))
        })?;
        if reader == Reader::StoppedAgent {
            agent.signal(Signal::STOP)?;
        }
    }
    let cpu = usage::cpu_seconds;
    let before = (cpu(server.pid())?, agent.as_ref().map(|agent| cpu(agent.pid())).transpose()?);
    let load = Load { queries, qps, clients: 8, ..Load::default() };
    let report = server.dnsperf(&load)?;
    let of_server = per_million(cpu(server.pid())? - before.0, report.sent)?;
    #[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^53")]
    let mut figures = Figures::default()
        .with(RATE, report.qps)
        .with(SERVER_CPU, of_server)
        .with("mean_latency_us", report.mean_latency_seconds * 1e6)
        .with("lost_queries", report.lost as f64);
    if let (Some(agent), Reader::Agent) = (agent, reader) {
        let received = settled(&agent)?;
        let ours = cpu(agent.pid())? - before.1.unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^53")]
        let reported = received as f64 / (2 * report.sent) as f64;
        figures = figures
            .with("reported_ratio", reported)
            .with("agent_us_per_query", per_million(ours, report.sent)?);
        agent.terminate()?;
    }
    Ok(figures)
}

/// Waits until the agent gets no more; returns the number of frames that it has got.
fn settled(agent: &Agent) -> Result<u64> {
    let received = || -> Result<u64> {
        let (_, page) = agent.get("/metrics")?;
        let of_hook =
            page.lines().filter(|line| line.starts_with("dnscribe_packets_total{hook=\"dnstap\""));
        let number = |line: &str| line.rsplit(' ').next()?.parse::<u64>().ok();
        of_hook.map(|line| number(line).with_context(|| format!("no number: {line}"))).sum()
    };
    let mut last = (received()?, std::time::Instant::now());
    shell::wait_for("what the server has sent", LIMIT, || {
        let now = received()?;
        if now != last.0 {
            last = (now, std::time::Instant::now());
        }
        // Servers flush once a second, and messages wait for 1.5 seconds.
        Ok((last.1.elapsed() > Duration::from_secs(3)).then_some(now))
    })
}
