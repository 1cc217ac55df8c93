//! Scenes of the KPIs that [`super::SCENES`] leaves out.

use super::{Scene, scene};

pub(super) const MORE_SCENES: &[Scene] = &[
    // Median time from the request of an incoming transfer to its completion, by the day of the request.
    scene(
        "transfer_hours_p50",
        &[
            "10:00:00 transfer_in_requested a request_id=a",
            "+1 10:00:00 transfer_in_completed b request_id=a",
        ],
        "24.0",
    ),
    scene(
        "transfer_hours_p50",
        &[
            "10:00:00 transfer_in_requested a request_id=a",
            "+1 10:00:00 transfer_in_completed b request_id=a",
            "10:00:00 transfer_in_requested c request_id=c",
            "+2 10:00:00 transfer_in_completed d request_id=c",
            "10:00:00 transfer_in_requested e request_id=e",
        ],
        "36.0",
    ),
    // Completed before the request; requested twice; without a request's identity.
    scene(
        "transfer_hours_p50",
        &[
            "10:00:00 transfer_in_requested a request_id=a",
            "09:00:00 transfer_in_completed b domain=a request_id=a",
            "16:00:00 transfer_in_completed c domain=a request_id=a",
            "12:00:00 transfer_in_requested d domain=a request_id=a",
            "10:00:00 transfer_in_requested e",
            "14:00:00 transfer_in_completed f domain=e",
        ],
        "5.0",
    ),
    // Requested incoming transfers that were completed within 5 days, by the day of the request.
    scene(
        "transfer_sla_ratio",
        &[
            "10:00:00 transfer_in_requested a request_id=a",
            "+1 10:00:00 transfer_in_completed b request_id=a",
            "10:00:00 transfer_in_requested c request_id=c",
        ],
        "0.5",
    ),
    scene(
        "transfer_sla_ratio",
        &[
            "10:00:00 transfer_in_requested a request_id=a",
            "+5 10:00:00 transfer_in_completed b request_id=a",
            "10:00:00 transfer_in_requested c request_id=c",
            "+5 10:00:01 transfer_in_completed d request_id=c",
        ],
        "0.5",
    ),
    // Without a request's identity; completed and then reversed.
    scene(
        "transfer_sla_ratio",
        &[
            "10:00:00 transfer_in_requested a",
            "+2 10:00:00 transfer_in_completed b domain=a",
            "10:00:00 transfer_in_requested c",
            "10:00:00 transfer_in_requested d request_id=d",
            "+1 10:00:00 transfer_in_completed e request_id=d",
            "+1 11:00:00 transfer_reversed r corrects=e",
            "10:00:00 transfer_in_requested f",
            "09:00:00 transfer_in_completed g domain=f",
        ],
        "0.25",
    ),
    // One request for two domains, of which one is completed; an end that does not say its domain.
    scene(
        "transfer_sla_ratio",
        &[
            "10:00:00 transfer_in_requested a domain=a request_id=a",
            "10:00:00 transfer_in_requested b domain=b request_id=a",
            "+1 10:00:00 transfer_in_completed c domain=a request_id=a",
        ],
        "0.5",
    ),
    scene(
        "restore_completion_ratio",
        &[
            "10:00:00 restore_requested a domain=a request_id=a",
            "+1 10:00:00 restore_completed b domain= request_id=a",
            "10:00:00 restore_requested c domain= request_id=c",
            "+1 10:00:00 restore_completed d domain=d request_id=c",
        ],
        "1.0",
    ),
    // Median time from the request of a restore to its completion.
    scene(
        "restore_hours_p50",
        &["10:00:00 restore_requested a request_id=a", "15:00:00 restore_completed b request_id=a"],
        "5.0",
    ),
    scene(
        "restore_hours_p50",
        &[
            "10:00:00 restore_requested a request_id=a",
            "12:00:00 restore_completed b request_id=a",
            "10:00:00 restore_requested c request_id=c",
            "14:00:00 restore_completed d request_id=c",
        ],
        "3.0",
    ),
    // Two restores of one domain, without a request's identity.
    scene(
        "restore_hours_p50",
        &[
            "08:00:00 restore_requested a",
            "10:00:00 restore_completed b domain=a",
            "12:00:00 restore_requested c domain=a",
            "18:00:00 restore_completed d domain=a",
            "18:00:00 restore_requested e",
            "19:00:00 restore_failed f domain=e",
        ],
        "4.0",
    ),
    // Queries that were answered with NOERROR or NXDOMAIN, of all queries of the fleet.
    scene(
        "dns_success_ratio",
        &["10:00:00 dns queries=100 successes=90 servfail=0 timeout=10"],
        "0.9",
    ),
    scene(
        "dns_success_ratio",
        &[
            "10:00:00 dns queries=100 successes=100 servfail=0 timeout=0",
            "11:00:00 dns queries=300 successes=100 servfail=0 timeout=200",
        ],
        "0.5",
    ),
    scene(
        "dns_success_ratio",
        &[
            "10:00:00 dns queries=100 successes=75 servfail=0 timeout=0 revision=2",
            "10:00:00 dns queries=100 successes=10 servfail=0 timeout=0 revision=1",
            "11:00:00 dns queries=900 successes=0 servfail=0 timeout=0 grouping=zone",
        ],
        "0.75",
    ),
    // Retransmissions per query of the fleet.
    scene("dns_retry_ratio", &["10:00:00 dns queries=100 retries=5 servfail=0 timeout=0"], "0.05"),
    scene(
        "dns_retry_ratio",
        &[
            "10:00:00 dns queries=100 retries=5 servfail=0 timeout=0",
            "11:00:00 dns queries=300 retries=3 servfail=0 timeout=0",
        ],
        "0.02",
    ),
    // More retransmissions than queries.
    scene(
        "dns_retry_ratio",
        &[
            "10:00:00 dns queries=10 retries=15 servfail=0 timeout=10",
            "11:00:00 dns queries=0 retries=0 servfail=0 timeout=0",
        ],
        "1.5",
    ),
    // Queries of the fleet.
    scene("dns_queries", &["10:00:00 dns queries=100 servfail=0 timeout=0"], "100"),
    scene(
        "dns_queries",
        &[
            "10:00:00 dns queries=100 servfail=0 timeout=0",
            "23:00:00 dns queries=250 servfail=0 timeout=0",
        ],
        "350",
    ),
    scene(
        "dns_queries",
        &[
            "10:00:00 dns queries=70 servfail=0 timeout=0 revision=1",
            "10:00:00 dns queries=100 servfail=0 timeout=0 revision=0",
            "12:00:00 dns queries=9 servfail=0 timeout=0 grouping=resolver",
            "+1 00:00:00 dns queries=30 servfail=0 timeout=0",
        ],
        "70",
    ),
    // Seconds of the day that windows of the fleet cover, summed over vantages and their regions.
    scene("dns_covered_seconds", &["10:00:00 dns queries=1 servfail=0 timeout=0"], "3600"),
    scene(
        "dns_covered_seconds",
        &[
            "10:00:00 dns queries=1 servfail=0 timeout=0",
            "11:00:00 dns queries=0 servfail=0 timeout=0",
        ],
        "7200",
    ),
    scene(
        "dns_covered_seconds",
        &[
            "10:00:00 dns queries=1 servfail=0 timeout=0 revision=0",
            "10:00:00 dns queries=2 servfail=0 timeout=0 revision=1",
            "10:00:00 dns queries=2 servfail=0 timeout=0 region=eu",
            "11:00:00 dns queries=2 servfail=0 timeout=0 grouping=zone",
        ],
        "7200",
    ),
    // Measurements of the probes that found their target as it should be.
    scene("probe_success_ratio", &["10:00:00 probe a ok=true duration_ms=5"], "1.0"),
    scene(
        "probe_success_ratio",
        &["10:00:00 probe a ok=true duration_ms=5", "10:00:00 probe b ok=false duration_ms=5"],
        "0.5",
    ),
    // A measurement that came twice.
    scene(
        "probe_success_ratio",
        &[
            "10:00:00 probe a ok=true duration_ms=5",
            "10:00:00 probe b ok=false duration_ms=5",
            "10:00:00 probe b ok=false duration_ms=5",
            "+1 00:00:00 probe c ok=true duration_ms=5",
        ],
        "0.5",
    ),
    // 95th percentile of the duration of the probes' measurements.
    scene("probe_duration_ms_p95", &["10:00:00 probe a ok=true duration_ms=5"], "5.0"),
    scene(
        "probe_duration_ms_p95",
        &["10:00:00 probe a ok=true duration_ms=100", "10:00:00 probe b ok=false duration_ms=200"],
        "195.0",
    ),
    scene(
        "probe_duration_ms_p95",
        &[
            "10:00:00 probe a ok=true duration_ms=100",
            "10:00:00 probe b ok=true duration_ms=200",
            "10:00:00 probe b ok=true duration_ms=200",
            "+1 00:00:00 probe c ok=true duration_ms=900",
        ],
        "195.0",
    ),
    // 95th percentile of the time from an abuse report to the first response of the same request.
    scene(
        "abuse_first_response_hours_p95",
        &["10:00:00 abuse_reported a request_id=a", "12:00:00 abuse_first_response b request_id=a"],
        "2.0",
    ),
    scene(
        "abuse_first_response_hours_p95",
        &[
            "10:00:00 abuse_reported a request_id=a",
            "10:00:00 abuse_first_response b request_id=a",
            "10:00:00 abuse_reported c request_id=c",
            "20:00:00 abuse_first_response d request_id=c",
        ],
        "9.5",
    ),
    // Without a request, which alone says what a response answers; a response before the report, and a response about another domain.
    scene(
        "abuse_first_response_hours_p95",
        &[
            "10:00:00 abuse_reported a",
            "11:00:00 abuse_first_response b domain=a",
            "10:00:00 abuse_reported c request_id=c",
            "09:00:00 abuse_first_response d request_id=c",
            "13:00:00 abuse_first_response e domain=z request_id=c",
        ],
        "3.0",
    ),
    // Median time from an abuse report to its resolution.
    scene(
        "abuse_resolution_hours_p50",
        &["10:00:00 abuse_reported a request_id=a", "+4 10:00:00 abuse_resolved b request_id=a"],
        "96.0",
    ),
    scene(
        "abuse_resolution_hours_p50",
        &[
            "10:00:00 abuse_reported a request_id=a",
            "+1 10:00:00 abuse_resolved b request_id=a",
            "10:00:00 abuse_reported c request_id=c",
            "+2 10:00:00 abuse_resolved d request_id=c",
        ],
        "36.0",
    ),
    // Dismissed; resolved before the report; resolved twice; without a case's identity.
    scene(
        "abuse_resolution_hours_p50",
        &[
            "10:00:00 abuse_reported a request_id=a",
            "11:00:00 abuse_dismissed b request_id=a",
            "09:00:00 abuse_resolved c request_id=a",
            "+1 10:00:00 abuse_resolved d request_id=a",
            "+2 10:00:00 abuse_resolved e request_id=a",
            "10:00:00 abuse_reported f",
            "12:00:00 abuse_resolved g domain=f",
        ],
        "13.0",
    ),
    // Registrations that failed, by error code.
    scene(
        "registration_failures",
        &[
            "10:00:00 registration_failed a error_code=x",
            "10:00:00 registration_failed b error_code=y",
            "10:00:00 registration_completed c",
        ],
        "2",
    ),
    scene(
        "registration_failures",
        &["10:00:00 registration_completed a", "10:00:00 registration_requested b"],
        "0",
    ),
    scene(
        "registration_failures",
        &[
            "10:00:00 registration_failed a error_code=x",
            "11:00:00 registration_failed a error_code=y",
            "10:00:00 registration_failed b",
            "+1 10:00:00 registration_reversed r corrects=b",
        ],
        "1",
    ),
    // Completed registrations, by campaign.
    scene(
        "registrations_by_campaign",
        &[
            "10:00:00 registration_completed a campaign=spring",
            "10:00:00 registration_completed b campaign=summer",
        ],
        "2",
    ),
    scene(
        "registrations_by_campaign",
        &["10:00:00 registration_completed a", "10:00:00 registration_failed b campaign=spring"],
        "1",
    ),
    scene(
        "registrations_by_campaign",
        &[
            "10:00:00 registration_completed a campaign=spring",
            "11:00:00 registration_completed a campaign=summer",
            "10:00:00 cart_created b request_id=b campaign=spring",
        ],
        "1",
    ),
    // Completed incoming transfers.
    scene(
        "transfers_in",
        &["10:00:00 transfer_in_completed a", "10:00:00 transfer_in_completed b"],
        "2",
    ),
    scene(
        "transfers_in",
        &["10:00:00 transfer_in_requested a", "10:00:00 transfer_in_failed b"],
        "0",
    ),
    scene(
        "transfers_in",
        &[
            "10:00:00 transfer_in_completed a",
            "10:00:00 transfer_out_completed a",
            "+1 10:00:00 transfer_reversed r corrects=a corrects_type=transfer_out_completed",
            "10:00:00 transfer_in_completed a",
        ],
        "1",
    ),
    // Completed outgoing transfers.
    scene(
        "transfers_out",
        &["10:00:00 transfer_out_completed a", "10:00:00 transfer_out_completed b"],
        "2",
    ),
    scene(
        "transfers_out",
        &["10:00:00 transfer_out_requested a", "10:00:00 transfer_out_failed b"],
        "0",
    ),
    scene(
        "transfers_out",
        &[
            "10:00:00 transfer_out_completed a",
            "10:00:00 transfer_in_completed b",
            "11:00:00 transfer_out_completed c",
            "+1 10:00:00 transfer_reversed r corrects=c",
        ],
        "1",
    ),
    // Refunded amount per captured amount of the same day; above 1 where more was refunded than captured.
    scene(
        "refund_ratio",
        &[
            "10:00:00 payment_captured a amount_micros=4000000 currency=EUR",
            "10:00:00 payment_refunded b amount_micros=1000000 currency=EUR",
        ],
        "{\"EUR\": 0.25}",
    ),
    scene(
        "refund_ratio",
        &[
            "10:00:00 payment_captured a amount_micros=4000000 currency=EUR",
            "10:00:00 payment_captured b amount_micros=9000000 currency=USD",
            "10:00:00 payment_refunded c amount_micros=2000000 currency=EUR",
        ],
        "{\"EUR\": 0.5, \"USD\": 0.0}",
    ),
    // More was refunded than captured; a voided payment was not captured.
    scene(
        "refund_ratio",
        &[
            "10:00:00 payment_captured a amount_micros=1000000 currency=EUR",
            "10:00:00 payment_captured b amount_micros=5000000 currency=EUR",
            "11:00:00 payment_voided v corrects=b",
            "10:00:00 payment_refunded c amount_micros=2000000 currency=EUR",
            "10:00:00 payment_refunded d amount_micros=2000000 currency=USD",
        ],
        "{\"EUR\": 2.0, \"USD\": null}",
    ),
    // Captured amount per captured payment.
    scene(
        "revenue_per_payment",
        &["10:00:00 payment_captured a amount_micros=4000000 currency=EUR"],
        "{\"EUR\": 4000000.0}",
    ),
    scene(
        "revenue_per_payment",
        &[
            "10:00:00 payment_captured a amount_micros=1000000 currency=EUR",
            "10:00:00 payment_captured b amount_micros=3000000 currency=EUR",
            "10:00:00 payment_captured c amount_micros=7000000 currency=USD",
        ],
        "{\"EUR\": 2000000.0, \"USD\": 7000000.0}",
    ),
    scene(
        "revenue_per_payment",
        &[
            "10:00:00 payment_captured a amount_micros=1000000 currency=EUR",
            "11:00:00 payment_captured a amount_micros=1000000 currency=EUR",
            "10:00:00 payment_refunded b amount_micros=1000000 currency=EUR",
            "10:00:00 payment_failed c amount_micros=9000000 currency=EUR",
            "10:00:00 payment_captured d amount_micros=9000000 currency=EUR",
            "+1 10:00:00 payment_voided v corrects=d",
        ],
        "{\"EUR\": 1000000.0}",
    ),
    // Registrations, incoming transfers and restores minus deletions and outgoing transfers.
    scene(
        "portfolio_growth",
        &[
            "10:00:00 registration_completed a",
            "10:00:00 registration_completed b",
            "10:00:00 transfer_in_completed c",
            "10:00:00 deleted d",
            "10:00:00 transfer_out_completed e",
        ],
        "1",
    ),
    scene("portfolio_growth", &["10:00:00 deleted a", "10:00:00 transfer_out_completed b"], "-2"),
    scene(
        "portfolio_growth",
        &[
            "10:00:00 deleted a",
            "11:00:00 restore_completed b domain=a",
            "12:00:00 restore_failed c",
        ],
        "0",
    ),
    scene(
        "portfolio_growth",
        &[
            "10:00:00 registration_completed a",
            "10:00:00 registration_completed b",
            "11:00:00 registration_reversed r corrects=b",
            "10:00:00 deleted c",
            "11:00:00 deleted_reversed s corrects=c",
            "10:00:00 renewal_completed d",
            "10:00:00 expired e",
        ],
        "1",
    ),
    // Quotes that were made.
    scene("quotes", &["10:00:00 quote_created a"], "1"),
    scene(
        "quotes",
        &[
            "10:00:00 quote_created a",
            "10:00:00 quote_created b",
            "10:00:00 cart_created c request_id=c",
        ],
        "2",
    ),
    scene(
        "quotes",
        &["10:00:00 quote_created a", "11:00:00 quote_created a", "+1 00:00:00 quote_created b"],
        "1",
    ),
    // Started workflows that were completed within 7 days, by the day of the start.
    scene(
        "workflow_completion_ratio",
        &[
            "10:00:00 workflow_started a request_id=a",
            "11:00:00 workflow_completed b request_id=a",
            "10:00:00 workflow_started c request_id=c",
            "11:00:00 workflow_abandoned d request_id=c",
        ],
        "0.5",
    ),
    scene(
        "workflow_completion_ratio",
        &[
            "10:00:00 workflow_started a request_id=a",
            "+7 10:00:00 workflow_completed b request_id=a",
            "10:00:00 workflow_started c request_id=c",
            "+7 10:00:01 workflow_completed d request_id=c",
        ],
        "0.5",
    ),
    // More ends than starts; an end before its start; a start that is repeated.
    scene(
        "workflow_completion_ratio",
        &[
            "10:00:00 workflow_started a request_id=a",
            "09:00:00 workflow_completed b request_id=a",
            "12:00:00 workflow_started c request_id=a",
            "10:00:00 workflow_started d request_id=d",
            "11:00:00 workflow_completed e request_id=d",
            "12:00:00 workflow_completed f request_id=d",
            "12:00:00 workflow_completed g request_id=g",
        ],
        "0.5",
    ),
    // Requested auth codes that were issued within 5 days, by the day of the request.
    scene(
        "auth_code_ratio",
        &[
            "10:00:00 auth_code_requested a request_id=a",
            "10:01:00 auth_code_issued b request_id=a",
            "10:00:00 auth_code_requested c request_id=c",
        ],
        "0.5",
    ),
    scene(
        "auth_code_ratio",
        &[
            "10:00:00 auth_code_requested a request_id=a",
            "+5 10:00:01 auth_code_issued b request_id=a",
        ],
        "0.0",
    ),
    // Without a request's identity; issued though nobody asked.
    scene(
        "auth_code_ratio",
        &[
            "10:00:00 auth_code_requested a",
            "+5 10:00:00 auth_code_issued b domain=a",
            "10:00:00 auth_code_requested c",
            "09:00:00 auth_code_issued d domain=c",
            "10:00:00 auth_code_issued e",
        ],
        "0.5",
    ),
    // Failed API requests per API request.
    scene(
        "api_error_ratio",
        &[
            "10:00:00 api_request a",
            "10:00:00 api_request b",
            "10:00:00 api_request c",
            "10:00:00 api_request d",
            "10:00:00 api_error e error_code=x",
        ],
        "0.25",
    ),
    scene("api_error_ratio", &["10:00:00 api_request a", "10:00:00 api_retry b"], "0.0"),
    scene(
        "api_error_ratio",
        &[
            "10:00:00 api_request a",
            "10:00:00 api_request a",
            "10:00:00 api_request b",
            "10:00:00 api_error c",
            "11:00:00 api_error c",
            "+1 00:00:00 api_error d",
        ],
        "0.5",
    ),
    // Retried API requests per API request.
    scene(
        "api_retry_ratio",
        &["10:00:00 api_request a", "10:00:00 api_request b", "10:00:00 api_retry c"],
        "0.5",
    ),
    scene("api_retry_ratio", &["10:00:00 api_request a", "10:00:00 api_error b"], "0.0"),
    scene("api_retry_ratio", &["10:00:00 api_retry a", "10:00:00 api_error b"], "null"),
    // 95th percentile of the latency of API requests.
    scene("api_latency_ms_p95", &["10:00:00 api_request a latency_ms=100"], "100.0"),
    scene(
        "api_latency_ms_p95",
        &["10:00:00 api_request a latency_ms=100", "10:00:00 api_request b latency_ms=200"],
        "195.0",
    ),
    // A request without a latency; an error's; a repetition.
    scene(
        "api_latency_ms_p95",
        &[
            "10:00:00 api_request a latency_ms=100",
            "10:00:00 api_request b latency_ms=200",
            "11:00:00 api_request b latency_ms=200",
            "10:00:00 api_request c",
            "10:00:00 api_error d latency_ms=9000",
        ],
        "195.0",
    ),
    // 95th percentile of the latency of completed registrations.
    scene(
        "registration_latency_ms_p95",
        &["10:00:00 registration_completed a latency_ms=100"],
        "100.0",
    ),
    scene("registration_latency_ms_p95", &["10:00:00 registration_completed a"], "null"),
    scene(
        "registration_latency_ms_p95",
        &[
            "10:00:00 registration_completed a latency_ms=100",
            "10:00:00 registration_failed b latency_ms=9000",
            "10:00:00 registration_completed c latency_ms=9000",
            "11:00:00 registration_reversed r corrects=c",
        ],
        "100.0",
    ),
    // Median time from the request of a DNS change until it is done.
    scene(
        "dns_change_minutes_p50",
        &[
            "10:00:00 dns_change_requested a request_id=a",
            "10:02:00 dns_change_completed b request_id=a",
        ],
        "2.0",
    ),
    scene(
        "dns_change_minutes_p50",
        &[
            "10:00:00 dns_change_requested a request_id=a",
            "10:02:00 dns_change_completed b request_id=a",
            "10:00:00 dns_change_requested c request_id=c",
            "10:04:00 dns_change_completed d request_id=c",
        ],
        "3.0",
    ),
    // One that failed; done before it was requested; without a request's identity.
    scene(
        "dns_change_minutes_p50",
        &[
            "10:00:00 dns_change_requested a request_id=a",
            "10:02:00 dns_change_failed b request_id=a",
            "10:00:00 dns_change_requested c request_id=c",
            "09:00:00 dns_change_completed d request_id=c",
            "10:04:00 dns_change_completed e request_id=c",
            "10:00:00 dns_change_requested f",
            "10:08:00 dns_change_completed g domain=f",
        ],
        "6.0",
    ),
    // Median time from the cart to the registration of the same request.
    scene(
        "checkout_minutes_p50",
        &["10:00:00 cart_created a request_id=a", "10:15:00 registration_completed b request_id=a"],
        "15.0",
    ),
    scene(
        "checkout_minutes_p50",
        &[
            "10:00:00 cart_created a request_id=a",
            "10:15:00 registration_completed b request_id=a",
            "10:00:00 cart_created c request_id=c",
            "10:25:00 registration_completed d request_id=c",
        ],
        "20.0",
    ),
    scene(
        "checkout_minutes_p50",
        &[
            "10:00:00 cart_created a request_id=a",
            "10:20:00 cart_created b request_id=a",
            "09:00:00 registration_completed c request_id=a",
            "10:30:00 registration_completed d request_id=a",
            "10:40:00 registration_completed e request_id=a",
            "10:00:00 cart_created f request_id=f",
            "10:01:00 registration_completed g",
        ],
        "30.0",
    ),
    // 95th percentile of the time from an event to its arrival, in whole minutes.
    scene("ingest_lag_minutes_p95", &["10:00:00 api_request a arrival=10:30:00"], "30.0"),
    scene(
        "ingest_lag_minutes_p95",
        &["10:00:00 api_request a arrival=10:10:00", "10:00:00 api_request b arrival=10:20:00"],
        "19.5",
    ),
    // A clock that is wrong; a repetition.
    scene(
        "ingest_lag_minutes_p95",
        &[
            "10:00:00 api_request a arrival=09:00:00",
            "10:00:00 api_request b arrival=10:10:00",
            "10:00:00 api_request b arrival=10:00:00",
        ],
        "9.0",
    ),
    // Rows that arrived more than a day after their event.
    scene("late_ratio", &["10:00:00 api_request a arrival=10:30:00"], "0.0"),
    // Without a time of arrival it is that of the import.
    scene(
        "late_ratio",
        &["10:00:00 api_request a arrival=10:30:00", "10:00:00 api_request b"],
        "0.5",
    ),
    scene(
        "late_ratio",
        &[
            "10:00:00 api_request a arrival=09:00:00",
            "10:00:00 api_request b arrival=23:59:59",
            "10:00:00 api_request b arrival=23:59:59",
            "10:00:00 api_request c",
        ],
        "0.25",
    ),
    // A day and half a minute.
    scene(
        "late_ratio",
        &[
            "10:00:00 api_request a arrival=+1:10:00:30",
            "10:00:00 api_request b arrival=+1:10:00:00",
        ],
        "0.5",
    ),
    // Rows that repeat a fact.
    scene("duplicate_ratio", &["10:00:00 api_request a", "10:00:00 api_request b"], "0.0"),
    scene(
        "duplicate_ratio",
        &["10:00:00 registration_completed a", "11:00:00 registration_completed a"],
        "0.5",
    ),
    // An equal key of another type; one fact three times, once on the next day.
    scene(
        "duplicate_ratio",
        &[
            "10:00:00 registration_completed a",
            "10:00:00 registration_failed a",
            "10:00:00 renewal_completed b",
            "11:00:00 renewal_completed b",
            "+1 10:00:00 renewal_completed b",
        ],
        "0.25",
    ),
    // Facts of the day that another event has taken away.
    scene(
        "corrections",
        &["10:00:00 registration_completed a", "11:00:00 registration_reversed r corrects=a"],
        "1",
    ),
    scene(
        "corrections",
        &[
            "10:00:00 registration_completed a",
            "10:00:00 payment_refunded b amount_micros=1 currency=EUR",
        ],
        "0",
    ),
    // A reversal is taken away; a fact is taken away later; what was never there.
    scene(
        "corrections",
        &[
            "10:00:00 registration_completed a",
            "11:00:00 registration_reversed r corrects=a",
            "12:00:00 registration_reversed s corrects=r",
            "10:00:00 registration_completed b",
            "+3 12:00:00 registration_reversed t corrects=b",
            "10:00:00 registration_reversed u corrects=x",
        ],
        "2",
    ),
    // Registration rows without a country.
    scene("null_country_ratio", &["10:00:00 registration_completed a"], "1.0"),
    scene(
        "null_country_ratio",
        &["10:00:00 registration_completed a country=DE", "10:00:00 registration_completed b"],
        "0.5",
    ),
    scene(
        "null_country_ratio",
        &[
            "10:00:00 registration_completed a country=DE",
            "10:00:00 registration_completed b country=FR",
            "11:00:00 registration_completed b country=FR",
            "10:00:00 registration_completed c",
            "10:00:00 registration_failed d",
            "10:00:00 api_request e",
        ],
        "0.25",
    ),
    // Rows of events that were imported, duplicates included.
    scene("raw_events", &["10:00:00 api_request a", "10:00:00 api_error b"], "2"),
    scene(
        "raw_events",
        &[
            "10:00:00 registration_completed a",
            "10:00:00 registration_completed a",
            "11:00:00 registration_reversed r corrects=a",
        ],
        "3",
    ),
    scene(
        "raw_events",
        &[
            "23:59:59.999999 api_request a",
            "+1 00:00:00 api_request b",
            "10:00:00 dns queries=1 servfail=0 timeout=0",
            "10:00:00 probe c ok=true duration_ms=1",
        ],
        "1",
    ),
];
