//! Sample data: a plausible registrar, the same for the same seed.

mod customers;
mod telemetry;

use crate::error::KpiError;
use crate::event::FIELDS;
use crate::facts::epoch_day;
use crate::input::Format;
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
const PARTNERS: [&str; 3] = ["acme", "globex", "initech"];
const TIERS: [&str; 3] = ["basic", "business", "enterprise"];
const SITES: [&str; 2] = ["fra", "iad"];
const DAY_US: i64 = 86_400_000_000;

/// Numbers that look random (`SplitMix64`).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
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

/// Writes events, and windows of the fleet and measurements where the format has them. Each row stands on its own line.
///
/// # Errors
/// `out` cannot be written.
pub fn write(plan: Plan, format: Format, out: &mut impl Write) -> Result<(), KpiError> {
    let fail = |error| KpiError::Failed(format!("cannot write the sample: {error}"));
    let mut sample = Sample {
        random: Random(plan.seed),
        plan,
        number: 0,
        rows: Vec::new(),
        registered: Vec::new(),
    };
    if format == Format::Csv {
        writeln!(out, "{}", FIELDS.join(",")).map_err(fail)?;
    }
    for day in 0..plan.days {
        sample.day(day);
        for row in sample.rows.drain(..) {
            let row = if format == Format::Csv { csv(&row) } else { Some(row) };
            row.map_or(Ok(()), |row| writeln!(out, "{row}")).map_err(fail)?;
        }
    }
    Ok(())
}

/// Makes a line of CSV of an event; nothing of another record. What is no JSON stays what it is: a malformed row.
fn csv(row: &str) -> Option<String> {
    let Ok(event) = serde_json::from_str::<Map<String, Value>>(row) else {
        return Some(row.replace('"', ""));
    };
    event.get("event_type")?;
    let field = |name: &&str| match event.get(*name) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    };
    Some(FIELDS.iter().map(field).collect::<Vec<_>>().join(","))
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
        for _ in 0..=count / 4 {
            self.care(start);
        }
        for _ in 0..self.random.below(4) {
            self.alert(start);
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
        let channel = self.random.pick(&CHANNELS);
        fields.insert("channel".into(), json!(channel));
        if channel == "reseller" {
            fields.insert("partner".into(), json!(self.random.pick(&PARTNERS)));
        }
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
            self.rows.push(Value::Object(again).to_string());
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
            write(plan, Format::Json, &mut bytes).unwrap();
            bytes
        };
        assert_eq!(sample(1), sample(1));
        assert_ne!(sample(1), sample(2));
    }
}
