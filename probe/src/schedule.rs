//! When rounds begin: a state machine without clock, socket or task. It takes the time and the outcomes of rounds, and
//! returns the rounds that begin.
//!
//! - A target is due at fixed times, `phase + n · interval`, so that it does not drift. The phase is a hash of the
//!   target, which spreads thousands of targets with one interval evenly over it.
//! - A round that is due begins once the limits allow it: rounds at the same time, in all and per host, and the rate of
//!   rounds per host. Rounds that wait for one host hold up no others.
//! - A round that is due while the last one of its target still runs or waits is skipped (`overrun`).
//! - While all endpoints of a target are known to be unreachable, its rounds are spaced ([`Breaker`]), once its own last
//!   rounds have failed by this: a target that fails because of its endpoint is known by its rounds, not by others'.
//!
//! Every round that was due is counted in [`Probing`], whose identity holds at every moment.

mod breaker;
mod destination;
mod host;
mod numbered;
mod targets;
#[cfg(test)]
mod tests;

pub use breaker::BreakerOptions;
pub use destination::{Destination, Reach, outcomes};
pub use host::Limits;

use crate::failure::OPEN_FILES;
use crate::target::{Service, Target};
use breaker::Breaker;
use dnscribe_record::ledger::Probing;
use host::Host;
use numbered::Numbered;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use targets::{Progress, Slot, TargetKey};

/// Delay from which a round that begins counts as late.
const LATE: Duration = Duration::from_secs(1);

/// Identifies a target in the schedule. Stays as it is over a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId(u32);

/// A round that begins now.
#[derive(Clone, Debug)]
pub struct Start {
    /// To be given to [`Scheduler::finish`].
    pub id: TargetId,
    /// What is measured.
    pub target: Arc<Target>,
    /// Time since the round was due.
    pub delay: Duration,
}

/// How often the targets are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Once in each interval.
    Always,
    /// Once in all, at once.
    Once,
}

/// What may begin as soon as fewer rounds run.
#[derive(Clone, Copy, Debug)]
enum Ready {
    Target(u32),
    /// The rounds that wait for a host.
    Host(usize),
}

/// The schedule of all targets. Times are durations since the start.
#[derive(Debug)]
pub struct Scheduler {
    limits: Limits,
    repeat: Repeat,
    slots: Vec<Option<Slot>>,
    /// Slots without a target.
    free: Vec<u32>,
    known: HashMap<TargetKey, u32>,
    /// Times at which targets are due.
    due: BinaryHeap<Reverse<(Duration, u32)>>,
    ready: VecDeque<Ready>,
    /// Times at which hosts with waiting rounds may have another one.
    wakes: BinaryHeap<Reverse<(Duration, usize)>>,
    hosts: Numbered<Host>,
    endpoints: Numbered<Breaker>,
    running: usize,
    probing: Probing,
}

impl Scheduler {
    /// Creates a schedule without targets.
    #[must_use]
    pub fn new(limits: Limits, repeat: Repeat) -> Self {
        // Each counter is present, zero too.
        let skipped = [OVERRUN, BREAKER, REMOVED, SHUTDOWN, UNSUPPORTED, OPEN_FILES]
            .map(|reason| (reason.to_owned(), 0));
        Self {
            limits,
            repeat,
            slots: Vec::new(),
            free: Vec::new(),
            known: HashMap::new(),
            due: BinaryHeap::new(),
            ready: VecDeque::new(),
            wakes: BinaryHeap::new(),
            hosts: Numbered::default(),
            endpoints: Numbered::default(),
            running: 0,
            probing: Probing { skipped: skipped.into(), ..Probing::default() },
        }
    }

    /// Schedules these services from now on. Targets that were there before keep their times, and endpoints their
    /// breakers; rounds of others that wait are skipped (`removed`), and those that run may end.
    pub fn set_services(&mut self, now: Duration, limits: Limits, services: &[Service]) {
        self.limits = limits;
        let mut old = std::mem::take(&mut self.known);
        for target in services.iter().flat_map(|service| &service.targets) {
            let key = (Arc::clone(&target.service), target.kind.name(), target.name.clone());
            let number = match old.remove(&key) {
                Some(number) => self.update(now, number, &key, target),
                None => self.insert(now, &key, target),
            };
            self.known.insert(key, number);
        }
        self.remove(&old.into_values().collect());
        self.forget_destinations();
    }

