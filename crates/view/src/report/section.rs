//! Sections of the page.

use super::evidence::Example;
use super::group::{Figures, Groups};
use super::model::ReportModel;
use super::words::{failure_tone, second};
use crate::top::OutcomeKind;
use dnscribe_record::LedgerRecord;
use dnscribe_record::number::to_f64;
use dnscribe_report::{
    Cell, Column, HeatMap, Mark, Section, Series, Table, TimeChart, Tone, html, time,
};

/// Rows of a table by resolver, zone or process.
pub(super) const ROWS: usize = 100;

/// Rows of the tables of names.
pub(super) const NAMES: usize = 50;

/// Rows of a heat map.
const HEAT_ROWS: usize = 12;

/// Outcomes in the chart, with names and colours.
const OUTCOMES: [(OutcomeKind, &str, usize); 7] = [
    (OutcomeKind::Noerror, "answered", 0),
    (OutcomeKind::Nxdomain, "NXDOMAIN", 1),
    (OutcomeKind::Servfail, "SERVFAIL", 2),
    (OutcomeKind::OtherError, "other errors", 5),
    (OutcomeKind::Timeout, "no answer", 3),
    (OutcomeKind::Unreachable, "unreachable", 7),
    (OutcomeKind::Unsettled, "open", 6),
];

/// Quantiles in the chart, with names and colours.
const QUANTILES: [(f64, &str, usize); 3] =
    [(0.5, "median", 0), (0.95, "95th percentile", 2), (0.99, "99th percentile", 3)];

pub(super) fn timeline(model: &ReportModel) -> Option<Section> {
    if model.total.counts.sum() == 0 {
        return None;
    }
    let axis = model.timeline.axis();
    let cells = model.timeline.on(&axis);
    let marks = marks(model);
    let outcomes =
        TimeChart::new(&format!("Queries in {} s by outcome", axis.step), axis.start, axis.step)
            .stacked()
            .marks(marks.clone());
    let of_kind = |kind: OutcomeKind| {
        cells.iter().map(move |cell| cell.as_ref().map(|cell| to_f64(cell.counts.get(kind))))
    };
    let shown = OUTCOMES.iter().filter(|(kind, ..)| model.total.counts.get(*kind) > 0);
    let outcomes = shown.fold(outcomes, |chart, (kind, name, colour)| {
        chart.series(Series::new(name, *colour, of_kind(*kind)))
    });
    let latency = QUANTILES.iter().fold(
        TimeChart::new("Latency of answers", axis.start, axis.step).durations().marks(marks),
        |chart, (q, name, colour)| {
            let values = cells.iter().map(|cell| cell.as_ref()?.latencies.quantile(*q));
            chart.series(Series::new(name, *colour, values))
        },
    );
    let body = html! { (outcomes.render()) (latency.render()) };
    Some(Section::new("timeline", "Timeline", body).intro(
        "Each query counts once, at the time of the query. Dashed lines are alerts and changes, shaded while they last.",
    ))
}

fn marks(model: &ReportModel) -> Vec<Mark> {
    let alerts = model.alerts.values().map(|alert| Mark {
        start: second(alert.started),
        end: alert.ended.map(second),
        text: format!("{}: {}", alert.rule, alert.summary),
        tone: alert.tone(),
    });
    let changes = model.changes.iter().map(|change| Mark {
        start: second(change.ts),
        end: change.ends.map(second),
        text: format!("{}: {}", change.kind, change.summary),
        tone: Tone::Plain,
    });
    alerts.chain(changes).collect()
}

pub(super) fn events(model: &ReportModel) -> Option<Section> {
    let mut rows: Vec<(u64, [Cell; 7])> = Vec::new();
    for alert in model.alerts.values() {
        let start = second(alert.started);
        let end = alert.ended.map_or_else(|| "lasts".to_owned(), |ended| time(second(ended)));
        rows.push((
            start,
            [
                Cell::text(time(start)),
                Cell::text(end),
                Cell::text(&alert.severity).tone(alert.tone()),
                Cell::text(&alert.rule),
                Cell::text(&alert.node),
                Cell::text(&alert.entity),
                Cell::text(&*alert.summary).link("runbook", alert.runbook.as_deref()),
            ],
        ));
    }
    for change in &model.changes {
        let start = second(change.ts);
        let concerned = change.zone.as_ref().or(change.service.as_ref());
        let by = change.actor.as_ref().map_or_else(String::new, |actor| format!(" (by {actor})"));
        rows.push((
            start,
            [
                Cell::text(time(start)),
                Cell::text(change.ends.map_or_else(String::new, |ends| time(second(ends)))),
                Cell::text("change"),
                Cell::text(&change.kind),
                Cell::default(),
                Cell::text(concerned.cloned().unwrap_or_default()),
                Cell::text(format!("{}{by}", change.summary)),
            ],
        ));
    }
    rows.sort_by_key(|(start, _)| *start);
    let table = Table::new("events", "Alerts and changes")
        .columns([
            Column::text("start"),
            Column::text("end"),
            Column::text("severity"),
            Column::text("rule or kind"),
            Column::text("node"),
            Column::long("concerned"),
            Column::long("summary"),
        ])
        .rows(rows.into_iter().map(|(_, row)| row));
    (!table.is_empty()).then(|| {
        Section::new("alerts", "Alerts and changes", table.render())
            .intro("In order of time. The runbook has the remedies.")
    })
}

