//! Reading of `registrar.event/1` from JSON and CSV, with the reason of every refusal.

mod types;

pub use types::{EVENT_TYPES, EventType};

use crate::input::FieldValue;
use dnscribe_record::RegistrarEventRecord;
use dnscribe_record::time::Timestamp;
use std::fmt::Display;

/// Why a row is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Reason as one word, by which rejected rows are counted.
    pub reason: &'static str,
    /// What is wrong, for people.
    pub detail: String,
}

impl Rejection {
    /// Creates a rejection.
    pub fn new(reason: &'static str, detail: impl Display) -> Self {
        Self { reason, detail: detail.to_string() }
    }

    /// Leaves of what is wrong the name of the field: its value may be personal.
    pub fn leave_field(&mut self) {
        let end = self.detail.find(':').unwrap_or(self.detail.len());
        let is_field = self.detail.get(..end).is_some_and(|name| FIELDS.contains(&name));
        self.detail.truncate(if is_field { end } else { 0 });
    }
}

/// What is wrong with a column whose name is empty.
pub(crate) const NAMELESS: &str =
    "a column has no name: remove it, or the comma at the end of the header";

/// Names of the fields, in the order of the schema.
pub const FIELDS: [&str; 27] = [
    "schema",
    "event_id",
    "business_key",
    "event_type",
    "event_ts",
    "ingest_ts",
    "source_system",
    "domain",
    "tld",
    "account_id",
    "country",
    "channel",
    "tier",
    "status",
    "latency_ms",
    "error_code",
    "abuse_category",
    "amount_micros",
    "currency",
    "request_id",
    "corrects",
    "corrects_type",
    "corrects_event_id",
    "schema_version",
    "campaign",
    "endpoint",
    "partner",
];

/// Parses an event from the fields of a JSON object.
///
/// # Errors
/// A field is unknown, missing, or not of its type.
pub fn from_json(fields: &[(String, FieldValue)]) -> Result<RegistrarEventRecord, Rejection> {
    let mut event = Draft::default();
    for (name, value) in fields {
        match value {
            FieldValue::Text(text) => event.set(name, text, true)?,
            FieldValue::Number(number) => event.set(name, number, false)?,
            FieldValue::Bool(_) | FieldValue::Nested(_) => {
                let value = value.clone().into_text();
                return Err(Rejection::new("bad_type", format!("{name}: {value}")));
            }
        }
    }
    event.finish()
}

/// Parses an event from a row of CSV.
///
/// # Errors
/// A field is unknown, missing, or not of its type.
pub fn from_fields<'a>(
    fields: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<RegistrarEventRecord, Rejection> {
    let mut event = Draft::default();
    let mut seen = 0_u32;
    for (name, text) in fields {
        let bit = FIELDS.iter().position(|field| *field == name).map_or(0, |place| 1 << place);
        if seen & bit != 0 {
            return Err(Rejection::new("ambiguous_column", name));
        }
        seen |= bit;
        // CSV has no types: a number may be text.
        let is_text = !matches!(name, "latency_ms" | "amount_micros");
        event.set(name, text, is_text)?;
    }
    event.finish()
}

/// An event of which some fields are known.
#[derive(Default)]
struct Draft {
    event: RegistrarEventRecord,
    has_time: bool,
}

impl Draft {
    fn set(&mut self, name: &str, text: &str, is_text: bool) -> Result<(), Rejection> {
        let event = &mut self.event;
        let some = || (!text.is_empty()).then(|| text.to_owned());
        let is_number = matches!(name, "latency_ms" | "amount_micros");
        // Keys may be numbers in the source; everything else is what the schema says.
        let is_key = matches!(
            name,
            "event_id"
                | "business_key"
                | "account_id"
                | "request_id"
                | "corrects"
                | "corrects_event_id"
                | "schema_version"
                | "error_code"
        );
        if FIELDS.contains(&name) && !text.is_empty() && is_number == is_text && !is_key {
            return Err(Rejection::new("bad_type", format!("{name}: \"{text}\"")));
        }
        match name {
            "schema" => match text {
                "" | "registrar.event/1" => {}
                _ => return Err(Rejection::new("wrong_schema", text)),
            },
            "event_id" => text.clone_into(&mut event.event_id),
            "business_key" => text.clone_into(&mut event.business_key),
            "event_type" => text.clone_into(&mut event.event_type),
            "event_ts" if !text.is_empty() => {
                event.event_ts = time(name, text)?;
                self.has_time = true;
            }
            "event_ts" => {}
            "ingest_ts" => event.ingest_ts = some().map(|text| time(name, &text)).transpose()?,
            "source_system" => event.source_system = some(),
            "domain" => event.domain = domain(text)?,
            "tld" => event.tld = domain(text.trim_start_matches('.'))?,
            "account_id" => event.account_id = some(),
            "country" => event.country = country(text)?,
            "channel" => event.channel = some(),
            "tier" => event.tier = some(),
            "status" => event.status = some(),
            "latency_ms" => event.latency_ms = number(name, text)?,
            "error_code" => event.error_code = some(),
            "abuse_category" => event.abuse_category = some(),
            "amount_micros" => event.amount_micros = amount(text)?,
            "currency" => event.currency = currency(text)?,
            "request_id" => event.request_id = some(),
            "corrects" => event.corrects = some(),
            "corrects_type" => event.corrects_type = some(),
            "corrects_event_id" => event.corrects_event_id = some(),
            "schema_version" => event.schema_version = some(),
            "campaign" => event.campaign = some(),
            "endpoint" => event.endpoint = some(),
            "partner" => event.partner = some(),
            "" => return Err(Rejection::new("unknown_field", NAMELESS)),
            _ => return Err(Rejection::new("unknown_field", name)),
        }
        Ok(())
    }

