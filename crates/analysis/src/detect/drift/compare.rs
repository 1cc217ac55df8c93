//! Compares the answers of resolvers and finds those that differ.

use super::{AnswerContent, Difference, MAX_ANSWER_GAP, NameAnswers, Resolver, ResolverAnswer};
use crate::detect::attribution::share;
use crate::detect::finding::{Entity, Evidence, Figure, Finding, Rule, Severity};
use dnscribe_record::number::to_f64;
use dnscribe_record::time::Timestamp;
use std::collections::BTreeSet;

/// Maximum age of an answer, in nanoseconds.
const MAX_AGE_NS: u64 = 600_000_000_000;
/// Maximum number of zones and of distinct answers counted per resolver.
const MAX_ZONES: usize = 64;
/// Number of consecutive identical answers from which a resolver's answer is steady.
const STEADY: u32 = 5;
/// Maximum number of names and samples in evidence.
const MAX_EVIDENCE: usize = 10;

// Thresholds over about ten minutes.

/// Minimum number of names that differ in class.
const MIN_NAMES: u64 = 4;
/// Minimum number of zones for a warning. Fewer zones suggest split-horizon DNS, which is reported as
/// info.
const MIN_ZONES: usize = 3;
/// Minimum share of differing names among those compared.
const MIN_SHARE: f64 = 0.1;
/// Number of names from which the rule can be critical.
const CRITICAL_NAMES: u64 = 30;
/// Share of names from which the rule can be critical.
const CRITICAL_SHARE: f64 = 0.5;
/// Share of names with addresses from which different addresses count.
const MIN_ADDRESSES_SHARE: f64 = 0.9;

/// Comparison of one resolver with the others.
#[derive(Default)]
struct Comparison {
    /// Names that another resolver answered too.
    compared: u64,
    /// Names on which its answer differs in class from most others.
    kind: u64,
    /// Names for which all resolvers returned addresses.
    with_addresses: u64,
    /// Names for which it has no network in common with any other resolver.
    addresses: u64,
    /// Differing names for which both sides gave a steady answer.
    steady: u64,
    zones: BTreeSet<u64>,
    /// Distinct address answers among the differing ones: a redirecting resolver has few.
    distinct_answers: BTreeSet<u64>,
    /// Differing answers that are typical of a filter: addresses for names that do not exist, or
    /// null addresses.
    filtered: u64,
    evidence: Evidence,
    against: BTreeSet<usize>,
}

/// Compares resolvers on all names, and passes a finding for each that differs to `each`.
pub(super) fn find_drift<'a>(
    resolvers: &[Resolver],
    names: impl Iterator<Item = &'a NameAnswers>,
    now: Timestamp,
    each: &mut dyn FnMut(Finding),
) {
    let mut cases: Vec<Comparison> = resolvers.iter().map(|_| Comparison::default()).collect();
    for name in names {
        compare(name, now, &mut cases);
    }
    let mut found: Vec<(Severity, usize)> =
        (0..cases.len()).filter_map(|index| Some((cases[index].level()?, index))).collect();
    found.sort();
    for (level, index) in &found {
        // Of two resolvers that differ only from each other, the likelier culprit is reported.
        let rival = cases[*index].against.iter().next().copied();
        let only_two = cases[*index].against.len() == 1;
        let is_rivals = only_two
            && rival.is_some_and(|rival| {
                let same = cases[rival].against.iter().eq([index]);
                same && found.iter().any(|(_, other)| *other == rival)
                    && is_likelier(&cases, resolvers, rival, *index)
            });
        if !is_rivals {
            each(finding(resolvers, &cases[*index], *index, *level));
        }
    }
}

