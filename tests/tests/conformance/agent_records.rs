//! The agent's own records of a capture, from `dnscribe replay`.

use super::fields::{Fields, moment};
use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use dnscribe_agent::capture::replay::{Replay, ReplayProgress};
use dnscribe_tests::{environment, ledger, shell};
use dnscribe_transaction::decode::{Decoded, Decoder, DecoderOptions};
use dnscribe_transaction::packet::Packet;
use dnscribe_transaction::packet::ports::PortSet;
use serde_json::Value;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

/// The agent's records of one capture.
#[derive(Debug, Default)]
pub struct AgentRecords {
    pub messages: Vec<Value>,
    pub transactions: Vec<Value>,
    /// Messages that were framed, but cannot be decoded.
    pub refused: Vec<Refused>,
}

/// A message that the agent rejected, from its dead letter.
#[derive(Debug)]
pub struct Refused {
    pub frame: u64,
    /// Absent if the message is shorter than a header.
    pub header: Option<Header>,
    pub bytes: u64,
}

/// The readable part of a rejected message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub id: u16,
    pub response: bool,
}

/// Replays a capture. No query times out, because the references have no timeout.
pub fn replay(capture: &Path, ports: &str) -> Result<AgentRecords> {
    let mut command = Command::new(environment::binary()?);
    command.arg("replay").arg(capture).args(["--port", ports, "--output", "json"]);
    command.args(["--stream", "messages,transactions,dlq,ledger", "--query-timeout", "10000000s"]);
    let output = shell::output(&mut command)?;
    let mut actual = AgentRecords::default();
    let mut last = Value::Null;
    for line in String::from_utf8(output.stdout)?.lines() {
        let record: Value = serde_json::from_str(line)?;
        match record["schema"].as_str().context("no schema")? {
            "dns.message/1" => actual.messages.push(record),
            "dns.transaction/1" => actual.transactions.push(record),
            "dns.dlq/1" => actual.refused.extend(refused(&record)?),
            "dns.ledger/1" => last = record,
            other => anyhow::bail!("unexpected schema {other}"),
        }
    }
    ensure!(last["final"] == true, "no final ledger record");
    ledger::verify(&last)?;
    Ok(actual)
}

/// Parses a dead letter; `None` if it holds no complete DNS message.
fn refused(record: &Value) -> Result<Option<Refused>> {
    if !record["reason"].as_str().is_some_and(|reason| reason.starts_with("dns_")) {
        return Ok(None);
    }
    let octets = BASE64.decode(record["bytes"].as_str().context("no bytes")?)?;
    Ok(Some(Refused { frame: frame(record)?, header: header(&octets), bytes: octets.len() as u64 }))
}

fn header(octets: &[u8]) -> Option<Header> {
    let header: &[u8; 12] = octets.first_chunk()?;
    let id = u16::from_be_bytes([header[0], header[1]]);
    Some(Header { id, response: header[2] & 0x80 != 0 })
}

/// Returns the frame that completed a message.
pub fn frame(record: &Value) -> Result<u64> {
    record["seq"].as_u64().context("no seq")
}

/// Returns the part of a message's header that distinguishes messages of one frame.
pub fn identity(record: &Value) -> Result<Header> {
    let id = record["id"].as_u64().context("no id")?;
    Ok(Header { id: u16::try_from(id)?, response: record["qr"] == "response" })
}

/// Returns the fields of a message record, by the names of [`super::golden`].
pub fn fields(record: &Value) -> Result<Fields> {
    let mut fields = Fields::default();
    fields.set("ts", moment(record["ts"].as_str().context("no ts")?)?);
    fields.set("malformed", false);
    for (name, key) in [("src", "src_ip"), ("dst", "dst_ip"), ("bytes", "captured_bytes")] {
        fields.set(name, text(&record[key]));
    }
    for name in [
        "transport",
        "src_port",
        "dst_port",
        "clipped",
        "id",
        "qr",
        "opcode",
        "rcode",
        "question_count",
        "answer_count",
        "authority_count",
        "additional_count",
        "qname",
        "qtype",
        "qclass",
    ] {
        fields.set(name, text(&record[name]));
    }
    let flags = record["flags"].as_array().context("no flags")?;
    for name in ["aa", "tc", "rd", "ra", "ad", "cd"] {
        fields.set(name, flags.iter().any(|flag| flag == name));
    }
    let none = Vec::new();
    let answers = record["answers"].as_array().unwrap_or(&none);
    fields.set("answers", answers.len());
    for (place, answer) in answers.iter().enumerate() {
        for name in ["name", "type", "ttl", "data"] {
            fields.set(&format!("answers[{place}].{name}"), text(&answer[name]));
        }
        let class = answer["class"].as_str().unwrap_or("IN");
        fields.set(&format!("answers[{place}].class"), class);
    }
    edns(&mut fields, &record["edns"]);
    Ok(fields)
}

fn edns(fields: &mut Fields, edns: &Value) {
    fields.set("edns", edns.is_object());
    for name in ["udp_size", "do", "version", "ecs", "nsid", "cookie"] {
        fields.set(&format!("edns.{name}"), text(&edns[name]));
    }
    let none = Vec::new();
    let options = edns["options"].as_array().unwrap_or(&none).iter();
    let codes: Vec<u64> = options.filter_map(|option| option["code"].as_u64()).collect();
    fields.set("edns.options", format!("{codes:?}"));
    let ede = &edns["ede"];
    let shown = ede.is_object().then(|| format!("{} {}", text(&ede["code"]), text(&ede["text"])));
    fields.set("edns.ede", shown.unwrap_or_default());
}

/// Formats a value as text, without quotes; empty if absent.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Counts the ICMP errors that quote a query, which no record has, and checks the identities of the
/// ledger after every packet.
pub fn quotes(capture: &Path, ports: &str) -> Result<u64> {
    let ports: PortSet = ports.parse()?;
    let options = DecoderOptions { ports: ports.clone(), ..DecoderOptions::default() };
    let mut decoder = Decoder::new(options);
    let mut replay = Replay::new(ports);
    let mut quotes = 0;
    let mut note =
        |decoded: Decoded<'_>| quotes += u64::from(matches!(decoded, Decoded::Unreachable(_)));
    let mut each = |packet: &Packet<'_>, _: &ReplayProgress<'_>| {
        decoder.expire(packet.ts, &mut note);
        decoder.observe(packet, &mut note);
        let counters = decoder.counters();
        let ended = counters.decoded_packets + counters.malformed.values().sum::<u64>();
        assert_eq!(counters.received, ended + counters.held, "identity 3");
        ControlFlow::Continue(())
    };
    replay.file(capture, &mut each)?;
    Ok(quotes)
}
