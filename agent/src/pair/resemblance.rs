//! Responses that answer nothing: what they look like.

use super::entry::Entry;
use super::key::{Ends, Kin, Line, asked};
use super::table::{Slot, Table};
use super::{OrphanReason, multicast};
use crate::decode::Message;

/// Why a response answers no query, and the query that it resembles; a query that waits is a better
/// guess than one that has ended.
///
/// O(1): so many transactions of the same client and id, and so many queries between the same ends,
/// are looked at as [`super::MAX_WALK`] says.
pub(super) fn of(table: &Table, response: &Message<'_>) -> (OrphanReason, Option<Slot>) {
    let ends = Ends::of(response);
    let mut best: Option<(bool, OrphanReason, u32)> = None;
    for (at, entry) in table.kin(&Kin::of(response)) {
        if let Some(reason) = difference(response, &ends, entry) {
            let found = (!entry.is_waiting(), reason, at);
            if best.is_none_or(|(ended, reason, _)| (found.0, found.1) < (ended, reason)) {
                best = Some(found);
            }
        }
    }
    if best.is_none_or(|(ended, ..)| ended) {
        let question = asked(response);
        let other_id = table.line(&Line::Between(ends)).find(|(_, entry)| {
            entry.is_waiting() && (question.is_none() || question == asked(&entry.query.message()))
        });
        if let Some((at, _)) = other_id {
            return (OrphanReason::WrongId, Some(table.slot_at(at)));
        }
    }
    match best {
        Some((_, reason, at)) => (reason, Some(table.slot_at(at))),
        None if multicast::is_announcement(response) => (OrphanReason::Announcement, None),
        None => (OrphanReason::NoQuery, None),
    }
}

/// In what a response differs from the one that a query of the same client and id would have, if
/// it is one thing only. A response without a question may answer any.
fn difference(response: &Message<'_>, ends: &Ends, entry: &Entry) -> Option<OrphanReason> {
    let asking = entry.query.message();
    let query = Ends::of(&asking);
    let question = asked(response);
    let same_question = question.is_none() || question == asked(&asking);
    let same_client_port = ends.client.port() == query.client.port();
    if ends.server.ip() != query.server.ip() {
        return (same_client_port && same_question).then_some(OrphanReason::WrongSource);
    }
    match (same_client_port && ends.server.port() == query.server.port(), same_question) {
        (true, false) => Some(OrphanReason::WrongQuestion),
        (false, true) => Some(OrphanReason::WrongPort),
        _ => None,
    }
}
