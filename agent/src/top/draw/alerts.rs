//! Alerts: all in a list, one in full.

use super::{Look, Scene, scrolled, span};
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
    let widths = Widths::of(width);
    let titles = widths.line(["LEVEL", "STATE", "RULE", "WHOM", "LAST"], look);
    let titles = text::fit(&format!("  {titles}SUMMARY"), width, look.dots());
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

/// Widths of the columns before the summary.
struct Widths([usize; 5]);

impl Widths {
    /// On a narrow screen the level of what is over is its state.
    const fn of(width: usize) -> Self {
        if width < 110 { Self([9, 0, 16, 20, 6]) } else { Self([9, 10, 20, 32, 6]) }
    }

    fn line(&self, texts: [&str; 5], look: Look) -> String {
        let cell = |(text, width): (&str, usize)| {
            let text = text::fit(&look.shown(text), width.saturating_sub(1), look.dots());
            let blank = " ".repeat(width - Span::raw(text.as_str()).width());
            format!("{text}{blank}")
        };
        texts.into_iter().zip(self.0).map(cell).collect()
    }
}

fn line(scene: &Scene<'_>, alert: &Alert, width: usize) -> Line<'static> {
    let look = scene.look;
    let tone = tone(alert);
    let age = text::age(scene.model.moment().now.saturating_sub(alert.last));
    let widths = Widths::of(width);
    let level = if alert.is_over() && widths.0[1] == 0 { &alert.state } else { &alert.level };
    let head = widths.line([level, &alert.state, &alert.rule, &alert.whom, &age], look);
    let room = width.saturating_sub(widths.0.iter().sum::<usize>() + 2);
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
