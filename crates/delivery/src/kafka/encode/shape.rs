//! An Avro schema as the writer traverses it.

use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The type of a value: the part of Avro (1.11) that [`avro_schema`] uses.
///
/// [`avro_schema`]: dnscribe_record::avro_schema
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    Boolean,
    Long,
    Double,
    Text,
    /// A union of null and another type, in this order.
    Optional(Box<Self>),
    Array(Box<Self>),
    Map(Box<Self>),
    Record(Arc<[Field]>),
}

/// A field of a record.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub name: String,
    pub shape: Shape,
}

impl Shape {
    /// Converts a schema.
    ///
    /// # Errors
    /// Returns a sentence if it uses a part of Avro that dnscribe's schemas do not.
    pub(super) fn of(schema: &Value) -> Result<Self, String> {
        ShapeParser::default().shape(schema)
    }
}

/// The records defined so far, by name without namespace: Avro defines each record once.
#[derive(Default)]
struct ShapeParser(BTreeMap<String, Shape>);

impl ShapeParser {
    fn shape(&mut self, schema: &Value) -> Result<Shape, String> {
        match schema {
            Value::String(name) => self.named(name),
            Value::Array(choices) => match choices.as_slice() {
                [Value::String(null), choice] if null == "null" => {
                    Ok(Shape::Optional(self.shape(choice)?.into()))
                }
                _ => Err(format!("{schema} is not a union of null and one type")),
            },
            Value::Object(fields) => match fields.get("type") {
                Some(Value::String(kind)) => match kind.as_str() {
                    "array" => Ok(Shape::Array(self.part(schema, "items")?.into())),
                    "map" => Ok(Shape::Map(self.part(schema, "values")?.into())),
                    "record" => self.record(schema),
                    name => self.named(name),
                },
                _ => Err(format!("{schema} has no type")),
            },
            _ => Err(format!("{schema} is not a schema")),
        }
    }

    fn part(&mut self, schema: &Value, key: &str) -> Result<Shape, String> {
        self.shape(schema.get(key).ok_or_else(|| format!("{schema} has no {key}"))?)
    }

    fn named(&self, name: &str) -> Result<Shape, String> {
        match name {
            "boolean" => Ok(Shape::Boolean),
            "long" => Ok(Shape::Long),
            "double" => Ok(Shape::Double),
            "string" => Ok(Shape::Text),
            // A recursive record is not defined yet either.
            record => {
                let record = record.rsplit('.').next().unwrap_or(record);
                self.0.get(record).cloned().ok_or_else(|| format!("no type \"{record}\""))
            }
        }
    }

    fn record(&mut self, schema: &Value) -> Result<Shape, String> {
        let name = text(schema, "name")?;
        let fields = schema.get("fields").and_then(Value::as_array);
        let fields = fields.ok_or_else(|| format!("record {name} has no fields"))?;
        let fields = fields.iter().map(|field| {
            Ok(Field { name: text(field, "name")?.to_owned(), shape: self.part(field, "type")? })
        });
        let shape = Shape::Record(fields.collect::<Result<Vec<_>, String>>()?.into());
        self.0.insert(name.to_owned(), shape.clone());
        Ok(shape)
    }
}

fn text<'a>(schema: &'a Value, key: &str) -> Result<&'a str, String> {
    let text = schema.get(key).and_then(Value::as_str);
    text.ok_or_else(|| format!("{schema} has no {key}"))
}
