//! The processes of the attribution test and their expected records.

use crate::support::Client;
use dnscribe_tests::lab::{Host, Lab, SpecialAddress};
use dnscribe_tests::scripted::PORT;
use dnscribe_tests::{shell, worker};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

const WORKER: &str = env!("CARGO_BIN_EXE_dns-worker");
const CLIENT: &str = env!("CARGO_BIN_EXE_dns-client");
/// Kinds of servers, by address.
const SERVERS: [(SpecialAddress, &str, &str); 3] = [
    (SpecialAddress::Scripted, "serve", "reuseport"),
    (SpecialAddress::Secondary, "serve-parent", "workers"),
    (SpecialAddress::Restarted, "serve-threads", "threads"),
];
/// Number of processes that listen on one address with `SO_REUSEPORT`.
const REUSEPORT: usize = 3;
/// Time limit for each process.
const LIMIT: Duration = Duration::from_secs(30);
/// Number of attempts to reuse a pid, on a host where others start processes too.
const ATTEMPTS: usize = 50;
/// Uid of an unprivileged user.
const NOBODY: u32 = 65_534;

/// Expected results.
#[derive(Default)]
pub struct Expected {
    /// Suffix of all names.
    pub suffix: String,
    /// Number of questions by role.
    pub queries: BTreeMap<String, usize>,
    /// Kind of server by address.
    pub servers: BTreeMap<String, &'static str>,
    containers: BTreeMap<String, Value>,
}

impl Expected {
    pub fn uid(role: &str) -> u32 {
        if role == "nobody" { NOBODY } else { 0 }
    }

    pub fn container(&self, role: &str) -> Value {
        self.containers.get(role).cloned().unwrap_or_default()
    }
}

/// The running processes.
pub struct Workload<'a> {
    lab: &'a Lab,
    expected: Expected,
    servers: Vec<Child>,
    workers: Vec<(String, Child)>,
    early: Vec<(&'static str, Client)>,
    cgroups: PathBuf,
    /// Copy of the worker program under another name.
    other: PathBuf,
}

impl<'a> Workload<'a> {
    /// `cgroups` is the parent of the containers' cgroups.
    pub fn new(lab: &'a Lab, cgroups: PathBuf) -> Self {
        let suffix = format!("{}.who.example", lab.namespace(Host::Client));
        let folder = lab.folder().join("other");
        fs::create_dir_all(&folder).unwrap();
        let other = folder.join("dns-other");
        for copy in [&other, &folder.join("dns-worker")] {
            fs::copy(WORKER, copy).unwrap();
        }
        let servers = SERVERS.iter().flat_map(|(special, _, kind)| {
            [false, true].map(|ipv6| (lab.special_address(*special, ipv6).to_string(), *kind))
        });
        let expected = Expected {
            suffix,
            queries: BTreeMap::new(),
            servers: servers.collect(),
            containers: BTreeMap::new(),
        };
        let (servers, workers, early) = (Vec::new(), Vec::new(), Vec::new());
        Self { lab, expected, servers, workers, early, cgroups, other }
    }

    /// Starts the servers and waits until they listen.
    pub fn start_servers(&mut self) {
        for (special, mode, _) in SERVERS {
            for ipv6 in [false, true] {
                let at = self.at(special, ipv6).to_string();
                let processes = if mode == "serve" { REUSEPORT } else { 1 };
                for _ in 0..processes {
                    let mut child = self.lab.spawn(Host::Server, &[WORKER, mode, &at]).unwrap();
                    let mut line = String::new();
                    let output = child.stdout.as_mut().unwrap();
                    BufReader::new(output).read_line(&mut line).unwrap();
                    assert_eq!(line.trim(), "ready", "{mode} {at}");
                    self.servers.push(child);
                }
            }
        }
    }

    /// Opens sockets before the agent starts.
    pub fn open_early_sockets(&mut self) {
        for mode in ["connected", "unconnected"] {
            let server = self.lab.special_address(SpecialAddress::Scripted, false);
            self.early.push((mode, Client::start(self.lab, mode, server)));
        }
    }

    /// Starts all workers.
    pub fn start_workers(&mut self) {
        self.query_from_early_sockets();
        self.containers();
        for ipv6 in [false, true] {
            let [one, two, three] = SERVERS.map(|(special, ..)| self.at(special, ipv6).to_string());
            let all = [one.as_str(), &two, &three];
            for socket in ["udp", "free"] {
                for _ in 0..2 {
                    self.ask("short", socket, 1, "wait", &all);
                    self.ask("gone", socket, 1, "leave", &all[1..]);
                    self.ask("long", socket, 30, "wait", &all);
                }
            }
            for _ in 0..2 {
                self.ask("tcp", "tcp", 2, "wait", &all[..1]);
                self.ask("tcp-gone", "tcp", 1, "leave", &all[..1]);
                self.worker("threads", 3, &[WORKER, "threads"], &[&three]);
            }
            let other = self.other.display().to_string();
            self.worker("exec", 2, &[WORKER, "exec"], &[&other, &one]);
            self.worker("pass", 2, &[WORKER, "pass"], &[&two]);
            self.ask_in("pid-namespace", &["unshare", "--pid", "--fork"], &one);
            self.ask_in("user-namespace", &["unshare", "--user", "--map-root-user"], &one);
            self.forks(&two);
            self.digs(&one);
        }
        self.getent();
        self.reuse_pid();
    }

