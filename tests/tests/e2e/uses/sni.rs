//! Names of TLS connections, against the server names in their handshakes and the TTLs in the answers, both as tshark
//! reads them.

use super::{ADDRESSES, CNAME, address, agent, end, has_candidate, run};
use crate::support::{RECORD_LIMIT, lab};
use dnscribe_tests::certificates;
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::name_server::NameServer;
use dnscribe_tests::shell;
use dnscribe_tests::wire::{self, Reply};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

const TTLS: [u32; 5] = [0, 1, 60, 300, 86_400];
/// Ports of the server; each connection has its own.
const PORTS: &str = "30000-30999";
const ZONE: &str = "cdn.example";

/// A program, and the names that it connects to: its letter, and numbers.
struct Program {
    letter: char,
    what: &'static str,
    /// Whether it looks up several names before it connects to one of them.
    at_once: bool,
    numbers: Vec<usize>,
}

impl Program {
    fn name(&self, number: usize) -> String {
        format!("{}{number}.{ZONE}", self.letter)
    }
}

fn programs() -> Vec<Program> {
    let program = |letter, what, at_once, numbers| Program { letter, what, at_once, numbers };
    // One name for each address and all TTLs.
    let waiting = || (0..ADDRESSES.len()).map(|place| place * 4).collect();
    vec![
        program('p', "Python", false, (0..200).collect()),
        program('q', "Python, eight threads", true, (0..200).collect()),
        program('c', "curl", false, (0..60).collect()),
        program('d', "curl, eight at once", true, (0..60).collect()),
        program('o', "openssl s_client, a process each", false, (0..30).collect()),
        program('g', "Go", false, (0..60).collect()),
        program('h', "Go, eight at once", true, (0..60).collect()),
        program('v', "Python, 1.2 s after the lookup", false, waiting()),
        // Twice.
        program('j', "Java, which remembers for 30 s", false, vec![4, 4]),
    ]
}

/// Starts the name server. A number says how its name leads to addresses: by itself or by two CNAMEs, to one or to three of
/// six in turns, with which TTL. Four numbers in a row begin at the same address.
fn name_server(lab: &Lab) -> NameServer {
    for number in ADDRESSES {
        lab.add_address(Host::Server, number).unwrap();
    }
    let addresses: Vec<Ipv4Addr> = (0..ADDRESSES.len()).map(|place| address(lab, place)).collect();
    let turns = AtomicUsize::new(0);
    NameServer::start(lab, 59, move |query| {
        // Without additional records.
        let mut query = query.get(..12 + wire::name(query).len() + 2 + 4)?.to_vec();
        query[11] = 0;
        let reply = Reply::to(&query);
        if wire::qtype(&query) != wire::A {
            return Some(reply.octets());
        }
        let label = wire::labels(&query).into_iter().next()?;
        let number: usize = label.get(1..)?.parse().ok()?;
        let ttl = TTLS[number / 4 % TTLS.len()];
        let (mut reply, mut owner) = (reply, 12);
        if number & 2 != 0 {
            // Each name is a label with the zone's name by a pointer; a record's data begin behind 12 bytes.
            let zone = 12 + 1 + u8::try_from(label.len()).ok()?;
            for hop in 0..2u16 {
                let target = [&[4][..], format!("hop{hop}").as_bytes(), &[0xc0, zone]].concat();
                let data = u16::try_from(query.len()).ok()? + 12 + hop * 19;
                assert_eq!(target.len(), 7);
                // The first is fresh for longer.
                reply =
                    reply.record_for(owner, CNAME, ttl.saturating_mul(2 - u32::from(hop)), &target);
                owner = data;
            }
        }
        let count = if number & 1 == 0 { 1 } else { 3 };
        let turns = turns.fetch_add(1, Ordering::Relaxed);
        for place in 0..count {
            let place = number / 4 + (place + turns) % count;
            reply = reply.record_for(owner, wire::A, ttl, &addresses[place % 6].octets());
        }
        Some(reply.octets())
    })
    .unwrap()
}

