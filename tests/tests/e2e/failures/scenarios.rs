//! The scenarios and the expected records of each observer. docs/failures.md describes the same for
//! operators.

use super::Observer;
use super::clients::{OpenSockets, ScenarioRun};
use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::lab::{Host, SpecialAddress};
use dnscribe_tests::scripted::{self, LATE, SLOW};
use dnscribe_tests::wire::{self, Reply};
use std::io::Write as _;
use std::net::UdpSocket;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Client's delay before a retry.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// Time limit for an ICMP error.
const ICMP_LIMIT: Duration = Duration::from_millis(250);

/// Interval for further routing errors: Linux sends five to a host at once, then one per second.
const ROUTING_ERROR_INTERVAL: Duration = Duration::from_millis(1200);

/// A scenario.
pub struct Scenario {
    pub name: &'static str,
    /// Whether it uses TCP, where all sockets are connected.
    pub tcp: bool,
    pub action: fn(&ScenarioRun<'_>) -> Result<OpenSockets>,
    /// Expected records of an observer, by `ipv6` and `connected`, in any order.
    pub expected: fn(Observer, bool, bool) -> &'static [&'static str],
    /// Minimum latency.
    pub least: Duration,
}

const fn udp(
    name: &'static str,
    action: fn(&ScenarioRun<'_>) -> Result<OpenSockets>,
    expected: fn(Observer, bool, bool) -> &'static [&'static str],
) -> Scenario {
    Scenario { name, tcp: false, action, expected, least: Duration::ZERO }
}

const fn tcp(
    name: &'static str,
    action: fn(&ScenarioRun<'_>) -> Result<OpenSockets>,
    expected: fn(Observer, bool, bool) -> &'static [&'static str],
) -> Scenario {
    Scenario { tcp: true, ..udp(name, action, expected) }
}

impl Scenario {
    const fn not_before(self, least: Duration) -> Self {
        Self { least, ..self }
    }
}

pub const SCENARIOS: &[Scenario] = &[
    udp("timeout", |scenario_run| single_query(scenario_run, "silent"), |_, _, _| &["timeout"]),
    udp("dropped-first", dropped_first, |_, _, _| &["answered retries=1"]).not_before(RETRY_DELAY),
    udp("slow", |scenario_run| single_query(scenario_run, "slow"), |_, _, _| &["answered"])
        .not_before(SLOW),
    udp("late", |scenario_run| single_query(scenario_run, "late"), |_, _, _| &["timeout", "late"])
        .not_before(LATE),
    udp(
        "port-closed",
        |scenario_run| unreachable(scenario_run, SpecialAddress::Closed),
        port_closed,
    ),
    udp(
        "no-host",
        |scenario_run| unreachable(scenario_run, SpecialAddress::HostUnreachable),
        no_host,
    ),
    udp("no-net", |scenario_run| unreachable(scenario_run, SpecialAddress::NetUnreachable), no_net),
    udp(
        "prohibited",
        |scenario_run| unreachable(scenario_run, SpecialAddress::Prohibited),
        prohibited,
    ),
    udp(
        "refused",
        |scenario_run| single_query(scenario_run, "refused"),
        |_, _, _| &["answered REFUSED"],
    ),
    udp(
        "servfail",
        |scenario_run| single_query(scenario_run, "servfail"),
        |_, _, _| &["answered SERVFAIL ede=22"],
    ),
    udp(
        "formerr",
        |scenario_run| single_query(scenario_run, "formerr"),
        |_, _, _| &["answered FORMERR"],
    ),
    udp(
        "tc-alone",
        |scenario_run| single_query(scenario_run, "truncated"),
        |_, _, _| &["answered tc"],
    ),
    udp("tc-then-tcp", truncated_then_tcp, |_, _, _| &["answered tc", "tcp answered fallback"]),
    udp(
        "wrong-id",
        |scenario_run| single_query(scenario_run, "wrongid"),
        |_, _, _| &["timeout", "orphan wrong_id"],
    ),
    udp("wrong-source", |scenario_run| unanswered(scenario_run, "aside"), wrong_source),
    udp(
        "duplicate",
        |scenario_run| two_answers(scenario_run, "twice"),
        |_, _, _| &["answered", "duplicate"],
    ),
    udp(
        "race",
        |scenario_run| two_answers(scenario_run, "race"),
        |_, _, _| &["answered", "duplicate conflict"],
    ),
    udp("other-port", other_port, |_, _, _| &["timeout", "orphan wrong_port"]),
    udp("id-reuse", id_reuse, |_, _, _| &["answered", "answered", "answered", "answered"]),
    udp("restart", restart, restarted),
    tcp("tcp-refused", tcp_refused, |_, _, _| &[]),
    tcp(
        "tcp-silent",
        |scenario_run| single_tcp_query(scenario_run, "silent"),
        |_, _, _| &["tcp timeout"],
    ),
    tcp(
        "tcp-slow",
        |scenario_run| single_tcp_query(scenario_run, "slow"),
        |_, _, _| &["tcp answered"],
    )
    .not_before(SLOW),
    tcp(
        "tcp-close",
        |scenario_run| single_tcp_query(scenario_run, "close"),
        |_, _, _| &["tcp timeout"],
    ),
    tcp(
        "tcp-reset",
        |scenario_run| single_tcp_query(scenario_run, "reset"),
        |_, _, _| &["tcp timeout"],
    ),
    tcp("tcp-swapped", tcp_swapped, |_, _, _| &["tcp answered", "tcp answered", "tcp answered"]),
];