    /// Waits for the end of all; returns the expected results.
    pub fn finish(mut self) -> Expected {
        for (role, child) in &mut self.workers {
            let status = shell::wait(child, LIMIT).unwrap();
            assert!(status.success(), "{role}: {status}");
        }
        std::mem::take(&mut self.expected)
    }

    fn at(&self, special: SpecialAddress, ipv6: bool) -> SocketAddr {
        SocketAddr::new(self.lab.special_address(special, ipv6), PORT)
    }

    fn count(&mut self, role: &str, queries: usize) {
        *self.expected.queries.entry(role.to_owned()).or_default() += queries;
    }

    fn spawn(&mut self, role: &str, queries: usize, words: &[&str]) -> u32 {
        self.count(role, queries);
        let child = self.lab.spawn(Host::Client, words).unwrap();
        let pid = child.id();
        self.workers.push((role.to_owned(), child));
        pid
    }

    /// Starts a program with role and suffix between its arguments.
    fn worker(&mut self, role: &str, queries: usize, before: &[&str], after: &[&str]) -> u32 {
        let suffix = self.expected.suffix.clone();
        self.spawn(role, queries, &[before, &[role, &suffix], after].concat())
    }

    fn ask(&mut self, role: &str, socket: &str, count: usize, how: &str, servers: &[&str]) -> u32 {
        let number = count.to_string();
        let after = [&[number.as_str(), how], servers].concat();
        self.worker(role, count, &[WORKER, "ask", socket], &after)
    }

    /// Starts the worker by way of another command.
    fn ask_in(&mut self, role: &str, command: &[&str], server: &str) {
        let before = [command, &[WORKER, "ask", "udp"]].concat();
        self.worker(role, 1, &before, &["1", "wait", server]);
    }

    fn query_from_early_sockets(&mut self) {
        let short_hash = worker::short_hash(CLIENT);
        for (mode, client) in &mut self.early {
            let name = format!("q0.p{}.cdns-client.{short_hash}.{mode}-early", client.pid());
            let (pid, _) = client.ask(&format!("{name}.{}", self.expected.suffix));
            assert_eq!(pid, client.pid());
        }
        for mode in ["connected-early", "unconnected-early"] {
            self.count(mode, 1);
        }
    }

    /// Starts a process in a cgroup of each container runtime.
    fn containers(&mut self) {
        let id = |number: u8| format!("{number:02x}").repeat(32);
        let server = self.at(SpecialAddress::Scripted, false).to_string();
        let cgroups: [(&str, String, Option<&str>); 9] = [
            (
                "containerd-systemd",
                format!(
                    "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/\
                     cri-containerd-{}.scope",
                    id(1)
                ),
                Some("containerd"),
            ),
            ("containerd-cgroupfs", format!("kubepods/besteffort/pod2/{}", id(2)), None),
            (
                "crio-systemd",
                format!("kubepods.slice/kubepods-pod3.slice/crio-{}.scope", id(3)),
                Some("cri-o"),
            ),
            ("crio-cgroupfs", format!("kubepods/burstable/pod4/crio-{}", id(4)), Some("cri-o")),
            ("docker-systemd", format!("system.slice/docker-{}.scope", id(5)), Some("docker")),
            ("docker-cgroupfs", format!("docker/{}", id(6)), Some("docker")),
            (
                "podman-systemd",
                format!("machine.slice/libpod-{}.scope/container", id(7)),
                Some("podman"),
            ),
            ("podman-cgroupfs", format!("libpod_parent/libpod-{}", id(8)), Some("podman")),
            ("container-gone", format!("system.slice/docker-{}.scope", id(9)), Some("docker")),
        ];
        for (number, (role, path, runtime)) in (1..).zip(cgroups) {
            let directory = self.cgroups.join(path);
            fs::create_dir_all(&directory).unwrap();
            let container = match runtime {
                Some(runtime) => json!({ "id": id(number), "runtime": runtime }),
                None => json!({ "id": id(number) }),
            };
            self.expected.containers.insert(role.to_owned(), container);
            let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", directory.display());
            let how = if role == "container-gone" { "leave" } else { "wait" };
            let suffix = self.expected.suffix.clone();
            let ask = [WORKER, "ask", "free", role, &suffix, "1", how, &server];
            // The cgroup comes first: a namespace of the lab has no /sys/fs/cgroup.
            let inner = self.lab.command(Host::Client, &ask);
            let mut command = Command::new("sh");
            command.args(["-c", &enter, "sh"]).arg(inner.get_program()).args(inner.get_args());
            self.workers.push((role.to_owned(), command.spawn().unwrap()));
            self.count(role, 1);
        }
    }

