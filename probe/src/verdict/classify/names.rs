//! Names: resolvers against each other, against the zone's nameservers, and signatures.

use super::{Assigned, concerns, has_no_route, is_about_name, is_silence, is_unreachable};
use crate::target::TargetKind;
use crate::verdict::rule::Cause;
use crate::verdict::state::Measurement;
use hickory_proto::rr::Name;
use std::collections::BTreeMap;

/// Reasons with which the responses of several resolvers agree about a name: that it is gone, or is not as expected.
const GONE: [&str; 4] = ["nxdomain", "no_data", "dangling_cname", "answer_mismatch"];

/// State of a zone at its nameservers.
#[derive(Debug, Default)]
struct ZoneState {
    unreachable: Vec<usize>,
    /// Nameservers and delegation contradict each other.
    contradictions: Vec<usize>,
    answers: usize,
}

/// Assigns the failures of `authority` and `dns` targets.
pub(super) fn assign(all: &[&Measurement], assigned: &mut Assigned) {
    let Authorities { without_resolver, without_parent, zones } = judge_zones(all, assigned);
    let mut names: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, one) in all.iter().enumerate().filter(|(_, one)| one.fields.kind == "dns") {
        names.entry(&one.target.name).or_default().push(index);
    }
    for group in names.values() {
        Judge { all, zones: &zones, group }.assign(assigned);
        judge_changed(all, group, assigned);
    }
    for index in without_resolver {
        let one = all[index];
        let TargetKind::Authority(authority) = &one.target.kind else { continue };
        let explains = |other: usize| {
            let asked = all[other];
            let is_same =
                asked.fields.kind == "dns" && asked.fields.resolver == one.fields.resolver;
            let cause = assigned.cause_of(other).filter(|_| is_same)?;
            // What is wrong with a name says nothing of another zone.
            let is_of_resolver = matches!(cause, Cause::Resolver | Cause::Path);
            let mut name = asked.target.name_asked().into_iter();
            (is_of_resolver || name.any(|name| authority.zone.zone_of(&name))).then_some(cause)
        };
        match (0..all.len()).find_map(explains) {
            Some(cause) => assigned.follow(cause, &[index]),
            None if has_no_route(one) => assigned.own(Cause::Path, &[index]),
            None => assigned.own(Cause::Resolver, &[index]),
        }
    }
    for index in without_parent {
        // Resolvers that cannot reach the parent either fail: then it is away. Else the way from here is closed.
        let is_away = |other: &usize| {
            let one = all[*other];
            let TargetKind::Authority(authority) = &all[index].target.kind else { return false };
            let is_below =
                one.target.name_asked().is_some_and(|name| authority.zone.zone_of(&name));
            one.fields.kind == "dns" && is_below && matches!(one.error().1, "servfail" | "timeout")
        };
        match (0..all.len()).filter(is_away).find_map(|other| assigned.cause_of(other)) {
            Some(cause) => assigned.follow(cause, &[index]),
            None => assigned.own(Cause::Path, &[index]),
        }
    }
}

/// Judges answers that have changed without announcement: at few resolvers, these lie; at all of them, the
/// answers are the cause if they lead to a host that fails.
fn judge_changed(all: &[&Measurement], group: &[usize], assigned: &mut Assigned) {
    let good = group.iter().copied().filter(|index| all[*index].fields.ok);
    let (changed, same): (Vec<usize>, Vec<usize>) =
        good.partition(|index| all[*index].fields.changed == Some(true));
    let leads_to = |host: &Measurement| {
        let address = host.fields.address.as_ref();
        let is_answer = |index: &usize| {
            address.is_some_and(|address| all[*index].fields.answers.contains(address))
        };
        super::layer(host) > 0 && !host.fields.ok && changed.iter().any(is_answer)
    };
    if changed.len() < same.len() {
        let differing = changed.into_iter().filter(|index| all[*index].differing);
        let differing: Vec<usize> = differing.collect();
        if !differing.is_empty() {
            assigned.own(Cause::Resolver, &differing);
        }
    } else if same.is_empty() && all.iter().any(|host| leads_to(host)) {
        assigned.own(Cause::Dns, &changed);
    }
}

