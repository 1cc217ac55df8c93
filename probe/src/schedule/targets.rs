//! The targets of a schedule: their slots, which a reload changes, and the hosts and endpoints to which they go.

use super::destination;
use super::{REMOVED, Reach, Ready, Repeat, Scheduler, skip};
use crate::target::Target;
use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// Longest time from the start to the first round of a target, whatever its interval.
const MAX_PHASE: Duration = Duration::from_mins(5);

/// Identity of a target over a reload: its service, kind and name.
pub(super) type TargetKey = (Arc<str>, &'static str, String);

/// Progress of a target's round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Idle,
    /// Waits for its turn since it was due.
    Waiting {
        due: Duration,
    },
    Running,
}

/// A target with its state.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) target: Arc<Target>,
    pub(super) hosts: Box<[usize]>,
    pub(super) endpoints: Box<[usize]>,
    pub(super) progress: Progress,
    /// Time at which the next round is due.
    pub(super) next: Duration,
    /// Consecutive rounds in which none of the endpoints was reached.
    pub(super) unreached: u32,
    /// Whether the configuration has the target no more. Its slot is freed once its round has ended.
    pub(super) is_removed: bool,
    /// Whether the destinations have changed since the running round began.
    pub(super) is_moved: bool,
}

impl Scheduler {
    pub(super) fn insert(&mut self, now: Duration, key: &TargetKey, target: &Arc<Target>) -> u32 {
        let next = match self.repeat {
            Repeat::Once => now,
            Repeat::Always => first_due(now, key, target.interval),
        };
        let (hosts, endpoints) = self.destinations(target);
        let slot = Slot {
            target: Arc::clone(target),
            hosts,
            endpoints,
            progress: Progress::Idle,
            next,
            unreached: 0,
            is_removed: false,
            is_moved: false,
        };
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            // Targets are configured by hand: there are far fewer than 2³².
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        self.slots[number as usize] = Some(slot);
        self.due.push(Reverse((next, number)));
        number
    }

    /// Gives a target that is there other settings. A running round counts at its new hosts from now on.
    pub(super) fn update(
        &mut self,
        now: Duration,
        number: u32,
        key: &TargetKey,
        target: &Arc<Target>,
    ) -> u32 {
        let is_same = |slot: &Slot| slot.target == *target;
        if self.slot(number).is_none_or(is_same) {
            return number;
        }
        self.end_trials(number);
        let (hosts, endpoints) = self.destinations(target);
        let Some(slot) = self.slots[number as usize].as_mut() else { return number };
        if slot.progress == Progress::Running {
            slot.is_moved = true;
            for host in &slot.hosts {
                self.hosts[*host].running -= 1;
                self.ready.push_back(Ready::Host(*host));
            }
            for host in &hosts {
                self.hosts[*host].running += 1;
            }
        }
        if matches!(slot.progress, Progress::Waiting { .. }) {
            let mut is_blocked = false;
            for host in &slot.hosts {
                let blocked = &mut self.hosts[*host].blocked;
                let before = blocked.len();
                blocked.retain(|one| *one != number);
                is_blocked |= blocked.len() < before;
            }
            // What it waited for may be forgotten.
            if is_blocked {
                self.ready.push_back(Ready::Target(number));
            }
        }
        // The verdicts of a target that has changed begin anew.
        slot.unreached = 0;
        let interval = slot.target.interval;
        (slot.target, slot.hosts, slot.endpoints) = (Arc::clone(target), hosts, endpoints);
        if interval != target.interval && self.repeat == Repeat::Always {
            slot.next = first_due(now, key, target.interval);
            self.due.push(Reverse((slot.next, number)));
        }
        number
    }

    /// Notes at the endpoints of a target that its round shows nothing about them.
    pub(super) fn end_trials(&mut self, number: u32) {
        let Some(slot) = self.slots[number as usize].as_ref() else { return };
        if slot.progress != Progress::Idle {
            for endpoint in &slot.endpoints {
                self.endpoints[*endpoint].observe(
                    Duration::ZERO,
                    Reach::Unknown,
                    &self.limits.breaker,
                );
            }
        }
    }

    /// Removes targets, and takes them out of all queues in one pass, as others may get their numbers. The slot of one
    /// whose round runs is freed once that has ended.
    pub(super) fn remove(&mut self, numbers: &HashSet<u32>) {
        if numbers.is_empty() {
            return;
        }
        self.due.retain(|Reverse((_, number))| !numbers.contains(number));
        self.ready
            .retain(|ready| !matches!(ready, Ready::Target(number) if numbers.contains(number)));
        for host in self.hosts.states_mut() {
            host.blocked.retain(|number| !numbers.contains(number));
        }
        for number in numbers {
            let Some(slot) = self.slots[*number as usize].as_mut() else { continue };
            match slot.progress {
                Progress::Running => {
                    slot.is_removed = true;
                    continue;
                }
                Progress::Waiting { .. } => {
                    skip(&mut self.probing, REMOVED, true);
                    self.end_trials(*number);
                }
                Progress::Idle => {}
            }
            self.slots[*number as usize] = None;
            self.free.push(*number);
        }
    }

    /// Numbers of the hosts and endpoints of a target.
    fn destinations(&mut self, target: &Target) -> (Box<[usize]>, Box<[usize]>) {
        let (mut hosts, mut endpoints) = (Vec::new(), Vec::new());
        for destination in destination::of_target(target) {
            let host = self.hosts.number(destination.host);
            // Two resolvers at one host are one round there.
            if !hosts.contains(&host) {
                hosts.push(host);
            }
            endpoints.push(self.endpoints.number(destination.endpoint));
        }
        (hosts.into(), endpoints.into())
    }

    /// Forgets the state of hosts and endpoints that no target has any more.
    pub(super) fn forget_destinations(&mut self) {
        let slots = || self.slots.iter().flatten();
        self.hosts.retain(slots().flat_map(|slot| &slot.hosts).copied());
        self.endpoints.retain(slots().flat_map(|slot| &slot.endpoints).copied());
    }
}

/// Returns the first time after `now` at which a target is due: a hash of the target decides where in its interval.
fn first_due(now: Duration, (service, kind, name): &TargetKey, interval: Duration) -> Duration {
    let span = interval.min(MAX_PHASE);
    let hash = xxh3_64(format!("{service}\0{kind}\0{name}").as_bytes());
    // The product of two numbers of 64 bits, and its upper half, which is below the span.
    let phase = (u128::from(hash) * span.as_nanos()) >> 64;
    let phase = Duration::from_nanos(u64::try_from(phase).unwrap_or(0));
    // On the grid of all times since the start, so that a reload changes nothing.
    let grid = interval.as_nanos().max(1);
    let passed = now.saturating_sub(phase).as_nanos().div_ceil(grid);
    phase + Duration::from_nanos(u64::try_from(passed * grid).unwrap_or(u64::MAX))
}