fn port_closed(observer: Observer, ipv6: bool, _: bool) -> &'static [&'static str] {
    match (observer, ipv6) {
        // No socket, so no hook runs.
        (Observer::CgroupServer, _) => &[],
        (_, false) => &["icmp_error port_unreachable(3,3)"],
        (_, true) => &["icmp_error port_unreachable(1,4)"],
    }
}

fn no_host(observer: Observer, ipv6: bool, _: bool) -> &'static [&'static str] {
    match (observer, ipv6) {
        (Observer::CgroupServer, _) => &[],
        (Observer::SocketServer, false) => &["passive icmp_error host_unreachable(3,1)"],
        (Observer::SocketServer, true) => &["passive icmp_error no_route(1,0)"],
        (_, false) => &["icmp_error host_unreachable(3,1)"],
        (_, true) => &["icmp_error no_route(1,0)"],
    }
}

fn no_net(observer: Observer, ipv6: bool, connected: bool) -> &'static [&'static str] {
    match (observer, ipv6) {
        (Observer::SocketServer, false) => &["passive icmp_error net_unreachable(3,0)"],
        (Observer::CgroupServer, _) | (_, true) => no_host(observer, ipv6, connected),
        (_, false) => &["icmp_error net_unreachable(3,0)"],
    }
}

fn prohibited(observer: Observer, ipv6: bool, _: bool) -> &'static [&'static str] {
    match (observer, ipv6) {
        (Observer::CgroupServer, _) => &[],
        (Observer::SocketServer, false) => &["passive icmp_error admin_prohibited(3,13)"],
        (Observer::SocketServer, true) => &["passive icmp_error admin_prohibited(1,1)"],
        (_, false) => &["icmp_error admin_prohibited(3,13)"],
        (_, true) => &["icmp_error admin_prohibited(1,1)"],
    }
}

fn wrong_source(observer: Observer, _: bool, connected: bool) -> &'static [&'static str] {
    match (observer, connected) {
        // The kernel finds no socket for the packet.
        (Observer::CgroupClient, true) => &["timeout"],
        _ => &["timeout", "orphan wrong_source"],
    }
}

fn restarted(observer: Observer, ipv6: bool, _: bool) -> &'static [&'static str] {
    match (observer, ipv6) {
        // While the server was down, there was no socket.
        (Observer::CgroupServer, _) => &["answered retries=1"],
        (_, false) => &["icmp_error port_unreachable(3,3) retries=1", "answered"],
        (_, true) => &["icmp_error port_unreachable(1,4) retries=1", "answered"],
    }
}

/// Sends a query, and waits for its answer if one is expected.
fn single_query(scenario_run: &ScenarioRun<'_>, script: &str) -> Result<OpenSockets> {
    let udp_client = scenario_run.udp_client(scenario_run.scripted())?;
    udp_client.ask(0x1001, &scenario_run.name(script))?;
    ensure!(script == "silent" || udp_client.answered(), "no answer");
    Ok(udp_client.keep())
}

/// Sends a query whose answer does not reach the client.
fn unanswered(scenario_run: &ScenarioRun<'_>, script: &str) -> Result<OpenSockets> {
    let udp_client = scenario_run.udp_client(scenario_run.scripted())?;
    udp_client.ask(0x1002, &scenario_run.name(script))?;
    Ok(udp_client.keep())
}

fn unreachable(scenario_run: &ScenarioRun<'_>, special: SpecialAddress) -> Result<OpenSockets> {
    if special == SpecialAddress::Prohibited {
        std::thread::sleep(ROUTING_ERROR_INTERVAL);
    }
    let udp_client = scenario_run.udp_client(scenario_run.at(special))?;
    udp_client.ask(0x1003, &scenario_run.name("gone"))?;
    Ok(udp_client.keep())
}

fn dropped_first(scenario_run: &ScenarioRun<'_>) -> Result<OpenSockets> {
    let udp_client = scenario_run.udp_client(scenario_run.scripted())?;
    let name = scenario_run.name("second");
    udp_client.ask(0x1004, &name)?;
    std::thread::sleep(RETRY_DELAY);
    udp_client.ask(0x1004, &name)?;
    ensure!(udp_client.answered(), "no answer");
    Ok(udp_client.keep())
}

