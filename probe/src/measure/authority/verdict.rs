//! Whether one nameserver of a zone is as it should be, beside the others and the parent.

use super::Delegation;
use crate::dns::{Exchange, presentation, rcode_reason};
use crate::failure::{Failure, OPEN_FILES, SOURCE_ADDRESS, Stage};
use hickory_proto::dnssec::rdata::DNSKEY;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::Name;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// What a nameserver answers at one address.
pub(super) struct ServerState {
    /// Exchange for the SOA record over UDP.
    pub(super) soa: Result<Exchange, Failure>,
    /// Whether it answers over TCP.
    pub(super) tcp: Result<(), Failure>,
    /// Serial number, if it answers with authority.
    pub(super) serial: Option<u32>,
    /// Names of the nameservers in lower case, if it answers with authority.
    pub(super) nameservers: Option<BTreeSet<Name>>,
    /// Names of the nameservers in presentation format, sorted.
    pub(super) answers: Vec<String>,
    /// Keys that it has, if the zone is signed.
    pub(super) keys: Option<Result<Vec<DNSKEY>, Failure>>,
}

impl ServerState {
    /// Returns why the server is lame: it answers, but not with authority for the zone.
    pub(super) fn lame(&self) -> Option<String> {
        let response = &self.soa.as_ref().ok()?.response;
        let rcode = response.metadata.response_code;
        if rcode != ResponseCode::NoError {
            return Some(format!("answers {}", rcode_reason(rcode).to_uppercase()));
        }
        if self.serial.is_some() {
            return None;
        }
        let is_referral = response.answers.is_empty() && !response.metadata.authoritative;
        Some(match (response.metadata.authoritative, is_referral) {
            (_, true) => "answers with a referral".to_owned(),
            (true, _) => "answers without the SOA record".to_owned(),
            (false, _) => "answers without authority (AA)".to_owned(),
        })
    }
}

/// Judges one nameserver at one address.
///
/// # Errors
/// The first of these: it is unreachable, lame, not reachable over TCP, behind in its serial number, not
/// named alike by parent and zone, without a key that the parent's DS records name, or says otherwise than most
/// nameservers.
pub(super) fn judge(
    zone: &Name,
    name: &Name,
    state: &ServerState,
    all: &[&ServerState],
    delegation: &Delegation,
    max_serial_lag: u32,
) -> Result<(), Failure> {
    let fail = |reason, detail: String| Err(Failure::new(Stage::Dns, reason).with_detail(detail));
    if let Err(failure) = &state.soa {
        return Err(unreachable(failure));
    }
    if let Some(how) = state.lame() {
        return fail("lame", how);
    }
    if let Err(failure) = &state.tcp {
        return Err(unreachable_over_tcp(failure));
    }
    let newest = newest(all.iter().filter_map(|state| state.serial));
    if let (Some(newest), Some(serial)) = (newest, state.serial) {
        let lag = newest.wrapping_sub(serial);
        if lag > max_serial_lag {
            return fail("serial_lag", format!("serial {serial} is {lag} behind {newest}"));
        }
    }
    judge_names(name, state, delegation)?;
    judge_keys(zone, state, delegation)?;
    let usual = usual_names(all, delegation);
    if state.nameservers.is_some() && state.nameservers.as_ref() != usual {
        let usual = usual.map(list).unwrap_or_default();
        return fail("answers_differ", format!("most nameservers have NS {usual}"));
    }
    Ok(())
}

/// Names what kept a server from answering.
fn unreachable(failure: &Failure) -> Failure {
    let reason = match failure.reason {
        "port_unreachable" | "host_unreachable" | "network_unreachable" | "refused" | "reset" => {
            "unreachable"
        }
        reason => reason,
    };
    Failure { reason, ..failure.clone() }
}

/// Names what kept a server from answering over TCP that answers over UDP: it has the zone, for all but long answers.
fn unreachable_over_tcp(failure: &Failure) -> Failure {
    let reason = match failure.reason {
        reason @ ("malformed" | "truncated" | OPEN_FILES | SOURCE_ADDRESS) => reason,
        _ => "tcp_unreachable",
    };
    let detail = failure.detail.as_deref().unwrap_or(failure.reason);
    let detail = format!("over TCP, though it answers over UDP: {detail}");
    Failure { stage: Stage::Dns, reason, ..failure.clone() }.with_detail(detail)
}

/// Compares the names of the nameservers at the parent and at this server.
fn judge_names(name: &Name, state: &ServerState, delegation: &Delegation) -> Result<(), Failure> {
    let Some(own) = state.nameservers.as_ref().filter(|_| delegation.is_referral) else {
        return Ok(());
    };
    let shown = presentation(name);
    let detail = match (delegation.nameservers.contains(name), own.contains(name)) {
        (true, false) => format!("the parent has NS {shown}, the zone has not"),
        (false, true) => format!("the zone has NS {shown}, the parent has not"),
        _ => return Ok(()),
    };
    Err(Failure::new(Stage::Dns, "delegation_mismatch").with_detail(detail))
}

/// Requires one of the keys that the parent's DS records name.
fn judge_keys(zone: &Name, state: &ServerState, delegation: &Delegation) -> Result<(), Failure> {
    let keys = match &state.keys {
        Some(Ok(keys)) => keys,
        Some(Err(failure)) => {
            let detail = failure.detail.as_deref().unwrap_or(failure.reason);
            let detail = format!("DNSKEY: {detail}");
            return Err(unreachable(&failure.clone().with_detail(detail)));
        }
        None => return Ok(()),
    };
    let digests = &delegation.digests;
    let is_named = |key: &DNSKEY| digests.iter().any(|ds| ds.covers(zone, key).unwrap_or(false));
    if keys.iter().any(is_named) {
        return Ok(());
    }
    let tags: Vec<_> = digests.iter().map(|ds| ds.key_tag().to_string()).collect();
    let tags = tags.join(", ");
    let (reason, detail) = if keys.is_empty() {
        ("ds_without_key", format!("no DNSKEY, though the parent has a DS record (key tag {tags})"))
    } else {
        ("ds_mismatch", format!("no DNSKEY matches the DS of the parent (key tag {tags})"))
    };
    Err(Failure::new(Stage::Dns, reason).with_detail(detail))
}

/// Returns the newest of serial numbers (RFC 1982, section 3.2).
fn newest(serials: impl Iterator<Item = u32>) -> Option<u32> {
    serials.reduce(|one, other| {
        let is_newer = other.wrapping_sub(one).cast_signed() > 0;
        if is_newer { other } else { one }
    })
}

/// Returns the set of nameservers that most servers have; of several, the one that the parent has too.
fn usual_names<'a>(all: &[&'a ServerState], delegation: &Delegation) -> Option<&'a BTreeSet<Name>> {
    let mut counts = BTreeMap::<&BTreeSet<Name>, usize>::new();
    for names in all.iter().filter_map(|state| state.nameservers.as_ref()) {
        *counts.entry(names).or_default() += 1;
    }
    let most = counts.into_iter().min_by_key(|(names, count)| {
        (Reverse(*count), **names != delegation.nameservers, names.len())
    });
    most.map(|(names, _)| names)
}

fn list(names: &BTreeSet<Name>) -> String {
    names.iter().map(presentation).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::newest;

    #[test]
    fn serial_numbers_wrap() {
        assert_eq!(newest([5, 7, 6].into_iter()), Some(7));
        assert_eq!(newest([u32::MAX, 3, u32::MAX - 1].into_iter()), Some(3));
        assert_eq!(newest(std::iter::empty()), None);
    }
}
