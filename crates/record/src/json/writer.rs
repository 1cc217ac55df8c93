//! Writes records as JSON (RFC 8259), byte for byte as `serde_json` does, in about half the time.
//!
//! [`record_struct`](crate::record_struct) writes the fields of a struct by the same attributes that serde reads, one
//! behind the other: a flattened struct costs nothing, and the names of fields are constants.

use crate::EventId;
use crate::time::Timestamp;
use dnscribe_dns::{Hex, OptionText, hex_digits};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};
use std::net::IpAddr;

/// Bytes of which those up to `end` are written, so that most values need no call to grow the list and none to copy.
#[derive(Debug)]
pub struct JsonBuffer<'a> {
    bytes: &'a mut Vec<u8>,
    end: usize,
}

impl<'a> JsonBuffer<'a> {
    /// Least number of bytes to grow by.
    const GROWTH: usize = 1 << 10;

    fn new(bytes: &'a mut Vec<u8>) -> Self {
        let end = bytes.len();
        Self { bytes, end }
    }

    fn finish(self) {
        self.bytes.truncate(self.end);
    }

    /// The next bytes to write.
    #[inline]
    fn next(&mut self, length: usize) -> &mut [u8] {
        let start = self.end;
        self.end += length;
        if self.bytes.len() < self.end {
            self.grow();
        }
        &mut self.bytes[start..self.end]
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        self.bytes.resize(self.end + Self::GROWTH, 0);
    }

    #[inline]
    fn push(&mut self, byte: u8) {
        self.next(1)[0] = byte;
    }

    /// Appends bytes that need no escape, and of which the compiler knows the number.
    #[inline]
    fn push_known(&mut self, bytes: &[u8]) {
        self.next(bytes.len()).copy_from_slice(bytes);
    }

    /// Appends a few bytes that need no escape.
    #[inline]
    fn push_digits(&mut self, bytes: &[u8]) {
        let _ = copy(bytes, self.next(bytes.len()));
    }

    /// Appends a field. `key` is its name in quotes, with a colon.
    #[inline]
    pub fn field<T: JsonValue + ?Sized>(&mut self, key: &'static str, value: &T) {
        if !value.is_absent() {
            self.push_known(key.as_bytes());
            value.write(self);
            self.push(b',');
        }
    }

    /// Appends an object.
    #[inline]
    pub fn object(&mut self, fields: impl FnOnce(&mut Self)) {
        self.push(b'{');
        fields(self);
        self.close(b'{', b'}');
    }

    /// Appends a list, whose items may be made while it is written.
    #[inline]
    pub fn list<T: JsonValue>(&mut self, items: impl Iterator<Item = T>) {
        self.push(b'[');
        for item in items {
            item.write(self);
            self.push(b',');
        }
        self.close(b'[', b']');
    }

    /// Closes a list or object, whose last part is followed by a comma; it may have none.
    #[inline]
    fn close(&mut self, open: u8, close: u8) {
        match self.end.checked_sub(1).and_then(|last| self.bytes.get_mut(last)) {
            Some(last) if *last != open => *last = close,
            _ => self.push(close),
        }
    }

    /// Appends a text in quotes.
    #[inline]
    fn text(&mut self, text: &str) {
        let start = self.end;
        let [open, there @ .., close] = self.next(text.len() + 2) else { return };
        (*open, *close) = (b'"', b'"');
        if !copy(text.as_bytes(), there) {
            self.end = start + 1;
            self.push_escaped(text.as_bytes());
            self.push(b'"');
        }
    }

    fn displayed(&mut self, value: &impl Display) {
        self.push(b'"');
        // Writing to memory does not fail.
        let _ = write!(self, "{value}");
        self.push(b'"');
    }