/// Returns the cells of a group: queries, share, failures by kind, latencies.
fn figure_cells(figures: &Figures, total: u64) -> [Cell; 9] {
    let (queries, settled) = (figures.queries(), figures.settled());
    let failures = figures.failures();
    let tone = failure_tone(failures, settled);
    let tone = if tone == Tone::Good { Tone::Plain } else { tone };
    let latency = |q: f64| Cell::milliseconds(figures.latencies.quantile(q));
    [
        Cell::count(queries),
        Cell::share(queries, total),
        Cell::share(failures, settled).tone(tone),
        Cell::share(figures.nxdomain(), settled),
        Cell::count(figures.counts.get(OutcomeKind::Timeout)),
        Cell::count(figures.counts.get(OutcomeKind::Servfail)),
        Cell::count(figures.retries),
        latency(0.5),
        latency(0.95),
    ]
}

const FIGURE_COLUMNS: [&str; 9] = [
    "queries",
    "share",
    "failed",
    "NXDOMAIN",
    "no answer",
    "SERVFAIL",
    "sent again",
    "median",
    "95th perc.",
];

fn group_table(
    id: &str,
    caption: &str,
    first: &str,
    model: &ReportModel,
    groups: &Groups,
    rows: usize,
    rank: impl Fn(&Figures) -> u64,
) -> Table {
    let total = model.total.queries();
    let top = groups.top(rows, &rank);
    let left_out = groups.count_ranked(&rank).saturating_sub(top.len());
    let columns = std::iter::once(Column::long(first)).chain(FIGURE_COLUMNS.map(Column::number));
    let table =
        top.iter().fold(Table::new(id, caption).columns(columns), |table, (key, figures)| {
            table.row(std::iter::once(Cell::text(*key)).chain(figure_cells(figures, total)))
        });
    match (left_out, groups.others) {
        (0, 0) => table,
        (more, 0) => table.note(format!("{} more are not shown.", dnscribe_report::count(more as u64))),
        (more, others) => table.note(format!(
            "{} more are not shown; {} transactions of further ones are counted in the totals only.",
            dnscribe_report::count(more as u64),
            dnscribe_report::count(others)
        )),
    }
}

pub(super) fn resolvers(model: &ReportModel) -> Option<Section> {
    let table = group_table(
        "by-resolver",
        "Resolvers by queries",
        "resolver",
        model,
        &model.resolvers,
        ROWS,
        Figures::queries,
    );
    if table.is_empty() {
        return None;
    }
    let axis = model.timeline.axis();
    let map = HeatMap::new("Share of failed queries by resolver, over time", axis.start, axis.step);
    let share = |cell: Option<Figures>| {
        cell.filter(|cell| cell.settled() > 0)
            .map(|cell| to_f64(cell.failures()) / to_f64(cell.settled()))
    };
    let map = model
        .resolvers
        .top(HEAT_ROWS, Figures::queries)
        .into_iter()
        .filter_map(|(resolver, _)| Some((resolver, model.resolver_timelines.get(resolver)?)))
        .fold(map, |map, (resolver, timeline)| {
            map.row(resolver, timeline.on(&axis).into_iter().map(share))
        });
    let body = html! { (map.render()) (table.render()) };
    Some(Section::new("resolvers", "Resolvers", body).intro(
        "Failed are queries without an answer, unreachable servers, SERVFAIL, REFUSED and other errors; NXDOMAIN is an \
         answer.",
    ))
}

pub(super) fn zones(model: &ReportModel) -> Option<Section> {
    let table = group_table(
        "by-zone",
        "Zones by queries",
        "zone",
        model,
        &model.zones,
        ROWS,
        Figures::queries,
    );
    (!table.is_empty()).then(|| {
        Section::new("zones", "Zones", table.render())
            .intro("A zone is the registrable domain of a name by the Public Suffix List.")
    })
}

pub(super) fn names(model: &ReportModel) -> Option<Section> {
    let names = &model.names;
    let most =
        group_table("by-name", "Names by queries", "name", model, names, NAMES, Figures::queries);
    let failing = group_table(
        "failing-names",
        "Names by failures",
        "name",
        model,
        names,
        NAMES,
        Figures::failures,
    );
    let missing = group_table(
        "missing-names",
        "Names by NXDOMAIN",
        "name",
        model,
        names,
        NAMES,
        Figures::nxdomain,
    );
    let types =
        group_table("by-type", "Query types", "type", model, &model.qtypes, ROWS, Figures::queries);
    let body = html! {
        @for table in [&most, &failing, &missing, &types] { @if !table.is_empty() { (table.render()) } }
    };
    (!most.is_empty()).then(|| Section::new("names", "Names", body))
}