    fn finish(self) -> Result<RegistrarEventRecord, Rejection> {
        let mut event = self.event;
        let missing = |name: &str| Rejection::new("missing_field", name);
        for (name, text) in [
            ("event_id", &event.event_id),
            ("business_key", &event.business_key),
            ("event_type", &event.event_type),
        ] {
            if text.is_empty() {
                return Err(missing(name));
            }
        }
        if !self.has_time {
            return Err(missing("event_ts"));
        }
        let kind = &event.event_type;
        if !has_type_form(kind) {
            return Err(Rejection::new("bad_event_type", kind));
        }
        if let Some(name) = required(&event) {
            return Err(missing(name));
        }
        if is_correction(&event) && has_effect(kind) {
            let detail = format!(
                "{kind} counts by itself and takes nothing away: leave out corrects, or send an event of a type \
                 that ends in _reversed or _voided"
            );
            return Err(Rejection::new("corrects_with_effect", detail));
        }
        if event.tld.is_none() {
            let last = event.domain.as_deref().and_then(|domain| domain.rsplit_once('.'));
            event.tld = last.map(|(_, tld)| tld.to_owned());
        }
        Ok(event)
    }
}

/// Returns whether a text has the form of the name of a type.
pub(crate) fn has_type_form(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    text.starts_with(|letter: char| letter.is_ascii_lowercase()) && text.bytes().all(legal)
}

/// Returns whether an event takes another one away.
fn is_correction(event: &RegistrarEventRecord) -> bool {
    event.corrects.is_some() || event.corrects_event_id.is_some()
}

/// Returns whether the name of a type says that its events only take others away.
pub(crate) fn is_reversal(kind: &str) -> bool {
    kind.ends_with("_reversed") || kind.ends_with("_voided")
}

/// Returns whether events of this type are known to count by themselves.
pub(crate) fn has_effect(kind: &str) -> bool {
    EventType::find(kind).is_some() && !is_reversal(kind)
}

/// Names a field without which an event of this type would be counted wrongly.
fn required(event: &RegistrarEventRecord) -> Option<&'static str> {
    let has = |field: &str| match field {
        "amount_micros" => event.amount_micros.is_some(),
        "currency" => event.currency.is_some(),
        "domain" => event.domain.is_some(),
        "account_id" => event.account_id.is_some(),
        "request_id" => event.request_id.is_some(),
        "corrects" => event.corrects.is_some(),
        "corrects_event_id" => event.corrects_event_id.is_some(),
        _ => false,
    };
    let kind = event.event_type.as_str();
    if is_reversal(kind) && !is_correction(event) {
        return Some("corrects");
    }
    let needs = EventType::find(kind)?.needs.iter().copied();
    needs.into_iter().find(|need| !need.split(" or ").any(has))
}

/// Parses an RFC 3339 time. Without an offset the day is unknown, and the time is refused.
pub(crate) fn time(name: &str, text: &str) -> Result<Timestamp, Rejection> {
    let time = text.parse().ok().filter(|_| !contradicts_itself(text));
    time.ok_or_else(|| Rejection::new("bad_timestamp", format!("{name}: \"{text}\"")))
}

/// Returns whether a time names a zone (RFC 9557) that has another offset then.
pub(crate) fn contradicts_itself(text: &str) -> bool {
    text.contains('[') && text.parse::<jiff::Zoned>().is_err()
}

/// Returns a name in lower case with A-labels, as records of DNS have it; `None` if it has no such form.
pub(crate) fn host_name(text: &str) -> Option<String> {
    if text.is_ascii() { Some(text.to_ascii_lowercase()) } else { dnscribe_dns::to_ascii(text) }
}

/// Returns a name as [`host_name`], without trailing dot.
fn domain(text: &str) -> Result<Option<String>, Rejection> {
    let text = text.trim_end_matches('.');
    let refused = || Rejection::new("bad_domain", format!("\"{text}\""));
    if text.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        return Err(refused());
    }
    Ok(Some(host_name(text).ok_or_else(refused)?).filter(|name| !name.is_empty()))
}

fn country(text: &str) -> Result<Option<String>, Rejection> {
    let is_code = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic());
    match text {
        "" => Ok(None),
        _ if is_code => Ok(Some(text.to_ascii_uppercase())),
        _ => Err(Rejection::new("bad_country", format!("\"{text}\""))),
    }
}

