//! Classification of responses that match no query.

use super::entry::QueryEntry;
use super::key::{ClientKey, Endpoints, FlowKey, normalized_question};
use super::table::{EntryRef, Table};
use super::{OrphanReason, multicast};
use crate::decode::Message;

/// Returns why a response matches no query, and the query that it resembles; waiting queries are
/// preferred to ended ones.
///
/// O(1): visits at most [`super::MAX_SCAN`] transactions with the same client and id, and as many
/// queries between the same endpoints.
pub(super) fn classify(table: &Table, response: &Message<'_>) -> (OrphanReason, Option<EntryRef>) {
    let endpoints = Endpoints::of(response);
    let mut best: Option<(bool, OrphanReason, u32)> = None;
    for (at, entry) in table.find_by_client(&ClientKey::of(response)) {
        if let Some(reason) = single_difference(response, &endpoints, entry) {
            let found = (!entry.is_waiting(), reason, at);
            if best.is_none_or(|(ended, reason, _)| (found.0, found.1) < (ended, reason)) {
                best = Some(found);
            }
        }
    }
    if best.is_none_or(|(ended, ..)| ended) {
        let question = normalized_question(response);
        let other_id = table.find_by_flow(&FlowKey::Endpoints(endpoints)).find(|(_, entry)| {
            entry.is_waiting()
                && (question.is_none() || question == normalized_question(&entry.query.message()))
        });
        if let Some((at, _)) = other_id {
            return (OrphanReason::WrongId, Some(table.entry_ref(at)));
        }
    }
    match best {
        Some((_, reason, at)) => (reason, Some(table.entry_ref(at))),
        None if multicast::is_announcement(response) => (OrphanReason::Announcement, None),
        None => (OrphanReason::NoQuery, None),
    }
}

/// Returns the difference between `response` and the response that `entry` expects, if it is a
/// single one. A response without a question matches any question.
fn single_difference(
    response: &Message<'_>,
    endpoints: &Endpoints,
    entry: &QueryEntry,
) -> Option<OrphanReason> {
    let asking = entry.query.message();
    let query = Endpoints::of(&asking);
    let question = normalized_question(response);
    let same_question = question.is_none() || question == normalized_question(&asking);
    let same_client_port = endpoints.client.port() == query.client.port();
    if endpoints.server.ip() != query.server.ip() {
        return (same_client_port && same_question).then_some(OrphanReason::WrongSource);
    }
    match (same_client_port && endpoints.server.port() == query.server.port(), same_question) {
        (true, false) => Some(OrphanReason::WrongQuestion),
        (false, true) => Some(OrphanReason::WrongPort),
        _ => None,
    }
}
