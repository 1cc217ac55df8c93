//! librdkafka's settings, and its errors without secrets.

use super::super::{KafkaConfig, files};
use super::diagnose::{self, CLOSED, Diagnosis};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;
use std::fs::File;
use std::path::Path;

/// dnscribe's settings. `kafka.options` override them; others are librdkafka's defaults.
const DEFAULTS: &[(&str, &str)] = &[
    ("acks", "all"),
    ("client.id", "dnscribe"),
    ("client.software.name", "dnscribe"),
    ("client.software.version", env!("CARGO_PKG_VERSION")),
    ("compression.type", "zstd"),
    ("enable.idempotence", "true"),
    ("linger.ms", "50"),
    // Java's partitioner, so that other producers' records with the same key are in the same
    // partition.
    ("partitioner", "murmur2_random"),
    ("queue.buffering.max.kbytes", "131072"),
    ("queue.buffering.max.messages", "200000"),
    // Reconnect soon to a broker that is available again.
    ("reconnect.backoff.max.ms", "2000"),
    ("socket.keepalive.enable", "true"),
    ("socket.nagle.disable", "true"),
    ("statistics.interval.ms", "5000"),
];

/// Level of zstd compression. Compression takes a fifth of librdkafka's CPU time per record at
/// zstd's default level 3; level 1 halves that and adds a few per cent of bytes.
const LEVEL: (&str, &str) = ("compression.level", "1");
/// Options with which the user chooses the compression.
const COMPRESSION: [&str; 2] = ["compression.type", "compression.codec"];

/// Settings of a producer. `for_ever`: records wait for a broker without limit, because there is a
/// spool; else for 5 minutes.
pub(super) fn producer(config: &KafkaConfig, for_ever: bool) -> ClientConfig {
    let mut client = ClientConfig::new();
    for (key, value) in DEFAULTS {
        client.set(*key, *value);
    }
    if !COMPRESSION.iter().any(|key| config.options.contains_key(*key)) {
        client.set(LEVEL.0, LEVEL.1);
    }
    client.set("message.timeout.ms", if for_ever { "0" } else { "300000" });
    set_options(&mut client, config);
    client.set_log_level(RDKafkaLogLevel::Info);
    client
}

/// Sets brokers and `kafka.options`, which override what was set before.
fn set_options(client: &mut ClientConfig, config: &KafkaConfig) {
    client.set("bootstrap.servers", config.brokers.join(","));
    for (key, value) in &config.options {
        client.set(key, value);
    }
}

/// Returns whether the value of a setting of librdkafka is the path of a file that it reads.
#[must_use]
pub fn is_path(name: &str) -> bool {
    name.ends_with(".location") || name.ends_with(".keytab")
}

/// Gives librdkafka copies of files that it may not open itself. They are valid as long as the returned files.
pub(super) fn open_files(client: &mut ClientConfig, config: &KafkaConfig) -> Vec<File> {
    let mut copies = Vec::new();
    for (name, path) in config.options.iter().filter(|(name, _)| is_path(name)) {
        if let Some(copy) = files::copy_for_library(Path::new(path)) {
            client.set(name, files::path_of(&copy));
            copies.push(copy);
        }
    }
    copies
}

/// Settings of a consumer that reads whole topics and commits nothing.
pub(super) fn consumer(config: &KafkaConfig) -> ClientConfig {
    let mut client = ClientConfig::new();
    // Limit prefetched data, however large and compressed the topics are. When the queue is full,
    // the default is to pause for a second.
    client.set("queued.max.messages.kbytes", "16384");
    client.set("fetch.message.max.bytes", "262144");
    client.set("fetch.max.bytes", "16777216");
    client.set("fetch.queue.backoff.ms", "20");
    client.set("check.crcs", "true");
    set_options(&mut client, config);
    // If retention deletes records before they are read, continue with the rest; the gap is
    // reported.
    client.set("auto.offset.reset", "earliest");
    client.set("group.id", "dnscribe-verify");
    client.set("enable.auto.commit", "false");
    client.set("enable.partition.eof", "true");
    client.set_log_level(RDKafkaLogLevel::Warning);
    client
}

/// Checks whether librdkafka accepts all settings.
///
/// # Errors
/// Returns a sentence without secrets.
pub fn validate(config: &KafkaConfig) -> Result<(), String> {
    if config.options.is_empty() {
        return Ok(());
    }
    producer(config, false)
        .create_native_config()
        .map(drop)
        .map_err(|error| describe_error(config, &error))
}

/// The facility of what librdkafka logs of connections that failed.
pub(super) const CONNECTION_FAILED: &str = "FAIL";

/// A log message that a broker has closed a connection, shortened; `None` for another. librdkafka only logs it.
pub(super) fn closed(config: &KafkaConfig, facility: &str, message: &str) -> Option<String> {
    let is_closed = facility == CONNECTION_FAILED && message.contains(CLOSED);
    // Messages begin with the name of a thread.
    let message = message.split_once("]: ").map_or(message, |(_, message)| message);
    is_closed.then(|| shorten(config, message))
}

/// librdkafka's message without secrets, and without the state and statistics that it appends in
/// parentheses.
pub(super) fn shorten(config: &KafkaConfig, words: &str) -> String {
    let words = words.split_once(" (after ").map_or(words, |(before, _)| before);
    redact(config, words)
}

/// librdkafka's message without secret values.
pub(super) fn redact(config: &KafkaConfig, words: &str) -> String {
    // librdkafka quotes the part of `sasl.oauthbearer.config` that it does not understand.
    let words = words.split_once(" beginning at: ").map_or(words, |(before, _)| before);
    let hidden = config.options.iter().filter(|(name, _)| config.hides(name));
    hidden
        .map(|(_, value)| value.as_str())
        // A shorter value may occur in any text.
        .filter(|value| value.len() >= 4)
        .fold(words.to_owned(), |words, value| words.replace(value, "***"))
}

/// Diagnoses why a client cannot be created.
pub(super) fn cannot_start(config: &KafkaConfig, error: &KafkaError) -> Diagnosis {
    diagnose::settings(config)
        .unwrap_or_else(|| Diagnosis::new(describe_error(config, error), "correct kafka.options"))
}

/// An error as one sentence without secrets.
pub(super) fn describe_error(config: &KafkaConfig, error: &KafkaError) -> String {
    let place = |key: &str| {
        if config.hidden.contains(key) { "kafka.option_files" } else { "kafka.options" }
    };
    match error {
        // The reason may contain the value.
        KafkaError::ClientConfig(code, _, key, _)
            if config.hides(key) && *code != RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN =>
        {
            format!("{}.{key}: the value is not valid", place(key))
        }
        KafkaError::ClientConfig(_, reason, key, _) => {
            format!("{}.{key}: {}", place(key), reason.trim_end_matches('.'))
        }
        KafkaError::Nul(_) => "kafka.options: a value contains a NUL byte: remove it".to_owned(),
        // librdkafka checks settings together only when the client is created.
        KafkaError::ClientCreation(reason) => match diagnose::settings(config) {
            Some(unusable) => format!("kafka.options: {unusable}"),
            None => redact(config, reason),
        },
        other => match other.rdkafka_error_code() {
            Some(code) => code.to_string(),
            None => other.to_string(),
        },
    }
}
