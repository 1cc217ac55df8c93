//! The page of alerts: the list, or the details of one.

use super::{Scene, Theme, scrolled, span};
use crate::top::column::Tone;
use crate::top::model::Alert;
use crate::top::text;
use ratatui::text::{Line, Span};

pub(super) fn lines(scene: &Scene<'_>, width: usize, height: usize) -> Vec<Line<'static>> {
    let Scene { model, view, theme, .. } = *scene;
    let alerts = model.alerts();
    let open = view.alert.as_deref();
    if let Some((_, alert)) = alerts.iter().find(|(key, _)| Some(*key) == open) {
        return scrolled(details(scene, alert, width), view.scroll, height);
    }
    let widths = Widths::of(width);
    let titles = widths.line(["LEVEL", "STATE", "RULE", "WHOM", "LAST"], theme);
    let titles = text::fit(&format!("  {titles}SUMMARY"), width, theme.dots());
    let mut lines = vec![Line::styled(titles, theme.title())];
    if alerts.is_empty() {
        lines.push(Line::from(span(theme, Tone::Dim, "  no alerts")));
    }
    let keys: Vec<&str> = alerts.iter().map(|(key, _)| *key).collect();
    let chosen = view.chosen(&keys);
    let rows = height.saturating_sub(1);
    let first = chosen.saturating_sub(rows / 2).min(alerts.len().saturating_sub(rows));
    for (place, (_, alert)) in alerts.iter().enumerate().skip(first).take(rows) {
        let line = line(scene, alert, width);
        lines.push(if place == chosen { line.style(theme.inverted()) } else { line });
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
    /// Returns the widths. On a narrow screen, resolved alerts show their state in place of the level.
    const fn of(width: usize) -> Self {
        if width < 110 { Self([9, 0, 16, 20, 6]) } else { Self([9, 10, 20, 32, 6]) }
    }

    fn line(&self, texts: [&str; 5], theme: Theme) -> String {
        let cell = |(text, width): (&str, usize)| {
            let text = text::fit(&theme.shown(text), width.saturating_sub(1), theme.dots());
            let blank = " ".repeat(width - Span::raw(text.as_str()).width());
            format!("{text}{blank}")
        };
        texts.into_iter().zip(self.0).map(cell).collect()
    }
}

fn line(scene: &Scene<'_>, alert: &Alert, width: usize) -> Line<'static> {
    let theme = scene.theme;
    let tone = tone(alert);
    let age = text::age(scene.model.moment().now.saturating_sub(alert.last));
    let widths = Widths::of(width);
    let level = if alert.is_over() && widths.0[1] == 0 { &alert.state } else { &alert.level };
    let head = widths.line([level, &alert.state, &alert.rule, &alert.whom, &age], theme);
    let room = width.saturating_sub(widths.0.iter().sum::<usize>() + 2);
    Line::from(vec![
        span(theme, tone, theme.mark(tone)),
        span(theme, tone, head),
        Span::raw(text::fit(&theme.shown(&alert.summary), room, theme.dots())),
    ])
}

fn details(scene: &Scene<'_>, alert: &Alert, width: usize) -> Vec<Line<'static>> {
    let theme = scene.theme;
    let title = format!(" {} {} {}", alert.level, alert.rule, alert.whom);
    let mut lines = vec![
        Line::from(span(theme, tone(alert), theme.shown(&title))),
        Line::raw(format!(" {}", theme.shown(&alert.summary))),
        Line::raw(""),
    ];
    for detail in &alert.details {
        let detail = text::fit(&theme.shown(detail), width.saturating_sub(1), theme.dots());
        lines.push(Line::raw(format!(" {detail}")));
    }
    lines
}
