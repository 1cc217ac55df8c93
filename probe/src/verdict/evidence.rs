//! Evidence: what the measurements of a service say, one line each, as an operator would write it down.

use super::classify::Diagnosis;
use super::state::Measurement;
use dnscribe_record::number::to_f64;
use dnscribe_record::time::Timestamp;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// Most lines of what works, and of what does not.
const MAX_LINES: usize = 8;
/// Most lines in a summary.
const MAX_SUMMARY: usize = 3;

/// Evidence of a diagnosis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Evidence {
    /// One sentence.
    pub(super) summary: String,
    /// All lines: what works, what follows from the cause, what shows it, and the cause.
    pub(super) lines: Vec<String>,
}

/// Writes the evidence of a diagnosis.
pub(super) fn describe(all: &[&Measurement], diagnosis: &Diagnosis, now: Timestamp) -> Evidence {
    let select = |places: &[usize]| places.iter().map(|index| all[*index]).collect::<Vec<_>>();
    let works: Vec<&Measurement> = all.iter().filter(|one| one.fields.ok).copied().collect();
    let own = select(&diagnosis.own);
    // Answers that have changed are good as answers, and yet show the cause.
    let is_own = |one: &&Measurement| own.iter().any(|other| std::ptr::eq(*one, *other));
    let works: Vec<&Measurement> = works.into_iter().filter(|one| !is_own(one)).collect();
    let working = working(&works, all);
    let failed = failures(&own);
    let failing = lines(&failed, |group| failure_line(group, now));
    let following = failures(&select(&diagnosis.following));
    let following = lines(&following, |group| failure_line(group, now));
    let only = diagnosis.family.map(|family| format!(" ({family} only)")).unwrap_or_default();
    let arrow = format!("→ {}{only}", diagnosis.cause.name());
    let rest = MAX_SUMMARY.saturating_sub(failing.len()).min(1);
    let context = working.iter().take(rest);
    let shown: Vec<&str> =
        context.chain(failing.iter().take(MAX_SUMMARY)).map(String::as_str).collect();
    let more = failed.len().saturating_sub(MAX_SUMMARY);
    let more = if more > 0 { format!("; {more} more") } else { String::new() };
    let summary = format!("{}{more} {arrow}", shown.join("; "));
    let following = following.into_iter().map(|line| format!("follows: {line}"));
    let lines = working.into_iter().chain(following).chain(failing).chain([arrow]).collect();
    Evidence { summary, lines }
}

/// Writes the lines of the first groups, and the number of the others.
fn lines(groups: &[Vec<&Measurement>], line: impl Fn(&[&Measurement]) -> String) -> Vec<String> {
    let more = groups.len().saturating_sub(MAX_LINES);
    let more = (more > 0).then(|| format!("and {more} more of this kind"));
    groups.iter().take(MAX_LINES).map(|group| line(group)).chain(more).collect()
}

/// Groups measurements that have a key in common, in their order.
fn grouped<'a, K: Ord>(
    all: &[&'a Measurement],
    key: impl Fn(&'a Measurement) -> K,
) -> Vec<Vec<&'a Measurement>> {
    let mut places = BTreeMap::new();
    let mut groups: Vec<Vec<&Measurement>> = Vec::new();
    for one in all {
        let place = *places.entry(key(one)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    groups
}

/// Lines of measurements that are as they should be. Resolvers and nameservers share a line.
fn working(works: &[&Measurement], all: &[&Measurement]) -> Vec<String> {
    let groups = grouped(works, |one| (one.fields.kind.as_str(), one.fields.target.as_str()));
    lines(&groups, |group| {
        let of_target = |one: &&&Measurement| one.target == group[0].target;
        working_line(group, all.iter().filter(of_target).count())
    })
}

fn working_line(group: &[&Measurement], whole: usize) -> String {
    let fields = &group[0].fields;
    let target = &fields.target;
    let slowest = |value: fn(&Measurement) -> Option<f64>| {
        group.iter().filter_map(|one| value(one)).reduce(f64::max)
    };
    let within = |ms: Option<f64>| ms.map(|ms| format!(" in {}", show_ms(ms))).unwrap_or_default();
    match fields.kind.as_str() {
        "dns" => {
            let rcode = fields.rcode.as_deref().unwrap_or("NOERROR");
            let time = within(slowest(|one| one.fields.latency_ms));
            let some = count(group.len(), whole, "resolver");
            let secure = group.iter().all(|one| one.fields.dnssec.as_deref() == Some("secure"));
            let secure = if secure { ", signatures valid" } else { "" };
            format!("{target}: {some} {rcode}{time}{secure}")
        }
        "authority" => {
            let serials = group.iter().filter_map(|one| one.fields.soa_serial);
            let serial =
                serials.max().map(|serial| format!(" with serial {serial}")).unwrap_or_default();
            format!("{target}: {} answer{serial}", count(group.len(), whole, "nameserver"))
        }
        "tcp" => format!("TCP to {target} connects{}", within(fields.connect_ms)),
        "tls" => {
            let days = fields.cert.as_ref().and_then(|cert| cert.expiry_days);
            let days = days
                .map(|days| format!(", certificate valid for {days:.0} days"))
                .unwrap_or_default();
            format!("TLS to {target} completes{}{days}", within(fields.handshake_ms))
        }
        "http" => {
            let status = fields.http_status.map(|status| format!(" {status}")).unwrap_or_default();
            format!("{target} answers{status}{}", within(Some(fields.duration_ms)))
        }
        _ => format!("ping {target}: {}", ping_counts(group[0])),
    }
}

/// «3 of 4 resolvers», «resolver» of one alone.
fn count(part: usize, whole: usize, what: &str) -> String {
    match whole {
        1 => format!("the {what}"),
        _ if part == whole => format!("all {whole} {what}s"),
        _ => format!("{part} of {whole} {what}s"),
    }
}

/// Groups failures: those of one target with one reason share a line.
fn failures<'a>(failed: &[&'a Measurement]) -> Vec<Vec<&'a Measurement>> {
    grouped(failed, |one| (one.fields.kind.as_str(), one.fields.target.as_str(), one.error()))
}

