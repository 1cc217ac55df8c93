//! What is left to an agent that was started as root: nothing but its work, which goes on.

use crate::apart::Apart;
use crate::support::{Client, SOON, is, lab};
use anyhow::{Result, ensure};
use dnscribe_tests::agent::{Agent, Finished};
use dnscribe_tests::dnsperf::Load;
use dnscribe_tests::lab::Host;
use dnscribe_tests::{environment, ledger, shell};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// EPERM and EACCES.
const REFUSALS: [i64; 2] = [-1, -13];

/// The agent with as many threads as there can be kinds of.
const TWO_THREADS: &[&str] = &["--stream", "transactions,ledger", "--threads", "2"];

/// Eight seconds of traffic.
fn load() -> Load {
    Load {
        queries: 24_000,
        qps: Some(3000),
        suffix: "confined.wild.example.com".to_owned(),
        ..Load::default()
    }
}

#[test]
fn an_agent_started_as_root_has_no_privileges_a_second_later() {
    let Some((lab, _alone)) = lab() else { return };
    let apart = Apart::enter(&lab);
    let queries = lab.start_dnsperf(Host::Client, lab.resolver_addr(), &load()).unwrap();
    let started = Instant::now();
    let agent = confined(&[&apart.options()[..], TWO_THREADS].concat());
    std::thread::sleep(Duration::from_secs(1).saturating_sub(started.elapsed()));
    let threads = threads(agent.pid()).unwrap();
    let names: BTreeSet<&str> = threads.iter().map(|thread| thread["Name"].as_str()).collect();
    for wanted in ["dnscribe", "metrics", "sink-stdout", "flows-0", "flows-1"] {
        assert!(names.contains(wanted), "{names:?}");
    }
    for thread in &threads {
        let nobody = "65534\t65534\t65534\t65534";
        for (field, wanted) in [
            ("Uid", nobody),
            ("Gid", nobody),
            ("CapPrm", "0000000000000000"),
            ("CapEff", "0000000000000000"),
            ("CapInh", "0000000000000000"),
            ("CapBnd", "0000000000000000"),
            ("CapAmb", "0000000000000000"),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
        ] {
            assert_eq!(thread[field], wanted, "{field} of thread {}", thread["Name"]);
        }
        assert_ne!(thread["Groups"], "0", "{}", thread["Name"]);
    }
    assert!(queries.wait_with_output().unwrap().status.success());
    let end = finish(agent);
    let said = "privileges dropped: user nobody (65534), capabilities: none";
    assert!(end.stderr.contains(said), "{}", end.stderr);
    assert!(!end.stderr.contains("WARN"), "{}", end.stderr);
}

#[test]
fn who_takes_a_thread_over_can_open_run_and_load_nothing() {
    let Some((lab, _alone)) = lab() else { return };
    let apart = Apart::enter(&lab);
    let agent = confined(&[&apart.options()[..], TWO_THREADS].concat());
    let queries = lab.start_dnsperf(Host::Client, lab.resolver_addr(), &load()).unwrap();
    let answers = inject(agent.pid(), true).unwrap();
    assert!(queries.wait_with_output().unwrap().status.success());
    let end = finish(agent);
    let seen = ledger::counter(end.final_ledger().unwrap(), &["pairing", "queries"]).unwrap();
    assert!(
        seen >= u64::from(load().queries),
        "{seen}: too few queries while threads were taken over"
    );
    let threads: BTreeSet<_> = answers.iter().map(|(thread, ..)| thread).collect();
    assert!(threads.len() >= 5, "{answers:?}");
    assert_eq!(answers.len(), threads.len() * 6, "{answers:?}");
    for (thread, call, result) in &answers {
        assert!(REFUSALS.contains(result), "{call} by thread {thread}: {result}");
    }
}

#[test]
fn the_same_succeeds_where_privileges_are_kept() {
    let Some((_lab, _alone)) = lab() else { return };
    let mut command = Command::new(environment::binary().unwrap());
    command.arg("run").env("DNSCRIBE_PRIVILEGES__DROP", "off").args(["--stream", "ledger"]);
    let agent = Agent::start(&mut command).unwrap();
    for (thread, call, result) in inject(agent.pid(), false).unwrap() {
        assert!(result >= 0, "{call} by thread {thread}: {result}");
    }
    fs::remove_file("/usr/bin/dnscribe-was-here").unwrap();
    let end = agent.kill().unwrap();
    assert!(end.stderr.contains("privileges are kept"), "{}", end.stderr);
}

