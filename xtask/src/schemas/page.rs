//! The page with every field of every record, from the JSON schemas.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Records that have all fields of another one.
const EXTENDED: [(&str, &str); 2] =
    [("dns.enriched/1", "dns.transaction/1"), ("dns.fleet/1", "dns.window/1")];

/// Bound for schemas that contain themselves.
const MAX_DEPTH: usize = 6;

const INTRODUCTION: &str = "# Fields of all records

Every field of every record, from the [schemas](../schemas). `a.b` is a field of an object, `a[].b` of each item of a list,
`a.*.b` of each value of a map. Fields that are not `always` there are left out where there is nothing to say: empty lists, maps
and texts, and what is not known. What the fields mean together is in [records](records.md). ECS: names
in the Elastic Common Schema ([ECS](ecs.md)).

This page is generated from the code: `cargo xtask bless`.
";

/// A row of the table.
#[derive(PartialEq)]
struct Field {
    path: String,
    kind: String,
    is_always_there: bool,
    /// Its names in the Elastic Common Schema.
    ecs: String,
    description: String,
}

/// Writes the page. `schemas` are JSON schemas by the name of their record.
pub(super) fn page(schemas: &BTreeMap<String, Value>) -> String {
    let mut page = INTRODUCTION.to_owned();
    let fields: BTreeMap<&str, Vec<Field>> =
        schemas.iter().map(|(name, schema)| (name.as_str(), all_fields(schema))).collect();
    for (name, schema) in schemas {
        let base = EXTENDED.iter().find(|(extended, _)| extended == name).map(|(_, base)| *base);
        let known: &[Field] = base.and_then(|base| fields.get(base)).map_or(&[], Vec::as_slice);
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## {name}\n\n{}\n", sentences(schema));
        if let Some(base) = base {
            let _ = write!(page, "\nBeside the fields of `{base}`:\n");
        }
        page.push_str("\n| field | type | always | | ECS |\n|---|---|---|---|---|\n");
        for field in fields[name.as_str()].iter().filter(|field| !known.contains(field)) {
            let Field { path, kind, is_always_there, ecs, description } = field;
            let always = if *is_always_there { "yes" } else { "" };
            let _ = writeln!(page, "| `{path}` | {kind} | {always} | {description} | {ecs} |");
        }
    }
    page
}

fn all_fields(schema: &Value) -> Vec<Field> {
    let mut fields = Vec::new();
    add(schema, schema, "", 0, &mut fields);
    fields
}

/// Adds the fields of an object, and those of the objects in it.
fn add(root: &Value, object: &Value, prefix: &str, depth: usize, fields: &mut Vec<Field>) {
    let is_required = |name: &str| {
        object["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name))
    };
    for (name, field) in object["properties"].as_object().into_iter().flatten() {
        let (kind, suffix, inner) = describe(root, field);
        let path = format!("{prefix}{name}");
        let names = field["x-ecs"].as_array().into_iter().flatten().filter_map(Value::as_str);
        fields.push(Field {
            path: path.clone(),
            kind,
            is_always_there: is_required(name),
            ecs: names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
            description: sentences(field),
        });
        if depth < MAX_DEPTH {
            add(root, inner, &format!("{path}{suffix}."), depth + 1, fields);
        }
    }
}

/// Returns the type of a field, how the path of what it contains goes on, and the schema of that.
fn describe<'a>(root: &'a Value, field: &'a Value) -> (String, String, &'a Value) {
    let field = resolve(root, field);
    if let Some(constant) = field["const"].as_str() {
        return (format!("`{constant}`"), String::new(), field);
    }
    match field["type"].as_str().unwrap_or_default() {
        "array" => {
            let (kind, suffix, inner) = describe(root, &field["items"]);
            (format!("list of {kind}"), format!("[]{suffix}"), inner)
        }
        "object" if field["additionalProperties"].is_object() => {
            let (kind, suffix, inner) = describe(root, &field["additionalProperties"]);
            (format!("map of {kind}"), format!(".*{suffix}"), inner)
        }
        "string" if field["format"] == "date-time" => ("time".to_owned(), String::new(), field),
        "" => ("any".to_owned(), String::new(), field),
        kind => (kind.to_owned(), String::new(), field),
    }
}

/// Follows a reference to a definition of the same schema.
fn resolve<'a>(root: &'a Value, field: &'a Value) -> &'a Value {
    let reference = field["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    reference.and_then(|pointer| root.pointer(pointer)).unwrap_or(field)
}

/// Returns a description in one line, as a cell of a table.
fn sentences(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_of_lists_maps_and_definitions_have_paths() {
        let base = json!({
            "description": "A record.",
            "properties": {
                "schema": { "const": "a/1" },
                "ts": {
                    "type": "string", "format": "date-time", "description": "When it\nwas.", "x-ecs": ["@timestamp", "b"],
                },
                "all": { "type": "array", "items": { "$ref": "#/$defs/One" } },
                "by": { "type": "object", "additionalProperties": { "$ref": "#/$defs/One" } },
            },
            "required": ["schema", "ts"],
            "$defs": { "One": { "type": "object", "properties": { "n": { "type": "integer", "description": "a | b" } } } },
        });
        let schemas = BTreeMap::from([("a/1".to_owned(), base)]);
        let page = page(&schemas);
        let (_, rows) = page.split_once("|---|---|---|---|---|\n").unwrap();
        let expected = "| `schema` | `a/1` | yes |  |  |\n\
            | `ts` | time | yes | When it was. | `@timestamp`, `b` |\n\
            | `all` | list of object |  |  |  |\n| `all[].n` | integer |  | a \\| b |  |\n\
            | `by` | map of object |  |  |  |\n| `by.*.n` | integer |  | a \\| b |  |\n";
        assert_eq!(rows, expected);
    }
}
