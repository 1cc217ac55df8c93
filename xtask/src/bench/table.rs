//! Aligned Markdown tables, and their pages in `docs/bench`.

use anyhow::{Context as _, Result};
use dnscribe_tests::environment;
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::PathBuf;

/// A table with a head.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Creates a table with a head and no rows.
    pub fn new(head: impl IntoIterator<Item = String>) -> Self {
        Self { rows: vec![head.into_iter().collect()] }
    }

    /// Adds a row with as many cells as the head.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        (0..columns).map(width).collect()
    }
}

impl Display for Table {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for (place, row) in self.rows.iter().enumerate() {
            for (cell, width) in row.iter().zip(&widths) {
                write!(formatter, "| {cell:<width$} ")?;
            }
            writeln!(formatter, "|")?;
            if place == 0 {
                for width in &widths {
                    write!(formatter, "|{}", "-".repeat(width + 2))?;
                }
                writeln!(formatter, "|")?;
            }
        }
        Ok(())
    }
}

/// Formats a number with three significant digits, or with all digits before the point.
pub fn number(value: f64) -> String {
    let magnitude = value.abs();
    let decimals = match magnitude {
        _ if magnitude >= 100.0 || value == 0.0 => 0,
        _ if magnitude >= 10.0 => 1,
        _ if magnitude >= 1.0 => 2,
        _ if magnitude >= 0.1 => 3,
        _ if magnitude >= 0.01 => 4,
        _ if magnitude >= 0.001 => 5,
        _ if magnitude >= 0.000_1 => 6,
        // Latencies in seconds need microseconds.
        _ => 7,
    };
    let plain = format!("{value:.decimals$}");
    match plain.split_once('.') {
        Some((whole, fraction)) => {
            let fraction = fraction.trim_end_matches('0');
            if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
        }
        None => grouped(&plain),
    }
}

/// Adds commas between thousands.
fn grouped(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    let mut text = sign.to_owned();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Path of the page with a part's table.
fn page(part: &str) -> PathBuf {
    environment::workspace().join(format!("docs/bench/{part}.md"))
}

/// Replaces the text between the markers of a part on its page.
pub fn write(part: &str, text: &str) -> Result<()> {
    let page = page(part);
    let before =
        fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
    let after = replace_part(&before, part, text)
        .with_context(|| format!("{} has no markers `bench:{part}`", page.display()))?;
    fs::write(&page, after).with_context(|| format!("cannot write {}", page.display()))
}

/// Returns the page with `text` between the markers of `part`; `None` if it has no such markers.
fn replace_part(page: &str, part: &str, text: &str) -> Option<String> {
    let begin = format!("<!-- bench:{part} -->\n");
    let end = format!("<!-- /bench:{part} -->");
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}{text}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_three_significant_digits() {
        let shown =
            [0.0, 0.000_021_4, 0.012_34, 0.561, 1.0, 1.106, 45.67, 999.4, 1_510_123.7, -2500.0];
        let expected = [
            "0",
            "0.0000214",
            "0.0123",
            "0.561",
            "1",
            "1.11",
            "45.7",
            "999",
            "1,510,124",
            "-2,500",
        ];
        assert_eq!(shown.map(number), expected);
    }

    #[test]
    fn aligns_columns() {
        let mut table = Table::new(["case", "ns"].map(ToOwned::to_owned));
        table.row(["≤ a long one", "1"].map(ToOwned::to_owned));
        let expected = "| case         | ns |\n|--------------|----|\n| ≤ a long one | 1  |\n";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn replaces_text_between_markers() {
        let page = "a\n<!-- bench:e2e -->\nold\n<!-- /bench:e2e -->\nz\n";
        let new = "a\n<!-- bench:e2e -->\nnew\n<!-- /bench:e2e -->\nz\n";
        assert_eq!(replace_part(page, "e2e", "new\n").as_deref(), Some(new));
        assert_eq!(replace_part(page, "scale", "new\n"), None);
    }
}