    /// Returns the rounds that begin now. Counts those that are due and cannot begin.
    pub fn poll(&mut self, now: Duration) -> Vec<Start> {
        let mut started = Vec::new();
        while let Some(Reverse((due, number))) =
            self.due.peek().copied().filter(|Reverse((due, _))| *due <= now)
        {
            self.due.pop();
            // An earlier time of a target that has another one since then is void.
            if self.slot(number).is_some_and(|slot| slot.next == due && !slot.is_removed) {
                self.make_due(now, number, due, &mut started);
            }
        }
        while let Some(Reverse((_, host))) =
            self.wakes.peek().copied().filter(|Reverse((at, _))| *at <= now)
        {
            self.wakes.pop();
            self.hosts[host].has_wake = false;
            self.release(now, host, &mut started);
        }
        while self.running < self.limits.rounds {
            match self.ready.pop_front() {
                Some(Ready::Target(number)) => self.try_start(now, number, &mut started),
                Some(Ready::Host(host)) => self.release(now, host, &mut started),
                None => break,
            }
        }
        started
    }

    /// Time at which [`Self::poll`] is to be called again, unless a round ends before.
    #[must_use]
    pub fn next_poll(&self) -> Option<Duration> {
        let due = self.due.peek().map(|Reverse((at, _))| *at);
        let wake = self.wakes.peek().map(|Reverse((at, _))| *at);
        let ready =
            (self.running < self.limits.rounds && !self.ready.is_empty()).then_some(Duration::ZERO);
        [due, wake, ready].into_iter().flatten().min()
    }

    /// Ends a round, which made so many records. `reach` says for each destination of the target whether it was reached,
    /// where that is known.
    pub fn finish(&mut self, now: Duration, id: TargetId, records: u64, reach: &[Reach]) {
        let Some(slot) = self.slots.get_mut(id.0 as usize).and_then(Option::as_mut) else { return };
        if slot.progress != Progress::Running {
            return;
        }
        slot.progress = Progress::Idle;
        self.running -= 1;
        self.probing.running -= 1;
        self.probing.completed += 1;
        self.probing.records += records;
        let breaker = &self.limits.breaker;
        let reach = if std::mem::take(&mut slot.is_moved) { &[] } else { reach };
        if reach.contains(&Reach::Reached) {
            slot.unreached = 0;
        } else if reach.contains(&Reach::Unreached) {
            slot.unreached = slot.unreached.saturating_add(1);
        }
        for (endpoint, reach) in slot.endpoints.iter().zip(reach) {
            self.endpoints[*endpoint].observe(now, *reach, breaker);
        }
        for host in &slot.hosts {
            let number = *host;
            let host = &mut self.hosts[number];
            host.running -= 1;
            if !host.blocked.is_empty() {
                self.ready.push_back(Ready::Host(number));
            }
        }
        if slot.is_removed {
            // It is in no queue since its removal.
            self.slots[id.0 as usize] = None;
            self.free.push(id.0);
        }
    }

    /// Returns whether the configuration has the target of a running round no more.
    #[must_use]
    pub fn is_removed(&self, id: TargetId) -> bool {
        self.slot(id.0).is_none_or(|slot| slot.is_removed)
    }

    /// Ends a round in which nothing could be measured: it counts as skipped for `reason`.
    pub fn finish_skipped(&mut self, now: Duration, id: TargetId, reason: &str) {
        if self.slot(id.0).is_some_and(|slot| slot.progress == Progress::Running) {
            self.end_trials(id.0);
            self.finish(now, id, 0, &[]);
            self.probing.completed -= 1;
            *self.probing.skipped.entry(reason.to_owned()).or_default() += 1;
        }
    }

    /// Ends the schedule: no round begins any more. Those that wait are skipped (`shutdown`).
    pub fn stop(&mut self) {
        self.due.clear();
        self.wakes.clear();
        self.ready.clear();
        self.hosts.states_mut().iter_mut().for_each(|host| host.blocked.clear());
        for slot in self.slots.iter_mut().flatten() {
            if matches!(slot.progress, Progress::Waiting { .. }) {
                slot.progress = Progress::Idle;
                skip(&mut self.probing, SHUTDOWN, true);
            }
        }
    }

    /// Counts the rounds that still run as skipped (`shutdown`): they are given up.
    pub fn give_up(&mut self) {
        self.stop();
        for slot in self.slots.iter_mut().flatten() {
            if slot.progress == Progress::Running {
                slot.progress = Progress::Idle;
                skip(&mut self.probing, SHUTDOWN, true);
            }
        }
        self.running = 0;
    }

