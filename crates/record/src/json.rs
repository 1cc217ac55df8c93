//! JSON helpers: borrowed strings, parts of records to read, and joining the two parts of a record that are rendered at
//! different times.

use serde::ser::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::Error;
use std::borrow::Cow;
use std::ops::Deref;

/// A JSON string that is copied only if it contains escapes. Serde borrows inside an `Option` or a
/// list only through such a wrapper.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct JsonText<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl Deref for JsonText<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// A process, as programs read it from a record.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct ProcessView<'a> {
    /// Process id.
    pub pid: u32,
    /// Name of the process.
    #[serde(borrow)]
    pub comm: JsonText<'a>,
}

/// A container, as programs read it from a record.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct ContainerView<'a> {
    /// Container id.
    #[serde(borrow)]
    pub id: JsonText<'a>,
}

/// A Kubernetes pod, as programs read it from a record.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct PodView<'a> {
    /// Namespace of the pod.
    #[serde(borrow)]
    pub namespace: JsonText<'a>,
    /// Name of the pod.
    pub pod: JsonText<'a>,
}

/// Appends the fields of `more` to the JSON object at the end of `out`.
///
/// # Errors
/// Serialization fails, or one of the two is not an object. Part of `more` may then have been
/// written.
pub fn add_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, more: &T) -> Result<(), Error> {
    let Some(b'}') = out.pop() else { return Err(Error::custom("no JSON object to append to")) };
    let is_empty = out.last() == Some(&b'{');
    let start = out.len();
    serde_json::to_writer(&mut *out, more)?;
    match out.get(start..) {
        Some([b'{', b'}']) => {
            out.remove(start);
        }
        Some([b'{', ..]) if is_empty => {
            out.remove(start);
        }
        Some([b'{', ..]) => out[start] = b',',
        _ => return Err(Error::custom("the value to append is not a JSON object")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn adds_to_an_object() {
        let joined = |first: &Value, second: &Value| {
            let mut out = first.to_string().into_bytes();
            add_json(&mut out, second).map(|()| String::from_utf8(out).unwrap()).ok()
        };
        let (none, one, two) = (json!({}), json!({"a": {}}), json!({"b": 1, "c": []}));
        assert_eq!(joined(&one, &two).unwrap(), r#"{"a":{},"b":1,"c":[]}"#);
        assert_eq!(joined(&one, &none).unwrap(), r#"{"a":{}}"#);
        assert_eq!(joined(&none, &one).unwrap(), r#"{"a":{}}"#);
        assert_eq!(joined(&none, &none).unwrap(), "{}");
        assert_eq!((joined(&json!([]), &one), joined(&one, &json!(1))), (None, None));
    }
}
