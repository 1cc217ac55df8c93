//! Which resolver differs from the others, and how much.

use super::answer::{Difference, Said};
use super::{Heard, Name, Resolver, TOGETHER};
use crate::decode::MessageId;
use crate::detect::finding::{Entity, Evidence, Finding, Level, Rule};
use crate::detect::who::{figure, share};
use crate::number::float;
use crate::time::Timestamp;
use std::collections::BTreeSet;

/// How old an answer may be to be looked at, in nanoseconds.
const RECENT_NS: u64 = 600_000_000_000;
/// Zones counted of a resolver's differences; more are not needed.
const ZONES: usize = 64;
/// Answers of a resolver, one like the other, that show that it keeps to them.
const STEADY: u32 = 5;
/// Names and samples that evidence shows.
const EXHIBITS: usize = 10;

/// From when on differences are a finding. All within about ten minutes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DriftOptions {
    /// Names whose answers differ in kind.
    pub names: u64,
    /// So many different zones, or it is a zone with a view for each network (split horizon): then it is
    /// just worth knowing.
    pub zones: u64,
    /// The share of the names that both answered.
    pub share: f64,
    /// Names from which on it can be critical.
    pub names_critical: u64,
    /// The share from which on it is.
    pub share_critical: f64,
    /// The share of names with addresses from which on it counts that they are others.
    pub addresses_share: f64,
}

impl Default for DriftOptions {
    fn default() -> Self {
        Self {
            names: 4,
            zones: 3,
            share: 0.1,
            names_critical: 30,
            share_critical: 0.5,
            addresses_share: 0.9,
        }
    }
}

/// What is counted of a resolver.
#[derive(Default)]
struct Case {
    /// Names that others answered too.
    compared: u64,
    /// Those on which it differs in kind from most of them.
    kind: u64,
    /// Those where all gave addresses.
    with_addresses: u64,
    /// Those of them on which it has no network in common with any other.
    addresses: u64,
    /// Those, of either kind, where both sides kept to their answer.
    steady: u64,
    zones: BTreeSet<u64>,
    /// Different answers with addresses that it gave where it differs: a liar has few.
    lies: BTreeSet<u64>,
    /// Times that it stands against one other with nobody to decide, and said what only who filters or
    /// redirects says: an address for nothing, or one that leads nowhere.
    suspect: u64,
    names: Vec<Box<str>>,
    samples: Vec<MessageId>,
    against: BTreeSet<usize>,
}

/// Compares resolvers on all names, and gives those that differ.
pub(super) fn judge<'a>(
    resolvers: &[Resolver],
    names: impl Iterator<Item = &'a Name>,
    now: Timestamp,
    options: &DriftOptions,
    each: &mut dyn FnMut(Finding),
) {
    let mut cases: Vec<Case> = resolvers.iter().map(|_| Case::default()).collect();
    for name in names {
        compare(name, now, &mut cases);
    }
    let mut found: Vec<(Level, usize)> =
        (0..cases.len()).filter_map(|place| Some((cases[place].level(options)?, place))).collect();
    found.sort_by_key(|(level, place)| (*level, *place));
    for (level, place) in &found {
        // Of two that differ from each other only, one is told of: the one that looks more like it.
        let rival = cases[*place].against.iter().next().copied();
        let only_two = cases[*place].against.len() == 1;
        let told_by_rival = only_two
            && rival.is_some_and(|rival| {
                let same = cases[rival].against.iter().eq([place]);
                same && found.iter().any(|(_, other)| *other == rival)
                    && is_likelier(&cases, resolvers, rival, *place)
            });
        if !told_by_rival {
            each(told(resolvers, &cases[*place], *place, *level, options));
        }
    }
}

