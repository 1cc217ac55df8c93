//! Commands of README and of the pages, executed as they are written: on a host of a laboratory with a resolver, a web server and
//! traffic.

use crate::support::lab;
use dnscribe_agent::capture::live::cgroup2_mount;
use dnscribe_tests::certificates::{Authority, Validity};
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::name_server::NameServer;
use dnscribe_tests::page::{Command, End, Executor, Terminal};
use dnscribe_tests::wire::{self, Reply};
use dnscribe_tests::{environment, manifests, shell};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Name that has an address where nobody listens.
const GONE: &str = "gone.example";
/// Names that the pages use for what works.
const SITES: [&str; 3] = ["example.com", "www.example.com", "shop.example"];
/// Where pages ask an agent for its metrics.
const AGENT: &str = "localhost:9353";
/// Parts of commands whose filter must let something through.
const MUST_PRINT: [&str; 4] =
    [".orphan_reason]", ".packets_wasted]", "process_cpu", ".latency_ms.sketch"];
/// Time limit for the web server to listen.
const START: Duration = Duration::from_mins(1);
/// Exit codes of a command that finds nothing wrong.
const GOOD: End = End::Code(&[0]);
/// What hosts do all the time: lookups, connections, and a query that is refused.
const TRAFFIC: &str = "while :; do curl -so /dev/null https://example.com; dig +tries=1 +time=1 www.example.com; \
                       dig +tries=1 +time=1 @CLOSED www.example.test; sleep 0.2; done >/dev/null 2>&1";

/// Programs that end with the test.
struct Running(Vec<Child>);

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // With what it has started, in the group of its own.
            let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
            if let Some(group) = group {
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            shell::end(child);
        }
    }
}

#[test]
fn commands_of_pages_work_on_a_host() {
    let Some((lab, _alone)) = lab() else { return };
    let resolver = NameServer::start(&lab, 54, |query| {
        let reply = Reply::to(query);
        let name = wire::name(query).to_lowercase();
        Some(match (wire::qtype(query), name.as_str()) {
            (wire::A, GONE) => reply.address([127, 0, 0, 9]).octets(),
            (wire::A, name) if SITES.contains(&name) => reply.address([127, 0, 0, 1]).octets(),
            (_, name) if SITES.contains(&name) || name == GONE => reply.octets(),
            _ => reply.rcode(3).octets(),
        })
    })
    .unwrap();
    let terminal = terminal(&lab, &resolver);
    let pods = cgroup2_mount().unwrap().join("kubepods.slice");
    fs::create_dir_all(&pods).unwrap();
    let running = start(&terminal, &lab, &pods.display().to_string());

    let commands = Executor::Host.commands().unwrap();
    assert!(commands.len() > 30, "{}", commands.len());
    let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
    for command in commands {
        // Several pages begin with the same command.
        let plain = command.plain();
        if !seen.insert(plain.to_owned()) {
            continue;
        }
        let start = Instant::now();
        let text = script(&command.text);
        match terminal.run(&Command { text, ..command.clone() }, end(&command)) {
            Ok(output)
                if output.is_empty() && MUST_PRINT.iter().any(|part| plain.contains(part)) =>
            {
                wrong.push(format!("{}: `{plain}` prints nothing", command.page));
            }
            Ok(_) => {}
            Err(error) => wrong.push(format!("{error:#}")),
        }
        eprintln!("{:6.1} s {}: {plain}", start.elapsed().as_secs_f64(), command.page);
    }
    drop(running);
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    // What they should have done.
    let day = |day: &str| terminal.path(&format!("var/lib/archive/day={day}")).exists();
    assert!(!day("2024-01-01") && day("2025-03-01"), "400 days are kept");
    assert!(!terminal.path("var/lib/archive/day=2025-03-01/.part-0.inprogress.1").exists());
    let rules = terminal.path("grafana/prometheus/rules/dnscribe.yaml");
    assert!(fs::read_to_string(rules).unwrap().contains("https://wiki.example/dns/"));
}