fn two_answers(scenario_run: &ScenarioRun<'_>, script: &str) -> Result<OpenSockets> {
    let udp_client = scenario_run.udp_client(scenario_run.scripted())?;
    udp_client.ask(0x1005, &scenario_run.name(script))?;
    ensure!(udp_client.answered() && udp_client.answered(), "not two answers");
    Ok(udp_client.keep())
}

fn other_port(scenario_run: &ScenarioRun<'_>) -> Result<OpenSockets> {
    let unconnected =
        ScenarioRun { connected: false, label: scenario_run.label.clone(), ..*scenario_run };
    let (udp_client, other) = (
        scenario_run.udp_client(scenario_run.scripted())?,
        unconnected.udp_client(scenario_run.scripted())?,
    );
    udp_client.ask(0x1006, &scenario_run.name(&format!("port-{}", other.port()?)))?;
    ensure!(other.answered(), "no answer");
    Ok([udp_client.keep(), other.keep()].into_iter().flatten().collect())
}

/// Reuses an id: for the same name after its answer, and for two names at the same time.
fn id_reuse(scenario_run: &ScenarioRun<'_>) -> Result<OpenSockets> {
    let udp_client = scenario_run.udp_client(scenario_run.scripted())?;
    for _ in 0..2 {
        udp_client.ask(0x1007, &scenario_run.name("ok"))?;
        ensure!(udp_client.answered(), "no answer");
    }
    udp_client.ask(0x1007, &scenario_run.name("slow"))?;
    udp_client.ask(0x1007, &scenario_run.name("other"))?;
    ensure!(udp_client.answered() && udp_client.answered(), "not two answers");
    Ok(udp_client.keep())
}

/// The server receives a query and stops; a retry fails; the server restarts and answers.
fn restart(scenario_run: &ScenarioRun<'_>) -> Result<OpenSockets> {
    // There is only one address for it.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let at = scenario_run.at(SpecialAddress::Restarted);
    let start = || -> Result<UdpSocket> {
        let socket = scenario_run.lab.inside(Host::Server, || UdpSocket::bind(at))??;
        socket.set_read_timeout(Some(LATE))?;
        Ok(socket)
    };
    let (udp_client, name) = (scenario_run.udp_client(at)?, scenario_run.name("restart"));
    let server = start()?;
    udp_client.ask(0x1008, &name)?;
    server.recv(&mut [0; 512]).context("no query")?;
    drop(server);
    udp_client.ask(0x1008, &name)?;
    ensure!(!udp_client.answered_within(ICMP_LIMIT), "an answer without a server");
    let server = start()?;
    udp_client.ask(0x1008, &name)?;
    let mut query = [0; 512];
    let (length, from) = server.recv_from(&mut query).context("no query")?;
    server.send_to(&Reply::to(&query[..length]).address(scripted::ADDRESS).octets(), from)?;
    ensure!(udp_client.answered(), "no answer");
    Ok(udp_client.keep())
}

fn truncated_then_tcp(scenario_run: &ScenarioRun<'_>) -> Result<OpenSockets> {
    let open_sockets = single_query(scenario_run, "truncated")?;
    let again = single_tcp_query(scenario_run, "truncated")?;
    Ok(open_sockets.into_iter().chain(again).collect())
}

fn tcp_refused(scenario_run: &ScenarioRun<'_>) -> Result<OpenSockets> {
    ensure!(
        scenario_run.connection(scenario_run.at(SpecialAddress::Closed))?.is_err(),
        "not refused"
    );
    Ok(Vec::new())
}

/// Sends a query over TCP and waits for the end.
fn single_tcp_query(scenario_run: &ScenarioRun<'_>, script: &str) -> Result<OpenSockets> {
    let mut stream = scenario_run.connection(scenario_run.scripted())??;
    stream.write_all(&wire::framed(&wire::query(0x2001, &scenario_run.name(script), wire::A)?)?)?;
    if script != "silent" {
        let answer = scripted::read_message(&mut stream);
        let broken = matches!(script, "close" | "reset");
        ensure!(answer.is_ok_and(|answer| answer.is_some()) != broken, "not as expected");
    }
    Ok(vec![Box::new(stream)])
}

/// Sends three queries in one segment; the last is answered first.
fn tcp_swapped(scenario_run: &ScenarioRun<'_>) -> Result<OpenSockets> {
    let mut stream = scenario_run.connection(scenario_run.scripted())??;
    let mut segment = Vec::new();
    for id in [0x2002, 0x2003, 0x2004] {
        segment.extend(wire::framed(&wire::query(id, &scenario_run.name("swap-3"), wire::A)?)?);
    }
    stream.write_all(&segment)?;
    let first = scripted::read_message(&mut stream)?.context("no answer")?;
    ensure!(wire::id(&first) == 0x2004, "the last query was not answered first");
    for _ in 0..2 {
        scripted::read_message(&mut stream)?.context("no answer")?;
    }
    Ok(vec![Box::new(stream)])
}
