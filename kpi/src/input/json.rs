//! JSON whose objects have each key once.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry as Field;
use serde_json::{Map, Value};
use std::fmt;

/// Parses JSON. An object with a key twice is refused: which of the two values was meant, nobody knows.
///
/// # Errors
/// The text is no JSON, or an object in it has a key twice.
pub fn parse_json(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str::<Unique>(text).map(|Unique(value)| value)
}

/// Parses an object of JSON, as [`parse_json`] does.
///
/// # Errors
/// The text is no object, or one in it has a key twice.
pub fn parse_object(text: &str) -> Result<Map<String, Value>, serde_json::Error> {
    match parse_json(text)? {
        Value::Object(object) => Ok(object),
        _ => Err(serde_json::Error::custom("not an object")),
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
        assert!(parse_object("[]").is_err() && parse_object("{}").is_ok());
    }
}
