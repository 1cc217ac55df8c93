//! Shares over time, a row for each thing, as inline SVG.

use super::chart::round;
use super::format::{tick, time};
use dnscribe_record::number::to_f64;
use maud::{Markup, html};

/// Size of the drawing, and the space for labels, in units of the view box.
const WIDTH: f64 = 960.0;
const LEFT: f64 = 230.0;
const ROW: f64 = 20.0;
const BOTTOM: f64 = 20.0;

/// Number of labels on the time axis.
const TICKS: u64 = 5;

/// Longest label, in characters.
const LABEL: usize = 36;

/// A grid of cells, the stronger the higher their share.
#[derive(Clone, Debug)]
pub struct HeatMap {
    title: String,
    start: u64,
    step_seconds: u64,
    rows: Vec<(String, Vec<Option<f64>>)>,
}

impl HeatMap {
    /// Creates an empty grid of cells from `start`, in seconds since the Unix epoch, one for each `step_seconds`.
    #[must_use]
    pub fn new(title: &str, start: u64, step_seconds: u64) -> Self {
        Self { title: title.to_owned(), start, step_seconds: step_seconds.max(1), rows: Vec::new() }
    }

    /// Adds a row of shares from 0 to 1; none where there is no value.
    #[must_use]
    pub fn row(mut self, label: &str, shares: impl IntoIterator<Item = Option<f64>>) -> Self {
        self.rows.push((label.to_owned(), shares.into_iter().collect()));
        self
    }

    /// Renders the grid.
    #[must_use]
    pub fn render(&self) -> Markup {
        let steps =
            self.rows.iter().map(|(_, shares)| shares.len()).max().unwrap_or(0).max(1) as u64;
        let span = steps * self.step_seconds;
        let width = (WIDTH - LEFT) / to_f64(steps);
        let height = ROW * to_f64(self.rows.len() as u64) + BOTTOM;
        let description = format!(
            "{}, from {} to {} UTC; the table below has the figures",
            self.title,
            time(self.start),
            time(self.start + span)
        );
        html! {
            figure {
                figcaption { (self.title) }
                // A region that scrolls must be reachable by keyboard.
                div.chart tabindex="0" role="group" aria-label=(self.title) {
                    svg viewBox={ "0 0 " (WIDTH) " " (height) } role="img" aria-label=(description) {
                        @for (number, (label, shares)) in self.rows.iter().enumerate() {
                            @let top = ROW * to_f64(number as u64);
                            text x=(LEFT - 6.0) y=(top + 14.0) text-anchor="end" { (shortened(label)) }
                            @for (step, share) in shares.iter().enumerate() {
                                @if let Some(share) = share {
                                    @let x = round(LEFT + width * to_f64(step as u64));
                                    rect.cold x=(x) y=(top + 1.0) width=(round(width)) height=(ROW - 2.0) {}
                                    @if *share > 0.0 {
                                        rect.hot x=(x) y=(top + 1.0) width=(round(width)) height=(ROW - 2.0)
                                            fill-opacity=(opacity(*share)) {}
                                    }
                                }
                            }
                        }
                        @for number in 0..TICKS {
                            @let second = self.start + span * number / TICKS;
                            text x=(round(LEFT + (WIDTH - LEFT) * to_f64(number) / to_f64(TICKS))) y=(height - 5.0) {
                                (tick(second, span))
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Returns the opacity of a share: even one percent must be visible.
fn opacity(share: f64) -> f64 {
    (share.clamp(0.0, 1.0).sqrt().max(0.12) * 100.0).round() / 100.0
}

fn shortened(label: &str) -> String {
    if label.chars().count() <= LABEL {
        return label.to_owned();
    }
    let tail: Vec<char> = label.chars().rev().take(LABEL - 1).collect();
    std::iter::once('…').chain(tail.into_iter().rev()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_cells_with_values_only() {
        let map =
            HeatMap::new("failures", 0, 60).row("<i>", [Some(0.0), None, Some(1.0), Some(0.001)]);
        let text = map.render().into_string();
        assert_eq!(
            (text.matches("class=\"cold\"").count(), text.matches("class=\"hot\"").count()),
            (3, 2)
        );
        assert!(text.contains("&lt;i&gt;") && text.contains("fill-opacity=\"0.12\""), "{text}");
    }
}
