//! Tests of what a dictionary may say.

use super::*;

#[test]
fn kpis_are_made_of_kpis() {
    let dictionary = Dictionary::load(None).unwrap();
    let (total, growth) =
        (dictionary.kpi("portfolio").unwrap(), dictionary.kpi("portfolio_growth").unwrap());
    assert_eq!((&total.plus, &total.minus), (&growth.plus, &growth.minus));
    let with = |plus: &str, over: &str| {
        let kpi = format!(
            "\n  - name: made\n    label: Made\n    family: sales\n    description: Made of others.\n    type: ratio\n    plus: [{plus}]\n    \
             minus: [\"kpi:net_transfers\"]\n    over: [{over}]\n    unit: ratio\n    cadence: daily\n    owner: sales\n    \
             decision: {{ action: None., runbook: docs/kpi.md#sales }}\n"
        );
        Dictionary::parse(&format!("{}{kpi}", BUILT_IN.trim_end()), "test")
    };
    let made = with("\"kpi:portfolio_growth\"", "\"kpi:transfers_in\"").unwrap();
    let made = made.kpi("made").unwrap();
    assert_eq!(
        made.plus,
        [
            "registration_completed",
            "transfer_in_completed",
            "restore_completed",
            "transfer_out_completed"
        ]
    );
    assert_eq!(made.minus, ["deleted", "transfer_out_completed", "transfer_in_completed"]);
    assert_eq!(made.over, ["transfer_in_completed"]);
    assert_eq!(dictionary.kpi("revenue_month_to_date").unwrap().always_by, ["currency"]);
    for (plus, over, problem) in [
        ("\"kpi:refund_ratio\"", "registration_completed", "kpi:refund_ratio: no KPI above"),
        ("\"kpi:made\"", "registration_completed", "kpi:made: no KPI above"),
        ("registration_completed", "\"kpi:revenue\"", "over: nothing can be subtracted"),
    ] {
        let error = with(plus, over).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn built_in_dictionary_has_the_kpis_of_the_contract() {
    let dictionary = Dictionary::load(None).unwrap();
    assert!(dictionary.kpis.len() >= 40, "{}", dictionary.kpis.len());
    for name in [
        "registrations",
        "registration_success_ratio",
        "renewals",
        "renewal_ratio",
        "net_transfers",
        "transfer_completion_ratio",
        "abuse_reports",
        "abuse_first_response_hours_p50",
        "revenue",
        "dns_query_error_ratio",
    ] {
        assert!(dictionary.kpi(name).is_some(), "{name}");
    }
    for kpi in &dictionary.kpis {
        assert!(!dictionary.dimensions(kpi).is_empty(), "{}", kpi.name);
        assert!(!dictionary.sources(kpi).is_empty(), "{}", kpi.name);
    }
    let used: BTreeSet<&str> = dictionary.kpis.iter().flat_map(Kpi::measures).collect();
    for measure in &dictionary.measures {
        assert!(used.contains(measure.name.as_str()), "{} is used by no KPI", measure.name);
    }
}

#[test]
fn lateness_follows_the_horizon() {
    let text = BUILT_IN.replacen("lateness_days: 10, horizon_days: 7", "horizon_days: 7", 1);
    assert_ne!(text, BUILT_IN);
    let dictionary = Dictionary::parse(&text, "test").unwrap();
    assert_eq!(dictionary.measure("transfer_requested_domains").unwrap().lateness_days, 10);
    assert_eq!(dictionary.measure("deleted").unwrap().lateness_days, 3);
}

#[test]
fn refuses_what_is_not_whole() {
    for (from, to, problem) in [
        ("owner: sales", "owner: \"\"", "owner is empty"),
        ("plus: [quote_created]", "plus: [quote_creates]", "there is no measure quote_creates"),
        ("family: sales", "family: sail", "family sail"),
        ("always_by: [currency]", "always_by: [colour]", "always_by colour"),
        ("unit: domains", "unit: domains\n    colour: red", "colour"),
        ("unit: quotes", "unit: quotes\n    grain: 5m", "grain 5m: not all of its measures"),
        ("unit: quotes", "unit: quotes\n    window: month", "window: only for cumulative"),
        ("window: month", "window: { days: 1 }", "window: 1 days: give 2 to 400"),
        ("events: [expired]", "events: [\"a' OR 1\"]", "event type \"a' OR 1\""),
        ("events: [expired]", "events: [expired], types: [expired]", "leave out types"),
        ("by: request_id }", "by: request_id }\n    sql: SELECT 1", "give sql or follows"),
        ("model: cart,", "model: basket,", "there is no model basket"),
        ("10, horizon_days: 7", "9999, horizon_days: 9990", "horizon_days: 9990: give 3660"),
        ("10, horizon_days: 7", "9, horizon_days: 7", "lateness_days: what happens on the last"),
        ("  - name: churn\n", "  - name: portfolio\n", "kpi portfolio: defined twice"),
    ] {
        let text = BUILT_IN.replacen(from, to, 1);
        assert_ne!(text, BUILT_IN, "{from}");
        let error = Dictionary::parse(&text, "a.yaml").unwrap_err().to_string();
        assert!(error.contains(problem), "{problem}: {error}");
    }
}
