//! Columns of a stream's records, made of their JSON Schema by the rules of the archive (`docs/archive.md`): every
//! column may be null, so that files of several versions can be read together.

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use dnscribe_record::json_schema;
use serde_json::Value;
use std::sync::Arc;

/// Returns the columns of records with a schema such as `dns.transaction/1`; `None` if there is no such schema.
pub(super) fn schema(name: &str) -> Option<SchemaRef> {
    let schema = json_schema(name)?;
    let definitions = schema.get("$defs").unwrap_or(&Value::Null);
    Some(Arc::new(Schema::new(fields(&schema, definitions)?)))
}

fn fields(object: &Value, definitions: &Value) -> Option<Fields> {
    let properties = object.get("properties")?.as_object()?;
    let column = |(name, schema)| Some(Field::new(name, kind(schema, definitions)?, true));
    properties.iter().map(column).collect()
}

fn kind(schema: &Value, definitions: &Value) -> Option<DataType> {
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let (_, name) = target.rsplit_once('/')?;
        return kind(definitions.get(name)?, definitions);
    }
    if schema.get("const").is_some() {
        return Some(DataType::Utf8);
    }
    let is_time = schema.get("format").and_then(Value::as_str) == Some("date-time");
    let fits_int = || schema.get("maximum")?.as_i64().filter(|most| *most <= i32::MAX.into());
    Some(match schema.get("type")?.as_str()? {
        "string" if is_time => DataType::Timestamp(TimeUnit::Nanosecond, Some("+00:00".into())),
        "string" => DataType::Utf8,
        "integer" if fits_int().is_some() => DataType::Int32,
        "integer" => DataType::Int64,
        "number" => DataType::Float64,
        "boolean" => DataType::Boolean,
        "array" => {
            let items = kind(schema.get("items")?, definitions)?;
            DataType::List(Arc::new(Field::new("element", items, true)))
        }
        "object" if schema.get("properties").is_some() => {
            DataType::Struct(fields(schema, definitions)?)
        }
        "object" => {
            let values = kind(schema.get("additionalProperties")?, definitions)?;
            let key = Field::new("key", DataType::Utf8, false);
            let entry =
                DataType::Struct(Fields::from([key, Field::new("value", values, true)].to_vec()));
            DataType::Map(Arc::new(Field::new("key_value", entry, false)), false)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Stream;

    #[test]
    fn every_stream_has_columns() {
        for stream in Stream::ALL {
            let schema = schema(stream.schema()).unwrap();
            assert!(schema.fields().iter().all(|field| field.is_nullable()), "{stream:?}");
            let ts = schema.field_with_name("ts").unwrap().data_type();
            assert!(matches!(ts, DataType::Timestamp(..)), "{stream:?}: {ts}");
        }
        assert!(schema("dns.other/1").is_none());
    }
}
