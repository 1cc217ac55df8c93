//! Records drawn from a schema: all that fits it, extreme values first; a third of them has none.

use crate::rng::Rng;
use serde_json::Value;
use std::fmt::Write as _;

/// Texts that mean something to JSON, SQL, line protocol or C, as JSON writes them.
const TEXTS: [&str; 12] = [
    "",
    " ",
    "a",
    "it's \\\"quoted\\\" 100%_ \\\\back",
    "a,b=c d\\\\",
    "\\u0000",
    "\\n\\t\\r",
    "\\ud800",
    "ÿ€😀",
    "NULL",
    "$1 {} ${x}",
    "2026-01-02T03:04:05Z",
];
/// Texts that every store takes.
const MILD: [&str; 3] = ["a", "it's \\\"quoted\\\" 100%_", "ÿ€😀"];
/// A text that is larger than any field should be.
const ENORMOUS: usize = 300_000;
const TIMES: [&str; 9] = [
    "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00.000000001Z",
    "1677-09-21T00:12:43Z",
    "1899-12-31T23:59:59.999999999Z",
    "1969-12-31T23:59:59.999Z",
    "1970-01-01T00:00:00Z",
    "2106-02-07T06:28:16Z",
    "2262-04-11T23:47:17Z",
    "9999-12-31T23:59:59.999999999Z",
];
const NUMBERS: [&str; 10] = [
    "0",
    "-0.0",
    "1.5",
    "1e308",
    "-1e308",
    "5e-324",
    "1e-400",
    "1e400",
    "123456789.123456789",
    "-1",
];

/// Draws records of a schema.
pub struct Draw<'a> {
    schema: &'a Value,
    rng: &'a mut Rng,
    /// Second of times that are not extreme, such as `2026-01-02T03:04:05`.
    now: &'a str,
    /// Whether all values of the record are such as every store takes.
    is_mild: bool,
    /// Share of the fields that may be absent that the record has.
    share: f64,
    /// Whether the record has an enormous text already: two would not fit a message.
    is_enormous: bool,
}

impl<'a> Draw<'a> {
    /// Creates a generator of records of a JSON Schema.
    pub const fn new(schema: &'a Value, now: &'a str, rng: &'a mut Rng) -> Self {
        Self { schema, rng, now, is_mild: false, share: 0.0, is_enormous: false }
    }

    /// Returns a record as JSON.
    pub fn record(&mut self) -> String {
        self.share = [0.0, 0.5, 1.0][self.index(3)];
        self.is_enormous = false;
        self.is_mild = self.rng.chance(0.34);
        let mut text = String::new();
        self.value(self.schema, "", &mut text);
        text
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.rng.below(length as u64)).unwrap_or_default()
    }

    fn one_of<'b>(&mut self, all: &'b [Value]) -> &'b Value {
        &all[self.index(all.len())]
    }

    fn value(&mut self, schema: &'a Value, name: &str, text: &mut String) {
        let root = self.schema;
        if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
            return self.value(&root["$defs"][name], "", text);
        }
        if !schema["const"].is_null() {
            return push(text, &schema["const"]);
        }
        if let Some(values) = schema["enum"].as_array() {
            let value = self.one_of(values);
            return push(text, value);
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => self.one_of(kinds),
            kind => kind,
        };
        match kind.as_str().unwrap_or("string") {
            "object" => self.object(schema, text),
            "array" => self.array(schema, text),
            "integer" => self.integer(schema, text),
            "number" if self.is_mild => text.push_str("1.5"),
            "number" => text.push_str(NUMBERS[self.index(NUMBERS.len())]),
            "boolean" => push(text, self.rng.chance(0.5)),
            "null" => text.push_str("null"),
            _ => self.text(schema, name, text),
        }
    }

    fn object(&mut self, schema: &'a Value, text: &mut String) {
        text.push('{');
        let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
        let start = text.len();
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            if required.contains(&Value::from(name.as_str())) || self.rng.chance(self.share) {
                push(text, if text.len() > start { "," } else { "" });
                push(text, Value::from(name.as_str()));
                text.push(':');
                self.value(inner, name, text);
            }
        }
        if schema["additionalProperties"].is_object() {
            for number in 0..self.rng.below(3) {
                push(text, if text.len() > start { "," } else { "" });
                // Names that come twice would be one.
                push(text, format_args!("\"{number}{}\":", TEXTS[self.index(TEXTS.len())]));
                self.value(&schema["additionalProperties"], "", text);
            }
        }
        text.push('}');
    }

    fn array(&mut self, schema: &'a Value, text: &mut String) {
        text.push('[');
        for number in 0..[0, 1, 1, 2, 40][self.index(5)] {
            push(text, if number > 0 { "," } else { "" });
            self.value(&schema["items"], "", text);
        }
        text.push(']');
    }

    fn integer(&mut self, schema: &Value, text: &mut String) {
        let bits = match schema["format"].as_str() {
            Some("uint8") => u64::from(u8::MAX),
            Some("uint16") => u64::from(u16::MAX),
            Some("uint32") => u64::from(u32::MAX),
            Some("int64") => i64::MAX.unsigned_abs(),
            _ => u64::MAX,
        };
        let (least, most) = (schema["minimum"].as_i64(), schema["maximum"].as_u64());
        let (least, most) = (least.unwrap_or(i64::MIN), most.unwrap_or(bits));
        match if self.is_mild { 3 } else { self.rng.below(4) } {
            0 => push(text, least),
            1 => push(text, most),
            2 => push(text, most / 2),
            _ => push(text, 1.max(least)),
        }
    }

    fn text(&mut self, schema: &Value, name: &str, text: &mut String) {
        text.push('"');
        if schema["format"] == "date-time" {
            // Most have a time that all stores take, so that the rest of them is seen.
            let share = if name == "ts" { 0.15 } else { 0.05 };
            if !self.is_mild && self.rng.chance(share) {
                text.push_str(TIMES[self.index(TIMES.len())]);
            } else {
                push(text, format_args!("{}.{:09}Z", self.now, self.rng.below(1_000_000_000)));
            }
        } else if schema["pattern"] == "^[0-9a-f]{32}$" {
            push(text, format_args!("{:016x}{:016x}", self.rng.next_u64(), self.rng.next_u64()));
        } else if self.is_mild {
            text.push_str(MILD[self.index(MILD.len())]);
        } else if !self.is_enormous && self.rng.chance(0.002) {
            self.is_enormous = true;
            text.push_str(&"x".repeat(ENORMOUS));
        } else {
            text.push_str(TEXTS[self.index(TEXTS.len())]);
        }
        text.push('"');
    }
}

fn push(text: &mut String, value: impl std::fmt::Display) {
    // Writing to a String cannot fail.
    let _ = write!(text, "{value}");
}
