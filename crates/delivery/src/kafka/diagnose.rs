//! Explains in a sentence why Kafka is unusable, and what would help: librdkafka's own message with a remedy for the
//! commonest causes, or, where it has given none, what connecting to the first broker says.

use super::super::KafkaConfig;
use std::fmt;
use std::io;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Time limit for connecting to an address.
const CONNECT_LIMIT: Duration = Duration::from_millis(1500);
/// Port of a broker that is named without one.
const DEFAULT_PORT: u16 = 9092;

/// What is wrong with Kafka, and how to fix it. Contains no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// What is wrong, in a sentence.
    pub problem: String,
    /// How to fix it.
    pub remedy: String,
    /// Whether records may be delivered all the same: the brokers do not say.
    pub is_doubtful: bool,
    /// Whether it stays until someone changes a setting or a certificate.
    permanent: bool,
}

impl Diagnosis {
    pub(super) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (problem, remedy) = (problem.into(), remedy.into());
        Self { problem, remedy, is_doubtful: false, permanent: true }
    }

    /// Marks a problem that may be none.
    pub(super) fn doubtful(self) -> Self {
        Self { is_doubtful: true, ..self }
    }

    /// A problem with a general remedy.
    pub(super) fn general(problem: impl Into<String>) -> Self {
        let remedy = "check that the brokers run, are reachable from here and accept this client; \
                      then check --brokers, kafka.brokers and kafka.options";
        Self { permanent: false, ..Self::new(problem, remedy) }
    }
}

impl Diagnosis {
    /// Returns the diagnosis for a client that has delivered records: a broker that closes its connections does not expect
    /// another protocol, but ends.
    pub(super) fn after_delivery(self) -> Self {
        if !self.problem.contains(CLOSED) {
            return self;
        }
        Self { remedy: "check that the broker runs; see its log".to_owned(), ..self }
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; remedy: {}", self.problem, self.remedy)
    }
}

/// A cause that librdkafka's message names.
struct Cause {
    /// Words in the message.
    words: &'static str,
    remedy: &'static str,
    /// Whether it stays until someone changes a setting or a certificate.
    permanent: bool,
}

impl Cause {
    const fn temporary(words: &'static str, remedy: &'static str) -> Self {
        Self { words, remedy, permanent: false }
    }

    const fn permanent(words: &'static str, remedy: &'static str) -> Self {
        Self { words, remedy, permanent: true }
    }
}

const CLIENT_CERTIFICATE: &str = "set ssl.certificate.location and ssl.key.location to a client certificate that is \
                                  valid and of an authority that the broker trusts; see the broker's log";

/// A broker has ended a connection, which it does where it expects another protocol.
pub(super) const CLOSED: &str = "Disconnected: connection closed by peer";

const NO_TLS: &str = "use the port of the broker's TLS listener; without one, set security.protocol to plaintext or \
                      sasl_plaintext on a trusted network";

/// The commonest causes, in the words of librdkafka 2.12.
const CAUSES: [Cause; 9] = [
    Cause::temporary(
        "Failed to resolve",
        "correct --brokers, kafka.brokers or the brokers' advertised.listeners, or this host's resolver",
    ),
    Cause::temporary(
        "Connect to ",
        "check that the broker runs and no firewall is in between; else correct --brokers, kafka.brokers or the \
         brokers' advertised.listeners",
    ),
    Cause::temporary(
        CLOSED,
        "if the broker speaks TLS there, set security.protocol to ssl; if it requires a user, to sasl_plaintext or \
         sasl_ssl, and sasl.mechanism, sasl.username and sasl.password",
    ),
    Cause::temporary("connecting to a PLAINTEXT broker listener", NO_TLS),
    Cause::temporary("SSL connection closed by peer", NO_TLS),
    Cause::permanent(
        "certificate verify failed",
        "set ssl.ca.location to the file with the certificate of its authority; `openssl s_client -connect \
         HOST:PORT` shows its names and dates",
    ),
    Cause::permanent("client SSL authentication", CLIENT_CERTIFICATE),
    Cause::permanent(" alert ", CLIENT_CERTIFICATE),
    Cause::permanent(
        "mechanism handshake failed",
        "set sasl.mechanism to one that the broker has, or use the port of its SASL listener",
    ),
];

/// Explains why Kafka is unusable. `error` is librdkafka's last error, if there was one. `None` if
/// there was none and a broker accepts connections. Takes at most `limit`.
pub(super) fn diagnose(
    config: &KafkaConfig,
    error: Option<&str>,
    limit: Duration,
) -> Option<Diagnosis> {
    match error {
        Some(error) => Some(explain(config, error)),
        None => connect(config, limit),
    }
}

/// Like [`diagnose`], but only returns problems that do not resolve by waiting.
pub(super) fn diagnose_permanent(config: &KafkaConfig, error: Option<&str>) -> Option<Diagnosis> {
    error.map(|error| explain(config, error)).filter(|found| found.permanent)
}

fn explain(config: &KafkaConfig, error: &str) -> Diagnosis {
    if error.contains("SASL authentication error") {
        return refused_user(config, error);
    }
    match CAUSES.iter().find(|cause| error.contains(cause.words)) {
        Some(Cause { remedy, permanent, .. }) => {
            Diagnosis { permanent: *permanent, ..Diagnosis::new(error, *remedy) }
        }
        None => Diagnosis::general(error),
    }
}

