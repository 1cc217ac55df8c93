//! The configuration is loaded from a file or from the environment.

use super::scratch;
use dnscribe_agent::config::layer::Layer;
use dnscribe_agent::config::{Config, Purpose, Sources};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;

/// The secret in the seeds, which must not appear in any message.
const SECRET: &str = "hunter2-hunter2";
const PASSWORD: &str = "DNSCRIBE_KAFKA__OPTIONS__SASL_PASSWORD";

/// See [`super::Target::run`]. The first byte selects the source of the rest.
pub fn run(data: &[u8]) {
    let Some((kind, text)) = data.split_first() else { return };
    let purpose = if kind & 2 == 0 { Purpose::Live } else { Purpose::Replay };
    let mut sources =
        Sources { purpose, file: None, environment: Vec::new(), flags: Layer::default() };
    let folder = scratch();
    if kind & 1 == 0 {
        let file = folder.path().join("config.yaml");
        if let Err(error) = fs::write(&file, text) {
            eprintln!("skipped: {error}");
            return;
        }
        sources.file = Some(file);
    } else {
        sources.environment = text.split(|byte| *byte == b'\n').map(variable).collect();
    }
    match Config::load(&sources) {
        Ok(config) => {
            assert!(!config.sinks.is_empty(), "records need somewhere to go");
            let shown = format!("{config:?}");
            assert!(!shown.contains(SECRET) || is_quoted(*kind, text), "a secret is shown");
        }
        Err(error) => {
            let said = error.to_string();
            assert!(!said.is_empty());
            assert!(!said.contains(SECRET) || is_quoted(*kind, text), "a secret is shown: {said}");
        }
    }
}

/// Returns whether the secret is in a metadata that is not secret. A mutation put it there, and then a
/// message may quote it.
fn is_quoted(kind: u8, text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let secret = format!("{PASSWORD}={SECRET}");
    kind & 1 == 0 || text.split('\n').any(|line| line != secret && line.contains(SECRET))
}

fn variable(line: &[u8]) -> (OsString, OsString) {
    let at = line.iter().position(|byte| *byte == b'=').unwrap_or(line.len());
    let (name, value) = line.split_at(at);
    let value = value.get(1..).unwrap_or_default();
    (OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec()))
}

/// A file and an environment with many keys.
pub fn seeds() -> Vec<Vec<u8>> {
    let file = format!(
        "version: 1\nnode: n1\nregion: eu\nstreams: [transactions, ledger]\n\
         sinks: [stdout, 'file:/tmp/x', kafka, 'null']\nresolvers: {{192.0.2.53: one}}\n\
         capture:\n  hook: socket\n  interfaces: [eth0]\n  ports: [53, 5353]\n  ring_bytes: 16MiB\n\
         pairing:\n  query_timeout: 5s\n  max_transactions: 1000\n\
         kafka:\n  brokers: [a:9092, 'b:9092']\n  streams: [ledger]\n  topics: {{ledger: x}}\n  \
         format: avro\n  registry:\n    url: http://r:8081\n    username: u\n    password: {SECRET}\n  \
         options:\n    sasl.username: u\n    sasl.password: {SECRET}\n\
         spool:\n  directory: /tmp/s\n  max_bytes: 1GiB\n  max_age: 1h\n  when_full: drop_newest\n\
         file:\n  rotate_bytes: 1MiB\n  rotate_every: 1h\n  keep: 3\n  compress: zstd\n\
         metrics:\n  listen: 127.0.0.1:9353\nmessages:\n  wire: true\nlog:\n  format: json\n  level: debug\n"
    );
    let environment = format!(
        "DNSCRIBE_NODE=n1\nDNSCRIBE_KAFKA__BROKERS=a:9092,b:9092\nPATH=/bin\n\
         {PASSWORD}={SECRET}\nDNSCRIBE_PAIRING__QUERY_TIMEOUT=1s\n\
         DNSCRIBE_SINKS=stdout\nDNSCRIBE_CAPTURE__PORTS=53,5353\nDNSCRIBE_LOG__LEVEL=debug"
    );
    let with = |kind: u8, text: &str| [&[kind], text.as_bytes()].concat();
    vec![with(0, &file), with(2, &file), with(1, &environment), with(0, "version: 1\n")]
}
