//! What policies would have refused.

use super::matching::allows;
use super::{Destination, Policy, Uses, WorkloadName};

/// Result of a check.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Connections of workloads that a policy selects.
    pub connections: u64,
    /// Connections that the policies allow, or say nothing about.
    pub allowed: u64,
    /// Connections whose name is ambiguous, if it decides, and those about which policies of one priority disagree.
    pub undecided: u64,
    /// Connections that the policies do not allow, by workload and destination; the most first.
    pub refused: Vec<Refused>,
    /// Connections of workloads that no policy selects, and which are free.
    pub unselected: u64,
}

impl Verdict {
    /// Returns the number of connections that are refused.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.refused.iter().fold(0, |sum, refused| sum.saturating_add(refused.count))
    }
}

/// Connections that the policies do not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Whose.
    pub workload: WorkloadName,
    /// Where.
    pub destination: Destination,
    /// How many.
    pub count: u64,
}

/// Compares uses with policies. Those of a namespace are additive, one that allows is enough, but a rule that denies is
/// stronger; those of the cluster come before or after them, in the order of their priorities.
#[must_use]
pub fn check(uses: &Uses, policies: &[Policy]) -> Verdict {
    let mut verdict = Verdict::default();
    for (name, workload) in &uses.workloads {
        let of_workload: Vec<&Policy> =
            policies.iter().filter(|policy| policy.selects(name, workload)).collect();
        for (destination, count) in &workload.uses {
            if of_workload.is_empty() {
                verdict.unselected = verdict.unselected.saturating_add(*count);
                continue;
            }
            verdict.connections = verdict.connections.saturating_add(*count);
            match allows(&of_workload, destination) {
                Some(true) => verdict.allowed = verdict.allowed.saturating_add(*count),
                None => verdict.undecided = verdict.undecided.saturating_add(*count),
                Some(false) => verdict.refused.push(Refused {
                    workload: name.clone(),
                    destination: destination.clone(),
                    count: *count,
                }),
            }
        }
    }
    verdict.refused.sort_by_key(|refused| std::cmp::Reverse(refused.count));
    verdict
}
