//! Answers by process: which names led to which addresses.

use crate::lookup::LookupRef;
use dnscribe_record::time::Timestamp;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Most names kept for an address and a process. Of more, the oldest answers are forgotten.
pub const MAX_NAMES: usize = 256;

/// Time within which an answer that has not been used yet is preferred to older ones.
const RECENT: Duration = Duration::from_secs(1);

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
    /// Whether a connection to any address of the answer took it.
    pub is_taken: Arc<AtomicBool>,
}

impl Answered {
    fn take(&mut self) -> Self {
        self.is_used = true;
        self.is_taken.store(true, Ordering::Relaxed);
        self.clone()
    }
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
    /// Start time of the process that had a pid last.
    processes: HashMap<u32, u64, RandomState>,
    count: usize,
    max_answers: usize,
}

impl AnswerTable {
    pub fn new(max_answers: usize) -> Self {
        let (answers, processes) = (HashMap::default(), HashMap::default());
        Self { answers, processes, count: 0, max_answers }
    }

    /// Returns the process that had this pid when an answer came.
    pub fn process(&self, pid: u32) -> Option<ProcessKey> {
        self.processes.get(&pid).map(|start_ns| ProcessKey { pid, start_ns: *start_ns })
    }

    /// Adds an answer; it replaces an earlier one for the same name.
    pub fn insert(&mut self, process: ProcessKey, address: IpAddr, answer: Answered) {
        self.processes.insert(process.pid, process.start_ns);
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
        let Some(known) = self.answers.get_mut(&(process, address)) else { return Fit::None };
        if let [only] = known.as_mut_slice() {
            return Fit::Sole(only.take());
        }
        // A program that connects to a second address of an answer has taken it already.
        for is_taken in [false, true] {
            let mut fresh = known.iter_mut().filter(|answer| {
                !answer.is_used
                    && now.since(answer.at) <= RECENT
                    && answer.is_taken.load(Ordering::Relaxed) == is_taken
            });
            match (fresh.next(), fresh.next()) {
                (Some(newest), None) => return Fit::Newest(newest.take()),
                (Some(_), Some(_)) => break,
                (None, _) => {}
            }
        }
        Fit::Ambiguous(known.iter().rev().map(|answer| Arc::clone(&answer.name)).collect())
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
        processes.clear();
        processes.extend(answers.keys().map(|(process, _)| (process.pid, process.start_ns)));
    }
}
