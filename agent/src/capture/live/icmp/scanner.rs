//! Scanner of the network namespaces that have processes.
//!
//! The kernel does not announce namespaces, so all processes must be scanned, at some ten microseconds each: too
//! much every few seconds on a host with thousands. A new namespace however has a new or young process, so most
//! scans read those only.

use super::super::process::{ids, inode_of, network_namespace};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Interval between full scans. An old process may still move to another namespace.
const FULL_SCAN_INTERVAL: Duration = Duration::from_mins(1);
/// Time after its first sight in which a process is young: the process that starts a container enters the new
/// namespaces after its own start.
const YOUNG: Duration = Duration::from_secs(10);

/// Network namespaces: inode and path.
pub type Namespaces = HashMap<u64, PathBuf>;

/// Result of one scan.
pub enum Scan {
    /// Namespaces of all processes.
    Full(Namespaces),
    /// Namespaces of young processes. Others are unchanged.
    Partial(Namespaces),
}

/// Scanner with the known processes.
pub struct NamespaceScanner {
    known: BTreeSet<u32>,
    /// Path of each known namespace, by a process in it.
    namespaces: Namespaces,
    young: HashMap<u32, Instant>,
    /// Id of the newest process or thread, from `/proc/loadavg`.
    newest_pid: Option<u64>,
    next_full: Instant,
    /// Whether the last full scan failed.
    has_failed: bool,
}

impl NamespaceScanner {
    /// Creates a scanner without known processes.
    pub fn new() -> Self {
        Self {
            known: BTreeSet::new(),
            namespaces: Namespaces::new(),
            young: HashMap::new(),
            newest_pid: None,
            next_full: Instant::now(),
            has_failed: false,
        }
    }

    /// Scans every process. If they cannot be listed, the known namespaces stay, and the next scan is a full one.
    pub fn scan_all(&mut self, now: Instant) -> Namespaces {
        self.scan_listed(ids(), now)
    }

    fn scan_listed(&mut self, listed: io::Result<BTreeSet<u32>>, now: Instant) -> Namespaces {
        let current = match listed {
            Ok(current) => current,
            Err(error) => {
                self.next_full = now;
                if !std::mem::replace(&mut self.has_failed, true) {
                    tracing::warn!(%error, "cannot list the processes to find network namespaces");
                }
                return self.namespaces.clone();
            }
        };
        self.has_failed = false;
        self.next_full = now + FULL_SCAN_INTERVAL;
        self.newest_pid = newest_pid();
        self.mark_young(&current, now);
        self.known = current;
        // In reverse, so that of several processes the oldest one counts.
        let all = self.known.iter().rev().copied();
        self.namespaces = all.filter_map(network_namespace).collect();
        self.namespaces.clone()
    }

    /// Scans young processes, or all of them if that is due or a namespace may have none left.
    pub fn scan(&mut self, now: Instant) -> Scan {
        let gone = |(inode, path): (&u64, &PathBuf)| inode_of(path) != Some(*inode);
        if now >= self.next_full || self.namespaces.iter().any(gone) {
            return Scan::Full(self.scan_all(now));
        }
        let newest_pid = newest_pid();
        if (newest_pid.is_none() || newest_pid != self.newest_pid)
            && let Ok(current) = ids()
        {
            self.newest_pid = newest_pid;
            self.mark_young(&current, now);
            self.known.extend(current);
        }
        self.young.retain(|_, since| now.saturating_duration_since(*since) < YOUNG);
        let found: Namespaces = self.young.keys().copied().filter_map(network_namespace).collect();
        for (inode, path) in &found {
            self.namespaces.entry(*inode).or_insert_with(|| path.clone());
        }
        Scan::Partial(found)
    }

    /// Marks processes that are not known as young.
    fn mark_young(&mut self, current: &BTreeSet<u32>, now: Instant) {
        for pid in current.difference(&self.known) {
            self.young.entry(*pid).or_insert(now);
        }
    }
}

/// Returns the id of the newest process or thread (manual page `proc_loadavg`).
fn newest_pid() -> Option<u64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().nth(4)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn own() -> u64 {
        network_namespace(std::process::id()).unwrap().0
    }

    #[test]
    fn failed_scan_keeps_the_namespaces() {
        let (mut scanner, now) = (NamespaceScanner::new(), Instant::now());
        let found = scanner.scan_all(now);
        assert!(found.contains_key(&own()));
        let failed = scanner.scan_listed(Err(io::ErrorKind::Other.into()), now);
        assert_eq!(failed, found);
        // Others may start and end meanwhile.
        let Scan::Full(again) = scanner.scan(now) else { panic!("the next scan is a full one") };
        assert!(again.contains_key(&own()));
    }

    #[test]
    fn finds_its_own_namespace() {
        assert!(NamespaceScanner::new().scan_all(Instant::now()).contains_key(&own()));
    }

    #[test]
    fn scans_young_processes_only() {
        let mut scanner = NamespaceScanner::new();
        let start = Instant::now();
        assert!(matches!(scanner.scan(start), Scan::Full(_)), "no process is known");
        let is_young = |scanner: &NamespaceScanner, pid: u32| scanner.young.contains_key(&pid);
        assert!(is_young(&scanner, std::process::id()), "it may still move");
        let later = start + YOUNG * 2;
        // Namespaces of other processes may change meanwhile.
        scanner.namespaces.clear();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let Scan::Partial(found) = scanner.scan(later) else { panic!("not all again so soon") };
        assert!(is_young(&scanner, child.id()) && found.contains_key(&own()), "{found:?}");
        assert!(!is_young(&scanner, std::process::id()));
        scanner.namespaces.clear();
        assert!(matches!(scanner.scan(later + YOUNG), Scan::Partial(_)));
        assert!(!is_young(&scanner, child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        let Scan::Full(_) = scanner.scan(start + FULL_SCAN_INTERVAL) else {
            panic!("all, once a minute")
        };
        assert!(!scanner.known.contains(&child.id()), "ended processes are forgotten");
    }

    #[test]
    fn scans_all_if_a_namespace_may_be_empty() {
        let now = Instant::now();
        let mut scanner = NamespaceScanner::new();
        scanner.scan_all(now);
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let (_, path) = network_namespace(child.id()).unwrap();
        scanner.namespaces.insert(own(), path);
        child.kill().unwrap();
        child.wait().unwrap();
        let Scan::Full(found) = scanner.scan(now) else { panic!("its process has ended") };
        assert!(found.contains_key(&own()));
    }
}