pub(super) fn processes(model: &ReportModel) -> Option<Section> {
    let table = group_table(
        "by-process",
        "Processes and clients by queries",
        "process and place",
        model,
        &model.processes,
        ROWS,
        Figures::queries,
    );
    (!table.is_empty()).then(|| {
        Section::new("processes", "Processes and pods", table.render())
            .intro("A process with its pod, container or host; the client's address where no process is known.")
    })
}

pub(super) fn lookups(model: &ReportModel) -> Option<Section> {
    let mut rows: Vec<_> = model.lookups_by_process.iter().collect();
    if rows.is_empty() {
        return None;
    }
    rows.sort_by_key(|(_, figures)| std::cmp::Reverse((figures.wasted, figures.lookups)));
    let numbers =
        ["lookups", "failed", "queries", "wasted", "search list", "sent again", "mean wait"];
    let columns =
        std::iter::once(Column::long("process and place")).chain(numbers.map(Column::number));
    let table = rows.iter().take(ROWS).fold(
        Table::new("by-waste", "Lookups by wasted queries").columns(columns),
        |table, (process, figures)| {
            let mean = figures.waited_ms / to_f64(figures.lookups.max(1));
            table.row([
                Cell::text(*process),
                Cell::count(figures.lookups),
                Cell::share(figures.failed, figures.lookups),
                Cell::count(figures.packets),
                Cell::share(figures.wasted, figures.packets),
                Cell::count(figures.search_expansions),
                Cell::count(figures.retries),
                Cell::milliseconds(Some(mean)),
            ])
        },
    );
    Some(Section::new("lookups", "Lookups and waste", table.render()).intro(
        "A lookup is what an application asked with one call. Wasted are queries for names of the search list that do \
         not exist, repeated questions, and one question sent to several servers.",
    ))
}

pub(super) fn losses(model: &ReportModel) -> Option<Section> {
    if model.ledgers.is_empty() {
        return None;
    }
    let numbers =
        ["packets seen", "lost", "left out", "malformed", "queries", "responses", "evicted"];
    let columns = [Column::text("node"), Column::text("ledger")];
    let columns = columns.into_iter().chain(numbers.map(Column::number));
    let table =
        model.ledgers.values().fold(
            Table::new("ledger", "Ledger of each capture").columns(columns),
            |table, ledger| table.row(ledger_cells(ledger)),
        );
    Some(Section::new("losses", "Losses", table.render()).intro(
        "Every packet that the kernel saw is in exactly one place. Lost: the ring buffer was full. Left out: sampled under \
         overload. Malformed: it was not DNS.",
    ))
}

fn ledger_cells(ledger: &LedgerRecord) -> [Cell; 9] {
    let counters = &ledger.counters;
    let of_kernel = |count: fn(&dnscribe_record::ledger::Kernel) -> u64| -> u64 {
        counters.kernel.values().map(count).sum()
    };
    let alarming = |number: u64| {
        let tone = if number == 0 { Tone::Plain } else { Tone::Bad };
        Cell::count(number).tone(tone)
    };
    let verdict = match counters.imbalances().len() {
        0 => Cell::text("closes").tone(Tone::Good),
        open => Cell::text(format!("{open} identities do not close")).tone(Tone::Bad),
    };
    [
        Cell::text(&ledger.node),
        verdict,
        Cell::count(of_kernel(|kernel| kernel.seen)),
        alarming(of_kernel(|kernel| kernel.lost_ring_full)),
        Cell::count(of_kernel(|kernel| kernel.sampled_out)),
        Cell::count(counters.decode.malformed.values().sum()),
        Cell::count(counters.decode.queries),
        Cell::count(counters.decode.responses),
        alarming(counters.pairing.evicted),
    ]
}

pub(super) fn evidence(model: &ReportModel) -> Option<Section> {
    let failed = examples(
        "failed",
        "Failed transactions: the first of each resolver, outcome and zone",
        &model.evidence.failed,
    );
    let slow = examples("slow", "Slowest answers", &model.evidence.slow);
    let body =
        html! { @for table in [&failed, &slow] { @if !table.is_empty() { (table.render()) } } };
    let is_empty = failed.is_empty() && slow.is_empty();
    (!is_empty).then(|| {
        Section::new("evidence", "Evidence", body)
            .intro("The id finds the transaction in the records, in Kafka and in ClickHouse.")
    })
}

fn examples(id: &str, caption: &str, examples: &[Example]) -> Table {
    let columns = [
        Column::text("time"),
        Column::text("resolver"),
        Column::long("name"),
        Column::text("type"),
        Column::text("outcome"),
        Column::number("latency"),
        Column::long("process and place"),
        Column::text("id"),
    ];
    examples.iter().fold(Table::new(id, caption).columns(columns), |table, example| {
        let ts = example.ts.to_string();
        let millisecond = ts.get(..23).unwrap_or(&ts).replace('T', " ");
        table.row([
            Cell::text(millisecond),
            Cell::text(&example.resolver),
            Cell::text(&example.qname),
            Cell::text(&example.qtype),
            Cell::text(&example.outcome),
            Cell::milliseconds(example.latency_ms),
            Cell::text(&example.process),
            Cell::text(&example.event_id),
        ])
    })
}
