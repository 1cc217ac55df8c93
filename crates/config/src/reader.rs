//! Reading of sections from a YAML document, and merging of layers.
//!
//! Every leaf is read from its text, and an error has the line, column and full key of what is wrong. Lists
//! are sequences or comma separated texts; sections and maps may be empty.

use crate::reference::Key;
use crate::yaml::{Content, MapEntry, Node, Place, YamlError};
use dnscribe_record::Stream;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

/// A section of the configuration, as `section!` declares it.
pub trait Section: Default + Field {
    /// Reads the value of a key; whether the section has this key.
    ///
    /// # Errors
    /// The value is not one of this key.
    fn read_key(&mut self, key: &str, value: &Node) -> Result<bool, YamlError>;
}

/// What stands behind a key: a value that may be absent, a map, or a section.
pub trait Field: Sized {
    /// Merges two layers: `self` wins over `lower`.
    #[must_use]
    fn over(self, lower: Self) -> Self;

    /// The keys of a section; none of anything else.
    #[must_use]
    fn keys() -> Vec<Key> {
        Vec::new()
    }
}

impl<T> Field for Option<T> {
    fn over(self, lower: Self) -> Self {
        self.or(lower)
    }
}

impl<K: Ord, V> Field for BTreeMap<K, V> {
    fn over(self, mut lower: Self) -> Self {
        lower.extend(self);
        lower
    }
}

/// A value that is read from its text.
pub trait Leaf: FromStr<Err: Display> {}

impl<T: FromStr<Err: Display>> Leaf for T {}

/// Names the type inside an `Option`.
pub trait Given {
    /// The type of the value.
    type Value;
}

impl<T> Given for Option<T> {
    type Value = T;
}

/// A section with the place where it stands in its document, for errors that concern several sections.
#[derive(Clone, Copy, Debug, Default)]
pub struct Placed<T> {
    /// Where the section begins; the default of one that is in no document.
    pub place: Place,
    /// The section.
    pub section: T,
}

impl<T> From<T> for Placed<T> {
    fn from(section: T) -> Self {
        Self { place: Place::default(), section }
    }
}

/// Settings by stream; the settings of one stream are merged key by key.
#[derive(Clone)]
pub struct PerStream<T>(pub BTreeMap<Stream, T>);

impl<T> Default for PerStream<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Field> Field for PerStream<T> {
    fn over(self, Self(mut lower): Self) -> Self {
        for (stream, value) in self.0 {
            let value = match lower.remove(&stream) {
                Some(below) => value.over(below),
                None => value,
            };
            lower.insert(stream, value);
        }
        Self(lower)
    }
}

/// Name of a key, from that of the field, which may be a raw identifier.
#[must_use]
pub const fn key_name(field: &str) -> &str {
    match field.as_bytes() {
        [b'r', b'#', rest @ ..] => match std::str::from_utf8(rest) {
            Ok(name) => name,
            Err(_) => field,
        },
        _ => field,
    }
}

/// Reads a section; an empty one gives nothing.
pub fn section<T: Section>(node: &Node) -> Result<T, YamlError> {
    let mut section = T::default();
    for entry in entries(node)? {
        let read = section.read_key(&entry.key, &entry.value);
        if !read.map_err(|error| error.within(&entry.key))? {
            let known: Vec<_> = T::keys().iter().map(|key| key.name).collect();
            let known = known.join(", ");
            return Err(
                entry.error(format_args!("unknown key `{}`, expected one of {known}", entry.key))
            );
        }
    }
    Ok(section)
}

/// Reads a leaf; none where there is no value.
pub fn text<T: Leaf>(node: &Node) -> Result<Option<T>, YamlError> {
    given(node, leaf)
}

/// Reads a leaf that is written as a list and understood as a whole.
pub fn joined<T: Leaf>(node: &Node) -> Result<Option<T>, YamlError> {
    given(node, |node| {
        let texts: Vec<&str> = list(node)?.into_iter().map(|(text, _)| text).collect();
        texts.join(",").parse().map_err(|error| node.error(error))
    })
}

/// Reads a list of leaves.
pub fn items<T: Leaf>(node: &Node) -> Result<Option<Vec<T>>, YamlError> {
    given(node, leaves)
}

