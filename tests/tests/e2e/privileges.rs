//! Privileges of an agent that was started as root: it keeps only those for its work.

mod root_files;

use crate::isolated_cgroup::IsolatedCgroup;
use crate::support::{Client, RECORD_LIMIT, agent, is_transaction, lab, transaction};
use anyhow::{Result, ensure};
use dnscribe_tests::agent::{Agent, EndedAgent};
use dnscribe_tests::dnsperf::Load;
use dnscribe_tests::lab::Host;
use dnscribe_tests::ledger::counter;
use dnscribe_tests::{archive, environment, http, ledger, shell};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io};
use tempfile::TempDir;

/// `-EPERM` and `-EACCES`.
const REFUSALS: [i64; 2] = [-1, -13];

/// Options of an agent with all kinds of threads.
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
fn drops_root_privileges_within_a_second() {
    let Some((lab, _alone)) = lab() else { return };
    let isolated = IsolatedCgroup::enter(&lab);
    let queries = lab.start_dnsperf(Host::Client, lab.resolver_addr(), &load()).unwrap();
    let started = Instant::now();
    let agent = start_agent(&[&isolated.options()[..], TWO_THREADS].concat());
    std::thread::sleep(Duration::from_secs(1).saturating_sub(started.elapsed()));
    let threads = threads(agent.pid()).unwrap();
    let names: BTreeSet<&str> = threads.iter().map(|thread| thread["Name"].as_str()).collect();
    for wanted in ["dnscribe", "metrics", "sink-stdout", "flows-0", "flows-1"] {
        assert!(names.contains(wanted), "{names:?}");
    }
    assert_confined(&threads);
    assert!(queries.wait_with_output().unwrap().status.success());
    let end = finish(agent);
    let said = "privileges dropped: user nobody (65534), capabilities: none";
    assert!(end.stderr.contains(said), "{}", end.stderr);
    assert!(!end.stderr.contains("WARN"), "{}", end.stderr);
}

/// A folder that everyone may read, and one in it of the user that the agent becomes.
fn folders() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let out = directory.path().join("out");
    fs::create_dir(&out).unwrap();
    chown(&out, Some(65534), Some(65534)).unwrap();
    (directory, out)
}

/// At every log level, with every kind of sink, each thread is confined. At level trace there is one more thread.
#[test]
fn every_thread_is_confined_at_every_log_level() {
    let Some((_lab, _alone)) = lab() else { return };
    let (directory, out) = folders();
    let config = directory.path().join("dnscribe.yaml");
    let file = format!("file:{}", out.join("records").display());
    let sinks = ["--sink", "stdout", "--sink", "null", "--sink", &file, "--sink", "kafka"];
    // A flag, a variable, and a key of the configuration, where given.
    let levels = [
        ("info", "", "", ""),
        ("debug", "-v", "", ""),
        ("trace", "-vv", "", ""),
        ("trace", "", "DNSCRIBE_LOG__LEVEL", ""),
        ("trace", "", "DNSCRIBE_LOG", ""),
        ("trace", "", "", "log: { level: trace }\n"),
    ];
    for (number, (level, flag, variable, key)) in levels.into_iter().enumerate() {
        let given = |word: &&str| !word.is_empty();
        let variable = Some(variable).filter(given).map(|name| (name, level));
        fs::write(&config, format!("version: 1\n{key}")).unwrap();
        let mut command = Command::new(environment::binary().unwrap());
        command.args(["run", "--config", config.to_str().unwrap(), "--brokers", "127.0.0.1:1"]);
        command.args(sinks).args(["--stream", "ledger"]).args(Some(flag).filter(given));
        command.env("DNSCRIBE_PRIVILEGES__DROP", "strict").envs(variable);
        let agent = Agent::start(&mut command).unwrap();
        let threads = threads(agent.pid()).unwrap();
        assert_confined(&threads);
        let names: BTreeSet<&str> = threads.iter().map(|thread| thread["Name"].as_str()).collect();
        assert_eq!(names.contains("kernel-log"), level == "trace", "{number}: {names:?}");
        for wanted in ["sink-stdout", "sink-file", "sink-kafka"] {
            assert!(names.contains(wanted), "{number}: {names:?}");
        }
        let end = agent.kill().unwrap();
        assert!(end.stderr.contains("capabilities: none"), "{}", end.stderr);
    }
}

