//! An Avro schema as the writer traverses it.

use apache_avro::Schema;
use apache_avro::schema::Name;
use serde_json::Value;
use std::collections::HashMap;
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

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub name: String,
    pub shape: Shape,
}

impl Shape {
    /// Parses a schema.
    ///
    /// # Errors
    /// Returns a sentence if it is not valid, or uses a part of Avro that dnscribe's schemas do not.
    pub(super) fn of(schema: &Value) -> Result<Self, String> {
        let schema = Schema::parse(schema).map_err(|error| error.to_string())?;
        Self::convert(&schema, &mut HashMap::new())
    }

    /// Converts a schema; `records` holds the records before it: Avro defines each once.
    fn convert(schema: &Schema, records: &mut HashMap<Name, Self>) -> Result<Self, String> {
        let boxed = |schema: &Schema, records: &mut _| Self::convert(schema, records).map(Box::new);
        Ok(match schema {
            Schema::Boolean => Self::Boolean,
            Schema::Long => Self::Long,
            Schema::Double => Self::Double,
            Schema::String => Self::Text,
            Schema::Array(array) => Self::Array(boxed(&array.items, records)?),
            Schema::Map(map) => Self::Map(boxed(&map.types, records)?),
            Schema::Union(union) => match union.variants() {
                [Schema::Null, choice] => Self::Optional(boxed(choice, records)?),
                _ => return Err(format!("{schema:?} is not a union of null and one type")),
            },
            Schema::Record(record) => {
                let fields = record.fields.iter().map(|field| {
                    let shape = Self::convert(&field.schema, records)?;
                    Ok(Field { name: field.name.clone(), shape })
                });
                let shape = Self::Record(fields.collect::<Result<Vec<_>, String>>()?.into());
                records.insert(record.name.clone(), shape.clone());
                shape
            }
            // A recursive record is not defined yet either.
            Schema::Ref { name } => {
                records.get(name).cloned().ok_or_else(|| format!("no type \"{name}\""))?
            }
            other => return Err(format!("{other:?} is not supported")),
        })
    }

    /// The type's name in error messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Long => "long",
            Self::Double => "double",
            Self::Text => "string",
            Self::Optional(shape) => shape.name(),
            Self::Array(_) => "array",
            Self::Map(_) => "map",
            Self::Record(_) => "record",
        }
    }
}
