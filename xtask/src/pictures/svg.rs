//! A terminal's screen, as `tmux capture-pane -e` gives it, as SVG.

use std::fmt::Write as _;

/// A cell in pixels.
const CELL: (usize, usize) = (8, 17);
/// Around the screen.
const MARGIN: usize = 10;
const PAPER: &str = "#16181d";
const INK: &str = "#d7dae0";

/// The colours of SGR 30 to 37, then 90 to 97.
const COLOURS: [&str; 16] = [
    "#3b4048", "#f0616d", "#8cc265", "#e5c07b", "#61afef", "#c678dd", "#56c8d8", "#d7dae0",
    "#737b8c", "#ff7b86", "#a5e075", "#f0d399", "#8cc8ff", "#de9bf0", "#7ae0ee", "#ffffff",
];

/// How text is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Style {
    ink: Option<usize>,
    paper: Option<usize>,
    bold: bool,
    dim: bool,
    inverted: bool,
}

impl Style {
    /// Select Graphic Rendition (ECMA-48, 8.3.117).
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
                30..=37 => self.ink = Some(number - 30),
                90..=97 => self.ink = Some(number - 82),
                40..=47 => self.paper = Some(number - 40),
                100..=107 => self.paper = Some(number - 92),
                39 => self.ink = None,
                49 => self.paper = None,
                38 | 48 => {
                    // Of 256 colours the first 16 are those above; others are not used.
                    let colour = numbers.nth(1).filter(|colour| *colour < COLOURS.len());
                    *(if number == 38 { &mut self.ink } else { &mut self.paper }) = colour;
                }
                _ => {}
            }
        }
    }

    fn colours(self) -> (&'static str, Option<&'static str>) {
        let of = |colour: Option<usize>| colour.map(|colour| COLOURS[colour]);
        match (self.inverted, of(self.ink), of(self.paper)) {
            (false, ink, paper) => (ink.unwrap_or(INK), paper),
            (true, ink, paper) => (paper.unwrap_or(PAPER), Some(ink.unwrap_or(INK))),
        }
    }
}

/// The picture.
pub fn picture(screen: &str) -> String {
    let lines: Vec<Vec<(Style, String)>> = lines(screen);
    let length = |line: &Vec<(Style, String)>| -> usize {
        line.iter().map(|(_, text)| text.chars().count()).sum()
    };
    let columns = lines.iter().map(length).max().unwrap_or(0);
    let (width, height) = (columns * CELL.0 + 2 * MARGIN, lines.len() * CELL.1 + 2 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"DejaVu Sans Mono, Menlo, Consolas, monospace\" font-size=\"13\">\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"6\" fill=\"{PAPER}\"/>\n"
    );
    for (row, line) in lines.iter().enumerate() {
        let mut column = 0;
        for (style, text) in line {
            run(&mut svg, *style, text, (column, row));
            column += text.chars().count();
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn run(svg: &mut String, style: Style, text: &str, (column, row): (usize, usize)) {
    let (x, y) = (MARGIN + column * CELL.0, MARGIN + row * CELL.1);
    let width = text.chars().count() * CELL.0;
    let (ink, paper) = style.colours();
    // Writing to a String cannot fail.
    if let Some(paper) = paper {
        let height = CELL.1;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{paper}\"/>"
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
         xml:space=\"preserve\" fill=\"{ink}\"{more}>{text}</text>"
    );
}

/// Each line as runs of one style. Sequences other than colours are passed over.
fn lines(screen: &str) -> Vec<Vec<(Style, String)>> {
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
    fn runs_have_their_styles() {
        let found = lines("a\x1b[1;31mb\x1b[0mc\n\x1b[7md\x1b[27m\x1b[38;5;10me");
        let plain = Style::default();
        let red = Style { ink: Some(1), bold: true, ..plain };
        let of = |style, text: &str| (style, text.to_owned());
        assert_eq!(found[0], [of(plain, "a"), of(red, "b"), of(plain, "c")]);
        let inverted = Style { inverted: true, ..plain };
        assert_eq!(found[1], [of(inverted, "d"), of(Style { ink: Some(10), ..plain }, "e")]);
    }

    #[test]
    fn a_picture_holds_the_text_and_is_well_formed() {
        let svg = picture("a <b> & c\n\x1b[7mchosen\x1b[0m");
        assert!(svg.contains(">a &lt;b&gt; &amp; c</text>") && svg.contains(">chosen</text>"));
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }
}
