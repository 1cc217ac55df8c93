//! Sample data: a plausible registrar, the same for the same seed.

use crate::error::KpiError;
use crate::facts::epoch_day;
use crate::rows::date;
use jiff::civil::Date;
use serde_json::{Map, Value, json};
use std::io::Write;

/// What is generated.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Seed: equal seeds give equal bytes.
    pub seed: u64,
    /// First day.
    pub from: Date,
    /// Number of days.
    pub days: i32,
    /// Registrations that are tried on a usual day.
    pub registrations: u32,
    /// Whether duplicates, corrections, late and malformed rows are mixed in.
    pub is_hostile: bool,
}

const TLDS: [&str; 6] = ["com", "net", "org", "de", "shop", "io"];
const COUNTRIES: [&str; 6] = ["DE", "US", "FR", "IN", "BR", "JP"];
const CHANNELS: [&str; 3] = ["web", "api", "reseller"];
const TIERS: [&str; 3] = ["basic", "business", "enterprise"];
const CATEGORIES: [&str; 3] = ["phishing", "malware", "spam"];
const CURRENCIES: [&str; 3] = ["EUR", "USD", "JPY"];
const CAMPAIGNS: [&str; 4] = ["spring", "newsletter", "search", "none"];
const REGISTERED: usize = 1000;
const SITES: [&str; 2] = ["fra", "iad"];
const DAY_US: i64 = 86_400_000_000;

/// Numbers that look random (`SplitMix64`).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// Whether something happens that has this chance in a thousand.
    fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        // Early ones are more frequent.
        let bound = u64::try_from(list.len()).unwrap_or(1);
        let index = self.below(bound).min(self.below(bound));
        list[usize::try_from(index).unwrap_or(0)]
    }
}

/// Writes events as NDJSON, and windows of the fleet. Each row stands on its own line.
///
/// # Errors
/// `out` cannot be written.
pub fn write(plan: Plan, out: &mut impl Write) -> Result<(), KpiError> {
    let mut sample = Sample {
        random: Random(plan.seed),
        plan,
        number: 0,
        rows: Vec::new(),
        registered: Vec::new(),
    };
    for day in 0..plan.days {
        sample.day(day);
        for row in sample.rows.drain(..) {
            out.write_all(row.as_bytes())
                .and_then(|()| out.write_all(b"\n"))
                .map_err(|error| KpiError::Failed(format!("cannot write the sample: {error}")))?;
        }
    }
    Ok(())
}

struct Sample {
    random: Random,
    plan: Plan,
    number: u64,
    rows: Vec<String>,
    /// Some registrations that may be renewed.
    registered: Vec<Case>,
}

/// What events of one customer's case have in common.
#[derive(Clone)]
struct Case {
    domain: String,
    fields: Map<String, Value>,
}

impl Sample {
    fn day(&mut self, day: i32) {
        let start = i64::from(epoch_day(self.plan.from) + day) * DAY_US;
        let weekday = date(epoch_day(self.plan.from) + day).weekday().to_monday_zero_offset();
        let busy = if weekday >= 5 { 6 } else { 10 };
        let count = u64::from(self.plan.registrations) * busy / 10;
        for _ in 0..count {
            self.registration(start);
        }
        for _ in 0..count / 2 {
            self.renewal(start);
        }
        for _ in 0..count / 8 {
            self.transfer(start);
        }
        for _ in 0..=count / 10 {
            self.abuse(start);
        }
        for _ in 0..count {
            self.api(start);
        }
        for hour in 0..24 {
            let at = start + hour * 3_600_000_000;
            self.dns(at);
            for site in SITES {
                self.probe(at, site);
            }
        }
    }

    fn time(&mut self, start: i64) -> i64 {
        start + i64::try_from(self.random.below(86_400_000)).unwrap_or(0) * 1000
    }

