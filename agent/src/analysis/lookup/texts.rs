//! A list of texts in one reusable buffer.

use std::fmt;

/// A list of texts.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TextList {
    text: String,
    /// End of each text.
    ends: Vec<usize>,
}

impl TextList {
    /// An empty list.
    pub const EMPTY: Self = Self { text: String::new(), ends: Vec::new() };

    /// Appends a text.
    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    /// Removes all texts.
    pub fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    /// Returns the texts in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).filter_map(|(start, end)| self.text.get(*start..*end))
    }

    /// Returns the number of texts.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns whether there are no texts.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns whether `text` is in the list.
    #[must_use]
    pub fn contains(&self, text: &str) -> bool {
        self.iter().any(|known| known == text)
    }
}

impl fmt::Debug for TextList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_what_was_put_in() {
        let mut texts = TextList::default();
        for round in 0..2 {
            assert!(texts.is_empty(), "{round}");
            for text in ["a.test", "", "ü"] {
                texts.push(text);
            }
            assert_eq!(texts.iter().collect::<Vec<_>>(), ["a.test", "", "ü"]);
            assert!(texts.contains("ü") && !texts.contains("a") && texts.len() == 3);
            texts.clear();
        }
    }
}
