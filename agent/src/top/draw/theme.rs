//! Colours and characters. Each colour is accompanied by a character or a number with the same meaning.

use crate::top::column::Tone;
use ratatui::style::{Color, Modifier, Style};

/// Colour of sparklines.
pub(super) const CURVE: Color = Color::Green;

/// Capabilities of the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Whether there are colours.
    pub colour: bool,
    /// Whether there is Unicode.
    pub unicode: bool,
}

impl Theme {
    /// Reads the environment: `NO_COLOR` (no-color.org) and the first locale variable that is set and not
    /// empty.
    #[must_use]
    pub fn of_environment(get: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| get(name).filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        Self {
            colour: set("NO_COLOR").is_none(),
            unicode: locale.contains("utf-8") || locale.contains("utf8"),
        }
    }

    /// The style of a tone.
    #[must_use]
    pub fn tone(self, tone: Tone) -> Style {
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

    /// Style of titles.
    #[must_use]
    pub fn title(self) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD);
        if self.colour { style.fg(Color::Cyan) } else { style }
    }

    /// Style of the selected line and of bars.
    #[must_use]
    pub fn inverted(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// Style of sparklines.
    #[must_use]
    pub fn curve(self) -> Style {
        if self.colour { Style::new().fg(CURVE) } else { Style::new() }
    }

    /// Text in place of a part that is left out.
    #[must_use]
    pub const fn dots(self) -> &'static str {
        if self.unicode { "…" } else { ".." }
    }

    /// Mark of the column that a list is sorted by.
    #[must_use]
    pub const fn arrow(self, descending: bool) -> &'static str {
        match (self.unicode, descending) {
            (true, true) => "▼",
            (true, false) => "▲",
            (false, true) => "v",
            (false, false) => "^",
        }
    }

    /// Separator between items.
    #[must_use]
    pub const fn between(self) -> &'static str {
        if self.unicode { " · " } else { " | " }
    }

    /// Separator between levels of drilling down.
    #[must_use]
    pub const fn into(self) -> &'static str {
        if self.unicode { " ▸ " } else { " > " }
    }

    /// Mark of a line with a warning or a failure.
    #[must_use]
    pub const fn mark(self, tone: Tone) -> &'static str {
        match tone {
            Tone::Dim | Tone::Plain => "  ",
            Tone::Warning => "! ",
            Tone::Bad => "!!",
        }
    }

    /// Characters of growing height, from empty to a full cell.
    #[must_use]
    pub const fn heights(self) -> &'static [char] {
        if self.unicode {
            &[' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█']
        } else {
            &[' ', '.', ':', '-', '=', '+', '*', '%', '#']
        }
    }

    /// Replaces characters that the terminal cannot show.
    #[must_use]
    pub fn shown(self, text: &str) -> String {
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
