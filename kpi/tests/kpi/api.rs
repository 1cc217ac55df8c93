//! The metrics API, and the page that people see.

use crate::world::{World, event};
use dnscribe_tests::certificates::{Authority, Validity};
use dnscribe_tests::prometheus;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::process::Command;

#[test]
fn api_answers_as_its_document_says() {
    let world = World::with_kpis(&["abuse_reports", "registrations", "revenue"]);
    let rows = [
        event(
            1,
            "payment_captured",
            "2026-03-01T10:00:00Z",
            json!({"amount_micros": 5_000_000, "currency": "EUR"}),
        ),
        event(
            2,
            "payment_captured",
            "2026-03-01T10:00:00Z",
            json!({"amount_micros": 7, "currency": "USD"}),
        ),
        event(
            3,
            "payment_refunded",
            "2026-03-01T11:00:00Z",
            json!({"amount_micros": 2_000_000, "currency": "EUR"}),
        ),
        event(
            4,
            "payment_captured",
            "2026-03-01T12:00:00Z",
            json!({"amount_micros": 1, "currency": "EUR"}),
        ),
        event(5, "payment_voided", "2026-03-08T12:00:00Z", json!({"corrects": "b4"})),
    ];
    world.import("a.ndjson", &rows);
    world.compute();
    let hash = "fcf730b6d95236ecd3c9fc2d92d7b6b2bb061514961aec041d6c7a7192f592e4";
    let tokens = world.path("tokens.yaml");
    fs::write(
        &tokens,
        format!("version: 1\ntokens:\n  - {{name: finance, sha256: {hash}, scopes: [sales]}}\n"),
    )
    .unwrap();
    let server = world.serve(&["--tokens", tokens.to_str().unwrap()]);
    let bearer = "Authorization: Bearer secret123\r\n";

    let (status, head, body) = server.request("GET", "/v1/kpis/revenue", "");
    assert_eq!(status, 401);
    assert!(
        head.contains("www-authenticate: bearer") && head.contains("application/problem+json"),
        "{head}"
    );
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["status"], 401);
    let status = |path: &str| server.request("GET", path, bearer).0;
    assert_eq!(status("/v1/kpis/revenue"), 200);
    assert_eq!(status("/v1/kpis/abuse_reports"), 403);
    assert_eq!(status("/v1/kpis/nothing"), 404);
    assert_eq!(status("/v1/kpis/revenue?grain=minute"), 400);
    assert_eq!(status("/v1/kpis/revenue?limit=0"), 400);
    let (status_of_path, head, _) = server.request("GET", "/v1/kpis/%FF", bearer);
    assert!(status_of_path == 400 && head.contains("application/problem+json"), "{head}");
    assert_eq!(status("/v1/kpis/revenue/lineage"), 200);
    assert_eq!(server.request("POST", "/v1/kpis", bearer).0, 405);
    assert_eq!(server.get("/v1/health").0, 200);
    assert_eq!(server.request("GET", "/metrics", "").0, 401);
    let (_, _, page) = server.request("GET", "/metrics", bearer);
    assert!(page.contains("kpi=\"revenue\"") && !page.contains("kpi=\"abuse_reports\""), "{page}");
    let document = server.get("/openapi.json").1;
    assert_eq!(document["openapi"], "3.1.0");
    let (_, head, _) = server.request("GET", "/v1/kpis/revenue", bearer);
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    let again = format!("{bearer}If-None-Match: {tag}\r\n");
    assert_eq!(server.request("GET", "/v1/kpis/revenue", &again).0, 304);
    let responses = &document["paths"]["/v1/kpis/{name}"]["get"]["responses"];
    assert!(responses["304"].is_object(), "{responses}");

    let (_, _, body) =
        server.request("GET", "/v1/kpis/revenue?from=2026-03-01&to=2026-03-01", bearer);
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&answer["kpi"], &answer["unit"], &answer["grain"]),
        (&json!("revenue"), &json!("micros"), &json!("day"))
    );
    assert!(answer["as_of"].is_string() && answer["freshness_seconds"].is_i64(), "{answer}");
    let values: BTreeMap<_, _> = answer["values"]
        .as_array()
        .unwrap()
        .iter()
        .map(|value| (value["by"]["currency"].as_str().unwrap(), value["value"].as_i64().unwrap()))
        .collect();
    assert_eq!(values, BTreeMap::from([("EUR", 3_000_000), ("USD", 7)]));
    let page = |query: &str| -> (usize, Value) {
        let path = format!("/v1/kpis/revenue?date=2026-03-01&{query}");
        let page: Value = serde_json::from_str(&server.request("GET", &path, bearer).2).unwrap();
        (page["values"].as_array().unwrap().len(), page["next_offset"].clone())
    };
    assert_eq!(page("limit=1"), (1, json!(1)));
    assert_eq!(page("limit=1&offset=1"), (1, Value::Null));
    assert_eq!(page("offset=18446744073709551615"), (0, Value::Null));
    let (_, _, body) = server.request("GET", "/v1/kpis", bearer);
    let listed: Value = serde_json::from_str(&body).unwrap();
    assert!(listed["kpis"].as_array().unwrap().iter().all(|kpi| kpi["family"] == "sales"));
}