    fn case(&mut self) -> Case {
        self.number += 1;
        let tld = self.random.pick(&TLDS);
        let mut fields = Map::new();
        fields.insert("tld".into(), json!(tld));
        if !(self.plan.is_hostile && self.random.chance(10)) {
            fields.insert("country".into(), json!(self.random.pick(&COUNTRIES)));
        }
        fields.insert("channel".into(), json!(self.random.pick(&CHANNELS)));
        fields.insert("tier".into(), json!(self.random.pick(&TIERS)));
        fields.insert("account_id".into(), json!(format!("a-{}", self.random.below(500))));
        fields.insert("request_id".into(), json!(format!("r-{}", self.number)));
        fields.insert("source_system".into(), json!("registrar"));
        Case { domain: format!("name-{}.{tld}", self.number), fields }
    }

    /// Whether a time is before the end of the last day: an export has no events of the future.
    fn is_past(&self, at: i64) -> bool {
        at < (i64::from(epoch_day(self.plan.from)) + i64::from(self.plan.days)) * DAY_US
    }

    /// Writes an event; returns its business key.
    fn event(&mut self, case: &Case, kind: &str, at: i64, more: &[(&str, Value)]) -> String {
        self.number += 1;
        let key = format!("{kind}-{}", self.number);
        let mut event = Map::new();
        event.insert("schema".into(), json!("registrar.event/1"));
        event.insert("event_id".into(), json!(format!("e-{}", self.number)));
        event.insert("business_key".into(), json!(key));
        event.insert("event_type".into(), json!(kind));
        event.insert("event_ts".into(), json!(self.zoned(at)));
        let is_late = self.plan.is_hostile && self.random.chance(10);
        let delay = if is_late { 2 * DAY_US } else { 90_000_000 };
        event.insert("ingest_ts".into(), json!(stamp(at + delay)));
        event.insert("domain".into(), json!(case.domain));
        event.extend(case.fields.clone());
        event.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        if !self.is_past(at) {
            return key;
        }
        self.rows.push(Value::Object(event.clone()).to_string());
        if self.plan.is_hostile {
            self.hostile(case, event, &key, kind, at);
        }
        key
    }

    /// Adds what real feeds have: repeated deliveries, other technical keys, reversals, broken rows.
    fn hostile(&mut self, case: &Case, event: Map<String, Value>, key: &str, kind: &str, at: i64) {
        if self.random.chance(20) {
            self.rows.push(Value::Object(event.clone()).to_string());
        }
        if self.random.chance(15) {
            let mut again = event.clone();
            again.insert("event_id".into(), json!(format!("again-{key}")));
            let later = at + i64::try_from(self.random.below(3)).unwrap_or(0) * DAY_US;
            again.insert("event_ts".into(), json!(stamp(later)));
            if self.is_past(later) {
                self.rows.push(Value::Object(again).to_string());
            }
        }
        if self.random.chance(3) {
            self.rows.push(format!("{{\"event_id\": \"broken-{key}\""));
        }
        if self.random.chance(3) {
            let mut bad = event.clone();
            bad.insert("event_ts".into(), json!("yesterday"));
            bad.insert("event_id".into(), json!(format!("bad-{key}")));
            self.rows.push(Value::Object(bad).to_string());
        }
        if self.random.chance(3) {
            let mut bad = event;
            bad.insert("country".into(), json!("Germany"));
            bad.insert("event_id".into(), json!(format!("abroad-{key}")));
            self.rows.push(Value::Object(bad).to_string());
        }
        let reversal = match kind {
            "registration_completed" => "registration_reversed",
            "transfer_in_completed" => "transfer_reversed",
            "payment_captured" => "payment_voided",
            _ => return,
        };
        if self.random.chance(20) {
            let later = at + i64::try_from(self.random.below(20)).unwrap_or(0) * DAY_US;
            self.number += 1;
            let mut event = Map::new();
            event.insert("event_id".into(), json!(format!("e-{}", self.number)));
            event.insert("business_key".into(), json!(format!("{reversal}-{}", self.number)));
            event.insert("event_type".into(), json!(reversal));
            event.insert("event_ts".into(), json!(stamp(later)));
            event.insert("corrects".into(), json!(key));
            event.insert("domain".into(), json!(case.domain));
            event.extend(case.fields.clone());
            let row = Value::Object(event).to_string();
            // A correction may stand before the fact that it takes away.
            let place = if self.random.chance(500) { 0 } else { self.rows.len() };
            if self.is_past(later) {
                self.rows.insert(place, row);
            }
        }
    }

