//! JSON Schemas of the records.

use super::{
    AlertRecord, ConnectionRecord, DlqRecord, LedgerRecord, LookupRecord, MessageRecord,
    TransactionRecord, WindowRecord,
};
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

/// The schemas that there are.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _)| *name)
}

/// The JSON Schema (2020-12) of a record, by its name (`dns.transaction/1`).
#[must_use]
pub fn json_schema(name: &str) -> Option<Value> {
    let (name, generate) = ALL.iter().find(|(known, _)| *known == name)?;
    let mut schema = generate();
    let fields = schema.as_object_mut()?;
    fields.shift_insert(0, "$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    fields.shift_insert(1, "title".into(), json!(name));
    if let Some(tag) = fields.get_mut("properties").and_then(|p| p.get_mut("schema")) {
        *tag = json!({ "const": name });
    }
    Some(schema)
}

type Generate = fn() -> Value;

const ALL: [(&str, Generate); 8] = [
    ("dns.message/1", generate::<MessageRecord<'static>>),
    ("dns.transaction/1", generate::<TransactionRecord<'static>>),
    ("dns.lookup/1", generate::<LookupRecord<'static>>),
    ("dns.window/1", generate::<WindowRecord<'static>>),
    ("dns.alert/1", generate::<AlertRecord<'static>>),
    ("dns.dlq/1", generate::<DlqRecord<'static>>),
    ("dns.ledger/1", generate::<LedgerRecord>),
    ("dns.connection/1", generate::<ConnectionRecord<'static>>),
];

fn generate<T: JsonSchema>() -> Value {
    // What is written, not what is read: a field that is left out when empty is not required.
    let settings = schemars::generate::SchemaSettings::draft2020_12().for_serialize();
    let mut schema = SchemaGenerator::new(settings).into_root_schema_for::<T>();
    RecursiveTransform(no_null).transform(&mut schema);
    schema.into()
}

/// Absent is left out, never null.
fn no_null(schema: &mut Schema) {
    let null = json!({ "type": "null" });
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| *choice != null);
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            schema.remove("anyOf");
            for (key, value) in only {
                schema.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_is_one_and_names_itself() {
        for name in names() {
            let schema = json_schema(name).unwrap();
            assert!(jsonschema::meta::is_valid(&schema), "{name}");
            assert_eq!(schema["title"], *name);
            assert_eq!(schema["properties"]["schema"]["const"], *name);
            assert!(!schema.to_string().contains("\"null\""), "{schema:#}");
        }
        assert_eq!(json_schema("dns.message/2"), None);
    }
}