/// What the measurements of `authority` targets say.
#[derive(Debug, Default)]
struct Authorities<'a> {
    /// Measurements that failed because the resolver that finds the nameservers was not reached, or did not do its work.
    without_resolver: Vec<usize>,
    /// Measurements that failed because no server of the parent can be asked from here: the zone is unknown.
    without_parent: Vec<usize>,
    /// State of the zones that have others.
    zones: Vec<(&'a Name, ZoneState)>,
}

/// Judges zones.
fn judge_zones<'a>(all: &[&'a Measurement], assigned: &mut Assigned) -> Authorities<'a> {
    let mut found = Authorities::default();
    let zones = &mut found.zones;
    for (index, one) in all.iter().enumerate() {
        let TargetKind::Authority(authority) = &one.target.kind else { continue };
        if !one.fields.ok {
            let ((stage, reason), is_found) = (one.error(), one.fields.nameserver.is_some());
            if reason == "parent_unreachable" {
                found.without_parent.push(index);
                continue;
            }
            // Resolvers pass on that the servers of a nameserver's name refuse or do not answer.
            let is_of_name =
                is_about_name(reason) || is_found && matches!(reason, "refused" | "timeout");
            if stage == "resolve" && !is_of_name || !is_found && is_silence(reason) {
                found.without_resolver.push(index);
                continue;
            }
        }
        let known = zones.iter().position(|(zone, _)| **zone == authority.zone);
        let place = known.unwrap_or_else(|| {
            zones.push((&authority.zone, ZoneState::default()));
            zones.len() - 1
        });
        let state = &mut zones[place].1;
        let is_bogus = is_of_dnssec(one.error().1);
        // One that has the zone answers, whatever else is wrong.
        state.answers += usize::from(one.fields.ok || is_bogus || one.fields.soa_serial.is_some());
        if one.fields.ok {
            continue;
        }
        if is_bogus {
            assigned.own(Cause::Dnssec, &[index]);
        } else if one.fields.nameserver.is_none() {
            // The zone's nameservers were not found at all.
            state.unreachable.push(index);
        } else if is_unreachable(one)
            && one.error().0 != "resolve"
            && one.fields.soa_serial.is_none()
        {
            state.unreachable.push(index);
        } else {
            // Among them nameservers whose names do not resolve, and those that answer a part of what they are asked.
            state.contradictions.push(index);
        }
    }
    for (_, state) in &found.zones {
        if !state.contradictions.is_empty() {
            assigned.own(Cause::Delegation, &state.contradictions);
        }
        if state.unreachable.is_empty() {
            continue;
        }
        let is_dead = state.answers == 0 && state.contradictions.is_empty();
        let no_route = is_dead && state.unreachable.iter().all(|index| has_no_route(all[*index]));
        let cause = if no_route || is_dead && is_cut_off(all) {
            Cause::Path
        } else if is_dead {
            Cause::Dns
        } else {
            // The zone works, and the parent sends resolvers to a server that does not (RFC 9499, lame delegation).
            Cause::Delegation
        };
        assigned.own(cause, &state.unreachable);
    }
    found
}

/// Returns whether a resolver was reached and did not do its work: what it says is not about the name.
fn refuses(one: &Measurement) -> bool {
    let (stage, reason) = one.error();
    let of_server = ["NOTAUTH", "BADVERS", "BADCOOKIE", "BADKEY", "BADTIME"];
    stage == "http"
        || matches!(reason, "refused" | "formerr" | "notimp" | "malformed" | "truncated")
        || one.fields.rcode.as_deref().is_some_and(|rcode| of_server.contains(&rcode))
}