fn compare(name: &NameAnswers, now: Timestamp, cases: &mut [Comparison]) {
    let recent =
        |answer: &&ResolverAnswer| now.since(answer.at).as_nanos() <= u128::from(MAX_AGE_NS);
    let answers: Vec<&ResolverAnswer> = name.answers.iter().filter(recent).collect();
    for answer in &answers {
        let others = answers.iter().filter(|other| {
            other.resolver != answer.resolver
                && other.at.since(answer.at).max(answer.at.since(other.at)) <= MAX_ANSWER_GAP
        });
        let others: Vec<&&ResolverAnswer> = others.collect();
        if others.is_empty() {
            continue;
        }
        let Some(case) = cases.get_mut(answer.resolver) else { continue };
        case.compared += 1;
        let differing = |kind: Difference| {
            let differs = |other: &&&&ResolverAnswer| {
                answer.content.differs(other.content, name.qtype) == kind
            };
            others.iter().filter(differs).count()
        };
        let is_address =
            |content: AnswerContent| matches!(content, AnswerContent::Addresses { .. });
        let all_addresses =
            is_address(answer.content) && others.iter().all(|other| is_address(other.content));
        case.with_addresses += u64::from(all_addresses);
        // Between two resolvers either may be wrong; among more, the minority is.
        let in_kind = differing(Difference::Kind) * 2 > others.len();
        let in_addresses = all_addresses && differing(Difference::Addresses) == others.len();
        if !in_kind && !in_addresses {
            continue;
        }
        case.kind += u64::from(in_kind);
        case.addresses += u64::from(in_addresses);
        let steady = |answer: &ResolverAnswer| answer.times >= STEADY;
        let both_steady = steady(answer) && others.iter().all(|other| steady(other));
        case.steady += u64::from(both_steady);
        case.against.extend(others.iter().map(|other| other.resolver));
        let negative = |content: AnswerContent| {
            matches!(content, AnswerContent::Missing | AnswerContent::Nothing)
        };
        let answers_nonexistent =
            !negative(answer.content) && others.iter().all(|other| negative(other.content));
        case.filtered += u64::from(answer.content == AnswerContent::Nowhere || answers_nonexistent);
        if let AnswerContent::Addresses { all, .. } = answer.content
            && case.distinct_answers.len() < MAX_ZONES
        {
            case.distinct_answers.insert(all);
        }
        if case.zones.len() < MAX_ZONES {
            case.zones.insert(name.zone);
        }
        if case.evidence.qnames.len() < MAX_EVIDENCE {
            case.evidence.qnames.push(name.qname.clone());
            case.evidence.samples.push(answer.id);
        }
    }
}

impl Comparison {
    fn level(&self) -> Option<Severity> {
        let kind_share = share(self.kind, self.compared);
        if self.kind >= MIN_NAMES && kind_share >= MIN_SHARE {
            let is_critical = self.kind >= CRITICAL_NAMES && kind_share >= CRITICAL_SHARE;
            let has_zones = self.zones.len() >= MIN_ZONES;
            let level = Severity::at_least_warning(is_critical);
            return Some(if has_zones { level } else { Severity::Info });
        }
        // Fewer names suffice if the resolvers agree on hardly any.
        let always = self.kind > 0 && kind_share >= CRITICAL_SHARE;
        let addresses_share = share(self.addresses, self.with_addresses);
        if self.steady > 0 && (always || addresses_share >= MIN_ADDRESSES_SHARE) {
            let redirects = self.addresses >= CRITICAL_NAMES && self.has_few_answers();
            return Some(if redirects { Severity::Warning } else { Severity::Info });
        }
        None
    }

    /// Returns whether many names get the same few addresses.
    fn has_few_answers(&self) -> bool {
        self.distinct_answers.len() * 4 <= self.zones.len()
    }
}

/// Returns whether `one` is likelier than `other` to be the wrong one.
fn is_likelier(cases: &[Comparison], resolvers: &[Resolver], one: usize, other: usize) -> bool {
    let suspicion = |index: usize| {
        let case = &cases[index];
        (
            case.filtered,
            case.has_few_answers() && !case.distinct_answers.is_empty(),
            std::cmp::Reverse(resolvers[index].address),
        )
    };
    suspicion(one) > suspicion(other)
}

fn finding(resolvers: &[Resolver], case: &Comparison, index: usize, level: Severity) -> Finding {
    let name = &resolvers[index].name;
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
        Figure::new("differing_names", to_f64(case.kind), Some(to_f64(MIN_NAMES))),
        Figure::new("compared_names", to_f64(case.compared), None),
        Figure::new("differing_share", share(case.kind, case.compared), Some(MIN_SHARE)),
        Figure::new("differing_addresses", to_f64(case.addresses), None),
        Figure::new("compared_addresses", to_f64(case.with_addresses), None),
    ];
    let resolvers = std::iter::once(name.clone()).chain(others).collect();
    Finding {
        rule: Rule::ResolverDrift,
        entity: Entity { resolver: Some(name.clone()), ..Entity::default() },
        level,
        summary,
        evidence: Evidence { figures, resolvers, ..case.evidence.clone() },
    }
}
