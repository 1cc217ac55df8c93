//! Why Kafka cannot be used, in a sentence, and what would help.
//!
//! librdkafka says that a certificate could not be verified but not why, and of a connection that a
//! broker closed it says nothing. So where its words do not tell, the broker is asked again, and
//! the configured certificates are looked at.

mod listener;
mod tls;

use super::super::KafkaConfig;
use listener::{Address, Fault};
use std::fmt;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use tls::{Flaw, Tls};

/// What is wrong with Kafka, and what to do about it. Tells no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// What is wrong, in a sentence.
    pub problem: String,
    /// What would help.
    pub remedy: String,
}

impl Diagnosis {
    pub(super) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into() }
    }

    /// Where there is nothing better to say.
    pub(super) fn vague(problem: impl Into<String>) -> Self {
        let remedy = "see that the brokers run, are reachable from here and let this client in; \
                      then --brokers, kafka.brokers and kafka.options";
        Self::new(problem, remedy)
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; remedy: {}", self.problem, self.remedy)
    }
}

/// Why Kafka cannot be used, given librdkafka's last words on it, if there were any; nothing where
/// there were none and a broker answers. Connects to a broker where that is needed to know; takes
/// `limit` at most.
pub(super) fn diagnose(
    config: &KafkaConfig,
    trouble: Option<&str>,
    limit: Duration,
) -> Option<Diagnosis> {
    let found = find(config, trouble, limit).map(|finding| finding.diagnosis);
    found.or_else(|| trouble.map(Diagnosis::vague))
}

/// As [`diagnose`], of what no waiting will heal.
pub(super) fn diagnose_lasting(
    config: &KafkaConfig,
    trouble: Option<&str>,
    limit: Duration,
) -> Option<Diagnosis> {
    find(config, trouble, limit).filter(|finding| finding.lasting).map(|finding| finding.diagnosis)
}

struct Finding {
    diagnosis: Diagnosis,
    /// Whether it stays so until somebody does something here.
    lasting: bool,
}

fn find(config: &KafkaConfig, trouble: Option<&str>, limit: Duration) -> Option<Finding> {
    let (sender, receiver) = mpsc::channel();
    let (config, words) = (config.clone(), trouble.map(str::to_owned));
    // Of its own, because a name that does not resolve may take longer than anybody waits.
    let started = thread::Builder::new().name("kafka-diagnose".into()).spawn(move || {
        // Nobody listens any more where it took too long.
        let _ = sender.send(look(&config, words.as_deref()));
    });
    started.ok().and_then(|_| receiver.recv_timeout(limit).ok()).flatten()
}

/// What stands in the way of making a client with these settings: files that cannot be read or do
/// not hold what they should, or a mechanism that is not there.
pub(super) fn settings(config: &KafkaConfig) -> Option<Diagnosis> {
    if config.mechanism() == Some("GSSAPI") {
        return Some(Diagnosis::new(
            "SASL mechanism GSSAPI (Kerberos), which is librdkafka's default, is not built in",
            "set sasl.mechanism to PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512",
        ));
    }
    Tls::of(config)?.context().err()
}

fn look(config: &KafkaConfig, trouble: Option<&str>) -> Option<Finding> {
    let lasting = |diagnosis| Some(Finding { diagnosis, lasting: true });
    let told = trouble.and_then(Address::in_words);
    let address = told.or_else(|| config.brokers.first().and_then(|broker| broker.parse().ok()))?;
    if let Some(refusal) = trouble.and_then(|words| credentials(config, &address, words)) {
        return lasting(refusal);
    }
    let tls = Tls::of(config);
    if config.has_tls() && tls.is_none() {
        // Keys in hardware: only librdkafka knows how.
        return None;
    }
    let context = match tls.as_ref().map(Tls::context).transpose() {
        Ok(context) => context,
        Err(unusable) => return lasting(unusable),
    };
    let fault = listener::look(config, &address, context.as_ref()).err()?;
    let passing = matches!(
        fault,
        Fault::Unresolved(_) | Fault::Unconnected(_) | Fault::Silent | Fault::Closed
    );
    Some(Finding { diagnosis: explain(config, &address, &fault), lasting: !passing })
}

/// The broker's refusal of user and password. It does not say which of them is wrong, so that
/// nobody learns who is known.
fn credentials(config: &KafkaConfig, address: &Address, words: &str) -> Option<Diagnosis> {
    let (_, said) = words.split_once("SASL authentication error: ")?;
    let mechanism = config.mechanism()?;
    if !mechanism.starts_with("SCRAM-") && mechanism != "PLAIN" {
        let problem = format!("{address} refuses this client (SASL {mechanism}): {said}");
        return Some(Diagnosis::new(problem, "see kafka.options, sasl.*"));
    }
    let user = config.shown("sasl.username").map(|user| format!(" \"{user}\"")).unwrap_or_default();
    Some(Diagnosis::new(
        format!("{address} refuses user{user} (SASL {mechanism}): unknown user or wrong password"),
        "correct sasl.username and sasl.password in kafka.options or kafka.option_files, or have \
         the user made for this mechanism",
    ))
}

