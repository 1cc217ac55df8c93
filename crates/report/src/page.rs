//! The page: title, key figures, sections, style and script.

use super::Tone;
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Style of all reports.
const STYLE: &str = include_str!("report.css");

/// Sorting and filtering of tables.
const SCRIPT: &str = include_str!("report.js");

/// A report.
#[derive(Clone, Debug)]
pub struct Page {
    title: String,
    subtitle: String,
    summary: Vec<(Tone, String)>,
    figures: Vec<Figure>,
    sections: Vec<Section>,
    footer: String,
}

/// A key figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// What it is: `queries`.
    pub name: String,
    /// Number with its unit.
    pub value: String,
    /// How bad it is.
    pub tone: Tone,
}

/// A part of the page with a heading.
#[derive(Clone, Debug)]
pub struct Section {
    id: String,
    title: String,
    intro: String,
    body: Markup,
}

impl Section {
    /// Creates a section. `id` is its anchor: lower-case letters and dashes.
    #[must_use]
    pub fn new(id: &str, title: &str, body: Markup) -> Self {
        Self { id: id.to_owned(), title: title.to_owned(), intro: String::new(), body }
    }

    /// Adds sentences below the heading: what is shown, and how to read it.
    #[must_use]
    pub fn intro(self, text: &str) -> Self {
        Self { intro: text.to_owned(), ..self }
    }
}

impl Page {
    /// Creates a page with a title, and a line below it: where the data come from, and their time.
    #[must_use]
    pub fn new(title: &str, subtitle: &str) -> Self {
        Self {
            title: title.to_owned(),
            subtitle: subtitle.to_owned(),
            summary: Vec::new(),
            figures: Vec::new(),
            sections: Vec::new(),
            footer: String::new(),
        }
    }

    /// Adds a sentence to the summary at the top.
    #[must_use]
    pub fn sentence(mut self, tone: Tone, text: impl Into<String>) -> Self {
        self.summary.push((tone, text.into()));
        self
    }

    /// Adds a key figure.
    #[must_use]
    pub fn figure(mut self, name: &str, value: impl Into<String>, tone: Tone) -> Self {
        self.figures.push(Figure { name: name.to_owned(), value: value.into(), tone });
        self
    }

    /// Adds a section.
    #[must_use]
    pub fn section(mut self, section: Section) -> Self {
        self.sections.push(section);
        self
    }

    /// Sets the line at the end: the program and its version.
    #[must_use]
    pub fn footer(self, text: &str) -> Self {
        Self { footer: text.to_owned(), ..self }
    }

    /// Renders the file.
    #[must_use]
    pub fn render(&self) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    // No file that this one names is ever loaded, whatever its texts contain.
                    meta http-equiv="Content-Security-Policy"
                        content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
                    title { (self.title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    header {
                        h1 { (self.title) }
                        p.subtitle { (self.subtitle) }
                    }
                    @if self.sections.len() > 1 {
                        nav aria-label="Sections" {
                            @for section in &self.sections { a href={ "#" (section.id) } { (section.title) } " " }
                        }
                    }
                    main { (self.head()) @for section in &self.sections { (section.render()) } }
                    footer { p { (self.footer) } }
                    script { (PreEscaped(SCRIPT)) }
                }
            }
        };
        page.into_string()
    }

    fn head(&self) -> Markup {
        html! {
            @if !self.summary.is_empty() {
                section aria-label="Summary" {
                    ul.summary { @for (tone, text) in &self.summary { li class=(tone.name()) { (text) } } }
                }
            }
            @if !self.figures.is_empty() {
                dl.figures {
                    @for figure in &self.figures {
                        div class=(figure.tone.name()) { dt { (figure.name) } dd { (figure.value) } }
                    }
                }
            }
        }
    }
}

impl Section {
    fn render(&self) -> Markup {
        html! {
            section id=(self.id) {
                h2 { (self.title) }
                @if !self.intro.is_empty() { p.intro { (self.intro) } }
                (self.body)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "\"><script>alert(1)</script><img src=x onerror=alert(2)>&";

    #[test]
    fn texts_stay_texts() {
        let page = Page::new(HOSTILE, HOSTILE)
            .sentence(Tone::Bad, HOSTILE)
            .figure(HOSTILE, HOSTILE, Tone::Good)
            .section(Section::new(HOSTILE, HOSTILE, html! { (HOSTILE) }).intro(HOSTILE))
            .section(Section::new("b", "b", html! {}))
            .footer(HOSTILE);
        let text = page.render();
        // Without the page's own script.
        let (before, rest) = text.split_once("<script>").unwrap();
        assert!(rest.starts_with(SCRIPT), "the first script is the page's own");
        assert!(
            !before.contains("<img") && before.contains("&lt;img src=x onerror=alert(2)&gt;&amp;")
        );
    }

    #[test]
    fn scripts_and_styles_are_inline() {
        assert!(!SCRIPT.contains("</") && !STYLE.contains("</"));
        let text = Page::new("a", "b").render();
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!text.contains(outside), "{outside}");
        }
    }
}
