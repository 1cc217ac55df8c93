//! Alerts: all in a list, one in full.

use super::{Scene, scrolled, span};
use crate::top::column::Tone;
use crate::top::model::Alert;
use crate::top::text;
use ratatui::text::{Line, Span};

pub(super) fn lines(scene: &Scene<'_>, width: usize, height: usize) -> Vec<Line<'static>> {
    let Scene { model, view, look, .. } = *scene;
    let alerts = model.alerts();
    let open = view.alert.as_deref();
    if let Some((_, alert)) = alerts.iter().find(|(key, _)| Some(*key) == open) {
        return scrolled(details(scene, alert, width), view.scroll, height);
    }
    let titles = format!("  {:<9}{:<10}{:<20}{:<28}{:>5}  SUMMARY", "LEVEL", "STATE", "RULE", "WHOM", "LAST");
    let titles = text::fit(&titles, width, look.dots());
    let mut lines = vec![Line::styled(titles, look.title())];
    if alerts.is_empty() {
        lines.push(Line::from(span(look, Tone::Dim, "  no alerts")));
    }
    let keys: Vec<&str> = alerts.iter().map(|(key, _)| *key).collect();
    let chosen = view.chosen(&keys);
    let rows = height.saturating_sub(1);
    let first = chosen.saturating_sub(rows / 2).min(alerts.len().saturating_sub(rows));
    for (place, (_, alert)) in alerts.iter().enumerate().skip(first).take(rows) {
        let line = line(scene, alert, width);
        lines.push(if place == chosen { line.style(look.inverted()) } else { line });
    }
    lines
}

fn tone(alert: &Alert) -> Tone {
    match (alert.is_over(), alert.rank()) {
        (true, _) => Tone::Dim,
        (false, 3) => Tone::Bad,
        (false, 2) => Tone::Warning,
        (false, _) => Tone::Plain,
    }
}

fn line(scene: &Scene<'_>, alert: &Alert, width: usize) -> Line<'static> {
    let look = scene.look;
    let tone = tone(alert);
    let fit = |text: &str, columns: usize| {
        let text = text::fit(&look.shown(text), columns - 1, look.dots());
        let blank = " ".repeat(columns.saturating_sub(Span::raw(text.as_str()).width()));
        format!("{text}{blank}")
    };
    let age = text::age(scene.model.moment().now.saturating_sub(alert.last));
    let head = format!(
        "{}{}{}{}{age:>5}  ",
        fit(&alert.level, 9),
        fit(&alert.state, 10),
        fit(&alert.rule, 20),
        fit(&alert.whom, 28)
    );
    let room = width.saturating_sub(head.len() + 2);
    Line::from(vec![
        span(look, tone, look.mark(tone)),
        span(look, tone, head),
        Span::raw(text::fit(&look.shown(&alert.summary), room, look.dots())),
    ])
}

fn details(scene: &Scene<'_>, alert: &Alert, width: usize) -> Vec<Line<'static>> {
    let look = scene.look;
    let title = format!(" {} {} {}", alert.level, alert.rule, alert.whom);
    let mut lines = vec![
        Line::from(span(look, tone(alert), look.shown(&title))),
        Line::raw(format!(" {}", look.shown(&alert.summary))),
        Line::raw(""),
    ];
    for detail in &alert.details {
        let detail = text::fit(&look.shown(detail), width.saturating_sub(1), look.dots());
        lines.push(Line::raw(format!(" {detail}")));
    }
    lines
}
