//! Masking and filters of live traffic, and their change at run time.

use crate::support::{RECORD_LIMIT, lab, transaction};
use dnscribe_tests::agent::{Agent, EndedAgent};
use dnscribe_tests::lab::Lab;
use dnscribe_tests::{environment, shell};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

const STREAMS: &str = "messages,transactions,lookups,metrics,alerts,dlq,ledger,connections";

const HASHED: &str =
    "privacy: {qname: hash, client: hash, server: hash, process: hash, container: hash}\n";

fn configure(path: &Path, rest: &str) {
    fs::write(path, format!("version: 1\n{rest}")).unwrap();
}

fn ask(lab: &Lab, name: &str) {
    lab.dig(&["+tries=1", name]).unwrap();
}

/// Counts the client's masked transactions.
fn masked(records: &[Value]) -> usize {
    let is_masked = |record: &&Value| {
        record["schema"] == "dns.transaction/1" && record["masking"]["qname"] == "hash"
    };
    records.iter().filter(is_masked).count()
}

fn all(end: &EndedAgent) -> String {
    end.records.iter().map(Value::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn hashed_values_do_not_leak_from_live_traffic() {
    let Some((lab, _alone)) = lab() else { return };
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("dnscribe.yaml");
    configure(&config, HASHED);
    let words = ["--config", config.to_str().unwrap(), "--stream", STREAMS, "-vv"];
    let agent = Agent::run(&words).unwrap();
    for number in 0..20 {
        ask(&lab, &format!("quietword{number}.wild.example.com"));
    }
    agent.wait_for("masked transactions", RECORD_LIMIT, |records| masked(records) >= 40).unwrap();
    let (_, page) = agent.get("/metrics").unwrap();
    let end = agent.terminate().unwrap();
    assert!(end.status.success(), "{}", end.stderr);
    end.final_ledger().unwrap();
    let addresses = [lab.client_addr(), lab.resolver_addr(), lab.server_addr()];
    let secrets = addresses.iter().map(|address| format!("{address}\""));
    let secrets: Vec<String> = secrets.chain(["quietword".into(), "example.com".into()]).collect();
    for (what, text) in [("a record", all(&end)), ("/metrics", page), ("the log", end.stderr)] {
        for secret in &secrets {
            assert!(!text.contains(secret), "{what} contains {secret}");
        }
    }
}

/// What servers say of themselves is neither in a record nor on standard error, with the summary.
#[test]
fn identities_of_dnstap_do_not_leak() {
    let folder = tempfile::tempdir().unwrap();
    let (config, socket) = (folder.path().join("dnscribe.yaml"), folder.path().join("sock"));
    configure(&config, HASHED);
    let address = format!("unix:{}", socket.display());
    let words = ["--config", config.to_str().unwrap(), "--dnstap", &address, "--stream", STREAMS];
    let agent = Agent::run(&words).unwrap();
    let mut server = Command::new(environment::binary().unwrap());
    server.arg("replay").arg(environment::workspace().join("examples/dying-resolver.pcapng"));
    server.env("DNSCRIBE_NODE", "ns7.quiet.example").args(["--sink", &format!("dnstap:{address}")]);
    shell::output(&mut server).unwrap();
    let has_ended = || Ok(agent.log().contains("a sender of dnstap has ended").then_some(()));
    shell::wait_for("the end of the frames", RECORD_LIMIT, has_ended).unwrap();
    let end = agent.terminate().unwrap();
    assert!(end.status.success(), "{}", end.stderr);
    let sender = &end.final_ledger().unwrap()["senders"][0];
    assert!(sender["received"].as_u64().unwrap() > 100, "{sender}");
    assert_eq!(sender["name"].as_str().unwrap().len(), 32, "{sender}");
    assert!(end.stderr.contains("sender          masked: received"), "{}", end.stderr);
    for (what, text) in [("a record", all(&end)), ("standard error", end.stderr)] {
        for secret in ["quiet.example", concat!("dnscribe ", env!("CARGO_PKG_VERSION"))] {
            assert!(!text.contains(secret), "{what} contains {secret}");
        }
    }
}

#[test]
fn reload_changes_masking_without_loss() {
    let Some((lab, _alone)) = lab() else { return };
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("dnscribe.yaml");
    configure(&config, "");
    let words = ["--config", config.to_str().unwrap(), "--stream", "transactions,ledger"];
    let agent = Agent::run(&words).unwrap();
    ask(&lab, "before.wild.example.com");
    transaction(&agent, &lab, "before.wild.example.com");

    let filter = "filters: {exclude: {qname: [left.wild.example.com]}}\n";
    configure(&config, &format!("{HASHED}{filter}"));
    agent.signal(Signal::HUP).unwrap();
    let reloaded = || Ok(agent.log().contains("configuration reloaded").then_some(()));
    shell::wait_for("the reload", RECORD_LIMIT, reloaded).unwrap();
    ask(&lab, "after.wild.example.com");
    ask(&lab, "a.left.wild.example.com");
    agent.wait_for("a masked transaction", RECORD_LIMIT, |records| masked(records) > 0).unwrap();

    configure(&config, "privacy: {qname: nonsense}\n");
    agent.signal(Signal::HUP).unwrap();
    let refused = || Ok(agent.log().contains("the configuration stays as it was").then_some(()));
    shell::wait_for("the refusal", RECORD_LIMIT, refused).unwrap();
    ask(&lab, "still.wild.example.com");

    let end = agent.terminate().unwrap();
    assert!(end.status.success(), "{}", end.stderr);
    let text = all(&end);
    assert!(text.contains("before.wild"));
    for hidden in ["after.wild", "left.wild", "still.wild"] {
        assert!(!text.contains(hidden), "{hidden}");
    }
    let ledger = end.final_ledger().unwrap();
    let delivery = &ledger["delivery"]["stdout"]["transactions"];
    assert!(delivery["filtered"].as_u64().unwrap() >= 1, "{delivery}");
}