fn compare(name: &Name, now: Timestamp, cases: &mut [Case]) {
    let recent = |heard: &&Heard| now.since(heard.at).as_nanos() <= u128::from(RECENT_NS);
    let answers: Vec<&Heard> = name.answers.iter().filter(recent).collect();
    for heard in &answers {
        let others = answers.iter().filter(|other| {
            other.resolver != heard.resolver
                && other.at.since(heard.at).max(heard.at.since(other.at)) <= TOGETHER
        });
        let others: Vec<&&Heard> = others.collect();
        if others.is_empty() {
            continue;
        }
        let Some(case) = cases.get_mut(heard.resolver) else { continue };
        case.compared += 1;
        let differing = |kind: Difference| {
            let differs = |other: &&&&Heard| heard.said.differs(other.said, name.qtype) == kind;
            others.iter().filter(differs).count()
        };
        let gives = |said: Said| matches!(said, Said::Addresses { .. });
        let all_give = gives(heard.said) && others.iter().all(|other| gives(other.said));
        case.with_addresses += u64::from(all_give);
        // Of two, either may be wrong; of more, those that are fewer.
        let in_kind = differing(Difference::Kind) * 2 > others.len();
        let in_addresses = all_give && differing(Difference::Addresses) == others.len();
        if !in_kind && !in_addresses {
            continue;
        }
        case.kind += u64::from(in_kind);
        case.addresses += u64::from(in_addresses);
        let steady = |heard: &Heard| heard.times >= STEADY;
        let both_steady = steady(heard) && others.iter().all(|other| steady(other));
        case.steady += u64::from(both_steady);
        case.against.extend(others.iter().map(|other| other.resolver));
        let negative = |said: Said| matches!(said, Said::Missing | Said::Nothing);
        let gives_for_nothing =
            !negative(heard.said) && others.iter().all(|other| negative(other.said));
        case.suspect += u64::from(heard.said == Said::Nowhere || gives_for_nothing);
        if let Said::Addresses { all, .. } = heard.said
            && case.lies.len() < ZONES
        {
            case.lies.insert(all);
        }
        if case.zones.len() < ZONES {
            case.zones.insert(name.zone);
        }
        if case.names.len() < EXHIBITS {
            case.names.push(name.qname.clone());
            case.samples.push(heard.id);
        }
    }
}

impl Case {
    fn level(&self, options: &DriftOptions) -> Option<Level> {
        let kind_share = share(self.kind, self.compared);
        if self.kind >= options.names && kind_share >= options.share {
            let zones = u64::try_from(self.zones.len()).unwrap_or(u64::MAX);
            let critical =
                self.kind >= options.names_critical && kind_share >= options.share_critical;
            return Some(match (zones >= options.zones, critical) {
                (false, _) => Level::Info,
                (true, false) => Level::Warning,
                (true, true) => Level::Critical,
            });
        }
        // Fewer are enough where there is hardly anything on which they agree.
        let always = self.kind > 0 && kind_share >= options.share_critical;
        let addresses_share = share(self.addresses, self.with_addresses);
        if self.steady > 0 && (always || addresses_share >= options.addresses_share) {
            let redirects = self.addresses >= options.names_critical && self.few_lies();
            return Some(if redirects { Level::Warning } else { Level::Info });
        }
        None
    }

    /// Whether it answers many names with the same few addresses.
    fn few_lies(&self) -> bool {
        self.lies.len() * 4 <= self.zones.len()
    }
}

/// Whether of two resolvers that differ from each other one is likelier the one that is wrong.
fn is_likelier(cases: &[Case], resolvers: &[Resolver], one: usize, other: usize) -> bool {
    let worth = |place: usize| {
        let case = &cases[place];
        (
            case.suspect,
            case.few_lies() && !case.lies.is_empty(),
            std::cmp::Reverse(resolvers[place].address),
        )
    };
    worth(one) > worth(other)
}

fn told(
    resolvers: &[Resolver],
    case: &Case,
    place: usize,
    level: Level,
    options: &DriftOptions,
) -> Finding {
    let name = &resolvers[place].name;
    let others: Vec<Box<str>> =
        case.against.iter().map(|other| resolvers[*other].name.clone()).collect();
    let (differing, of, how) = if case.kind > 0 {
        (case.kind, case.compared, "in kind")
    } else {
        (case.addresses, case.with_addresses, "in all addresses")
    };
    let summary = format!(
        "{name} answers {differing} of {of} names differently {how} from {}, in {} zones",
        others.join(", "),
        case.zones.len()
    );
    let figures = vec![
        figure("differing_names", float(case.kind), Some(float(options.names))),
        figure("compared_names", float(case.compared), None),
        figure("differing_share", share(case.kind, case.compared), Some(options.share)),
        figure("differing_addresses", float(case.addresses), None),
        figure("compared_addresses", float(case.with_addresses), None),
    ];
    let resolvers = std::iter::once(name.clone()).chain(others).collect();
    Finding {
        rule: Rule::ResolverDrift,
        entity: Entity { resolver: Some(name.clone()), ..Entity::default() },
        level,
        summary,
        evidence: Evidence {
            figures,
            samples: case.samples.clone(),
            qnames: case.names.clone(),
            resolvers,
            ..Evidence::default()
        },
    }
}
