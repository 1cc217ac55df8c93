//! Colors of all pictures, for readers who prefer dark and for those who prefer light.

/// Colors of a scheme.
#[derive(Clone, Copy, Debug)]
pub struct Palette {
    /// Color behind a terminal's text.
    pub background: &'static str,
    /// Color of a terminal's text.
    pub foreground: &'static str,
    /// Colors of SGR 30 to 37, then of 90 to 97.
    pub terminal: [&'static str; 16],
}

/// Colors where the reader prefers dark, or says nothing.
pub const DARK: Palette = Palette {
    background: "#16181d",
    foreground: "#d7dae0",
    terminal: [
        "#3b4048", "#f4757f", "#8cc265", "#e5c07b", "#61afef", "#c678dd", "#56c8d8", "#d7dae0",
        "#8f97a6", "#ff7b86", "#a5e075", "#f0d399", "#8cc8ff", "#de9bf0", "#7ae0ee", "#ffffff",
    ],
};

/// Colors where the reader prefers light.
pub const LIGHT: Palette = Palette {
    background: "#f6f8fa",
    foreground: "#1f2328",
    terminal: [
        "#d0d7de", "#b3202c", "#2c7a2e", "#7d4e00", "#0a58b8", "#7a3bbd", "#0b6470", "#1f2328",
        "#59636e", "#a40e26", "#116329", "#633c01", "#0550ae", "#6639ba", "#095a65", "#000000",
    ],
};

/// Returns a text for the content or an attribute of an element.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Returns the contrast of two colors `#rrggbb` (WCAG 2.2, "contrast ratio").
#[cfg(test)]
pub fn contrast(one: &str, other: &str) -> f64 {
    let luminance = |color: &str| -> f64 {
        [(1, 0.2126), (3, 0.7152), (5, 0.0722)]
            .iter()
            .map(|(at, weight)| {
                let byte = u8::from_str_radix(&color[*at..at + 2], 16).unwrap();
                let share = f64::from(byte) / 255.0;
                let linear = if share <= 0.04045 {
                    share / 12.92
                } else {
                    ((share + 0.055) / 1.055).powf(2.4)
                };
                weight * linear
            })
            .sum()
    };
    let (one, other) = (luminance(one) + 0.05, luminance(other) + 0.05);
    if one > other { one / other } else { other / one }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contrast_is_that_of_wcag() {
        assert!((contrast("#ffffff", "#000000") - 21.0).abs() < 1e-9);
        assert!((contrast("#777777", "#ffffff") - 4.48).abs() < 0.01);
    }

    /// Text needs 4.5. The first color is only used behind text.
    #[test]
    fn text_of_terminals_is_readable() {
        for palette in [DARK, LIGHT] {
            for color in palette.terminal.iter().skip(1).chain([&palette.foreground]) {
                let found = contrast(color, palette.background);
                assert!(found >= 4.5, "{color} on {}: {found:.2}", palette.background);
            }
        }
    }
}
