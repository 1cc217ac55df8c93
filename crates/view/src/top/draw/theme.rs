//! Colours and characters. Each colour is accompanied by a character or a number with the same meaning.

use crate::top::column::Tone;
use crate::top::text;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;

/// Colour of sparklines.
pub(super) const CURVE: Color = Color::Green;

/// Capabilities of the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Whether it shows colours.
    pub colour: bool,
    /// Whether it shows characters beyond ASCII.
    pub unicode: bool,
}

impl Theme {
    /// Reads the environment: `NO_COLOR` (no-color.org) and the first locale variable that is set and not
    /// empty.
    pub fn of_environment(get: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| get(name).filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        Self {
            colour: set("NO_COLOR").is_none(),
            unicode: locale.contains("utf-8") || locale.contains("utf8"),
        }
    }

    pub(crate) fn tone(self, tone: Tone) -> Style {
        let style = Style::new();
        match (tone, self.colour) {
            (Tone::Plain, _) => style,
            (Tone::Dim, true) => style.fg(Color::DarkGray),
            (Tone::Dim, false) => style.add_modifier(Modifier::DIM),
            (Tone::Warning, true) => style.fg(Color::Yellow),
            (Tone::Warning, false) => style.add_modifier(Modifier::BOLD),
            (Tone::Bad, true) => style.fg(Color::Red).add_modifier(Modifier::BOLD),
            (Tone::Bad, false) => style.add_modifier(Modifier::BOLD | Modifier::UNDERLINED),
        }
    }

    pub(crate) fn title(self) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD);
        if self.colour { style.fg(Color::Cyan) } else { style }
    }

    /// Style of the selected line and of bars.
    pub(crate) fn inverted() -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(crate) fn curve(self) -> Style {
        if self.colour { Style::new().fg(CURVE) } else { Style::new() }
    }

    /// Text in place of a part that is left out.
    pub(crate) const fn dots(self) -> &'static str {
        if self.unicode { "…" } else { ".." }
    }

    /// Mark of the column that a list is sorted by.
    pub(crate) const fn arrow(self, descending: bool) -> &'static str {
        match (self.unicode, descending) {
            (true, true) => "▼",
            (true, false) => "▲",
            (false, true) => "v",
            (false, false) => "^",
        }
    }

    /// Separator between items.
    pub(crate) const fn between(self) -> &'static str {
        if self.unicode { " · " } else { " | " }
    }

    /// Separator between levels of drilling down.
    pub(crate) const fn into(self) -> &'static str {
        if self.unicode { " ▸ " } else { " > " }
    }

    /// Characters of growing height, from empty to a full cell.
    pub(crate) const fn heights(self) -> &'static [char] {
        if self.unicode {
            &[' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█']
        } else {
            &[' ', '.', ':', '-', '=', '+', '*', '%', '#']
        }
    }

    /// Character of a height.
    pub(crate) fn height(self, step: usize) -> char {
        self.heights().get(step).copied().unwrap_or(' ')
    }

    /// Fits a text into `columns`, without characters that the terminal cannot show.
    pub(crate) fn fitted(self, text: &str, columns: usize) -> String {
        text::fit(&self.shown(text), columns, self.dots())
    }

    /// Fits a text into `columns`, and fills the rest with blanks.
    pub(crate) fn padded(self, text: &str, columns: usize) -> String {
        let mut text = self.fitted(text, columns);
        text.push_str(&" ".repeat(columns.saturating_sub(Span::raw(&text).width())));
        text
    }

    /// Replaces characters that the terminal cannot show.
    pub(crate) fn shown(self, text: &str) -> String {
        if self.unicode {
            return text.to_owned();
        }
        text.chars().map(|character| if character.is_ascii() { character } else { '?' }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_decides() {
        let theme = |set: &[(&str, &str)]| {
            let find = |name: &str| {
                set.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned())
            };
            let theme = Theme::of_environment(find);
            (theme.colour, theme.unicode)
        };
        assert_eq!(theme(&[("LANG", "C.UTF-8")]), (true, true));
        assert_eq!(
            theme(&[("LANG", "en_GB.utf8"), ("LC_ALL", "C"), ("NO_COLOR", "1")]),
            (false, false)
        );
        assert_eq!(theme(&[("LC_ALL", ""), ("LANG", "C.UTF-8"), ("NO_COLOR", "")]), (true, true));
        assert_eq!(theme(&[]), (true, false));
    }
}
