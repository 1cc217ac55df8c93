//! The page of alerts: the list, or the details of one.

use super::{Scene, Theme, around, span};
use crate::top::column::Tone;
use crate::top::model::Alert;
use crate::top::text;
use ratatui::text::{Line, Span};

/// Indent of a line that continues the one before.
const CONTINUED: &str = "   ";

pub(super) fn lines(scene: &Scene<'_>, width: usize, height: usize) -> Vec<Line<'static>> {
    let Scene { model, view, theme, .. } = *scene;
    let alerts = model.alerts.sorted();
    let open = view.alert.as_deref();
    if let Some((_, alert)) = alerts.iter().find(|(key, _)| Some(*key) == open) {
        return details(scene, alert, width);
    }
    let widths = Widths::of(width);
    let titles = widths.line(["LEVEL", "STATE", "RULE", "WHOM", "LAST"], theme);
    let titles = theme.fitted(&format!("  {titles}SUMMARY"), width);
    let mut lines = vec![Line::styled(titles, theme.title())];
    if alerts.is_empty() {
        lines.push(Line::from(span(theme, Tone::Dim, "  no alerts")));
    }
    let chosen = view.chosen(alerts.iter().map(|(key, _)| *key));
    for place in around(chosen, alerts.len(), height.saturating_sub(1)) {
        let (_, alert) = alerts[place];
        let line = line(scene, alert, width);
        lines.push(if place == chosen { line.style(Theme::inverted()) } else { line });
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
            let gap = if width > 0 { " " } else { "" };
            theme.padded(text, width.saturating_sub(1)) + gap
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
        span(theme, tone, tone.mark()),
        span(theme, tone, head),
        Span::raw(theme.fitted(&alert.summary, room)),
    ])
}

fn details(scene: &Scene<'_>, alert: &Alert, width: usize) -> Vec<Line<'static>> {
    let theme = scene.theme;
    let room = width.saturating_sub(CONTINUED.len());
    let shown = |text: &str, tone: Tone| {
        let lines = text::wrapped(&theme.shown(text), room);
        let indents = [" "].into_iter().chain(std::iter::repeat(CONTINUED));
        let line = |(indent, line)| Line::from(span(theme, tone, format!("{indent}{line}")));
        indents.zip(lines).map(line).collect::<Vec<_>>()
    };
    let title = format!("{} {} {}", alert.level, alert.rule, alert.whom);
    let mut lines = shown(&title, tone(alert));
    lines.extend(shown(&alert.summary, Tone::Plain));
    lines.push(Line::raw(""));
    lines.extend(alert.details.iter().flat_map(|detail| shown(detail, Tone::Plain)));
    lines
}
