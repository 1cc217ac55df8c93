//! Colours and signs. What colour says is always said by a sign or a number, too.

use crate::top::column::Tone;
use ratatui::style::{Color, Modifier, Style};

/// The colour of curves.
pub(super) const CURVE: Color = Color::Green;

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Whether there are colours.
    pub colour: bool,
    /// Whether there is more than ASCII.
    pub unicode: bool,
}

impl Look {
    /// By the environment: `NO_COLOR` (no-color.org) and the locale, of which the first that is set
    /// and not empty counts.
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

    /// Names and titles.
    #[must_use]
    pub fn title(self) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD);
        if self.colour { style.fg(Color::Cyan) } else { style }
    }

    /// What is chosen, and bars.
    #[must_use]
    pub fn inverted(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// Curves.
    #[must_use]
    pub fn curve(self) -> Style {
        if self.colour { Style::new().fg(CURVE) } else { Style::new() }
    }

    /// What stands for something left out.
    #[must_use]
    pub const fn dots(self) -> &'static str {
        if self.unicode { "…" } else { ".." }
    }

    /// What stands beside the column that a list is sorted by.
    #[must_use]
    pub const fn arrow(self, descending: bool) -> &'static str {
        match (self.unicode, descending) {
            (true, true) => "▼",
            (true, false) => "▲",
            (false, true) => "v",
            (false, false) => "^",
        }
    }

    /// What stands between things of one kind.
    #[must_use]
    pub const fn between(self) -> &'static str {
        if self.unicode { " · " } else { " | " }
    }

    /// What stands between a list and what was drilled into from it.
    #[must_use]
    pub const fn into(self) -> &'static str {
        if self.unicode { " ▸ " } else { " > " }
    }

    /// The sign before a line that is not as it should be.
    #[must_use]
    pub const fn mark(self, tone: Tone) -> &'static str {
        match tone {
            Tone::Dim | Tone::Plain => "  ",
            Tone::Warning => "! ",
            Tone::Bad => "!!",
        }
    }

    /// Signs of growing height, from nothing to a whole cell.
    #[must_use]
    pub const fn heights(self) -> &'static [char] {
        if self.unicode {
            &[' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█']
        } else {
            &[' ', '.', ':', '-', '=', '+', '*', '%', '#']
        }
    }

    /// Text that the terminal can show.
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
        let look = |set: &[(&str, &str)]| {
            let find = |name: &str| {
                set.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned())
            };
            let look = Look::of_environment(find);
            (look.colour, look.unicode)
        };
        assert_eq!(look(&[("LANG", "C.UTF-8")]), (true, true));
        assert_eq!(
            look(&[("LANG", "en_GB.utf8"), ("LC_ALL", "C"), ("NO_COLOR", "1")]),
            (false, false)
        );
        assert_eq!(look(&[("LC_ALL", ""), ("LANG", "C.UTF-8"), ("NO_COLOR", "")]), (true, true));
        assert_eq!(look(&[]), (true, false));
    }
}
