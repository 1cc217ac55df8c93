//! Explains in a sentence why Kafka is unusable, and what would help.
//!
//! librdkafka's own message is used where it is specific. It does not say why a certificate was
//! rejected, nor why a broker closed a connection, so in those cases a broker is contacted again.

mod listener;
mod tls;

use super::super::KafkaConfig;
use listener::{Address, Listener};
use std::fmt;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// What is wrong with Kafka, and how to fix it. Contains no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// What is wrong, in a sentence.
    pub problem: String,
    /// How to fix it.
    pub remedy: String,
    /// Whether it stays until someone changes a setting or a certificate.
    permanent: bool,
}

impl Diagnosis {
    pub(super) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into(), permanent: true }
    }

    /// A problem that may resolve by waiting.
    fn temporary(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { permanent: false, ..Self::new(problem, remedy) }
    }

    /// A problem with a general remedy.
    pub(super) fn general(problem: impl Into<String>) -> Self {
        let remedy = "check that the brokers run, are reachable from here and accept this client; \
                      then check --brokers, kafka.brokers and kafka.options";
        Self::new(problem, remedy)
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; remedy: {}", self.problem, self.remedy)
    }
}

/// Explains why Kafka is unusable. `error` is librdkafka's last error, if there was one. `None` if
/// there was none and a broker answers. May connect to a broker; takes at most `limit`.
pub(super) fn diagnose(
    config: &KafkaConfig,
    error: Option<&str>,
    limit: Duration,
) -> Option<Diagnosis> {
    find(config, error, limit).or_else(|| error.map(Diagnosis::general))
}

/// Like [`diagnose`], but only returns problems that do not resolve by waiting.
pub(super) fn diagnose_permanent(
    config: &KafkaConfig,
    error: Option<&str>,
    limit: Duration,
) -> Option<Diagnosis> {
    find(config, error, limit).filter(|found| found.permanent)
}

fn find(config: &KafkaConfig, error: Option<&str>, limit: Duration) -> Option<Diagnosis> {
    let (sender, receiver) = mpsc::channel();
    let (config, error) = (config.clone(), error.map(str::to_owned));
    // On its own thread, because resolving a name may take longer than `limit`.
    let started = thread::Builder::new().name("kafka-diagnose".into()).spawn(move || {
        // Fails if the time limit has passed.
        let _ = sender.send(examine(config, error.as_deref()));
    });
    started.ok().and_then(|_| receiver.recv_timeout(limit).ok()).flatten()
}

/// Finds settings with which a client cannot be created.
pub(super) fn settings(config: &KafkaConfig) -> Option<Diagnosis> {
    (config.mechanism() == Some("GSSAPI")).then(|| {
        Diagnosis::new(
            "SASL mechanism GSSAPI (Kerberos), which is librdkafka's default, is not built in",
            "set sasl.mechanism to PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512",
        )
    })
}

fn examine(config: KafkaConfig, error: Option<&str>) -> Option<Diagnosis> {
    let named = error.and_then(Address::in_message);
    let address =
        named.or_else(|| config.brokers.first().and_then(|broker| broker.parse().ok()))?;
    if let Some(refused) = error.and_then(|error| refused_user(&config, &address, error)) {
        return Some(refused);
    }
    // A handshake without librdkafka needs the client's keys in PEM files or settings.
    let elsewhere =
        ["ssl.engine.location", "ssl.engine.id", "ssl.providers", "ssl.keystore.location"];
    if config.has_tls() && elsewhere.iter().any(|name| config.option(name).is_some()) {
        return None;
    }
    Listener { config, address }.probe().err()
}

/// The broker's refusal of user and password. It does not say which of them is wrong, to not reveal
/// which users exist.
fn refused_user(config: &KafkaConfig, address: &Address, error: &str) -> Option<Diagnosis> {
    let (_, reason) = error.split_once("SASL authentication error: ")?;
    let mechanism = config.mechanism()?;
    if !mechanism.starts_with("SCRAM-") && mechanism != "PLAIN" {
        let problem = format!("{address} refuses this client (SASL {mechanism}): {reason}");
        return Some(Diagnosis::new(problem, "see kafka.options, sasl.*"));
    }
    let user = config.option("sasl.username").filter(|_| !config.hides("sasl.username"));
    let user = user.map(|user| format!(" \"{user}\"")).unwrap_or_default();
    Some(Diagnosis::new(
        format!("{address} refuses user{user} (SASL {mechanism}): unknown user or wrong password"),
        "correct sasl.username and sasl.password in kafka.options or kafka.option_files, or create \
         the user for this mechanism",
    ))
}

impl KafkaConfig {
    fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    /// `security.protocol` in lower case.
    fn protocol(&self) -> String {
        self.option("security.protocol").unwrap_or("plaintext").to_ascii_lowercase()
    }

    fn has_tls(&self) -> bool {
        self.protocol().ends_with("ssl")
    }

    /// The SASL mechanism, if the protocol uses SASL.
    fn mechanism(&self) -> Option<&str> {
        let given = self.option("sasl.mechanism").or_else(|| self.option("sasl.mechanisms"));
        self.protocol().starts_with("sasl_").then_some(given.unwrap_or("GSSAPI"))
    }
}

#[cfg(test)]
mod tests;
