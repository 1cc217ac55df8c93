//! The trace as text: a sentence, the waits, and the tree.

use crate::top::clean;
use dnscribe_record::host_and_port;
use dnscribe_record::trace::{
    Trace, TracedConnection, TracedLookup, TracedProcess, TracedQuery, TracedUse, Wait, WaitCause,
};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Number of answers of a query that are shown.
const ANSWERS: usize = 4;

/// Share of the duration from which on a wait is worth a sentence of its own.
const NOTABLE: f64 = 0.05;

/// Waits that the list shows.
const WAITS: usize = 8;

/// Connections of a lookup, or of a process without one, that are shown.
const USES: usize = 32;

/// Characters that draw the branches.
struct Branches {
    inner: &'static str,
    last: &'static str,
    line: &'static str,
    blank: &'static str,
}

const UNICODE: Branches =
    Branches { inner: "├─ ", last: "└─ ", line: "│  ", blank: "   " };
const ASCII: Branches = Branches { inner: "|- ", last: "`- ", line: "|  ", blank: "   " };

/// A line of the tree with the lines below it.
struct Node {
    text: String,
    below: Vec<Node>,
}

/// Renders a trace. `signal`: that which ended the command, since a command may also end by itself with such an exit code.
/// `unicode` draws branches with box characters, else with ASCII.
#[must_use]
pub fn render(trace: &Trace, signal: Option<i32>, unicode: bool) -> String {
    let branches = if unicode { &UNICODE } else { &ASCII };
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{}", headline(trace));
    let _ = writeln!(out, "{}", figures(trace, signal));
    if let Some(sum) = sum(trace) {
        let _ = writeln!(out, "{sum}");
    }
    for wait in trace.waits.iter().take(WAITS) {
        let _ = writeln!(out, "  {:>8} s {}", seconds(wait.wait_ms), reason(wait));
    }
    if trace.waits.len() > WAITS {
        let _ =
            writeln!(out, "  and {} smaller waits (-o json has all)", trace.waits.len() - WAITS);
    }
    for process in &trace.processes {
        let _ = writeln!(out);
        draw(&mut out, branches, &process_node(process));
    }
    for problem in problems(trace) {
        let _ = writeln!(out, "\nwarning: {problem}");
    }
    out
}

/// Returns whether anything was sent or received that is DNS.
#[must_use]
pub fn has_dns(trace: &Trace) -> bool {
    trace.processes.iter().any(|process| {
        let TracedProcess { lookups, others, encrypted, .. } = process;
        !lookups.is_empty() || !others.is_empty() || !encrypted.is_empty()
    })
}

/// Returns the sentence that says where the time went.
fn headline(trace: &Trace) -> String {
    let (name, duration) = (clean(&trace.subject), trace.duration_ms);
    let rounded = short_seconds(duration);
    // No part may look longer than the whole.
    let is_less = rounded.parse::<f64>().is_ok_and(|total| total * 1e3 < trace.wait_ms);
    let total = if is_less { seconds(duration) } else { rounded };
    let has_dns = has_dns(trace);
    let failed = first_failure(trace);
    let wait = trace.waits.first().filter(|wait| wait.wait_ms >= duration * NOTABLE);
    let waited_ms = wait.map_or(duration * NOTABLE, |wait| wait.wait_ms);
    let connection = slowest_peer(trace).filter(|(_, took)| *took > waited_ms);
    if let Some((one, took)) = connection {
        let spent = format!("spent {} of {total} s connecting to {}", seconds(took), peer_of(one));
        return match failed {
            Some(lookup) => format!("{name}: {}; {spent}", failure(lookup)),
            None if has_dns => format!("{name} {spent}"),
            None => format!("{name} {spent}, and sent no DNS query{}", hint(trace)),
        };
    }
    if !has_dns {
        let opened = match uses(trace).map(|one| one.count).sum::<u64>() {
            0 => String::new(),
            1 => "opened 1 connection, and ".to_owned(),
            count => format!("opened {count} connections, and "),
        };
        return format!("{name} {opened}sent no DNS query in {total} s{}", hint(trace));
    }
    if let Some(wait) = wait {
        let spent = format!("spent {} of {total} s {}", seconds(wait.wait_ms), reason(wait));
        // Of one without a response, the wait says it all.
        let is_said =
            |lookup: &&TracedLookup| matches!(&*lookup.outcome, "timeout" | "unreachable");
        return match failed.filter(|lookup| !is_said(lookup)) {
            Some(lookup) => format!("{name}: {}; {spent}", failure(lookup)),
            None => format!("{name} {spent}"),
        };
    }
    let waited = seconds(trace.wait_ms);
    match failed {
        Some(lookup) => {
            format!("{name}: {}; {waited} of {total} s were for DNS", failure(lookup))
        }
        None => format!("{name} waited {waited} of {total} s for DNS"),
    }
}

