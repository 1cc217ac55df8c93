//! The scenarios, and what each witness tells of them. docs/failures.md says the same for operators.

use super::Witness;
use super::play::{Kept, Stage};
use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::lab::{Fate, Host};
use dnscribe_tests::scripted::{self, LATE, SLOW};
use dnscribe_tests::wire::{self, Reply};
use std::io::Write as _;
use std::net::UdpSocket;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a client waits before it asks again.
const AGAIN: Duration = Duration::from_millis(100);
/// How long an ICMP error may take.
const ICMP: Duration = Duration::from_millis(250);

/// A Linux router tells one host of five routing errors at once, and of one more each second.
const MORE_ERRORS: Duration = Duration::from_millis(1200);

/// A scenario.
pub struct Scenario {
    pub name: &'static str,
    /// Played over TCP, where there are no unconnected sockets.
    pub tcp: bool,
    pub play: fn(&Stage<'_>) -> Result<Kept>,
    /// What a witness tells, by `ipv6` and `connected`, in any order.
    pub expected: fn(Witness, bool, bool) -> &'static [&'static str],
    /// What a latency cannot be below.
    pub least: Duration,
}

const fn udp(
    name: &'static str,
    play: fn(&Stage<'_>) -> Result<Kept>,
    expected: fn(Witness, bool, bool) -> &'static [&'static str],
) -> Scenario {
    Scenario { name, tcp: false, play, expected, least: Duration::ZERO }
}

const fn tcp(
    name: &'static str,
    play: fn(&Stage<'_>) -> Result<Kept>,
    expected: fn(Witness, bool, bool) -> &'static [&'static str],
) -> Scenario {
    Scenario { tcp: true, ..udp(name, play, expected) }
}

impl Scenario {
    const fn not_before(self, least: Duration) -> Self {
        Self { least, ..self }
    }
}

pub const SCENARIOS: &[Scenario] = &[
    udp("timeout", |stage| one(stage, "silent"), |_, _, _| &["timeout"]),
    udp("dropped-first", dropped_first, |_, _, _| &["answered retries=1"]).not_before(AGAIN),
    udp("slow", |stage| one(stage, "slow"), |_, _, _| &["answered"]).not_before(SLOW),
    udp("late", |stage| one(stage, "late"), |_, _, _| &["timeout", "late"]).not_before(LATE),
    udp("port-closed", |stage| unreachable(stage, Fate::Closed), port_closed),
    udp("no-host", |stage| unreachable(stage, Fate::HostUnreachable), no_host),
    udp("no-net", |stage| unreachable(stage, Fate::NetUnreachable), no_net),
    udp("prohibited", |stage| unreachable(stage, Fate::Prohibited), prohibited),
    udp("refused", |stage| one(stage, "refused"), |_, _, _| &["answered REFUSED"]),
    udp("servfail", |stage| one(stage, "servfail"), |_, _, _| &["answered SERVFAIL ede=22"]),
    udp("formerr", |stage| one(stage, "formerr"), |_, _, _| &["answered FORMERR"]),
    udp("tc-alone", |stage| one(stage, "truncated"), |_, _, _| &["answered tc"]),
    udp("tc-then-tcp", truncated_then_tcp, |_, _, _| &["answered tc", "tcp answered fallback"]),
    udp("wrong-id", |stage| one(stage, "wrongid"), |_, _, _| &["timeout", "orphan wrong_id"]),
    udp("wrong-source", |stage| unheard(stage, "aside"), wrong_source),
    udp("duplicate", |stage| two_answers(stage, "twice"), |_, _, _| &["answered", "duplicate"]),
    udp("race", |stage| two_answers(stage, "race"), |_, _, _| &["answered", "duplicate conflict"]),
    udp("other-port", other_port, |_, _, _| &["timeout", "orphan wrong_port"]),
    udp("id-reuse", id_reuse, |_, _, _| &["answered", "answered", "answered", "answered"]),
    udp("restart", restart, restarted),
    tcp("tcp-refused", tcp_refused, |_, _, _| &[]),
    tcp("tcp-silent", |stage| tcp_one(stage, "silent"), |_, _, _| &["tcp timeout"]),
    tcp("tcp-slow", |stage| tcp_one(stage, "slow"), |_, _, _| &["tcp answered"]).not_before(SLOW),
    tcp("tcp-close", |stage| tcp_one(stage, "close"), |_, _, _| &["tcp timeout"]),
    tcp("tcp-reset", |stage| tcp_one(stage, "reset"), |_, _, _| &["tcp timeout"]),
    tcp("tcp-swapped", tcp_swapped, |_, _, _| &["tcp answered", "tcp answered", "tcp answered"]),
];

