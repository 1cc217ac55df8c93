//! Scanner of the network namespaces that have processes.
//!
//! The kernel does not announce namespaces, so all processes must be scanned, at some ten microseconds each: too
//! much every few seconds on a host with thousands. A new namespace however has a new or young process, so most
//! scans read those only.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Interval between full scans. An old process may still move to another namespace.
const ALL_EVERY: Duration = Duration::from_secs(60);
/// Time after its first sight in which a process is young: the process that starts a container enters the new
/// namespaces after its own start.
const YOUNG: Duration = Duration::from_secs(10);

/// A namespace's inode, and a path to it.
pub type Namespaces = HashMap<u64, PathBuf>;

/// Result of one scan.
pub enum Found {
    /// The namespaces of all processes.
    All(Namespaces),
    /// Namespaces of processes that are young; the others are what they were.
    Some(Namespaces),
}

/// The scanner, with the known processes.
pub struct Census {
    known: BTreeSet<u32>,
    /// For each namespace a process in it, the oldest of all.
    witnesses: Namespaces,
    young: HashMap<u32, Instant>,
    /// The last process or thread that began, as `/proc/loadavg` has it.
    last_begun: Option<u64>,
    next_all: Instant,
}

impl Census {
    /// Creates a scanner without known processes.
    pub fn new() -> Self {
        Self {
            known: BTreeSet::new(),
            witnesses: Namespaces::new(),
            young: HashMap::new(),
            last_begun: None,
            next_all: Instant::now(),
        }
    }

    /// Scans every process.
    pub fn all(&mut self, now: Instant) -> Namespaces {
        self.next_all = now + ALL_EVERY;
        self.last_begun = last_begun();
        let there = processes();
        self.greet(&there, now);
        self.known = there;
        self.witnesses.clear();
        for (inode, path) in self.known.iter().copied().filter_map(namespace) {
            self.witnesses.entry(inode).or_insert(path);
        }
        self.witnesses.clone()
    }

    /// Scans young processes, or all of them if that is due or a namespace may have none left.
    pub fn look(&mut self, now: Instant) -> Found {
        let gone = |(inode, path): (&u64, &PathBuf)| inode_of(path) != Some(*inode);
        if now >= self.next_all || self.witnesses.iter().any(gone) {
            return Found::All(self.all(now));
        }
        let last_begun = last_begun();
        if last_begun.is_none() || last_begun != self.last_begun {
            self.last_begun = last_begun;
            let there = processes();
            self.greet(&there, now);
            self.known.extend(there);
        }
        self.young.retain(|_, since| now.saturating_duration_since(*since) < YOUNG);
        let found: Namespaces = self.young.keys().copied().filter_map(namespace).collect();
        for (inode, path) in &found {
            self.witnesses.entry(*inode).or_insert_with(|| path.clone());
        }
        Found::Some(found)
    }

    fn greet(&mut self, there: &BTreeSet<u32>, now: Instant) {
        for pid in there.difference(&self.known) {
            self.young.entry(*pid).or_insert(now);
        }
    }
}

fn processes() -> BTreeSet<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn namespace(pid: u32) -> Option<(u64, PathBuf)> {
    let path = Path::new("/proc").join(pid.to_string()).join("ns/net");
    Some((inode_of(&path)?, path))
}

/// `None` where the process has ended meanwhile.
fn inode_of(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.ino())
}

/// The number of the process or thread that began last (manual page `proc_loadavg`).
fn last_begun() -> Option<u64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().nth(4)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn own() -> u64 {
        fs::metadata("/proc/self/ns/net").unwrap().ino()
    }

    #[test]
    fn finds_its_own_namespace() {
        assert!(Census::new().all(Instant::now()).contains_key(&own()));
    }

    #[test]
    fn looks_at_a_process_that_has_just_begun_and_not_at_those_that_are_old() {
        let mut census = Census::new();
        let begin = Instant::now();
        assert!(matches!(census.look(begin), Found::All(_)), "nobody is known");
        let ours = |census: &Census, pid: u32| census.young.contains_key(&pid);
        assert!(ours(&census, std::process::id()), "it may still move");
        let later = begin + YOUNG * 2;
        // Namespaces of others come and go.
        census.witnesses.clear();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let Found::Some(found) = census.look(later) else { panic!("not all again so soon") };
        assert!(ours(&census, child.id()) && found.contains_key(&own()), "{found:?}");
        assert!(!ours(&census, std::process::id()));
        census.witnesses.clear();
        assert!(matches!(census.look(later + YOUNG), Found::Some(_)));
        assert!(!ours(&census, child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        let Found::All(_) = census.look(begin + ALL_EVERY) else { panic!("all, once a minute") };
        assert!(!census.known.contains(&child.id()), "the dead are forgotten");
    }

    #[test]
    fn looks_at_all_where_a_namespace_may_be_empty() {
        let now = Instant::now();
        let mut census = Census::new();
        census.all(now);
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let (_, path) = namespace(child.id()).unwrap();
        census.witnesses.insert(own(), path);
        child.kill().unwrap();
        child.wait().unwrap();
        let Found::All(found) = census.look(now) else { panic!("its witness is gone") };
        assert!(found.contains_key(&own()));
    }
}
