//! The delegation of a zone, as a server of its parent gives it.

use super::Asking;
use crate::dns::{Protocol, Question, exchange, presentation, rcode_reason, referral};
use crate::failure::{Failure, Stage};
use crate::failure::{OPEN_FILES, SOURCE_ADDRESS};
use hickory_proto::dnssec::DigestType;
use hickory_proto::dnssec::rdata::{DNSSECRData, DS};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::collections::BTreeSet;
use std::net::IpAddr;
use tokio::time::{Instant, timeout, timeout_at};

/// Number of the parent's servers that are tried.
const MAX_PARENT_SERVERS: usize = 4;

/// What the parent says of a zone.
pub(super) struct Delegation {
    /// Names of the nameservers, in lower case.
    pub(super) nameservers: BTreeSet<Name>,
    /// Whether these are a referral of the parent. A server that has both zones answers as the child, and
    /// the root has no parent: then there is nothing to compare.
    pub(super) is_referral: bool,
    glue: Vec<(Name, IpAddr)>,
    /// DS records; none where the zone is not signed.
    pub(super) digests: Vec<DS>,
}

impl Delegation {
    /// Creates the delegation of a zone whose parent is not asked: there is nothing to compare.
    pub(super) const fn unknown() -> Self {
        Self {
            nameservers: BTreeSet::new(),
            is_referral: false,
            glue: Vec::new(),
            digests: Vec::new(),
        }
    }

    /// Returns the addresses of a nameserver that the parent gives.
    pub(super) fn glue_of(&self, name: &Name) -> BTreeSet<IpAddr> {
        let glue = self.glue.iter().filter(|(owner, _)| owner == name);
        glue.map(|(_, address)| *address).collect()
    }
}

/// Finds the parent of a zone by the resolver, and asks the parent's servers for the delegation.
///
/// # Errors
/// The resolver does not find the parent, none of its servers answers, or they have no delegation.
pub(super) async fn find_delegation(
    asking: &Asking<'_>,
    zone: &Name,
) -> Result<Delegation, Failure> {
    if zone.is_root() {
        let nameservers = resolve_ns(asking, zone).await?;
        let (glue, digests) = (Vec::new(), Vec::new());
        return Ok(Delegation { nameservers, is_referral: false, glue, digests });
    }
    // The nameservers need the other half of the time.
    let deadline = Instant::now() + asking.time_left() / 2;
    let finding = timeout_at(deadline, find_parent(asking, zone));
    let (parent, servers) = finding.await.unwrap_or_else(|_| {
        let detail = format!("resolver {} did not find the parent in time", asking.resolver);
        Err(Failure::new(Stage::Resolve, "timeout").with_detail(detail))
    })?;
    ask_parent(asking, zone, &parent, &servers, deadline).await
}

/// Returns the closest zone above, and the names of its servers.
async fn find_parent(asking: &Asking<'_>, zone: &Name) -> Result<(Name, BTreeSet<Name>), Failure> {
    let mut parent = zone.base_name();
    loop {
        let servers = resolve_ns(asking, &parent).await?;
        if !servers.is_empty() {
            return Ok((parent, servers));
        }
        if parent.is_root() {
            let detail = format!("the resolver has no nameservers of a zone above {zone}");
            return Err(Failure::new(Stage::Resolve, "no_data").with_detail(detail));
        }
        parent = parent.base_name();
    }
}

/// Returns the nameservers of a zone by the resolver; none where the name is no zone.
pub(super) async fn resolve_ns(
    asking: &Asking<'_>,
    zone: &Name,
) -> Result<BTreeSet<Name>, Failure> {
    let question = Question::new(zone.clone(), RecordType::NS);
    let limit = asking.time_left() / 2;
    let found = exchange(asking.resolver, asking.trust, &question, limit).await;
    let found = found.map_err(|failure| Failure { stage: Stage::Resolve, ..failure })?;
    match found.response.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => match referral(&found.response) {
            Some(refers) => {
                let detail = format!("resolver {} {refers}", asking.resolver);
                Err(Failure::new(Stage::Resolve, "refused").with_detail(detail))
            }
            None => Ok(ns_names(&found.response.answers, zone)),
        },
        rcode => {
            let detail = format!("{} NS by resolver {}", presentation(zone), asking.resolver);
            Err(Failure::new(Stage::Resolve, rcode_reason(rcode)).with_detail(detail))
        }
    }
}