/// Reads a list of sections.
pub fn sections<T: Section>(node: &Node) -> Result<Option<Vec<T>>, YamlError> {
    given(node, |node| match &node.content {
        Content::List(items) => items.iter().map(section).collect(),
        _ => Err(node.error(EXPECTED_LIST)),
    })
}

/// Reads a list of sections, each with its place.
pub fn placed_sections<T: Section>(node: &Node) -> Result<Option<Vec<Placed<T>>>, YamlError> {
    given(node, |node| match &node.content {
        Content::List(items) => items
            .iter()
            .map(|item| Ok(Placed { place: item.place(), section: section(item)? }))
            .collect(),
        _ => Err(node.error(EXPECTED_LIST)),
    })
}

/// Reads a section that may be absent.
pub fn optional<T: Section>(node: &Node) -> Result<Option<T>, YamlError> {
    given(node, section)
}

/// Reads a map of leaves.
pub fn map<K, V>(node: &Node) -> Result<BTreeMap<K, V>, YamlError>
where
    K: Leaf + Ord,
    V: Leaf,
{
    map_of(node, leaf)
}

/// Reads a map of lists of leaves.
pub fn lists<K, V>(node: &Node) -> Result<BTreeMap<K, Vec<V>>, YamlError>
where
    K: Leaf + Ord,
    V: Leaf,
{
    map_of(node, leaves)
}

/// Reads a map of sections.
pub fn named_sections<K: Leaf + Ord, T: Section>(node: &Node) -> Result<BTreeMap<K, T>, YamlError> {
    map_of(node, section)
}

/// Reads a map of sections, each of which may be refused without the others.
pub fn separate_sections<K: Leaf + Ord, T: Section>(
    node: &Node,
) -> Result<BTreeMap<K, Result<T, YamlError>>, YamlError> {
    map_of(node, |node| Ok(section(node)))
}

/// Reads sections by stream.
pub fn per_stream<T: Section>(node: &Node) -> Result<PerStream<T>, YamlError> {
    map_of(node, section).map(PerStream)
}

const EXPECTED_LIST: &str = "expected a list";

/// Reads a value; none where there is none.
fn given<T>(node: &Node, read: fn(&Node) -> Result<T, YamlError>) -> Result<Option<T>, YamlError> {
    if node.is_null() { Ok(None) } else { read(node).map(Some) }
}

fn entries(node: &Node) -> Result<&[MapEntry], YamlError> {
    match &node.content {
        Content::Null => Ok(&[]),
        Content::Map(entries) => Ok(entries),
        _ => Err(node.error("expected a section of keys")),
    }
}

fn map_of<K: Leaf + Ord, V>(
    node: &Node,
    read: fn(&Node) -> Result<V, YamlError>,
) -> Result<BTreeMap<K, V>, YamlError> {
    let entry = |entry: &MapEntry| {
        let key = entry.key.parse().map_err(|error| entry.error(error))?;
        Ok((key, read(&entry.value).map_err(|error| error.within(&entry.key))?))
    };
    entries(node)?.iter().map(entry).collect()
}

fn leaf<T: Leaf>(node: &Node) -> Result<T, YamlError> {
    match &node.content {
        Content::Text(text) => text.parse().map_err(|error| node.error(error)),
        _ => Err(node.error("expected a single value")),
    }
}

fn leaves<T: Leaf>(node: &Node) -> Result<Vec<T>, YamlError> {
    let leaf = |(text, node): (&str, &Node)| text.parse().map_err(|error| node.error(error));
    list(node)?.into_iter().map(leaf).collect()
}

/// The items of a sequence, or of a text with commas, each with the value that has its place.
fn list(node: &Node) -> Result<Vec<(&str, &Node)>, YamlError> {
    match &node.content {
        Content::List(items) => items.iter().map(item).collect(),
        Content::Text(text) => {
            let texts = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(texts.map(|text| (text, node)).collect())
        }
        _ => Err(node.error(EXPECTED_LIST)),
    }
}

fn item(node: &Node) -> Result<(&str, &Node), YamlError> {
    match &node.content {
        Content::Text(text) => Ok((text, node)),
        // A sink has this name.
        Content::Null => Ok(("null", node)),
        _ => Err(node.error("expected a single value")),
    }
}