/// Returns a script that has what a command needs: a terminal and a person, or an agent.
fn script(text: &str) -> String {
    if text.contains("dnscribe top") && !text.contains("--once") {
        // It is quit once it shows resolvers.
        let command = text.split(" #").next().unwrap_or_default();
        let screen = shell::quote(format!("{command}; echo $? > code"));
        let tmux = "tmux -u -f /dev/null -S screen";
        return format!(
            "rm -f code; {tmux} new-session -d -x 120 -y 40 {screen}; \
             until {tmux} capture-pane -p | grep RESOLVER; do sleep 0.1; done; \
             {tmux} send-keys q; until [ -s code ]; do sleep 0.1; done; exit $(cat code)"
        );
    }
    if text.contains(AGENT) {
        let ready = format!(
            "curl --retry 20 --retry-delay 1 --retry-connrefused -sSf -o /dev/null {AGENT}/readyz"
        );
        return format!("dnscribe run --sink null & {ready} && {text}; kill $!");
    }
    text.to_owned()
}

/// How a command should end.
fn end(command: &Command) -> End {
    let text = command.text.as_str();
    let has = |part: &str| text.contains(part);
    match () {
        () if has(GONE) => End::Code(&[7]),
        // It finds that the zone is not signed, for example.
        () if has("explain") => End::Code(&[0, 1]),
        // Nobody sends anything through this interface.
        () if has("--interface") => End::Silent(Duration::ZERO),
        // jq writes only what fills its buffer, except to a terminal.
        () if has("| jq") && has("dnscribe run") => End::Silent(Duration::from_secs(3)),
        () if has("dnscribe run") => End::Interrupted,
        () if has("cargo xtask run") && !has("trace") && !has("replay") => End::Interrupted,
        () => GOOD,
    }
}