/// What only the privileged may look at, looked at by the scout: executables of others, and ICMP errors in
/// other network namespaces. The agent leaves neither scout nor anything else behind.
#[test]
fn the_scout_sees_what_the_agent_may_not() {
    let Some((lab, _alone)) = lab() else { return };
    let agent = confined(&["--stream", "transactions,ledger"]);
    let scout = children(agent.pid()).unwrap();
    assert_eq!(scout.len(), 1, "{scout:?}");
    for thread in threads(scout[0]).unwrap() {
        // CAP_NET_RAW, CAP_SYS_PTRACE, CAP_SYS_ADMIN: bits 13, 19, 21.
        assert_eq!(thread["CapPrm"], "0000000000282000", "{}", thread["Name"]);
        assert_eq!((&*thread["NoNewPrivs"], &*thread["Seccomp"]), ("1", "2"));
        assert!(thread["Uid"].starts_with("65534\t65534"), "{}", thread["Uid"]);
    }
    let (there, refused) = ("scout.wild.example.com", "closed.wild.example.com");
    // Both live until they are looked at.
    let mut asks = Client::start(&lab, "connected", lab.resolver_addr());
    let mut asks_in_vain = Client::start(&lab, "connected", lab.closed_addr());
    asks.ask(there);
    asks_in_vain.ask(refused);
    let find = |records: &[Value], qname: &str| {
        records.iter().find(|one| is(one, "client", lab.client_addr(), qname)).cloned()
    };
    let records = agent
        .wait_for("both queries", SOON, |records| {
            [there, refused].iter().all(|qname| find(records, qname).is_some())
        })
        .unwrap();
    let process = find(&records, there).unwrap()["process"].clone();
    let exe = process["exe"].as_str().unwrap_or_default();
    assert!(exe.ends_with("/dns-client"), "{process} {}", agent.log());
    assert_eq!(find(&records, refused).unwrap()["status"], "icmp_error");
    agent.kill().unwrap();
    shell::wait_for("the scout's end", SOON, || {
        Ok((!Path::new(&format!("/proc/{}", scout[0])).exists()).then_some(()))
    })
    .unwrap();
}

/// In a directory of the new user's, files are rotated, reopened and the configuration read again, without
/// any capability.
#[test]
fn files_of_the_user_need_no_capability() {
    let Some((lab, _alone)) = lab() else { return };
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let out = directory.path().join("out");
    fs::create_dir(&out).unwrap();
    chown(&out, Some(65534), Some(65534)).unwrap();
    let config = directory.path().join("dnscribe.yaml");
    fs::write(&config, "version: 1\nfile: { rotate_bytes: 64KiB }\n").unwrap();
    let file = out.join("records");
    let sink = format!("file:{}", file.display());
    let arguments = ["--config", config.to_str().unwrap(), "--sink", &sink, "--sink", "stdout"];
    let agent = confined(&[&arguments[..], &["--stream", "transactions,ledger"]].concat());
    lab.dnsperf(&Load { queries: 1000, ..load() }).unwrap();
    fs::rename(&file, out.join("moved")).unwrap();
    // As an editor does, another file takes the place of the old one.
    let other = directory.path().join("other.yaml");
    fs::write(&other, "version: 1\npairing: { query_timeout: 2s }\n").unwrap();
    fs::rename(&other, &config).unwrap();
    agent.signal(Signal::HUP).unwrap();
    shell::wait_for("the new file", SOON, || Ok(file.exists().then_some(()))).unwrap();
    lab.dnsperf(&Load { queries: 1000, ..load() }).unwrap();
    let end = finish(agent);
    assert!(end.stderr.contains("capabilities: none"), "{}", end.stderr);
    assert!(end.stderr.contains("configuration reloaded"), "{}", end.stderr);
    assert!(!end.stderr.contains("ERROR"), "{}", end.stderr);
    let files: Vec<_> = fs::read_dir(&out).unwrap().map(|one| one.unwrap().path()).collect();
    assert!(files.len() > 3, "{files:?}");
    assert!(files.iter().all(|file| file.metadata().unwrap().uid() == 65534), "{files:?}");
    let verify = Command::new(environment::binary().unwrap())
        .args(["ledger", "verify"])
        .args(&files)
        .output()
        .unwrap();
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stdout));
}

/// With a missing spool directory, the agent creates it for its user before the drop, and keeps no
/// capability for it.
#[test]
fn creates_the_spool_for_the_user_without_capabilities() {
    let Some((_lab, _alone)) = lab() else { return };
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let spool = directory.path().join("state/spool");
    let mut command = Command::new(environment::binary().unwrap());
    command.arg("run").args(["--brokers", "127.0.0.1:1", "--sink", "kafka", "--sink", "stdout"]);
    command.args(["--stream", "ledger"]).env("DNSCRIBE_SPOOL__DIRECTORY", &spool);
    let agent = Agent::start(&mut command).unwrap();
    for thread in threads(agent.pid()).unwrap() {
        assert_eq!(thread["CapPrm"], "0000000000000000", "{}", thread["Name"]);
    }
    assert_eq!(spool.metadata().unwrap().uid(), 65534);
    let end = agent.kill().unwrap();
    assert!(!end.stderr.contains("spool"), "{}", end.stderr);
}