    /// Returns whether no round runs, waits or will be due.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.probing.running == 0 && self.due.is_empty()
    }

    /// Number of rounds that run.
    #[must_use]
    pub const fn running(&self) -> usize {
        self.running
    }

    /// Counts rounds that were run outside of the schedule, because an alert asked for them.
    pub const fn count_on_demand(&mut self, rounds: u64, records: u64) {
        self.probing.rounds += rounds;
        self.probing.completed += rounds;
        self.probing.records += records;
    }

    /// Counters of the ledger.
    #[must_use]
    pub const fn probing(&self) -> &Probing {
        &self.probing
    }

    /// Number of endpoints that count as unreachable.
    #[must_use]
    pub fn open_breakers(&self) -> usize {
        self.endpoints.states().iter().filter(|breaker| breaker.is_open()).count()
    }

    fn slot(&self, number: u32) -> Option<&Slot> {
        self.slots.get(number as usize)?.as_ref()
    }

    fn make_due(&mut self, now: Duration, number: u32, due: Duration, started: &mut Vec<Start>) {
        let Some(slot) = self.slots[number as usize].as_mut() else { return };
        self.probing.rounds += 1;
        if self.repeat == Repeat::Always {
            slot.next = due + slot.target.interval;
            self.due.push(Reverse((slot.next, number)));
        }
        if slot.progress != Progress::Idle {
            return skip(&mut self.probing, OVERRUN, false);
        }
        let (options, interval) = (&self.limits.breaker, slot.target.interval);
        let is_blocked =
            |endpoint: &usize| self.endpoints[*endpoint].blocks(now, interval, options);
        let is_known = slot.unreached >= options.rounds.max(1) && !slot.endpoints.is_empty();
        if is_known && slot.endpoints.iter().all(is_blocked) {
            return skip(&mut self.probing, BREAKER, false);
        }
        for endpoint in &slot.endpoints {
            self.endpoints[*endpoint].begin(now, interval, options);
        }
        slot.progress = Progress::Waiting { due };
        self.probing.running += 1;
        // Rounds that wait for the total limit go first.
        if self.ready.iter().any(|ready| matches!(ready, Ready::Target(_))) {
            self.ready.push_back(Ready::Target(number));
        } else {
            self.try_start(now, number, started);
        }
    }

    /// Begins a round that waits, or queues it where it waits.
    fn try_start(&mut self, now: Duration, number: u32, started: &mut Vec<Start>) {
        let Some(slot) = self.slots[number as usize].as_mut() else { return };
        let Progress::Waiting { due } = slot.progress else { return };
        if self.running >= self.limits.rounds {
            return self.ready.push_back(Ready::Target(number));
        }
        let limits = &self.limits;
        if let Some(busy) = slot.hosts.iter().find(|host| !self.hosts[**host].is_free(now, limits))
        {
            let busy = *busy;
            self.hosts[busy].blocked.push_back(number);
            return self.set_wake(now, busy);
        }
        for host in &slot.hosts {
            self.hosts[*host].begin(now, limits);
        }
        slot.progress = Progress::Running;
        self.running += 1;
        let delay = now.saturating_sub(due);
        self.probing.late += u64::from(delay > LATE);
        started.push(Start { id: TargetId(number), target: Arc::clone(&slot.target), delay });
    }

    /// Begins rounds that wait for a host, as many as may.
    fn release(&mut self, now: Duration, host: usize, started: &mut Vec<Start>) {
        while self.hosts[host].is_free(now, &self.limits) {
            if self.running >= self.limits.rounds {
                if !self.hosts[host].blocked.is_empty() {
                    self.ready.push_back(Ready::Host(host));
                }
                return;
            }
            let Some(number) = self.hosts[host].blocked.pop_front() else { return };
            self.try_start(now, number, started);
        }
        self.set_wake(now, host);
    }

    /// Sets the time at which a host has a token for the rounds that wait for it.
    fn set_wake(&mut self, now: Duration, number: usize) {
        let host = &mut self.hosts[number];
        let at = host.token_at(&self.limits);
        if at > now && !host.blocked.is_empty() && !host.has_wake {
            host.has_wake = true;
            self.wakes.push(Reverse((at, number)));
        }
    }
}

/// Reasons for which rounds are skipped.
const OVERRUN: &str = "overrun";
const BREAKER: &str = "breaker";
const REMOVED: &str = "removed";
const SHUTDOWN: &str = "shutdown";
/// Reason of rounds that made no record, because this host does not permit them.
const UNSUPPORTED: &str = "unsupported";

/// Counts a round as skipped. If it `was_running`, it no longer is.
fn skip(probing: &mut Probing, reason: &str, was_running: bool) {
    if let Some(count) = probing.skipped.get_mut(reason) {
        *count += 1;
    }
    probing.running -= u64::from(was_running);
}
