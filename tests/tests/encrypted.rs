//! Connection records of a capture of encrypted DNS, compared with tshark's results.

use anyhow::{Context, Result, ensure};
use dnscribe_tests::{environment, shell};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

/// The compared fields of a connection.
#[derive(Debug, Default, PartialEq)]
struct ConnectionSummary {
    octets: [u64; 2],
    sni: Option<String>,
    connect_us: Option<i64>,
}

/// Connections by transport and client port; no two connections of the capture have the same.
type Connections = BTreeMap<(String, u64), ConnectionSummary>;

fn agent_connections() -> Result<Connections> {
    let path = environment::workspace().join("tests/goldens/encrypted.ndjson");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut all = Connections::new();
    for line in text.lines() {
        let record: Value = serde_json::from_str(line)?;
        if record["schema"] != "dns.connection/1" {
            continue;
        }
        let octets =
            ["client_bytes", "server_bytes"].map(|name| record[name].as_u64().unwrap_or(0));
        let found = ConnectionSummary {
            octets,
            sni: record["sni"].as_str().map(str::to_owned),
            connect_us: record["connect_ms"].as_f64().map(microseconds),
        };
        let port = record["client_port"].as_u64().context("no port")?;
        let transport = record["transport"].as_str().context("no transport")?;
        ensure!(all.insert((transport.to_owned(), port), found).is_none(), "{line}");
    }
    Ok(all)
}

#[expect(clippy::cast_possible_truncation, reason = "a capture of seconds")]
fn microseconds(ms: f64) -> i64 {
    (ms * 1e3).round() as i64
}

fn tshark_connections() -> Result<Connections> {
    const SERVERS: [u64; 3] = [853, 8853, 443];
    const FIELDS: [&str; 9] = [
        "tcp.srcport",
        "tcp.dstport",
        "tcp.len",
        "udp.srcport",
        "udp.dstport",
        "udp.length",
        "tls.handshake.extensions_server_name",
        "tcp.flags.syn",
        "frame.time_relative",
    ];
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(environment::workspace().join("tests/goldens/encrypted.pcap"));
    // Retransmissions are counted once; packets quoted in ICMP errors are not counted.
    tshark.args(["-Y", "not icmp and not tcp.analysis.retransmission", "-T", "fields"]);
    tshark.args(["-d", "udp.port==853,quic", "-d", "udp.port==8853,quic", "-E", "occurrence=f"]);
    for field in FIELDS {
        tshark.args(["-e", field]);
    }
    let mut all = Connections::new();
    let mut begun: BTreeMap<u64, f64> = BTreeMap::new();
    for line in String::from_utf8(shell::output(&mut tshark)?.stdout)?.lines() {
        let cells: Vec<&str> = line.split('\t').collect();
        let cell = |place: usize| cells.get(place).copied().unwrap_or_default();
        let number = |place| cell(place).parse::<u64>().ok();
        let (transport, src, dst, octets) = match (number(0), number(3)) {
            (Some(src), _) => ("tcp", src, number(1), number(2).unwrap_or(0)),
            (None, Some(src)) => ("udp", src, number(4), number(5).unwrap_or(8) - 8),
            (None, None) => continue,
        };
        let Some(dst) = dst else { continue };
        let from_client = SERVERS.contains(&dst);
        if !from_client && !SERVERS.contains(&src) {
            continue;
        }
        let port = if from_client { src } else { dst };
        let found = all.entry((transport.to_owned(), port)).or_default();
        found.octets[usize::from(!from_client)] += octets;
        if !cell(6).is_empty() {
            found.sni = Some(cell(6).to_owned());
        }
        if ["1", "True"].contains(&cell(7)) {
            let now: f64 = cell(8).parse()?;
            if from_client {
                begun.entry(port).or_insert(now);
            } else if let Some(since) = begun.get(&port) {
                found.connect_us = Some(microseconds((now - since) * 1e3));
            }
        }
    }
    Ok(all)
}

#[test]
fn connections_match_tshark() -> Result<()> {
    let (agent_connections, tshark_connections) = (agent_connections()?, tshark_connections()?);
    ensure!(agent_connections.len() == 16, "{} connections", agent_connections.len());
    for (key, found) in &agent_connections {
        // tshark 4.0 cannot decode QUIC version 2, newer versions can.
        let unread = found.sni.as_deref() == Some("v2.lab.example")
            && tshark_connections.get(key).is_some_and(|theirs| theirs.sni.is_none());
        if unread && tshark_connections.get(key).map(|theirs| theirs.octets) == Some(found.octets) {
            continue;
        }
        ensure!(
            tshark_connections.get(key) == Some(found),
            "{key:?}: {found:?}, tshark {:?}",
            tshark_connections.get(key)
        );
    }
    ensure!(
        agent_connections.len() == tshark_connections.len(),
        "tshark has {} connections",
        tshark_connections.len()
    );
    Ok(())
}