/// A running total has a sum for each slice on each day.
#[test]
fn an_answer_has_no_more_sums_than_memory_is_for() {
    let world = World::with_kpis(&["portfolio", "registrations"]);
    let rows = (0..30).map(|number| {
        let channel = json!({"channel": format!("c{number}")});
        event(number, "registration_completed", "2026-03-01T10:00:00Z", channel)
    });
    world.import("a.ndjson", &rows.collect::<Vec<_>>());
    world.compute();
    let server = world.serve(&["--no-auth"]);
    let century = "from=2026-03-01&to=2126-02-01";
    let (status, answer) = server.get(&format!("/v1/kpis/portfolio?{century}&by=channel&limit=1"));
    let detail = answer["detail"].as_str().unwrap();
    assert!(status == 400 && detail.contains("more than 1000000 sums"), "{status} {answer}");
    assert!(detail.contains("fewer days, a longer grain"), "{detail}");
    // As many days without slices, one slice, and longer spans.
    for more in ["", "&by=channel&filter=channel=c1", "&by=channel&grain=year"] {
        assert_eq!(
            server.get(&format!("/v1/kpis/portfolio?{century}{more}&limit=1")).0,
            200,
            "{more}"
        );
    }
    // An answer that is too long to be kept has the same pages.
    let page = |offset: usize| {
        let path = format!(
            "/v1/kpis/portfolio?from=2026-03-01&to=2027-03-01&by=channel&limit=9000&offset={offset}"
        );
        let page = server.get(&path).1;
        (page["values"].as_array().unwrap().clone(), page["next_offset"].clone())
    };
    let (first, next) = page(0);
    let (second, end) = page(9000);
    assert_eq!((next, end), (json!(9000), Value::Null));
    assert_eq!((first.len(), second.len()), (9000, 366 * 30 - 9000));
    assert_eq!((&first[0]["from"], &first[0]["value"]), (&json!("2026-03-01"), &json!(1)));
    assert_eq!((&first[8999], &second[0]), (&page(8999).0[0], &page(8999).0[1]));
    assert_eq!(page(366 * 30).0.len(), 0);
}

/// A day that is not over is nothing to act on, nor is one whose horizon is not.
#[test]
fn nothing_is_judged_on_the_first_day() {
    let world = World::with_kpis(&["registration_success_ratio", "registrations"]);
    let now = jiff::Timestamp::now().to_string();
    world.import("a.ndjson", &[event(1, "registration_failed", &now, json!({}))]);
    world.compute();
    let server = world.serve(&["--no-auth"]);
    let kpis = server.get("/v1/kpis").1;
    for kpi in kpis["kpis"].as_array().unwrap() {
        assert_eq!(kpi["verdicts"], json!([]), "{kpi}");
    }
    let (_, _, page) = server.request("GET", "/metrics", "");
    for metric in ["dnscribe_kpi_value{", "dnscribe_kpi_rule_fires{", "dnscribe_kpi_day_timestamp"]
    {
        assert!(!page.lines().any(|line| line.starts_with(metric)), "{page}");
    }
    let (_, values) = server.get("/v1/kpis/registration_success_ratio");
    assert_eq!(values["values"][0]["value"], 0.0, "the API has it: {values}");
}

#[test]
fn metrics_have_the_values_of_the_last_day() {
    let world = World::with_kpis(&["dns_query_error_ratio", "registrations", "revenue"]);
    let at = |day: u32| format!("2026-03-{day:02}T10:00:00Z");
    let money =
        |amount: u32, currency: &str| json!({"amount_micros": amount, "currency": currency});
    let rows = [
        event(1, "registration_completed", &at(1), json!({})),
        event(2, "registration_completed", &at(8), json!({})),
        event(3, "registration_completed", &at(8), json!({"domain": "other.com"})),
        event(4, "payment_captured", &at(8), money(5_000_000, "EUR")),
        event(5, "payment_captured", &at(8), money(7, "USD")),
    ];
    world.import("a.ndjson", &rows);
    world.compute();
    let server = world.serve(&["--no-auth"]);
    let (status, head, page) = server.request("GET", "/metrics", "");
    assert_eq!(status, 200);
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    assert_eq!(prometheus::check_metrics(&page).unwrap(), "");
    let of = |kpi: &str, family: &str, unit: &str, slice: &str| {
        format!("{{kpi=\"{kpi}\",family=\"{family}\",unit=\"{unit}\",slice=\"{slice}\"}}")
    };
    let registrations = of("registrations", "sales", "domains", "");
    for line in [
        format!("dnscribe_kpi_value{registrations} 2"),
        format!("dnscribe_kpi_value_week_before{registrations} 1"),
        format!("dnscribe_kpi_value{} 5000000", of("revenue", "sales", "micros", "EUR")),
        format!("dnscribe_kpi_value{} 7", of("revenue", "sales", "micros", "USD")),
        "dnscribe_kpi_day_timestamp_seconds 1772928000".to_owned(),
        "dnscribe_kpi_rejected_rows 0".to_owned(),
    ] {
        assert!(page.lines().any(|found| found == line), "no {line} in {page}");
    }
    assert!(!page.contains("kpi=\"dns_query_error_ratio\",family=\"operations\",unit=\"ratio\""));
}