    #[inline(never)]
    fn push_escaped(&mut self, text: &[u8]) {
        for byte in text {
            let short = match *byte {
                b'"' | b'\\' => *byte,
                0x08 => b'b',
                b'\t' => b't',
                b'\n' => b'n',
                0x0C => b'f',
                b'\r' => b'r',
                control @ 0..b' ' => {
                    let digit = |value: u8| b"0123456789abcdef"[usize::from(value)];
                    self.push_known(b"\\u00");
                    self.push_known(&[digit(control >> 4), digit(control & 15)]);
                    continue;
                }
                plain => {
                    self.push(plain);
                    continue;
                }
            };
            self.push_known(&[b'\\', short]);
        }
    }
}

/// Escapes what is displayed, piece by piece.
impl Write for JsonBuffer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let start = self.end;
        if !copy(text.as_bytes(), self.next(text.len())) {
            self.end = start;
            self.push_escaped(text.as_bytes());
        }
        Ok(())
    }
}

/// Copies bytes, and returns whether none of them needs an escape. Both have the same length.
#[inline]
fn copy(from: &[u8], to: &mut [u8]) -> bool {
    // The last word overlaps the one before it.
    if let Some([first, last]) = ends::<8>(from, to) {
        let mut plain =
            plain_bits(u64::from_ne_bytes(first)) & plain_bits(u64::from_ne_bytes(last));
        if from.len() > 16 {
            for (word, there) in from.as_chunks::<8>().0.iter().zip(to.as_chunks_mut::<8>().0) {
                *there = *word;
                plain &= plain_bits(u64::from_ne_bytes(*word));
            }
        }
        return plain == EACH_HIGHEST;
    }
    if let Some(halves) = ends::<4>(from, to) {
        let [first, last] = halves.map(|half| u64::from(u32::from_ne_bytes(half)));
        return plain_bits(first | last << 32) == EACH_HIGHEST;
    }
    let mut plain = true;
    for (byte, there) in from.iter().zip(to) {
        *there = *byte;
        plain &= *byte >= b' ' && !matches!(byte, b'"' | b'\\');
    }
    plain
}

/// Copies the first and the last `N` bytes, which may overlap, if there are as many, and returns them.
#[inline]
fn ends<const N: usize>(from: &[u8], to: &mut [u8]) -> Option<[[u8; N]; 2]> {
    let [first, last] = [*from.first_chunk()?, *from.last_chunk()?];
    *to.first_chunk_mut()? = first;
    *to.last_chunk_mut()? = last;
    Some([first, last])
}

const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

const EACH_HIGHEST: u64 = each(0x80);

/// Sets the highest bit of each of eight bytes that needs no escape. A byte above 0x7F never does; the sums carry nothing
/// into the next byte, since its highest bit is left out.
#[inline]
const fn plain_bits(word: u64) -> u64 {
    let low = word & each(0x7F);
    // The highest bit of a byte is set if the byte is at least a space, is not the quote, is not the backslash.
    let visible = low + each(0x80 - b' ');
    let not_quote = (low ^ each(b'"')) + each(0x7F);
    let not_backslash = (low ^ each(b'\\')) + each(0x7F);
    (visible & not_quote & not_backslash | word) & EACH_HIGHEST
}

/// A value of a field.
pub trait JsonValue {
    /// Returns whether a field with this value is left out.
    #[inline]
    fn is_absent(&self) -> bool {
        false
    }

