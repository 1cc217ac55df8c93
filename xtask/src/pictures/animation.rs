//! Renders a recording as one SVG file that moves by CSS alone: every row is drawn once for each time that it has a text, and
//! keyframes show and hide it. Where the reader prefers reduced motion, the recording's poster stands still.

use super::recording::Recording;
use super::{screen, svg};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Time for which the last screen stays, in milliseconds.
const LAST_MS: u64 = 4_000;

/// Time in which something is visible, in milliseconds.
type Span = (u64, u64);

/// Returns the picture. The same recording gives the same bytes.
pub fn render(recording: &Recording) -> String {
    let end_ms = recording.changes.last().map_or(0, |change| change.at_ms) + LAST_MS;
    let groups = groups(recording, end_ms);
    let has_poster = |(from, to): Span| from <= recording.poster_ms && recording.poster_ms < to;
    let (mut keyframes, mut names, mut content) = (String::new(), String::new(), String::new());
    for (number, (span, rows)) in groups.iter().enumerate() {
        let hidden = if has_poster(*span) { "" } else { " h" };
        // Writing to a String cannot fail.
        if *span == (0, end_ms) {
            content.push_str(rows);
            continue;
        }
        let _ = writeln!(content, "<g class=\"a{hidden} k{number}\">\n{rows}</g>");
        let _ = write!(names, ".k{number}{{animation-name:k{number}}}");
        let _ = writeln!(keyframes, "@keyframes k{number}{{{}}}", stops(*span, end_ms));
    }
    let seconds = format!("{}.{:03}s", end_ms / 1000, end_ms % 1000);
    let rules = format!(
        ".h{{visibility:hidden}}\n\
         @media (prefers-reduced-motion:no-preference){{.a{{animation:{seconds} step-end infinite}}{names}}}\n{keyframes}"
    );
    let size = (usize::from(recording.size.0), usize::from(recording.size.1));
    svg::begin(size, &recording.title, &rules) + &content + svg::END
}

/// Returns the drawn rows by the time in which they are visible.
fn groups(recording: &Recording, end_ms: u64) -> BTreeMap<Span, String> {
    let mut shown: BTreeMap<usize, (u64, &str)> = BTreeMap::new();
    let mut groups: BTreeMap<Span, String> = BTreeMap::new();
    let mut draw = |number: usize, (from, text): (u64, &str), to: u64| {
        if !text.is_empty() && from < to {
            let group = groups.entry((from, to)).or_default();
            for row in screen::rows(text) {
                svg::write_row(group, number, &row);
            }
        }
    };
    for change in &recording.changes {
        for (number, text) in &change.rows {
            if let Some(before) = shown.insert(*number, (change.at_ms, text.as_str())) {
                draw(*number, before, change.at_ms);
            }
        }
    }
    for (number, last) in shown {
        draw(number, last, end_ms);
    }
    groups.retain(|_, rows| !rows.is_empty());
    groups
}

/// Returns the keyframes of something that is visible in a time.
fn stops((from, to): Span, end_ms: u64) -> String {
    let mut stops = String::new();
    // Writing to a String cannot fail.
    if from > 0 {
        let _ = write!(stops, "0%{{visibility:hidden}}");
    }
    let _ = write!(stops, "{}{{visibility:visible}}", percent(from, end_ms));
    // A last frame of its own: without it, the one of the element itself would be assumed.
    let _ = if to == end_ms {
        write!(stops, "to{{visibility:visible}}")
    } else {
        write!(stops, "{},to{{visibility:hidden}}", percent(to, end_ms))
    };
    stops
}

/// Returns a time as percentage of the whole, with three decimals: a recording of a minute has one for each millisecond.
fn percent(at_ms: u64, end_ms: u64) -> String {
    let thousandths = at_ms * 100_000 / end_ms.max(1);
    let decimal = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
    format!("{}%", decimal.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::super::recording::Change;
    use super::*;

    #[test]
    fn rows_are_visible_in_their_time() {
        let row = |number: usize, text: &str| (number, text.to_owned());
        let recording = Recording {
            size: (10, 2),
            title: "t".into(),
            changes: vec![
                Change { at_ms: 0, rows: vec![row(0, "always"), row(1, "first")] },
                Change { at_ms: 1_000, rows: vec![row(1, "second")] },
            ],
            poster_ms: 1_500,
        };
        let svg = render(&recording);
        assert!(svg.contains(".a{animation:5.000s step-end infinite}"), "{svg}");
        let first = "0%{visibility:visible}20%,to{visibility:hidden}";
        let second = "0%{visibility:hidden}20%{visibility:visible}to{visibility:visible}";
        assert!(svg.contains(first) && svg.contains(second), "{svg}");
        // Only what the poster shows is visible without motion.
        let hidden = svg.split("<g class=\"a h ").nth(1).unwrap().split("</g>").next().unwrap();
        assert!(hidden.contains(">first<") && !hidden.contains(">second<"), "{svg}");
        let outside: String =
            svg.split("<g ").filter_map(|part| part.rsplit("</g>").next()).collect();
        assert!(outside.contains(">always<") && !outside.contains(">second<"), "{svg}");
    }
}
