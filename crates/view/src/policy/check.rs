//! What policies would have refused.

use super::{Destination, Policy, Uses, WorkloadName};

/// Result of a check.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Connections of workloads that a policy selects.
    pub connections: u64,
    /// Connections that a policy allows.
    pub allowed: u64,
    /// Connections to an address of which several names are possible, some allowed and some not.
    pub undecided: u64,
    /// Connections that no policy allows, by workload and destination; the most first.
    pub refused: Vec<Refused>,
    /// Connections of workloads that no policy selects, and which are free.
    pub unselected: u64,
}

/// Connections that no policy allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Whose.
    pub workload: WorkloadName,
    /// Where.
    pub destination: Destination,
    /// How many.
    pub count: u64,
}

/// Compares uses with policies, which are additive: one that allows is enough.
#[must_use]
pub fn check(uses: &Uses, policies: &[Policy]) -> Verdict {
    let mut verdict = Verdict::default();
    for (name, workload) in &uses.workloads {
        let of_workload: Vec<&Policy> =
            policies.iter().filter(|policy| policy.selects(name, workload)).collect();
        for (destination, count) in &workload.uses {
            if of_workload.is_empty() {
                verdict.unselected += count;
                continue;
            }
            verdict.connections += count;
            let found: Vec<Option<bool>> =
                of_workload.iter().map(|policy| policy.allows(destination)).collect();
            if found.contains(&Some(true)) {
                verdict.allowed += count;
            } else if found.contains(&None) {
                verdict.undecided += count;
            } else {
                verdict.refused.push(Refused {
                    workload: name.clone(),
                    destination: destination.clone(),
                    count: *count,
                });
            }
        }
    }
    verdict.refused.sort_by_key(|refused| std::cmp::Reverse(refused.count));
    verdict
}