    /// Appends the value.
    fn write(&self, out: &mut JsonBuffer<'_>);
}

/// The fields of an object, in order.
pub trait JsonFields {
    /// Appends the fields, each followed by a comma.
    fn write_fields(&self, out: &mut JsonBuffer<'_>);
}

/// Appends an object.
#[inline]
pub fn write_json(out: &mut Vec<u8>, fields: &impl JsonFields) {
    let mut buffer = JsonBuffer::new(out);
    buffer.object(|out| fields.write_fields(out));
    buffer.finish();
}

/// Appends an object of which the first part is rendered: `begun` is an object, or empty.
#[inline]
pub fn extend_json(out: &mut Vec<u8>, begun: &[u8], fields: &impl JsonFields) {
    let Some(begun) = begun.strip_suffix(b"}") else { return write_json(out, fields) };
    out.extend_from_slice(begun);
    let mut buffer = JsonBuffer::new(out);
    if begun != b"{" {
        buffer.push(b',');
    }
    fields.write_fields(&mut buffer);
    buffer.close(b'{', b'}');
    buffer.finish();
}

macro_rules! integers {
    ($($type:ty),+) => {$(
        impl JsonValue for $type {
            #[inline]
            fn write(&self, out: &mut JsonBuffer<'_>) {
                match u8::try_from(*self) {
                    // Most counts.
                    Ok(digit @ 0..=9) => out.push(b'0' + digit),
                    _ => out.push_digits(itoa::Buffer::new().format(*self).as_bytes()),
                }
            }
        }
    )+};
}

integers! { u8, u16, u32, u64, usize }

impl JsonValue for f64 {
    /// A number that is not finite is `null`.
    fn write(&self, out: &mut JsonBuffer<'_>) {
        if self.is_finite() {
            out.push_digits(zmij::Buffer::new().format_finite(*self).as_bytes());
        } else {
            out.push_known(b"null");
        }
    }
}

impl JsonValue for bool {
    #[inline]
    fn write(&self, out: &mut JsonBuffer<'_>) {
        if *self {
            out.push_known(b"true");
        } else {
            out.push_known(b"false");
        }
    }
}

impl JsonValue for str {
    #[inline]
    fn write(&self, out: &mut JsonBuffer<'_>) {
        out.text(self);
    }
}

impl<T: JsonValue + ?Sized> JsonValue for &T {
    #[inline]
    fn is_absent(&self) -> bool {
        (**self).is_absent()
    }

    #[inline]
    fn write(&self, out: &mut JsonBuffer<'_>) {
        (**self).write(out);
    }
}

impl JsonValue for String {
    fn write(&self, out: &mut JsonBuffer<'_>) {
        out.text(self);
    }
}

impl JsonValue for Cow<'_, str> {
    #[inline]
    fn write(&self, out: &mut JsonBuffer<'_>) {
        out.text(self);
    }
}

/// Absent without a value.
impl<T: JsonValue> JsonValue for Option<T> {
    #[inline]
    fn is_absent(&self) -> bool {
        self.is_none()
    }

    #[inline]
    fn write(&self, out: &mut JsonBuffer<'_>) {
        match self {
            Some(value) => value.write(out),
            None => out.push_known(b"null"),
        }
    }
}

/// Absent without items.
impl<T: JsonValue> JsonValue for [T] {
    fn is_absent(&self) -> bool {
        self.is_empty()
    }

    fn write(&self, out: &mut JsonBuffer<'_>) {
        out.list(self.iter());
    }
}

impl<T: JsonValue> JsonValue for Vec<T> {
    fn is_absent(&self) -> bool {
        self.is_empty()
    }

    fn write(&self, out: &mut JsonBuffer<'_>) {
        self.as_slice().write(out);
    }
}

impl JsonValue for BTreeMap<String, String> {
    fn write(&self, out: &mut JsonBuffer<'_>) {
        out.object(|out| {
            for (name, value) in self {
                out.text(name);
                out.push(b':');
                out.text(value);
                out.push(b',');
            }
        });
    }
}

impl JsonValue for IpAddr {
    #[inline]
    fn write(&self, out: &mut JsonBuffer<'_>) {
        match self {
            Self::V6(address) => out.displayed(address),
            Self::V4(address) => {
                out.push(b'"');
                for octet in address.octets() {
                    octet.write(out);
                    out.push(b'.');
                }
                out.close(b'"', b'"');
            }
        }
    }
}

impl JsonValue for EventId {
    #[inline]
    fn write(&self, out: &mut JsonBuffer<'_>) {
        let [open, digits @ .., close] = out.next(34) else { return };
        (*open, *close) = (b'"', b'"');
        let _ = hex_digits(digits, &self.0.to_be_bytes());
    }
}

impl JsonValue for Timestamp {
    #[inline]
    fn write(&self, out: &mut JsonBuffer<'_>) {
        out.push(b'"');
        out.push_known(&self.rfc3339());
        out.push(b'"');
    }
}

impl JsonValue for Hex<'_> {
    fn write(&self, out: &mut JsonBuffer<'_>) {
        out.displayed(self);
    }
}

