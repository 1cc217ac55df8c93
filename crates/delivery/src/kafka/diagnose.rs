//! Explains in a sentence why Kafka is unusable, and what would help.
//!
//! librdkafka's own message is used where it is specific. It does not say why a certificate was
//! rejected, nor why a broker closed a connection, so in those cases a broker is contacted again.

mod listener;
mod tls;

use super::super::KafkaConfig;
use listener::{Address, Fault};
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
}

impl Diagnosis {
    pub(super) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into() }
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
    let found = find(config, error, limit).map(|finding| finding.diagnosis);
    found.or_else(|| error.map(Diagnosis::general))
}

/// Like [`diagnose`], but only returns problems that do not resolve by waiting.
pub(super) fn diagnose_permanent(
    config: &KafkaConfig,
    error: Option<&str>,
    limit: Duration,
) -> Option<Diagnosis> {
    find(config, error, limit).filter(|finding| finding.permanent).map(|finding| finding.diagnosis)
}

struct Finding {
    diagnosis: Diagnosis,
    /// Whether it stays until someone changes a setting or a certificate.
    permanent: bool,
}

fn find(config: &KafkaConfig, error: Option<&str>, limit: Duration) -> Option<Finding> {
    let (sender, receiver) = mpsc::channel();
    let (config, error) = (config.clone(), error.map(str::to_owned));
    // On its own thread, because resolving a name may take longer than `limit`.
    let started = thread::Builder::new().name("kafka-diagnose".into()).spawn(move || {
        // Fails if the time limit has passed.
        let _ = sender.send(examine(&config, error.as_deref()));
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

fn examine(config: &KafkaConfig, error: Option<&str>) -> Option<Finding> {
    let named = error.and_then(Address::in_message);
    let address =
        named.or_else(|| config.brokers.first().and_then(|broker| broker.parse().ok()))?;
    if let Some(diagnosis) = error.and_then(|error| refused_user(config, &address, error)) {
        return Some(Finding { diagnosis, permanent: true });
    }
    if config.has_tls() && !tls::can_connect(config) {
        return None;
    }
    let fault = listener::probe(config, &address).err()?;
    let temporary = matches!(
        fault,
        Fault::Unresolved(_) | Fault::Unconnected(_) | Fault::Silent | Fault::Closed
    );
    Some(Finding { diagnosis: explain(config, &address, fault), permanent: !temporary })
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

fn explain(config: &KafkaConfig, address: &Address, fault: Fault) -> Diagnosis {
    let protocol = config.protocol();
    let advertised = if config.brokers.iter().any(|broker| broker.parse() == Ok(address.clone())) {
        "correct --brokers or kafka.brokers"
    } else {
        // The brokers of kafka.brokers answered with this address.
        "correct the brokers' advertised.listeners: they gave this address"
    };
    let (problem, remedy) = match fault {
        Fault::Certificate(diagnosis) => return diagnosis,
        Fault::Unresolved(error) => (
            format!("the name of broker {address} cannot be resolved: {error}"),
            format!("{advertised}, or this host's resolver"),
        ),
        Fault::Unconnected(error) => (
            format!("cannot connect to {address}: {error}"),
            format!("check that the broker runs and no firewall is in between; else {advertised}"),
        ),
        Fault::Silent => (
            format!("{address} accepts connections and does not answer"),
            "check whether the broker is stuck, and whether this is a Kafka broker's port".into(),
        ),
        Fault::Closed => (
            format!("{address} accepts connections and closes them"),
            "see the broker's log, and check whether this is a Kafka broker's port".into(),
        ),
        Fault::SpeaksTls => (
            format!("{address} speaks TLS, and security.protocol is {protocol}"),
            "set security.protocol to ssl, or to sasl_ssl if a user is required".into(),
        ),
        Fault::SpeaksPlain => (
            format!("{address} does not speak TLS, and security.protocol is {protocol}"),
            "use the port of the broker's TLS listener; without one, set security.protocol to \
             plaintext or sasl_plaintext on a trusted network"
                .into(),
        ),
        Fault::WantsSasl(mechanisms) => (
            format!("{address} asks for a user, and security.protocol is {protocol}"),
            format!(
                "set security.protocol to sasl_{protocol}, sasl.mechanism to one of {}, \
                 sasl.username and sasl.password",
                mechanisms.join(", "),
            ),
        ),
        Fault::WantsNoSasl => (
            format!("{address} knows no users, and security.protocol is {protocol}"),
            format!(
                "use the port of the broker's SASL listener, or set security.protocol to {}",
                protocol.trim_start_matches("sasl_"),
            ),
        ),
        Fault::OtherMechanisms(mechanisms) => (
            format!("{address} does not take SASL mechanism {}", config.mechanism().unwrap_or("")),
            format!("set sasl.mechanism to one of {}", mechanisms.join(", ")),
        ),
    };
    Diagnosis::new(problem, remedy)
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
