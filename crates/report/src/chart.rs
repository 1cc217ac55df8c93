//! Values over time, as inline SVG.

use super::format::{count, tick, time};
use super::{Tone, milliseconds};
use dnscribe_record::number::to_f64;
use maud::{Markup, html};
use std::fmt::Write as _;

/// Size of the drawing, and the space for the axes, in units of the view box.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 22.0;
const TOP: f64 = 10.0;

/// Number of labels on the time axis.
const TICKS: u64 = 6;

/// Number of colours.
const COLOURS: usize = 8;

/// Values of one thing over time.
#[derive(Clone, Debug, Default)]
pub struct Series {
    name: String,
    colour: usize,
    values: Vec<Option<f64>>,
}

impl Series {
    /// Creates a series with a colour (0 to 7), and a value for each step; none where there is none.
    #[must_use]
    pub fn new(name: &str, colour: usize, values: impl IntoIterator<Item = Option<f64>>) -> Self {
        Self {
            name: name.to_owned(),
            colour: colour % COLOURS,
            values: values.into_iter().collect(),
        }
    }
}

/// An event on the time axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Start in seconds since the Unix epoch.
    pub start: u64,
    /// End, if it lasted.
    pub end: Option<u64>,
    /// Description.
    pub text: String,
    /// How bad it is.
    pub tone: Tone,
}

/// A chart with time on the horizontal axis.
#[derive(Clone, Debug)]
pub struct TimeChart {
    title: String,
    /// Start in seconds since the Unix epoch.
    start: u64,
    step_seconds: u64,
    series: Vec<Series>,
    marks: Vec<Mark>,
    is_stacked: bool,
    shows_time: bool,
}

impl TimeChart {
    /// Creates an empty chart of values from `start`, in seconds since the Unix epoch, one for each `step_seconds`.
    #[must_use]
    pub fn new(title: &str, start: u64, step_seconds: u64) -> Self {
        Self {
            title: title.to_owned(),
            start,
            step_seconds: step_seconds.max(1),
            series: Vec::new(),
            marks: Vec::new(),
            is_stacked: false,
            shows_time: false,
        }
    }

    /// Adds a series.
    #[must_use]
    pub fn series(mut self, series: Series) -> Self {
        self.series.push(series);
        self
    }

    /// Adds events.
    #[must_use]
    pub fn marks(mut self, marks: impl IntoIterator<Item = Mark>) -> Self {
        self.marks.extend(marks);
        self
    }

    /// Draws each step as a column in which the series stand above each other, instead of lines.
    #[must_use]
    pub fn stacked(self) -> Self {
        Self { is_stacked: true, ..self }
    }

    /// Labels the vertical axis as durations in milliseconds, instead of counts.
    #[must_use]
    pub fn durations(self) -> Self {
        Self { shows_time: true, ..self }
    }

    /// Renders the chart with its legend.
    #[must_use]
    pub fn render(&self) -> Markup {
        let top = self.top();
        html! {
            figure {
                figcaption { (self.title) }
                ul.legend {
                    @for series in &self.series {
                        li { i class={ "b" (series.colour) } {} (series.name) }
                    }
                }
                // A region that scrolls must be reachable by keyboard.
                div.chart tabindex="0" role="group" aria-label=(self.title) {
                    svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(self.description(top)) {
                        (self.grid(top))
                        @if self.is_stacked { (self.columns(top)) } @else { (self.lines(top)) }
                        (self.mark_spans())
                        (self.mark_lines())
                    }
                }
            }
        }
    }

    fn steps(&self) -> usize {
        self.series.iter().map(|series| series.values.len()).max().unwrap_or(0).max(1)
    }

    fn span_seconds(&self) -> u64 {
        self.step_seconds * self.steps() as u64
    }

    /// Returns the value at the top of the vertical axis.
    fn top(&self) -> f64 {
        let value = |series: &Series, step: usize| {
            series.values.get(step).copied().flatten().unwrap_or(0.0)
        };
        let highest = |step: usize| -> f64 {
            let values = self.series.iter().map(|series| value(series, step));
            if self.is_stacked { values.sum() } else { values.fold(0.0, f64::max) }
        };
        round_up((0..self.steps()).map(highest).fold(0.0, f64::max))
    }

    fn x(&self, step: f64) -> f64 {
        LEFT + (WIDTH - LEFT) * step / to_f64(self.steps() as u64)
    }

    fn x_of_time(&self, second: u64) -> f64 {
        let elapsed = second.clamp(self.start, self.start + self.span_seconds()) - self.start;
        self.x(to_f64(elapsed) / to_f64(self.step_seconds))
    }

    fn description(&self, top: f64) -> String {
        let end = self.start + self.span_seconds();
        let names: Vec<&str> = self.series.iter().map(|series| &*series.name).collect();
        format!(
            "{}, from {} to {} UTC, up to {}: {}",
            self.title,
            time(self.start),
            time(end),
            self.label(top),
            names.join(", ")
        )
    }