/// Starts a server of TLS that takes any name.
fn start_nginx(lab: &mut Lab, folder: &Path) {
    let identity = certificates::self_signed(&[ZONE]).unwrap();
    fs::write(folder.join("certificate"), identity.certificate).unwrap();
    fs::write(folder.join("key"), identity.key).unwrap();
    let folder = folder.display();
    let config = format!(
        "daemon off; worker_processes 1; worker_rlimit_nofile 8192; user root; pid {folder}/pid; error_log stderr; \
         events {{ worker_connections 4096; }} http {{ access_log off; client_body_temp_path {folder}/body; \
         proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; \
         scgi_temp_path {folder}/scgi; server {{ listen {PORTS} ssl; ssl_certificate {folder}/certificate; \
         ssl_certificate_key {folder}/key; return 204; }} }}"
    );
    let file = format!("{folder}/nginx.conf");
    fs::write(&file, config).unwrap();
    lab.start_server_named("nginx", Host::Server, &["nginx", "-e", "stderr", "-c", &file]).unwrap();
    let url = format!("https://{}:30000/", lab.server_addr());
    shell::wait_for("nginx", RECORD_LIMIT, || {
        let found = lab.run(Host::Client, &["curl", "-ksS", &url])?;
        Ok(found.status.success().then_some(()))
    })
    .unwrap();
}

/// Builds the clients that are compiled, and returns their words before names and ports.
fn compiled(folder: &Path) -> (String, String) {
    let go = "package main\n\nimport (\n\t\"crypto/tls\"\n\t\"os\"\n\t\"strconv\"\n\t\"sync\"\n)\n\n\
        // Takes how many connections there are at a time, then HOST:PORT each.\n\
        func main() {\n\tcount, _ := strconv.Atoi(os.Args[1])\n\tturns := make(chan bool, count)\n\tvar all sync.WaitGroup\n\t\
        for _, one := range os.Args[2:] {\n\t\tturns <- true\n\t\tall.Add(1)\n\t\tgo func() {\n\t\t\t\
        connection, err := tls.Dial(\"tcp\", one, &tls.Config{InsecureSkipVerify: true})\n\t\t\t\
        if err != nil {\n\t\t\t\tpanic(err)\n\t\t\t}\n\t\t\tconnection.Close()\n\t\t\t<-turns\n\t\t\tall.Done()\n\t\t}()\n\t}\n\t\
        all.Wait()\n}\n";
    let built = folder.join("client");
    dnscribe_tests::go::compile(go, &built).unwrap();
    let java = "import javax.net.ssl.*; import java.security.cert.X509Certificate; public class Client { \
        public static void main(String[] words) throws Exception { SSLContext context = SSLContext.getInstance(\"TLS\"); \
        context.init(null, new TrustManager[] { new X509TrustManager() { \
        public void checkClientTrusted(X509Certificate[] chain, String kind) { } \
        public void checkServerTrusted(X509Certificate[] chain, String kind) { } \
        public X509Certificate[] getAcceptedIssuers() { return new X509Certificate[0]; } } }, null); \
        for (String word : words) { String[] parts = word.split(\":\"); \
        SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket(parts[0], Integer.parseInt(parts[1])); \
        socket.startHandshake(); socket.close(); Thread.sleep(1500); } } }\n";
    let java_source = folder.join("Client.java");
    fs::write(&java_source, java).unwrap();
    (built.display().to_string(), java_source.display().to_string())
}

/// Runs a program with its names, from a port on.
fn connect(lab: &Lab, program: &Program, mut port: usize, folder: &Path, built: &(String, String)) {
    let mut hosts = Vec::new();
    for number in &program.numbers {
        hosts.push((program.name(*number), port));
        port += 1;
    }
    let words: Vec<String> = hosts.iter().map(|(name, port)| format!("{name}:{port}")).collect();
    let words = |first: &[&str]| -> Vec<String> {
        first.iter().map(|word| (*word).to_owned()).chain(words.iter().cloned()).collect()
    };
    let count = if program.at_once { "8" } else { "1" };
    let command = match program.letter {
        'c' | 'd' => {
            let mut config =
                String::from("insecure\nsilent\nshow-error\nfail\nparallel-immediate\n");
            if program.at_once {
                config += "parallel\nparallel-max = 8\n";
            }
            for (name, port) in &hosts {
                writeln!(config, "url = https://{name}:{port}/\noutput = /dev/null").unwrap();
            }
            let file = folder.join(format!("{}.curl", program.letter));
            fs::write(&file, config).unwrap();
            vec!["curl".to_owned(), "-K".to_owned(), file.display().to_string()]
        }
        'o' => {
            let script = "for one in \"$@\"; do openssl s_client -connect $one -servername ${one%:*} \
                </dev/null >/dev/null 2>&1 || exit 1; done";
            words(&["sh", "-c", script, "sh"])
        }
        'g' | 'h' => words(&[&built.0, count]),
        'j' => words(&["java", "-Xshare:auto", &built.1]),
        _ => {
            let steps = hosts.iter().enumerate().map(|(place, (name, port))| {
                let mut step = json!({ "name": name, "port": port, "tls": true });
                match program.letter {
                    'q' => step["thread"] = json!(place % 8),
                    'v' => {
                        step["thread"] = json!(place);
                        step["pause"] = json!(1.2);
                    }
                    _ => {}
                }
                step
            });
            assert_eq!(run(lab, &steps.collect::<Vec<_>>()).len(), hosts.len());
            return;
        }
    };
    let output = lab.run(Host::Client, &command.iter().map(String::as_str).collect::<Vec<_>>());
    let output = output.unwrap();
    assert!(output.status.success(), "{}: {output:?}", program.what);
}

