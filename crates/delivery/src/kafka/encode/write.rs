//! Converts a record's JSON line into Avro, in one pass without intermediate values.

use super::shape::{Field, Shape};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Appends the record to `out`. Its fields must be in the schema's order, as they are because both
/// come from one type. Missing fields must be optional; a field that is not in the schema is an
/// error.
pub(super) fn write(shape: &Shape, line: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let mut json = serde_json::Deserializer::from_slice(line);
    Writer { shape, out }
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .map_err(|error| format!("not a record of its schema: {error}"))
}

struct Writer<'a> {
    shape: &'a Shape,
    out: &'a mut Vec<u8>,
}

impl Writer<'_> {
    /// Writes the branch of an optional value that is present.
    fn present(self) -> Self {
        match self.shape {
            Shape::Optional(shape) => {
                long(1, self.out);
                Self { shape, out: self.out }
            }
            _ => self,
        }
    }

    fn mismatch<E: de::Error>(&self, found: &str) -> E {
        E::custom(format_args!("{found} where the schema has {}", self.shape.name()))
    }

    /// Writes a value without parts with `write` if the schema has `shape` here.
    fn scalar<E: de::Error>(
        self,
        shape: &Shape,
        found: &str,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), E> {
        let writer = self.present();
        if writer.shape != shape {
            return Err(writer.mismatch(found));
        }
        write(writer.out);
        Ok(())
    }

    /// Writes items and then, before them, their number, which JSON tells only at the end.
    fn block<E>(
        out: &mut Vec<u8>,
        items: impl FnOnce(&mut Vec<u8>) -> Result<i64, E>,
    ) -> Result<(), E> {
        let start = out.len();
        let count = items(out)?;
        if count > 0 {
            let end = out.len();
            long(count, out);
            let width = out.len() - end;
            out[start..].rotate_right(width);
        }
        long(0, out);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Writer<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Writer<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shape.name())
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        match self.shape {
            Shape::Optional(_) => {
                long(0, self.out);
                Ok(())
            }
            _ => Err(self.mismatch("null")),
        }
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        self.scalar(&Shape::Boolean, "a boolean", |out| out.push(u8::from(value)))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.scalar(&Shape::Long, "an integer", |out| long(value, out))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => Err(E::custom(format_args!("{value} is more than Avro's long holds"))),
        }
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.scalar(&Shape::Double, "a number with a fraction", |out| {
            out.extend_from_slice(&value.to_le_bytes());
        })
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        self.scalar(&Shape::Text, "a string", |out| {
            // No slice is longer than `isize::MAX`.
            long(value.len().cast_signed() as i64, out);
            out.extend_from_slice(value.as_bytes());
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let writer = self.present();
        let Shape::Array(shape) = writer.shape else { return Err(writer.mismatch("an array")) };
        Self::block(writer.out, |out| {
            let mut count = 0;
            while items.next_element_seed(Writer { shape, out })?.is_some() {
                count += 1;
            }
            Ok(count)
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let writer = self.present();
        match writer.shape {
            Shape::Record(fields) => record(fields, writer.out, entries),
            Shape::Map(shape) => Self::block(writer.out, |out| {
                let mut count = 0;
                while entries.next_key_seed(Writer { shape: &Shape::Text, out })?.is_some() {
                    entries.next_value_seed(Writer { shape, out })?;
                    count += 1;
                }
                Ok(count)
            }),
            _ => Err(writer.mismatch("an object")),
        }
    }
}

fn record<'de, A: MapAccess<'de>>(
    fields: &[Field],
    out: &mut Vec<u8>,
    mut entries: A,
) -> Result<(), A::Error> {
    let mut left = fields;
    while let Some(place) = entries.next_key_seed(FieldIndex(left))? {
        let (before, rest) = left.split_at(place);
        skip_fields(before, out)?;
        let Some((field, rest)) = rest.split_first() else { break };
        entries.next_value_seed(Writer { shape: &field.shape, out })?;
        left = rest;
    }
    skip_fields(left, out)
}

fn skip_fields<E: de::Error>(fields: &[Field], out: &mut Vec<u8>) -> Result<(), E> {
    for field in fields {
        match field.shape {
            Shape::Optional(_) => long(0, out),
            _ => return Err(E::custom(format_args!("field \"{}\" is missing", field.name))),
        }
    }
    Ok(())
}

/// Deserializes a field's name as its index among the remaining fields.
struct FieldIndex<'a>(&'a [Field]);

impl<'de> DeserializeSeed<'de> for FieldIndex<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldIndex<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<usize, E> {
        self.0.iter().position(|field| field.name == name).ok_or_else(|| {
            E::custom(format_args!("field \"{name}\" is not in the schema, or out of its order"))
        })
    }
}

/// Writes an integer in zigzag encoding, seven bits a byte, lowest first.
fn long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        #[expect(clippy::cast_possible_truncation, reason = "takes the lowest seven bits")]
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "less than 0x80")]
    out.push(rest as u8);
}
