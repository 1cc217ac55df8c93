//! Reading of sections with serde, and merging of layers.
//!
//! Every leaf is read from its text, so that the parser knows the line and column of a wrong one. Lists
//! are sequences or comma separated texts; sections and maps may be empty.

use crate::reference::Key;
use dnscribe_record::Stream;
use serde::Deserialize;
pub use serde::de::MapAccess;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::str::FromStr;

/// A section of the configuration, as `section!` declares it.
pub trait Section: Default {
    /// Names of the keys, in the order of the reference.
    const KEYS: &'static [&'static str];

    /// Reads the value of a key, which is one of [`Self::KEYS`].
    ///
    /// # Errors
    /// The value is not one of this key.
    fn read_key<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error>;
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

/// A section that is read as a map, with unknown keys refused.
pub(crate) struct Whole<T>(pub(crate) T);

impl<'de, T: Section> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys<T>(PhantomData<T>);
        /// One of the section's keys; an unknown one is refused while its place is known.
        struct KnownKey<T>(&'static str, PhantomData<T>);

        impl<'de, T: Section> Visitor<'de> for Keys<T> {
            type Value = Whole<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a section of keys")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Whole<T>, A::Error> {
                let mut section = T::default();
                while let Some(KnownKey(key, _)) = map.next_key::<KnownKey<T>>()? {
                    section.read_key(key, &mut map)?;
                }
                Ok(Whole(section))
            }
        }

        impl<T: Section> Visitor<'_> for KnownKey<T> {
            type Value = Self;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self, E> {
                let known = T::KEYS.iter().find(|key| **key == text);
                let known = known.ok_or_else(|| E::unknown_field(text, T::KEYS))?;
                Ok(Self(known, PhantomData))
            }
        }

        impl<'de, T: Section> Deserialize<'de> for KnownKey<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_identifier(Self("", PhantomData))
            }
        }

        deserializer.deserialize_map(Keys(PhantomData))
    }
}

/// A value read from its text.
struct Text<T>(T);

impl<'de, T: Leaf> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FromText<T>(PhantomData<T>);

        impl<T: Leaf> Visitor<'_> for FromText<T> {
            type Value = Text<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a single value")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<T>, E> {
                text.parse().map(Text).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(FromText(PhantomData))
    }
}

/// A leaf that is written as a list and understood as a whole, so that an error has the list's place.
struct Joined<T>(T);

impl<'de, T: Leaf> Deserialize<'de> for Joined<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let items: Vec<String> = deserializer.deserialize_any(List(PhantomData))?;
        items.join(",").parse().map(Self).map_err(de::Error::custom)
    }
}

/// Reads a sequence, or one text with commas.
struct List<T>(PhantomData<T>);

impl<'de, T: Leaf> Visitor<'de> for List<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element::<Option<Text<T>>>()? {
            // YAML's null stands for the word: a sink has this name.
            let null = || "null".parse().map(Text).map_err(de::Error::custom);
            let Text(item) = item.map_or_else(null, Ok)?;
            items.push(item);
        }
        Ok(items)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        items.map(|item| item.parse().map_err(E::custom)).collect()
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Vec<T>, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Vec<T>, E> {
        self.visit_str(&number.to_string())
    }
}

/// A list of leaves, each with its own place.
struct Items<T>(Vec<T>);

impl<'de, T: Leaf> Deserialize<'de> for Items<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(List(PhantomData)).map(Items)
    }
}

/// A map with keys of the user's choice. `V` is the form in which values are read.
struct Entries<K, V>(BTreeMap<K, V>);

impl<'de, K: Leaf + Ord, V: Deserialize<'de>> Deserialize<'de> for Entries<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read<K, V>(PhantomData<(K, V)>);

        impl<'de, K: Leaf + Ord, V: Deserialize<'de>> Visitor<'de> for Read<K, V> {
            type Value = Entries<K, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a section")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<K, V>, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some(Text(key)) = map.next_key()? {
                    entries.insert(key, map.next_value()?);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Read(PhantomData))
    }
}

/// Reads the map behind the current key; none where it is empty.
fn entries<'de, A, K, V, T>(map: &mut A, value: fn(V) -> T) -> Result<BTreeMap<K, T>, A::Error>
where
    A: MapAccess<'de>,
    K: Leaf + Ord,
    V: Deserialize<'de>,
{
    let read: Option<Entries<K, V>> = map.next_value()?;
    let entries = read.map(|Entries(entries)| entries).unwrap_or_default();
    Ok(entries.into_iter().map(|(key, one)| (key, value(one))).collect())
}

/// Reads a leaf.
pub fn text<'de, A: MapAccess<'de>, T: Leaf>(map: &mut A) -> Result<Option<T>, A::Error> {
    Ok(map.next_value::<Option<Text<T>>>()?.map(|Text(value)| value))
}

/// Reads a leaf that is written as a list and understood as a whole.
pub fn joined<'de, A: MapAccess<'de>, T: Leaf>(map: &mut A) -> Result<Option<T>, A::Error> {
    Ok(map.next_value::<Option<Joined<T>>>()?.map(|Joined(value)| value))
}

/// Reads a list of leaves.
pub fn items<'de, A: MapAccess<'de>, T: Leaf>(map: &mut A) -> Result<Option<Vec<T>>, A::Error> {
    Ok(map.next_value::<Option<Items<T>>>()?.map(|Items(items)| items))
}

/// Reads a section; an empty one gives nothing.
pub fn section<'de, A: MapAccess<'de>, T: Section>(map: &mut A) -> Result<T, A::Error> {
    Ok(map.next_value::<Option<Whole<T>>>()?.map(|Whole(section)| section).unwrap_or_default())
}

/// Reads a list of sections.
pub fn sections<'de, A: MapAccess<'de>, T>(map: &mut A) -> Result<Option<Vec<T>>, A::Error>
where
    T: Section,
{
    let read: Option<Vec<Whole<T>>> = map.next_value()?;
    Ok(read.map(|sections| sections.into_iter().map(|Whole(section)| section).collect()))
}

/// Reads a map of leaves.
pub fn map<'de, A: MapAccess<'de>, K, V>(map: &mut A) -> Result<BTreeMap<K, V>, A::Error>
where
    K: Leaf + Ord,
    V: Leaf,
{
    entries(map, |Text(value)| value)
}

/// Reads a map of lists of leaves.
pub fn lists<'de, A: MapAccess<'de>, K, V>(map: &mut A) -> Result<BTreeMap<K, Vec<V>>, A::Error>
where
    K: Leaf + Ord,
    V: Leaf,
{
    entries(map, |Items(items)| items)
}

/// Reads sections by stream.
pub fn per_stream<'de, A: MapAccess<'de>, T>(map: &mut A) -> Result<PerStream<T>, A::Error>
where
    T: Section,
{
    let section = |read: Option<Whole<T>>| read.map(|Whole(one)| one).unwrap_or_default();
    entries(map, section).map(PerStream)
}
