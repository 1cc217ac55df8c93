//! SVG pictures of a terminal's screen, in the colors that the reader's system prefers.

use super::palette::{self, Palette};
use super::screen::{self, Row, Style};
use std::fmt::Write as _;

/// Width and height of a character cell in pixels.
const CELL: (usize, usize) = (8, 17);
/// Margin around the screen in pixels.
const MARGIN: usize = 10;
/// Pixels between the block elements of two rows.
const GAP: usize = 2;
/// Distance of a row's baseline from its top.
const BASELINE: usize = 13;
/// Block elements by height, in eighths of a cell, from 1.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Returns the picture of a screen. `label` says what it shows, for readers who do not see it.
pub fn render(screen: &str, label: &str) -> String {
    let rows = screen::rows(screen);
    let length = |row: &Row| -> usize { row.iter().map(|(_, text)| text.chars().count()).sum() };
    let columns = rows.iter().map(length).max().unwrap_or(0);
    let mut svg = begin((columns, rows.len()), label, "");
    for (number, row) in rows.iter().enumerate() {
        write_row(&mut svg, number, row);
    }
    svg + END
}

/// End of every picture.
pub const END: &str = "</svg>\n";

/// Returns the beginning of a picture of `columns` × `rows`; `rules` are further rules of CSS.
pub fn begin((columns, rows): (usize, usize), label: &str, rules: &str) -> String {
    let (width, height) = (columns * CELL.0 + 2 * MARGIN, rows * CELL.1 + 2 * MARGIN);
    let label = palette::escape(label);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}\" \
         font-family=\"DejaVu Sans Mono, Menlo, Consolas, monospace\" font-size=\"13\">\n\
         <style>\n{}path{{shape-rendering:crispEdges}}.b{{font-weight:bold}}.d{{opacity:.8}}\n{rules}</style>\n\
         <rect class=\"cb\" width=\"{width}\" height=\"{height}\" rx=\"6\"/>\n",
        rules_of_colors()
    )
}

/// Returns the rules of CSS for all colors: `c0` to `c15`, `cf` (foreground) and `cb` (background).
fn rules_of_colors() -> String {
    let rules = |palette: &Palette| -> String {
        let mut rules =
            format!("text,.cf{{fill:{}}}.cb{{fill:{}}}", palette.foreground, palette.background);
        for (number, color) in palette.terminal.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = write!(rules, ".c{number}{{fill:{color}}}");
        }
        rules
    };
    format!(
        "{}\n@media (prefers-color-scheme:light){{{}}}\n",
        rules(&palette::DARK),
        rules(&palette::LIGHT)
    )
}

/// Writes a row of a screen.
pub fn write_row(svg: &mut String, number: usize, row: &Row) {
    let mut column = 0;
    for (style, text) in row {
        for part in split_blocks(text) {
            write_run(svg, *style, part, (column, number));
            column += part.chars().count();
        }
    }
}

/// Splits a text into parts of block elements only and parts without.
fn split_blocks(text: &str) -> Vec<&str> {
    let is_block = |character: char| BLOCKS.contains(&character);
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|character: char| is_block(character) != is_block(first));
        let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
        parts.push(part);
        rest = after;
    }
    parts
}

/// Returns the classes of a text's color and of what is behind it.
fn classes(style: Style) -> (String, Option<String>) {
    let class = |color: Option<usize>| color.map(|color| format!("c{color}"));
    let (foreground, background) = (class(style.foreground), class(style.background));
    let own = || "cf".to_owned();
    if style.inverted {
        (background.unwrap_or_else(|| "cb".to_owned()), Some(foreground.unwrap_or_else(own)))
    } else {
        (foreground.unwrap_or_else(own), background)
    }
}

/// Writes a run of text of one style.
fn write_run(svg: &mut String, style: Style, text: &str, (column, row): (usize, usize)) {
    let (x, y) = (MARGIN + column * CELL.0, MARGIN + row * CELL.1);
    let (mut class, background) = classes(style);
    let characters = text.chars().count();
    // Writing to a String cannot fail.
    if let Some(background) = background {
        let (width, height) = (characters * CELL.0, CELL.1);
        let _ = writeln!(
            svg,
            "<rect class=\"{background}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>"
        );
    }
    let shown = text.trim_matches(' ');
    if shown.is_empty() {
        return;
    }
    if shown.starts_with(BLOCKS) {
        let _ = writeln!(svg, "<path class=\"{class}\" d=\"{}\"/>", outline(shown, (x, y)));
        return;
    }
    if style.bold {
        class.push_str(" b");
    }
    if style.dim {
        class.push_str(" d");
    }
    let class = if class == "cf" { String::new() } else { format!(" class=\"{class}\"") };
    let x = x + (text.chars().count() - text.trim_start_matches(' ').chars().count()) * CELL.0;
    let (width, y) = (shown.chars().count() * CELL.0, y + BASELINE);
    let spaces = if shown.contains("  ") { " xml:space=\"preserve\"" } else { "" };
    let shown = palette::escape(shown);
    let _ = writeln!(
        svg,
        "<text{class} x=\"{x}\" y=\"{y}\" textLength=\"{width}\"{spaces}>{shown}</text>"
    );
}

/// Returns the outline of block elements as a path: fonts draw them with gaps between rows.
fn outline(blocks: &str, (x, y): (usize, usize)) -> String {
    let height = |block: char| BLOCKS.iter().position(|own| *own == block).map_or(0, |at| at + 1);
    let heights: Vec<usize> = blocks.chars().map(height).collect();
    let mut path = String::new();
    let mut x = x;
    for run in heights.chunk_by(|a, b| a == b) {
        // Some pixels stay free above the highest, so that the curves of two rows do not touch.
        let (width, height) = (run.len() * CELL.0, run[0] * (CELL.1 - GAP));
        let bottom = y + CELL.1;
        // Writing to a String cannot fail.
        let _ = write!(path, "M{x} {bottom}v-{}h{width}V{bottom}z", eighths(height));
        x += width;
    }
    path
}

/// Returns a number of eighths as a decimal number.
fn eighths(number: usize) -> String {
    let decimal = format!("{}.{:03}", number / 8, number % 8 * 125);
    decimal.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_escaped_text() {
        let svg = render("a <b> & c\n\x1b[7mchosen\x1b[0m", "a \"label\"");
        assert!(svg.contains(">a &lt;b&gt; &amp; c</text>") && svg.contains(">chosen</text>"));
        assert!(svg.contains("aria-label=\"a &quot;label&quot;\""), "{svg}");
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }

    #[test]
    fn draws_blocks_as_outlines() {
        let svg = render("x ██▄", "");
        assert!(svg.contains("d=\"M26 27v-15h16V27zM42 27v-7.5h8V27z\""), "{svg}");
        assert!(svg.contains(">x</text>"), "{svg}");
    }
}