fn failure_line(group: &[&Measurement], now: Timestamp) -> String {
    let one = group[0];
    let fields = &one.fields;
    let target = &fields.target;
    let at = |name: fn(&Measurement) -> Option<String>| {
        let names: Vec<String> = group.iter().filter_map(|one| name(one)).collect();
        names.join(", ")
    };
    let subject = match fields.kind.as_str() {
        "dns" => format!("{target} at {}", at(|one| one.fields.resolver.clone())),
        "authority" => match at(nameserver) {
            servers if servers.is_empty() => format!("zone {target}"),
            servers => format!("zone {target} at {servers}"),
        },
        "tcp" => format!("TCP to {target}"),
        "tls" => format!("TLS to {target}"),
        "http" => target.clone(),
        _ => format!("ping {target}"),
    };
    let mut line = format!("{subject}{} {}", via(one), what_failed(one));
    let since = group.iter().map(|one| one.since).min().unwrap_or(one.since);
    // Writing to a String cannot fail.
    let _ = write!(line, "{}", show_since(since, one.at, now));
    line
}

/// `ns1.example.com (192.0.2.53)`.
fn nameserver(one: &Measurement) -> Option<String> {
    let name = one.fields.nameserver.as_deref()?;
    let address = one.fields.address.as_ref().map(|address| format!(" ({address})"));
    Some(format!("{name}{}", address.unwrap_or_default()))
}

/// Address that a name led to, where the target does not say it.
fn via(one: &Measurement) -> String {
    let fields = &one.fields;
    let is_host = matches!(fields.kind.as_str(), "tcp" | "tls" | "http" | "ping");
    let address = fields.address.as_ref().filter(|address| !fields.target.contains(*address));
    address.filter(|_| is_host).map(|address| format!(" at {address}")).unwrap_or_default()
}

fn what_failed(one: &Measurement) -> String {
    let Some(error) = &one.fields.error else {
        let answers = one.fields.answers.join(" ");
        return format!("has changed: {answers}");
    };
    if one.fields.kind == "ping" && error.stage == "connect" && one.fields.sent.is_some() {
        return ping_counts(one);
    }
    let reason = error.reason.replace('_', " ");
    let stage = match (one.fields.kind.as_str(), error.stage.as_str()) {
        // A stage that goes without saying.
        ("dns" | "authority", "dns") | ("tcp" | "ping", "connect") | ("tls", "tls") => {
            String::new()
        }
        ("http", "http") => String::new(),
        (_, "resolve") => "resolving its name: ".to_owned(),
        (_, stage) => format!("{stage}: "),
    };
    let detail = error.detail.as_deref().or(one.fields.dnssec_reason.as_deref());
    // An error of a socket says the reason again.
    let says_more = |detail: &&str| *detail != reason && !detail.contains("(os error");
    let detail = detail.filter(says_more).map(str::to_owned);
    let said = one.fields.ede.iter().map(ToString::to_string);
    let details: Vec<String> = detail.into_iter().chain(said).collect();
    let details =
        if details.is_empty() { String::new() } else { format!(" ({})", details.join("; ")) };
    format!("{stage}{reason}{details}")
}

fn ping_counts(one: &Measurement) -> String {
    let (sent, received) =
        (one.fields.sent.unwrap_or_default(), one.fields.received.unwrap_or_default());
    let time = one.fields.rtt_ms.map(|ms| format!(" in {}", show_ms(ms))).unwrap_or_default();
    format!("{received} of {sent} answered{time}")
}

/// ` since 10:02`, by UTC, if it was so in an earlier round too.
fn show_since(since: Timestamp, last: Timestamp, now: Timestamp) -> String {
    if since >= last {
        return String::new();
    }
    let text = since.to_string();
    let day = Duration::from_hours(24);
    let shown = if now.since(since) < day { text.get(11..16) } else { text.get(..16) };
    shown.map(|shown| format!(" since {}", shown.replace('T', " "))).unwrap_or_default()
}

/// Milliseconds with as many digits as matter.
pub(super) fn show_ms(ms: f64) -> String {
    if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}

/// Ratio of those that fail, and their number, as figures.
pub(super) fn ratio_of_failures(own: &[&Measurement]) -> (f64, f64) {
    let ratio = own.iter().map(|one| one.failure_ratio()).reduce(f64::max).unwrap_or_default();
    (ratio, to_f64(own.len() as u64))
}