    fn label(&self, value: f64) -> String {
        if self.shows_time {
            return milliseconds(value);
        }
        let whole = format!("{value:.0}").parse().map(count);
        whole
            .ok()
            .filter(|_| value >= 10.0 || value.fract() == 0.0)
            .unwrap_or_else(|| format!("{value:.1}"))
    }

    fn grid(&self, top: f64) -> Markup {
        let span = self.span_seconds();
        html! {
            @for part in [0.0, 0.5, 1.0] {
                line.axis x1=(LEFT) x2=(WIDTH) y1=(round(y(part))) y2=(round(y(part))) {}
                text x=(LEFT - 6.0) y=(round(y(part) + 4.0)) text-anchor="end" { (self.label(top * part)) }
            }
            @for number in 0..TICKS {
                @let second = self.start + span * number / TICKS;
                text x=(round(self.x_of_time(second))) y=(HEIGHT - 6.0) { (tick(second, span)) }
            }
        }
    }

    fn columns(&self, top: f64) -> Markup {
        let mut paths: Vec<String> = vec![String::new(); self.series.len()];
        for step in 0..self.steps() {
            let (x, right) = (self.x(to_f64(step as u64)), self.x(to_f64(step as u64 + 1)));
            let mut base = 0.0;
            for (series, path) in self.series.iter().zip(&mut paths) {
                let value = series.values.get(step).copied().flatten().unwrap_or(0.0);
                if value > 0.0 {
                    let (low, high) = (y(base / top), y((base + value) / top));
                    // Writing to a String cannot fail.
                    let _ = write!(
                        path,
                        "M{} {}H{}V{}H{}z",
                        round(x),
                        round(low),
                        round((right - 0.6).max(x + 0.4)),
                        round(high),
                        round(x)
                    );
                }
                base += value;
            }
        }
        html! {
            @for (series, path) in self.series.iter().zip(&paths) { path class={ "f" (series.colour) } d=(path) {} }
        }
    }

    fn lines(&self, top: f64) -> Markup {
        html! {
            @for series in &self.series {
                path class={ "l" (series.colour) } d=(self.line(series, top)) {}
            }
        }
    }

    fn line(&self, series: &Series, top: f64) -> String {
        let mut path = String::new();
        let mut is_drawing = false;
        for (step, value) in series.values.iter().enumerate() {
            let Some(value) = value else {
                is_drawing = false;
                continue;
            };
            let (x, height) = (round(self.x(to_f64(step as u64) + 0.5)), round(y(value / top)));
            // Writing to a String cannot fail. A value alone is a short line.
            let _ = if is_drawing {
                write!(path, "L{x} {height}")
            } else {
                write!(path, "M{x} {height}h.5")
            };
            is_drawing = true;
        }
        path
    }

    fn mark_spans(&self) -> Markup {
        html! {
            @for mark in &self.marks {
                @if let Some(end) = mark.end {
                    @let (x, right) = (self.x_of_time(mark.start), self.x_of_time(end));
                    rect class={ "mark-span " (mark.tone.name()) } x=(round(x)) y=(TOP)
                        width=(round((right - x).max(1.0))) height=(HEIGHT - BOTTOM - TOP) {}
                }
            }
        }
    }

    fn mark_lines(&self) -> Markup {
        html! {
            @for mark in &self.marks {
                @let x = round(self.x_of_time(mark.start));
                line class={ "mark " (mark.tone.name()) } x1=(x) x2=(x) y1=(TOP) y2=(HEIGHT - BOTTOM) {
                    title { (mark.text) }
                }
            }
        }
    }
}

/// Returns the vertical position of a share of the axis.
fn y(share: f64) -> f64 {
    TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - share)
}

/// Rounds to a tenth: finer positions cannot be seen, and cost bytes.
pub(crate) fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Returns the next number of the form 1, 2 or 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|top| *top >= value)
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axis_ends_at_a_round_number() {
        let texts = [0.0, 0.3, 1.0, 3.0, 7.0, 11.0, 999.0].map(|value| round_up(value).to_string());
        assert_eq!(texts, ["1", "0.5", "1", "5", "10", "20", "1000"]);
    }

    #[test]
    fn draws_gaps_marks_and_hostile_texts() {
        let chart = TimeChart::new("<b>", 1_000, 10)
            .series(Series::new("<svg onload=x>", 9, [Some(1.0), None, Some(2.0)]))
            .marks([Mark {
                start: 0,
                end: Some(u64::MAX),
                text: "</title><script>".into(),
                tone: Tone::Bad,
            }]);
        let text = chart.render().into_string();
        assert_eq!(text.matches("h.5").count(), 2, "two separate values: {text}");
        assert!(
            !text.contains("<b>") && !text.contains("<svg onload") && !text.contains("<script>")
        );
        assert!(text.contains("&lt;/title&gt;&lt;script&gt;") && !text.contains("NaN"), "{text}");
        let text = chart.stacked().render().into_string();
        assert!(text.contains("class=\"f1\"") && !text.contains("NaN"), "{text}");
    }
}
