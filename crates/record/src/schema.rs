//! JSON Schemas of the records.

use super::{
    AlertRecord, ChangeRecord, ConnectionRecord, DlqRecord, EnrichedRecord, FleetRecord,
    IntelRecord, LedgerRecord, LookupRecord, MessageRecord, ProbeRecord, RegistrarEventRecord,
    StreamLedgerRecord, TransactionRecord, UseRecord, WindowRecord, ZoneRecord,
};
use crate::trace::Trace;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

/// Returns the names of all schemas.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|schema| schema.name)
}

/// Returns the JSON Schema (2020-12) of a record by its name (`dns.transaction/1`).
#[must_use]
pub fn json_schema(name: &str) -> Option<Value> {
    let RecordSchema { name, generate, ts, process } =
        ALL.iter().find(|schema| schema.name == name)?;
    let mut schema = generate();
    let fields = schema.as_object_mut()?;
    fields.shift_insert(0, "$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    fields.shift_insert(1, "title".into(), json!(name));
    let properties = fields.get_mut("properties")?.as_object_mut()?;
    properties.insert("schema".into(), json!({ "const": name }));
    if !ts.is_empty() {
        properties.get_mut("ts")?["description"] = json!(ts);
    }
    if !process.is_empty() {
        properties.get_mut("process")?["description"] = json!(process);
    }
    Some(schema)
}

/// A schema and the descriptions of the fields that mean something different in each record.
struct RecordSchema {
    name: &'static str,
    generate: fn() -> Value,
    /// Which time `ts` is; empty for records without that field.
    ts: &'static str,
    /// Which process `process` is; empty for records without that object.
    process: &'static str,
}

const ALL: [RecordSchema; 18] = [
    RecordSchema {
        name: "dns.message/1",
        generate: generate::<MessageRecord<'static>>,
        ts: "Capture time of the packet that completed the message.",
        process: SENDER_OR_RECEIVER,
    },
    RecordSchema {
        name: "dns.transaction/1",
        generate: generate::<TransactionRecord<'static>>,
        ts: "Capture time of the query; of the response if no query was seen.",
        process: "Process that sent the query; on the server, the response.",
    },
    RecordSchema {
        name: "dns.lookup/1",
        generate: generate::<LookupRecord<'static>>,
        ts: "Capture time of the first query.",
        process: "Process that sent the queries.",
    },
    RecordSchema {
        name: "dns.window/1",
        generate: generate::<WindowRecord<'static>>,
        ts: "Start of the window. A transaction belongs to the window that contains its own `ts`.",
        process: "",
    },
    RecordSchema {
        name: "dns.alert/1",
        generate: generate::<AlertRecord<'static>>,
        ts: "Time of the decision, by the capture's clock.",
        process: "",
    },
    RecordSchema {
        name: "dns.dlq/1",
        generate: generate::<DlqRecord<'static>>,
        ts: "Capture time of the packet; for a refused record, the time of the refusal.",
        process: SENDER_OR_RECEIVER,
    },
    RecordSchema {
        name: "dns.ledger/1",
        generate: generate::<LedgerRecord>,
        ts: "Time at which the counters were read, RFC 3339.",
        process: "",
    },
    RecordSchema {
        name: "dns.connection/1",
        generate: generate::<ConnectionRecord<'static>>,
        ts: "Capture time of the first packet.",
        process: "Process on this host.",
    },
    RecordSchema {
        name: "dns.use/1",
        generate: generate::<UseRecord<'static>>,
        ts: "Time of the first connection.",
        process: "Process that connected.",
    },
    RecordSchema {
        name: "dns.enriched/1",
        generate: generate::<EnrichedRecord<'static>>,
        ts: "Capture time of the query; of the response if no query was seen.",
        process: "Process that sent the query; on the server, the response.",
    },
    RecordSchema {
        name: "dns.fleet/1",
        generate: generate::<FleetRecord>,
        ts: "Start of the window. A transaction belongs to the window that contains its own `ts`.",
        process: "",
    },
    RecordSchema {
        name: "dns.stream.ledger/1",
        generate: generate::<StreamLedgerRecord>,
        ts: "Time at which the counters were read.",
        process: "",
    },
    RecordSchema {
        name: "dns.zone/1",
        generate: generate::<ZoneRecord<'static>>,
        ts: "Time of the import.",
        process: "",
    },
    RecordSchema {
        name: "dns.intel/1",
        generate: generate::<IntelRecord<'static>>,
        ts: "Time of the import.",
        process: "",
    },
    RecordSchema {
        name: "dns.probe/1",
        generate: generate::<ProbeRecord<'static>>,
        ts: "Start of the measurement.",
        process: "",
    },
    RecordSchema {
        name: "dns.change/1",
        generate: generate::<ChangeRecord<'static>>,
        ts: "Time of the change, or of its beginning.",
        process: "",
    },
    RecordSchema { name: "dns.trace/1", generate: generate::<Trace>, ts: "", process: "" },
    RecordSchema {
        name: "registrar.event/1",
        generate: generate::<RegistrarEventRecord>,
        ts: "",
        process: "",
    },
];

const SENDER_OR_RECEIVER: &str = "Process that sent the packet, or whose socket received it.";

fn generate<T: JsonSchema>() -> Value {
    // Describes serialized records: a field that is left out when empty is not required.
    let settings = schemars::generate::SchemaSettings::draft2020_12().for_serialize();
    let mut schema = SchemaGenerator::new(settings).into_root_schema_for::<T>();
    RecursiveTransform(no_null).transform(&mut schema);
    schema.into()
}

/// Removes `null` from the types: absent values are left out, never null.
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
    fn schemas_are_valid_and_named() {
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
