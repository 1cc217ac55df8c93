//! `dnscribe trace` on real programs.

use crate::support::lab;
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::name_server::NameServer;
use dnscribe_tests::wire::{self, Reply};
use dnscribe_tests::{environment, shell};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::net::{IpAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

/// A search list like those of Kubernetes.
const SEARCH: &str =
    "search shop.svc.cluster.test svc.cluster.test cluster.test\noptions ndots:5\n";

/// Time limit for a traced program to start.
const START: Duration = Duration::from_mins(1);

/// Starts a resolver that answers A and never anything else.
fn without_aaaa(lab: &Lab) -> NameServer {
    NameServer::start(lab, 54, |query| {
        let is_a = wire::qtype(query) == wire::A;
        is_a.then(|| Reply::to(query).address([192, 0, 2, 80]).octets())
    })
    .unwrap()
}

/// Returns `dnscribe trace` with flags, of a program on the lab's client.
fn command(lab: &Lab, flags: &[&str], words: &[&str]) -> Command {
    let mut command = Command::new(environment::binary().unwrap());
    let namespace = lab.namespace(Host::Client);
    command.arg("trace").args(flags).args(["--", "ip", "netns", "exec", &namespace]).args(words);
    command.stdin(Stdio::null()).env("LANG", "C.UTF-8").env_remove("LC_ALL");
    command
}

/// Runs a program on the lab's client and returns its output and the trace.
fn trace(lab: &Lab, words: &[&str]) -> (Output, Value) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let flags = ["-o", "json", "--output-file", path];
    let output = command(lab, &flags, words).output().unwrap();
    let text = fs::read_to_string(path).unwrap();
    let reported = String::from_utf8_lossy(&output.stderr);
    let trace = serde_json::from_str(&text);
    assert!(trace.is_ok(), "{trace:?}: {text}{reported}");
    (output, trace.unwrap())
}

fn processes(trace: &Value) -> &[Value] {
    trace["processes"].as_array().unwrap()
}

/// Returns all lookups with the names of their processes.
fn lookups(trace: &Value) -> Vec<(&str, &Value)> {
    processes(trace)
        .iter()
        .flat_map(|process| {
            let comm = process["comm"].as_str().unwrap();
            process["lookups"].as_array().unwrap().iter().map(move |lookup| (comm, lookup))
        })
        .collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

/// Returns the cgroups that traces have left behind.
fn leftovers() -> Vec<PathBuf> {
    fn below(parent: &Path, found: &mut Vec<PathBuf>) {
        // Cgroups of other programs end meanwhile.
        for path in fs::read_dir(parent).into_iter().flatten().flatten().map(|one| one.path()) {
            if path.file_name().unwrap().to_string_lossy().starts_with("dnscribe-trace-") {
                found.push(path);
            } else if path.is_dir() {
                below(&path, found);
            }
        }
    }
    let mut found = Vec::new();
    below(&dnscribe_agent::capture::live::cgroup2_mount().unwrap(), &mut found);
    found
}

#[test]
fn trace_shows_search_list_cache_and_upstream() {
    let Some((lab, _alone)) = lab() else { return };
    let nameserver = format!("nameserver {}\n", lab.resolver_addr());
    let _stub = lab.configure_stub(Host::Client, &(nameserver + SEARCH)).unwrap();
    // Not yet in the cache of the resolver, which runs on this host.
    let (output, trace) = trace(&lab, &["getent", "ahosts", "mail.example.com"]);
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("192.0.2.25"), "{output:?}");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));

    let figures = ["lookups", "queries", "queries_wasted", "lost_packets", "exit_code"];
    let figures: Vec<&Value> = figures.iter().map(|name| &trace[name]).collect();
    assert_eq!(json!(figures), json!([1, 8, 6, 0, 0]), "{trace:#}");
    let all = lookups(&trace);
    let [("getent", lookup)] = all[..] else { panic!("{trace:#}") };
    assert_eq!(
        (&lookup["qname"], &lookup["outcome"]),
        (&json!("mail.example.com"), &json!("answered"))
    );
    let queries = lookup["queries"].as_array().unwrap();
    let missed = queries.iter().filter(|query| query["search_miss"] == true);
    assert_eq!((queries.len(), missed.count()), (8, 6), "{lookup:#}");
    let is_answer = |query: &&Value| query["qname"] == "mail.example.com" && query["qtype"] == "A";
    let answer = queries.iter().find(is_answer).unwrap();
    assert_eq!(answer["answers"], json!(["192.0.2.25"]), "{answer:#}");
    assert_eq!(
        (&answer["resolver"], &answer["cache"]),
        (&json!(lab.resolver_addr().to_string()), &json!("miss"))
    );
    let upstream = answer["upstream"].as_array().unwrap();
    let server = json!(lab.server_addr().to_string());
    assert!(upstream.iter().any(|query| query["resolver"] == server), "{answer:#}");
    assert!(number(&trace["wait_ms"]) <= number(&trace["duration_ms"]), "{trace:#}");

    // Now it is in the cache, and no query of the resolver says that the answer is a cache's.
    let output = command(&lab, &[], &["getent", "ahostsv4", "mail.example.com"]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let answered = |line: &&str| line.contains("A ") && line.contains(" mail.example.com ");
    let line = text.lines().find(answered).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("NOERROR"), "{text}");
    assert!(text.contains("1 lookup, 4 queries, 3 wasted"), "{text}");
    assert!(text.contains("└─ mail.example.com A: answered after"), "{text}");
    assert_eq!(leftovers(), Vec::<PathBuf>::new());
}

