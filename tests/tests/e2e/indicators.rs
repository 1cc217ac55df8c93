//! Lists of names that change while the agent runs, the alert, and what is remembered of zones over a restart.

use crate::support::{lab, transaction};
use dnscribe_tests::agent::Agent;
use dnscribe_tests::{environment, page, shell};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Time limit for a list that has changed: it is looked at every ten seconds.
const RELOADED: Duration = Duration::from_mins(1);
/// Time limit for the alert: an evaluation every ten seconds.
const ALERTED: Duration = Duration::from_secs(40);

/// Replaces a file as programs do that update lists.
fn replace(file: &Path, content: &str) {
    let new = file.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(new, file).unwrap();
}

fn wait_for_metric(agent: &Agent, line: &str) {
    shell::wait_for(line, RELOADED, || {
        Ok(agent.get("/metrics")?.1.lines().any(|other| other == line).then_some(()))
    })
    .map_err(|error| error.context(agent.log()))
    .unwrap();
}

#[test]
fn lists_are_reloaded_and_first_times_outlive_the_agent() {
    let Some((lab, _alone)) = lab() else { return };
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let (list, state) = (folder.path().join("own.csv"), folder.path().join("state"));
    replace(&list, "indicator,category,confidence\nexample.com,test,90\n");
    let file = folder.path().join("dnscribe.yaml");
    let config = json!({
        "version": 1, "indicators": { "files": [list] }, "first_seen": { "directory": state },
    });
    fs::write(&file, config.to_string()).unwrap();
    let arguments = ["--config", file.to_str().unwrap(), "--stream", "transactions,alerts,ledger"];
    let start = || Agent::run(&arguments).unwrap();
    let agent = start();
    let ask = |agent: &Agent, name: &str| {
        lab.dig(&[name]).unwrap();
        transaction(agent, &lab, name)
    };

    let record = ask(&agent, "a.wild.example.com");
    let listed = json!([{
        "indicator": "example.com", "kind": "domain", "category": "test", "source": "own", "confidence": 90,
    }]);
    assert_eq!(record["indicators"], listed, "{record}");
    let first = record["first_seen"].clone();
    let seconds = |value: &Value| value.as_str().unwrap()[..19].to_owned();
    assert_eq!(seconds(&first), seconds(&record["ts"]), "{record}");
    let fired = |records: &[Value]| records.iter().any(|one| one["rule"] == "indicator");
    let records = agent.wait_for("an alert", ALERTED, fired).unwrap();
    let alert = records.iter().find(|one| one["rule"] == "indicator").unwrap();
    assert_eq!(
        (&alert["severity"], &alert["process"]["comm"]),
        (&json!("critical"), &json!("dig")),
        "{alert}"
    );
    assert!(
        alert["summary"].as_str().unwrap().contains("example.com (test, own, confidence 90)"),
        "{alert}"
    );

    // Another list in its place, in another format. It alone is read: the configuration would be refused.
    fs::write(&file, "version: [").unwrap();
    replace(&list, "0.0.0.0 b.wild.example.com other.example\n");
    wait_for_metric(&agent, "dnscribe_indicators 2");
    let record = ask(&agent, "b.wild.example.com");
    assert_eq!(record["indicators"][0]["indicator"], "b.wild.example.com", "{record}");
    assert_eq!(record["first_seen"], first, "{record}");
    let record = ask(&agent, "c.wild.example.com");
    assert_eq!(record["indicators"], Value::Null, "{record}");

    // One that is gone is not an empty one.
    fs::remove_file(&list).unwrap();
    shell::wait_for("the error", RELOADED, || {
        Ok(agent.log().contains("the lists of indicators stay as they were").then_some(()))
    })
    .unwrap();
    let record = ask(&agent, "d.b.wild.example.com");
    assert_eq!(record["indicators"][0]["indicator"], "b.wild.example.com", "{record}");
    let log = agent.log();
    assert_eq!(log.matches("the lists of indicators stay as they were").count(), 1, "{log}");
    assert!(!log.contains("the configuration stays as it was"), "{log}");
    fs::write(&file, config.to_string()).unwrap();
    agent.terminate().unwrap().final_ledger().unwrap();

    replace(&list, "");
    let agent = start();
    assert_eq!(ask(&agent, "e.wild.example.com")["first_seen"], first);
    agent.terminate().unwrap();
    let zones = state.join("zones");
    fs::write(&zones, &fs::read(&zones).unwrap()[1..]).unwrap();
    let agent = start();
    let record = ask(&agent, "f.wild.example.com");
    assert!(record["first_seen"].as_str() > first.as_str(), "{record}");
    assert!(agent.log().contains("was set aside; every zone is new"), "{}", agent.log());
    agent.terminate().unwrap();
    assert!(zones.with_extension("corrupt").exists());
}

/// The page's commands on its examples, as a user who is not root.
#[test]
fn commands_of_the_page_work() {
    let text = page::read("indicators").unwrap();
    let commands = page::commands(&text);
    let replay = commands.iter().find(|command| command.starts_with("dnscribe replay ")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list.txt");
    let (_, shown) = text.split_once("$ cat /etc/dnscribe/indicators.txt\n").unwrap();
    fs::write(&list, shown.split('$').next().unwrap()).unwrap();
    let yaml = &page::blocks(&text, "yaml")[0];
    let yaml = yaml.replace("/etc/dnscribe/indicators.txt", list.to_str().unwrap());
    let state = folder.path().join("state");
    let yaml = yaml.replace("/var/lib/dnscribe/first-seen", state.to_str().unwrap());
    fs::write(folder.path().join("dnscribe.yaml"), yaml).unwrap();
    std::os::unix::fs::symlink(
        environment::workspace().join("examples"),
        folder.path().join("examples"),
    )
    .unwrap();
    let path = environment::binary().unwrap().parent().unwrap().display().to_string();
    let path = format!("{path}:{}", std::env::var("PATH").unwrap());
    let mut shell_command = Command::new("sh");
    shell_command.args(["-c", replay]).current_dir(folder.path()).env("PATH", path);
    let output = shell::output(&mut shell_command).unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    assert!(lines.lines().count() > 0 && lines.contains("\"source\":\"list\""), "{lines}");
    assert!(!state.exists(), "a replay has written the file of the host");
}
