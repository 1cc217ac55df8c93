//! What there is to configure: every key with what it does and its default or an example, as the
//! sections in [`super::layer`] say it. Printed by `dnscribe config`.

mod page;
mod yaml;

pub use page::page;
pub use yaml::yaml;

use super::layer::{Layer, PerStream};
use std::collections::BTreeMap;

/// A key of the configuration.
#[derive(Clone, Debug)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What it does: one sentence or two.
    pub about: String,
    /// Its value where nothing is given.
    pub said: Said,
    /// The keys of a section, or of each item of a list of sections.
    pub inside: Vec<Key>,
}

/// What the reference says of a key's value.
#[derive(Clone, Copy, Debug)]
pub enum Said {
    /// Nothing, as of a section.
    Nothing,
    /// What is in force where the key is not given.
    Default(&'static str),
    /// A value that makes sense somewhere: where the key is not given there is none, or one that
    /// depends on the host.
    Example(&'static str),
    /// The defaults of a section's keys, where sections of its kind differ in them.
    Defaults(&'static [(&'static str, &'static str)]),
    /// An example of a list of sections, and the keys of each.
    Each(fn() -> Vec<Key>, &'static str),
}

/// Reads what stands behind a key's type: `default("5s")`, `example("eth0")`, of a list of sections
/// `each(Layer, "[...]")`, and of a section `defaults(key = "5s")`.
macro_rules! said {
    () => {
        $crate::config::reference::Said::Nothing
    };
    (default($value:literal)) => {
        $crate::config::reference::Said::Default($value)
    };
    (example($value:literal)) => {
        $crate::config::reference::Said::Example($value)
    };
    (defaults($($key:ident = $value:literal),+)) => {
        $crate::config::reference::Said::Defaults(&[$((stringify!($key), $value)),+])
    };
    (each($layer:ty, $value:literal)) => {
        $crate::config::reference::Said::Each(
            <$layer as $crate::config::reference::Describe>::keys,
            $value,
        )
    };
}

pub(super) use said;

/// What has keys, and tells them.
pub trait Describe {
    /// The keys in the order in which they are told; none of a single value.
    #[must_use]
    fn keys() -> Vec<Key> {
        Vec::new()
    }
}

impl<T> Describe for Option<T> {}

impl<K, V> Describe for BTreeMap<K, V> {}

impl<T> Describe for PerStream<T> {}

impl Key {
    /// A key as a section declares it. `field` is the field's name, perhaps a raw identifier.
    pub(super) fn new(field: &'static str, about: &str, said: Said, inside: Vec<Self>) -> Self {
        let name = field.strip_prefix("r#").unwrap_or(field);
        let about = about.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut key = Self { name, about, said, inside };
        match said {
            Said::Defaults(defaults) => {
                for inside in &mut key.inside {
                    let own = defaults.iter().find(|(name, _)| *name == inside.name);
                    inside.said = own.map_or(inside.said, |(_, value)| Said::Default(value));
                }
            }
            Said::Each(keys, _) => key.inside = keys(),
            _ => {}
        }
        key
    }

    /// The value that the reference shows, if it shows one.
    #[must_use]
    pub const fn value(&self) -> Option<&'static str> {
        match self.said {
            Said::Default(value) | Said::Example(value) | Said::Each(_, value) => Some(value),
            Said::Nothing | Said::Defaults(_) => None,
        }
    }
}

/// Every key of the configuration.
#[must_use]
pub fn keys() -> Vec<Key> {
    Layer::keys()
}

#[cfg(test)]
mod tests;
