//! What a registrar's customers do.

use super::{Case, DAY_US, Sample};
use serde_json::{Value, json};

/// Registrations at most that wait for a renewal.
const REGISTERED: usize = 1000;
const CAMPAIGNS: [&str; 4] = ["spring", "newsletter", "search", "none"];
const CURRENCIES: [&str; 3] = ["EUR", "USD", "JPY"];
const ENDPOINTS: [&str; 4] = ["domain.check", "domain.create", "domain.renew", "contact.update"];
const CATEGORIES: [&str; 3] = ["phishing", "malware", "spam"];

impl Sample {
    pub(super) fn registration(&mut self, start: i64) {
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

    pub(super) fn renewal(&mut self, start: i64) {
        let case = self.renewable();
        let at = self.time(start);
        match self.random.below(10) {
            0 => drop(self.event(&case, "renewal_declined", at, &[])),
            1 => {
                self.event(&case, "expired", at, &[]);
                if self.random.chance(300) {
                    self.event(&case, "deleted", at + DAY_US / 2, &[]);
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

    pub(super) fn transfer(&mut self, start: i64) {
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

    pub(super) fn abuse(&mut self, start: i64) {
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

    /// Writes what customers change and ask, and a trial now and then.
    pub(super) fn care(&mut self, start: i64) {
        let mut case = self.case();
        let at = self.time(start);
        match self.random.below(20) {
            0..=6 => drop(self.event(&case, "contact_changed", at, &[])),
            7..=10 => drop(self.event(&case, "nameserver_changed", at, &[])),
            11..=16 => {
                let is_answered = self.random.chance(600);
                let kind = if is_answered { "ticket_deflected" } else { "ticket_opened" };
                self.event(&case, kind, at, &[]);
            }
            17 => drop(self.event(&case, "account_locked", at, &[])),
            18 if self.random.chance(200) => drop(self.event(&case, "policy_escalated", at, &[])),
            18 if self.random.chance(50) => drop(self.event(&case, "hijack_suspected", at, &[])),
            18 => {}
            _ => {
                let account = format!("t-{}", self.number);
                case.fields.insert("account_id".into(), json!(account));
                self.event(&case, "trial_started", at, &[]);
                if self.random.chance(300) {
                    let days = i64::try_from(self.random.below(40)).unwrap_or(0);
                    self.payment(&case, at + days * DAY_US);
                }
            }
        }
    }

    pub(super) fn api(&mut self, start: i64) {
        let case = self.case();
        let at = self.time(start);
        let latency = json!(5 + self.random.below(400));
        let endpoint = ("endpoint", json!(self.random.pick(&ENDPOINTS)));
        self.event(&case, "api_request", at, &[("latency_ms", latency), endpoint.clone()]);
        if self.random.chance(12) {
            self.event(&case, "api_error", at, &[("error_code", json!("2400")), endpoint]);
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
}
