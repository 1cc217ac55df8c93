//! librdkafka's settings, and its errors without the secrets in them.

use super::super::KafkaConfig;
use super::diagnose::{self, Diagnosis};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

/// Ours, before the user's `kafka.options`. What is not here is librdkafka's default.
const DEFAULTS: &[(&str, &str)] = &[
    ("acks", "all"),
    ("client.id", "dnscribe"),
    ("client.software.name", "dnscribe"),
    ("client.software.version", env!("CARGO_PKG_VERSION")),
    ("compression.type", "zstd"),
    ("enable.idempotence", "true"),
    ("linger.ms", "50"),
    ("log.connection.close", "false"),
    // Java's partitioner, so that records meet those of other producers by key.
    ("partitioner", "murmur2_random"),
    ("queue.buffering.max.kbytes", "131072"),
    ("queue.buffering.max.messages", "200000"),
    // A broker that is back should not wait long for the records.
    ("reconnect.backoff.max.ms", "2000"),
    ("socket.keepalive.enable", "true"),
    ("socket.nagle.disable", "true"),
    ("statistics.interval.ms", "5000"),
];

/// Beside our `compression.type`: of what librdkafka spends on a record zstd is a fifth at its default
/// level, 3, and level 1 half of that, for a few per cent more octets.
const LEVEL: (&str, &str) = ("compression.level", "1");
/// Who sets one of these chooses the compression.
const COMPRESSION: [&str; 2] = ["compression.type", "compression.codec"];

/// The settings of a producer. `for_ever`: a record waits for its broker without a limit, for
/// there is a disk that takes the others; else for 5 minutes.
pub(super) fn producer(config: &KafkaConfig, for_ever: bool) -> ClientConfig {
    let mut client = ClientConfig::new();
    for (key, value) in DEFAULTS {
        client.set(*key, *value);
    }
    if !COMPRESSION.iter().any(|key| config.options.contains_key(*key)) {
        client.set(LEVEL.0, LEVEL.1);
    }
    client.set("message.timeout.ms", if for_ever { "0" } else { "300000" });
    client.set("bootstrap.servers", config.brokers.join(","));
    for (key, value) in &config.options {
        client.set(key, value);
    }
    client.set_log_level(RDKafkaLogLevel::Info);
    client
}

/// The settings of a consumer that reads whole topics and leaves no trace.
pub(super) fn consumer(config: &KafkaConfig) -> ClientConfig {
    let mut client = ClientConfig::new();
    // What waits to be read must fit into memory, however large the topics are and however well
    // they are compressed; where there is no room, the default is to pause for a second.
    client.set("queued.max.messages.kbytes", "16384");
    client.set("fetch.message.max.bytes", "262144");
    client.set("fetch.max.bytes", "16777216");
    client.set("fetch.queue.backoff.ms", "20");
    client.set("check.crcs", "true");
    client.set("bootstrap.servers", config.brokers.join(","));
    for (key, value) in &config.options {
        client.set(key, value);
    }
    // Where retention overtakes the reader, what is left counts; the gap is noticed.
    client.set("auto.offset.reset", "earliest");
    client.set("group.id", "dnscribe-verify");
    client.set("enable.auto.commit", "false");
    client.set("enable.partition.eof", "true");
    client.set_log_level(RDKafkaLogLevel::Warning);
    client
}

/// Whether librdkafka knows every setting and takes its value; a sentence without secrets if not.
pub fn validate(config: &KafkaConfig) -> Result<(), String> {
    if config.options.is_empty() {
        return Ok(());
    }
    producer(config, false)
        .create_native_config()
        .map(drop)
        .map_err(|error| explain(config, &error))
}

/// librdkafka's words without its own state and statistics, which it appends in parentheses, and
/// without secrets.
pub(super) fn essence(config: &KafkaConfig, words: &str) -> String {
    let words = words.split_once(" (after ").map_or(words, |(essence, _)| essence);
    without_secrets(config, words)
}

/// librdkafka's words without the values that must not be shown.
pub(super) fn without_secrets(config: &KafkaConfig, words: &str) -> String {
    // It quotes the rest of `sasl.oauthbearer.config` from where it does not understand it.
    let words = words.split_once(" beginning at: ").map_or(words, |(before, _)| before);
    let hidden = config.options.iter().filter(|(name, _)| config.hides(name));
    hidden
        .map(|(_, value)| value.as_str())
        // What is shorter is in any text.
        .filter(|value| value.len() >= 4)
        .fold(words.to_owned(), |words, value| words.replace(value, "***"))
}

/// Why there is no client.
pub(super) fn cannot_start(config: &KafkaConfig, error: &KafkaError) -> Diagnosis {
    diagnose::settings(config)
        .unwrap_or_else(|| Diagnosis::new(explain(config, error), "correct kafka.options"))
}

/// An error in one sentence, without the value of a secret setting.
pub(super) fn explain(config: &KafkaConfig, error: &KafkaError) -> String {
    let place = |key: &str| {
        if config.hidden.contains(key) { "kafka.option_files" } else { "kafka.options" }
    };
    match error {
        // Its value may be in the reason.
        KafkaError::ClientConfig(code, _, key, _)
            if config.hides(key) && *code != RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN =>
        {
            format!("{}: the value of {key} is not valid", place(key))
        }
        KafkaError::ClientConfig(_, reason, key, _) => {
            format!("{}: {key}: {}", place(key), reason.trim_end_matches('.'))
        }
        KafkaError::Nul(_) => "kafka.options: a value has a NUL octet: remove it".to_owned(),
        // The user's settings are judged together only when the client is made.
        KafkaError::ClientCreation(reason) => match diagnose::settings(config) {
            Some(unusable) => format!("kafka.options: {unusable}"),
            None => without_secrets(config, reason),
        },
        other => match other.rdkafka_error_code() {
            Some(code) => code.to_string(),
            None => other.to_string(),
        },
    }
}
