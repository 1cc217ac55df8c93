//! JSON whose objects have each key once, and whose numbers stay as they are written.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry as Field;
use serde_json::value::RawValue;
use serde_json::{Error, Map, Value};
use std::collections::BTreeSet;
use std::fmt;

/// Objects and arrays that may be in one another.
const MAX_DEPTH: usize = 128;

/// Parses JSON. An object with a key twice is refused: which of the two values was meant, nobody knows.
///
/// # Errors
/// The text is no JSON, or an object in it has a key twice.
pub fn parse_json(text: &str) -> Result<Value, Error> {
    serde_json::from_str::<Unique>(text).map(|Unique(value)| value)
}

/// Value of a field of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldValue {
    /// A text; null is an empty one.
    Text(String),
    /// A number as it is written: read as floating point, long keys would become equal ones, and amounts others.
    Number(String),
    /// True or false.
    Bool(bool),
    /// An object or an array, as [`compact`] writes it.
    Nested(String),
}

impl FieldValue {
    fn parse(raw: &RawValue) -> Result<Self, Error> {
        let text = raw.get();
        match text.as_bytes().first() {
            Some(b'"') => serde_json::from_str(text).map(Self::Text),
            Some(b'n') => Ok(Self::Text(String::new())),
            Some(b't' | b'f') => serde_json::from_str(text).map(Self::Bool),
            Some(b'{' | b'[') => compact(text).map(Self::Nested),
            _ => Ok(Self::Number(text.to_owned())),
        }
    }

    /// The value as a text.
    #[must_use]
    pub fn into_text(self) -> String {
        match self {
            Self::Text(text) | Self::Number(text) | Self::Nested(text) => text,
            Self::Bool(value) => value.to_string(),
        }
    }
}

/// Parses the fields of an object of JSON. No object in it may have a key twice.
///
/// # Errors
/// The text is no object, or one in it has a key twice.
pub fn parse_fields(text: &str) -> Result<Vec<(String, FieldValue)>, Error> {
    let fields = unique_fields(text)?.into_iter();
    fields.map(|(name, raw)| Ok((name, FieldValue::parse(raw)?))).collect()
}

/// Parses those fields of a refused row that can be read; none if it is no object.
#[must_use]
pub fn readable_fields(text: &str) -> Vec<(String, FieldValue)> {
    let fields =
        serde_json::from_str::<RawFields<'_>>(text).map_or_else(|_| Vec::new(), |all| all.0);
    let read = |(name, raw)| Some((name, FieldValue::parse(raw).ok()?));
    fields.into_iter().filter_map(read).collect()
}

/// Writes JSON without spaces, with texts in one form and numbers as they are written.
///
/// # Errors
/// The text is no JSON, or an object in it has a key twice.
pub fn compact(text: &str) -> Result<String, Error> {
    let mut out = String::new();
    write_compact(serde_json::from_str(text)?, MAX_DEPTH, &mut out)?;
    Ok(out)
}

fn write_compact(raw: &RawValue, depth: usize, out: &mut String) -> Result<(), Error> {
    let depth = depth.checked_sub(1).ok_or_else(|| Error::custom("recursion limit exceeded"))?;
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'{') => {
            let mut before = '{';
            for (name, value) in unique_fields(text)? {
                out.push(before);
                *out += &serde_json::to_string(&name)?;
                out.push(':');
                write_compact(value, depth, out)?;
                before = ',';
            }
            *out += if before == '{' { "{}" } else { "}" };
        }
        Some(b'[') => {
            let mut before = '[';
            for value in serde_json::from_str::<Vec<&RawValue>>(text)? {
                out.push(before);
                write_compact(value, depth, out)?;
                before = ',';
            }
            *out += if before == '[' { "[]" } else { "]" };
        }
        Some(b'"') => *out += &serde_json::to_string(&serde_json::from_str::<String>(text)?)?,
        _ => *out += text,
    }
    Ok(())
}

