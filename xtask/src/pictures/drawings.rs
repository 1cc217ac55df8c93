//! Drawings in docs/pictures: their colors, and the checks of those that are written by hand. `bless` gives these the rules of
//! CSS that are here, between `<style>` and `</style>`.

use super::palette::{contrast, escape};
use std::fmt::Write as _;

/// Drawings that are written by hand.
const BY_HAND: [&str; 2] = ["architecture.svg", "fleet.svg"];

/// Colors of a scheme.
struct Scheme {
    background: &'static str,
    /// Behind the text of a box.
    surface: &'static str,
    /// Behind boxes that belong together.
    zone: &'static str,
    ink: &'static str,
    muted: &'static str,
    line: &'static str,
    /// What is ours.
    accent: &'static str,
    /// What is not.
    other: &'static str,
}

const LIGHT: Scheme = Scheme {
    background: "#ffffff",
    surface: "#ffffff",
    zone: "#eef2f7",
    ink: "#1f2328",
    muted: "#57606a",
    line: "#6e7781",
    accent: "#0a58b8",
    other: "#818b98",
};

const DARK: Scheme = Scheme {
    background: "#16181d",
    surface: "#16181d",
    zone: "#262b34",
    ink: "#e6e8ec",
    muted: "#aeb6c2",
    line: "#98a1b0",
    accent: "#61afef",
    other: "#737b8c",
};

impl Scheme {
    fn rules(&self) -> String {
        let Self { background, surface, zone, ink, muted, line, accent, other } = self;
        format!(
            "text{{fill:{ink}}}.m{{fill:{muted}}}.bg{{fill:{background}}}.zone{{fill:{zone}}}\
             .box{{fill:{surface};stroke:{line}}}.line{{fill:none;stroke:{line}}}.tip{{fill:{line}}}\
             .ours{{fill:{accent}}}.own{{stroke:{accent};stroke-width:2}}.other{{fill:{other}}}"
        )
    }
}

/// Returns the rules of CSS of every drawing.
fn style() -> String {
    format!(
        "text{{font:12px system-ui,Helvetica,Arial,sans-serif}}.t,.b{{font-weight:bold}}.m{{font-size:11px}}\
         .c{{text-anchor:middle}}.e{{text-anchor:end}}.line{{stroke-width:1.5}}\n{}\n\
         @media (prefers-color-scheme:dark){{{}}}",
        LIGHT.rules(),
        DARK.rules()
    )
}

/// Returns the beginning of a drawing.
pub fn begin((width, height): (usize, usize), label: &str) -> String {
    let mut svg = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">\n\
         <style>{}</style>\n<rect class=\"bg\" width=\"{width}\" height=\"{height}\" rx=\"6\"/>",
        escape(label),
        style()
    );
    svg
}

#[test]
fn golden_drawings() {
    for name in BY_HAND {
        let file = dnscribe_tests::environment::workspace().join("docs/pictures").join(name);
        let text = std::fs::read_to_string(&file).unwrap();
        let (before, rest) = text.split_once("<style>").unwrap();
        let (_, after) = rest.split_once("</style>").unwrap();
        let with_style = format!("{before}<style>{}</style>{after}", style());
        super::golden(&file, &with_style).unwrap();
        assert!(before.contains("role=\"img\" aria-label=\""), "{name}: no label");
        // Colors of their own would have no counterpart in the other scheme.
        for own in ["fill=\"#", "stroke=\"#", "style=\""] {
            assert!(!after.contains(own), "{name}: {own}");
        }
    }
}

/// Text needs 4.5, lines and bars 3 (WCAG 2.2, 1.4.3 and 1.4.11).
#[test]
fn drawings_have_contrast() {
    for scheme in [LIGHT, DARK] {
        for behind in [scheme.background, scheme.surface, scheme.zone] {
            for (color, least) in
                [(scheme.ink, 4.5), (scheme.muted, 4.5), (scheme.line, 3.0), (scheme.accent, 3.0)]
            {
                let found = contrast(color, behind);
                assert!(found >= least, "{color} on {behind}: {found:.2}");
            }
        }
        assert!(contrast(scheme.other, scheme.background) >= 3.0, "{}", scheme.other);
    }
}