/// What the packets show.
#[derive(Default)]
struct Packets {
    /// Server name by address and port.
    names: BTreeMap<(String, u64), String>,
    /// Time of the first packet by address and port.
    begun: BTreeMap<(String, u64), f64>,
    /// Answers in order of time: when, name, the smallest TTL, addresses.
    answers: Vec<(f64, String, f64, Vec<String>)>,
}

impl Packets {
    fn read(file: &Path) -> Self {
        let mut tshark = Command::new("tshark");
        tshark.arg("-r").arg(file).args(["-d", &format!("tcp.port=={PORTS},tls"), "-T", "fields"]);
        let filter = "tls.handshake.extensions_server_name || dns.a || (tcp.flags.syn==1 && tcp.flags.ack==0)";
        tshark.args(["-Y", filter]);
        for field in [
            "frame.time_epoch",
            "ip.dst",
            "tcp.dstport",
            "tls.handshake.extensions_server_name",
            "dns.qry.name",
            "dns.resp.ttl",
            "dns.a",
        ] {
            tshark.args(["-e", field]);
        }
        let text = String::from_utf8(shell::output(&mut tshark).unwrap().stdout).unwrap();
        let mut packets = Self::default();
        for line in text.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let [time, address, port, server_name, name, ttls, addresses] = fields[..] else {
                unreachable!("{line}")
            };
            let time: f64 = time.parse().unwrap();
            if !addresses.is_empty() {
                let least = ttls.split(',').map(|ttl| ttl.parse::<f64>().unwrap());
                let least = least.fold(f64::INFINITY, f64::min);
                let addresses = addresses.split(',').map(str::to_owned).collect();
                packets.answers.push((time, name.to_owned(), least, addresses));
                continue;
            }
            let key = (address.to_owned(), port.parse().unwrap());
            if server_name.is_empty() {
                packets.begun.entry(key).or_insert(time);
            } else {
                packets.names.insert(key, server_name.to_owned());
            }
        }
        packets
    }

    /// Returns the names of a program that led to the address before this time, and age and TTL of the newest answer for
    /// `name` then, in seconds.
    fn fitting(&self, name: &str, address: &str, time: f64) -> (BTreeSet<&str>, f64, f64) {
        let (mut names, mut freshness) = (BTreeSet::new(), (f64::NAN, f64::NAN));
        for (at, answered, ttl, addresses) in &self.answers {
            let is_of_program = answered.as_bytes().first() == name.as_bytes().first();
            if *at < time && is_of_program && addresses.iter().any(|one| one == address) {
                names.insert(answered.as_str());
                if answered == name {
                    freshness = (time - at, *ttl);
                }
            }
        }
        (names, freshness.0, freshness.1)
    }
}

/// How the records of a program compare with its packets.
#[derive(Clone, Copy, Debug, Default)]
struct Score {
    connections: u32,
    /// One name fits.
    clear: u32,
    clear_right: u32,
    right: u32,
    wrong: u32,
    ambiguous: u32,
    with_right: u32,
    none: u32,
    stale: u32,
    stale_found: u32,
    /// Fresh by the packets, stale by the record.
    stale_wrong: u32,
}

impl Score {
    fn add(&mut self, other: &Self) {
        let Self { connections, clear, clear_right, right, wrong, .. } = other;
        self.connections += connections;
        self.clear += clear;
        self.clear_right += clear_right;
        self.right += right;
        self.wrong += wrong;
        self.ambiguous += other.ambiguous;
        self.with_right += other.with_right;
        self.none += other.none;
        self.stale += other.stale;
        self.stale_found += other.stale_found;
        self.stale_wrong += other.stale_wrong;
    }

    fn precision(&self) -> f64 {
        f64::from(self.right) / f64::from(self.right + self.wrong)
    }