fn unique_fields(text: &str) -> Result<Vec<(String, &RawValue)>, Error> {
    let RawFields(fields) = serde_json::from_str(text)?;
    let mut names = BTreeSet::new();
    match fields.iter().find(|(name, _)| !names.insert(name)) {
        Some((name, _)) => Err(Error::custom(format!("{name}: is there twice"))),
        None => Ok(fields),
    }
}

/// Fields of an object in their order, also those that are there twice.
struct RawFields<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for RawFields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RawFieldsVisitor)
    }
}

struct RawFieldsVisitor;

impl<'de> Visitor<'de> for RawFieldsVisitor {
    type Value = RawFields<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<RawFields<'de>, A::Error> {
        let mut all = Vec::new();
        while let Some(field) = fields.next_entry()? {
            all.push(field);
        }
        Ok(RawFields(all))
    }
}

struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value of JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Unique(value)) = sequence.next_element()? {
            all.push(value);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            match object.entry(key) {
                Field::Occupied(known) => {
                    return Err(A::Error::custom(format!("{}: is there twice", known.key())));
                }
                Field::Vacant(field) => {
                    field.insert(fields.next_value::<Unique>()?.0);
                }
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn keys_that_are_there_twice_are_refused() {
        for text in
            [r#"{"a":1,"a":1}"#, r#"{"b":[{"a":1,"\u0061":2}]}"#, r#"{"b":{"c":{"a":1,"a":2}}}"#]
        {
            assert!(serde_json::from_str::<Value>(text).is_ok(), "{text}");
            let error = parse_json(text).unwrap_err().to_string();
            assert!(error.starts_with("a: is there twice at line 1"), "{text}: {error}");
        }
        for text in [
            r#"{"a":{"a":[1,-2,1.5e300,18446744073709551615,9007199254740993]},"b":{"a":null}}"#,
            r#"[{"a":true},{"a":"\ud83d\ude00é"}]"#,
            "0",
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(parse_json(text).unwrap(), value, "{text}");
        }
        for text in ["", "{\"a\":1} x", "{\"a\"}", "{'a':1}", "\"\\ud800\"", "1e999"] {
            assert!(parse_json(text).is_err(), "{text}");
        }
        assert!(parse_fields("[]").is_err() && parse_fields("{}").is_ok());
        let twice = [r#"{"a":1,"b":2,"\u0061":3}"#, r#"{"b":[{"a":{"c":1,"c":1}}]}"#];
        for text in twice {
            assert!(parse_fields(text).is_err() && compact(text).is_err(), "{text}");
        }
        let readable = readable_fields(twice[0]).into_iter().map(|(name, _)| name);
        assert_eq!(readable.collect::<Vec<_>>(), ["a", "b", "a"]);
    }

    #[test]
    fn numbers_stay_as_they_are_written() {
        let text = r#"{ "key": 123456789012345678901, "price": 9999999999.999999, "least": 1E-6, "no": null,
            "is": true, "text": "\u00e9", "all": [ 1.50, { "b": 1e999, "a": [] }, {} ] }"#;
        let fields: BTreeMap<_, _> = parse_fields(text).unwrap().into_iter().collect();
        let number = |text: &str| FieldValue::Number(text.to_owned());
        assert_eq!(fields["key"], number("123456789012345678901"));
        assert_eq!(fields["price"], number("9999999999.999999"));
        assert_eq!(fields["least"], number("1E-6"));
        assert_eq!(fields["no"], FieldValue::Text(String::new()));
        assert_eq!(
            (&fields["is"], fields["is"].clone().into_text()),
            (&FieldValue::Bool(true), "true".to_owned())
        );
        assert_eq!(fields["text"], FieldValue::Text("é".to_owned()));
        let all = r#"[1.50,{"b":1e999,"a":[]},{}]"#;
        assert_eq!(fields["all"], FieldValue::Nested(all.to_owned()));
        assert_eq!(compact(r#"{"b": -0.0, "a": "\u00e9\n"}"#).unwrap(), r#"{"b":-0.0,"a":"é\n"}"#);
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert!(compact(&deep).is_err());
    }
}