#[test]
fn trace_names_who_was_waited_for() {
    let Some((lab, _alone)) = lab() else { return };
    let resolver = without_aaaa(&lab);
    let text = format!("nameserver {}\noptions timeout:2 attempts:1\n", resolver.address);
    let _stub = lab.configure_stub(Host::Client, &text).unwrap();
    // The command ends when curl has resolved the name and found no server at the address.
    let words = ["curl", "-sS", "--connect-timeout", "4", "http://www.example.com/"];
    let (output, traced) = trace(&lab, &words);
    let alone = lab.run(Host::Client, &words).unwrap();
    assert_eq!(output.status.code(), alone.status.code(), "{output:?}");
    assert_eq!(traced["exit_code"], json!(alone.status.code()), "{traced:#}");
    let first = &traced["waits"][0];
    let named = ["resolver", "cause", "qtypes", "never_answered"].map(|name| first[name].clone());
    assert_eq!(
        json!(named),
        json!([resolver.address.to_string(), "no_answer", ["AAAA"], true]),
        "{traced:#}"
    );
    let waited = number(&first["wait_ms"]);
    assert!((1900.0..4500.0).contains(&waited), "{waited}");
    assert!(waited <= number(&traced["duration_ms"]), "{traced:#}");

    let output = command(&lab, &[], &words).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let sentence = format!("s waiting for {}, which never answered AAAA", resolver.address);
    assert!(
        text.lines().any(|line| line.contains(" spent ") && line.ends_with(&sentence)),
        "{text}"
    );
    assert!(text.contains("no answer in "), "{text}");
}