/// Returns all connections.
fn uses(trace: &Trace) -> impl Iterator<Item = &TracedUse> {
    trace.processes.iter().flat_map(|process| {
        process.uses.iter().chain(process.lookups.iter().flat_map(|lookup| &lookup.uses))
    })
}

/// Returns a connection to the peer that it took longest to connect to with the same outcome, and the time that it took at
/// all. Times in which several connections were being opened count once.
fn slowest_peer(trace: &Trace) -> Option<(&TracedUse, f64)> {
    let mut opened: Vec<_> =
        uses(trace).filter_map(|one| Some((one.start_ms, one.connect_ms?, one))).collect();
    opened.sort_by(|(one, ..), (other, ..)| one.total_cmp(other));
    let mut peers = BTreeMap::new();
    for (start, took, one) in opened {
        let peer = (&one.address, one.port, &one.name, &one.outcome);
        let (_, until, total) = peers.entry(peer).or_insert((one, start, 0.0));
        *total += (took - (*until - start).max(0.0)).max(0.0);
        *until = until.max(start + took);
    }
    let took = peers.into_values().map(|(one, _, total)| (one, total));
    took.max_by(|(_, one), (_, other)| one.total_cmp(other))
}

/// Returns where a connection led, and what became of it, as the end of a sentence.
fn peer_of(one: &TracedUse) -> String {
    let peer = host_and_port(&clean(&one.address), one.port);
    let name = one.name.as_ref().map(|name| format!(" ({})", clean(name))).unwrap_or_default();
    let end = match &*one.outcome {
        "timeout" => ", which did not answer",
        "refused" => ", which refused",
        "reset" => ", which reset it",
        "unknown" => ", and gave up",
        _ => "",
    };
    format!("{peer}{name}{end}")
}

/// Returns the first lookup that has failed.
fn first_failure(trace: &Trace) -> Option<&TracedLookup> {
    let lookups = trace.processes.iter().flat_map(|process| &process.lookups);
    let failed =
        lookups.filter(|lookup| !matches!(&*lookup.outcome, "answered" | "truncated" | "open"));
    failed.min_by(|one, other| one.start_ms.total_cmp(&other.start_ms))
}

/// Returns what a failed lookup did not find.
fn failure(lookup: &TracedLookup) -> String {
    let (qname, types) = (clean(&lookup.qname), lookup.qtypes.join(" or "));
    let resolver = lookup.queries.last().map(|query| clean(&query.resolver)).unwrap_or_default();
    match &*lookup.outcome {
        "nxdomain" => format!("{qname} does not exist, says {resolver}"),
        "nodata" => format!("{qname} has no {types}, says {resolver}"),
        "servfail" => format!("{resolver} could not look up {qname} (SERVFAIL)"),
        "refused" => format!("{resolver} refuses to look up {qname}"),
        "unreachable" => format!("{resolver} is unreachable, so {qname} was not found"),
        outcome => format!("{qname} was not found ({outcome}, {resolver})"),
    }
}

/// Explains why there may be no query.
fn hint(trace: &Trace) -> &'static str {
    if trace.command.is_empty() {
        return "; names may come from /etc/hosts, a cache inside the process, or encrypted DNS, or there was no route to the resolver";
    }
    "; names may come from /etc/hosts, from nscd or systemd-resolved by its own socket, or from encrypted DNS, or there was no route to \
     the resolver (ip route get)"
}