/// Asks servers of the parent, one after the other, until one has the delegation.
async fn ask_parent(
    asking: &Asking<'_>,
    zone: &Name,
    parent: &Name,
    servers: &BTreeSet<Name>,
    deadline: Instant,
) -> Result<Delegation, Failure> {
    let mut last = None;
    for (index, server) in servers.iter().take(MAX_PARENT_SERVERS).enumerate() {
        let left = servers.len().min(MAX_PARENT_SERVERS) - index;
        let share = deadline.saturating_duration_since(Instant::now());
        let share = share / u32::try_from(left).unwrap_or(1);
        // Its attempts are spread over this share of the time.
        let asking = Asking { deadline: Instant::now() + share, ..*asking };
        match timeout(share, ask_parent_server(&asking, zone, server)).await {
            Ok(Ok(delegation)) => return Ok(delegation),
            Ok(Err(failure)) => last = Some(failure),
            Err(_) => {
                let how = format!("did not answer within {} ms", share.as_millis());
                last = Some(parent_unreachable(server, &how));
            }
        }
    }
    Err(last.unwrap_or_else(|| {
        let detail = format!("{} has no nameservers", presentation(parent));
        Failure::new(Stage::Resolve, "no_data").with_detail(detail)
    }))
}

/// Makes the failure of a server of the parent that cannot be asked from here. The zone and the resolver may be in good
/// order: many networks let their resolvers alone ask nameservers.
fn parent_unreachable(server: &Name, how: &str) -> Failure {
    let detail = format!(
        "{}, a server of the parent, {how}; where this host may not ask nameservers, give authority.servers",
        presentation(server)
    );
    Failure::new(Stage::Dns, "parent_unreachable").with_detail(detail)
}

async fn ask_parent_server(
    asking: &Asking<'_>,
    zone: &Name,
    server: &Name,
) -> Result<Delegation, Failure> {
    let addresses = asking.addresses(server).await?;
    let address = addresses.into_iter().find(|address| asking.may_ask(*address));
    let Some(address) = address else {
        let detail = format!("{} has no address that can be asked", presentation(server));
        return Err(Failure::new(Stage::Resolve, "no_address").with_detail(detail));
    };
    let (referral, ds) = tokio::join!(
        asking.server(address, Protocol::Udp, zone, RecordType::NS),
        asking.server(address, Protocol::Udp, zone, RecordType::DS),
    );
    // A response that cannot be read is one.
    let referral = referral.map_err(|failure| match failure.reason {
        "malformed" | OPEN_FILES | SOURCE_ADDRESS => failure,
        reason => parent_unreachable(server, &format!("cannot be asked at {address}: {reason}")),
    })?;
    let delegation = read_delegation(zone, server, &referral.response)?;
    // Without them the delegation is known, and whether the zone is signed is not.
    let digests = match ds {
        Ok(found) => digests(&found.response.answers, zone),
        Err(failure) => {
            tracing::debug!(
                ?failure,
                "{server}, a server of the parent, gives no DS records of {zone}"
            );
            Vec::new()
        }
    };
    Ok(Delegation { digests, ..delegation })
}

/// Returns the DS records of a zone whose digests this program can compute; a zone that has only others counts as
/// unsigned (RFC 4035, section 5.2).
fn digests(section: &[Record], zone: &Name) -> Vec<DS> {
    let records = section.iter().filter(|record| record.name == *zone);
    let digests = records.filter_map(|record| match &record.data {
        RData::DNSSEC(DNSSECRData::DS(ds)) => Some(ds),
        _ => None,
    });
    let is_known = |ds: &&DS| {
        matches!(ds.digest_type(), DigestType::SHA1 | DigestType::SHA256 | DigestType::SHA384)
    };
    digests.filter(is_known).cloned().collect()
}

/// Reads the referral to a zone (RFC 1034, section 4.3.1), or the zone's own answer.
fn read_delegation(zone: &Name, server: &Name, response: &Message) -> Result<Delegation, Failure> {
    let metadata = &response.metadata;
    let own = ns_names(&response.answers, zone);
    let referred = ns_names(&response.authorities, zone);
    let is_referral = own.is_empty();
    let nameservers = if is_referral { referred } else { own };
    if nameservers.is_empty() {
        let server = presentation(server);
        let (reason, detail) = match metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => {
                let zone = presentation(zone);
                (
                    "delegation_mismatch",
                    format!("{server}, a server of the parent, has no delegation of {zone}"),
                )
            }
            rcode => (rcode_reason(rcode), format!("{server}, a server of the parent, answers so")),
        };
        return Err(Failure::new(Stage::Dns, reason).with_detail(detail));
    }
    let glue = response.additionals.iter().filter_map(|record| {
        let name = record.name.to_lowercase();
        nameservers.contains(&name).then_some((name, record.data.ip_addr()?))
    });
    Ok(Delegation { glue: glue.collect(), is_referral, nameservers, digests: Vec::new() })
}

fn ns_names(section: &[Record], zone: &Name) -> BTreeSet<Name> {
    let names = section.iter().filter_map(|record| match &record.data {
        RData::NS(name) if record.name == *zone => Some(name.0.to_lowercase()),
        _ => None,
    });
    names.collect()
}
