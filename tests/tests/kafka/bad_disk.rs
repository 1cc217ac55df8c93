//! Spools on disks that are full or read-only: the agent continues, logs the problem once, keeps in
//! memory what fits and counts the rest. It spools again once the disk works.

use crate::live_agent::{self, Scrape};
use crate::{Setup, own_broker, setup};
use dnscribe_tests::agent::Agent;
use dnscribe_tests::{ledger, shell};
use std::fs;
use std::path::{Path, PathBuf};

/// Maximum number of records in memory, plus a batch; further ones go to the disk.
const IN_MEMORY: u64 = 105_000;

/// A small file system in memory. Dropping it unmounts it.
struct Disk(PathBuf);

impl Disk {
    fn mount(folder: &Path, name: &str, options: &str) -> Self {
        let disk = folder.join(name);
        fs::create_dir(&disk).unwrap();
        let place = disk.display().to_string();
        shell::run(&["mount", "-t", "tmpfs", "-o", options, "tmpfs", &place]).unwrap();
        Self(disk)
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        shell::run(&["mount", "-o", &options, &self.0.display().to_string()]).unwrap();
    }

    /// Fills the free space.
    fn fill(&self) {
        let file = fs::File::create(self.0.join("filling")).unwrap();
        while std::io::Write::write_all(&mut &file, &[0; 4096]).is_ok() {}
    }

    fn clear(&self) {
        fs::remove_file(self.0.join("filling")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A program that still uses it is ending.
        let _ = shell::run(&["umount", "--lazy", &self.0.display().to_string()]);
    }
}

fn run(setup: &Setup, disk: &Disk, streams: &str, topic: &str) -> Agent {
    let directory = disk.0.join("spool").display().to_string();
    let settings = [
        ("KAFKA__STREAMS", streams),
        ("KAFKA__TOPICS__TRANSACTIONS", topic),
        ("SPOOL__DIRECTORY", &directory),
    ];
    live_agent::run(&setup.broker.bootstrap(), &settings)
}

fn spools(scrape: &Scrape) -> bool {
    scrape.records("transactions", "spooled") > 0
}

fn warnings(log: &str, words: &str) -> usize {
    log.lines().filter(|line| line.contains(" WARN ") && line.contains(words)).count()
}

#[test]
fn spools_again_after_disk_errors() {
    let Some(mut setup) = setup(own_broker) else { return };
    let folder = setup.folder.path().to_owned();
    let full = Disk::mount(&folder, "full", "size=16m");
    let read_only = Disk::mount(&folder, "read-only", "ro");
    full.fill();
    let messages = run(&setup, &full, "messages,transactions,ledger", "full.transactions");
    let transactions = run(&setup, &read_only, "transactions,ledger", "read-only.transactions");

    // Kafka accepts what the disks did not.
    live_agent::finish(live_agent::start(&setup.lab, &live_agent::load(1, "before")));
    for agent in [&messages, &transactions] {
        live_agent::wait_for(agent, "deliveries", |scrape| {
            scrape.records("transactions", "delivered") >= u64::from(2 * live_agent::QPS)
        });
    }
    setup.broker.kill().unwrap();
    live_agent::finish(live_agent::start(&setup.lab, &live_agent::load(8, "meanwhile")));
    // The load must exceed the memory.
    live_agent::wait_for(&messages, "losses", |scrape| scrape.dropped("spool_error") > 0);
    let scrape = Scrape::of(&messages);
    let kept =
        scrape.records("messages", "in_flight") + scrape.records("transactions", "in_flight");
    assert!(kept <= IN_MEMORY && kept > IN_MEMORY / 2, "{kept} records are in memory");
    let scrape = Scrape::of(&transactions);
    assert_eq!(
        scrape.records("transactions", "dropped"),
        0,
        "records were dropped although they fit into memory"
    );
    assert!(!spools(&scrape));

    // The disks recover before Kafka.
    full.clear();
    read_only.remount("rw");
    for agent in [&messages, &transactions] {
        live_agent::wait_for(agent, "records on disk", spools);
    }
    setup.broker.restart().unwrap();
    for (agent, topic) in [(messages, "full"), (transactions, "read-only")] {
        let end = agent.terminate().unwrap();
        assert!(end.status.success(), "{}", end.stderr);
        let last = end.final_ledger().unwrap();
        let of = |path: &[&str]| {
            let path = [&["delivery", "kafka", "transactions"], path].concat();
            ledger::counter(last, &path).unwrap()
        };
        let dropped = of(&["dropped", "spool_error"]);
        assert_eq!(of(&["delivered"]) + dropped, of(&["records"]), "{topic}: {last:#}");
        assert_eq!(dropped > 0, topic == "full", "{topic}: {last:#}");
        let warned = ["the spool cannot be written to", "no spool, records wait"]
            .map(|words| warnings(&end.stderr, words));
        assert_eq!(warned.iter().sum::<usize>(), 1, "{topic}: {}", end.stderr);
        if topic == "read-only" {
            let well = end.stderr.matches("the spool can be written to again").count();
            assert_eq!(well, 1, "{}", end.stderr);
        }
    }
}
