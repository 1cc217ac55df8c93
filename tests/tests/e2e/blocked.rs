//! Whatever is blocked for good, the ring is read: readers of stdout and of the log that read nothing, a dead broker,
//! and a spool that cannot be opened.

use crate::support::{RECORD_LIMIT, lab, records};
use dnscribe_tests::agent::free_address;
use dnscribe_tests::dnsperf::{DnsperfReport, Load};
use dnscribe_tests::lab::Host;
use dnscribe_tests::{environment, http, ledger, shell};
use rustix::fs::{CWD, Mode, OFlags, fcntl_getfl, fcntl_setfl, mkfifoat, open};
use rustix::io::ioctl_fionread;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::fs::{self, Permissions};
use std::io::{self, PipeWriter, Read, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Longest time in which the thread that reads the ring may do something else. Most of it is for a machine that is
/// short of processors.
const LONGEST_TURN_SECONDS: f64 = 1.0;

/// A pipe with this much in it is as good as full: no line fits.
const FULL_PIPE_BYTES: u64 = 60 << 10;

/// Kills the agent if the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_full(pipe: &impl AsFd) -> anyhow::Result<bool> {
    Ok(ioctl_fionread(pipe)? >= FULL_PIPE_BYTES)
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
    let config = |linger: &str, more: &[&str]| {
        let file = format!("file:{}", at("records").display());
        let sinks = [&["stdout", "kafka", &file], more].concat();
        let config = json!({
            "version": 1,
            "capture": { "threads": 1, "nice": 0 },
            "sinks": sinks,
            "streams": ["transactions", "ledger"],
            "kafka": { "brokers": ["127.0.0.1:1"], "options": { "linger.ms": linger } },
            "spool": { "directory": at("spool") },
            "drain_timeout": "2s",
        });
        fs::write(at("dnscribe.yaml"), config.to_string()).unwrap();
    };
    config("5", &[]);
    let admin = free_address().unwrap();
    let (stderr, log) = io::pipe().unwrap();
    let mut agent = Running(
        Command::new(environment::binary().unwrap())
            .args(["run", "--config", at("dnscribe.yaml").to_str().unwrap()])
            .args(["--output", "json", "--metrics-listen", &admin.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.try_clone().unwrap())
            .spawn()
            .unwrap(),
    );
    let stdout = agent.0.stdout.take().unwrap();
    let get = |path: &str| http::get(admin, None, path);
    shell::wait_for("the agent", RECORD_LIMIT * 3, || {
        Ok(get("/readyz").is_ok_and(|(status, _)| status == 200).then_some(()))
    })
    .unwrap();

    let load = Load { queries: 20_000, qps: Some(2000), clients: 40, ..Load::default() };
    let queries = lab.start_dnsperf(Host::Client, lab.resolver_addr(), &load).unwrap();
    fill(&log);
    drop(log);
    shell::wait_for("full pipes", RECORD_LIMIT, || {
        Ok((is_full(&stdout)? && is_full(&stderr)?).then_some(()))
    })
    .unwrap();
    let pid = Pid::from_child(&agent.0);
    let reload = |what: &str| {
        kill_process(pid, Signal::HUP).unwrap();
        shell::wait_for(what, RECORD_LIMIT, || {
            Ok(get("/metrics").is_ok_and(|(_, page)| page.contains(what)).then_some(()))
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
    config("7", &["null"]);
    reload("sink=\"null\"");
    // The sink that is still being opened is replaced, too.
    let another = format!("file:{}", at("more").display());
    config("8", &["null", &another]);
    reload("sink=\"file_2\"");
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
    assert!(is_full(&stdout).unwrap() && is_full(&stderr).unwrap(), "they are still blocked");

    let drains = [drained(stdout), drained(stderr)];
    kill_process(pid, Signal::TERM).unwrap();
    let status = shell::wait_for("the end", Duration::from_secs(60), || Ok(agent.0.try_wait()?));
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