#[test]
fn trace_ends_as_its_command_ends() {
    let Some((lab, _alone)) = lab() else { return };
    let run = |words: &[&str]| command(&lab, &[], words).output().unwrap();
    let code = |output: &Output| output.status.code().unwrap();
    let output = run(&["sh", "-c", "echo out; echo err >&2; exit 41"]);
    assert_eq!((code(&output), &*output.stdout), (41, &b"out\n"[..]));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.starts_with("err\n") && text.contains("sent no DNS query"), "{text}");
    let output = run(&["sh", "-c", "kill -SEGV $$"]);
    assert_eq!(code(&output), 139);
    assert!(String::from_utf8_lossy(&output.stderr).contains("ended by signal 11"), "{output:?}");

    let output = run(&["sh", "-c", "exit 255"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(code(&output) == 255 && text.contains("exit code 255"), "{text}");

    let binary = environment::binary().unwrap();
    let output = Command::new(&binary).args(["trace", "no-such-program"]).output().unwrap();
    assert_eq!(code(&output), 127, "{output:?}");
    let output = Command::new(&binary).args(["trace", "/etc/passwd"]).output().unwrap();
    assert_eq!(code(&output), 126, "{output:?}");
    let output =
        Command::new(&binary).args(["trace", "-u", "nobody", "--", "id", "-un"]).output().unwrap();
    assert_eq!(&*output.stdout, b"nobody\n", "{output:?}");

    // A signal reaches the command, which decides.
    let script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done";
    let mut child = command(&lab, &[], &["sh", "-c", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    assert_eq!(line, "ready\n");
    shell::signal(&child, Signal::TERM).unwrap();
    assert_eq!(shell::wait(&mut child, START).unwrap().code(), Some(7));
    assert_eq!(leftovers(), Vec::<PathBuf>::new());

    // Killed, it leaves its cgroup to the next one.
    let mut killed = command(&lab, &[], &["sh", "-c", "echo ready; sleep 1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(killed.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    shell::end(&mut killed);
    let [left] = &leftovers()[..] else { panic!("{:?}", leftovers()) };
    shell::wait_for("the end of the command", START, || {
        Ok(fs::read_to_string(left.join("cgroup.procs"))?.is_empty().then_some(()))
    })
    .unwrap();
    assert_eq!(code(&run(&["true"])), 0);
    assert_eq!(leftovers(), Vec::<PathBuf>::new());
}

#[test]
fn trace_is_not_lost_with_its_file() {
    let Some((lab, _alone)) = lab() else { return };
    let marker = lab.folder().join("has-run");
    let touch = ["touch", marker.to_str().unwrap()];
    let output = command(&lab, &["--output-file", "/no/such/folder"], &touch).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(!marker.exists(), "the command has not run");
    let output =
        command(&lab, &["--output-file", "/dev/full"], &["sh", "-c", "exit 5"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5), "{text}");
    assert!(text.contains("cannot write") && text.contains("sent no DNS query"), "{text}");
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let mut deaf = command(&lab, &[], &["sh", "-c", "exit 6"]);
    assert_eq!(deaf.stderr(full()).status().unwrap().code(), Some(6));
    let mut unknown = Command::new(environment::binary().unwrap());
    unknown.args(["ledger", "verify", "/no/such/file"]).stderr(full());
    assert_eq!(unknown.status().unwrap().code(), Some(2));
}

/// Asks twice, two seconds apart, by sockets of which the first has a filter that takes nothing (`ret 0`).
const DEAF_AT_FIRST: &str = r#"
import ctypes, socket, struct, sys
query = struct.pack(">6H", 77, 0x100, 1, 0, 0, 0) + b"\3www\7example\3com\0" + struct.pack(">2H", 1, 1)
def ask(is_deaf):
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(2)
    if is_deaf:
        program = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))
        client.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HL", 1, ctypes.addressof(program)))
    client.sendto(query, (sys.argv[1], 53))
    try:
        return client.recvfrom(512)
    except TimeoutError:
        return None
assert ask(True) is None and ask(False)
"#;

#[test]
fn trace_waits_for_answers_that_the_kernel_discards() {
    let Some((lab, _alone)) = lab() else { return };
    let server = lab.server_addr().to_string();
    let words = ["python3", "-c", DEAF_AT_FIRST, &server];
    let (output, traced) = trace(&lab, &words);
    assert!(output.status.success(), "{output:?}");
    let figures = ["lookups", "queries", "queries_wasted"].map(|name| &traced[name]);
    assert_eq!(json!(figures), json!([1, 2, 1]), "{traced:#}");
    let first = &traced["waits"][0];
    assert_eq!((&first["cause"], &first["never_answered"]), (&json!("no_answer"), &json!(false)));
    assert_eq!(first["lost_at"]["reason"], "SOCKET_FILTER", "{traced:#}");
    assert!((1_900.0..4_500.0).contains(&number(&first["wait_ms"])), "{traced:#}");

    let output = command(&lab, &[], &words).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let sentence =
        format!("s waiting for {server}, 1 query (A); response lost at policy: SOCKET_FILTER");
    let is_it = |line: &str| line.contains(" spent ") && line.ends_with(&sentence);
    assert!(text.lines().any(is_it), "{text}");
}

#[test]
fn trace_follows_forks_that_end_at_once() {
    let Some((lab, _alone)) = lab() else { return };
    let nameserver = format!("nameserver {}\n", lab.resolver_addr());
    let _stub = lab.configure_stub(Host::Client, &nameserver).unwrap();
    // Children of children, whose parents do not wait for them, and one that dies by a signal.
    let script = "\
        for n in 1 2 3 4 5 6 7 8; do (getent ahosts n$n.wild.example.com >/dev/null &) ; done; \
        getent ahosts www.example.com > /dev/null & wait $!; \
        sh -c 'getent ahosts mail.example.com >/dev/null; kill -KILL $$'; sleep 1";
    // Another program of this host at the same time is not part of the trace.
    let other = lab.run(Host::Client, &["getent", "ahosts", "ns.example.com"]);
    let (_, trace) = trace(&lab, &["sh", "-c", script]);
    other.unwrap();
    let names: Vec<&str> =
        lookups(&trace).iter().map(|(_, lookup)| lookup["qname"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 10, "{names:?}");
    for n in 1..=8 {
        assert!(names.contains(&&*format!("n{n}.wild.example.com")), "{names:?}");
    }
    assert!(names.contains(&"www.example.com") && names.contains(&"mail.example.com"), "{names:?}");
    assert_eq!(processes(&trace).len(), 10, "each has its process: {trace:#}");
    assert!(processes(&trace).iter().all(|process| process["comm"] == "getent"), "{trace:#}");
}

#[test]
fn trace_understands_other_stubs() {
    let Some((lab, _alone)) = lab() else { return };
    let nameserver = format!("nameserver {}\n", lab.resolver_addr());
    let _stub = lab.configure_stub(Host::Client, &(nameserver + SEARCH)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let programs = [musl(folder.path()), go(folder.path()), java(folder.path())];
    for words in &programs {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (output, trace) = trace(&lab, &words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        let all = lookups(&trace);
        let found = all.iter().find(|(_, lookup)| lookup["qname"] == "www.example.com");
        let (_, lookup) = found.unwrap_or_else(|| panic!("{words:?}: {trace:#}"));
        assert_eq!(lookup["outcome"], "answered", "{words:?}: {trace:#}");
        assert_eq!(
            (&lookup["packets"], &lookup["packets_wasted"]),
            (&json!(8), &json!(6)),
            "{words:?}: {trace:#}"
        );
    }
}

/// Compiles a program that resolves a name with musl's resolver.
fn musl(folder: &Path) -> Vec<String> {
    let source = "#include <netdb.h>\n#include <stddef.h>\nint main(void) { struct addrinfo *found; \
                  return getaddrinfo(\"www.example.com\", NULL, NULL, &found); }\n";
    let (file, program) = (folder.join("musl.c"), folder.join("musl-client"));
    fs::write(&file, source).unwrap();
    let paths = [&file, &program].map(|path| path.to_str().unwrap().to_owned());
    shell::run(&["musl-gcc", "-static", "-o", &paths[1], &paths[0]]).unwrap();
    vec![paths[1].clone()]
}

/// Compiles a program that resolves a name with Go's resolver.
fn go(folder: &Path) -> Vec<String> {
    let source = "package main\n\nimport (\n\t\"net\"\n\t\"os\"\n)\n\nfunc main() {\n\t\
                  if _, err := net.LookupHost(\"www.example.com\"); err != nil {\n\t\t\
                  println(err.Error())\n\t\tos.Exit(1)\n\t}\n}\n";
    let program = folder.join("go-client");
    dnscribe_tests::go::compile(source, &program).unwrap();
    vec![program.to_str().unwrap().to_owned()]
}

/// Writes a program that resolves a name with Java's resolver.
fn java(folder: &Path) -> Vec<String> {
    let source = "public class Client { public static void main(String[] words) throws Exception { \
                  java.net.InetAddress.getAllByName(\"www.example.com\"); } }\n";
    let file = folder.join("Client.java");
    fs::write(&file, source).unwrap();
    vec!["java".into(), "-Xshare:auto".into(), file.to_str().unwrap().to_owned()]
}

#[test]
fn trace_watches_a_running_process() {
    let Some((lab, _alone)) = lab() else { return };
    let nameserver = format!("nameserver {}\n", lab.resolver_addr());
    let _stub = lab.configure_stub(Host::Client, &nameserver).unwrap();
    let script = "while :; do getent ahosts www.example.com >/dev/null; sleep 0.2; done";
    let mut target = lab.command(Host::Client, &["sh", "-c", script]);
    let mut target = target.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let pid = target.id().to_string();
    // Before, the process is the program that enters the host's namespaces.
    shell::wait_for("the script", START, || {
        Ok((fs::read_to_string(format!("/proc/{pid}/comm"))? == "sh\n").then_some(()))
    })
    .unwrap();
    let binary = environment::binary().unwrap();
    let flags = ["trace", "--pid", &pid, "-o", "json"];
    let output = Command::new(&binary).args(flags).args(["--duration", "6s"]).output().unwrap();
    let trace: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert!(output.status.success(), "{output:?}");
    let all = lookups(&trace);
    assert!(all.len() >= 3, "{trace:#}");
    assert!(
        all.iter().all(|(comm, lookup)| *comm == "getent" && lookup["qname"] == "www.example.com"),
        "{trace:#}"
    );

    // The trace ends with the process.
    let mut tracing = Command::new(&binary)
        .args(flags)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_secs(3));
    shell::end(&mut target);
    let status = shell::wait(&mut tracing, START).unwrap();
    assert!(status.success(), "{status}");
    let output = Command::new(&binary).args(["trace", "--pid", &pid]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn trace_without_privilege_names_the_remedy() {
    if !environment::privileged() {
        return;
    }
    let binary = environment::binary().unwrap();
    let words = ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"];
    let mut command = Command::new("setpriv");
    command.args(words).arg(&binary).args(["trace", "--", "true"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("remedy: run as root"), "{text}");
}

/// Connects four times to an address where nobody answers, and prints how many seconds that took.
const CONNECT_AGAIN: &str = r"
import socket, sys, time
began = time.monotonic()
for _ in range(4):
    try:
        socket.create_connection((sys.argv[1], 7777), 0.5)
    except OSError:
        pass
print(time.monotonic() - began)
";

#[test]
fn trace_adds_up_every_connection() {
    let Some((lab, _alone)) = lab() else { return };
    let nobody = lab.blackhole_addr().to_string();
    let (output, traced) = trace(&lab, &["python3", "-c", CONNECT_AGAIN, &nobody]);
    let took: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
    let connecting = number(&traced["connect_ms"]) / 1e3;
    assert!((took - connecting).abs() < 0.2 && took > 1.9, "{took} {traced:#}");
}

/// The lab of issue "From the name to the connection": no AAAA, the first address refuses, and the answer is stale.
#[test]
fn trace_shows_what_connected_to_the_addresses() {
    let Some((lab, _alone)) = lab() else { return };
    let listen = || TcpListener::bind((lab.server_addr(), 8080));
    let _open = lab.inside(Host::Server, listen).unwrap().unwrap();
    let (closed, server) = (lab.closed_addr(), lab.server_addr());
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => unreachable!(),
    };
    let addresses = [octets(closed), octets(server)];
    let resolver = NameServer::start(&lab, 54, move |query| {
        let reply = |reply, address: &[u8; 4]| Reply::record_for(reply, 12, wire::A, 0, address);
        let is_a = wire::qtype(query) == wire::A;
        let addresses = if is_a { &addresses[..] } else { &[] };
        Some(addresses.iter().fold(Reply::to(query), reply).octets())
    });
    let resolver = resolver.unwrap();
    // The resolver's firewall discards AAAA: behind the headers of UDP and DNS, and a name of 17 bytes, the type is 28.
    let aaaa = "udp dport 53 @th,296,16 28";
    let _rule = lab.discard(Host::Server, "ip", "input", aaaa).unwrap();
    let text = format!("nameserver {}\noptions timeout:1 attempts:1\n", resolver.address);
    let _stub = lab.configure_stub(Host::Client, &text).unwrap();
    let script = "curl -sS -m 8 http://www.example.com:8080/; \
                  curl -sS -m 1 http://$0:8080/; true";
    let words = ["sh", "-c", script, &server.to_string()];
    let (_, traced) = trace(&lab, &words);
    let all = lookups(&traced);
    let found = all.iter().find(|(comm, _)| *comm == "curl");
    let (_, lookup) = found.unwrap_or_else(|| panic!("{traced:#}"));
    let uses = lookup["uses"].as_array().unwrap_or_else(|| panic!("{traced:#}"));
    let of = |address: IpAddr| {
        let found = uses.iter().find(|one| one["address"] == address.to_string());
        found.unwrap_or_else(|| panic!("{address}: {traced:#}"))
    };
    let (first, second) = (of(closed), of(server));
    assert_eq!((&first["outcome"], &second["outcome"]), (&json!("refused"), &json!("established")));
    assert_eq!((&first["match"], &first["name"]), (&json!("sole"), &json!("www.example.com")));
    assert!(number(&first["ttl_left_ms"]) < 0.0, "the TTL is 0, and AAAA took its time: {first:#}");
    let mut literals = processes(&traced).iter().filter_map(|one| one["uses"].as_array()).flatten();
    assert!(literals.any(|one| one["match"] == "none"), "{traced:#}");
    let [whole, waited, connecting] =
        ["duration_ms", "wait_ms", "connect_ms"].map(|name| number(&traced[name]));
    let is_right = (2_900.0..4_500.0).contains(&waited);
    assert!(is_right, "the wait ends with the first connection: {traced:#}");
    assert!(connecting > 0.0 && waited + connecting <= whole, "{traced:#}");

    let output = command(&lab, &[], &words).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    for part in [
        "which never answered AAAA; query lost at netfilter/input: NETFILTER_DROP",
        " s connecting + ",
        ": refused after ",
        ", the answer stale for ",
        "no name was looked up",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    eprintln!("{text}");
}