fn port_closed(witness: Witness, ipv6: bool, _: bool) -> &'static [&'static str] {
    match (witness, ipv6) {
        // No socket, nothing to see.
        (Witness::CgroupServer, _) => &[],
        (_, false) => &["icmp_error port_unreachable(3,3)"],
        (_, true) => &["icmp_error port_unreachable(1,4)"],
    }
}

fn no_host(witness: Witness, ipv6: bool, _: bool) -> &'static [&'static str] {
    match (witness, ipv6) {
        (Witness::CgroupServer, _) => &[],
        (Witness::SocketServer, false) => &["passive icmp_error host_unreachable(3,1)"],
        (Witness::SocketServer, true) => &["passive icmp_error no_route(1,0)"],
        (_, false) => &["icmp_error host_unreachable(3,1)"],
        (_, true) => &["icmp_error no_route(1,0)"],
    }
}

fn no_net(witness: Witness, ipv6: bool, connected: bool) -> &'static [&'static str] {
    match (witness, ipv6) {
        (Witness::SocketServer, false) => &["passive icmp_error net_unreachable(3,0)"],
        (Witness::CgroupServer, _) | (_, true) => no_host(witness, ipv6, connected),
        (_, false) => &["icmp_error net_unreachable(3,0)"],
    }
}

fn prohibited(witness: Witness, ipv6: bool, _: bool) -> &'static [&'static str] {
    match (witness, ipv6) {
        (Witness::CgroupServer, _) => &[],
        (Witness::SocketServer, false) => &["passive icmp_error admin_prohibited(3,13)"],
        (Witness::SocketServer, true) => &["passive icmp_error admin_prohibited(1,1)"],
        (_, false) => &["icmp_error admin_prohibited(3,13)"],
        (_, true) => &["icmp_error admin_prohibited(1,1)"],
    }
}

fn wrong_source(witness: Witness, _: bool, connected: bool) -> &'static [&'static str] {
    match (witness, connected) {
        // The kernel has no socket for it.
        (Witness::CgroupClient, true) => &["timeout"],
        _ => &["timeout", "orphan wrong_source"],
    }
}

fn restarted(witness: Witness, ipv6: bool, _: bool) -> &'static [&'static str] {
    match (witness, ipv6) {
        // While it was away, there was no socket to see anything.
        (Witness::CgroupServer, _) => &["answered retries=1"],
        (_, false) => &["icmp_error port_unreachable(3,3) retries=1", "answered"],
        (_, true) => &["icmp_error port_unreachable(1,4) retries=1", "answered"],
    }
}

/// A query; if an answer comes to it, it is awaited.
fn one(stage: &Stage<'_>, script: &str) -> Result<Kept> {
    let asker = stage.asker(stage.scripted())?;
    asker.ask(0x1001, &stage.name(script))?;
    ensure!(script == "silent" || asker.answered(), "no answer");
    Ok(asker.keep())
}

/// A query whose answer the client does not get.
fn unheard(stage: &Stage<'_>, script: &str) -> Result<Kept> {
    let asker = stage.asker(stage.scripted())?;
    asker.ask(0x1002, &stage.name(script))?;
    Ok(asker.keep())
}

fn unreachable(stage: &Stage<'_>, fate: Fate) -> Result<Kept> {
    if fate == Fate::Prohibited {
        std::thread::sleep(MORE_ERRORS);
    }
    let asker = stage.asker(stage.at(fate))?;
    asker.ask(0x1003, &stage.name("gone"))?;
    Ok(asker.keep())
}

fn dropped_first(stage: &Stage<'_>) -> Result<Kept> {
    let asker = stage.asker(stage.scripted())?;
    let name = stage.name("second");
    asker.ask(0x1004, &name)?;
    std::thread::sleep(AGAIN);
    asker.ask(0x1004, &name)?;
    ensure!(asker.answered(), "no answer");
    Ok(asker.keep())
}