/// Where no other process can be started, nothing is done with privileges instead: ICMP errors are missing.
#[test]
fn no_thread_replaces_the_helper() {
    let Some((_lab, _alone)) = lab() else { return };
    let mut check = without_children("check");
    let checked = shell::output(check.args(["--sink", "null", "--metrics-listen", "off"])).unwrap();
    let checked = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.contains("its privileged helper cannot start"), "{checked}");
    assert!(checked.contains("remedy: allow the program to execute itself"), "{checked}");
    let mut run = without_children("run");
    let agent = Agent::start(run.args(["-vv", "--stream", "ledger"])).unwrap();
    assert_eq!(children(agent.pid()).unwrap(), Vec::<u32>::new());
    assert_confined(&threads(agent.pid()).unwrap());
    let end = agent.kill().unwrap();
    for said in [
        "cannot start the privileged helper",
        "allow the program to execute itself",
        "ICMP errors of connected sockets only (the privileged helper is missing)",
        "capabilities: none",
    ] {
        assert!(end.stderr.contains(said), "{said}: {}", end.stderr);
    }
}

/// A library that an injected variable loads starts a thread before the drop, which nothing can confine any more.
#[test]
fn thread_from_before_the_drop_is_named_and_fatal_if_strict() {
    let Some((_lab, _alone)) = lab() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (source, library) = (directory.path().join("stray.c"), directory.path().join("stray.so"));
    fs::write(&source, include_str!("privileges/stray.c")).unwrap();
    let paths = [&library, &source].map(|path| path.to_str().unwrap());
    shell::run(&["cc", "-shared", "-fPIC", "-pthread", "-o", paths[0], paths[1]]).unwrap();
    let run = |drop: &str| {
        let mut command = Command::new(environment::binary().unwrap());
        command.args(["run", "--sink", "null", "--metrics-listen", "off", "--duration", "1s"]);
        command.env("LD_PRELOAD", &library).env("DNSCRIBE_PRIVILEGES__DROP", drop);
        command.output().unwrap()
    };
    let (auto, strict) = (run("auto"), run("strict"));
    let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    for output in [&auto, &strict] {
        let said = said(output);
        let thread = said.split("thread stray (").nth(1).expect(&said);
        for excess in ["user root (0)", "capabilities: ", "no no_new_privs", "no seccomp filter"] {
            assert!(thread.contains(excess), "{excess}: {said}");
        }
    }
    assert!(auto.status.success(), "{}", said(&auto));
    assert_eq!(strict.status.code(), Some(3), "{}", said(&strict));
    assert!(said(&strict).contains("set privileges.drop to auto"), "{}", said(&strict));
}

#[test]
fn injected_system_calls_are_refused() {
    let Some((lab, _alone)) = lab() else { return };
    let isolated = IsolatedCgroup::enter(&lab);
    let agent = start_agent(&[&isolated.options()[..], TWO_THREADS].concat());
    let queries = lab.start_dnsperf(Host::Client, lab.resolver_addr(), &load()).unwrap();
    let answers = inject(agent.pid(), true).unwrap();
    assert!(queries.wait_with_output().unwrap().status.success());
    let end = finish(agent);
    let seen = counter(end.final_ledger().unwrap(), &["pairing", "queries"]).unwrap();
    assert!(
        seen >= u64::from(load().queries),
        "{seen}: too few queries while system calls were injected"
    );
    let threads: BTreeSet<_> = answers.iter().map(|(thread, ..)| thread).collect();
    assert!(threads.len() >= 5, "{answers:?}");
    assert_eq!(answers.len(), threads.len() * 6, "{answers:?}");
    for (thread, call, result) in &answers {
        assert!(REFUSALS.contains(result), "{call} by thread {thread}: {result}");
    }
}

