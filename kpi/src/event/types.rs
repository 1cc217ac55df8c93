//! Types of events that are known: what each of them is, and which fields it needs.

/// A type of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventType {
    /// Name: `event_type`.
    pub name: &'static str,
    /// What has happened.
    pub is: &'static str,
    /// Fields without which it would be counted wrongly, beside those that every event has; `a or b` is one of two.
    pub needs: &'static [&'static str],
}

const fn kind(name: &'static str, is: &'static str) -> EventType {
    needing(name, is, &[])
}

const fn needing(
    name: &'static str,
    is: &'static str,
    needs: &'static [&'static str],
) -> EventType {
    EventType { name, is, needs }
}

/// What names the request that something belongs to.
const REQUEST: &[&str] = &["request_id or domain"];
/// What takes another event away says which.
const TARGET: &[&str] = &["corrects or corrects_event_id"];
const MONEY: &[&str] = &["amount_micros", "currency"];

/// All types that are known. Others are kept, and counted as unknown.
pub static EVENT_TYPES: [EventType; 50] = [
    kind("registration_requested", "a registration was asked for"),
    kind("registration_completed", "a domain was registered"),
    kind("registration_failed", "a registration failed, by `error_code`"),
    needing("registration_reversed", "a registration is taken back", TARGET),
    kind("renewal_completed", "a domain was renewed"),
    kind("renewal_declined", "the customer does not renew"),
    kind("renewal_failed", "a renewal failed"),
    needing("renewal_reversed", "a renewal is taken back", TARGET),
    kind("expired", "a domain was not renewed in time"),
    kind("deleted", "a domain is gone"),
    needing("restore_requested", "a deleted domain is wanted back", REQUEST),
    needing("restore_completed", "a deleted domain is back", REQUEST),
    kind("restore_failed", "a deleted domain stays deleted"),
    needing("transfer_in_requested", "a domain is to come to us", &["domain"]),
    needing("transfer_in_completed", "a domain has come to us", &["domain"]),
    kind("transfer_in_failed", "a domain did not come to us"),
    kind("transfer_out_requested", "a domain is to leave us"),
    kind("transfer_out_completed", "a domain has left us"),
    kind("transfer_out_failed", "a domain did not leave us"),
    needing("transfer_reversed", "a transfer is taken back", TARGET),
    needing("auth_code_requested", "a customer asks for an auth code", REQUEST),
    needing("auth_code_issued", "the auth code was sent", REQUEST),
    kind("dns_change_requested", "a customer changes DNS records"),
    kind("dns_change_completed", "the change is published"),
    kind("dns_change_failed", "the change was not published"),
    kind("contact_changed", "a domain's contact was changed"),
    kind("nameserver_changed", "a domain's nameservers were changed"),
    kind("account_locked", "an account was locked, after failed logins for example"),
    kind("hijack_suspected", "somebody may have taken over a domain or account"),
    kind("policy_escalated", "a case was given to those who decide about policy"),
    needing(
        "workflow_started",
        "a customer begins a task, such as a contact change",
        &["request_id"],
    ),
    needing("workflow_completed", "the task is done", &["request_id"]),
    kind("workflow_abandoned", "the customer has left the task"),
    kind("quote_created", "an offer was made"),
    needing("cart_created", "a customer has filled a cart", &["request_id"]),
    needing("payment_captured", "a payment was made", MONEY),
    needing("payment_refunded", "money was paid back", MONEY),
    kind("payment_failed", "a payment failed"),
    needing("payment_voided", "a payment or a refund is taken back", TARGET),
    needing("abuse_reported", "abuse was reported, by `abuse_category`", &["domain"]),
    needing("abuse_first_response", "the reporter has an answer", REQUEST),
    kind("abuse_resolved", "the case is closed"),
    kind("abuse_dismissed", "the report was unfounded"),
    needing("abuse_reversed", "a report is taken back", TARGET),
    needing("trial_started", "an account tries a product without paying", &["account_id"]),
    kind("ticket_opened", "a question has reached support"),
    kind("ticket_deflected", "a question was answered before it became a ticket"),
    kind("api_request", "a request to the API, with `latency_ms`"),
    kind("api_error", "a request to the API failed, by `error_code`"),
    kind("api_retry", "a client repeats a request to the API"),
];

impl EventType {
    /// Finds a type by its name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        EVENT_TYPES.iter().find(|kind| kind.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::FIELDS;

    #[test]
    fn types_differ_and_need_fields_of_the_schema() {
        for (index, kind) in EVENT_TYPES.iter().enumerate() {
            assert!(EVENT_TYPES[..index].iter().all(|other| other.name != kind.name), "{kind:?}");
            let fields = kind.needs.iter().flat_map(|need| need.split(" or "));
            assert!(fields.into_iter().all(|field| FIELDS.contains(&field)), "{kind:?}");
        }
    }
}