#[test]
fn rules_say_whether_somebody_should_act() {
    let world = World::with_kpis(&[
        "registration_failures",
        "registration_success_ratio",
        "registrations",
        "transfer_completion_ratio",
        "transfers_in",
    ]);
    let mut rows = Vec::new();
    let mut add = |kind: &str, day: u32, numbers: std::ops::Range<u32>| {
        for number in numbers {
            let fields = json!({ "domain": format!("d{number}.example") });
            rows.push(event(number, kind, &format!("2026-03-{day:02}T10:00:00Z"), fields));
        }
    };
    add("registration_completed", 1, 1..6);
    add("registration_completed", 8, 6..9);
    add("registration_failed", 8, 9..10);
    world.import("a.ndjson", &rows);
    world.compute();
    let server = world.serve(&["--no-auth"]);
    let (_, listed) = server.get("/v1/kpis");
    let (_, _, page) = server.request("GET", "/metrics", "");
    let verdict = |name: &str| {
        let kpis = listed["kpis"].as_array().unwrap();
        let kpi = kpis.iter().find(|kpi| kpi["name"] == name).unwrap();
        kpi["verdicts"][0].clone()
    };
    let metric = |name: &str| {
        let start = format!("dnscribe_kpi_rule_fires{{kpi=\"{name}\"");
        let line = page.lines().find(|line| line.starts_with(&start));
        line.and_then(|line| line.rsplit(' ').next()).map(str::to_owned)
    };
    // 3 are below 0.8 of 5, and 3 of 4 below 0.97.
    for (name, bound) in [("registrations", 4.0), ("registration_success_ratio", 0.97)] {
        let found = verdict(name);
        assert_eq!((&found["state"], &found["day"]), (&json!("fires"), &json!("2026-03-08")));
        assert_eq!(found["bound"].as_f64(), Some(bound), "{name}");
        assert_eq!(metric(name).as_deref(), Some("1"), "{page}");
    }
    // No week of values tells what is usual, and no transfer was due.
    for name in ["registration_failures", "transfer_completion_ratio"] {
        let found = verdict(name);
        assert_eq!(found["state"], "muted", "{found}");
        assert!(!found["reason"].as_str().unwrap().is_empty());
        assert_eq!(metric(name), None, "{page}");
    }
    assert_eq!(verdict("transfers_in"), Value::Null, "it has no rule");
}

#[test]
fn serves_with_tls_beside_clients_that_say_nothing() {
    let world = World::with_kpis(&["registrations"]);
    world.import(
        "a.ndjson",
        &[event(1, "registration_completed", "2026-03-01T10:00:00Z", json!({}))],
    );
    world.compute();
    let authority = Authority::new("dnscribe tests").unwrap();
    let identity = authority.server(&["localhost", "127.0.0.1"], Validity::Current).unwrap();
    let files = [
        ("ca.pem", authority.pem().unwrap()),
        ("cert.pem", identity.certificate),
        ("key.pem", identity.key),
    ];
    let [ca, certificate, key] = files.map(|(name, pem)| {
        fs::write(world.path(name), pem).unwrap();
        world.path(name).to_str().unwrap().to_owned()
    });
    let words = ["--no-auth", "--tls-cert", &certificate, "--tls-key", &key];
    let server = world.serve(&words);
    let silent: Vec<TcpStream> =
        (0..100).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
    let url =
        format!("https://{}/v1/kpis/registrations?from=2026-03-01&to=2026-03-01", server.address);
    let curl = |options: &[&str]| {
        Command::new("curl")
            .args(["-sS", "--max-time", "5"])
            .args(options)
            .arg(&url)
            .output()
            .unwrap()
    };
    let answer = curl(&["--cacert", &ca]);
    let answer: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!(answer["values"][0]["value"], 1);
    let code = |options: &[&str]| curl(options).status.code();
    assert_eq!(code(&[]), Some(60), "a certificate that curl does not trust");
    assert_eq!(code(&["--cacert", &ca, "--tls-max", "1.1"]), Some(35), "a version that is too old");
    drop(silent);
}

#[test]
fn serves_without_tokens_on_loopback_only() {
    let world = World::new();
    for (words, problem) in [
        (vec!["serve", "--listen", "0.0.0.0:0", "--no-auth"], "not a loopback address"),
        (vec!["serve", "--listen", "127.0.0.1:0"], "requests need tokens"),
    ] {
        let output = world.run(&words);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(problem));
    }
}

#[test]
fn report_is_one_file_with_its_data() {
    let world = World::with_kpis(&["registrations"]);
    world.import(
        "a.ndjson",
        &[event(1, "registration_completed", "2026-03-01T10:00:00Z", json!({}))],
    );
    world.compute();
    let html = world.ok(&["report"]);
    assert!(html.contains("id=\"data\"") && html.contains("\"registrations\""));
    assert!(!html.contains("src=") && !html.contains("http://127"));
}