/// Returns who answers for names before DNS is asked, and how to trace that: by the line `hosts` of an nsswitch.conf(5).
#[must_use]
pub fn name_service(nsswitch: &str) -> Option<&'static str> {
    let hosts = nsswitch.lines().find_map(|line| line.trim_start().strip_prefix("hosts:"))?;
    let hosts = hosts.split('#').next()?;
    hosts.split_whitespace().take_while(|service| *service != "dns").find_map(|service| {
        match service {
            "resolve" => Some(
                "`resolve` in /etc/nsswitch.conf: names come from systemd-resolved by its own socket; trace it too, by \
                 --cgroup system.slice/systemd-resolved.service",
            ),
            "sss" => Some("`sss` in /etc/nsswitch.conf: names may come from SSSD; trace it too, by --cgroup system.slice/sssd.service"),
            "mdns" | "mdns4" | "mdns6" | "mdns_minimal" | "mdns4_minimal" | "mdns6_minimal" => Some(
                "`mdns` in /etc/nsswitch.conf: names below .local come from avahi-daemon, which asks on port 5353",
            ),
            _ => None,
        }
    })
}

/// Returns what the duration is made of, if connections were opened.
fn sum(trace: &Trace) -> Option<String> {
    let connecting = trace.connect_ms?;
    uses(trace).next()?;
    let first_byte = trace.first_byte_ms.unwrap_or(0.0);
    let rest = (trace.duration_ms - trace.wait_ms - connecting - first_byte).max(0.0);
    let [total, dns, connecting, rest] =
        [trace.duration_ms, trace.wait_ms, connecting, rest].map(seconds);
    let first_byte = trace.first_byte_ms.map(seconds);
    let first_byte = first_byte.map(|time| format!(" + {time} s to the first byte"));
    let first_byte = first_byte.unwrap_or_default();
    Some(format!(
        "{total} s = {dns} s DNS + {connecting} s connecting{first_byte} + {rest} s the rest"
    ))
}

fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn figures(trace: &Trace, signal: Option<i32>) -> String {
    let lookups = count(trace.lookups as u64, "lookup", "lookups");
    let queries = count(trace.queries, "query", "queries");
    let mut line = format!(
        "{lookups}, {queries}, {} wasted; {} s of waiting",
        trace.queries_wasted,
        seconds(trace.wait_ms)
    );
    if let Some(code) = trace.exit_code.filter(|code| *code != 0) {
        let _ = match signal {
            Some(signal) => write!(line, "; ended by signal {signal}"),
            None => write!(line, "; exit code {code}"),
        };
    }
    line
}

/// Returns what was waited for, as the end of a sentence.
fn reason(wait: &Wait) -> String {
    let lost = wait.lost_at.as_ref().map(|lost| format!("; {}", clean(&lost.to_string())));
    cause(wait) + &lost.unwrap_or_default()
}

fn cause(wait: &Wait) -> String {
    let Wait { cause, queries, .. } = wait;
    let times = count(*queries as u64, "time", "times");
    let resolver = clean(&wait.resolver);
    let types = wait.qtypes.join(" and ");
    let longest = seconds(wait.longest_ms);
    let is_response = wait.lost_at.as_ref().is_some_and(|lost| lost.message == "response");
    match cause {
        // It did answer.
        WaitCause::NoAnswer if is_response => {
            format!(
                "waiting for {resolver}, {} ({types})",
                count(*queries as u64, "query", "queries")
            )
        }
        WaitCause::NoAnswer if wait.never_answered => {
            format!("waiting for {resolver}, which never answered {types}")
        }
        WaitCause::NoAnswer if *queries == 1 => {
            format!("waiting for {resolver}, which did not answer one query ({types})")
        }
        WaitCause::NoAnswer => {
            format!("waiting for {resolver}, which did not answer {queries} queries ({types})")
        }
        WaitCause::Unreachable => {
            format!("for {resolver}, which is unreachable (ICMP, {times})")
        }
        WaitCause::Failure => {
            let codes = wait.rcodes.join(" and ");
            format!("waiting for {resolver}, which failed {times} ({codes})")
        }
        WaitCause::SearchList => format!(
            "waiting for {resolver}, for names of the search list that do not exist ({queries} queries)"
        ),
        WaitCause::Answer if *queries == 1 => format!("waiting for {resolver}, one answer"),
        WaitCause::Answer => {
            format!("waiting for {resolver}, {queries} answers, the slowest after {longest} s")
        }
    }
}

/// Returns what makes the tree incomplete.
fn problems(trace: &Trace) -> Vec<String> {
    let mut problems = Vec::new();
    if trace.lost_packets > 0 {
        let lost = trace.lost_packets;
        problems.push(format!(
            "{lost} packets of this host were lost or left out, because the agent could not keep up, so that queries \
             may be missing; raise capture.ring_bytes"
        ));
    }
    if trace.not_kept > 0 {
        problems.push(format!(
            "{} records are not shown, because there were too many; trace a shorter time",
            trace.not_kept
        ));
    }
    problems
}

