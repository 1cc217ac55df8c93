//! Avro schemas of the records, derived from their JSON Schemas.
//!
//! Both come from the same Rust types, so each field is defined once. An object becomes a record in
//! the namespace `dnscribe`; optional fields are nullable, null by default, so readers with older
//! and newer schemas understand each other. Words from a fixed list (`status`) are strings, not
//! enums, so that a new word does not change the schema. `ts` stays text: it has nanoseconds, and
//! few readers know Avro's `timestamp-nanos` (1.12) yet.

use super::{Stream, json_schema};
use serde_json::{Map, Value, json};

/// Returns the names of all Avro schemas: those of the streams that agents write, and of the events that
/// registrars write. Other records are JSON only.
pub fn names() -> impl Iterator<Item = &'static str> {
    Stream::ALL.into_iter().map(Stream::schema).chain(["registrar.event/1"])
}

/// Returns the Avro schema (1.11) of a stream's record by its name (`dns.transaction/1`).
#[must_use]
pub fn avro_schema(name: &str) -> Option<Value> {
    let schema = json_schema(names().find(|known| *known == name)?)?;
    let (stem, version) = name.rsplit_once('/')?;
    let mut conversion = Conversion { definitions: schema.get("$defs"), named: Vec::new() };
    let mut record = conversion.record(&title(stem.rsplit('.').next()?), &schema)?;
    let fields = record.as_object_mut()?;
    fields.shift_insert(2, "namespace".into(), json!(NAMESPACE));
    fields.shift_insert(3, "version".into(), json!(version.parse::<u32>().ok()?));
    Some(record)
}

const NAMESPACE: &str = "dnscribe";

/// Converts one JSON Schema to Avro.
struct Conversion<'a> {
    /// The schema's `$defs`, which `$ref` points into.
    definitions: Option<&'a Value>,
    /// Definitions written so far: Avro defines each once and refers to it by name afterwards.
    named: Vec<String>,
}

impl Conversion<'_> {
    fn record(&mut self, name: &str, object: &Value) -> Option<Value> {
        let required = object.get("required").and_then(Value::as_array);
        let fields = object.get("properties")?.as_object()?.iter().map(|(field, schema)| {
            let is_required = required.is_some_and(|names| names.iter().any(|name| name == field));
            self.field(field, schema, is_required)
        });
        let fields: Vec<Value> = fields.collect::<Option<_>>()?;
        let mut record = Map::new();
        record.insert("type".into(), json!("record"));
        record.insert("name".into(), json!(name));
        document(&mut record, object);
        record.insert("fields".into(), Value::Array(fields));
        Some(Value::Object(record))
    }

    fn field(&mut self, name: &str, schema: &Value, required: bool) -> Option<Value> {
        let kind = self.kind(schema)?;
        let mut field = Map::new();
        field.insert("name".into(), json!(name));
        field.insert("type".into(), if required { kind } else { json!(["null", kind]) });
        if !required {
            field.insert("default".into(), Value::Null);
        }
        document(&mut field, schema);
        Some(Value::Object(field))
    }

    fn kind(&mut self, schema: &Value) -> Option<Value> {
        if let Some(target) = schema.get("$ref") {
            return self.reference(target.as_str()?.strip_prefix("#/$defs/")?);
        }
        let kind = match schema.get("type").and_then(Value::as_str) {
            Some("boolean") => json!("boolean"),
            Some("integer") => json!("long"),
            Some("number") => json!("double"),
            Some("array") => json!({ "type": "array", "items": self.kind(schema.get("items")?)? }),
            Some("object") => {
                let values = self.kind(schema.get("additionalProperties")?)?;
                json!({ "type": "map", "values": values })
            }
            Some("string") => json!("string"),
            None if schema.get("const")?.is_string() => json!("string"),
            _ => return None,
        };
        Some(kind)
    }

    fn reference(&mut self, definition: &str) -> Option<Value> {
        let name = definition.strip_suffix("Fields").unwrap_or(definition).to_owned();
        if self.named.contains(&name) {
            return Some(json!(format!("{NAMESPACE}.{name}")));
        }
        self.named.push(name.clone());
        let object = self.definitions?.get(definition)?;
        self.record(&name, object)
    }
}

fn document(into: &mut Map<String, Value>, schema: &Value) {
    if let Some(text) = schema.get("description").and_then(Value::as_str) {
        into.insert("doc".into(), json!(text.replace('\n', " ")));
    }
}

