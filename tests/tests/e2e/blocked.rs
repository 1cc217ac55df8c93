//! Whatever is blocked for good, the ring is read: readers of stdout and of the log that read nothing, a dead broker,
//! and a spool that cannot be opened.

use crate::support::{RECORD_LIMIT, lab, records};
use dnscribe_tests::agent::free_address;
use dnscribe_tests::dnsperf::{DnsperfReport, Load};
use dnscribe_tests::lab::Host;
use dnscribe_tests::{environment, http, ledger, shell};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, fcntl_getfl, fcntl_setfl, mkfifoat, open};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::fs::{self, Permissions};
use std::io::{self, PipeWriter, Read, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Longest time in which the thread that reads the ring may do something else. Most of it is for a machine that is
/// short of processors.
const LONGEST_TURN_SECONDS: f64 = 1.0;

/// Kills the agent if the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether who writes to this pipe waits for its reader.
fn is_full(pipe: &PipeWriter) -> anyhow::Result<bool> {
    let mut polled = [PollFd::new(pipe, PollFlags::OUT)];
    Ok(poll(&mut polled, Some(&Timespec::default()))? == 0)
}

/// Fills a pipe, so that the next who writes to it waits for its reader.
fn fill(mut pipe: &PipeWriter) {
    let flags = fcntl_getfl(pipe).unwrap();
    fcntl_setfl(pipe, flags | OFlags::NONBLOCK).unwrap();
    while pipe.write(&[b'\n'; 512]).is_ok() {}
    fcntl_setfl(pipe, flags).unwrap();
}

/// The value of a metric without labels, or with the labels as part of its name.
fn metric(page: &str, name: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    assert!(line.is_some(), "no {name} in {page}");
    line.unwrap().parse().unwrap()
}

/// Reads a pipe to its end.
fn drained(mut pipe: impl Read + Send + 'static) -> JoinHandle<io::Result<u64>> {
    thread::spawn(move || io::copy(&mut pipe, &mut io::sink()))
}

#[test]
fn blocked_readers_and_sinks_do_not_hold_up_the_ring() {
    let Some((lab, _alone)) = lab() else { return };
    let directory = tempfile::tempdir().unwrap();
    // The agent makes files there after it has become another user.
    fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
    let at = |name: &str| directory.path().join(name);
    let config = |linger: &str, files: &[&str]| {
        let files = files.iter().map(|name| format!("file:{}", at(name).display()));
        let sinks: Vec<_> =
            ["stdout", "kafka"].map(str::to_owned).into_iter().chain(files).collect();
        let config = json!({
            "version": 1,
            "capture": { "threads": 1, "nice": 0 },
            // A busy machine must not make it leave out queries.
            "sampling": { "mode": "off" },
            "sinks": sinks,
            "streams": ["transactions", "ledger"],
            "kafka": { "brokers": ["127.0.0.1:1"], "options": { "linger.ms": linger } },
            "spool": { "directory": at("spool") },
            "drain_timeout": "2s",
        });
        fs::write(at("dnscribe.yaml"), config.to_string()).unwrap();
    };
    config("5", &["records"]);
    let admin = free_address().unwrap();
    let [(stdout, out), (stderr, log)] = [io::pipe().unwrap(), io::pipe().unwrap()];
    let mut agent = Running(
        Command::new(environment::binary().unwrap())
            .args(["run", "--config", at("dnscribe.yaml").to_str().unwrap()])
            .args(["--output", "json", "--metrics-listen", &admin.to_string()])
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(log.try_clone().unwrap())
            .spawn()
            .unwrap(),
    );
    let get = |path: &str| http::get(admin, None, path);
    shell::wait_for("the agent", RECORD_LIMIT * 3, || {
        Ok(get("/readyz").is_ok_and(|(status, _)| status == 200).then_some(()))
    })
    .unwrap();

    let load = Load { queries: 20_000, qps: Some(1000), clients: 40, ..Load::default() };
    let queries = lab.start_dnsperf(Host::Client, lab.resolver_addr(), &load).unwrap();
    fill(&log);
    shell::wait_for("full pipes", RECORD_LIMIT, || {
        Ok((is_full(&out)? && is_full(&log)?).then_some(()))
    })
    .unwrap();
    let pid = Pid::from_child(&agent.0);
    // A reload adds a file, and is in force once that has records.
    let reload = |linger: &str, files: &[&str]| {
        config(linger, files);
        kill_process(pid, Signal::HUP).unwrap();
        let file = at(files.last().unwrap());
        shell::wait_for("the reload", RECORD_LIMIT, || {
            Ok(fs::metadata(&file).is_ok_and(|file| file.len() > 0).then_some(()))
        })
        .unwrap();
    };
    // A pipe in the place of a segment: the next sink waits for a writer, which does not come.
    let slot = fs::read_dir(at("spool")).unwrap().next().unwrap().unwrap().path().join("0");
    let folder = slot.join("lookups");
    fs::create_dir_all(&folder).unwrap();
    let segment = folder.join(format!("{:020}.seg", 1));
    mkfifoat(CWD, &segment, Mode::RWXU).unwrap();
    let owner = fs::metadata(&slot).unwrap();
    for path in [&folder, &segment] {
        chown(path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    reload("7", &["records", "second"]);
    // The sink that is still being opened is replaced, too.
    reload("8", &["records", "second", "third"]);
    shell::wait_for("the opening of the spool", RECORD_LIMIT * 2, || {
        Ok(open(&segment, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()).ok())
    })
    .map(drop)
    .unwrap();
    fs::remove_file(&segment).unwrap();
    let perf = DnsperfReport::wait(queries).unwrap();
    let (_, page) = get("/metrics").unwrap();
    let longest = metric(&page, "dnscribe_longest_turn_seconds");
    assert!(longest < LONGEST_TURN_SECONDS, "{longest} s away from the ring");
    assert!(is_full(&out).unwrap() && is_full(&log).unwrap(), "they are still blocked");

    drop((out, log));
    let drains = [drained(stdout), drained(stderr)];
    kill_process(pid, Signal::TERM).unwrap();
    let status = shell::wait_for("the end", Duration::from_mins(1), || Ok(agent.0.try_wait()?));
    assert!(status.unwrap().success());
    for drain in drains {
        drain.join().unwrap().unwrap();
    }
    let records = records(&at("records"));
    let last = records.last().unwrap();
    assert_eq!(last["final"], true);
    ledger::verify(last).unwrap();
    let lost = ledger::counter(last, &["kernel", "cgroup", "lost_ring_full"]).unwrap();
    assert_eq!(lost, 0, "{last:#}");
    let names = records.iter().filter(|record| {
        record["vantage"] == "client" && record["client_ip"] == lab.client_addr().to_string()
    });
    assert_eq!(names.count() as u64, perf.sent, "a query has no record");
}