#[test]
fn injected_system_calls_succeed_with_kept_privileges() {
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

/// The privileged helper reads what the agent may not: executables of other users, and ICMP errors
/// in other network namespaces. Neither the helper nor anything else stays behind.
#[test]
fn helper_reads_what_agent_may_not() {
    let Some((lab, _alone)) = lab() else { return };
    let agent = start_agent(&["--stream", "transactions,ledger"]);
    let helper = children(agent.pid()).unwrap();
    assert_eq!(helper.len(), 1, "{helper:?}");
    assert_eq!(children_named(agent.pid(), "dnscribe-files"), Vec::<u32>::new());
    for thread in threads(helper[0]).unwrap() {
        // CAP_NET_RAW, CAP_SYS_PTRACE, CAP_SYS_ADMIN: bits 13, 19, 21.
        assert_eq!(thread["CapPrm"], "0000000000282000", "{}", thread["Name"]);
        assert_eq!((&*thread["NoNewPrivs"], &*thread["Seccomp"]), ("1", "2"));
        assert!(thread["Uid"].starts_with("65534\t65534"), "{}", thread["Uid"]);
    }
    let (there, refused) = ("helper.wild.example.com", "closed.wild.example.com");
    // Both processes live until they are looked up.
    let mut asks = Client::start(&lab, "connected", lab.resolver_addr());
    let mut asks_in_vain = Client::start(&lab, "connected", lab.closed_addr());
    asks.ask(there);
    asks_in_vain.ask(refused);
    let find = |records: &[Value], qname: &str| {
        records.iter().find(|one| is_transaction(one, "client", lab.client_addr(), qname)).cloned()
    };
    let records = agent
        .wait_for("both queries", RECORD_LIMIT, |records| {
            [there, refused].iter().all(|qname| find(records, qname).is_some())
        })
        .unwrap();
    let process = find(&records, there).unwrap()["process"].clone();
    let exe = process["exe"].as_str().unwrap_or_default();
    assert!(exe.ends_with("/dns-client"), "{process} {}", agent.log());
    assert_eq!(find(&records, refused).unwrap()["status"], "icmp_error");
    agent.kill().unwrap();
    shell::wait_for("the helper's end", RECORD_LIMIT, || {
        Ok((!Path::new(&format!("/proc/{}", helper[0])).exists()).then_some(()))
    })
    .unwrap();
}

/// In a directory of the new user, the agent rotates and reopens files and reloads its
/// configuration without any capability.
#[test]
fn files_of_user_need_no_capability() {
    let Some((lab, _alone)) = lab() else { return };
    let (directory, out) = folders();
    let config = directory.path().join("dnscribe.yaml");
    fs::write(&config, "version: 1\nfile: { rotate_bytes: 64KiB }\n").unwrap();
    let file = out.join("records");
    let sink = format!("file:{}", file.display());
    let arguments = ["--config", config.to_str().unwrap(), "--sink", &sink, "--sink", "stdout"];
    let agent = start_agent(&[&arguments[..], &["--stream", "transactions,ledger"]].concat());
    lab.dnsperf(&Load { queries: 1000, ..load() }).unwrap();
    fs::rename(&file, out.join("moved")).unwrap();
    // Like an editor, replaces the file by another one.
    let other = directory.path().join("other.yaml");
    fs::write(&other, "version: 1\npairing: { query_timeout: 2s }\n").unwrap();
    fs::rename(&other, &config).unwrap();
    agent.signal(Signal::HUP).unwrap();
    shell::wait_for("the new file", RECORD_LIMIT, || Ok(file.exists().then_some(()))).unwrap();
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
    assert!(!end.stderr.contains("ERROR"), "{}", end.stderr);
}

/// The user without privileges creates folders and files of a Parquet sink, whose directory it got before the drop, and
/// completes them when the agent ends.
#[test]
fn fills_a_directory_with_parquet_after_the_drop() {
    let Some((lab, _alone)) = lab() else { return };
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let columns = directory.path().join("state/columns");
    let sink = format!("parquet:{}", columns.display());
    let agent = agent(&["--sink", &sink, "--sink", "stdout"]);
    assert_confined(&threads(agent.pid()).unwrap());
    lab.dig(&["www.example.com"]).unwrap();
    let asked = transaction(&agent, &lab, "www.example.com");
    let end = agent.terminate().unwrap();
    assert!(!end.stderr.contains("ERROR"), "{}", end.stderr);
    assert_eq!(columns.metadata().unwrap().uid(), 65534);
    let rows = archive::read(&columns.join("transactions")).unwrap();
    let row = rows.iter().find(|row| row["event_id"] == asked["event_id"]).unwrap();
    assert_eq!(row["process"], asked["process"], "{row}");
    let ledger = end.final_ledger().unwrap();
    let counted = |place| counter(ledger, &["delivery", "parquet", "transactions", place]).unwrap();
    assert_eq!([counted("records"), counted("delivered")], [rows.len() as u64; 2]);
}

/// A port that only root may bind is bound before the drop, and needs no capability after it.
#[test]
fn metrics_at_a_port_of_root_need_no_capability() {
    let Some((_lab, _alone)) = lab() else { return };
    let address = "127.0.0.1:353".parse().unwrap();
    let mut command = Command::new(environment::binary().unwrap());
    command.args(["run", "--sink", "null", "--metrics-listen", "127.0.0.1:353"]);
    let mut agent = command.stderr(Stdio::null()).spawn().unwrap();
    shell::wait_for("metrics", RECORD_LIMIT, || {
        Ok(http::get(address, None, "/readyz").is_ok_and(|(code, _)| code == 200).then_some(()))
    })
    .unwrap();
    assert_confined(&threads(agent.id()).unwrap());
    agent.kill().unwrap();
    agent.wait().unwrap();
}

#[test]
fn unknown_user_is_logged_and_fatal_if_strict() {
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

/// The agent without nice threads, which need a capability where `RLIMIT_NICE` is fixed.
fn start_agent(arguments: &[impl AsRef<OsStr>]) -> Agent {
    let mut command = Command::new(environment::binary().unwrap());
    Agent::start(command.arg("run").args(arguments).env("DNSCRIBE_CAPTURE__NICE", "0")).unwrap()
}

/// The children of a process with this name.
fn children_named(pid: u32, name: &str) -> Vec<u32> {
    let children = children(pid).unwrap().into_iter();
    children.filter(|pid| threads(*pid).unwrap().iter().all(|one| one["Name"] == name)).collect()
}

/// A command of dnscribe that cannot start processes, only threads.
fn without_children(command: &str) -> Command {
    let mut python = Command::new("python3");
    python.args(["-c", include_str!("privileges/no_children.py")]);
    python.arg(environment::binary().unwrap()).arg(command);
    python
}

/// Checks that every thread is user nobody, without any capability, and filtered.
fn assert_confined(threads: &[BTreeMap<String, String>]) {
    let nobody = "65534\t65534\t65534\t65534";
    for thread in threads {
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
}

fn finish(agent: Agent) -> EndedAgent {
    let end = agent.terminate().unwrap();
    assert!(end.status.success(), "{}", end.stderr);
    assert_eq!(ledger::losses(end.final_ledger().unwrap()).unwrap(), 0, "{}", end.stderr);
    end
}

/// Returns /proc's status of each thread of a process. Threads may end meanwhile.
fn threads(pid: u32) -> Result<Vec<BTreeMap<String, String>>> {
    let mut threads = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = match fs::read_to_string(task?.path().join("status")) {
            Err(error) if ended(&error) => continue,
            text => text?,
        };
        let fields = text.lines().filter_map(|line| line.split_once(":\t"));
        threads.push(fields.map(|(name, value)| (name.into(), value.trim().into())).collect());
    }
    ensure!(!threads.is_empty(), "no threads");
    Ok(threads)
}

/// Whether a file of /proc could not be read because its thread has ended.
fn ended(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::SRCH)
}

/// Returns the processes that the main thread of a process has started.
fn children(pid: u32) -> Result<Vec<u32>> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    text.split_whitespace().map(|pid| Ok(pid.parse()?)).collect()
}

/// Makes every thread of a process try forbidden system calls. Returns thread, call and result;
/// errors are negative.
fn inject(pid: u32, exec: bool) -> Result<Vec<(u32, String, i64)>> {
    let script = tempfile::Builder::new().suffix(".py").tempfile()?;
    let flag = if exec { "True" } else { "False" };
    fs::write(&script, format!("TRY_EXEC = {flag}\n{}", include_str!("privileges/inject.py")))?;
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-q", "-batch"]);
    // Symbols are not needed here, and reading the agent's takes long: any program will do.
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
