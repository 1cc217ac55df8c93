use super::{add_json, push_json};
use proptest::prelude::*;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::net::IpAddr;

fn ours(value: &impl Serialize) -> String {
    let mut out = Vec::new();
    push_json(&mut out, value).unwrap();
    String::from_utf8(out).unwrap()
}

/// As `serde_json` writes it.
fn assert_same(value: &impl Serialize) {
    assert_eq!(ours(value), serde_json::to_string(value).unwrap());
}

/// Every shape that serde knows.
#[derive(Clone, Debug, Serialize)]
enum Shape {
    Unit,
    Newtype(Box<Shape>),
    Tuple(u8, Vec<Shape>),
    Struct { first: Option<Box<Shape>>, second: (i16, char), empty: () },
}

#[derive(Clone, Debug, Serialize)]
struct Record {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    maybe: Option<u64>,
    shown: Shown,
    inner: Inner,
    numbers: (f64, f32, i64, u128, i128),
    text: BTreeMap<String, Vec<bool>>,
    counts: BTreeMap<i32, IpAddr>,
    yes: BTreeMap<bool, Newtype>,
    value: Value,
    shape: Shape,
    nothing: Nothing,
    #[serde(flatten)]
    rest: BTreeMap<String, i8>,
}

#[derive(Clone, Debug, Serialize)]
struct Inner {}

#[derive(Clone, Debug, Serialize)]
struct Newtype(u16);

#[derive(Clone, Debug, Serialize)]
struct Nothing;

/// Written by way of `Display`, in pieces.
#[derive(Clone, Debug)]
struct Shown(Vec<String>);

impl Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| write!(f, "{piece}"))
    }
}

impl Serialize for Shown {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Text that is plain, that needs escapes, and that has more octets than letters.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9.-]{0,40}", "[\\x00-\\x7f]{0,40}", ".{0,20}"]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((text(), inner), 0..5)
                .prop_map(|members| Value::Object(Map::from_iter(members))),
        ]
    })
}

fn shape() -> impl Strategy<Value = Shape> {
    Just(Shape::Unit).prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|shape| Shape::Newtype(shape.into())),
            (any::<u8>(), prop::collection::vec(inner.clone(), 0..3))
                .prop_map(|(number, shapes)| Shape::Tuple(number, shapes)),
            (prop::option::of(inner), any::<(i16, char)>()).prop_map(|(first, second)| {
                Shape::Struct { first: first.map(Into::into), second, empty: () }
            }),
        ]
    })
}

fn record() -> impl Strategy<Value = Record> {
    let maps = (
        prop::collection::btree_map(text(), prop::collection::vec(any::<bool>(), 0..3), 0..4),
        prop::collection::btree_map(any::<i32>(), any::<IpAddr>(), 0..4),
        prop::collection::btree_map(any::<bool>(), any::<u16>().prop_map(Newtype), 0..3),
        prop::collection::btree_map("[a-z]{1,5}", any::<i8>(), 0..3),
    );
    let shown = prop::collection::vec(text(), 0..4).prop_map(Shown);
    let plain = (text(), any::<Option<u64>>(), shown, any::<(f64, f32, i64, u128, i128)>());
    (plain, maps, value(), shape()).prop_map(
        |((name, maybe, shown, numbers), (text, counts, yes, rest), value, shape)| Record {
            name,
            maybe,
            shown,
            inner: Inner {},
            numbers,
            text,
            counts,
            yes,
            value,
            shape,
            nothing: Nothing,
            rest,
        },
    )
}

proptest! {
    #[test]
    fn writes_what_serde_json_writes(record in record()) {
        assert_same(&record);
    }
}

#[test]
fn escapes_every_octet_as_serde_json_does() {
    for letter in (0..=0x17F).filter_map(char::from_u32) {
        assert_same(&format!("before {letter} behind"));
        assert_same(&Shown(vec!["before".into(), letter.into(), "behind".into()]));
    }
    for number in [0.0, -0.0, 1e-7, 1e300, f64::NAN, f64::INFINITY] {
        assert_same(&number);
    }
}

#[test]
fn adds_to_an_object() {
    let joined = |first: &Value, second: &Value| {
        let mut out = ours(first).into_bytes();
        add_json(&mut out, second).map(|()| String::from_utf8(out).unwrap()).ok()
    };
    let (none, one, two) = (json!({}), json!({"a": {}}), json!({"b": 1, "c": []}));
    assert_eq!(joined(&one, &two).unwrap(), r#"{"a":{},"b":1,"c":[]}"#);
    assert_eq!(joined(&one, &none).unwrap(), r#"{"a":{}}"#);
    assert_eq!(joined(&none, &one).unwrap(), r#"{"a":{}}"#);
    assert_eq!(joined(&none, &none).unwrap(), "{}");
    assert_eq!((joined(&json!([]), &one), joined(&one, &json!(1))), (None, None));
}

#[test]
fn refuses_keys_that_are_no_text() {
    let wrong = BTreeMap::from([(vec![1], 2)]);
    assert!(serde_json::to_string(&wrong).is_err());
    assert!(push_json(&mut Vec::new(), &wrong).is_err());
    assert!(push_json(&mut Vec::new(), &BTreeMap::from([(Some("a"), 1), (None, 2)])).is_err());
}