    /// Starts children of a shell that use its socket without an `exec`.
    fn forks(&mut self, server: &str) {
        const CHILDREN: usize = 3;
        let address: SocketAddr = server.parse().unwrap();
        let short_hash =
            worker::short_hash(&fs::canonicalize("/bin/bash").unwrap().to_string_lossy());
        let labels =
            ["cbash", &short_hash, "fork"].into_iter().chain(self.expected.suffix.split('.'));
        let rest = labels
            .fold(String::new(), |rest, label| format!("{rest}\\x{:02x}{label}", label.len()));
        let script = format!(
            "exec 3<>/dev/udp/{}/{PORT}\n\
             for n in 1 2 {CHILDREN}; do (\n\
             pid=p$BASHPID; length=$(printf %02x ${{#pid}})\n\
             printf \"\\x12\\x3$n\\x01\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x02q$n\\x$length$pid\
             {rest}\\x00\\x00\\x01\\x00\\x01\" >&3\n) & done\nwait",
            address.ip()
        );
        self.spawn("fork", CHILDREN, &["bash", "-c", &script]);
    }

    fn digs(&mut self, server: &str) {
        let address: SocketAddr = server.parse().unwrap();
        let dig = fs::canonicalize("/usr/bin/dig").unwrap();
        let short_hash = worker::short_hash(&dig.to_string_lossy());
        for (role, before, how) in [
            ("dig", &[][..], "+notcp"),
            ("dig-tcp", &[], "+tcp"),
            ("nobody", &["setpriv", "--reuid=65534", "--clear-groups"], "+notcp"),
        ] {
            let name = format!("q0.p$$.cdig.{short_hash}.{role}.{}", self.expected.suffix);
            let script = format!("exec dig @{} +tries=1 {how} +time=5 {name}", address.ip());
            self.spawn(role, 1, &[before, &["sh", "-c", &script]].concat());
        }
    }

    /// Uses the C library's resolver, which sends two queries in one call (`sendmmsg`).
    fn getent(&mut self) {
        let config = self.lab.folder().join("resolv.conf");
        let server = self.lab.special_address(SpecialAddress::Scripted, false);
        fs::write(&config, format!("nameserver {server}\noptions timeout:5 attempts:1\n")).unwrap();
        let program = fs::canonicalize("/usr/bin/getent").unwrap();
        let short_hash = worker::short_hash(&program.to_string_lossy());
        // In a mount namespace of its own, like all commands on a host of the lab.
        let script = format!(
            "mount --bind {} /etc/resolv.conf && exec getent ahosts q0.p$$.cgetent.{short_hash}.getent.{}",
            config.display(),
            self.expected.suffix
        );
        self.spawn("getent", 2, &["sh", "-c", &script]);
    }

    /// Starts processes with another executable and the same pid in turn: one that runs long enough
    /// to be looked up, and one that ends before; with the same name and with another.
    fn reuse_pid(&mut self) {
        let server = self.at(SpecialAddress::Secondary, false).to_string();
        let suffix = self.expected.suffix.clone();
        for (count, how) in [(20, "wait"), (1, "leave")] {
            for name in ["dns-worker", "dns-other"] {
                let second = self.lab.folder().join("other").join(name).display().to_string();
                let number = count.to_string();
                let rest = ["ask", "udp", "pid-again", &suffix, &number, how, &server];
                let pid = self.spawn("pid-again", count, &[&[WORKER], &rest[..]].concat());
                let (_, mut child) = self.workers.pop().unwrap();
                assert!(shell::wait(&mut child, LIMIT).unwrap().success());
                self.spawn_with_pid(pid, count, &[&[second.as_str()], &rest[..]].concat());
            }
        }
    }

    /// Starts processes until one has this pid; every attempt sends queries.
    fn spawn_with_pid(&mut self, pid: u32, count: usize, words: &[&str]) {
        let mut pids = BTreeSet::new();
        let had = (0..ATTEMPTS).any(|_| {
            fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
            let got = self.spawn("pid-again", 0, words);
            // Where others start processes too, attempts may get one wrong pid several times: they ask for the same names.
            if pids.insert(got) {
                self.count("pid-again", count);
            }
            let (_, child) = self.workers.last_mut().unwrap();
            assert!(shell::wait(child, LIMIT).unwrap().success());
            self.workers.pop();
            got == pid
        });
        assert!(had, "pid {pid} could not be reused");
    }
}

impl Drop for Workload<'_> {
    fn drop(&mut self) {
        let workers = self.workers.iter_mut().map(|(_, child)| child);
        for child in self.servers.iter_mut().chain(workers) {
            // A parent of servers ends when its standard input is closed, and its children with it.
            drop(child.stdin.take());
            shell::end(child);
        }
    }
}