/// Where files belong to root, the capabilities to write them are kept and logged; landlock confines them.
#[test]
fn files_of_root_keep_what_they_need_and_say_so() {
    let Some((_lab, _alone)) = lab() else { return };
    let directory = tempfile::tempdir().unwrap();
    let sink = format!("file:{}", directory.path().join("records").display());
    let agent = confined(&["--stream", "ledger", "--sink", &sink, "--sink", "stdout"]);
    for thread in threads(agent.pid()).unwrap() {
        // CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER: bits 0, 1, 3.
        assert_eq!(thread["CapPrm"], "000000000000000b", "{}", thread["Name"]);
    }
    for (thread, call, result) in inject(agent.pid(), true).unwrap() {
        assert!(REFUSALS.contains(&result), "{call} by thread {thread}: {result}");
    }
    let end = agent.terminate().unwrap();
    assert!(end.stderr.contains("keeps CAP_DAC_OVERRIDE for writing in"), "{}", end.stderr);
}

#[test]
fn a_user_that_is_not_there_is_said_and_strict_does_not_run() {
    let Some((_lab, _alone)) = lab() else { return };
    let run = |drop: &str| {
        Command::new(environment::binary().unwrap())
            .args(["run", "--sink", "null", "--metrics-listen", "off", "--duration", "1s"])
            .env("DNSCRIBE_PRIVILEGES__USER", "no-such-user")
            .env("DNSCRIBE_PRIVILEGES__DROP", drop)
            .output()
            .unwrap()
    };
    let (auto, strict) = (run("auto"), run("strict"));
    let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(auto.status.success(), "{}", said(&auto));
    assert!(said(&auto).contains("not all privileges are dropped: there is no user no-such-user"));
    assert_eq!(strict.status.code(), Some(3), "{}", said(&strict));
    assert!(said(&strict).contains("there is no user no-such-user"), "{}", said(&strict));
}

/// The agent with nice threads switched off, which need a capability where `RLIMIT_NICE` is fixed.
fn confined(arguments: &[&str]) -> Agent {
    let mut command = Command::new(environment::binary().unwrap());
    Agent::start(command.arg("run").args(arguments).env("DNSCRIBE_CAPTURE__NICE", "0")).unwrap()
}

fn finish(agent: Agent) -> Finished {
    let end = agent.terminate().unwrap();
    assert!(end.status.success(), "{}", end.stderr);
    assert_eq!(ledger::losses(end.final_ledger().unwrap()).unwrap(), 0, "{}", end.stderr);
    end
}

/// What /proc tells of each thread of a process.
fn threads(pid: u32) -> Result<Vec<BTreeMap<String, String>>> {
    let mut threads = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("status"))?;
        let fields = text.lines().filter_map(|line| line.split_once(":\t"));
        threads.push(fields.map(|(name, value)| (name.into(), value.trim().into())).collect());
    }
    ensure!(!threads.is_empty(), "no threads");
    Ok(threads)
}

/// The processes that the main thread of a process has started.
fn children(pid: u32) -> Result<Vec<u32>> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    text.split_whitespace().map(|pid| Ok(pid.parse()?)).collect()
}

/// Has every thread of a process try what it must not be able to: the thread, the call, and what the kernel
/// answers, errors below zero.
fn inject(pid: u32, exec: bool) -> Result<Vec<(u32, String, i64)>> {
    let script = tempfile::Builder::new().suffix(".py").tempfile()?;
    let flag = if exec { "True" } else { "False" };
    fs::write(&script, format!("TRY_EXEC = {flag}\n{}", include_str!("privileges/inject.py")))?;
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-q", "-batch"]);
    // Symbols are of no use here, and those of the agent take long to read: any program does.
    for setting in ["auto-solib-add off", "exec-file-mismatch off", "debuginfod enabled off"] {
        gdb.args(["-iex", &format!("set {setting}")]);
    }
    gdb.args(["/bin/true", "-p", &pid.to_string(), "-x"]).arg(script.path());
    let output = shell::output(&mut gdb)?;
    let text = String::from_utf8(output.stdout)?;
    let answers: Vec<_> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let thread = words.next()?.parse().ok()?;
            let call = words.next()?.to_owned();
            Some((thread, call, words.next()?.parse().ok()?))
        })
        .collect();
    ensure!(!answers.is_empty(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(answers)
}
