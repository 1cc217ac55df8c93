//! Records as JSON, begun in one place and ended in another.

use serde::Serialize;
use serde::ser::Error as _;
use serde_json::Error;

/// Adds the fields of another object to the one that `out` ends with.
///
/// # Errors
/// As with `serde_json`, and where one of the two is no object. Then a part of it may have been written.
pub(crate) fn add_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, more: &T) -> Result<(), Error> {
    let Some(b'}') = out.pop() else { return Err(Error::custom("there is no object to add to")) };
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
        _ => return Err(Error::custom("what is to be added is no object")),
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