    /// Writes a time in one of several zones.
    fn zoned(&mut self, at: i64) -> String {
        let hours = self.random.pick(&[0_i8, 0, 2, -5]);
        if !self.plan.is_hostile || hours == 0 {
            return stamp(at);
        }
        let local = stamp(at + i64::from(hours) * 3_600_000_000);
        let sign = if hours < 0 { '-' } else { '+' };
        format!("{}{sign}{:02}:00", local.trim_end_matches('Z'), hours.unsigned_abs())
    }

    fn registration(&mut self, start: i64) {
        let case = self.case();
        let at = self.time(start);
        let campaign = self.random.pick(&CAMPAIGNS);
        let campaign: Vec<(&str, Value)> =
            if campaign == "none" { Vec::new() } else { vec![("campaign", json!(campaign))] };
        self.event(&case, "cart_created", at, &campaign);
        self.event(&case, "workflow_started", at, &[]);
        if self.random.chance(500) {
            self.event(&case, "quote_created", at, &[]);
        }
        if self.random.chance(300) {
            return;
        }
        let done = at + i64::try_from(self.random.below(3_600_000)).unwrap_or(0) * 1000;
        let latency = json!(100 + self.random.below(2000));
        if self.random.chance(40) {
            let code = self.random.pick(&["registry_timeout", "invalid_contact", "taken"]);
            self.event(
                &case,
                "registration_failed",
                done,
                &[("error_code", json!(code)), ("latency_ms", latency)],
            );
            return;
        }
        let mut more = campaign;
        more.push(("latency_ms", latency));
        self.event(&case, "registration_completed", done, &more);
        self.event(&case, "workflow_completed", done, &[]);
        self.payment(&case, done);
        if self.registered.len() < REGISTERED {
            self.registered.push(case);
        }
    }

    /// Returns the case of a renewal: half of them of domains whose registration is in the sample.
    fn renewable(&mut self) -> Case {
        let mut case = self.case();
        if !self.registered.is_empty() && self.random.chance(500) {
            let index = self.random.below(self.registered.len() as u64);
            let known = self.registered.swap_remove(usize::try_from(index).unwrap_or(0));
            let request = case.fields.remove("request_id");
            case = known;
            case.fields.extend(request.map(|id| ("request_id".to_owned(), id)));
        }
        case
    }

    fn payment(&mut self, case: &Case, at: i64) {
        let currency = ("currency", json!(self.random.pick(&CURRENCIES)));
        let amount = i64::try_from(self.random.below(40_000)).unwrap_or(0) * 1000 + 5_990_000;
        if self.random.chance(30) {
            self.event(case, "payment_failed", at, &[currency, ("error_code", json!("declined"))]);
            return;
        }
        self.event(
            case,
            "payment_captured",
            at,
            &[currency.clone(), ("amount_micros", json!(amount))],
        );
        if self.random.chance(20) {
            let later = at + 2 * DAY_US;
            self.event(
                case,
                "payment_refunded",
                later,
                &[currency, ("amount_micros", json!(amount / 2))],
            );
        }
    }

    fn renewal(&mut self, start: i64) {
        let case = self.renewable();
        let at = self.time(start);
        match self.random.below(10) {
            0 => drop(self.event(&case, "renewal_declined", at, &[])),
            1 => {
                self.event(&case, "expired", at, &[]);
                if self.random.chance(300) {
                    self.event(&case, "restore_requested", at + DAY_US, &[]);
                    let wait = i64::try_from(self.random.below(40)).unwrap_or(0) * 3_600_000_000;
                    self.event(&case, "restore_completed", at + DAY_US + wait, &[]);
                } else {
                    self.event(&case, "deleted", at + 3 * DAY_US, &[]);
                }
            }
            _ => {
                self.event(&case, "renewal_completed", at, &[]);
                self.payment(&case, at);
            }
        }
    }

