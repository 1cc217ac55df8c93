//! How values are read with serde: every leaf from its text, so that the parser can say where it
//! stands; lists as sequences or comma separated; sections and maps that may be empty.

use serde::Deserialize;
use serde::de::{self, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::path::PathBuf;
use std::str::FromStr;

/// Something read from its text.
struct Text<T>(T);

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FromText<T>(PhantomData<T>);

        impl<T: FromStr<Err: Display>> Visitor<'_> for FromText<T> {
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

/// A list as the texts of its items.
struct Texts(Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(List(PhantomData::<String>)).map(Texts)
    }
}

/// Reads a sequence, or one text with commas.
struct List<T>(PhantomData<T>);

impl<'de, T: FromStr<Err: Display>> Visitor<'de> for List<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element::<Option<Text<T>>>()? {
            // YAML's null, where the word is meant: there is a sink of this name.
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

/// Reads a leaf.
pub(super) fn text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let value: Option<Text<T>> = Option::deserialize(deserializer)?;
    Ok(value.map(|Text(value)| value))
}

/// Reads a leaf that is written as a list and understood as a whole.
pub(super) fn joined<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let list: Option<Texts> = Option::deserialize(deserializer)?;
    list.map(|Texts(items)| items.join(",").parse().map_err(de::Error::custom)).transpose()
}

/// A list of leaves, each with its own place.
struct Items<T>(Vec<T>);

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Items<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(List(PhantomData)).map(Items)
    }
}

/// Reads a list of leaves.
pub(super) fn items<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let list: Option<Items<T>> = Option::deserialize(deserializer)?;
    Ok(list.map(|Items(items)| items))
}

/// Reads a section; an empty one says nothing.
pub(super) fn section<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// What stands behind a key of a map.
pub(super) trait Entry: Sized {
    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Self, A::Error>;
}

/// Makes leaves of a kind entries.
macro_rules! leaf_entry {
    ($($type:ty),+) => {
        $(impl Entry for $type {
            fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Self, A::Error> {
                map.next_value().map(|Text(value)| value)
            }
        })+
    };
}

leaf_entry!(
    String,
    PathBuf,
    super::value::Partitions,
    super::value::Retention,
    super::value::Topic,
    crate::sink::Format
);

impl<T: FromStr<Err: Display>> Entry for Vec<T> {
    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Self, A::Error> {
        map.next_value().map(|Items(items)| items)
    }
}

/// Reads a map with keys of the user's choice.
pub(super) fn map<'de, D, K, V>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: FromStr<Err: Display> + Ord,
    V: Entry,
{
    struct Entries<K, V>(PhantomData<(K, V)>);
    struct Read<K, V>(BTreeMap<K, V>);

    impl<'de, K: FromStr<Err: Display> + Ord, V: Entry> Visitor<'de> for Entries<K, V> {
        type Value = BTreeMap<K, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a section")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BTreeMap<K, V>, A::Error> {
            let mut entries = BTreeMap::new();
            while let Some(Text(key)) = map.next_key()? {
                entries.insert(key, V::read(&mut map)?);
            }
            Ok(entries)
        }
    }

    impl<'de, K: FromStr<Err: Display> + Ord, V: Entry> Deserialize<'de> for Read<K, V> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(Entries(PhantomData)).map(Read)
        }
    }

    let entries: Option<Read<K, V>> = Option::deserialize(deserializer)?;
    Ok(entries.map(|Read(entries)| entries).unwrap_or_default())
}
