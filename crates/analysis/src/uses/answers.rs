//! Answers by process: which names led to which addresses.

use crate::lookup::LookupRef;
use dnscribe_record::time::Timestamp;
use foldhash::fast::RandomState;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Most names kept for an address and a process. Of more, the oldest answers are forgotten.
pub const MAX_NAMES: usize = 256;

/// Time within which an answer that has not been used yet is preferred to older ones.
const RECENT: Duration = Duration::from_secs(1);

/// Time within which an answer that has not been used yet may still be the one that a connection uses.
const UNUSED: Duration = Duration::from_secs(30);

/// Time after which no process uses an answer any more that was missed. Few answers have a longer TTL.
const EXPIRED: Duration = Duration::from_mins(5);

/// A process: pid and start time in nanoseconds of `CLOCK_BOOTTIME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessKey {
    pub pid: u32,
    pub start_ns: u64,
}

/// An answer that gave an address.
#[derive(Clone, Debug)]
pub struct Answered {
    pub name: Arc<str>,
    /// Time of the answer.
    pub at: Timestamp,
    /// Smallest TTL on the way from the name to the address.
    pub ttl: Duration,
    pub lookup: Option<LookupRef>,
    /// Whether a connection to this address took it.
    pub is_used: bool,
    /// Whether a connection to any address of the name took it.
    pub is_taken: Arc<AtomicBool>,
}

impl Answered {
    fn take(&mut self) -> Self {
        self.is_used = true;
        self.is_taken.store(true, Ordering::Relaxed);
        self.clone()
    }

    fn is_taken(&self) -> bool {
        self.is_taken.load(Ordering::Relaxed)
    }
}

/// The last answer to the process that had a pid last.
#[derive(Debug)]
struct LastAnswer {
    start_ns: u64,
    name: Arc<str>,
    at: Timestamp,
    is_taken: Arc<AtomicBool>,
}

/// Names that fit a connection.
#[derive(Debug)]
pub enum Fit {
    Sole(Answered),
    Newest(Answered),
    /// The newest first.
    Ambiguous(Vec<Arc<str>>),
    None,
}

/// The answers of all processes.
#[derive(Debug)]
pub struct AnswerTable {
    answers: HashMap<(ProcessKey, IpAddr), Vec<Answered>, RandomState>,
    /// By pid.
    processes: HashMap<u32, LastAnswer, RandomState>,
    count: usize,
    max_answers: usize,
    /// Time since which no answer was missed.
    complete_since: Timestamp,
}

impl AnswerTable {
    pub fn new(max_answers: usize) -> Self {
        let (answers, processes) = (HashMap::default(), HashMap::default());
        Self { answers, processes, count: 0, max_answers, complete_since: Timestamp::default() }
    }

    /// Returns the process that had this pid when an answer came last.
    pub fn process(&self, pid: u32) -> Option<ProcessKey> {
        self.processes.get(&pid).map(|last| ProcessKey { pid, start_ns: last.start_ns })
    }

    /// Takes note of a process that runs: another one with its pid has ended. `is_same_start` compares start times.
    pub fn note_process(&mut self, process: ProcessKey, is_same_start: impl Fn(u64, u64) -> bool) {
        let ProcessKey { pid, start_ns } = process;
        let last = self.processes.get(&pid);
        if last.is_some_and(|last| !is_same_start(last.start_ns, start_ns)) {
            self.processes.remove(&pid);
        }
    }

    /// Takes note that answers up to `at` may have been missed.
    pub fn note_missing(&mut self, at: Timestamp) {
        self.complete_since = self.complete_since.max(at);
    }

    /// Returns the mark of a name that was answered to a process at `at`, by which its A and AAAA records know that
    /// a connection took the other.
    pub fn mark(&mut self, process: ProcessKey, name: &Arc<str>, at: Timestamp) -> Arc<AtomicBool> {
        let ProcessKey { pid, start_ns } = process;
        let before = self.processes.get(&pid).filter(|last| {
            let is_same = last.start_ns == start_ns && last.name == *name;
            is_same && at.since(last.at) <= RECENT && !last.is_taken.load(Ordering::Relaxed)
        });
        let is_taken = before.map_or_else(Arc::default, |last| Arc::clone(&last.is_taken));
        let last =
            LastAnswer { start_ns, name: Arc::clone(name), at, is_taken: Arc::clone(&is_taken) };
        self.processes.insert(pid, last);
        is_taken
    }

