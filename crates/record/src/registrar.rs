//! `registrar.event/1`.

use crate::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// `registrar.event/1`: one fact of a registrar or registry: of a domain's life, of abuse, of money, or of
/// the API. An event is never changed; a later one with `corrects` takes it away.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename = "registrar.event/1")]
pub struct RegistrarEventRecord {
    /// Name and version of this schema.
    pub schema: Option<String>,
    /// Technical key: an event that is delivered twice has it twice. Unique within its source system.
    pub event_id: String,
    /// Key of the fact in the business: two events with the same type and business key are one fact.
    pub business_key: String,
    /// What happened: `registration_completed`, `payment_captured`, `abuse_reported` and so on. Lower case
    /// letters, digits and underscores.
    #[schemars(extend("pattern" = "^[a-z][a-z0-9_]*$"))]
    pub event_type: String,
    /// When it happened. The day of a fact is that of this time in UTC.
    pub event_ts: Timestamp,
    /// When the source system took it in.
    pub ingest_ts: Option<Timestamp>,
    /// System that says so.
    pub source_system: Option<String>,
    /// Domain that is concerned: lower case, no trailing dot, A-labels.
    pub domain: Option<String>,
    /// Top-level domain, without dot.
    pub tld: Option<String>,
    /// Account of the customer.
    pub account_id: Option<String>,
    /// Country of the customer: ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// Way of the sale or request: `web`, `api`, `reseller` and so on.
    pub channel: Option<String>,
    /// Tier of the customer or product, in the registrar's own words.
    pub tier: Option<String>,
    /// Outcome, in the source's words.
    pub status: Option<String>,
    /// Duration of the operation in milliseconds.
    #[schemars(range(min = 0))]
    pub latency_ms: Option<f64>,
    /// Code of the failure.
    pub error_code: Option<String>,
    /// Abuse: category, such as `phishing`.
    pub abuse_category: Option<String>,
    /// Commercial: amount in millionths of the currency's unit. Never negative: the type of the event says
    /// which way the money goes.
    #[schemars(range(min = 0))]
    pub amount_micros: Option<i64>,
    /// Commercial: currency, ISO 4217.
    #[schemars(extend("pattern" = "^[A-Z]{3}$"))]
    pub currency: Option<String>,
    /// Request, order or case that the event belongs to.
    pub request_id: Option<String>,
    /// Business key of the fact that this event takes away, on that fact's own day. Without `corrects_type`, the fact's
    /// type begins with the same word: `payment_voided` takes away payments only.
    pub corrects: Option<String>,
    /// Type of the fact that this event takes away, where its business key does not suffice.
    pub corrects_type: Option<String>,
    /// Technical key (`event_id`, of the same source system) of the fact that this event takes away, in place of its
    /// business key.
    pub corrects_event_id: Option<String>,
    /// Version of the source's schema.
    pub schema_version: Option<String>,
    /// Campaign that led to the sale or request.
    pub campaign: Option<String>,
    /// API: operation that was called, such as `domain.create`.
    pub endpoint: Option<String>,
    /// Partner behind the event: the reseller of a sale, or the other registrar of a transfer.
    pub partner: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json_schema;
    use serde_json::json;

    #[test]
    fn fits_its_schema() {
        let schema = json_schema("registrar.event/1").unwrap();
        let event = json!({
            "schema": "registrar.event/1", "event_id": "1", "business_key": "payment-1",
            "event_type": "payment_captured", "event_ts": "2026-02-01T01:30:00.000000000Z",
            "amount_micros": 5_990_000, "currency": "EUR", "latency_ms": 12.5,
        });
        assert!(jsonschema::is_valid(&schema, &event));
        let record: RegistrarEventRecord = serde_json::from_value(event.clone()).unwrap();
        assert_eq!(serde_json::to_value(record).unwrap(), event);
        for (field, wrong) in [
            ("event_type", json!("Payment")),
            ("amount_micros", json!(-1)),
            ("currency", json!("eur")),
            ("event_id", json!(null)),
        ] {
            let mut event = event.clone();
            event[field] = wrong;
            assert!(!jsonschema::is_valid(&schema, &event), "{event}");
        }
    }
}
