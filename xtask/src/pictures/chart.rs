//! The chart of the README beside other programs, drawn from the table in docs/performance.md, so that both have the same figures.

use super::palette::escape;
use anyhow::{Context as _, Result, ensure};
use std::fmt::Write as _;

/// Marks around the table.
const MARKS: (&str, &str) = ("<!-- beside -->\n", "<!-- /beside -->");
/// Width of the picture, of its labels, and of the longest bar, in pixels.
const WIDTHS: (usize, usize, usize) = (720, 130, 330);
/// Height of a bar with the space after it, of a title, and of the space after a group, in pixels.
const HEIGHTS: (usize, usize, usize) = (24, 26, 12);
const MARGIN: usize = 16;
/// Program whose bars stand out.
const OURS: &str = "dnscribe";

/// Bars of one figure.
#[derive(Clone, Debug, PartialEq)]
struct Group {
    title: String,
    bars: Vec<Bar>,
}

#[derive(Clone, Debug, PartialEq)]
struct Bar {
    program: String,
    /// Number, or two with `to` between them.
    text: String,
    /// Length of the bar: the last number.
    value: f64,
    remark: String,
}

/// Reads the table of a page: figure, program, value and remark; an empty figure is that of the row before.
fn parse(page: &str) -> Result<Vec<Group>> {
    let (_, rest) = page.split_once(MARKS.0).context("no table beside other programs")?;
    let (table, _) =
        rest.split_once(MARKS.1).context("the table beside other programs has no end")?;
    let mut groups: Vec<Group> = Vec::new();
    for line in table.lines().filter(|line| line.starts_with('|')).skip(2) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [figure, program, value, remark] = cells[..] else {
            anyhow::bail!("not four cells: {line}")
        };
        if !figure.is_empty() {
            groups.push(Group { title: figure.to_owned(), bars: Vec::new() });
        }
        let group = groups.last_mut().context("the first row has no figure")?;
        let text = value.to_owned();
        let last = value.rsplit(" to ").next().unwrap_or_default();
        let value = last.parse().with_context(|| line.to_owned())?;
        let (program, remark) = (program.to_owned(), remark.to_owned());
        group.bars.push(Bar { program, text, value, remark });
    }
    ensure!(!groups.is_empty(), "the table beside other programs is empty");
    Ok(groups)
}

/// Returns the picture of the table.
fn draw(groups: &[Group]) -> String {
    let bars: usize = groups.iter().map(|group| group.bars.len()).sum();
    let height =
        2 * MARGIN + bars * HEIGHTS.0 + groups.len() * HEIGHTS.1 + (groups.len() - 1) * HEIGHTS.2;
    let mut svg = super::drawings::begin((WIDTHS.0, height), "dnscribe beside other programs");
    let mut y = MARGIN;
    for group in groups {
        // Writing to a String cannot fail.
        let title = escape(&group.title);
        let _ = writeln!(svg, "<text class=\"t\" x=\"{MARGIN}\" y=\"{}\">{title}</text>", y + 14);
        y += HEIGHTS.1;
        let greatest = group.bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
        for bar in &group.bars {
            draw_bar(&mut svg, bar, greatest, y);
            y += HEIGHTS.0;
        }
        y += HEIGHTS.2;
    }
    svg + "</svg>\n"
}

fn draw_bar(svg: &mut String, bar: &Bar, greatest: f64, y: usize) {
    let left = MARGIN + WIDTHS.1;
    #[expect(clippy::cast_precision_loss, reason = "some hundred pixels")]
    let width = bar.value / greatest * WIDTHS.2 as f64;
    let (class, weight) = if bar.program == OURS { ("ours", " b") } else { ("other", "") };
    let text = format!("{}   {}", bar.text, bar.remark);
    let (program, text) = (escape(&bar.program), escape(text.trim_end()));
    #[expect(clippy::cast_precision_loss, reason = "some hundred pixels")]
    let after = left as f64 + width + 8.0;
    let middle = y + 13;
    // Writing to a String cannot fail.
    let _ = writeln!(
        svg,
        "<text class=\"e{weight}\" x=\"{}\" y=\"{middle}\">{program}</text>\n\
         <rect class=\"{class}\" x=\"{left}\" y=\"{y}\" width=\"{width:.1}\" height=\"17\" rx=\"2\"/>\n\
         <text x=\"{after:.1}\" y=\"{middle}\" xml:space=\"preserve\">{text}</text>",
        left - 10
    );
}

#[test]
fn golden_chart() {
    let docs = dnscribe_tests::environment::workspace().join("docs");
    let page = std::fs::read_to_string(docs.join("performance.md")).unwrap();
    let picture = draw(&parse(&page).unwrap());
    super::golden(&docs.join("pictures/beside.svg"), &picture).unwrap();
}

#[test]
fn reads_the_table() {
    let page = "a\n<!-- beside -->\n| figure | program | value | remark |\n|---|---|---|---|\n\
                | CPU | dnscribe | 1.5 | |\n| | other | 2 to 3 | lost |\n<!-- /beside -->\n";
    let bar = |program: &str, text: &str, value, remark: &str| Bar {
        program: program.into(),
        text: text.into(),
        value,
        remark: remark.into(),
    };
    let bars = vec![bar("dnscribe", "1.5", 1.5, ""), bar("other", "2 to 3", 3.0, "lost")];
    assert_eq!(parse(page).unwrap(), [Group { title: "CPU".into(), bars }]);
    assert!(parse("a").is_err());
}