fn explain(config: &KafkaConfig, address: &Address, fault: &Fault) -> Diagnosis {
    let advertised = || {
        if config.brokers.iter().any(|broker| broker.parse() == Ok(address.clone())) {
            "correct --brokers or kafka.brokers".to_owned()
        } else {
            // The brokers of kafka.brokers answered, and named this one.
            "correct the brokers' advertised.listeners: they gave this address".to_owned()
        }
    };
    match fault {
        Fault::Unresolved(error) => {
            let problem = format!("the name of broker {address} cannot be resolved: {error}");
            Diagnosis::new(problem, format!("{}, or this host's resolver", advertised()))
        }
        Fault::Unconnected(error) => {
            let problem = format!("cannot connect to {address}: {error}");
            let remedy = "see that the broker runs and no firewall stands between";
            Diagnosis::new(problem, format!("{remedy}; else {}", advertised()))
        }
        Fault::Silent => Diagnosis::new(
            format!("{address} accepts connections and does not answer"),
            "see whether the broker is stuck, and whether that is a Kafka broker's port",
        ),
        Fault::Closed => Diagnosis::new(
            format!("{address} accepts connections and closes them"),
            "see the broker's log, and whether that is a Kafka broker's port",
        ),
        Fault::SpeaksTls => Diagnosis::new(
            format!("{address} speaks TLS, and security.protocol is {}", config.protocol()),
            "set security.protocol to ssl, or to sasl_ssl where a user is asked for",
        ),
        Fault::SpeaksPlain => Diagnosis::new(
            format!("{address} does not speak TLS, and security.protocol is {}", config.protocol()),
            "name the port of the broker's TLS listener; without one, set security.protocol to \
             plaintext or sasl_plaintext, and let no stranger onto that network",
        ),
        Fault::WantsSasl(mechanisms) => Diagnosis::new(
            format!("{address} asks for a user, and security.protocol is {}", config.protocol()),
            format!(
                "set security.protocol to sasl_{}, sasl.mechanism to one of {}, sasl.username and \
                 sasl.password",
                config.protocol(),
                mechanisms.join(", "),
            ),
        ),
        Fault::WantsNoSasl => Diagnosis::new(
            format!("{address} knows no users, and security.protocol is {}", config.protocol()),
            format!(
                "name the port of the broker's SASL listener, or set security.protocol to {}",
                config.protocol().trim_start_matches("sasl_"),
            ),
        ),
        Fault::OtherMechanisms(mechanisms) => Diagnosis::new(
            format!("{address} does not take SASL mechanism {}", config.mechanism().unwrap_or("")),
            format!("set sasl.mechanism to one of {}", mechanisms.join(", ")),
        ),
        Fault::Certificate(flaw) => certificate(config, address, flaw),
        Fault::Alert(alert) => tls::refusal(config, address, alert),
    }
}

/// What is wrong with the broker's certificate.
fn certificate(config: &KafkaConfig, address: &Address, flaw: &Flaw) -> Diagnosis {
    let Flaw { subject, issuer, .. } = flaw;
    let holder = if flaw.depth == 0 {
        format!("the certificate of {address} ({subject})")
    } else {
        format!("the authority's certificate ({subject}) behind that of {address}")
    };
    let clock = "or correct this host's clock";
    match flaw.code {
        tls::EXPIRED => {
            let problem = format!("{holder} expired on {}", flaw.not_after);
            Diagnosis::new(problem, format!("renew that certificate, {clock}"))
        }
        tls::NOT_YET_VALID => {
            let problem = format!("{holder} is not valid before {}", flaw.not_before);
            Diagnosis::new(problem, format!("wait, {clock}"))
        }
        tls::HOSTNAME_MISMATCH | tls::ADDRESS_MISMATCH => Diagnosis::new(
            format!("{holder} is for {}, not for {}", flaw.names, address.host()),
            "name the broker as its certificate does, or have one issued for this name",
        ),
        code if tls::UNKNOWN_ISSUERS.contains(&code) => {
            let trusted = match config.option("ssl.ca.location") {
                Some(file) if file != "probe" => file,
                _ if config.option("ssl.ca.pem").is_some() => "ssl.ca.pem",
                _ => "this system's certificates",
            };
            Diagnosis::new(
                format!("{holder} is not trusted: its issuer ({issuer}) is not in {trusted}"),
                "set ssl.ca.location to the file with the certificate of that authority, if it is \
                 yours",
            )
        }
        _ => Diagnosis::new(
            format!("{holder} does not pass: {}", flaw.words),
            "have a better one issued",
        ),
    }
}

impl KafkaConfig {
    fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    /// The value of a setting that is no secret.
    fn shown(&self, name: &str) -> Option<&str> {
        self.option(name).filter(|_| !self.hides(name))
    }

    /// `security.protocol` in small letters.
    fn protocol(&self) -> String {
        self.option("security.protocol").unwrap_or("plaintext").to_ascii_lowercase()
    }

    fn has_tls(&self) -> bool {
        self.protocol().ends_with("ssl")
    }

    /// The SASL mechanism, where the protocol has SASL.
    fn mechanism(&self) -> Option<&str> {
        let given = self.option("sasl.mechanism").or_else(|| self.option("sasl.mechanisms"));
        self.protocol().starts_with("sasl_").then_some(given.unwrap_or("GSSAPI"))
    }

    /// Whether the broker's certificate must be good, and be for the name of the broker.
    fn verifies(&self) -> (bool, bool) {
        let certificate = self.option("enable.ssl.certificate.verification") != Some("false");
        let name = self.option("ssl.endpoint.identification.algorithm") != Some("none");
        (certificate, certificate && name)
    }
}

#[cfg(test)]
mod tests;
