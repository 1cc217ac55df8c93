//! Records as JSON by way of serde: octet for octet what `serde_json` writes, in half the time.
//!
//! Most of a record is names of fields, which need no escapes, and text that rarely does. Here the
//! former are copied without a look and the latter after a look at many octets at once, where `serde_json`
//! goes through both octet by octet. What is neither is left to `serde_json`.

use serde::ser::{
    Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use serde_json::Error;
use std::fmt::Display;
use std::io::Write as _;

/// Adds a value as JSON, without a newline.
///
/// # Errors
/// As with `serde_json`: where a key of a map is no text, or the value itself gives an error. Then a part
/// of it may have been written.
pub(crate) fn push_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<(), Error> {
    value.serialize(Json { out })
}

/// Adds the fields of another object to the one that `out` ends with.
///
/// # Errors
/// As with [`push_json`].
pub(crate) fn add_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, more: &T) -> Result<(), Error> {
    let Some(b'}') = out.pop() else { return Err(Error::custom("there is no object to add to")) };
    let is_empty = out.last() == Some(&b'{');
    let start = out.len();
    push_json(out, more)?;
    match out.get(start..) {
        Some([b'{', b'}']) => {
            out.remove(start);
        }
        Some([b'{', ..]) if is_empty => {
            out.remove(start);
        }
        Some([b'{', ..]) => out[start] = b',',
        _ => return Err(Error::custom("what is to be added is no object")),
    }
    Ok(())
}

/// One value to be written.
struct Json<'o> {
    out: &'o mut Vec<u8>,
}

/// The members of an object or the items of an array.
struct Members<'o> {
    out: &'o mut Vec<u8>,
    is_first: bool,
    /// What closes it.
    end: &'static str,
}

/// Whether text stands in JSON as it is. Without an early end, so that many octets are looked at in one
/// step.
fn is_plain(octets: &[u8]) -> bool {
    let escaped = |octet: u8| octet < 0x20 || octet == b'"' || octet == b'\\';
    !octets.iter().fold(false, |any, octet| any | escaped(*octet))
}

impl<'o> Json<'o> {
    fn text(self, text: &str) -> Result<(), Error> {
        if !is_plain(text.as_bytes()) {
            return self.other().serialize_str(text);
        }
        self.out.reserve(text.len() + 2);
        self.out.push(b'"');
        self.out.extend_from_slice(text.as_bytes());
        self.out.push(b'"');
        Ok(())
    }

    /// The general way.
    fn other(self) -> serde_json::Serializer<&'o mut Vec<u8>> {
        serde_json::Serializer::new(self.out)
    }

    /// Begins an object or an array.
    fn members(self, start: &str, end: &'static str) -> Members<'o> {
        self.out.extend_from_slice(start.as_bytes());
        Members { out: self.out, is_first: true, end }
    }

    /// Begins an object with one member, the value of which comes next.
    fn variant(self, name: &'static str) -> Self {
        self.out.push(b'{');
        let out = self.out;
        Members { out, is_first: true, end: "" }.name(name);
        Self { out }
    }
}

impl Members<'_> {
    fn separate(&mut self) {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(b',');
        }
    }

    /// The name of a field or variant: of a Rust type, so that nothing in it needs an escape.
    #[expect(clippy::inline_always, reason = "of a name known at compile time the length is, too")]
    #[inline(always)]
    fn name(&mut self, name: &'static str) {
        self.out.reserve(name.len() + 4);
        self.separate();
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(Json { out: self.out })
    }

    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.separate();
        self.value(value)
    }

    fn finish(self) {
        self.out.extend_from_slice(self.end.as_bytes());
    }
}

/// Has `serde_json` write these.
macro_rules! other {
    ($($method:ident: $type:ty),* $(,)?) => {
        $(fn $method(self, value: $type) -> Result<(), Error> {
            self.other().$method(value)
        })*
    };
}

impl<'o> Serializer for Json<'o> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Members<'o>;
    type SerializeTuple = Members<'o>;
    type SerializeTupleStruct = Members<'o>;
    type SerializeTupleVariant = Members<'o>;
    type SerializeMap = Members<'o>;
    type SerializeStruct = Members<'o>;
    type SerializeStructVariant = Members<'o>;

    other! {
        serialize_bool: bool, serialize_char: char, serialize_bytes: &[u8],
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_i128: i128, serialize_u128: u128, serialize_f32: f32, serialize_f64: f64,
    }

    fn serialize_str(self, text: &str) -> Result<(), Error> {
        self.text(text)
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), Error> {
        let before = self.out.len();
        self.out.push(b'"');
        write!(self.out, "{value}").map_err(Error::io)?;
        if is_plain(&self.out[before + 1..]) {
            self.out.push(b'"');
            return Ok(());
        }
        self.out.truncate(before);
        self.other().collect_str(value)
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.text(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        let Json { out } = self.variant(variant);
        value.serialize(Json { out: &mut *out })?;
        out.push(b'}');
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Members<'o>, Error> {
        Ok(self.members("[", "]"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Members<'o>, Error> {
        Ok(self.members("[", "]"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Members<'o>, Error> {
        Ok(self.members("[", "]"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Members<'o>, Error> {
        Ok(self.variant(variant).members("[", "]}"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Members<'o>, Error> {
        Ok(self.members("{", "}"))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Members<'o>, Error> {
        Ok(self.members("{", "}"))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Members<'o>, Error> {
        Ok(self.variant(variant).members("{", "}}"))
    }
}

/// Arrays, of whatever they are made.
macro_rules! items {
    ($($kind:ident :: $method:ident),* $(,)?) => {
        $(impl $kind for Members<'_> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.item(value)
            }

            fn end(self) -> Result<(), Error> {
                self.finish();
                Ok(())
            }
        })*
    };
}

items! {
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field,
}

/// Objects with fields that are known.
macro_rules! fields {
    ($($kind:ident),* $(,)?) => {
        $(impl $kind for Members<'_> {
            type Ok = ();
            type Error = Error;

            // As `name` is.
            #[inline(always)]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Error> {
                self.name(name);
                self.value(value)
            }

            fn end(self) -> Result<(), Error> {
                self.finish();
                Ok(())
            }
        })*
    };
}

fields!(SerializeStruct, SerializeStructVariant);

impl SerializeMap for Members<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.separate();
        let start = self.out.len();
        self.value(key)?;
        match self.out.get(start) {
            Some(b'"') => Ok(()),
            // A number or a truth value stands in quotes, where it is a key.
            Some(b'-' | b'0'..=b'9' | b't' | b'f') => {
                self.out.insert(start, b'"');
                self.out.push(b'"');
                Ok(())
            }
            _ => Err(Error::custom("key must be a string")),
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.out.push(b':');
        self.value(value)
    }

    fn end(self) -> Result<(), Error> {
        self.finish();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
