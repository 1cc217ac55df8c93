//! Zone transfers from a real server: many messages, one transaction.

use crate::support::{RECORD_LIMIT, agent, lab};
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::ledger::counter;
use dnscribe_tests::shell;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

/// Number of hosts in the zone: far more than one message holds.
const HOSTS: u32 = 30_000;

/// knot with one large zone, on the lab's client. Dropping it ends it.
struct Server {
    knotd: Child,
    folder: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        shell::end(&mut self.knotd);
    }
}

impl Server {
    fn start(lab: &Lab) -> Self {
        let folder = lab.folder().join("transfers");
        fs::create_dir_all(folder.join("db")).unwrap();
        let at = folder.display();
        let config = format!(
            "server:\n  rundir: \"{at}\"\n  listen: [ {}@53 ]\n  udp-workers: 1\n  tcp-workers: 1\n  \
             background-workers: 1\nlog:\n  - target: stderr\n    any: warning\n\
             database:\n  storage: \"{at}/db\"\nacl:\n  - id: all\n    action: transfer\n\
             zone:\n  - domain: large.test\n    storage: \"{at}\"\n    file: large.zone\n    \
             acl: all\n    zonefile-load: difference\n    journal-content: changes\n",
            lab.client_addr()
        );
        fs::write(folder.join("knot.conf"), config).unwrap();
        write_zone(&folder, 1, HOSTS);
        let config = folder.join("knot.conf").display().to_string();
        let knotd = lab.spawn(Host::Client, &["knotd", "-c", &config]).unwrap();
        let server = Self { knotd, folder };
        await_serial(lab, 1);
        server
    }

    fn reload(&self, lab: &Lab, serial: u32, hosts: u32) {
        write_zone(&self.folder, serial, hosts);
        let config = self.folder.join("knot.conf").display().to_string();
        shell::run(&["knotc", "-c", &config, "zone-reload", "large.test"]).unwrap();
        await_serial(lab, serial);
    }
}

fn await_serial(lab: &Lab, serial: u32) {
    let found = shell::wait_for("the zone", Duration::from_mins(1), || {
        let answer = dig(lab, &["SOA", "+short", "+time=1", "+retry=0"]);
        Ok(answer.split_whitespace().nth(2).is_some_and(|s| s == serial.to_string()).then_some(()))
    });
    found.unwrap();
}

fn write_zone(folder: &Path, serial: u32, hosts: u32) {
    let mut zone = format!(
        "$ORIGIN large.test.\n$TTL 300\n@ SOA ns hostmaster {serial} 3600 600 86400 60\n@ NS ns\n\
         ns A 192.0.2.1\n"
    );
    for host in 0..hosts {
        writeln!(zone, "host-{host} A 10.{}.{}.{}", host >> 16, host >> 8 & 255, host & 255)
            .unwrap();
    }
    fs::write(folder.join("large.zone"), zone).unwrap();
}

fn dig(lab: &Lab, words: &[&str]) -> String {
    let at = format!("@{}", lab.client_addr());
    let words = [&["kdig", at.as_str(), "large.test"], words].concat();
    String::from_utf8(lab.run(Host::Server, &words).unwrap().stdout).unwrap()
}

/// Parses kdig's summary of a transfer: bytes, messages, records.
fn summary(answer: &str) -> [u64; 3] {
    let line = answer.lines().find(|line| line.starts_with(";; Received")).unwrap();
    let numbers: Vec<u64> = line.split([' ', '(']).filter_map(|word| word.parse().ok()).collect();
    numbers.try_into().unwrap()
}

/// Compares the transaction of each vantage for a qtype with kdig's summary.
fn compare(records: &[Value], lab: &Lab, qtype: &str, summary: [u64; 3]) {
    let said = |record: &Value| {
        let number = |name: &str| record[name].as_u64().unwrap();
        ["response_bytes", "transfer_messages", "transfer_records"].map(number)
    };
    let seen: Vec<_> = records
        .iter()
        .filter(|record| is_transfer(record, lab, qtype) && said(record) == summary)
        .collect();
    assert_eq!(seen.len(), 2, "{qtype}, {summary:?} by kdig: client and server in {records:#?}");
    for record in seen {
        assert_eq!(record["status"], "answered");
        assert_eq!(record["transfer_complete"], true, "{record}");
        assert!(record["transfer_ms"].as_f64() >= record["latency_ms"].as_f64(), "{record}");
    }
}

fn is_transfer(record: &Value, lab: &Lab, qtype: &str) -> bool {
    record["schema"] == "dns.transaction/1"
        && record["server_ip"] == lab.client_addr().to_string()
        && record["qname"] == "large.test"
        && record["qtype"] == qtype
        && record["transport"] == "tcp"
}

#[test]
fn zone_transfer_is_one_transaction() {
    let Some((lab, _alone)) = lab() else { return };
    let server = Server::start(&lab);
    let agent = agent(&[]);
    let axfr = summary(&dig(&lab, &["AXFR"]));
    assert!(axfr[1] > 10 && axfr[2] == u64::from(HOSTS) + 4, "{axfr:?}");
    server.reload(&lab, 2, HOSTS - 20_000);
    let ixfr = summary(&dig(&lab, &["IXFR=1"]));
    assert!(ixfr[1] > 1 && ixfr[2] == 20_004, "{ixfr:?}");
    let nothing_newer = summary(&dig(&lab, &["IXFR=2"]));
    assert_eq!(nothing_newer[1..], [1, 1]);
    let done = |records: &[Value]| {
        let count =
            |qtype| records.iter().filter(|record| is_transfer(record, &lab, qtype)).count();
        count("AXFR") == 2 && count("IXFR") == 4
    };
    let records = agent.wait_for("all transfers", RECORD_LIMIT, done).unwrap();
    compare(&records, &lab, "AXFR", axfr);
    compare(&records, &lab, "IXFR", ixfr);
    compare(&records, &lab, "IXFR", nothing_newer);
    let end = agent.terminate().unwrap();
    let ledger = end.final_ledger().unwrap();
    let continued = counter(ledger, &["pairing", "continued"]).unwrap();
    // Others on this host may have transferred zones meanwhile.
    assert!(continued >= 2 * (axfr[1] + ixfr[1] - 2), "{continued}");
}