    fn transfer(&mut self, start: i64) {
        let case = self.case();
        let at = self.time(start);
        self.event(&case, "auth_code_requested", at, &[]);
        if self.random.chance(970) {
            self.event(&case, "auth_code_issued", at + 60_000_000, &[]);
        }
        if self.random.chance(300) {
            self.event(&case, "transfer_out_completed", at + 5 * DAY_US, &[]);
            return;
        }
        self.event(&case, "transfer_in_requested", at, &[]);
        if self.random.chance(850) {
            let wait = i64::try_from(self.random.below(8 * 24)).unwrap_or(0) * 3_600_000_000;
            self.event(&case, "transfer_in_completed", at + wait, &[]);
        } else {
            self.event(&case, "transfer_in_failed", at + DAY_US, &[]);
        }
    }

    fn abuse(&mut self, start: i64) {
        let case = self.case();
        let at = self.time(start);
        let category = ("abuse_category", json!(self.random.pick(&CATEGORIES)));
        self.event(&case, "abuse_reported", at, std::slice::from_ref(&category));
        if self.random.chance(200) {
            // Another person reports the same domain.
            self.event(&case, "abuse_reported", at + 60_000_000, std::slice::from_ref(&category));
        }
        if self.random.chance(900) {
            let wait = i64::try_from(self.random.below(48 * 60)).unwrap_or(0) * 60_000_000;
            self.event(&case, "abuse_first_response", at + wait, std::slice::from_ref(&category));
            self.event(&case, "abuse_resolved", at + wait + DAY_US, &[category]);
        }
    }

    fn api(&mut self, start: i64) {
        let case = self.case();
        let at = self.time(start);
        let latency = json!(5 + self.random.below(400));
        self.event(&case, "api_request", at, &[("latency_ms", latency)]);
        if self.random.chance(12) {
            self.event(&case, "api_error", at, &[("error_code", json!("2400"))]);
        }
        if self.random.chance(25) {
            self.event(&case, "api_retry", at, &[]);
        }
        if self.random.chance(100) {
            self.event(&case, "dns_change_requested", at, &[]);
            let wait = i64::try_from(self.random.below(600)).unwrap_or(0) * 1_000_000;
            self.event(&case, "dns_change_completed", at + wait, &[]);
        }
    }

    /// Writes a window of the fleet, and perhaps a revision of it.
    fn dns(&mut self, at: i64) {
        let revisions = if self.plan.is_hostile { 1 + self.random.below(2) } else { 1 };
        for revision in 0..revisions {
            let queries = 50_000 + self.random.below(50_000);
            let (servfail, timeout) = (self.random.below(300), self.random.below(300));
            let row = json!({
                "schema": "dns.fleet/1", "ts": stamp(at), "node": "fleet", "window_seconds": 3600,
                "step_seconds": 3600, "nodes": 4, "revision": revision, "final": revision + 1 == revisions,
                "sketch_encoding": 1, "grouping": "all", "vantage": "client", "queries": queries,
                "successes": queries - servfail - timeout, "retries": self.random.below(900),
                "rcodes": [{"rcode": "NOERROR", "count": queries - servfail - timeout},
                    {"rcode": "SERVFAIL", "count": servfail}],
                "statuses": {"answered": queries - timeout, "timeout": timeout, "late": 0, "icmp_error": 0,
                    "duplicate": 0, "orphan": 0, "evicted": 0, "open": 0},
            });
            self.rows.push(row.to_string());
        }
    }

    /// Writes a measurement of the registrar's shop.
    fn probe(&mut self, at: i64, site: &str) {
        self.number += 1;
        let row = json!({
            "schema": "dns.probe/1", "event_id": format!("{:032x}", self.number), "ts": stamp(at), "node": site,
            "kind": "http", "service": "shop", "target": "https://shop.example/", "site": site,
            "duration_ms": 20 + self.random.below(400), "ok": !self.random.chance(10), "attempt": 1,
        });
        self.rows.push(row.to_string());
        if self.plan.is_hostile && self.random.chance(20) {
            self.rows.push(row.to_string());
        }
    }
}

fn stamp(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_bytes() {
        let sample = |seed| {
            let from = jiff::civil::date(2026, 1, 1);
            let plan = Plan { seed, from, days: 3, registrations: 20, is_hostile: true };
            let mut bytes = Vec::new();
            write(plan, &mut bytes).unwrap();
            bytes
        };
        assert_eq!(sample(1), sample(1));
        assert_ne!(sample(1), sample(2));
    }
}