    fn recall(&self) -> f64 {
        f64::from(self.clear_right) / f64::from(self.clear)
    }

    fn row(&self, what: &str) -> String {
        let share =
            |share: f64| if share.is_nan() { "-".to_owned() } else { format!("{share:.3}") };
        format!(
            "| {what} | {} | {} | {} | {} of {} | {} | {} | {} | {} of {} |\n",
            self.connections,
            self.right,
            self.wrong,
            self.with_right,
            self.ambiguous,
            self.none,
            share(self.precision()),
            share(self.recall()),
            self.stale_found,
            self.stale
        )
    }
}

/// Compares a record with the packets of its connection.
fn compare(record: &Value, name: &str, packets: &Packets, at_once: bool, score: &mut Score) {
    let key = (record["address"].as_str().unwrap(), record["port"].as_u64().unwrap());
    let begun = packets.begun[&(key.0.to_owned(), key.1)];
    let (names, age, ttl) = packets.fitting(name, key.0, begun);
    let is_clear = !at_once || names.len() == 1;
    score.connections += 1;
    score.clear += u32::from(is_clear);
    match record["match"].as_str().unwrap() {
        "sole" | "newest" if record["name"] == name => {
            score.right += 1;
            score.clear_right += u32::from(is_clear);
            let (is_stale, says) = (age > ttl, record["ttl_left_ms"].as_f64().unwrap() < 0.0);
            // Packets and programs have clocks of their own for a moment; without a TTL, every use is stale.
            if ttl == 0.0 || (age - ttl).abs() > 0.02 {
                score.stale += u32::from(is_stale);
                score.stale_found += u32::from(is_stale && says);
                score.stale_wrong += u32::from(!is_stale && says);
            }
        }
        "sole" | "newest" => score.wrong += 1,
        "ambiguous" => {
            score.ambiguous += 1;
            score.with_right += u32::from(has_candidate(record, name));
        }
        _ => score.none += 1,
    }
    assert_eq!(record["outcome"], "established", "{record:#}");
}

#[test]
fn names_are_those_in_the_handshakes() {
    let Some((mut lab, _alone)) = lab() else { return };
    let server = name_server(&lab);
    let text = format!("nameserver {}\n", server.address);
    let _stub = lab.configure_stub(Host::Client, &text).unwrap();
    let folder = tempfile::tempdir().unwrap();
    start_nginx(&mut lab, folder.path());
    let built = compiled(folder.path());
    let programs = programs();
    let capture =
        lab.capture_of(Host::Client, &format!("port 53 or tcp portrange {PORTS}")).unwrap();
    let agent = agent();
    let lab = &lab;
    thread::scope(|scope| {
        let mut port = 30_000;
        let (folder, built) = (folder.path(), &built);
        // Side by side those that mostly wait.
        for is_waiting in [true, false] {
            for program in
                programs.iter().filter(|one| matches!(one.letter, 'v' | 'j') == is_waiting)
            {
                let first = port;
                port += program.numbers.len();
                if is_waiting {
                    scope.spawn(move || connect(lab, program, first, folder, built));
                } else {
                    connect(lab, program, first, folder, built);
                }
            }
        }
    });
    let packets = Packets::read(&capture.finish().unwrap());
    let (records, _) = end(agent);

    let mut table = String::from(
        "| program | connections | right | wrong | ambiguous, with the right one | none | precision | recall | stale, and found |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    let (mut all, mut names) = (Score::default(), BTreeSet::new());
    for program in &programs {
        let mut score = Score::default();
        for record in &records {
            let address = record["address"].as_str().unwrap().to_owned();
            let Some(name) = packets.names.get(&(address, record["port"].as_u64().unwrap())) else {
                continue;
            };
            if name.starts_with(program.letter) {
                names.insert(name);
                compare(record, name, &packets, program.at_once, &mut score);
            }
        }
        table += &score.row(program.what);
        assert_eq!(score.connections as usize, program.numbers.len(), "{table}");
        all.add(&score);
    }
    table += &all.row("all");
    eprint!("{} names\n{table}", names.len());
    assert!(names.len() >= 200 && all.precision() >= 0.99 && all.recall() >= 0.99, "{table}");
    assert_eq!((all.with_right, all.none), (all.ambiguous, 0), "{table}");
    assert!(all.stale >= 50 && all.stale_found == all.stale && all.stale_wrong == 0, "{table}");
    assert_eq!(packets.names.len(), all.connections as usize, "one record for each handshake");
}
