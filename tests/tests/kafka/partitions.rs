//! Partitioning: all transactions of a resolver and zone are in one partition, and many zones are
//! spread over all partitions. Needs no root.

use crate::TRANSACTIONS;
use crate::admin::{create_topic, shared_broker};
use crate::consume::consume;
use dnscribe_tests::{environment, pcap, shell};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::process::Command;

const PARTITIONS: u32 = 12;
const ZONES: u32 = 2000;
/// A query and a response each, for three resolvers in turn.
const MESSAGES: u32 = 40_000;

#[test]
fn zone_stays_in_one_partition() {
    let folder = tempfile::tempdir().unwrap();
    let broker = shared_broker(&folder.path().join("kafka"));
    create_topic(&broker, TRANSACTIONS, PARTITIONS);
    let capture = folder.path().join("zones.pcap");
    pcap::write(BufWriter::new(File::create(&capture).unwrap()), MESSAGES, ZONES).unwrap();
    let mut command = Command::new(environment::binary().unwrap());
    command.arg("replay").arg(&capture).args(["--sink", "kafka", "--stream", "transactions"]);
    shell::output(command.args(["--brokers", &broker.bootstrap()])).unwrap();

    let records = consume(&broker.bootstrap(), TRANSACTIONS);
    assert_eq!(records.len(), MESSAGES as usize / 2);
    let mut places = BTreeMap::new();
    let mut sizes: BTreeMap<i32, usize> = BTreeMap::new();
    for record in &records {
        let of = |name: &str| record.value[name].as_str().unwrap().to_owned();
        let place = (of("resolver"), of("zone"));
        let partition = *places.entry(place).or_insert(record.partition);
        assert_eq!(record.partition, partition, "{}", record.value);
        *sizes.entry(record.partition).or_default() += 1;
    }
    assert_eq!(places.len(), 3 * ZONES as usize);
    let mean = records.len() / PARTITIONS as usize;
    assert_eq!(sizes.len(), PARTITIONS as usize, "{sizes:?}");
    assert!(sizes.values().all(|size| (mean / 2..2 * mean).contains(size)), "{sizes:?}");
}
