//! SVG images of a terminal's screen, from the output of `tmux capture-pane -e`.

use std::fmt::Write as _;

/// Width and height of a character cell in pixels.
const CELL: (usize, usize) = (8, 17);
/// Margin around the screen in pixels.
const MARGIN: usize = 10;
const BACKGROUND: &str = "#16181d";
const FOREGROUND: &str = "#d7dae0";

/// Colours of SGR 30 to 37, then of 90 to 97.
const COLOURS: [&str; 16] = [
    "#3b4048", "#f0616d", "#8cc265", "#e5c07b", "#61afef", "#c678dd", "#56c8d8", "#d7dae0",
    "#737b8c", "#ff7b86", "#a5e075", "#f0d399", "#8cc8ff", "#de9bf0", "#7ae0ee", "#ffffff",
];

/// Colours and attributes of text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Style {
    foreground: Option<usize>,
    background: Option<usize>,
    bold: bool,
    dim: bool,
    inverted: bool,
}

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
                    // The first 16 of the 256 colours are those of `COLOURS`; others are not used.
                    let colour = numbers.nth(1).filter(|colour| *colour < COLOURS.len());
                    *(if number == 38 { &mut self.foreground } else { &mut self.background }) =
                        colour;
                }
                _ => {}
            }
        }
    }

    fn colours(self) -> (&'static str, Option<&'static str>) {
        let of = |colour: Option<usize>| colour.map(|colour| COLOURS[colour]);
        match (self.inverted, of(self.foreground), of(self.background)) {
            (false, foreground, background) => (foreground.unwrap_or(FOREGROUND), background),
            (true, foreground, background) => {
                (background.unwrap_or(BACKGROUND), Some(foreground.unwrap_or(FOREGROUND)))
            }
        }
    }
}

/// Returns the SVG image of a screen.
pub fn render(screen: &str) -> String {
    let lines: Vec<Vec<(Style, String)>> = styled_lines(screen);
    let length = |line: &Vec<(Style, String)>| -> usize {
        line.iter().map(|(_, text)| text.chars().count()).sum()
    };
    let columns = lines.iter().map(length).max().unwrap_or(0);
    let (width, height) = (columns * CELL.0 + 2 * MARGIN, lines.len() * CELL.1 + 2 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"DejaVu Sans Mono, Menlo, Consolas, monospace\" font-size=\"13\">\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"6\" fill=\"{BACKGROUND}\"/>\n"
    );
    for (row, line) in lines.iter().enumerate() {
        let mut column = 0;
        for (style, text) in line {
            write_run(&mut svg, *style, text, (column, row));
            column += text.chars().count();
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Writes a run of text of one style.
fn write_run(svg: &mut String, style: Style, text: &str, (column, row): (usize, usize)) {
    let (x, y) = (MARGIN + column * CELL.0, MARGIN + row * CELL.1);
    let width = text.chars().count() * CELL.0;
    let (foreground, background) = style.colours();
    // Writing to a String cannot fail.
    if let Some(background) = background {
        let height = CELL.1;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{background}\"/>"
        );
    }
    if text.trim().is_empty() {
        return;
    }
    let mut more = String::new();
    for (is_set, attribute) in
        [(style.bold, " font-weight=\"bold\""), (style.dim, " opacity=\"0.6\"")]
    {
        more.push_str(if is_set { attribute } else { "" });
    }
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let baseline = y + 13;
    let _ = writeln!(
        svg,
        "<text x=\"{x}\" y=\"{baseline}\" textLength=\"{width}\" lengthAdjust=\"spacingAndGlyphs\" \
         xml:space=\"preserve\" fill=\"{foreground}\"{more}>{text}</text>"
    );
}

/// Splits each line into runs of one style. Other escape sequences are ignored.
fn styled_lines(screen: &str) -> Vec<Vec<(Style, String)>> {
    let mut style = Style::default();
    let line = |line: &str| {
        let mut runs: Vec<(Style, String)> = Vec::new();
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
    screen.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_lines_by_style() {
        let found = styled_lines("a\x1b[1;31mb\x1b[0mc\n\x1b[7md\x1b[27m\x1b[38;5;10me");
        let plain = Style::default();
        let red = Style { foreground: Some(1), bold: true, ..plain };
        let of = |style, text: &str| (style, text.to_owned());
        assert_eq!(found[0], [of(plain, "a"), of(red, "b"), of(plain, "c")]);
        let inverted = Style { inverted: true, ..plain };
        assert_eq!(found[1], [of(inverted, "d"), of(Style { foreground: Some(10), ..plain }, "e")]);
    }

    #[test]
    fn renders_escaped_text() {
        let svg = render("a <b> & c\n\x1b[7mchosen\x1b[0m");
        assert!(svg.contains(">a &lt;b&gt; &amp; c</text>") && svg.contains(">chosen</text>"));
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }
}