fn process_node(process: &TracedProcess) -> Node {
    let lookups = process.lookups.iter().map(lookup_node);
    let others = process.others.iter().map(|query| query_node(query, &Widths::of([query])));
    let encrypted = process.encrypted.iter().map(connection_node);
    let uses = use_nodes(&process.uses);
    let name = if process.comm.is_empty() { "unknown process" } else { &*process.comm };
    let pid = if process.pid == 0 { String::new() } else { format!(" ({})", process.pid) };
    Node {
        text: format!("{}{pid}: {} s of waiting", clean(name), seconds(process.wait_ms)),
        below: lookups.chain(others).chain(encrypted).chain(uses).collect(),
    }
}

fn lookup_node(lookup: &TracedLookup) -> Node {
    let mut text = format!(
        "{} {}: {} after {} s",
        clean(&lookup.qname),
        lookup.qtypes.join("+"),
        lookup.outcome,
        seconds(lookup.wait_ms)
    );
    if let Some(name) = &lookup.answered_name {
        let _ = write!(text, ", as {}", clean(name));
    }
    let addresses: Vec<_> =
        lookup.addresses.iter().take(ANSWERS).map(|address| clean(address)).collect();
    if !addresses.is_empty() {
        let _ = write!(text, ", {}", addresses.join(" "));
    }
    if lookup.partial {
        text.push_str(", one address family unknown");
    }
    if lookup.packets_wasted > 0 {
        let _ = write!(text, "; {} of {} queries wasted", lookup.packets_wasted, lookup.packets);
    }
    let widths = Widths::of(&lookup.queries);
    let queries = lookup.queries.iter().map(|query| query_node(query, &widths));
    Node { text, below: queries.chain(use_nodes(&lookup.uses)).collect() }
}

/// Returns nodes for connections, and one that says how many more there are.
fn use_nodes(uses: &[TracedUse]) -> impl Iterator<Item = Node> {
    let more = uses.len().saturating_sub(USES);
    let rest = (more > 0).then(|| Node {
        text: format!(
            "and {} (-o json has all)",
            count(more as u64, "more connection", "more connections")
        ),
        below: Vec::new(),
    });
    uses.iter().take(USES).map(use_node).chain(rest)
}

/// Returns a node for connections.
fn use_node(one: &TracedUse) -> Node {
    let peer = host_and_port(&clean(&one.address), one.port);
    let mut text = format!("{:>8} connects to {peer}", format!("+{}", seconds(one.start_ms)));
    if one.protocol != "tcp" {
        let _ = write!(text, " ({})", clean(&one.protocol));
    }
    match (&*one.outcome, one.connect_ms) {
        ("unknown", None) => {}
        ("unknown", Some(after)) => {
            let _ = write!(text, ": given up after {} s", seconds(after));
        }
        ("timeout", Some(after)) => {
            let _ = write!(text, ": no answer in {} s", seconds(after));
        }
        (outcome, after) => {
            let _ = write!(text, ": {}", clean(outcome));
            let _ = after.map(|after| write!(text, " after {} s", seconds(after)));
        }
    }
    if let Some(first_byte) = one.first_byte_ms {
        let _ = write!(text, ", first byte {} s later", seconds(first_byte));
    }
    if one.count > 1 {
        let _ = write!(text, ", {} times", one.count);
    }
    if let Some(left) = one.ttl_left_ms.filter(|left| *left < 0.0) {
        let _ = write!(text, ", the answer stale for {} s", seconds(-left));
    }
    match &*one.matched {
        "none" => text.push_str("; no name was looked up for it"),
        "ambiguous" => {
            let _ = write!(text, "; one of {} names", one.candidates.len());
        }
        _ => {}
    }
    Node { text, below: Vec::new() }
}

/// Widths of the columns of queries that stand below each other.
struct Widths {
    qtype: usize,
    qname: usize,
    resolver: usize,
}

