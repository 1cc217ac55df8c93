//! Record data as text, compared with dig's output for every type that the server supports.

use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::{agent, environment, pcap, shell};
use serde_json::Value;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// One owner name per record type or form of it.
const ZONE: &str = include_str!("presentation/types.zone");
const RECORD_LIMIT: Duration = Duration::from_mins(1);

/// A server that is stopped at the end of the test.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        shell::end(&mut self.child);
    }
}

#[test]
fn record_data_matches_dig() -> Result<()> {
    if shell::which("knotd").is_none() || shell::which("dig").is_none() {
        environment::skip("knotd or dig is missing; `cargo xtask setup --test` installs them");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let server = serve(folder.path())?;
    let questions = questions();
    ensure!(questions.len() > 50, "only {} types", questions.len());
    let mut responses = Vec::new();
    for (number, (name, rtype)) in (0_u16..).zip(&questions) {
        responses.push(ask(&server, number, name, type_number(rtype)?)?);
    }
    let ours = replay(folder.path(), &responses)?;
    ensure!(ours.len() == questions.len(), "{} messages of {}", ours.len(), questions.len());
    let mut wrong = Vec::new();
    for ((name, rtype), message) in questions.iter().zip(&ours) {
        let theirs = dig(&server, name, rtype)?;
        let ours = shown(message);
        ensure!(!ours.is_empty(), "no answer to {name} {rtype}");
        if ours != theirs {
            wrong.push(format!("{name} {rtype}\n  ours {ours:?}\n  dig  {theirs:?}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn serve(folder: &Path) -> Result<Server> {
    let address = agent::free_address()?;
    fs::write(folder.join("types.zone"), ZONE)?;
    let config = folder.join("knot.conf");
    let text = format!(
        "server:\n  rundir: \"{folder}\"\n  listen: [ {}@{} ]\n  udp-workers: 1\n  \
         tcp-workers: 1\n  background-workers: 1\nlog:\n  - target: stderr\n    any: error\n\
         database:\n  storage: \"{folder}/db\"\nzone:\n  - domain: types.test\n    \
         storage: \"{folder}\"\n    file: types.zone\n    semantic-checks: off\n    \
         zonefile-sync: -1\n",
        address.ip(),
        address.port(),
        folder = folder.display(),
    );
    fs::write(&config, text)?;
    let knotd = shell::which("knotd").context("no knotd")?;
    let child = Command::new(knotd).arg("-c").arg(&config).stdin(Stdio::null()).spawn()?;
    let server = Server { child, address };
    shell::wait_for("the server's first answer", RECORD_LIMIT, || {
        Ok(ask(&server, 0, "types.test", 6).ok().filter(|response| response[7] == 1))
    })?;
    Ok(server)
}

/// Returns the names of the zone with their types.
fn questions() -> Vec<(String, String)> {
    let lines = ZONE.lines().filter(|line| !line.starts_with('$'));
    let mut questions: Vec<(String, String)> = lines
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let owner = words.next()?;
            let name =
                if owner == "@" { "types.test".to_owned() } else { format!("{owner}.types.test") };
            Some((name, words.next()?.to_owned()))
        })
        // No answer contains the name server of a delegation.
        .filter(|question| question != &("ds.types.test".into(), "NS".into()))
        .collect();
    questions.dedup();
    questions
}

/// Returns the type by the agent's name for it, so that a wrong name finds no answer.
fn type_number(name: &str) -> Result<u16> {
    let is_it = |number: &u16| dnscribe_dns::type_name(*number) == name;
    name.strip_prefix("TYPE")
        .and_then(|number| number.parse().ok())
        .or_else(|| (1..=u16::MAX).find(is_it))
        .with_context(|| format!("no such type: {name}"))
}

/// Sends a question over UDP; returns the response.
fn ask(server: &Server, id: u16, name: &str, rtype: u16) -> Result<Vec<u8>> {
    let mut query = [id.to_be_bytes(), [0, 0], [0, 1], [0, 0], [0, 0], [0, 0]].concat();
    for label in name.replace("esc\\.aped\\\\\\032x", "\u{1}").split('.') {
        let label = label.replace('\u{1}', "esc.aped\\ x");
        query.push(u8::try_from(label.len())?);
        query.extend(label.as_bytes());
    }
    query.push(0);
    query.extend([rtype.to_be_bytes(), [0, 1]].concat());
    let socket = UdpSocket::bind((server.address.ip(), 0))?;
    socket.connect(server.address)?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.send(&query)?;
    let mut response = vec![0; 65_535];
    let length = socket.recv(&mut response)?;
    response.truncate(length);
    Ok(response)
}

/// Returns the agent's message records of these responses.
fn replay(folder: &Path, responses: &[Vec<u8>]) -> Result<Vec<Value>> {
    let capture = folder.join("responses.pcap");
    pcap::write_responses(fs::File::create(&capture)?, responses)?;
    let mut command = Command::new(environment::binary()?);
    command.arg("replay").arg(&capture).args(["--stream", "messages", "--output", "json"]);
    let output = shell::output(&mut command)?;
    let lines = String::from_utf8(output.stdout)?;
    lines.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Returns type and data of each answer.
fn shown(message: &Value) -> Vec<(String, String)> {
    let none = Vec::new();
    let answers = message["answers"].as_array().unwrap_or(&none).iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut shown: Vec<_> = answers
        .map(|answer| {
            (text(&answer["type"]), normalise(&text(&answer["type"]), &text(&answer["data"])))
        })
        .collect();
    shown.sort();
    shown
}

fn dig(server: &Server, name: &str, rtype: &str) -> Result<Vec<(String, String)>> {
    let (at, port) = (format!("@{}", server.address.ip()), server.address.port().to_string());
    let words =
        ["dig", &at, "-p", &port, "+nosplit", "+noall", "+answer", "+nocookie", name, rtype];
    let output = String::from_utf8(shell::run(&words)?.stdout)?;
    let mut shown = Vec::new();
    for line in output.lines() {
        // Owner, TTL and class precede the type.
        let mut rest = line;
        let mut words = ["", "", "", ""];
        for word in &mut words {
            let (first, behind) = rest.trim_start().split_once([' ', '\t']).context("no data")?;
            (*word, rest) = (first, behind);
        }
        shown.push((words[3].to_owned(), normalise(words[3], rest.trim_start())));
    }
    shown.sort();
    Ok(shown)
}

/// Removes intended differences: dig writes a dot after each name, upper case in some hexadecimal,
/// mnemonics in CERT, and fewer zeros in LOC.
fn normalise(rtype: &str, data: &str) -> String {
    let dotless = |word: &str| match word.strip_suffix('.') {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => word.to_owned(),
    };
    let text = if data.contains('"') && !matches!(rtype, "NAPTR" | "SVCB" | "HTTPS") {
        data.to_owned()
    } else {
        data.split(' ').map(dotless).collect::<Vec<_>>().join(" ")
    };
    match rtype {
        "CERT" => text.replace("PKIX", "1").replace("RSASHA256", "8"),
        "LOC" => text.replace(".00m", "m"),
        "DS" | "CDS" | "SSHFP" | "TLSA" | "SMIMEA" | "ZONEMD" | "TYPE65280" => text.to_lowercase(),
        _ => text,
    }
}