/// Connects to the first broker, on a thread of its own, because resolving a name may take longer than `limit`.
fn connect(config: &KafkaConfig, limit: Duration) -> Option<Diagnosis> {
    let broker = config.brokers.first()?;
    let address = broker.split_once("://").map_or(&**broker, |(_, address)| address).to_owned();
    let has_port = address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = if has_port { address } else { format!("{address}:{DEFAULT_PORT}") };
    let (sender, receiver) = mpsc::channel();
    let started = thread::Builder::new().name("kafka-diagnose".into()).spawn(move || {
        let failed = |error: io::Error| format!("Connect to {address} failed: {error}");
        let connected = match address.to_socket_addrs() {
            Err(error) => Err(format!("Failed to resolve '{address}': {error}")),
            Ok(mut found) => found
                .try_fold(io::Error::from(io::ErrorKind::NotFound), |_, address| {
                    TcpStream::connect_timeout(&address, CONNECT_LIMIT).err()
                })
                .map_or(Ok(()), |error| Err(failed(error))),
        };
        // Fails if the time limit has passed.
        let _ = sender.send(connected);
    });
    let connected = started.ok().and_then(|_| receiver.recv_timeout(limit).ok());
    connected.and_then(Result::err).map(|why| explain(config, &why))
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

/// The broker's refusal of user and password. It does not say which of them is wrong, to not reveal
/// which users exist.
fn refused_user(config: &KafkaConfig, error: &str) -> Diagnosis {
    let user = config.option("sasl.username").filter(|_| !config.hides("sasl.username"));
    let user = user.map(|user| format!(" of user \"{user}\"")).unwrap_or_default();
    let mechanism = config.mechanism().unwrap_or_default();
    Diagnosis::new(
        format!("{error}{user} (SASL {mechanism}): unknown user or wrong password"),
        "correct sasl.username and sasl.password in kafka.options or kafka.option_files, or create \
         the user for this mechanism",
    )
}

impl KafkaConfig {
    fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    /// The SASL mechanism, if the protocol uses SASL.
    fn mechanism(&self) -> Option<&str> {
        let given = self.option("sasl.mechanism").or_else(|| self.option("sasl.mechanisms"));
        let protocol = self.option("security.protocol").unwrap_or_default().to_ascii_lowercase();
        protocol.starts_with("sasl_").then_some(given.unwrap_or("GSSAPI"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::net::TcpListener;

    const LIMIT: Duration = Duration::from_secs(10);

    fn config(broker: &str, options: &[(&str, &str)]) -> KafkaConfig {
        let options = options.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        KafkaConfig { brokers: vec![broker.into()], options, ..KafkaConfig::default() }
    }

    #[test]
    fn connects_where_librdkafka_says_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert_eq!(diagnose(&config(&address, &[]), None, LIMIT), None);
        drop(listener);
        let found = diagnose(&config(&address, &[]), None, LIMIT).unwrap();
        assert!(found.problem.contains(&address) && found.problem.contains("refused"), "{found}");
        assert!(found.remedy.contains("firewall"), "{found}");
        let found = diagnose(&config("no-such-host.invalid", &[]), None, LIMIT).unwrap();
        assert!(found.problem.contains("resolve 'no-such-host.invalid:9092'"), "{found}");
        assert!(found.remedy.contains("advertised.listeners"), "{found}");
    }

    #[test]
    fn messages_have_a_remedy_and_most_causes_may_pass() {
        let any = config("k:1", &[]);
        for Cause { words, remedy, permanent } in &CAUSES {
            let message = format!("ssl://k:1/bootstrap: {words}x");
            let found = diagnose(&any, Some(&message), LIMIT).unwrap();
            assert_eq!((found.problem.as_str(), found.remedy.as_str()), (&*message, *remedy));
            assert_eq!(diagnose_permanent(&any, Some(&message)).is_some(), *permanent, "{words}");
        }
        let new = Diagnosis::general("something new");
        assert_eq!(diagnose(&any, Some("something new"), LIMIT), Some(new));
        assert_eq!(diagnose_permanent(&any, Some("something new")), None);
    }

    #[test]
    fn blames_no_setting_with_which_records_were_delivered() {
        let remedy = |problem| {
            diagnose(&config("k:1", &[]), Some(problem), LIMIT).unwrap().after_delivery().remedy
        };
        assert_eq!(remedy(CLOSED), "check that the broker runs; see its log");
        assert!(remedy("Connect to k:1 failed").contains("firewall"));
    }

    #[test]
    fn names_a_refused_user_unless_hidden() {
        let words = "sasl_ssl://k:9093/bootstrap: SASL authentication error: Authentication failed";
        let options = [
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", "me"),
        ];
        let mut config = config("k:9093", &options);
        let message = diagnose_permanent(&config, Some(words)).unwrap().problem;
        assert!(message.ends_with("of user \"me\" (SASL PLAIN): unknown user or wrong password"));
        config.hidden = BTreeSet::from(["sasl.username".to_owned()]);
        assert!(!diagnose(&config, Some(words), LIMIT).unwrap().problem.contains("\"me\""));
    }

    #[test]
    fn names_a_mechanism_that_is_not_built_in() {
        let kerberos = config("k:1", &[("security.protocol", "sasl_ssl")]);
        assert!(settings(&kerberos).unwrap().problem.contains("GSSAPI"));
        assert_eq!(settings(&config("k:1", &[])), None);
    }
}
