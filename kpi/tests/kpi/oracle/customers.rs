//! Scenes of KPIs about customers, their accounts and their money.

use super::{Scene, scene};

pub(super) const SCENES_OF_CUSTOMERS: &[Scene] = &[
    // Incoming transfers that failed.
    scene(
        "transfer_failures",
        &["10:00:00 transfer_in_failed a", "11:00:00 transfer_in_failed b"],
        "2",
    ),
    scene(
        "transfer_failures",
        &[
            "10:00:00 transfer_in_failed a",
            "10:00:00 transfer_in_failed a",
            "11:00:00 transfer_out_failed b",
        ],
        "1",
    ),
    // The last moment of the day and the first of the next; one that is taken back, and one of which that is taken back.
    scene(
        "transfer_failures",
        &[
            "23:59:59.999999 transfer_in_failed a",
            "+1 00:00:00 transfer_in_failed b",
            "10:00:00 transfer_in_failed c",
            "+2 10:00:00 transfer_reversed r corrects=c",
            "10:00:00 transfer_in_failed d",
            "11:00:00 transfer_reversed s corrects=d",
            "12:00:00 transfer_reversed t corrects=s",
        ],
        "2",
    ),
    // Changes of domains' contacts.
    scene("contact_changes", &["10:00:00 contact_changed a", "11:00:00 contact_changed b"], "2"),
    scene(
        "contact_changes",
        &[
            "10:00:00 contact_changed a",
            "10:00:00 contact_changed a",
            "11:00:00 nameserver_changed b",
        ],
        "1",
    ),
    // The last moment of the day and the first of the next; one that is taken back, and one of which that is taken back.
    scene(
        "contact_changes",
        &[
            "23:59:59.999999 contact_changed a",
            "+1 00:00:00 contact_changed b",
            "10:00:00 contact_changed c",
            "+2 10:00:00 contact_changed_reversed r corrects=c",
            "10:00:00 contact_changed d",
            "11:00:00 contact_changed_reversed s corrects=d",
            "12:00:00 contact_changed_reversed t corrects=s",
        ],
        "2",
    ),
    // Changes of domains' nameservers.
    scene(
        "nameserver_changes",
        &["10:00:00 nameserver_changed a", "11:00:00 nameserver_changed b"],
        "2",
    ),
    scene(
        "nameserver_changes",
        &[
            "10:00:00 nameserver_changed a",
            "10:00:00 nameserver_changed a",
            "11:00:00 contact_changed b",
        ],
        "1",
    ),
    // The last moment of the day and the first of the next; one that is taken back, and one of which that is taken back.
    scene(
        "nameserver_changes",
        &[
            "23:59:59.999999 nameserver_changed a",
            "+1 00:00:00 nameserver_changed b",
            "10:00:00 nameserver_changed c",
            "+2 10:00:00 nameserver_changed_reversed r corrects=c",
            "10:00:00 nameserver_changed d",
            "11:00:00 nameserver_changed_reversed s corrects=d",
            "12:00:00 nameserver_changed_reversed t corrects=s",
        ],
        "2",
    ),
    // Times that an account was locked.
    scene("account_lockouts", &["10:00:00 account_locked a", "11:00:00 account_locked b"], "2"),
    scene(
        "account_lockouts",
        &["10:00:00 account_locked a", "10:00:00 account_locked a", "11:00:00 hijack_suspected b"],
        "1",
    ),
    // The last moment of the day and the first of the next; one that is taken back, and one of which that is taken back.
    scene(
        "account_lockouts",
        &[
            "23:59:59.999999 account_locked a",
            "+1 00:00:00 account_locked b",
            "10:00:00 account_locked c",
            "+2 10:00:00 account_locked_reversed r corrects=c",
            "10:00:00 account_locked d",
            "11:00:00 account_locked_reversed s corrects=d",
            "12:00:00 account_locked_reversed t corrects=s",
        ],
        "2",
    ),
    // Times that somebody may have taken over a domain or an account.
    scene(
        "hijack_indicators",
        &["10:00:00 hijack_suspected a", "11:00:00 hijack_suspected b"],
        "2",
    ),
    scene(
        "hijack_indicators",
        &[
            "10:00:00 hijack_suspected a",
            "10:00:00 hijack_suspected a",
            "11:00:00 account_locked b",
        ],
        "1",
    ),
    // The last moment of the day and the first of the next; one that is taken back, and one of which that is taken back.
    scene(
        "hijack_indicators",
        &[
            "23:59:59.999999 hijack_suspected a",
            "+1 00:00:00 hijack_suspected b",
            "10:00:00 hijack_suspected c",
            "+2 10:00:00 hijack_suspected_reversed r corrects=c",
            "10:00:00 hijack_suspected d",
            "11:00:00 hijack_suspected_reversed s corrects=d",
            "12:00:00 hijack_suspected_reversed t corrects=s",
        ],
        "2",
    ),
    // Cases that were given to those who decide about policy.
    scene(
        "policy_escalations",
        &["10:00:00 policy_escalated a", "11:00:00 policy_escalated b"],
        "2",
    ),
    scene(
        "policy_escalations",
        &[
            "10:00:00 policy_escalated a",
            "10:00:00 policy_escalated a",
            "11:00:00 abuse_resolved b",
        ],
        "1",
    ),
    // The last moment of the day and the first of the next; one that is taken back, and one of which that is taken back.
    scene(
        "policy_escalations",
        &[
            "23:59:59.999999 policy_escalated a",
            "+1 00:00:00 policy_escalated b",
            "10:00:00 policy_escalated c",
            "+2 10:00:00 policy_escalated_reversed r corrects=c",
            "10:00:00 policy_escalated d",
            "11:00:00 policy_escalated_reversed s corrects=d",
            "12:00:00 policy_escalated_reversed t corrects=s",
        ],
        "2",
    ),
    // Alerts of agents, of the fleet and of probes, by the time at which the problem was found.
    scene("dns_anomalies", &["10:00:00 alert a scope=fleet", "11:00:00 alert b scope=node"], "2"),
    scene("dns_anomalies", &["10:00:00 alert a", "10:00:00 alert a state=resolved"], "1"),
    // A reconciliation; one that became worse; one of the next day.
    scene(
        "dns_anomalies",
        &[
            "10:00:00 alert a scope=kpi rule=reconciliation",
            "10:00:00 alert b scope=probe",
            "10:00:00 alert b scope=probe severity=critical",
            "+1 10:00:00 alert c",
            "23:59:59.999999 alert d",
        ],
        "2",
    ),
    // Questions that were answered before they became a ticket, of all questions.
    scene(
        "ticket_deflection_ratio",
        &["10:00:00 ticket_deflected a", "10:00:00 ticket_opened b"],
        "0.5",
    ),
    scene(
        "ticket_deflection_ratio",
        &["10:00:00 ticket_opened a", "10:00:00 ticket_opened b"],
        "0.0",
    ),
    scene(
        "ticket_deflection_ratio",
        &[
            "10:00:00 ticket_deflected a",
            "11:00:00 ticket_deflected a",
            "10:00:00 ticket_opened b",
            "11:00:00 ticket_opened_reversed r corrects=b",
            "+1 00:00:00 ticket_opened c",
        ],
        "1.0",
    ),
    // Accounts that paid within 30 days of the beginning of their first trial, of all that began one, by the day of that beginning.
    scene(
        "trial_conversion_ratio",
        &[
            "10:00:00 trial_started a account_id=a",
            "+5 10:00:00 payment_captured b account_id=a amount_micros=1 currency=EUR",
            "10:00:00 trial_started c account_id=c",
        ],
        "0.5",
    ),
    // Exactly 30 days, and a second more.
    scene(
        "trial_conversion_ratio",
        &[
            "10:00:00 trial_started a account_id=a",
            "+30 10:00:00 payment_captured b account_id=a amount_micros=1 currency=EUR",
            "10:00:00 trial_started c account_id=c",
            "+30 10:00:01 payment_captured d account_id=c amount_micros=1 currency=EUR",
        ],
        "0.5",
    ),
    // A payment that is voided; two trials of one account; a payment before the trial.
    scene(
        "trial_conversion_ratio",
        &[
            "10:00:00 trial_started a account_id=a",
            "11:00:00 payment_captured b account_id=a amount_micros=1 currency=EUR",
            "12:00:00 payment_voided v corrects=b",
            "10:00:00 trial_started c account_id=c",
            "12:00:00 trial_started d account_id=c",
            "+1 10:00:00 payment_captured e account_id=c amount_micros=1 currency=EUR",
            "10:00:00 trial_started f account_id=f",
            "09:00:00 payment_captured g account_id=f amount_micros=1 currency=EUR",
            "10:00:00 trial_started h account_id=h",
            "+1 10:00:00 payment_failed i account_id=h",
        ],
        "0.25",
    ),
    // Captured payments minus refunded payments for domains, per domain that was paid for on the day.
    scene(
        "revenue_per_domain",
        &[
            "10:00:00 payment_captured a amount_micros=10000000 currency=EUR",
            "10:00:00 payment_captured b amount_micros=20000000 currency=EUR",
        ],
        "{\"EUR\": 15000000}",
    ),
    scene(
        "revenue_per_domain",
        &[
            "10:00:00 payment_captured a domain=a amount_micros=10000000 currency=EUR",
            "11:00:00 payment_captured b domain=a amount_micros=20000000 currency=EUR",
            "12:00:00 payment_refunded c domain=a amount_micros=6000000 currency=EUR",
        ],
        "{\"EUR\": 24000000}",
    ),
    // Two currencies; a payment that is voided; a refund of an earlier day's payment.
    scene(
        "revenue_per_domain",
        &[
            "10:00:00 payment_captured a domain=a amount_micros=10000000 currency=EUR",
            "10:00:00 payment_captured a domain=a amount_micros=10000000 currency=EUR",
            "11:00:00 payment_captured b domain=a amount_micros=5000000 currency=USD",
            "10:00:00 payment_captured c domain=c amount_micros=9000000 currency=EUR",
            "11:00:00 payment_voided v corrects=c",
            "12:00:00 payment_refunded d domain=z amount_micros=4000000 currency=EUR",
        ],
        "{\"EUR\": 6000000, \"USD\": 5000000}",
    ),
];
