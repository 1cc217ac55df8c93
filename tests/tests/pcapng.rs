//! The sinks `pcapng` and `evidence` in replay: their files beside the records of the same run, as tshark and as the agent
//! itself read them.

use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::{environment, ledger, shell};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Replays a capture with messages, transactions, alerts and the ledger as records on stdout, and with further sinks.
fn replay(capture: &Path, more: &[&str]) -> Result<Vec<Value>> {
    let mut command = Command::new(environment::binary()?);
    command.arg("replay").arg(capture).args(["-o", "json", "--sink", "stdout"]).args(more);
    command.args(["--stream", "messages,transactions,alerts,ledger"]);
    records(&shell::output(command.stderr(Stdio::null()))?.stdout)
}

fn records(lines: &[u8]) -> Result<Vec<Value>> {
    let lines = std::str::from_utf8(lines)?.lines();
    Ok(lines.map(serde_json::from_str).collect::<Result<_, _>>()?)
}

fn of<'a>(records: &'a [Value], schema: &str) -> Vec<&'a Value> {
    records.iter().filter(|record| record["schema"] == schema).collect()
}

fn text<'a>(record: &'a Value, field: &str) -> &'a str {
    record[field].as_str().unwrap_or_default()
}

fn last_ledger(records: &[Value]) -> Result<&Value> {
    let last = *of(records, "dns.ledger/1").last().context("no ledger")?;
    ledger::verify(last)?;
    Ok(last)
}

/// Fields of each packet of a file, as tshark shows them; an error if it finds a wrong checksum, or a gap in a TCP
/// connection.
fn tshark(file: &Path, fields: &[&str]) -> Result<Vec<Vec<String>>> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"]);
    command.args(["-o", "tcp.check_checksum:TRUE", "-T", "fields", "-r"]).arg(file);
    let wrong = ["ip.checksum.status", "udp.checksum.status", "tcp.checksum.status"];
    for field in wrong.iter().chain(&["tcp.analysis.flags"]).chain(fields) {
        command.args(["-e", field]);
    }
    let output = shell::output(&mut command)?;
    let lines = std::str::from_utf8(&output.stdout)?.lines();
    let rows = lines.map(|line| {
        let mut row: Vec<String> = line.split('\t').map(str::to_owned).collect();
        let values = row.split_off(4);
        // 0 is «bad».
        ensure!(row[..3].iter().all(|status| status != "0") && row[3].is_empty(), "{line}");
        Ok(values)
    });
    rows.collect()
}

/// Captures with UDP, TCP, IPv6, fragments, tunnels and clipped packets.
fn captures() -> Result<Vec<PathBuf>> {
    let mut files = vec![environment::lab_capture()];
    let Some(corpus) = environment::find_corpus() else { return Ok(files) };
    for program in ["arkime", "dnscap", "made"] {
        for entry in fs::read_dir(corpus.join("pcap").join(program))? {
            files.push(entry?.path());
        }
    }
    Ok(files)
}

#[test]
fn tshark_reads_what_records_say() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (mut messages, mut tcp, mut ipv6) = (0, 0, 0);
    for (capture, number) in captures()?.iter().zip(0..) {
        let file = folder.path().join(format!("{number}.pcapng"));
        let records = replay(capture, &["--sink", &format!("pcapng:{}", file.display())])?;
        let expected: Vec<_> = of(&records, "dns.message/1").into_iter().map(recorded).collect();
        let fields =
            ["frame.comment", "dns.id", "dns.flags.response", "dns.qry.name", "dns.qry.type"];
        let found = tshark(&file, &fields)?;
        assert_eq!(found, expected, "{}", capture.display());
        let (again, before) = (transactions(&replay(&file, &[])?), transactions(&records));
        let first = again.iter().zip(&before).find(|(again, before)| again != before);
        assert_eq!((first, again.len()), (None, before.len()), "{}", capture.display());
        let delivery = &last_ledger(&records)?["delivery"]["pcapng"];
        assert_eq!(ledger::counter(delivery, &["messages", "delivered"])?, expected.len() as u64);
        messages += expected.len();
        tcp += records.iter().filter(|record| record["transport"] == "tcp").count();
        ipv6 += records.iter().filter(|record| text(record, "src_ip").contains(':')).count();
    }
    let has_corpus = environment::find_corpus().is_some();
    ensure!(!has_corpus || messages > 1_000 && tcp > 100 && ipv6 > 10, "{messages} {tcp} {ipv6}");
    Ok(())
}

/// A message in tshark's words.
fn recorded(message: &Value) -> Vec<String> {
    let qname = message["qname_case"].as_str().unwrap_or_else(|| text(message, "qname"));
    let qtype = dnscribe_dns::type_number(text(message, "qtype")).map(|number| number.to_string());
    vec![
        format!("event_id={}", text(message, "event_id")),
        format!("{:#06x}", message["id"].as_u64().unwrap_or_default()),
        u8::from(message["qr"] == "response").to_string(),
        // tshark escapes nothing.
        if qname == "." { "<Root>".to_owned() } else { qname.replace("\\.", ".") },
        qtype.unwrap_or_default(),
    ]
}

