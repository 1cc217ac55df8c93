//! Header and footer.

use super::{Scene, Theme, span};
use crate::top::column::{FAILING, Tone};
use crate::top::model::{Figures, Model, OutcomeKind, Part, Span as Time, Vantage};
use crate::top::text;
use crate::top::view::{Drill, Tab};
use ratatui::text::{Line, Span};

/// Letters of a tab's title on a narrow screen.
const SHORT_TITLE: usize = 3;

/// Rows above the list.
pub const ROWS: u16 = 4;

pub(super) fn lines(scene: &Scene<'_>, width: usize) -> Vec<Line<'static>> {
    vec![title(scene, width), figures(scene, width), tabs(scene, width), place(scene, width)]
}

/// Returns the line with node, source and time.
fn title(scene: &Scene<'_>, width: usize) -> Line<'static> {
    let Scene { model, status, theme, .. } = *scene;
    let nodes = match model.nodes.len() {
        0 | 1 => theme.shown(model.nodes.first().map_or("", String::as_str)),
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
    let source = theme.padded(&parts.join(theme.between()), room);
    Line::from(vec![
        Span::styled(name, theme.title()),
        Span::raw(" "),
        Span::raw(source),
        Span::styled(state, Theme::inverted()),
        span(theme, Tone::Dim, clock),
    ])
}

/// Returns the line with the totals.
fn figures(scene: &Scene<'_>, width: usize) -> Line<'static> {
    let Scene { model, view, theme, .. } = *scene;
    let figures = model.total(view.vantage, view.span);
    let mut spans = vec![Span::raw(" ")];
    spans.push(Span::styled(format!("{} q/s", text::rate(figures.rate)), theme.title()));
    for (name, q) in [("p50", 0.5), ("p99", 0.99)] {
        let value =
            figures.latencies.quantile(q).map_or("-".to_owned(), |ms| text::latency(Some(ms)));
        spans.push(Span::raw(format!("  {name} {value}")));
    }
    let lost = (!model.ledgers.is_empty()).then(|| lost(model));
    let tone = if lost.unwrap_or(0) == 0 { Tone::Dim } else { Tone::Bad };
    let lost = lost.map_or_else(|| "-".to_owned(), text::count);
    let mut last = vec![span(theme, tone, format!("  lost {lost}"))];
    let unreadable = model.unreadable.lines();
    if unreadable > 0 {
        let text = format!("  unreadable {}", text::count(unreadable));
        last.push(span(theme, Tone::Warning, text));
    }
    let used = |spans: &[Span<'_>]| spans.iter().map(Span::width).sum::<usize>();
    // Lists have the shares, too.
    for share in shares(theme, &figures) {
        if used(&spans) + share.width() + used(&last) <= width {
            spans.push(share);
        }
    }
    spans.extend(last);
    let [_, warning, critical] = model.alerts.firing();
    for (count, name, tone) in
        [(critical, "critical", Tone::Bad), (warning, "warning", Tone::Warning)]
    {
        let text = format!("  {count} {name}");
        // On a narrow screen, the tab shows the number.
        if count > 0 && used(&spans) + text.len() <= width {
            spans.push(span(theme, tone, text));
        }
    }
    Line::from(spans)
}

fn shares(theme: Theme, figures: &Figures) -> Vec<Span<'static>> {
    let shares: [(&str, &[OutcomeKind], [f64; 2]); 3] = [
        ("noans", &[OutcomeKind::Timeout, OutcomeKind::Unreachable], FAILING),
        ("servf", &[OutcomeKind::Servfail], FAILING),
        ("nxdom", &[OutcomeKind::Nxdomain], [0.2, 1.0]),
    ];
    let part = |(name, kinds, limits): (&str, &[OutcomeKind], [f64; 2])| {
        let share = figures.counts.share(kinds);
        let text = format!("  {name} {}%", text::percent(share));
        span(theme, Tone::of_share(share, limits), text)
    };
    shares.map(part).into()
}

/// Counts packets that the kernel lost, and records that this view dropped.
fn lost(model: &Model) -> u64 {
    let counters = model.ledgers.values().map(|ledger| &ledger.counters);
    let of = counters.map(|counters| {
        let kernel: u64 = counters.kernel.values().map(|kernel| kernel.lost_ring_full).sum();
        let view =
            counters.delivery.get(crate::top::SINK).into_iter().flat_map(|sink| sink.values());
        kernel + view.flat_map(|delivery| delivery.dropped.values()).sum::<u64>()
    });
    of.sum()
}

fn tabs(scene: &Scene<'_>, width: usize) -> Line<'static> {
    let fits = |spans: &[Span<'_>]| spans.iter().map(Span::width).sum::<usize>() <= width;
    let mut spans = tab_titles(scene, usize::MAX);
    for letters in [usize::MAX, SHORT_TITLE] {
        if !fits(&spans) {
            let mut narrow = tab_titles(scene, letters);
            for span in &mut narrow {
                let title = span.content.trim().to_owned();
                span.content = title.into();
            }
            spans = narrow.into_iter().flat_map(|span| [Span::raw(" "), span]).skip(2).collect();
        }
    }
    Line::from(spans)
}

/// Returns the titles of the tabs, those that are not shown with this many letters.
fn tab_titles(scene: &Scene<'_>, letters: usize) -> Vec<Span<'static>> {
    let theme = scene.theme;
    let mut spans = vec![Span::raw(" ")];
    for (place, tab) in Tab::ALL.into_iter().enumerate() {
        // Most captures have no connections.
        if tab == Tab::Uses && tab != scene.view.tab && scene.model.uses.is_empty() {
            continue;
        }
        let firing: usize = scene.model.alerts.firing().iter().sum();
        let count =
            if tab == Tab::Alerts && firing > 0 { format!(" {firing}") } else { String::new() };
        let letters = if tab == scene.view.tab { usize::MAX } else { letters };
        let name: String = tab.title().chars().take(letters).collect();
        let title = format!("{} {name}{count}", place + 1);
        let [_, warning, critical] = scene.model.alerts.firing();
        spans.push(if tab == scene.view.tab {
            Span::styled(format!("[{title}]"), Theme::inverted())
        } else if tab == Tab::Alerts && critical + warning > 0 {
            let tone = if critical > 0 { Tone::Bad } else { Tone::Warning };
            span(theme, tone, format!(" {title} "))
        } else {
            Span::raw(format!(" {title} "))
        });
    }
    spans
}

/// Returns the line with the levels of drilling down and the selection.
fn place(scene: &Scene<'_>, width: usize) -> Line<'static> {
    let Scene { view, theme, .. } = *scene;
    let mut left = view.tab.title().to_owned();
    for drill in view.drills() {
        left.push_str(theme.into());
        left.push_str(&described(drill));
    }
    let vantage = match view.vantage {
        Vantage::Once => "each query once",
        Vantage::Client => "client side",
        Vantage::Server => "server side",
        Vantage::Passive => "passive",
        Vantage::All => "both sides",
    };
    let is_uses = view.tab == Tab::Uses;
    let what = if is_uses { "connections since the start" } else { vantage };
    let mut right = vec![what.to_owned()];
    // Facts are not limited to a time span.
    if view.drill().is_none() && !is_uses {
        let time = match view.span {
            Time::Recent => "last 60 s (q/s: 10 s)",
            Time::Whole => "since the start",
        };
        right.push(time.to_owned());
    }
    let right = format!(" {} ", right.join(theme.between()));
    let room = width.saturating_sub(Span::raw(right.as_str()).width() + 1);
    Line::from(vec![
        Span::raw(" "),
        Span::styled(theme.padded(&left, room), theme.title()),
        span(theme, Tone::Dim, right),
    ])
}

/// Describes what a level adds to the one before.
fn described(drill: &Drill) -> String {
    let last = drill.narrowed.last().map(|(part, _)| *part);
    let of =
        |part| drill.narrowed.iter().find(|(own, _)| *own == part).map_or("", |(_, value)| value);
    let what = match last {
        Some(Part::Outcome) if drill.narrowed.len() > 1 => {
            [Part::Name, Part::Type, Part::Outcome].map(of).join(" ")
        }
        Some(part) => of(part).to_owned(),
        None => String::new(),
    };
    let failing = if drill.failing { ", failing" } else { "" };
    format!("{what}{failing}")
}

/// Returns the footer: the filter while it is typed, else a new log line, else the keys.
pub(super) fn foot(scene: &Scene<'_>, width: usize) -> Line<'static> {
    let Scene { view, status, theme, .. } = *scene;
    if view.typing {
        let text = format!(" filter: {}_   Enter keeps it, Esc drops it", view.filter());
        return Line::styled(theme.fitted(&text, width), Theme::inverted());
    }
    if let Some(line) = status.log.last().filter(|_| status.log_is_new) {
        let line = theme.fitted(line, width.saturating_sub(1));
        return Line::from(span(theme, Tone::Warning, format!(" {line}")));
    }
    let mut keys = Vec::new();
    let filter = format!("Esc drops filter \"{}\"", theme.shown(view.filter()));
    if !view.filter().is_empty() {
        keys.push(filter.as_str());
    }
    let tabs = if scene.model.uses.is_empty() { "1-7 tabs" } else { "1-8 tabs" };
    keys.extend(["q quit", "? help", tabs]);
    let is_list = view.listing().is_some();
    match (view.tab, &view.alert) {
        (Tab::Loss, _) => {}
        (Tab::Alerts, None) => keys.push("Enter details"),
        (Tab::Alerts, Some(_)) => keys.push("Esc back"),
        _ => keys.extend(["Enter drill", "Esc back", "/ filter"]),
    }
    if view.tab != Tab::Uses {
        keys.push(if view.drill().is_some() { "f failing/all" } else { "v side" });
    }
    keys.extend(is_list.then_some("s sort"));
    keys.extend(["p pause", "t time", "c clear"]);
    let mut text = String::new();
    for key in keys {
        // Keys that do not fit are in the help.
        if Span::raw(text.as_str()).width() + key.len() + 2 <= width {
            text.push(' ');
            text.push_str(key);
            text.push(' ');
        }
    }
    Line::from(span(theme, Tone::Dim, text))
}