impl JsonValue for OptionText<'_> {
    fn write(&self, out: &mut JsonBuffer<'_>) {
        out.displayed(self);
    }
}

/// Declares a struct whose fields are written as JSON by their attributes for serde: `flatten` and `rename`. A field is left
/// out as its type says ([`JsonValue::is_absent`]), as serde does by its own attributes.
#[macro_export]
macro_rules! record_struct {
    ($(#[$about:meta])* pub struct $name:ident $(<$life:lifetime>)? { $(
        $(#[$($attribute:tt)*])* pub $field:ident: $type:ty,
    )+ }) => {
        $(#[$about])*
        pub struct $name $(<$life>)? { $($(#[$($attribute)*])* pub $field: $type),+ }

        impl $(<$life>)? $crate::JsonFields for $name $(<$life>)? {
            #[inline]
            fn write_fields(&self, out: &mut $crate::JsonBuffer<'_>) {
                $($crate::record_field!(out, &self.$field, $field, $([$($attribute)*])*);)+
            }
        }

        impl $(<$life>)? $crate::JsonValue for $name $(<$life>)? {
            #[inline]
            fn write(&self, out: &mut $crate::JsonBuffer<'_>) {
                out.object(|out| $crate::JsonFields::write_fields(self, out));
            }
        }
    };
}

/// Writes a field by its attributes.
#[doc(hidden)]
#[macro_export]
macro_rules! record_field {
    ($out:ident, $value:expr, $name:ident, [serde(flatten)] $($rest:tt)*) => {
        $crate::JsonFields::write_fields($value, $out)
    };
    ($out:ident, $value:expr, $name:ident, [serde(rename = $key:literal)] $($rest:tt)*) => {
        $out.field(concat!("\"", $key, "\":"), $value)
    };
    ($out:ident, $value:expr, $name:ident, [$($other:tt)*] $($rest:tt)*) => {
        $crate::record_field!($out, $value, $name, $($rest)*)
    };
    ($out:ident, $value:expr, $name:ident,) => {
        $out.field(concat!("\"", stringify!($name), "\":"), $value)
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::OptionList;
    use crate::{
        AnswerList, ContainerFields, DnstapFields, EdeFields, EdnsFields, FlagNames, IcmpFields,
        IntelMatchFields, K8sFields, LostAtFields, MaskingFields, MessageBody, PathFields,
        PolicyFields, ProcessFields, QuestionFields, RecordHead, RecordTail, TransactionBody,
        TransactionContext,
    };
    use dnscribe_dns::{Answer, Answers, Flags, Tlvs};
    use proptest::prelude::*;
    use serde::Serialize;

    fn written(record: &impl JsonFields) -> String {
        // What is behind the end of the list is not read.
        let mut out = b"{}before ".to_vec();
        write_json(&mut out, record);
        String::from_utf8(out.split_off(9)).unwrap()
    }

    fn assert_same<T: JsonFields + Serialize>(record: &T) {
        assert_eq!(written(record), serde_json::to_string(record).unwrap());
    }

    record_struct! {
        /// A field of each kind.
        #[serde_with::skip_serializing_none]
        #[derive(Serialize)]
        pub struct Kinds<'a> {
            #[serde(flatten)]
            pub first: Inner,
            pub text: &'a str,
            pub number: f64,
            pub small: u8,
            pub large: u64,
            pub address: Option<IpAddr>,
            pub labels: &'a BTreeMap<String, String>,
            #[serde(flatten)]
            pub last: Inner2,
        }
    }

    record_struct! {
        /// An inner struct.
        #[derive(Serialize)]
        pub struct Inner {
            #[serde(rename = "type")]
            pub kind: bool,
        }
    }

    record_struct! {
        /// An inner struct that may have no field.
        #[serde_with::skip_serializing_none]
        #[derive(Serialize)]
        pub struct Inner2 {
            pub only: Option<String>,
        }
    }

    #[test]
    fn objects_may_be_empty() {
        assert_eq!(written(&Inner2 { only: None }), "{}");
        assert_same(&RecordTail::default());
    }

    #[test]
    fn escapes_each_byte_wherever_it_is() {
        let labels = BTreeMap::new();
        for letter in (0..=0xFF_u8).map(char::from).chain(['é', '漢', '\u{2028}', '😀']) {
            for place in 0..40 {
                let mut text: String = ('a'..='z').cycle().take(place).collect();
                text.push(letter);
                for more in ["", "1", "1234567", "123456789012345678"] {
                    let text = &*format!("{text}{more}");
                    let (first, last) = (Inner { kind: true }, Inner2 { only: Some(text.into()) });
                    let labels = &labels;
                    let (number, small, large, address) = (0.0, 0, 0, None);
                    assert_same(&Kinds {
                        first,
                        text,
                        number,
                        small,
                        large,
                        address,
                        labels,
                        last,
                    });
                }
            }
        }
    }

    #[test]
    fn extends_an_object() {
        let joined = |begun: &str, last: Inner2| {
            let mut out = b"key}".to_vec();
            extend_json(&mut out, begun.as_bytes(), &last);
            String::from_utf8(out.split_off(4)).unwrap()
        };
        let some = || Inner2 { only: Some("x".into()) };
        let none = || Inner2 { only: None };
        assert_eq!(joined(r#"{"a":{}}"#, some()), r#"{"a":{},"only":"x"}"#);
        assert_eq!(joined(r#"{"a":{}}"#, none()), r#"{"a":{}}"#);
        assert_eq!(joined("{}", some()), r#"{"only":"x"}"#);
        assert_eq!(joined("{}", none()), "{}");
        assert_eq!(joined("", some()), r#"{"only":"x"}"#);
    }

    /// What a transaction and a message are made of.
    #[derive(Debug)]
    struct Parts {
        texts: Vec<String>,
        answers: Answers,
        options: Vec<u8>,
        addresses: (IpAddr, IpAddr),
        numbers: [Option<u64>; 4],
        real: Option<f64>,
        labels: Option<BTreeMap<String, String>>,
        bits: u16,
        indicators: Vec<IntelMatchFields>,
    }

    fn parts() -> impl Strategy<Value = Parts> {
        let text = prop_oneof![".*", "[ -~]{0,40}", "[a-z0-9.-]{0,80}"];
        let answer = (text.clone(), any::<u16>(), any::<u16>(), any::<u32>(), text.clone());
        let address = || {
            prop_oneof![
                any::<[u8; 4]>().prop_map(IpAddr::from),
                any::<[u8; 16]>().prop_map(IpAddr::from)
            ]
        };
        (
            prop::collection::vec(text.clone(), 8),
            prop::collection::vec(answer, 0..4),
            prop::collection::vec(any::<u8>(), 0..40),
            (address(), address()),
            any::<[Option<u64>; 4]>(),
            any::<Option<f64>>(),
            prop::option::of(prop::collection::btree_map(text.clone(), text, 0..3)),
            any::<u16>(),
        )
            .prop_map(
                |(texts, records, options, addresses, numbers, real, labels, bits)| {
                    let mut answers = Answers::default();
                    for (name, rtype, class, ttl_seconds, data) in &records {
                        let (rtype, class, ttl_seconds) = (*rtype, *class, *ttl_seconds);
                        answers.push(&Answer { name, rtype, class, ttl_seconds, data });
                    }
                    let indicators = records.iter().map(|(name, rtype, ..)| IntelMatchFields {
                        indicator: name.clone(),
                        kind: "domain".to_owned(),
                        category: None,
                        source: Some(name.clone()),
                        confidence: u8::try_from(*rtype).ok(),
                    });
                    let indicators = indicators.collect();
                    Parts {
                        texts,
                        answers,
                        options,
                        addresses,
                        numbers,
                        real,
                        labels,
                        bits,
                        indicators,
                    }
                },
            )
    }

    impl Parts {
        fn text(&self, place: usize) -> Option<&str> {
            (self.bits >> place & 1 == 1).then_some(&*self.texts[place])
        }

        fn head(&self) -> RecordHead<'_> {
            RecordHead {
                schema: "dns.message/1",
                event_id: EventId(u128::from(self.numbers[0].unwrap_or(1)) << 50),
                ts: Timestamp::from_nanos(self.numbers[1].unwrap_or_default()),
                node: &self.texts[0],
                region: self.text(1),
                labels: self.labels.as_ref(),
            }
        }

        fn edns(&self) -> Option<EdnsFields<'_>> {
            Some(EdnsFields {
                udp_size: self.bits,
                dnssec_ok: self.real.is_some(),
                version: 0,
                ecs: self.text(2).map(Into::into),
                ede: self.text(3).map(|text| EdeFields { code: self.bits, text: text.into() }),
                nsid: self.real.map(|_| Hex(&self.options)),
                cookie: self.numbers[0].map(|_| Hex(&self.options)),
                co: self.numbers[1].map(|_| true),
                z: self.numbers[2].map(|_| self.bits),
                owner: self.text(4).map(Into::into),
                opt_count: None,
                options: OptionList(Tlvs::new(&self.options)),
                options_omitted: Some(1),
            })
            .filter(|_| self.bits > 0x4000)
        }

        fn tail(&self) -> RecordTail<'_> {
            RecordTail {
                process: self.text(5).map(|comm| ProcessFields {
                    pid: 1,
                    uid: u32::MAX,
                    comm: comm.into(),
                    exe: self.text(6),
                }),
                container: self.text(6).map(|id| ContainerFields {
                    id,
                    runtime: self.text(0).map(|_| "podman"),
                    pod_uid: self.text(1),
                }),
                k8s: self.text(7).map(|pod| K8sFields {
                    namespace: &self.texts[0],
                    pod,
                    container: self.text(1),
                    workload_kind: None,
                    workload: self.text(2),
                    labels: self.labels.as_ref(),
                }),
                masking: self.text(4).map(|key| MaskingFields {
                    key_id: Some(key.into()),
                    qname: Some("hash"),
                    client: None,
                    server: None,
                    answers: None,
                    ecs: None,
                    process: None,
                    container: None,
                }),
            }
        }

        fn transaction(&self) -> (TransactionBody<'_>, TransactionContext<'_>) {
            let body = TransactionBody {
                head: self.head(),
                vantage: "client",
                transport: "udp",
                client_ip: self.addresses.0,
                client_port: self.bits,
                server_ip: self.addresses.1,
                server_port: 53,
                id: self.bits,
                opcode: "QUERY",
                qname: self.text(0),
                qname_unicode: self.text(1).map(Into::into),
                qtype: self.text(2).map(|text| text.to_owned().into()),
                qclass: None,
                qname_case: self.text(3),
                zone: self.text(4),
                status: "answered",
                rcode: Some("NOERROR".into()),
                latency_ms: self.real,
                retries: 9,
                conflict: self.real.map(|_| true),
                icmp: self.real.map(|_| IcmpFields { kind: Some(3), code: None, name: "x" }),
                flags: FlagNames(Flags(self.bits)),
                answers: AnswerList(&self.answers),
                answers_omitted: None,
                answer_count: Some(self.bits),
                authority_count: None,
                additional_count: Some(10),
                min_ttl_seconds: Some(u32::MAX),
                edns: self.edns(),
                query_ecs: self.text(5).map(Into::into),
                query_cookie: self.real.map(|_| Hex(&self.options)),
                traceparent: self.text(5).map(Into::into),
                query_bytes: Some(255),
                response_bytes: self.numbers[2],
                transfer_messages: self.numbers[3],
                transfer_records: None,
                transfer_ms: self.real,
                transfer_complete: self.real.map(|_| false),
                responder_ip: self.real.map(|_| self.addresses.0),
                orphan_reason: None,
                resembles: self.numbers[0].map(|number| EventId(number.into())),
                seen_by: if self.bits.is_multiple_of(2) { &[] } else { &["socket", "dnstap"] },
                dnstap: self.dnstap(),
                rejected_responses: Some(1),
            };
            let context = TransactionContext {
                resolver: &self.texts[0],
                sample_ratio: self.real,
                tcp_fallback_of: None,
                parent_event_id: self.numbers[0].map(|number| EventId(number.into())),
                parent_match: Some("only"),
                cache: None,
                lost_at: self.text(6).map(|reason| LostAtFields {
                    message: "query",
                    stage: "socket",
                    reason,
                    hook: None,
                    function: Some(reason),
                    count: Some(2),
                }),
                path: self.real.map(|_| PathFields {
                    send_ms: None,
                    arrive_ms: self.real,
                    read_ms: Some(0.5),
                }),
                indicators: &self.indicators,
                first_seen: self.numbers[1].map(Timestamp::from_nanos),
                tail: self.tail(),
            };
            (body, context)
        }

        fn dnstap(&self) -> Option<DnstapFields<'_>> {
            self.real.map(|_| DnstapFields {
                identity: self.text(0),
                version: self.text(1),
                zone: None,
                policy: self.numbers[0].map(|_| PolicyFields {
                    kind: self.text(2),
                    rule: self.text(3),
                    action: Some("PASS"),
                    matched: None,
                    value: self.text(4),
                }),
            })
        }

        fn message(&self) -> MessageBody<'_> {
            let question = |name: &String| QuestionFields {
                name: name.clone(),
                qtype: "A".into(),
                class: "IN".into(),
            };
            MessageBody {
                head: self.head(),
                seq: self.numbers[0].unwrap_or_default(),
                cpu: 0,
                vantage: "server",
                direction: self.real.map(|_| "ingress"),
                transport: "tcp",
                src_ip: self.addresses.0,
                src_port: 0,
                dst_ip: self.addresses.1,
                dst_port: 1,
                id: self.bits,
                qr: "query",
                opcode: "QUERY",
                rcode: None,
                flags: FlagNames(Flags(self.bits)),
                qname: self.text(0),
                qname_unicode: self.text(1).map(Into::into),
                qname_case: self.text(2),
                qtype: None,
                qclass: None,
                further_questions: self.texts.iter().map(question).take(self.bits.into()).collect(),
                questions_omitted: None,
                question_count: 1,
                answer_count: 2,
                authority_count: 3,
                additional_count: 4,
                answers: AnswerList(&self.answers),
                answers_omitted: None,
                edns: self.edns(),
                trailing_bytes: self.real.map(|_| usize::MAX),
                wire_bytes: u32::MAX,
                captured_bytes: 100,
                clipped: self.real.is_some(),
                seen_by: if self.bits.is_multiple_of(2) { &[] } else { &["socket", "dnstap"] },
                dnstap: self.dnstap(),
                wire: self.text(3).map(Into::into),
            }
        }
    }

    proptest! {
        #[test]
        fn records_are_written_as_serde_json_writes_them(parts in parts()) {
            let (body, context) = parts.transaction();
            assert_same(&body);
            assert_same(&context);
            assert_same(&parts.message());
            let first = written(&body);
            let mut whole = Vec::new();
            extend_json(&mut whole, first.as_bytes(), &context);
            let mut joined = serde_json::to_string(&body).unwrap();
            joined.pop();
            let last = serde_json::to_string(&context).unwrap();
            prop_assert_eq!(String::from_utf8(whole).unwrap(), format!("{joined},{}", &last[1..]));
        }
    }
}
