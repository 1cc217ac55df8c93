//! Spool files that a power failure has truncated or a bad disk has changed: the next run delivers
//! the rest and reports the loss.

use crate::live_agent::{self, Scrape};
use crate::{own_broker, setup};
use dnscribe_tests::ledger;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

#[test]
fn corrupt_spool_loses_only_corrupt_records() {
    let Some(mut setup) = setup(own_broker) else { return };
    live_agent::create_topics(&setup.broker);
    setup.broker.kill().unwrap();
    let spool = setup.folder.path().join("spool");
    let directory = spool.display().to_string();
    let settings = [
        ("KAFKA__STREAMS", "transactions,ledger"),
        ("SPOOL__DIRECTORY", &directory),
        // Small segments, so that there are several.
        ("SPOOL__MAX_BYTES", "4MiB"),
    ];
    let agent = live_agent::run(&setup.broker.bootstrap(), &settings);
    // Wait for the first ledger record.
    live_agent::finish(live_agent::start(&setup.lab, &live_agent::load(11, "torn")));
    let scrape = live_agent::wait_for(&agent, "records on disk", |scrape| {
        scrape.records("transactions", "in_flight") == 0
    });
    let spooled = scrape.records("transactions", "spooled");
    agent.kill().unwrap();

    let segments = segments(&spool);
    assert!(segments.len() >= 3, "{segments:?}");
    let newest = segments.last().unwrap();
    let file = File::options().write(true).open(newest).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    flip(&segments[1]);

    setup.broker.restart().unwrap();
    let agent = live_agent::run(&setup.broker.bootstrap(), &settings);
    let octets = Scrape::of(&agent).sum("dnscribe_spool_torn_bytes_total", &[]);
    assert!(octets > 0);
    live_agent::wait_until_delivered(&agent);
    let end = agent.terminate().unwrap();
    assert!(end.status.success(), "{}", end.stderr);
    let last = end.final_ledger().unwrap();
    let of = |path: &[&str]| {
        let path = [&["delivery", "kafka_recovered", "transactions"], path].concat();
        ledger::counter(last, &path).unwrap()
    };
    let corrupt = of(&["dropped", "spool_corrupt"]);
    assert!(corrupt > 0, "{last:#}");
    assert_eq!(of(&["delivered"]) + corrupt, of(&["records"]), "{last:#}");
    // At most two segments are lost.
    let rest = spooled - 2 * spooled / segments.len() as u64;
    assert!(of(&["delivered"]) >= rest, "{} of {spooled}", of(&["delivered"]));
    let records = live_agent::transactions(&setup.broker, &setup.lab, "torn");
    let own = ["delivery", "kafka", "transactions", "delivered"];
    let own = ledger::counter(last, &own).unwrap();
    assert_eq!(records.len() as u64, of(&["delivered"]) + own);
    // The ledger accounts for the spool's loss, so records may be missing.
    assert_eq!(live_agent::duplicates(&live_agent::verify_ledger(&setup.broker)), 0);
}

/// Returns the segments with transactions, oldest first.
fn segments(spool: &Path) -> Vec<PathBuf> {
    let mut folders = vec![spool.to_owned()];
    let mut segments = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.parent().unwrap().ends_with("transactions") {
                segments.push(path);
            }
        }
    }
    segments.sort_unstable();
    segments
}

/// Flips one bit in the middle of a file.
fn flip(path: &Path) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    let mut octet = [0];
    file.read_exact_at(&mut octet, middle).unwrap();
    file.write_all_at(&[octet[0] ^ 1], middle).unwrap();
}
