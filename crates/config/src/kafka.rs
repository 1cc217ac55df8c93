//! Sections `kafka` and `kafka.registry`.

use crate::ConfigError;
use crate::secret::{self, Secret, Url};
use crate::value::{
    Broker, Name, Partitions, PositiveSpan, Replicas, Retention, Topic, TopicPrefix, TopicTemplate,
};
use dnscribe_delivery::{Format, KafkaConfig, RegistryConfig, Stream, StreamSet, TopicCreation};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

section! {
    /// Section `kafka`.
    KafkaLayer {
        /// Addresses of some of the brokers, as HOST:PORT.
        items brokers: Option<Vec<Broker>> = example("[\"kafka-1:9092\", \"kafka-2:9092\"]"),
        /// Streams that are sent to Kafka, where they differ from `streams`.
        joined streams: Option<StreamSet> = example("[transactions, ledger]"),
        /// Topics by stream. Default: dns.raw for messages, dns.normalized for transactions, and
        /// dns. with the name of the stream for the others. {NAME} stands for the value of a label, {region}
        /// for the region.
        map topics: BTreeMap<Stream, TopicTemplate> = example("{ transactions: \"dns.normalized.{environment}\" }"),
        /// Beginning of all topic names, those above included: a sandbox beside production.
        text topic_prefix: Option<TopicPrefix> = example("sandbox."),
        /// Settings of librdkafka.
        map options: BTreeMap<String, String> = example("{ security.protocol: ssl, ssl.ca.location: /etc/ssl/kafka-ca.pem }"),
        /// Settings of librdkafka whose value is the content of a file: passwords and keys.
        map option_files: BTreeMap<String, PathBuf> = example("{ sasl.password: /run/credentials/dnscribe.service/kafka-password }"),
        /// Number of partitions of the topics that `dnscribe kafka init` creates, by stream: 1 to
        /// 10000.
        map partitions: BTreeMap<Stream, Partitions> = example("{ transactions: 24 }"),
        /// Time for which these topics keep their records, by stream: 1s to 36500d.
        map retention: BTreeMap<Stream, Retention> = example("{ transactions: 72h }"),
        /// Number of copies of each partition of these topics, 1 to 1000. Default: that of the
        /// brokers.
        text replication_factor: Option<Replicas> = example("3"),
        /// Format of records: json, avro, or ecs, which is the Elastic Common Schema.
        text format: Option<Format> = shown("json"),
        /// Format of the records of single streams, where it differs from `format`.
        map formats: BTreeMap<Stream, Format> = example("{ transactions: avro }"),
        /// Schema registry with Confluent's interface; needed for Avro.
        section registry: RegistryLayer,
    }
}

section! {
    /// Section `kafka.registry`.
    RegistryLayer {
        /// URL of the registry.
        text url: Option<Url> = example("https://registry:8081"),
        /// User name, if the registry asks for one.
        text username: Option<Name> = example("dnscribe"),
        /// Password. Better in a file: see password_file.
        text password: Option<Secret> = example("secret"),
        /// File that contains the password.
        text password_file: Option<PathBuf> = example("/run/credentials/dnscribe.service/registry-password"),
        /// File of trusted certificates, in PEM. Default: those of the system.
        text ca_file: Option<PathBuf> = example("/etc/ssl/registry-ca.pem"),
        /// Time limit of a request.
        text timeout: Option<PositiveSpan> = default(Duration::from_secs(2)),
    }
}

/// Checks the section and reads the files that it names. `placeholders` are the values that names of
/// topics may contain: labels and `region`.
///
/// # Errors
/// Settings do not fit together, or a file cannot be read.
pub fn resolve(
    layer: KafkaLayer,
    placeholders: &BTreeMap<String, String>,
) -> Result<KafkaConfig, ConfigError> {
    let topic_prefix = layer.topic_prefix.map(|prefix| prefix.0).unwrap_or_default();
    let topics = topics(layer.topics, &topic_prefix, placeholders)?;
    let mut kafka = KafkaConfig {
        brokers: layer.brokers.unwrap_or_default().into_iter().map(|one| one.0).collect(),
        topics,
        topic_prefix,
        options: layer.options,
        hidden: layer.option_files.keys().cloned().collect(),
        creation: TopicCreation {
            partitions: layer.partitions.into_iter().map(|(key, count)| (key, count.0)).collect(),
            retention: layer.retention.into_iter().map(|(key, span)| (key, span.0)).collect(),
            replication_factor: layer.replication_factor.map(|factor| factor.0),
        },
        format: layer.format.unwrap_or_default(),
        formats: layer.formats,
        registry: registry(layer.registry)?,
    };
    for (option, path) in layer.option_files {
        if kafka.options.contains_key(&option) {
            return ConfigError::in_section(
                &format!("kafka.option_files.{option}"),
                "kafka.options has it, too: keep one of them",
            );
        }
        let value = secret::read(&path).or_else(|why| {
            let key = format!("kafka.option_files.{option}");
            let path = path.display();
            ConfigError::in_section(&key, format!("cannot take its value from {path}: {why}"))
        })?;
        kafka.options.insert(option, value);
    }
    dnscribe_delivery::kafka::validate(&kafka).map_err(ConfigError::Invalid)?;
    let is_avro = |format: &Format| *format == Format::Avro;
    let has_avro = is_avro(&kafka.format) || kafka.formats.values().any(is_avro);
    if has_avro && kafka.registry.is_none() {
        return ConfigError::in_section(
            "kafka",
            "records in Avro need a schema registry: give kafka.registry.url, such as http://registry:8081",
        );
    }
    Ok(kafka)
}

/// Returns the topics that differ from the default.
fn topics(
    templates: BTreeMap<Stream, TopicTemplate>,
    prefix: &str,
    placeholders: &BTreeMap<String, String>,
) -> Result<BTreeMap<Stream, String>, ConfigError> {
    let mut topics = BTreeMap::new();
    if !prefix.is_empty() {
        topics.extend(Stream::ALL.map(|stream| (stream, stream.default_topic().to_owned())));
    }
    for (stream, template) in templates {
        let name = template.expand(placeholders).or_else(|why| {
            ConfigError::in_section(&format!("kafka.topics.{}", stream.name()), why.to_string())
        })?;
        topics.insert(stream, name);
    }
    for (stream, topic) in &mut topics {
        let name = format!("{prefix}{topic}");
        *topic = name.parse::<Topic>().map(|name| name.0).or_else(|why| {
            ConfigError::in_section(&format!("kafka.topics.{}", stream.name()), why.to_string())
        })?;
    }
    Ok(topics)
}

fn registry(layer: RegistryLayer) -> Result<Option<RegistryConfig>, ConfigError> {
    const SECTION: &str = "kafka.registry";
    let timeout = layer.timeout().0;
    let has_timeout = layer.timeout.is_some();
    let file = layer.password_file.as_deref();
    let login = secret::login(SECTION, layer.username, layer.password, file)?;
    let Some(Url(url)) = layer.url else {
        if login.is_some() || layer.ca_file.is_some() || has_timeout {
            let problem = "url is missing: give one such as http://registry:8081";
            return ConfigError::in_section(SECTION, problem);
        }
        return Ok(None);
    };
    Ok(Some(RegistryConfig { url, login, ca_file: layer.ca_file, timeout }))
}