fn two_answers(stage: &Stage<'_>, script: &str) -> Result<Kept> {
    let asker = stage.asker(stage.scripted())?;
    asker.ask(0x1005, &stage.name(script))?;
    ensure!(asker.answered() && asker.answered(), "not two answers");
    Ok(asker.keep())
}

fn other_port(stage: &Stage<'_>) -> Result<Kept> {
    let unconnected = Stage { connected: false, label: stage.label.clone(), ..*stage };
    let (asker, other) = (stage.asker(stage.scripted())?, unconnected.asker(stage.scripted())?);
    asker.ask(0x1006, &stage.name(&format!("port-{}", other.port()?)))?;
    ensure!(other.answered(), "no answer");
    Ok([asker.keep(), other.keep()].into_iter().flatten().collect())
}

/// The same id, for the same name after its answer, and for two names at once.
fn id_reuse(stage: &Stage<'_>) -> Result<Kept> {
    let asker = stage.asker(stage.scripted())?;
    for _ in 0..2 {
        asker.ask(0x1007, &stage.name("ok"))?;
        ensure!(asker.answered(), "no answer");
    }
    asker.ask(0x1007, &stage.name("slow"))?;
    asker.ask(0x1007, &stage.name("other"))?;
    ensure!(asker.answered() && asker.answered(), "not two answers");
    Ok(asker.keep())
}

/// Takes a query, goes away, is asked again in vain, comes back and answers.
fn restart(stage: &Stage<'_>) -> Result<Kept> {
    // There is one address for it.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let at = stage.at(Fate::Restarted);
    let start = || -> Result<UdpSocket> {
        let socket = stage.lab.inside(Host::Server, || UdpSocket::bind(at))??;
        socket.set_read_timeout(Some(LATE))?;
        Ok(socket)
    };
    let (asker, name) = (stage.asker(at)?, stage.name("restart"));
    let server = start()?;
    asker.ask(0x1008, &name)?;
    server.recv(&mut [0; 512]).context("no query")?;
    drop(server);
    asker.ask(0x1008, &name)?;
    ensure!(!asker.answered_within(ICMP), "an answer from nobody");
    let server = start()?;
    asker.ask(0x1008, &name)?;
    let mut query = [0; 512];
    let (length, from) = server.recv_from(&mut query).context("no query")?;
    server.send_to(&Reply::to(&query[..length]).address(scripted::ADDRESS).octets(), from)?;
    ensure!(asker.answered(), "no answer");
    Ok(asker.keep())
}

fn truncated_then_tcp(stage: &Stage<'_>) -> Result<Kept> {
    let kept = one(stage, "truncated")?;
    let again = tcp_one(stage, "truncated")?;
    Ok(kept.into_iter().chain(again).collect())
}

fn tcp_refused(stage: &Stage<'_>) -> Result<Kept> {
    ensure!(stage.connection(stage.at(Fate::Closed))?.is_err(), "not refused");
    Ok(Vec::new())
}

/// A query over TCP, and what comes to it.
fn tcp_one(stage: &Stage<'_>, script: &str) -> Result<Kept> {
    let mut stream = stage.connection(stage.scripted())??;
    stream.write_all(&wire::framed(&wire::query(0x2001, &stage.name(script), wire::A)?)?)?;
    if script != "silent" {
        let answer = scripted::next(&mut stream);
        let broken = matches!(script, "close" | "reset");
        ensure!(answer.is_ok_and(|answer| answer.is_some()) != broken, "not as expected");
    }
    Ok(vec![Box::new(stream)])
}

/// Three queries in one segment; the last is answered first.
fn tcp_swapped(stage: &Stage<'_>) -> Result<Kept> {
    let mut stream = stage.connection(stage.scripted())??;
    let mut segment = Vec::new();
    for id in [0x2002, 0x2003, 0x2004] {
        segment.extend(wire::framed(&wire::query(id, &stage.name("swap-3"), wire::A)?)?);
    }
    stream.write_all(&segment)?;
    let first = scripted::next(&mut stream)?.context("no answer")?;
    ensure!(wire::id(&first) == 0x2004, "not the last first");
    for _ in 0..2 {
        scripted::next(&mut stream)?.context("no answer")?;
    }
    Ok(vec![Box::new(stream)])
}
