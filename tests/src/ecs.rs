//! Elastic's own definition of the Elastic Common Schema.

use crate::{cache, environment, shell};
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Must change whenever `tests/ecs/package-lock.json` does.
const VERSION: &str = "9.4.0";

/// The definition: every field by its path.
pub struct Definition(Value);

impl Definition {
    /// Loads it.
    ///
    /// # Errors
    /// The package cannot be downloaded or read.
    pub fn load() -> Result<Self> {
        let print = "console.log(JSON.stringify(require('@elastic/ecs').EcsFlat))";
        let mut node = Command::new("node");
        let output = shell::output(node.args(["-e", print]).current_dir(modules()?))?;
        Ok(Self(serde_json::from_slice(&output.stdout).context("the definition of ECS")?))
    }

    /// Whether there is a field of this path.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.0.get(path).is_some()
    }

    /// Returns what is wrong with a document, by path: fields that do not exist, types, and values that are not allowed.
    #[must_use]
    pub fn problems(&self, document: &Value) -> Vec<String> {
        let mut problems = Vec::new();
        self.check("", document, &mut problems);
        problems
    }

    fn check(&self, path: &str, value: &Value, problems: &mut Vec<String>) {
        // Fields of an organization's own have a name of their own.
        if path == "dnscribe" {
            return;
        }
        let field = self.0.get(path);
        match (field, value) {
            (None, Value::Object(object)) if !object.is_empty() => {
                for (name, inner) in object {
                    let inner_path =
                        if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    self.check(&inner_path, inner, problems);
                }
            }
            (None, _) => problems.push(format!("{path} is no field")),
            (Some(field), value) => {
                let is_list = field["normalize"].as_array().is_some_and(|all| !all.is_empty());
                match value {
                    Value::Array(items) if is_list => {
                        problems.extend(items.iter().filter_map(|item| wrong(path, field, item)));
                    }
                    _ if is_list => problems.push(format!("{path} is no list: {value}")),
                    _ => problems.extend(wrong(path, field, value)),
                }
            }
        }
    }
}

/// Returns what is wrong with one value of a field.
fn wrong(path: &str, field: &Value, value: &Value) -> Option<String> {
    let text = value.as_str();
    let is_right = match field["type"].as_str().unwrap_or_default() {
        "keyword" | "wildcard" | "constant_keyword" | "match_only_text" | "text" => text.is_some(),
        "ip" => text.is_some_and(|text| text.parse::<IpAddr>().is_ok()),
        "long" | "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "date" => text.is_some_and(|text| text.contains('T') && text.ends_with('Z')),
        "object" => value.is_object(),
        _ => false,
    };
    let names = |list: &str, name: fn(&Value) -> &Value| {
        let all = field[list].as_array().filter(|all| !all.is_empty());
        all.is_none_or(|all| all.iter().any(|one| name(one) == value))
    };
    let is_allowed =
        names("allowed_values", |one| &one["name"]) && names("expected_values", |one| one);
    (!is_right || !is_allowed).then(|| format!("{path} cannot be {value}"))
}

/// Downloads the package from npm if it is missing, so that tests need not.
///
/// # Errors
/// It cannot be downloaded.
pub fn prepare() -> Result<()> {
    modules().map(drop)
}

fn modules() -> Result<PathBuf> {
    let sources = environment::workspace().join("tests/ecs");
    cache::folder("ecs", VERSION, |scratch: &Path| cache::npm(scratch, &sources))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn finds_what_is_wrong() {
        let definition = Definition(json!({
            "event.kind": { "type": "keyword", "normalize": [], "allowed_values": [{ "name": "event" }] },
            "related.ip": { "type": "ip", "normalize": ["array"] },
            "labels": { "type": "object", "normalize": [] },
        }));
        let right = json!({
            "event": { "kind": "event" }, "related": { "ip": ["::1"] }, "labels": { "a": "b" },
            "dnscribe": { "any": 1 },
        });
        assert_eq!(definition.problems(&right), [""; 0]);
        for wrong in [
            json!({ "event": { "kind": "other" } }),
            json!({ "event": { "kind": 1 } }),
            json!({ "event": { "sort": "event" } }),
            json!({ "event": {} }),
            json!({ "related": { "ip": "::1" } }),
            json!({ "related": { "ip": ["h:1"] } }),
            json!({ "message": "words" }),
        ] {
            assert_eq!(definition.problems(&wrong).len(), 1, "{wrong}");
        }
    }
}