fn currency(text: &str) -> Result<Option<String>, Rejection> {
    let is_code = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase());
    match text {
        "" => Ok(None),
        _ if is_code => Ok(Some(text.to_owned())),
        _ => Err(Rejection::new("bad_currency", format!("\"{text}\""))),
    }
}

/// Largest amount of an event in millionths: a hundred thousand million. Sums of a few larger ones have no number.
const MAX_AMOUNT_MICROS: i64 = 100_000_000_000_000_000;

fn amount(text: &str) -> Result<Option<i64>, Rejection> {
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse() {
        Ok(amount @ 0..=MAX_AMOUNT_MICROS) => Ok(Some(amount)),
        Ok(amount) if amount > MAX_AMOUNT_MICROS => {
            let detail = format!("{text}: more than {MAX_AMOUNT_MICROS}");
            Err(Rejection::new("implausible_amount", detail))
        }
        _ => Err(Rejection::new("bad_amount", format!("{text}: not an integer of 0 or more"))),
    }
}

fn number(name: &str, text: &str) -> Result<Option<f64>, Rejection> {
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse() {
        Ok(number) if number >= 0.0 && f64::is_finite(number) => Ok(Some(number)),
        _ => Err(Rejection::new("bad_number", format!("{name}: {text}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::parse_fields;
    use serde_json::{Value, json};
    use std::collections::BTreeSet;

    fn parse(value: &Value) -> Result<RegistrarEventRecord, Rejection> {
        from_json(&parse_fields(&value.to_string()).unwrap())
    }

    fn minimal() -> Value {
        json!({"event_id": "1", "business_key": "b", "event_type": "registration_completed",
            "event_ts": "2026-01-31T23:30:00-02:00", "domain": "Shop.Example."})
    }

    #[test]
    fn normalises_names_and_times() {
        let event = parse(&minimal()).unwrap();
        assert_eq!(event.event_ts.to_string(), "2026-02-01T01:30:00.000000000Z");
        assert_eq!(event.domain.as_deref(), Some("shop.example"));
        assert_eq!(event.tld.as_deref(), Some("example"));
        for name in ["München.рф", "xn--MNCHEN-3ya.xn--p1ai"] {
            let mut event = minimal();
            event["domain"] = json!(name);
            let event = parse(&event).unwrap();
            assert_eq!(event.domain.as_deref(), Some("xn--mnchen-3ya.xn--p1ai"));
            assert_eq!(event.tld.as_deref(), Some("xn--p1ai"));
        }
    }

    #[test]
    fn keys_may_be_numbers_of_any_length() {
        let text = minimal().to_string().replace("\"b\"", "123456789012345678901");
        let event = from_json(&parse_fields(&text).unwrap()).unwrap();
        assert_eq!(event.business_key, "123456789012345678901");
    }

    #[test]
    fn times_may_name_their_zone() {
        let mut event = minimal();
        event["event_ts"] = json!("2026-07-01T00:30:00+02:00[Europe/Berlin]");
        let time = parse(&event).unwrap().event_ts.to_string();
        assert_eq!(time, "2026-06-30T22:30:00.000000000Z");
    }

    #[test]
    fn knows_the_fields_of_the_schema() {
        let schema = dnscribe_record::json_schema("registrar.event/1").unwrap();
        let names: BTreeSet<&str> =
            schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, FIELDS.into_iter().collect());
    }

    #[test]
    fn refuses_with_reason() {
        for (field, value, reason) in [
            ("event_ts", json!("2026-01-31T23:30:00"), "bad_timestamp"),
            // At this time Berlin is two hours ahead.
            ("event_ts", json!("2026-07-01T00:30:00+01:00[Europe/Berlin]"), "bad_timestamp"),
            ("event_ts", json!("2026-07-01T00:30:00+01:00[Europe/Nowhere]"), "bad_timestamp"),
            ("event_ts", json!(1_700_000_000), "bad_type"),
            ("event_ts", json!(null), "missing_field"),
            ("event_id", json!(""), "missing_field"),
            ("amount_micros", json!(1.5), "bad_amount"),
            ("amount_micros", json!(-5), "bad_amount"),
            ("amount_micros", json!("5"), "bad_type"),
            ("currency", json!("eur"), "bad_currency"),
            ("country", json!("Germany"), "bad_country"),
            ("event_type", json!("Registration"), "bad_event_type"),
            ("event_type", json!("payment_captured"), "missing_field"),
            ("event_type", json!("registration_reversed"), "missing_field"),
            ("amount_micro", json!(5), "unknown_field"),
            ("", json!(""), "unknown_field"),
            ("domain", json!(true), "bad_type"),
            ("corrects", json!("b2"), "corrects_with_effect"),
            ("corrects_event_id", json!("2"), "corrects_with_effect"),
            ("schema", json!("registrar.event/2"), "wrong_schema"),
            ("domain", json!(["a"]), "bad_type"),
            ("domain", json!("shop .example"), "bad_domain"),
            ("tld", json!("co\u{0}m"), "bad_domain"),
        ] {
            let mut event = minimal();
            event[field] = value;
            assert_eq!(parse(&event).unwrap_err().reason, reason, "{event}");
        }
    }
}
