//! Values worked out by hand from the descriptions of KPIs, without the dictionary's formulas: at least three scenes for each KPI,
//! of which one is hostile.

mod customers;
mod scenes;
mod slices;
mod windows;

use crate::world::{World, is_near};
use customers::SCENES_OF_CUSTOMERS;
use jiff::civil::date;
use scenes::MORE_SCENES;
use serde_json::{Value, json};

/// Events of one day and the value that the description of a KPI gives them. An event is `HH:MM:SS TYPE KEY FIELD=VALUE…`; with
/// `+N` before it, it comes N days later. Keys, domains and requests are those of the scene alone; without `domain`, that of a request has
/// its name, and any other the name of the event's key.
struct Scene {
    kpi: &'static str,
    events: &'static [&'static str],
    value: &'static str,
}

const fn scene(kpi: &'static str, events: &'static [&'static str], value: &'static str) -> Scene {
    Scene { kpi, events, value }
}

/// Days between the scenes: more than any horizon.
const APART: i32 = 9;

/// KPIs whose values depend on more than one day, or on refused rows: tests beside this one have them.
const ELSEWHERE: [&str; 6] = [
    "portfolio",
    "cohort_renewal_ratio",
    "rejected_ratio",
    "registrations_28d",
    "revenue_month_to_date",
    "cohort_lifetime_value",
];

/// KPIs of what may be more than what it is divided by.
const RATES: [&str; 4] = ["refund_ratio", "dns_retry_ratio", "api_error_ratio", "api_retry_ratio"];

const SCENES: &[Scene] = &[
    // Completed registrations.
    scene(
        "registrations",
        &[
            "10:00:00 registration_completed a",
            "11:00:00 registration_completed b",
            "12:00:00 registration_failed c",
            "13:00:00 registration_requested d",
        ],
        "2",
    ),
    scene(
        "registrations",
        &[
            "10:00:00 registration_completed a",
            "10:00:00 registration_completed a",
            "11:00:00 registration_completed b",
            "12:00:00 registration_completed c",
            "+1 09:00:00 registration_reversed r corrects=b",
        ],
        "2",
    ),
    // The last moment of the day and the first of the next; a reversal that is reversed; a payment with an equal key is voided.
    scene(
        "registrations",
        &[
            "23:59:59.999999 registration_completed a",
            "+1 00:00:00 registration_completed b",
            "10:00:00 registration_completed c",
            "11:00:00 registration_reversed r corrects=c",
            "12:00:00 registration_reversed s corrects=r",
            "10:00:00 registration_completed d",
            "10:00:00 payment_captured d amount_micros=5 currency=EUR",
            "11:00:00 payment_voided v corrects=d",
        ],
        "3",
    ),
    // Registrations that were completed, of those with an outcome.
    scene(
        "registration_success_ratio",
        &[
            "10:00:00 registration_completed a",
            "10:00:00 registration_completed b",
            "10:00:00 registration_completed c",
            "10:00:00 registration_failed d",
        ],
        "0.75",
    ),
    scene(
        "registration_success_ratio",
        &["10:00:00 registration_failed a", "10:00:00 registration_failed b"],
        "0.0",
    ),
    scene(
        "registration_success_ratio",
        &[
            "10:00:00 registration_requested a",
            "10:00:00 registration_completed b",
            "11:00:00 registration_reversed r corrects=b",
        ],
        "null",
    ),
    // Completed renewals.
    scene(
        "renewals",
        &[
            "10:00:00 renewal_completed a",
            "10:00:00 renewal_completed b",
            "10:00:00 renewal_declined c",
        ],
        "2",
    ),
    scene(
        "renewals",
        &[
            "10:00:00 renewal_completed a",
            "10:00:00 renewal_completed b",
            "+5 10:00:00 renewal_reversed r corrects=b",
        ],
        "1",
    ),
    scene(
        "renewals",
        &[
            "10:00:00 renewal_completed a",
            "+1 10:00:00 renewal_completed a",
            "10:00:00 renewal_failed b",
            "10:00:00 expired c",
        ],
        "1",
    ),
    // Completed renewals, of all domains that were renewed, declined or expired.
    scene(
        "renewal_ratio",
        &[
            "10:00:00 renewal_completed a",
            "10:00:00 renewal_completed b",
            "10:00:00 renewal_completed c",
            "10:00:00 renewal_declined d",
            "10:00:00 expired e",
        ],
        "0.6",
    ),
    scene("renewal_ratio", &["10:00:00 renewal_completed a"], "1.0"),
    scene(
        "renewal_ratio",
        &[
            "10:00:00 renewal_completed a",
            "10:00:00 renewal_declined b",
            "10:00:00 renewal_declined b",
            "10:00:00 renewal_failed c",
            "10:00:00 renewal_failed d",
        ],
        "0.5",
    ),
    // Completed incoming transfers minus completed outgoing transfers.
    scene(
        "net_transfers",
        &[
            "10:00:00 transfer_in_completed a",
            "10:00:00 transfer_in_completed b",
            "10:00:00 transfer_out_completed c",
        ],
        "1",
    ),
    scene(
        "net_transfers",
        &["10:00:00 transfer_out_completed a", "10:00:00 transfer_out_completed b"],
        "-2",
    ),
    scene(
        "net_transfers",
        &[
            "10:00:00 transfer_in_completed a",
            "10:00:00 transfer_in_completed b",
            "+2 10:00:00 transfer_reversed r corrects=b",
            "10:00:00 transfer_out_completed c",
            "10:00:00 transfer_in_requested d",
            "10:00:00 transfer_in_failed e",
        ],
        "0",
    ),
    // Domains with a requested incoming transfer that was completed within 7 days, by the day of the request.
    scene(
        "transfer_completion_ratio",
        &[
            "10:00:00 transfer_in_requested a domain=a",
            "10:00:00 transfer_in_requested b domain=b",
            "+3 10:00:00 transfer_in_completed c domain=a",
        ],
        "0.5",
    ),
    scene(
        "transfer_completion_ratio",
        &[
            "10:00:00 transfer_in_requested a domain=a",
            "12:00:00 transfer_in_requested b domain=a",
            "+1 10:00:00 transfer_in_completed c domain=a",
        ],
        "1.0",
    ),
    // Exactly 7 days; a second more; before the request; completed and then reversed.
    scene(
        "transfer_completion_ratio",
        &[
            "10:00:00 transfer_in_requested a domain=a",
            "10:00:00 transfer_in_requested b domain=b",
            "10:00:00 transfer_in_requested c domain=c",
            "10:00:00 transfer_in_requested d domain=d",
            "+7 10:00:00 transfer_in_completed e domain=a",
            "+7 10:00:01 transfer_in_completed f domain=b",
            "09:00:00 transfer_in_completed g domain=c",
            "11:00:00 transfer_in_completed h domain=d",
            "12:00:00 transfer_reversed r corrects=h",
        ],
        "0.25",
    ),
    // Abuse reports, one for each domain, category and day.
    scene(
        "abuse_reports",
        &[
            "10:00:00 abuse_reported a domain=a abuse_category=spam",
            "10:00:00 abuse_reported b domain=b abuse_category=spam",
            "10:00:00 abuse_reported c domain=c abuse_category=spam",
        ],
        "3",
    ),
    scene(
        "abuse_reports",
        &[
            "10:00:00 abuse_reported a domain=a abuse_category=spam",
            "11:00:00 abuse_reported b domain=a abuse_category=spam",
            "12:00:00 abuse_reported c domain=a abuse_category=malware",
        ],
        "2",
    ),
    scene(
        "abuse_reports",
        &[
            "10:00:00 abuse_reported a domain=a abuse_category=spam",
            "11:00:00 abuse_reported b domain=a abuse_category=spam",
            "12:00:00 abuse_reversed r corrects=a",
            "10:00:00 abuse_reported c domain=b abuse_category=spam",
            "12:00:00 abuse_reversed s corrects=c",
            "+1 10:00:00 abuse_reported d domain=a abuse_category=spam",
        ],
        "1",
    ),
    // Median time from an abuse report to the first response of the same request, by the day of the report.
    scene(
        "abuse_first_response_hours_p50",
        &[
            "10:00:00 abuse_reported a domain=a request_id=a",
            "12:00:00 abuse_first_response b request_id=a",
            "10:00:00 abuse_reported c domain=c request_id=c",
            "14:00:00 abuse_first_response d request_id=c",
            "10:00:00 abuse_reported e domain=e request_id=e",
            "19:00:00 abuse_first_response f request_id=e",
        ],
        "4.0",
    ),
    scene(
        "abuse_first_response_hours_p50",
        &[
            "10:00:00 abuse_reported a domain=a request_id=a",
            "11:00:00 abuse_first_response b request_id=a",
            "10:00:00 abuse_reported c domain=c request_id=c",
            "12:00:00 abuse_first_response d request_id=c",
        ],
        "1.5",
    ),
    // A second response; one after a day; none; one before the report.
    scene(
        "abuse_first_response_hours_p50",
        &[
            "10:00:00 abuse_reported a domain=a request_id=a",
            "12:00:00 abuse_first_response b request_id=a",
            "15:00:00 abuse_first_response c request_id=a",
            "10:00:00 abuse_reported d domain=d request_id=d",
            "+1 16:00:00 abuse_first_response e request_id=d",
            "10:00:00 abuse_reported f domain=f request_id=f",
            "10:00:00 abuse_reported g domain=g request_id=g",
            "09:00:00 abuse_first_response h request_id=g",
        ],
        "16.0",
    ),
    // One request for two domains; neither report nor response has a request; one of both has none; a response before the report, and one
    // that names another domain.
    scene(
        "abuse_first_response_hours_p50",
        &[
            "10:00:00 abuse_reported a domain=a request_id=r",
            "11:00:00 abuse_reported b domain=b request_id=r",
            "12:00:00 abuse_first_response c domain=a request_id=r",
            "10:00:00 abuse_reported d domain=d",
            "10:30:00 abuse_first_response e domain=d",
            "10:00:00 abuse_reported i domain=i request_id=i",
            "10:15:00 abuse_first_response j domain=i",
            "10:00:00 abuse_reported f domain=f request_id=f",
            "09:00:00 abuse_first_response g domain=f request_id=f",
            "+1 04:00:00 abuse_first_response h domain=z request_id=f",
        ],
        "2.0",
    ),
    scene(
        "abuse_first_response_hours_p50",
        &["10:00:00 abuse_reported a domain=a", "12:00:00 abuse_first_response b domain=a"],
        "null",
    ),
    // Abuse reports whose first response came within 24 hours, of all reports, by the day of the report.
    scene(
        "abuse_response_sla_ratio",
        &[
            "10:00:00 abuse_reported a domain=a request_id=a",
            "12:00:00 abuse_first_response b request_id=a",
            "10:00:00 abuse_reported c domain=c request_id=c",
            "+1 09:00:00 abuse_first_response d request_id=c",
        ],
        "1.0",
    ),
    scene(
        "abuse_response_sla_ratio",
        &[
            "10:00:00 abuse_reported a domain=a request_id=a",
            "12:00:00 abuse_first_response b request_id=a",
            "10:00:00 abuse_reported c domain=c request_id=c",
            "+1 11:00:00 abuse_first_response d request_id=c",
        ],
        "0.5",
    ),
    // Nobody answers three of four, of which one has no case.
    scene(
        "abuse_response_sla_ratio",
        &[
            "10:00:00 abuse_reported a domain=a request_id=a",
            "12:00:00 abuse_first_response b request_id=a",
            "10:00:00 abuse_reported c domain=c request_id=c",
            "10:00:00 abuse_reported d domain=d request_id=d",
            "10:00:00 abuse_reported e domain=e",
        ],
        "0.25",
    ),
    // One request for two domains; no request at all; a request that the response does not name.
    scene(
        "abuse_response_sla_ratio",
        &[
            "10:00:00 abuse_reported a domain=a request_id=r",
            "11:00:00 abuse_reported b domain=b request_id=r",
            "12:00:00 abuse_first_response c domain=z request_id=r",
            "10:00:00 abuse_reported d domain=d",
            "11:00:00 abuse_first_response e domain=d",
            "10:00:00 abuse_reported i domain=i request_id=i",
            "11:00:00 abuse_first_response j domain=i",
        ],
        "0.75",
    ),
    // Requested restores that were completed within 7 days, by the day of the request.
    scene(
        "restore_completion_ratio",
        &[
            "10:00:00 restore_requested a request_id=a",
            "+2 10:00:00 restore_completed b request_id=a",
            "10:00:00 restore_requested c request_id=c",
            "10:00:00 restore_failed d request_id=c",
        ],
        "0.5",
    ),
    scene(
        "restore_completion_ratio",
        &[
            "10:00:00 restore_requested a request_id=a",
            "+7 10:00:01 restore_completed b request_id=a",
        ],
        "0.0",
    ),
    scene(
        "restore_completion_ratio",
        &[
            "10:00:00 restore_requested a request_id=a",
            "10:00:00 restore_completed b request_id=a",
            "10:00:00 restore_completed c request_id=c",
            "10:00:00 restore_completed d request_id=d",
        ],
        "1.0",
    ),
    // Captured payments minus refunded payments, in millionths of the currency's unit.
    scene(
        "revenue",
        &[
            "10:00:00 payment_captured a amount_micros=10000000 currency=EUR",
            "10:00:00 payment_captured b amount_micros=20000000 currency=EUR",
            "10:00:00 payment_refunded c amount_micros=5000000 currency=EUR",
        ],
        "{\"EUR\": 25000000}",
    ),
    scene(
        "revenue",
        &[
            "10:00:00 payment_captured a amount_micros=10000000 currency=EUR",
            "10:00:00 payment_captured b amount_micros=20000000 currency=EUR",
            "+3 10:00:00 payment_voided v corrects=b",
            "10:00:00 payment_failed c amount_micros=7000000 currency=EUR",
        ],
        "{\"EUR\": 10000000}",
    ),
    // Delivered twice; a refund that is voided; another currency; a refund of an earlier day's payment.
    scene(
        "revenue",
        &[
            "10:00:00 payment_captured a amount_micros=10000000 currency=EUR",
            "10:00:00 payment_captured a amount_micros=10000000 currency=EUR",
            "11:00:00 payment_refunded b amount_micros=10000000 currency=EUR",
            "12:00:00 payment_voided v corrects=b",
            "10:00:00 payment_refunded c amount_micros=3000000 currency=USD",
        ],
        "{\"EUR\": 10000000, \"USD\": -3000000}",
    ),
    // Failed payments, of all payments with an outcome.
    scene(
        "payment_failure_ratio",
        &[
            "10:00:00 payment_captured a amount_micros=1 currency=EUR",
            "10:00:00 payment_failed b amount_micros=1 currency=EUR",
        ],
        "0.5",
    ),
    scene(
        "payment_failure_ratio",
        &["10:00:00 payment_captured a amount_micros=1 currency=EUR"],
        "0.0",
    ),
    scene(
        "payment_failure_ratio",
        &[
            "10:00:00 payment_captured a amount_micros=1 currency=EUR",
            "11:00:00 payment_voided v corrects=a",
            "10:00:00 payment_failed b",
            "10:00:00 payment_failed b",
            "10:00:00 payment_refunded c amount_micros=1 currency=EUR",
        ],
        "1.0",
    ),
    // Carts that became a registration within 7 days, by the day of the cart.
    scene(
        "cart_conversion_ratio",
        &[
            "10:00:00 cart_created a request_id=a",
            "11:00:00 registration_completed b request_id=a",
            "10:00:00 cart_created c request_id=c",
        ],
        "0.5",
    ),
    scene(
        "cart_conversion_ratio",
        &[
            "10:00:00 cart_created a request_id=a",
            "+8 10:00:00 registration_completed b request_id=a",
        ],
        "0.0",
    ),
    scene(
        "cart_conversion_ratio",
        &[
            "10:00:00 cart_created a request_id=a",
            "11:00:00 cart_created b request_id=a",
            "12:00:00 registration_completed c request_id=a",
            "10:00:00 cart_created d request_id=d",
            "09:00:00 registration_completed e request_id=d",
        ],
        "0.5",
    ),
    // Domains that were deleted or transferred away.
    scene("churn", &["10:00:00 deleted a", "10:00:00 transfer_out_completed b"], "2"),
    scene("churn", &["10:00:00 expired a", "10:00:00 deleted b"], "1"),
    scene(
        "churn",
        &[
            "10:00:00 deleted a",
            "11:00:00 deleted_reversed r corrects=a",
            "10:00:00 transfer_out_requested b",
            "10:00:00 transfer_out_failed c",
            "10:00:00 deleted d",
            "10:00:00 deleted d",
        ],
        "1",
    ),
    // Queries that ended with SERVFAIL or a timeout, of all queries of the fleet.
    scene("dns_query_error_ratio", &["10:00:00 dns queries=100 servfail=3 timeout=2"], "0.05"),
    scene(
        "dns_query_error_ratio",
        &[
            "10:00:00 dns queries=100 servfail=10 timeout=0",
            "11:00:00 dns queries=900 servfail=0 timeout=0",
        ],
        "0.01",
    ),
    // A later revision, which came first; another grouping; a window without queries.
    scene(
        "dns_query_error_ratio",
        &[
            "10:00:00 dns queries=200 servfail=1 timeout=1 revision=1",
            "10:00:00 dns queries=100 servfail=50 timeout=0 revision=0",
            "10:00:00 dns queries=500 servfail=500 timeout=0 grouping=resolver",
            "11:00:00 dns queries=0 servfail=0 timeout=0",
        ],
        "0.01",
    ),
    // Eight of nine SERVFAIL are of queries that had timed out, or repeat another response.
    scene(
        "dns_query_error_ratio",
        &["10:00:00 dns queries=10 successes=5 servfail=9 timeout=4"],
        "0.5",
    ),
];

/// Makes the record that a line of a scene describes.
fn record(index: usize, number: usize, line: &str) -> Value {
    let mut words = line.split(' ').peekable();
    let later = words.next_if(|word| word.starts_with('+'));
    let later: i32 = later.map_or(0, |word| word.parse().unwrap());
    let day = day(index, later);
    let time = words.next().unwrap();
    let kind = words.next().unwrap();
    let own = |key: &str| format!("s{index}-{key}");
    if kind == "dns" {
        let mut window = json!({"schema": "dns.fleet/1", "ts": format!("{day}T{time}Z"), "window_seconds": 3600,
            "step_seconds": 3600, "grouping": "all", "vantage": "client", "revision": 0, "successes": 0, "retries": 0});
        let mut servfail = 0;
        for (name, value) in words.map(|word| word.split_once('=').unwrap()) {
            match name {
                "servfail" => servfail = value.parse().unwrap(),
                "timeout" => {
                    let timeout: i64 = value.parse().unwrap();
                    window["statuses"] = json!({"answered": 0, "timeout": timeout});
                }
                "grouping" | "region" => window[name] = json!(value),
                _ => window[name] = json!(value.parse::<i64>().unwrap()),
            }
        }
        window["rcodes"] = json!([{"rcode": "SERVFAIL", "count": servfail}]);
        return window;
    }
    let key = words.next().unwrap();
    if kind == "probe" {
        let mut probe = json!({"schema": "dns.probe/1", "ts": format!("{day}T{time}Z"), "event_id": own(key),
            "kind": "dns", "service": "shop"});
        for (name, value) in words.map(|word| word.split_once('=').unwrap()) {
            probe[name] = serde_json::from_str(value).unwrap();
        }
        return probe;
    }
    if kind == "alert" {
        let mut alert = json!({"schema": "dns.alert/1", "ts": format!("{day}T{time}Z"), "alert_id": own(key),
            "started": format!("{day}T{time}Z"), "state": "firing", "severity": "warning", "rule": "servfail"});
        for (name, value) in words.map(|word| word.split_once('=').unwrap()) {
            alert[name] = json!(value);
        }
        return alert;
    }
    let request = words.clone().find_map(|word| word.strip_prefix("request_id="));
    let mut event = json!({"event_id": format!("s{index}-{number}"), "business_key": own(key), "event_type": kind,
        "event_ts": format!("{day}T{time}Z"), "domain": format!("{}.com", own(request.unwrap_or(key)))});
    for (name, value) in words.map(|word| word.split_once('=').unwrap()) {
        if name == "arrival" {
            let next = value.strip_prefix("+1:");
            let (day, time) = next.map_or((day, value), |time| (day.tomorrow().unwrap(), time));
            event["ingest_ts"] = json!(format!("{day}T{time}Z"));
            continue;
        }
        event[name] = match name {
            "amount_micros" | "latency_ms" => json!(value.parse::<i64>().unwrap()),
            "domain" if value.is_empty() => Value::Null,
            "domain" => json!(format!("{}.com", own(value))),
            "corrects" | "request_id" | "account_id" => json!(own(value)),
            _ => json!(value),
        };
    }
    event
}

fn day(index: usize, later: i32) -> jiff::civil::Date {
    let days = i32::try_from(index).unwrap() * APART + later;
    date(2016, 1, 1).saturating_add(jiff::Span::new().days(days))
}

#[test]
fn values_are_those_of_the_descriptions() {
    let world = World::new();
    let scenes = || SCENES.iter().chain(MORE_SCENES).chain(SCENES_OF_CUSTOMERS).enumerate();
    let rows: Vec<Value> = scenes()
        .flat_map(|(index, scene)| {
            let lines = scene.events.iter().enumerate();
            lines.map(move |(number, line)| record(index, number, line))
        })
        .collect();
    let file = world.path("scenes.ndjson");
    let text: Vec<String> = rows.iter().map(Value::to_string).collect();
    std::fs::write(&file, text.join("\n")).unwrap();
    let imported =
        world.ok(&["import", file.to_str().unwrap(), "--source", "scenes", "-o", "json"]);
    let imported: Value = serde_json::from_str(&imported).unwrap();
    assert_eq!(imported["rejected"], json!({}));
    world.compute();
    let server = world.serve(&["--no-auth"]);
    let mut wrong = Vec::new();
    for (index, Scene { kpi, events, value }) in scenes() {
        let expected: Value = serde_json::from_str(value).unwrap();
        let day = day(index, 0);
        let found = World::values(&server, &format!("/v1/kpis/{kpi}?date={day}"));
        let is_right = match &expected {
            Value::Object(slices) => slices.iter().all(|(slice, expected)| {
                found
                    .get(&format!("{day}/{slice}"))
                    .is_some_and(|found| is_near(&found["value"], expected))
            }),
            one => is_near(&found[&day.to_string()]["value"], one),
        };
        if !is_right {
            wrong.push(format!("{kpi}, {events:#?}: expected {expected}, found {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for kpi in server.get("/v1/kpis").1["kpis"].as_array().unwrap() {
        let name = kpi["name"].as_str().unwrap();
        let count = scenes().filter(|(_, scene)| scene.kpi == name).count();
        assert!(count >= 3 || ELSEWHERE.contains(&name), "{name}: {count} scenes");
        // A share is not above 1.
        if kpi["unit"] == "ratio" && !RATES.contains(&name) {
            let values = World::values(&server, &format!("/v1/kpis/{name}?limit=10000"));
            let above = values.iter().find(|(_, value)| value["value"].as_f64() > Some(1.0));
            assert_eq!(above, None, "{name}");
        }
    }
}
