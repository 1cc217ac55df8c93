//! The metrics API, and the page that people see.

use crate::world::{World, event};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;

#[test]
fn api_answers_as_its_document_says() {
    let world = World::new();
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
    assert_eq!(status("/v1/kpis/revenue?grain=hour"), 400);
    assert_eq!(status("/v1/kpis/revenue/lineage"), 200);
    assert_eq!(server.request("POST", "/v1/kpis", bearer).0, 405);
    assert_eq!(server.get("/v1/health").0, 200);
    assert_eq!(server.get("/openapi.json").1["openapi"], "3.1.0");

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
    let (_, _, body) = server.request("GET", "/v1/kpis", bearer);
    let listed: Value = serde_json::from_str(&body).unwrap();
    assert!(listed["kpis"].as_array().unwrap().iter().all(|kpi| kpi["family"] == "sales"));
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
    let world = World::new();
    world.import(
        "a.ndjson",
        &[event(1, "registration_completed", "2026-03-01T10:00:00Z", json!({}))],
    );
    world.compute();
    let html = world.ok(&["report"]);
    assert!(html.contains("id=\"data\"") && html.contains("\"registrations\""));
    assert!(!html.contains("src=") && !html.contains("http://127"));
}