fn is_of_dnssec(reason: &str) -> bool {
    reason == "bogus" || reason == "not_secure" || reason.starts_with("ds_")
}

/// Returns whether nothing at all can be reached: neither a resolver, nor a nameserver, nor a host.
fn is_cut_off(all: &[&Measurement]) -> bool {
    let hosts = || all.iter().filter(|one| super::layer(one) > 0 && one.error().0 != "resolve");
    let is_silent = |one: &&Measurement| {
        has_no_route(one) || one.error().1 == "timeout" || one.fields.received == Some(0)
    };
    let mut servers = all.iter().filter(|one| super::layer(one) == 0);
    hosts().count() > 0 && hosts().all(is_silent) && servers.all(|one| is_unreachable(one))
}

/// Judges the results of one name and type at all its resolvers.
struct Judge<'a> {
    all: &'a [&'a Measurement],
    zones: &'a [(&'a Name, ZoneState)],
    group: &'a [usize],
}

impl Judge<'_> {
    fn assign(&self, assigned: &mut Assigned) {
        if self.bad().next().is_none() {
            return;
        }
        let (unreachable, answered): (Vec<usize>, Vec<usize>) =
            self.bad().partition(|index| is_unreachable(self.all[*index]));
        let (bogus, wrong): (Vec<usize>, Vec<usize>) =
            answered.iter().partition(|index| self.is_bogus(**index));
        self.judge_bogus(&bogus, assigned);
        // A resolver passes on that the zone's own servers refuse.
        let is_of_zone = self.zone_is_dead()
            || self.zone_is_bogus(assigned)
            || self.zone().is_some_and(|zone| !zone.contradictions.is_empty());
        let (refusing, wrong): (Vec<usize>, Vec<usize>) = wrong.iter().partition(|index| {
            let one = self.all[**index];
            refuses(one) && !(is_of_zone && one.error() == ("dns", "refused"))
        });
        if !refusing.is_empty() {
            assigned.own(Cause::Resolver, &refusing);
        }
        self.judge_wrong(&wrong, &bogus, assigned);
        if !unreachable.is_empty() {
            let others_answer = unreachable.len() < self.group.len();
            let cause = if !others_answer {
                self.cause_of_silence(&unreachable)
            } else if self.zone_is_dead() && self.all_timed_out(&unreachable) {
                // Resolvers wait for the zone's nameservers.
                Cause::Dns
            } else {
                Cause::Resolver
            };
            assigned.own(cause, &unreachable);
        }
    }

    fn zone_is_dead(&self) -> bool {
        self.zone().is_some_and(|zone| zone.answers == 0)
    }

    /// Returns whether signatures of the zone that the name is in, or of one above it, do not validate.
    fn zone_is_bogus(&self, assigned: &Assigned) -> bool {
        let Some(name) = self.name() else { return false };
        assigned.all_of(Cause::Dnssec).any(|index| concerns(self.all, self.all[index], name))
    }

    /// Returns whether a nameserver has an old zone.
    fn zone_lags(&self) -> bool {
        let contradictions = self.zone().map(|zone| zone.contradictions.iter());
        contradictions.into_iter().flatten().any(|index| self.all[*index].error().1 == "serial_lag")
    }

    fn all_timed_out(&self, failures: &[usize]) -> bool {
        failures.iter().all(|index| self.all[*index].error().1 == "timeout")
    }

    fn bad(&self) -> impl Iterator<Item = usize> {
        self.group.iter().copied().filter(|index| !self.all[*index].fields.ok)
    }

    fn is_bogus(&self, index: usize) -> bool {
        let one = self.all[index];
        is_of_dnssec(one.error().1) || one.fields.dnssec.as_deref() == Some("bogus")
    }

    /// Returns whether a resolver says that it got no response from the zone's nameservers (No Reachable Authority, Network
    /// Error; RFC 8914, sections 4.23 and 4.24).
    fn lacks_authority(&self, index: usize) -> bool {
        self.all[index].fields.ede.iter().any(|error| matches!(error.code, 22 | 23))
    }

    fn judge_bogus(&self, bogus: &[usize], assigned: &mut Assigned) {
        // The resolver itself has the signatures of another answer.
        let (forged, bogus): (Vec<usize>, Vec<usize>) =
            bogus.iter().partition(|index| self.all[**index].error().1 == "forged");
        if !forged.is_empty() {
            assigned.own(Cause::Resolver, &forged);
        }
        if bogus.is_empty() {
            return;
        }
        // Signatures that validate elsewhere are good: this resolver removes or forges answers.
        let is_secure = |index: &usize| self.all[*index].fields.dnssec.as_deref() == Some("secure");
        let cause = if self.group.iter().any(is_secure) { Cause::Resolver } else { Cause::Dnssec };
        assigned.own(cause, &bogus);
    }

    /// Judges responses that are not what they should be.
    fn judge_wrong(&self, wrong: &[usize], bogus: &[usize], assigned: &mut Assigned) {
        if wrong.is_empty() {
            return;
        }
        let good = self.group.iter().filter(|index| self.all[**index].fields.ok).count();
        let are = |reasons: &[&str]| {
            wrong.iter().all(|index| reasons.contains(&self.all[*index].error().1))
        };
        let zone = self.zone();
        let contradicts = zone.is_some_and(|zone| !zone.contradictions.is_empty());
        let is_broken = are(&["servfail", "refused"]);
        if is_broken && (good == 0 || !bogus.is_empty()) && self.zone_is_bogus(assigned) {
            return assigned.follow(Cause::Dnssec, wrong);
        }
        // A nameserver that answers nothing does not make a resolver answer something else; one with old data does.
        if contradicts && (is_broken || good > 0 && self.zone_lags()) {
            return assigned.follow(Cause::Delegation, wrong);
        }
        let gone = are(&GONE);
        let is_of_name = if good > 0 {
            gone && wrong.len() > good
        } else if gone
            || self.zone_is_dead()
            || zone.is_none() && wrong.iter().all(|index| self.lacks_authority(*index))
        {
            true
        } else {
            // One resolver alone that does not resolve what is there.
            wrong.len() > 1 || !(zone.is_some() || self.hosts_work())
        };
        assigned.own(if is_of_name { Cause::Dns } else { Cause::Resolver }, wrong);
    }

    /// Cause if no resolver answers.
    fn cause_of_silence(&self, unreachable: &[usize]) -> Cause {
        let no_route = unreachable.iter().all(|index| has_no_route(self.all[*index]));
        if no_route && !self.hosts_work() || is_cut_off(self.all) {
            return Cause::Path;
        }
        let answers_others = unreachable.iter().all(|index| {
            let resolver = &self.all[*index].fields.resolver;
            let mut others = self.all.iter().filter(|one| one.fields.resolver == *resolver);
            others.any(|one| one.fields.kind == "dns" && !is_unreachable(one))
        });
        let is_of_zone = answers_others || self.zone_is_dead();
        let is_dns = is_of_zone && self.all_timed_out(unreachable);
        if is_dns { Cause::Dns } else { Cause::Resolver }
    }

    /// Returns whether hosts of the service work by address.
    fn hosts_work(&self) -> bool {
        self.all.iter().any(|one| super::layer(one) > 0 && one.fields.ok)
    }

    /// Name asked for.
    fn name(&self) -> Option<&Name> {
        match &self.all[*self.group.first()?].target.kind {
            TargetKind::Dns(dns) => Some(&dns.name),
            _ => None,
        }
    }

    /// State of the closest zone that the name is in.
    fn zone(&self) -> Option<&ZoneState> {
        let name = self.name()?;
        let enclosing = self.zones.iter().filter(|(zone, _)| zone.zone_of(name));
        enclosing.max_by_key(|(zone, _)| zone.num_labels()).map(|(_, state)| state)
    }
}