/// A shell on the lab's client, in a folder with the files that pages name.
fn terminal(lab: &Lab, resolver: &NameServer) -> Terminal {
    let mut terminal = Terminal::new().unwrap();
    let stub =
        terminal.write("etc/resolv.conf", &format!("nameserver {}\n", resolver.address)).unwrap();
    let order = terminal.write("etc/nsswitch.conf", "hosts: files dns\n").unwrap();
    let namespace = format!("--net={}", lab.namespace_path(Host::Client).display());
    let enter = format!(
        "mount --bind {} /etc/resolv.conf && mount --bind {} /etc/nsswitch.conf && exec \"$@\"",
        shell::quote(stub),
        shell::quote(order)
    );
    let prefix = ["nsenter", &namespace, "unshare", "--mount", "sh", "-c", &enter, "sh"];
    terminal.prefix = prefix.map(str::to_owned).to_vec();
    for words in ["add eth1 type veth peer name mirror", "set eth1 up"] {
        let words: Vec<&str> = ["ip", "link"].into_iter().chain(words.split(' ')).collect();
        assert!(lab.run(Host::Client, &words).unwrap().status.success(), "{words:?}");
    }

    let authority = Authority::new("pages").unwrap();
    let server = authority.server(&SITES, Validity::Current).unwrap();
    let root = terminal.write("authority.pem", &authority.pem().unwrap()).unwrap();
    terminal.write("server.pem", &(server.certificate + &server.key)).unwrap();
    let root = root.display().to_string();
    let variables = [("CURL_CA_BUNDLE", root.clone()), ("SSL_CERT_FILE", root)];
    terminal.variables = variables.map(|(name, value)| (name.to_owned(), value)).to_vec();

    for (name, here) in [
        ("/etc/dnscribe/", terminal.path("etc/")),
        ("/var/lib/dnscribe/", terminal.path("var/lib/")),
        ("/var/log/dnscribe/", terminal.path("var/log/")),
    ] {
        terminal.replacements.push((name.to_owned(), format!("{}/", here.display())));
    }
    for (name, here) in [
        ("30s", "2s".to_owned()),
        ("dnscribe-0-client", lab.namespace(Host::Client)),
        ("198.18.0.53", lab.resolver_addr().to_string()),
    ] {
        terminal.replacements.push((name.to_owned(), here));
    }
    let root = environment::workspace();
    fs::copy(root.join("deploy/dnscribe.yaml"), terminal.path("etc/dnscribe.yaml")).unwrap();
    fs::create_dir_all(terminal.path("var/log")).unwrap();
    for day in 1..=28 {
        for month in 1..=12 {
            for year in [2024, 2025] {
                fs::create_dir_all(
                    terminal.path(&format!("var/lib/archive/day={year}-{month:02}-{day:02}")),
                )
                .unwrap();
            }
        }
    }
    terminal.write("var/lib/archive/day=2025-03-01/.part-0.inprogress.1", "").unwrap();
    let copy = format!("cp -r {} grafana", shell::quote(root.join("grafana/prometheus")));
    shell::output(&mut terminal.shell(&format!(
        "touch -d '8 days ago' var/lib/archive/day=2025-03-01/.part*; mkdir -p grafana; {copy}/prometheus"
    )))
    .unwrap();
    fs::copy(environment::lab_capture(), terminal.path("capture.pcap")).unwrap();
    terminal.write("test.sh", "#!/bin/sh\ncurl -sSo /dev/null https://example.com\n").unwrap();
    let probes = format!(
        "version: 1\nresolvers: {{ one: \"udp://{}:53\" }}\nservices:\n  - name: shop\n    targets:\n      - dns: {{ name: www.example.com }}\n",
        lab.resolver_addr()
    );
    terminal.write("probes.yaml", &probes).unwrap();
    let prepare = "chmod +x test.sh; dnscribe replay examples/nxdomain-storm.pcapng --stream lookups -o json > lookups.ndjson; \
                   DNSCRIBE_FILE__ROTATE_BYTES=64KiB DNSCRIBE_FILE__COMPRESS=zstd dnscribe replay $(yes capture.pcap | head -4) \
                   --stream messages,transactions,ledger --sink file:dns.ndjson";
    shell::output(&mut terminal.shell(prepare)).unwrap();
    terminal
}

/// Starts a web server, and traffic in and outside of a cgroup of pods.
fn start(terminal: &Terminal, lab: &Lab, pods: &str) -> Running {
    let traffic = TRAFFIC.replace("CLOSED", &lab.closed_addr().to_string());
    let scripts = [
        "exec openssl s_server -accept 443 -cert server.pem -key server.pem -www -quiet".to_owned(),
        traffic.clone(),
        format!("echo 0 > {}/cgroup.procs; {traffic}", shell::quote(pods)),
    ];
    let children = scripts.iter().map(|script| {
        terminal.shell(script).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap()
    });
    let running = Running(children.collect());
    shell::wait_for("the web server", START, || {
        let ask = "curl -sS -o /dev/null https://example.com";
        Ok(terminal.shell(ask).output()?.status.success().then_some(()))
    })
    .unwrap();
    running
}

/// Every installation that a page shows is valid.
#[test]
fn charts_of_pages_are_valid() {
    let folder = tempfile::tempdir().unwrap();
    // Of who upgrades.
    let values = folder.path().join("values.yaml");
    fs::write(
        &values,
        json!({ "stream": { "enabled": true, "storage": { "url": "s3://bucket/dnscribe" } } })
            .to_string(),
    )
    .unwrap();
    for command in Executor::Chart.commands().unwrap() {
        let text = command.text.replace("-f values.yaml", &format!("-f {}", shell::quote(&values)));
        let rendered = manifests::render_command("1.34", &text).unwrap();
        let documents = manifests::read("1.34", &rendered).unwrap();
        assert!(!documents.is_empty(), "{}: {}", command.page, command.text);
    }
}