/// What happened, without the ids, which depend on the file. ICMP errors are no messages, so that the file has none; and
/// it may end before a query timed out.
fn transactions(records: &[Value]) -> Vec<String> {
    let fields =
        ["ts", "client_ip", "server_ip", "transport", "qname", "rcode", "latency_ms", "answers"];
    let line = |record: &&Value| {
        let is_answered = record["status"] == "answered";
        fields.map(|field| record[field].to_string()).join(" ") + &is_answered.to_string()
    };
    let mut lines: Vec<_> = of(records, "dns.transaction/1").iter().map(line).collect();
    lines.sort();
    lines
}

/// Both incidents of the examples that fire: the file has the messages of the alert's zone and client, or of its
/// resolver, and no others.
#[test]
fn an_incident_leaves_its_messages() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (incident, rule) in [("tunnel", "tunnel"), ("dying-resolver", "resolver_down")] {
        let directory = folder.path().join(incident);
        let capture = environment::workspace().join(format!("examples/{incident}.pcapng"));
        let sink = format!("evidence:{}", directory.display());
        let records = replay(&capture, &["--sink", &sink])?;
        let alert = of(&records, "dns.alert/1")[0];
        let file = directory.join(format!("{}.pcapng", text(alert, "alert_id")));
        assert_eq!((text(alert, "rule"), alert["evidence_file"].as_str()), (rule, file.to_str()));

        let comments = tshark(&file, &["frame.comment"])?.concat();
        let found: BTreeSet<&str> =
            comments.iter().filter_map(|comment| comment.strip_prefix("event_id=")).collect();
        let concerns = |message: &&&Value| {
            let query = message["qr"] == "query";
            let [client, server] = if query { ["src_ip", "dst_ip"] } else { ["dst_ip", "src_ip"] };
            text(message, "ts") <= text(alert, "ts")
                && (alert["zone"].is_null() || text(message, "qname").ends_with(".example.org"))
                && (alert["client_ip"].is_null() || message[client] == alert["client_ip"])
                && (alert["resolver"].is_null() || message[server] == alert["resolver"])
        };
        let messages = of(&records, "dns.message/1");
        let expected: BTreeSet<&str> =
            messages.iter().filter(concerns).map(|message| text(message, "event_id")).collect();
        assert_eq!(found, expected);
        ensure!(found.len() > 50 && found.len() < messages.len(), "{} messages", found.len());
        let counters = &last_ledger(&records)?["delivery"]["evidence"]["messages"];
        assert_eq!(ledger::counter(counters, &["delivered"])?, found.len() as u64);
        assert_eq!(ledger::counter(counters, &["records"])?, messages.len() as u64);
        let again = replay(&file, &[])?;
        assert_eq!(of(&again, "dns.message/1").len(), found.len());
    }
    Ok(())
}

/// Runs the agent on the example of a tunnel, with variables of the environment.
fn run(sink: &str, variables: &[(&str, &str)]) -> Result<Output> {
    let mut command = Command::new(environment::binary()?);
    command.arg("replay").arg(environment::workspace().join("examples/tunnel.pcapng"));
    command.args(["--sink", sink]).envs(variables.iter().copied());
    command.output().context("cannot run the agent")
}

/// Neither sink writes the bytes of a message that is masked, and the recorder finds no messages by masked names.
#[test]
fn masking_and_these_sinks_exclude_each_other() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [file, directory] = ["pcapng:", "evidence:"]
        .map(|kind| format!("{kind}{}", folder.path().join("out").display()));
    let hidden = ("DNSCRIBE_PRIVACY__QNAME", "hash");
    let process = ("DNSCRIBE_PRIVACY__PROCESS", "hash");
    let cases = [
        (&file, hidden, "messages.wire"),
        (&directory, hidden, "messages.wire"),
        (&directory, process, "keep the streams messages and alerts as they are"),
    ];
    for (sink, variable, words) in cases {
        let output = run(sink, &[variable])?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(2) && said.contains(words), "{sink}: {said}");
        ensure!(fs::read_dir(folder.path())?.next().is_none(), "{sink} wrote something");
    }
    ensure!(run(&file, &[process])?.status.success());
    Ok(())
}

#[test]
fn a_place_that_cannot_be_written_is_named() -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    for kind in ["pcapng", "evidence"] {
        let sink = format!("{kind}:{}/below", file.path().display());
        let output = run(&sink, &[])?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && said.contains("/below"), "{said}");
        let mut check = Command::new(environment::binary()?);
        check.args(["check", "--sink", &sink, "--metrics-listen", "off"]);
        let output = check.output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(said.contains(&format!("fail  {kind}")), "{said}");
    }
    let output = run("evidence:/tmp/unused", &[("DNSCRIBE_DETECT__ENABLED", "false")])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(2) && said.contains("detect.enabled"), "{said}");
    Ok(())
}

/// A pipe to tshark has every packet, and a reader that ends early is no error.
#[test]
fn a_program_can_read_packets_from_stdout() -> Result<()> {
    let binary = environment::binary()?;
    let capture = environment::workspace().join("examples/dying-resolver.pcapng");
    let piped = |reader: &str| {
        let line = format!(
            "set -o pipefail; '{}' replay '{}' --sink pcapng:- | {reader}",
            binary.display(),
            capture.display()
        );
        Command::new("bash").args(["-c", &line]).output()
    };
    let output = piped("tshark -n -r - -T fields -e frame.comment")?;
    let packets = std::str::from_utf8(&output.stdout)?.lines().count();
    ensure!(output.status.success() && packets == 860, "{packets}");
    ensure!(piped("head -c 100")?.status.success());
    Ok(())
}