    /// Adds an answer; it replaces an earlier one for the same name.
    pub fn insert(&mut self, process: ProcessKey, address: IpAddr, answer: Answered) {
        let known = self.answers.entry((process, address)).or_default();
        match known.iter().position(|one| one.name == answer.name) {
            Some(before) => drop(known.remove(before)),
            None => self.count += 1,
        }
        // In order of time, except for answers that overtook each other by microseconds.
        known.push(answer);
        if known.len() > MAX_NAMES {
            known.remove(0);
            self.count -= 1;
        }
        if self.count > self.max_answers {
            self.forget_oldest();
        }
    }

    /// Returns the names that fit a connection of this process at `now`, and marks the one that it used.
    pub fn find(&mut self, process: ProcessKey, address: IpAddr, now: Timestamp) -> Fit {
        let complete_for = now.since(self.complete_since);
        let Some(known) = self.answers.get_mut(&(process, address)) else { return Fit::None };
        if let [only] = known.as_mut_slice()
            && complete_for >= EXPIRED
        {
            return Fit::Sole(only.take());
        }
        if complete_for >= UNUSED
            && let Some(newest) = only_unused(known, now).and_then(|index| known.get_mut(index))
        {
            return Fit::Newest(newest.take());
        }
        Fit::Ambiguous(names(known))
    }

    /// Returns the names that a process knows for an address, the newest first.
    pub fn names(&self, process: ProcessKey, address: IpAddr) -> Vec<Arc<str>> {
        self.answers.get(&(process, address)).map(|known| names(known)).unwrap_or_default()
    }

    /// Returns whether the answers of a process gave this address.
    pub fn knows(&self, process: ProcessKey, address: IpAddr) -> bool {
        self.answers.contains_key(&(process, address))
    }

    /// Forgets an eighth of the answers, by the time of the last one for their process and address.
    fn forget_oldest(&mut self) {
        let newest = |known: &Vec<Answered>| known.iter().next_back().map(|answer| answer.at);
        let mut times: Vec<_> = self.answers.values().map(newest).collect();
        let cut = times.len() / 8;
        let (_, oldest_kept, _) = times.select_nth_unstable(cut);
        let oldest_kept = *oldest_kept;
        self.answers.retain(|_, known| newest(known) > oldest_kept);
        self.count = self.answers.values().map(Vec::len).sum();
        let Self { answers, processes, .. } = self;
        let kept: HashSet<ProcessKey, RandomState> =
            answers.keys().map(|(process, _)| *process).collect();
        processes
            .retain(|pid, last| kept.contains(&ProcessKey { pid: *pid, start_ns: last.start_ns }));
    }
}

/// Returns the index of the only answer that came just now and is not used, unless an older one is not used either.
fn only_unused(known: &[Answered], now: Timestamp) -> Option<usize> {
    let is_fresh = |answer: &Answered| !answer.is_used && now.since(answer.at) <= RECENT;
    // A program that connects to a second address of a name has taken its answer already.
    let only = [false, true].into_iter().find_map(|is_taken| {
        let mut fresh = known
            .iter()
            .enumerate()
            .filter(|(_, answer)| is_fresh(answer) && answer.is_taken() == is_taken);
        fresh.next().map(|(index, _)| (index, fresh.next().is_none()))
    });
    let (index, _) = only.filter(|(_, is_only)| *is_only)?;
    let is_waiting =
        |answer: &Answered| !answer.is_used && !answer.is_taken() && now.since(answer.at) <= UNUSED;
    let mut others = known.iter().enumerate().filter(|(other, _)| *other != index);
    (!others.any(|(_, other)| is_waiting(other))).then_some(index)
}

/// Returns the names of answers, the newest first.
fn names(known: &[Answered]) -> Vec<Arc<str>> {
    known.iter().rev().map(|answer| Arc::clone(&answer.name)).collect()
}
