//! From Avro's octets back to the JSON line of a record.

use super::shape::Shape;
use serde::Serialize;

/// What is wrong with octets that claim to be a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadAvro {
    #[error("it ends too early")]
    EndsEarly,
    #[error("octets are left over")]
    LeftOver,
    #[error("a string in it is not UTF-8")]
    NotUtf8,
    #[error("a number in it cannot be written as JSON")]
    NotANumber,
    #[error("something in it is neither absent nor there, or neither true nor false")]
    NoSuchChoice,
    #[error("a length in it cannot be")]
    BadLength,
}

/// Appends the record as JSON, without a newline: what is null is left out.
pub(super) fn read(shape: &Shape, mut avro: &[u8], line: &mut Vec<u8>) -> Result<(), BadAvro> {
    value(shape, &mut avro, line)?;
    if avro.is_empty() { Ok(()) } else { Err(BadAvro::LeftOver) }
}

fn value(shape: &Shape, avro: &mut &[u8], line: &mut Vec<u8>) -> Result<(), BadAvro> {
    match shape {
        Shape::Boolean => match take(avro, 1)? {
            [0] => json(&false, line),
            [1] => json(&true, line),
            _ => Err(BadAvro::NoSuchChoice),
        },
        Shape::Long => json(&long(avro)?, line),
        Shape::Double => {
            let octets = avro.split_first_chunk().ok_or(BadAvro::EndsEarly)?;
            *avro = octets.1;
            let number = f64::from_le_bytes(*octets.0);
            if number.is_finite() { json(&number, line) } else { Err(BadAvro::NotANumber) }
        }
        Shape::Text => json(text(avro)?, line),
        Shape::Optional(shape) => {
            if there(avro)? {
                value(shape, avro, line)
            } else {
                json(&(), line)
            }
        }
        Shape::Array(shape) => {
            line.push(b'[');
            blocks(avro, line, |avro, line| value(shape, avro, line))?;
            line.push(b']');
            Ok(())
        }
        Shape::Map(shape) => {
            line.push(b'{');
            blocks(avro, line, |avro, line| {
                json(text(avro)?, line)?;
                line.push(b':');
                value(shape, avro, line)
            })?;
            line.push(b'}');
            Ok(())
        }
        Shape::Record(fields) => {
            line.push(b'{');
            let start = line.len();
            for field in fields.iter() {
                let shape = match &field.shape {
                    Shape::Optional(_) if !there(avro)? => continue,
                    Shape::Optional(shape) => shape,
                    shape => shape,
                };
                comma(start, line);
                json(field.name.as_str(), line)?;
                line.push(b':');
                value(shape, avro, line)?;
            }
            line.push(b'}');
            Ok(())
        }
    }
}

/// Reads the blocks of an array or map: a count and as many items, until the count is 0.
fn blocks(
    avro: &mut &[u8],
    line: &mut Vec<u8>,
    mut item: impl FnMut(&mut &[u8], &mut Vec<u8>) -> Result<(), BadAvro>,
) -> Result<(), BadAvro> {
    let start = line.len();
    loop {
        let count = match long(avro)? {
            0 => return Ok(()),
            // The block's size in octets follows, for readers that would skip it.
            negative @ i64::MIN..0 => {
                long(avro)?;
                negative.unsigned_abs()
            }
            count => count.unsigned_abs(),
        };
        // Every item takes an octet at least, so a damaged count cannot keep us for long.
        if count > avro.len() as u64 {
            return Err(BadAvro::BadLength);
        }
        for _ in 0..count {
            comma(start, line);
            item(avro, line)?;
        }
    }
}

fn comma(start: usize, line: &mut Vec<u8>) {
    if line.len() > start {
        line.push(b',');
    }
}

fn json<T: Serialize + ?Sized>(value: &T, line: &mut Vec<u8>) -> Result<(), BadAvro> {
    serde_json::to_writer(line, value).map_err(|_| BadAvro::NotANumber)
}

fn there(avro: &mut &[u8]) -> Result<bool, BadAvro> {
    match long(avro)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(BadAvro::NoSuchChoice),
    }
}

fn take<'a>(avro: &mut &'a [u8], length: usize) -> Result<&'a [u8], BadAvro> {
    avro.split_off(..length).ok_or(BadAvro::EndsEarly)
}

fn text<'a>(avro: &mut &'a [u8]) -> Result<&'a str, BadAvro> {
    let length = usize::try_from(long(avro)?).map_err(|_| BadAvro::BadLength)?;
    std::str::from_utf8(take(avro, length)?).map_err(|_| BadAvro::NotUtf8)
}

/// An integer in zigzag coding.
fn long(avro: &mut &[u8]) -> Result<i64, BadAvro> {
    let mut bits = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let octet = *avro.split_off_first().ok_or(BadAvro::EndsEarly)?;
        bits |= u64::from(octet & 0x7F) << shift;
        if octet < 0x80 {
            return Ok((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed());
        }
    }
    Err(BadAvro::BadLength)
}
