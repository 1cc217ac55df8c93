//! The summary in words: what someone who was not there must know, the worst first.

use super::group::Figures;
use super::incident::{self, Incident};
use super::model::{LookupFigures, ReportModel, STREAMS};
use crate::top::OutcomeKind;
use dnscribe_delivery::Stream;
use dnscribe_record::ledger::Delivery;
use dnscribe_record::number::to_f64;
use dnscribe_record::time::Timestamp;
use dnscribe_report::{Tone, clock, count, milliseconds, percent, time, time_range};

/// Sentences of each kind.
const OF_EACH: usize = 4;

/// Incidents that have a sentence.
const INCIDENTS: usize = 8;

/// Queries from which on a resolver, zone or process is worth a sentence.
const MIN_QUERIES: u64 = 10;

/// Queries from which on a resolver that answers none is worth a sentence.
const MIN_UNANSWERED: u64 = 3;

/// Returns how bad a share of failures is: from 1 % on a warning, from 5 % on bad.
pub(super) fn failure_tone(failures: u64, queries: u64) -> Tone {
    match failures.saturating_mul(100) {
        0 => Tone::Good,
        hundredfold if hundredfold >= queries.saturating_mul(5) => Tone::Bad,
        hundredfold if hundredfold >= queries => Tone::Warning,
        _ => Tone::Plain,
    }
}

/// Returns the sentences.
pub(super) fn summary(model: &ReportModel) -> Vec<(Tone, String)> {
    if model.total.counts.sum() == 0 {
        let none = (Tone::Warning, "There is no DNS transaction in this time.".to_owned());
        let missing = left_out(model).into_iter().chain(undelivered(model));
        return std::iter::once(none).chain(missing).collect();
    }
    let mut sentences = silent_resolvers(model);
    sentences.extend(slow_lookups(model));
    sentences.push(overall(model));
    sentences.extend(incidents(model));
    sentences.extend(failing_resolvers(model));
    sentences.extend(missing_names(model));
    sentences.extend(waste(model));
    sentences.extend(model.lost.sentence());
    sentences.extend(left_out(model));
    let undelivered = undelivered(model);
    let is_complete = undelivered.is_empty();
    sentences.extend(undelivered);
    sentences.extend(losses(model, is_complete));
    sentences
}

fn overall(model: &ReportModel) -> (Tone, String) {
    let total = &model.total;
    if total.queries() == 0 {
        let text = "There is no query in this time, only responses to queries that are not in it.";
        return (Tone::Warning, text.to_owned());
    }
    let (settled, failures) = (total.settled(), total.failures());
    // Forged answers come from addresses that nobody asked.
    let (clients, resolvers) =
        (model.clients.len(), model.resolvers.count_ranked(Figures::queries));
    let at_least = |is_capped: bool| if is_capped { "at least " } else { "" };
    let traffic = format!(
        "{} of {}{} to {}{}",
        number_of(total.queries(), "query", "queries"),
        at_least(model.has_more_clients),
        number_of(clients as u64, "client", "clients"),
        at_least(model.resolvers.others > 0),
        number_of(resolvers as u64, "resolver", "resolvers")
    );
    let outcome = if failures == 0 {
        "all that ended were answered without an error".to_owned()
    } else {
        let share = percent(failures, settled);
        format!("{} ({share}) failed: {}", count(failures), kinds(total))
    };
    let quantiles = total.latencies.quantile(0.5).zip(total.latencies.quantile(0.95));
    let latencies = quantiles.map_or_else(String::new, |(median, high)| {
        let (median, high) = (milliseconds(median), milliseconds(high));
        format!(". Half of the answers came within {median}, 95 % within {high}")
    });
    let text = format!("{traffic}; {outcome}{latencies}.");
    (failure_tone(failures, settled), text)
}

