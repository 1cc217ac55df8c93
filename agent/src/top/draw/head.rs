//! The lines above and below everything.

use super::{Look, Scene, span};
use crate::top::column::Tone;
use crate::top::model::{Figures, Kind, Model, Part, Span as Time, Vantage};
use crate::top::text;
use crate::top::view::{Drill, Tab};
use ratatui::text::{Line, Span};

/// Rows above the list.
pub const ROWS: u16 = 4;

pub(super) fn lines(scene: &Scene<'_>, width: usize) -> Vec<Line<'static>> {
    vec![title(scene, width), figures(scene, width), tabs(scene), place(scene, width)]
}

/// Who speaks, of where, and when.
fn title(scene: &Scene<'_>, width: usize) -> Line<'static> {
    let Scene { model, status, look, .. } = *scene;
    let nodes = match model.ledgers().len() {
        0 | 1 => look.shown(model.node()),
        count => format!("{count} nodes"),
    };
    let state = if status.paused {
        " PAUSED "
    } else if status.ended {
        " END "
    } else {
        ""
    };
    let clock = match model.moment().now {
        0 => String::new(),
        now => format!(" {} UTC ", text::clock(now)),
    };
    let name = " dnscribe top ";
    let room = width.saturating_sub(name.len() + state.len() + clock.len() + 1);
    let parts: Vec<&str> =
        [nodes.as_str(), &status.source].into_iter().filter(|part| !part.is_empty()).collect();
    let source = text::fit(&look.shown(&parts.join(look.between())), room, look.dots());
    let gap = room.saturating_sub(Span::raw(source.as_str()).width());
    Line::from(vec![
        Span::styled(name, look.title()),
        Span::raw(" "),
        Span::raw(source),
        Span::raw(" ".repeat(gap)),
        Span::styled(state, look.inverted()),
        span(look, Tone::Dim, clock),
    ])
}

/// What all comes to.
fn figures(scene: &Scene<'_>, width: usize) -> Line<'static> {
    let Scene { model, view, look, .. } = *scene;
    let figures = model.total(view.vantage, view.span);
    let mut spans = vec![Span::raw(" ")];
    spans.push(Span::styled(format!("{} q/s", text::rate(figures.rate)), look.title()));
    for (name, q) in [("p50", 0.5), ("p99", 0.99)] {
        let value =
            figures.latencies.quantile(q).map_or("-".to_owned(), |ms| text::latency(Some(ms)));
        spans.push(Span::raw(format!("  {name} {value}")));
    }
    spans.extend(shares(look, &figures));
    let lost = lost(model);
    let tone = if lost == 0 { Tone::Dim } else { Tone::Bad };
    spans.push(span(look, tone, format!("  lost {}", text::count(lost))));
    let [_, warning, critical] = model.firing();
    for (count, name, tone) in
        [(critical, "critical", Tone::Bad), (warning, "warning", Tone::Warning)]
    {
        let text = format!("  {count} {name}");
        // Where there is no room, the tab tells how many there are.
        let used: usize = spans.iter().map(Span::width).sum();
        if count > 0 && used + text.len() <= width {
            spans.push(span(look, tone, text));
        }
    }
    Line::from(spans)
}

fn shares(look: Look, figures: &Figures) -> Vec<Span<'static>> {
    let shares: [(&str, &[Kind], f64); 3] = [
        ("noans", &[Kind::Timeout, Kind::Unreachable], 0.01),
        ("servf", &[Kind::Servfail], 0.01),
        ("nxdom", &[Kind::Nxdomain], 0.2),
    ];
    let part = |(name, kinds, limit): (&str, &[Kind], f64)| {
        let share = figures.counts.share(kinds);
        let tone = match share {
            share if share >= limit * 5.0 => Tone::Bad,
            share if share >= limit => Tone::Warning,
            _ => Tone::Plain,
        };
        span(look, tone, format!("  {name} {}%", text::percent(share)))
    };
    shares.map(part).into()
}

/// Packets that the kernel could not hand over, and records that this view was too slow for.
fn lost(model: &Model) -> u64 {
    let counters = model.ledgers().values().map(|ledger| &ledger.counters);
    let of = counters.map(|counters| {
        let kernel: u64 = counters.kernel.values().map(|kernel| kernel.lost_ring_full).sum();
        let view =
            counters.delivery.get(crate::top::SINK).into_iter().flat_map(|sink| sink.values());
        kernel + view.flat_map(|delivery| delivery.dropped.values()).sum::<u64>()
    });
    of.sum()
}

fn tabs(scene: &Scene<'_>) -> Line<'static> {
    let look = scene.look;
    let mut spans = vec![Span::raw(" ")];
    for (place, tab) in Tab::ALL.into_iter().enumerate() {
        let firing: usize = scene.model.firing().iter().sum();
        let count =
            if tab == Tab::Alerts && firing > 0 { format!(" {firing}") } else { String::new() };
        let title = format!("{} {}{count}", place + 1, tab.title());
        let [_, warning, critical] = scene.model.firing();
        spans.push(if tab == scene.view.tab() {
            Span::styled(format!("[{title}]"), look.inverted())
        } else if tab == Tab::Alerts && critical + warning > 0 {
            let tone = if critical > 0 { Tone::Bad } else { Tone::Warning };
            span(look, tone, format!(" {title} "))
        } else {
            Span::raw(format!(" {title} "))
        });
    }
    Line::from(spans)
}

/// What is drilled into, and what the figures are of.
fn place(scene: &Scene<'_>, width: usize) -> Line<'static> {
    let Scene { view, look, .. } = *scene;
    let mut left = view.tab().title().to_owned();
    for drill in view.drills() {
        left.push_str(look.into());
        left.push_str(&described(drill));
    }
    let vantage = match view.vantage {
        Vantage::Once => "each query once",
        Vantage::Client => "client side",
        Vantage::Server => "server side",
        Vantage::Passive => "passive",
        Vantage::All => "both sides",
    };
    let mut right = vec![vantage.to_owned()];
    // Facts are of all the time that is remembered.
    if view.drills().next().is_none() {
        let time = match view.span {
            Time::Recent => "last 60 s (q/s: 10 s)",
            Time::Whole => "since the start",
        };
        right.push(time.to_owned());
    }
    let right = format!(" {} ", right.join(look.between()));
    let room = width.saturating_sub(Span::raw(right.as_str()).width() + 1);
    let left = text::fit(&look.shown(&left), room, look.dots());
    let gap = room.saturating_sub(Span::raw(left.as_str()).width());
    Line::from(vec![
        Span::raw(" "),
        Span::styled(left, look.title()),
        Span::raw(" ".repeat(gap)),
        span(look, Tone::Dim, right),
    ])
}

/// What a drill adds to the one before it.
fn described(drill: &Drill) -> String {
    let last = drill.narrowed.last().map(|(part, _)| *part);
    let of =
        |part| drill.narrowed.iter().find(|(own, _)| *own == part).map_or("", |(_, value)| value);
    let what = match last {
        Some(Part::Outcome) if drill.narrowed.len() > 1 => {
            format!("{} {} {}", of(Part::Name), of(Part::Type), of(Part::Outcome))
        }
        Some(part) => of(part).to_owned(),
        None => String::new(),
    };
    let failing = if drill.failing { ", failing" } else { "" };
    format!("{what}{failing}")
}

/// The keys; while a filter is typed, that; else a log line that is news.
pub(super) fn foot(scene: &Scene<'_>, width: usize) -> Line<'static> {
    let Scene { view, status, look, .. } = *scene;
    if view.is_typing() {
        let text =
            format!(" filter: {}_   Enter keeps it, Esc drops it", look.shown(view.filter()));
        return Line::styled(text::fit(&text, width, look.dots()), look.inverted());
    }
    if let Some(line) = status.log.last().filter(|_| status.log_is_new) {
        let line = text::fit(&look.shown(line), width.saturating_sub(1), look.dots());
        return Line::from(span(look, Tone::Warning, format!(" {line}")));
    }
    let mut keys = Vec::new();
    let filter = format!("Esc drops filter \"{}\"", look.shown(view.filter()));
    if !view.filter().is_empty() {
        keys.push(filter.as_str());
    }
    keys.extend(["q quit", "? help", "1-7 tabs", "Enter drill", "Esc back", "/ filter"]);
    let drilled = view.drills().next().is_some();
    keys.push(if drilled { "f failing/all" } else { "v side" });
    keys.extend(["s sort", "p pause", "t time", "c clear"]);
    let mut text = String::new();
    for key in keys {
        // A key that does not fit is explained by the help.
        if Span::raw(text.as_str()).width() + key.len() + 2 <= width {
            text.push(' ');
            text.push_str(key);
            text.push(' ');
        }
    }
    Line::from(span(look, Tone::Dim, text))
}