fn title(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use apache_avro::Schema;
    use apache_avro::schema_compatibility::SchemaCompatibility;

    fn field<'a>(record: &'a Value, name: &str) -> &'a Value {
        let fields = record["fields"].as_array().unwrap();
        fields.iter().find(|field| field["name"] == name).unwrap()
    }

    #[test]
    fn has_the_fields_of_json_schema() {
        for name in names() {
            let (avro, json) = (avro_schema(name).unwrap(), json_schema(name).unwrap());
            Schema::parse_str(&avro.to_string()).unwrap();
            assert_eq!((&avro["namespace"], &avro["version"]), (&json!("dnscribe"), &json!(1)));
            let fields = avro["fields"].as_array().unwrap().iter();
            let names: Vec<&str> = fields.map(|field| field["name"].as_str().unwrap()).collect();
            let expected: Vec<&String> = json["properties"].as_object().unwrap().keys().collect();
            assert_eq!(names, expected, "{name}");
        }
        assert_eq!(avro_schema("dns.message/2"), None);
    }

    #[test]
    fn maps_json_types() {
        let transaction = avro_schema("dns.transaction/1").unwrap();
        assert_eq!(transaction["name"], "Transaction");
        let kinds = [
            ("schema", json!("string")),
            ("ts", json!("string")),
            ("status", json!("string")),
            ("retries", json!("long")),
            ("latency_ms", json!(["null", "double"])),
            ("conflict", json!(["null", "boolean"])),
            ("flags", json!({ "type": "array", "items": "string" })),
        ];
        for (name, kind) in kinds {
            assert_eq!(field(&transaction, name)["type"], kind, "{name}");
        }
        assert_eq!(field(&transaction, "latency_ms").get("default"), Some(&Value::Null));
        assert_eq!(field(&transaction, "retries").get("default"), None);
        assert_eq!(field(&transaction, "client_ip")["doc"], "Address of the client.");
        let answer = &field(&transaction, "answers")["type"][1]["items"];
        assert_eq!(
            (&answer["name"], field(answer, "ttl")),
            (
                &json!("Answer"),
                &json!({
                    "name": "ttl", "type": "long", "doc": "Time to live in seconds."
                })
            )
        );
        let ledger = avro_schema("dns.ledger/1").unwrap();
        let delivery = &field(&ledger, "delivery")["type"]["values"]["values"];
        assert_eq!(field(delivery, "dropped")["type"], json!({ "type": "map", "values": "long" }));
        assert_eq!(field(&ledger, "ring")["type"]["name"], "Ring");
    }

    #[test]
    fn new_optional_field_is_compatible_and_required_is_not() {
        let schema = |value: &Value| Schema::parse_str(&value.to_string()).unwrap();
        for name in names() {
            let json = json_schema(name).unwrap();
            let whole = |json: &Value| {
                let mut conversion =
                    Conversion { definitions: json.get("$defs"), named: Vec::new() };
                let mut record = conversion.record("Record", json).unwrap();
                record["namespace"] = json!(NAMESPACE);
                schema(&record)
            };
            let with = |required: bool| {
                let mut json = json.clone();
                json["properties"]["one_more"] = json!({ "type": "string" });
                if required {
                    json["required"].as_array_mut().unwrap().push(json!("one_more"));
                }
                whole(&json)
            };
            let old = whole(&json);
            let reads = |writer: &Schema, reader: &Schema| {
                SchemaCompatibility::can_read(writer, reader).is_ok()
            };
            assert!(reads(&old, &with(false)) && reads(&with(false), &old), "{name}");
            assert!(!reads(&old, &with(true)), "{name}");
        }
    }

    #[test]
    fn refers_to_repeated_record_by_name() {
        let point = json!({ "type": "object", "properties": { "x": { "type": "integer" } } });
        let json = json!({
            "type": "object",
            "properties": { "a": { "$ref": "#/$defs/PointFields" }, "b": { "$ref": "#/$defs/PointFields" } },
            "required": ["a", "b"],
            "$defs": { "PointFields": point },
        });
        let mut conversion = Conversion { definitions: json.get("$defs"), named: Vec::new() };
        let record = conversion.record("Line", &json).unwrap();
        assert_eq!(field(&record, "a")["type"]["name"], "Point");
        assert_eq!(field(&record, "b")["type"], "dnscribe.Point");
        let mixed = json!({ "properties": { "a": { "type": ["string", "integer"] } } });
        assert_eq!(conversion.record("Mixed", &mixed), None);
    }
}
