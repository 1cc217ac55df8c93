//! Values that are computed from what new facts change are those of all facts.

use crate::world::{World, event};
use serde_json::{Value, json};

/// Numbers that look random (`SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[usize::try_from(self.below(list.len() as u64)).unwrap()]
    }

    /// A time in nine days.
    fn time(&mut self) -> String {
        let start: jiff::Timestamp = "2026-01-05T00:00:00Z".parse().unwrap();
        let seconds = i64::try_from(self.below(9 * 86_400)).unwrap();
        (start + jiff::SignedDuration::from_secs(seconds)).to_string()
    }
}

const TYPES: [&str; 24] = [
    "registration_completed",
    "registration_completed",
    "registration_failed",
    "transfer_in_requested",
    "transfer_in_completed",
    "transfer_in_completed",
    "renewal_completed",
    "renewal_declined",
    "expired",
    "payment_captured",
    "payment_captured",
    "payment_refunded",
    "abuse_reported",
    "abuse_first_response",
    "restore_requested",
    "restore_completed",
    "cart_created",
    "trial_started",
    "workflow_started",
    "workflow_completed",
    "api_request",
    "registration_reversed",
    "payment_voided",
    "registration_reversed_reversed",
];

/// An event that shares each of its keys with many others.
fn any_event(random: &mut Random) -> Value {
    let kind = random.pick(&TYPES);
    let number = u32::try_from(random.below(60)).unwrap();
    let mut event = event(number, kind, &random.time(), json!({}));
    event["event_id"] = json!(format!("e{}", random.below(400)));
    event["source_system"] = json!(random.pick(&["billing", "crm"]));
    event["account_id"] = json!(format!("a{}", random.below(4)));
    event["tld"] = json!(random.pick(&["com", "net"]));
    if random.chance(50) {
        event["request_id"] = json!(format!("r{}", random.below(30)));
    }
    if random.chance(80) {
        event["domain"] = json!(format!("d{}.com", random.below(25)));
    } else {
        event.as_object_mut().unwrap().remove("domain");
    }
    if kind.starts_with("payment") {
        event["amount_micros"] = json!(random.below(4) * 1_000_000);
        event["currency"] = json!(random.pick(&["EUR", "USD"]));
    }
    if kind.starts_with("abuse") && random.chance(90) {
        event["abuse_category"] = json!(random.pick(&["spam", "phishing"]));
    }
    if kind == "api_request" {
        event["latency_ms"] = json!(random.below(5));
    }
    if kind.ends_with("reversed") || kind.ends_with("voided") || random.chance(5) {
        if random.chance(30) {
            event["corrects_event_id"] = json!(format!("e{}", random.below(400)));
        } else {
            event["corrects"] = json!(format!("b{}", random.below(60)));
        }
        if random.chance(30) {
            event["corrects_type"] = json!(random.pick(&TYPES));
        }
    }
    if random.chance(5) {
        // Refused, until the same event comes without it.
        event["unknown"] = json!(1);
    }
    event
}

fn any_telemetry(random: &mut Random) -> Value {
    let ts = random.time();
    match random.below(3) {
        0 => {
            json!({"schema": "dns.fleet/1", "ts": ts, "window_seconds": 3600, "step_seconds": 3600,
            "grouping": "all", "vantage": random.pick(&["client", "server"]), "revision": random.below(3),
            "queries": random.below(100) + 10, "successes": 9, "retries": 0,
            "rcodes": [{"rcode": "SERVFAIL", "count": 1}], "statuses": {"answered": 9, "timeout": 1}})
        }
        1 => {
            json!({"schema": "dns.probe/1", "ts": ts, "event_id": format!("p{}", random.below(20)), "kind": "dns",
            "service": "www", "site": "fra", "ok": random.chance(50), "duration_ms": 5.0})
        }
        _ => {
            json!({"schema": "dns.alert/1", "ts": ts, "started": ts, "alert_id": format!("l{}", random.below(20)),
            "rule": "tunnel", "severity": random.pick(&["warning", "critical"])})
        }
    }
}

#[test]
fn values_of_what_is_new_are_those_of_all_facts() {
    let world = World::new();
    let mut random = Random(1);
    let compute = |words: &[&str]| -> Value {
        let output = world.ok(&[&["compute", "--final", "-o", "json"], words].concat());
        serde_json::from_str(&output).unwrap()
    };
    let mut last = json!(null);
    for (round, number) in [400_u32, 3, 25, 1, 9].into_iter().enumerate() {
        let events: Vec<Value> = (0..number).map(|_| any_event(&mut random)).collect();
        let others = (0..number.div_ceil(4)).map(|_| any_telemetry(&mut random));
        world.import(&format!("{round}.ndjson"), &[events, others.collect()].concat());
        last = compute(&[]);
        let (read, facts) = (last["facts_read"].as_u64(), last["facts"].as_u64());
        assert_eq!(read < facts, round > 0, "round {round}: {read:?} of {facts:?}");
    }
    // Nothing is left to commit: values, what is missing, and what the next computation goes on from are the same.
    let commits = world.files("log");
    let all = compute(&["--all"]);
    assert_eq!((&all["facts_read"], &all["changed"]), (&all["facts"], &json!(0)));
    assert_eq!(all["incomplete"], last["incomplete"]);
    assert_eq!(world.files("log"), commits);
}

#[test]
fn what_new_facts_do_not_show_is_computed_from_all() {
    let world = World::new();
    let day = "2026-03-01T10:00:00Z";
    let rows: Vec<Value> =
        (0..20).map(|number| event(number, "registration_completed", day, json!({}))).collect();
    world.import("a.ndjson", &rows);
    let read = |words: &[&str]| -> (u64, u64) {
        let output = world.ok(&[&["compute", "-o", "json"], words].concat());
        let outcome: Value = serde_json::from_str(&output).unwrap();
        let count = |name: &str| outcome[name].as_u64().unwrap();
        (count("facts_read"), count("facts"))
    };
    assert_eq!(read(&[]), (20, 20), "the first time");
    assert_eq!(read(&[]), (0, 20), "nothing is new");
    let one = event(50, "registration_completed", day, json!({}));
    let import = world.import("b.ndjson", &[one]);
    assert_eq!(read(&[]), (1, 21));
    // Another dictionary: one model says nothing of its keys.
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/metrics.yaml")).unwrap();
    let path = world.path("own.yaml").to_str().unwrap().to_owned();
    std::fs::write(&path, text.replacen("    keys: [domain]\n", "", 1)).unwrap();
    for number in [51, 52] {
        let rows = [event(number, "registration_completed", day, json!({}))];
        world.import(&format!("{number}.ndjson"), &rows);
        let (read, all) = read(&["--dictionary", &path]);
        assert_eq!(read, all);
    }
    assert_eq!(read(&[]), (23, 23), "the former dictionary again");
    world.ok(&["import", "--undo", import["sha256"].as_str().unwrap(), "--reason", "test"]);
    assert_eq!(read(&[]), (22, 22), "an import was taken back");
    let later = "2026-03-02T10:00:00Z";
    world.import("c.ndjson", &[event(53, "registration_completed", later, json!({}))]);
    assert_eq!(read(&["--date", "2026-03-01"]), (1, 23));
    assert_eq!(read(&[]), (0, 23), "the other day was not forgotten");
    world.import("d.ndjson", &[event(54, "registration_completed", day, json!({}))]);
    assert_eq!(read(&["--date", "2026-03-01", "--all"]), (24, 24));
    assert_eq!(read(&[]), (24, 24), "the days are not of one computation");
    assert_eq!(world.value("registrations", "2026-03-01").0, 23);
}
