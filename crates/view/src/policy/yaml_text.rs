//! Writes JSON as YAML in block style. Texts that YAML might read as something else are quoted as in JSON, which YAML allows.

use serde_json::Value;
use std::fmt::Write as _;

/// Returns a document.
pub fn document(value: &Value) -> String {
    let mut out = String::new();
    write_value(&mut out, value, 0);
    out
}

fn write_value(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (number, (key, value)) in map.iter().enumerate() {
                // The first key follows the dash of its list.
                let pad = if number == 0 && out.ends_with("- ") { 0 } else { indent };
                let _ = write!(out, "{:pad$}{}:", "", scalar(key));
                write_below(out, value, indent);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for value in list {
                let _ = write!(out, "{:indent$}- ", "");
                match value {
                    Value::Object(map) if !map.is_empty() => write_value(out, value, indent + 2),
                    _ => {
                        let _ = writeln!(out, "{}", flow(value));
                    }
                }
            }
        }
        other => {
            let _ = writeln!(out, "{}", flow(other));
        }
    }
}

/// Writes the value of a key.
fn write_below(out: &mut String, value: &Value, indent: usize) {
    let is_block = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => false,
    };
    if is_block {
        out.push('\n');
        write_value(out, value, indent + 2);
    } else {
        let _ = writeln!(out, " {}", flow(value));
    }
}

/// Returns a value in one line.
fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        other => other.to_string(),
    }
}

/// Returns a text, quoted unless it is a plain word that begins with a letter.
fn scalar(text: &str) -> String {
    let is_word = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|one| one.is_ascii_alphanumeric() || "-_./".contains(one));
    let is_reserved = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"]
        .contains(&&*text.to_ascii_lowercase());
    if is_word && !is_reserved { text.to_owned() } else { Value::from(text).to_string() }
}