impl Widths {
    fn of<'a>(queries: impl IntoIterator<Item = &'a TracedQuery>) -> Self {
        let mut widths = Self { qtype: 4, qname: 1, resolver: 1 };
        for query in queries {
            let width = |text: &Option<String>| text.as_deref().unwrap_or_default().chars().count();
            widths.qtype = widths.qtype.max(width(&query.qtype));
            widths.qname = widths.qname.max(width(&query.qname)).min(60);
            widths.resolver = widths.resolver.max(query.resolver.chars().count()).min(40);
        }
        widths
    }
}

fn query_node(query: &TracedQuery, widths: &Widths) -> Node {
    let Widths { qtype, qname, resolver } = *widths;
    let name = clean(query.qname.as_deref().unwrap_or("-"));
    let mut text = format!(
        "{:>8} {:qtype$} {name:qname$}  {:resolver$}  ",
        format!("+{}", seconds(query.start_ms)),
        query.qtype.as_deref().unwrap_or("-"),
        clean(&query.resolver),
    );
    if query.transport == "tcp" {
        text.push_str("TCP ");
    }
    if query.vantage == "server" {
        text.push_str("asked by others ");
    }
    text.push_str(&result(query));
    let answers: Vec<_> = query.answers.iter().take(ANSWERS).map(|answer| clean(answer)).collect();
    if !answers.is_empty() {
        let _ = write!(text, " {}", answers.join(" "));
    }
    if query.answers.len() > ANSWERS {
        let _ = write!(text, " and {} more", query.answers.len() - ANSWERS);
    }
    if query.sent > 1 {
        let _ = write!(text, ", sent {} times", query.sent);
    }
    if let Some(cache) = &query.cache {
        let _ = write!(text, ", cache {cache}");
    }
    if let Some(lost) = &query.lost_at {
        let _ = write!(text, ", {}", clean(&lost.to_string()));
    }
    let read_ms = query.path.as_ref().and_then(|path| path.read_ms);
    if let Some(read_ms) = read_ms.filter(|ms| *ms >= 1.0) {
        let _ = write!(text, ", read {read_ms:.1} ms after it arrived");
    }
    if query.search_miss {
        text.push_str(", search list");
    }
    let widths = Widths::of(&query.upstream);
    Node { text, below: query.upstream.iter().map(|below| query_node(below, &widths)).collect() }
}

/// Returns the outcome of a query and how long it took.
fn result(query: &TracedQuery) -> String {
    let waited = seconds(query.wait_ms);
    match (&*query.outcome, query.latency_ms) {
        (outcome, Some(latency)) => format!("{outcome} {} s", seconds(latency)),
        ("timeout" | "open" | "evicted", None) => format!("no answer in {waited} s"),
        ("icmp_error", None) => "unreachable (ICMP)".to_owned(),
        (outcome, None) => outcome.to_owned(),
    }
}

fn connection_node(connection: &TracedConnection) -> Node {
    let mut text =
        format!("encrypted DNS ({}) to {}", connection.protocol, clean(&connection.resolver));
    if let Some(name) = &connection.sni {
        let _ = write!(text, " ({})", clean(name));
    }
    if let Some(handshake) = connection.handshake_ms {
        let _ = write!(text, ", handshake {} s", seconds(handshake));
    }
    let _ = write!(text, ", {}; its queries are not visible", connection.status);
    Node { text, below: Vec::new() }
}

/// Draws a node without a branch, and those below it.
fn draw(out: &mut String, branches: &Branches, node: &Node) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{}", node.text);
    draw_below(out, branches, node, "");
}

fn draw_below(out: &mut String, branches: &Branches, node: &Node, indent: &str) {
    for (number, below) in node.below.iter().enumerate() {
        let is_last = number + 1 == node.below.len();
        let (branch, more) =
            if is_last { (branches.last, branches.blank) } else { (branches.inner, branches.line) };
        let _ = writeln!(out, "{indent}{branch}{}", below.text);
        draw_below(out, branches, below, &format!("{indent}{more}"));
    }
}

/// Formats milliseconds as seconds with a resolution of milliseconds, and of tenths below ten.
fn seconds(millis: f64) -> String {
    if millis > 0.0 && millis < 9.95 {
        return format!("{:.4}", millis / 1e3);
    }
    format!("{:.3}", millis / 1e3)
}

/// Formats a duration to which others are compared: `5.1`, `0.034`.
fn short_seconds(millis: f64) -> String {
    let digits = if millis < 1_000.0 { 3 } else { 1 };
    format!("{:.digits$}", millis / 1e3)
}
