//! The page of a report.

use super::model::ReportModel;
use super::section;
use super::words;
use crate::top::OutcomeKind;
use dnscribe_report::{Page, Tone, count, milliseconds, percent, time_range};

/// What a report was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportSource {
    /// Title; a default one if empty.
    pub title: String,
    /// Names of the files, topics or stores, without passwords.
    pub source: String,
}

/// Renders the report as one HTML file.
#[must_use]
pub fn render(model: &ReportModel, source: &ReportSource) -> String {
    let title = if source.title.is_empty() { "DNS report" } else { &source.title };
    let mut page = Page::new(title, &subtitle(model, source)).footer(concat!(
        "dnscribe ",
        env!("CARGO_PKG_VERSION"),
        ". Times are UTC."
    ));
    for (tone, text) in words::summary(model) {
        page = page.sentence(tone, text);
    }
    page = figures(model, page);
    let sections = [
        section::timeline(model),
        section::events(model),
        section::resolvers(model),
        section::zones(model),
        section::names(model),
        section::processes(model),
        section::lookups(model),
        model.destinations.section(),
        model.lost.section(),
        section::losses(model),
        section::evidence(model),
    ];
    sections.into_iter().flatten().fold(page, Page::section).render()
}

fn subtitle(model: &ReportModel, source: &ReportSource) -> String {
    let Some(first) = model.first else { return format!("from {}", source.source) };
    let seconds = |ts: dnscribe_record::time::Timestamp| ts.as_nanos() / 1_000_000_000;
    let nodes = match model.nodes.iter().collect::<Vec<_>>()[..] {
        [one] => format!("node {one}"),
        ref several => format!("{} nodes", several.len()),
    };
    format!("{}; {nodes}; from {}", time_range(seconds(first), seconds(model.last)), source.source)
}

fn figures(model: &ReportModel, page: Page) -> Page {
    let total = &model.total;
    let (settled, failures) = (total.settled(), total.failures());
    let nxdomain = total.counts.get(OutcomeKind::Nxdomain);
    let latency = |q: f64| total.latencies.quantile(q).map_or_else(|| "–".to_owned(), milliseconds);
    let tone = words::failure_tone(failures, settled);
    let page = page
        .figure("queries", count(total.queries()), Tone::Plain)
        .figure("failed", percent(failures, settled), tone)
        .figure("NXDOMAIN", percent(nxdomain, settled), Tone::Plain)
        .figure("median latency", latency(0.5), Tone::Plain)
        .figure("95th percentile", latency(0.95), Tone::Plain)
        .figure("99th percentile", latency(0.99), Tone::Plain);
    if model.lookups.lookups == 0 {
        return page;
    }
    page.figure("queries wasted", percent(model.lookups.wasted, model.lookups.packets), Tone::Plain)
}
