//! A terminal's screen as rows of styled text, read from the output of `tmux capture-pane -e`.

use std::fmt::Write as _;

/// Colors and attributes of text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Color of the text, as an index of the 16 colors of a terminal; none for the terminal's own.
    pub foreground: Option<usize>,
    /// Color behind the text.
    pub background: Option<usize>,
    /// Whether the text is bold.
    pub bold: bool,
    /// Whether the text is dim.
    pub dim: bool,
    /// Whether foreground and background are exchanged.
    pub inverted: bool,
}

/// Runs of text of one style, from the left edge.
pub type Row = Vec<(Style, String)>;

impl Style {
    /// Applies the parameters of Select Graphic Rendition (ECMA-48, 8.3.117).
    fn select(&mut self, parameters: &str) {
        let mut numbers = parameters.split(';').map(|number| number.parse().unwrap_or(0));
        while let Some(number) = numbers.next() {
            match number {
                0 => *self = Self::default(),
                1 => self.bold = true,
                2 => self.dim = true,
                7 => self.inverted = true,
                22 => (self.bold, self.dim) = (false, false),
                27 => self.inverted = false,
                30..=37 => self.foreground = Some(number - 30),
                90..=97 => self.foreground = Some(number - 82),
                40..=47 => self.background = Some(number - 40),
                100..=107 => self.background = Some(number - 92),
                39 => self.foreground = None,
                49 => self.background = None,
                38 | 48 => {
                    // The first 16 of the 256 colors are those of a terminal; others are not used.
                    let color = numbers.nth(1).filter(|color| *color < 16);
                    *(if number == 38 { &mut self.foreground } else { &mut self.background }) =
                        color;
                }
                _ => {}
            }
        }
    }

    /// Returns the parameters that select this style.
    fn parameters(self) -> String {
        let mut parameters = "0".to_owned();
        for (is_set, number) in [(self.bold, 1), (self.dim, 2), (self.inverted, 7)] {
            if is_set {
                // Writing to a String cannot fail.
                let _ = write!(parameters, ";{number}");
            }
        }
        for (color, normal, bright) in [(self.foreground, 30, 82), (self.background, 40, 92)] {
            if let Some(color) = color {
                let _ = write!(parameters, ";{}", color + if color < 8 { normal } else { bright });
            }
        }
        parameters
    }
}

/// Splits each line into runs of one style. Escape sequences other than those of colors are ignored.
pub fn rows(screen: &str) -> Vec<Row> {
    let mut style = Style::default();
    let row = |line: &str| {
        let mut runs: Row = Vec::new();
        for (number, part) in line.split('\x1b').enumerate() {
            let text = match part.strip_prefix('[').filter(|_| number > 0) {
                Some(sequence) => {
                    let end = sequence.find(|one: char| one.is_ascii_alphabetic());
                    let (parameters, rest) = sequence.split_at(end.unwrap_or(sequence.len()));
                    if rest.starts_with('m') {
                        style.select(parameters);
                    }
                    rest.get(1..).unwrap_or("")
                }
                None => part,
            };
            match runs.last_mut() {
                Some((last, run)) if *last == style => run.push_str(text),
                _ if text.is_empty() => {}
                _ => runs.push((style, text.to_owned())),
            }
        }
        runs
    };
    screen.lines().map(row).collect()
}

/// Returns the row as text with escape sequences that need no row before it.
pub fn write_row(row: &Row) -> String {
    let is_plain = row.iter().all(|(style, _)| *style == Style::default());
    if is_plain {
        return row.iter().map(|(_, text)| text.as_str()).collect::<String>().trim_end().to_owned();
    }
    let mut text = String::new();
    for (style, run) in row {
        // Writing to a String cannot fail.
        let _ = write!(text, "\x1b[{}m{run}", style.parameters());
    }
    text + "\x1b[0m"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_lines_by_style() {
        let found = rows("a\x1b[1;31mb\x1b[0mc\n\x1b[7md\x1b[27m\x1b[38;5;10me");
        let plain = Style::default();
        let red = Style { foreground: Some(1), bold: true, ..plain };
        let of = |style, text: &str| (style, text.to_owned());
        assert_eq!(found[0], [of(plain, "a"), of(red, "b"), of(plain, "c")]);
        let inverted = Style { inverted: true, ..plain };
        assert_eq!(found[1], [of(inverted, "d"), of(Style { foreground: Some(10), ..plain }, "e")]);
    }

    #[test]
    fn written_rows_read_back() {
        let screen = "a\x1b[1;31mb\x1b[0mc \x1b[2;7;46;95md\n still so";
        for row in rows(screen) {
            assert_eq!(rows(&write_row(&row)), [row]);
        }
        assert_eq!(write_row(&rows("plain  ")[0]), "plain");
    }
}