/// Returns a number with the noun that fits it.
fn number_of(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// Returns the kinds of failures with their numbers, the most frequent first.
fn kinds(figures: &Figures) -> String {
    let mut kinds = [
        (OutcomeKind::Timeout, "without an answer"),
        (OutcomeKind::Servfail, "SERVFAIL"),
        (OutcomeKind::Unreachable, "unreachable"),
        (OutcomeKind::OtherError, "other errors"),
    ]
    .map(|(kind, name)| (figures.counts.get(kind), name));
    kinds.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    let named = kinds.iter().filter(|(number, _)| *number > 0);
    named.map(|(number, name)| format!("{} {name}", count(*number))).collect::<Vec<_>>().join(", ")
}

/// Returns a sentence for each incident, in order of time: the worst ones.
fn incidents(model: &ReportModel) -> Vec<(Tone, String)> {
    let mut incidents = incident::incidents(model.alerts.values(), &model.changes);
    incidents.sort_by_key(|incident| (!incident.worst.is_critical(), incident.started));
    let more = incidents.len().saturating_sub(INCIDENTS);
    incidents.truncate(INCIDENTS);
    incidents.sort_by_key(|incident| incident.started);
    let mut sentences: Vec<_> = incidents.iter().map(sentence).collect();
    if more > 0 {
        let verb = if more == 1 { "is" } else { "are" };
        let incidents = number_of(more as u64, "further incident", "further incidents");
        sentences.push((Tone::Warning, format!("{incidents} {verb} listed below.")));
    }
    sentences
}

fn sentence(incident: &Incident<'_>) -> (Tone, String) {
    let start = second(incident.started);
    let period = match incident.ended {
        Some(ended) => time_range(start, second(ended)),
        None => format!("From {} UTC on", time(start)),
    };
    let rules = incident.rules.iter().map(|(rule, nodes)| match nodes {
        1 => (*rule).to_owned(),
        _ => format!("{rule} of {nodes} nodes"),
    });
    let rules = rules.collect::<Vec<_>>().join(", ");
    let summary = incident.cause.summary.trim_end_matches('.');
    let changes = incident.changes.iter().map(|change| {
        format!(" {} at {}: {}.", change.kind, clock(second(change.ts)), change.summary)
    });
    let changes: String = changes.take(OF_EACH).collect();
    (incident.worst.tone(), format!("{period}: {summary}. Alerts: {rules}.{changes}"))
}

/// Names resolvers that have answered nothing.
fn silent_resolvers(model: &ReportModel) -> Vec<(Tone, String)> {
    let silent = model.resolvers.top(usize::MAX, Figures::queries).into_iter();
    let silent = silent.filter(|(_, one)| one.queries() >= MIN_UNANSWERED && is_silent(one));
    let sentence = |(resolver, figures): (&str, &Figures)| {
        let queries = count(figures.queries());
        (Tone::Bad, format!("None of the {queries} queries to {resolver} was answered."))
    };
    silent.take(OF_EACH).map(sentence).collect()
}

fn is_silent(figures: &Figures) -> bool {
    let counts = &figures.counts;
    counts.get(OutcomeKind::Timeout) + counts.get(OutcomeKind::Unreachable) == figures.queries()
}

/// Says how long applications waited, where many waited long although the answers that came were fast.
fn slow_lookups(model: &ReportModel) -> Option<(Tone, String)> {
    let LookupFigures { lookups, slow, slow_ms, .. } = model.lookups;
    let mean = slow_ms / to_f64(slow.max(1));
    let text = format!(
        "{} of {} lookups took applications a second or longer: {} on average, with retries and second resolvers.",
        count(slow),
        count(lookups),
        milliseconds(mean)
    );
    (slow > 0 && slow * 20 >= lookups).then_some((Tone::Bad, text))
}

/// Names resolvers with a notable share of failures, and when they failed.
fn failing_resolvers(model: &ReportModel) -> Vec<(Tone, String)> {
    let failing =
        model.resolvers.top(usize::MAX, Figures::failures).into_iter().filter(|(_, figures)| {
            let is_notable = figures.failures() * 20 >= figures.settled() && !is_silent(figures);
            figures.settled() >= MIN_QUERIES && is_notable
        });
    failing
        .take(OF_EACH)
        .map(|(resolver, figures)| {
            let (failures, queries) = (figures.failures(), figures.settled());
            let share = percent(failures, queries);
            let when =
                failing_time(model, resolver).map_or_else(String::new, |time| format!(", {time}"));
            let text = format!(
                "{resolver}: {} of {} queries ({share}) failed, {}{when}.",
                count(failures),
                count(queries),
                kinds(figures)
            );
            (failure_tone(failures, queries), text)
        })
        .collect()
}

/// Returns from when to when at least half of a resolver's queries failed, unless they did all the time.
fn failing_time(model: &ReportModel, resolver: &str) -> Option<String> {
    let axis = model.timeline.axis();
    let cells = model.resolver_timelines.get(resolver)?.on(&axis);
    let is_bad = |cell: &Option<Figures>| {
        cell.as_ref().is_some_and(|cell| cell.failures() * 2 >= cell.settled().max(1))
    };
    let first = cells.iter().position(is_bad)?;
    let last = cells.iter().rposition(is_bad)?;
    let seen = cells.iter().filter(|cell| cell.is_some()).count();
    let bad = cells.iter().filter(|cell| is_bad(cell)).count();
    if bad == seen {
        return Some("all the time".to_owned());
    }
    Some(format!("mostly {}", time_range(axis.second(first), axis.second(last + 1))))
}

fn missing_names(model: &ReportModel) -> Option<(Tone, String)> {
    let total = &model.total;
    let (missing, queries) = (total.nxdomain(), total.settled());
    if missing * 5 < queries || missing < MIN_QUERIES {
        return None;
    }
    let by = |groups: Vec<(&str, &Figures)>| {
        groups.first().map(|(name, figures)| format!("{name} ({})", count(figures.nxdomain())))
    };
    let zone = by(model.zones.top(1, Figures::nxdomain)).unwrap_or_default();
    let process = by(model.processes.top(1, Figures::nxdomain)).unwrap_or_default();
    let share = percent(missing, queries);
    let text = format!(
        "{share} of the queries asked for names that do not exist: most of them in {zone}, most of them by {process}."
    );
    Some((Tone::Warning, text))
}

fn waste(model: &ReportModel) -> Option<(Tone, String)> {
    let lookups = &model.lookups;
    if lookups.wasted * 10 < lookups.packets || lookups.wasted < MIN_QUERIES {
        return None;
    }
    let by_waste = model
        .lookups_by_process
        .iter()
        .max_by_key(|(name, one)| (one.wasted, std::cmp::Reverse(*name)));
    let (process, most) = by_waste?;
    let text = format!(
        "{} of {} queries of applications ({}) contributed nothing: search lists and retries. Most of them, {}, are of {process}.",
        count(lookups.wasted),
        count(lookups.packets),
        percent(lookups.wasted, lookups.packets),
        count(most.wasted)
    );
    Some((Tone::Warning, text))
}

/// Says that the figures lack lines of the input.
fn left_out(model: &ReportModel) -> Option<(Tone, String)> {
    let unreadable = model.unreadable();
    let text = format!("The figures are without {unreadable}.");
    (unreadable.lines() > 0).then_some((Tone::Bad, text))
}

/// Says which records were made, and are in no figure: what filters left out, and what sinks dropped. The ledger does not
/// say which of several sinks wrote the input: the most that one of them lacks counts.
fn undelivered(model: &ReportModel) -> Vec<(Tone, String)> {
    let sentence = |count: fn(&Delivery) -> u64, why: &str| {
        let lacking = STREAMS.map(|stream| (stream, most_lacking(model, stream, count)));
        let lacking = lacking.into_iter().filter(|(_, number)| *number > 0);
        let kinds: Vec<String> = lacking.map(|(stream, number)| noun(stream, number)).collect();
        let text = format!("The figures are without {} that {why}.", kinds.join(", "));
        (!kinds.is_empty()).then_some((Tone::Warning, text))
    };
    let filtered = sentence(|one| one.filtered, "filters left out");
    let dropped = sentence(|one| one.dropped.values().sum(), "a sink dropped");
    filtered.into_iter().chain(dropped).collect()
}

/// Returns the sum over all captures of the records of a stream that one sink lacks.
fn most_lacking(model: &ReportModel, stream: Stream, count: fn(&Delivery) -> u64) -> u64 {
    let captures = model.ledgers.values().map(|ledger| ledger.counters.delivery.values());
    let most = captures.map(|sinks| {
        sinks.filter_map(|streams| streams.get(stream.name())).map(count).max().unwrap_or(0)
    });
    most.sum()
}

/// Returns a number of records with the name of their stream, such as "1 transaction".
fn noun(stream: Stream, number: u64) -> String {
    let name = if stream == Stream::Ledger { "ledgers" } else { stream.name() };
    let name = if number == 1 { name.trim_end_matches('s') } else { name };
    format!("{} {name}", count(number))
}

/// Says whether packets are missing. Where records are, only bad news: good ones would hide that.
fn losses(model: &ReportModel, is_complete: bool) -> Option<(Tone, String)> {
    if model.ledgers.is_empty() {
        let text = "There is no ledger in the input: whether packets are missing cannot be told.";
        return Some((Tone::Warning, text.to_owned()));
    }
    let kernels = || model.ledgers.values().flat_map(|ledger| ledger.counters.kernel.values());
    let lost: u64 = kernels().map(|kernel| kernel.lost_ring_full).sum();
    let left_out: u64 = kernels().map(|kernel| kernel.sampled_out).sum();
    let open =
        model.ledgers.values().filter(|ledger| !ledger.counters.imbalances().is_empty()).count();
    if open > 0 {
        let text = format!(
            "The ledger of {} does not close: packets or records are missing without a reason.",
            number_of(open as u64, "capture", "captures")
        );
        return Some((Tone::Bad, text));
    }
    if lost + left_out > 0 {
        let text = format!(
            "{} {} lost and {} left out by sampling: the figures are too low. All of them are accounted for in the ledger.",
            number_of(lost, "packet", "packets"),
            if lost == 1 { "was" } else { "were" },
            count(left_out)
        );
        return Some((Tone::Warning, text));
    }
    let text = "No packet was lost: the ledger accounts for every one.";
    is_complete.then(|| (Tone::Good, text.to_owned()))
}

pub(super) const fn second(ts: Timestamp) -> u64 {
    ts.as_nanos() / 1_000_000_000
}
