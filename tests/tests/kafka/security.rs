//! TLS and SASL: authorised clients are accepted with every mechanism. Rejected ones get the reason
//! in `check` and in the log, without the secret. Needs no root.

use crate::consume::consume;
use crate::{TRANSACTIONS, ids};
use dnscribe_tests::certificates::{Authority, Validity};
use dnscribe_tests::kafka::Broker;
use dnscribe_tests::kafka::security::{
    CLIENT, PASSWORD, SecureListener, Security, UNAUTHORISED_USER, USER,
};
use dnscribe_tests::{environment, ledger};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::thread;

/// A wrong password that must not appear in any output.
const WRONG_PASSWORD: &str = "hunter2-is-secret";
/// Password of the client's key.
const KEY_PASSWORD: &str = "open sesame";

/// A broker with secured listeners, and a folder with keys and passwords.
pub struct SecuredBroker {
    pub broker: Broker,
    folder: tempfile::TempDir,
}

impl SecuredBroker {
    pub fn up() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let security = Security::new().unwrap();
        let broker = Broker::secured(&folder.path().join("kafka"), &security).unwrap();
        let secured_broker = Self { broker, folder };
        let authority = &security.authority;
        secured_broker.write("ca.pem", &authority.pem().unwrap());
        secured_broker.write("other.pem", &Authority::new("somebody else").unwrap().pem().unwrap());
        let clients = [
            ("client", authority.client(CLIENT, Validity::Current, Some(KEY_PASSWORD))),
            ("old", authority.client(CLIENT, Validity::Expired, None)),
        ];
        for (name, client) in clients {
            let client = client.unwrap();
            secured_broker.write(&format!("{name}.pem"), &client.certificate);
            secured_broker.write(&format!("{name}.key"), &client.key);
        }
        secured_broker.write("password", &format!("{PASSWORD}\n"));
        secured_broker.write("sesame", &format!("{KEY_PASSWORD}\n"));
        secured_broker.write("hunter", &format!("{WRONG_PASSWORD}\n"));
        secured_broker
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Writes the configuration of a client for an address: settings, and settings read from files
    /// of the folder.
    pub fn config(&self, name: &str, address: &str, client: &Client) -> PathBuf {
        let in_folder = |setting: &str, value: &str| {
            if setting.ends_with(".location") {
                self.path(value).display().to_string()
            } else {
                value.to_owned()
            }
        };
        let options: Value = client
            .options
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(in_folder(key, value))))
            .collect();
        let files: Value = client
            .files
            .iter()
            .map(|(key, file)| ((*key).to_owned(), json!(self.path(file))))
            .collect();
        let kafka = json!({ "brokers": [address], "options": options, "option_files": files });
        let config = json!({
            "version": 1, "metrics": { "listen": "off" }, "sinks": ["kafka"], "kafka": kafka,
        });
        self.write(&format!("{name}.yaml"), &config.to_string());
        self.path(&format!("{name}.yaml"))
    }

    pub fn address(&self, listener: Option<SecureListener>) -> String {
        match listener {
            Some(listener) => format!("127.0.0.1:{}", self.broker.secure_port(listener)),
            None => self.broker.bootstrap(),
        }
    }
}

/// Credentials of a client.
#[derive(Clone, Debug, Default)]
pub struct Client {
    options: Vec<(&'static str, &'static str)>,
    files: Vec<(&'static str, &'static str)>,
}

impl Client {
    pub fn with(mut self, option: &'static str, value: &'static str) -> Self {
        self.options.push((option, value));
        self
    }

    fn with_file(mut self, option: &'static str, file: &'static str) -> Self {
        self.files.push((option, file));
        self
    }

    fn tls() -> Self {
        Self::default().with("security.protocol", "ssl").with("ssl.ca.location", "ca.pem")
    }

    fn certificate(self, certificate: &'static str, key: &'static str) -> Self {
        self.with("ssl.certificate.location", certificate).with("ssl.key.location", key)
    }

    /// Creates a user without TLS.
    pub fn user(mechanism: &'static str, user: &'static str, password_file: &'static str) -> Self {
        Self::default()
            .with("security.protocol", "sasl_plaintext")
            .with("sasl.mechanism", mechanism)
            .with("sasl.username", user)
            .with_file("sasl.password", password_file)
    }

    fn user_in_tls(mechanism: &'static str) -> Self {
        let mut client = Self::user(mechanism, USER, "password").with("ssl.ca.location", "ca.pem");
        client.options[0] = ("security.protocol", "sasl_ssl");
        client
    }
}

pub fn dnscribe(words: &[&str], config: &Path) -> Output {
    let mut command = Command::new(environment::binary().unwrap());
    command.args(words).arg("--config").arg(config).output().unwrap()
}

/// Replays the golden capture.
fn replay(config: &Path) -> Output {
    let capture = environment::lab_capture();
    let capture = capture.display().to_string();
    let sinks = ["--sink", "kafka", "--sink", "stdout", "--stream", "transactions,ledger"];
    dnscribe(&[&["replay", &capture, "-o", "json"], &sinks[..]].concat(), config)
}

/// Runs `work` for each case, several at a time, because most of the time is spent waiting.
fn run_parallel<T: Send>(cases: Vec<T>, work: impl Fn(T) + Sync) {
    let left = Mutex::new(cases);
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                loop {
                    let case = left.lock().unwrap().pop();
                    let Some(case) = case else { break };
                    work(case);
                }
            });
        }
    });
}

#[test]
fn accepts_authorised_clients_and_explains_rejections() {
    let secured_broker = SecuredBroker::up();
    secured_broker.broker.add_scram().unwrap();
    let per_replay = every_mechanism_delivers(&secured_broker);
    assert!(per_replay > 10);
    every_refusal_is_explained(&secured_broker);
    assert_eq!(
        replays_on_topic(&secured_broker, per_replay),
        MECHANISMS,
        "a rejected client has written records"
    );
}

/// Number of accepted mechanisms.
const MECHANISMS: usize = 8;

fn every_mechanism_delivers(secured_broker: &SecuredBroker) -> usize {
    let locked = Client::tls()
        .certificate("client.pem", "client.key")
        .with_file("ssl.key.password", "sesame");
    let user = |mechanism| Client::user(mechanism, USER, "password");
    let cases = vec![
        ("tls", SecureListener::Tls, Client::tls()),
        ("certificate", SecureListener::ClientCertificate, locked),
        ("plain", SecureListener::Sasl, user("PLAIN")),
        ("scram-256", SecureListener::Sasl, user("SCRAM-SHA-256")),
        ("scram-512", SecureListener::Sasl, user("SCRAM-SHA-512")),
        ("tls-plain", SecureListener::SaslTls, Client::user_in_tls("PLAIN")),
        ("tls-scram-256", SecureListener::SaslTls, Client::user_in_tls("SCRAM-SHA-256")),
        ("tls-scram-512", SecureListener::SaslTls, Client::user_in_tls("SCRAM-SHA-512")),
    ];
    assert_eq!(cases.len(), MECHANISMS);
    let per_replay = Mutex::new(0);
    run_parallel(cases, |(name, listener, client)| {
        let config = secured_broker.config(name, &secured_broker.address(Some(listener)), &client);
        let output = replay(&config);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {stderr}");
        let stdout = String::from_utf8(output.stdout).unwrap();
        let last: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
        ledger::verify(&last).unwrap();
        let of = |counter| {
            ledger::counter(&last, &["delivery", "kafka", "transactions", counter]).unwrap()
        };
        assert_eq!(of("delivered"), of("records"), "{name}: {stderr}");
        for secret in [PASSWORD, KEY_PASSWORD] {
            assert!(!stderr.contains(secret), "{name}: {stderr}");
        }
        *per_replay.lock().unwrap() = usize::try_from(of("records")).unwrap();
    });
    per_replay.into_inner().unwrap()
}

/// Returns how many times the whole capture is on the topic.
fn replays_on_topic(secured_broker: &SecuredBroker, per_replay: usize) -> usize {
    let records = consume(&secured_broker.broker.bootstrap(), TRANSACTIONS);
    let distinct = ids(&records.iter().collect::<Vec<_>>()).len();
    assert_eq!(distinct, per_replay, "a replay has other event ids than the first");
    assert_eq!(records.len() % per_replay, 0);
    records.len() / per_replay
}

/// A rejected client: its name, its listener (`None` for the plain one), and words of the expected
/// message.
type Refusal = (&'static str, Option<SecureListener>, Client, &'static [&'static str]);

fn refusals() -> Vec<Refusal> {
    let wrong_password = |mechanism| Client::user(mechanism, USER, "hunter");
    let other_authority =
        Client::default().with("security.protocol", "ssl").with("ssl.ca.location", "other.pem");
    let not_ours = Client::default()
        .with("security.protocol", "sasl_plaintext")
        .with("sasl.mechanism", "OAUTHBEARER")
        .with("sasl.oauthbearer.config", "principal=hunter2-is-secret")
        .with("enable.sasl.oauthbearer.unsecure.jwt", "true");
    vec![
        (
            "password-plain",
            Some(SecureListener::Sasl),
            wrong_password("PLAIN"),
            &[USER, "wrong password"],
        ),
        (
            "password-scram",
            Some(SecureListener::Sasl),
            wrong_password("SCRAM-SHA-512"),
            &[USER, "SCRAM-SHA-512", "wrong password"],
        ),
        (
            "unknown-user",
            Some(SecureListener::Sasl),
            Client::user("SCRAM-SHA-256", "nobody", "hunter"),
            &["\"nobody\"", "unknown user"],
        ),
        (
            "mechanism",
            Some(SecureListener::Sasl),
            not_ours,
            &["OAUTHBEARER mechanism handshake failed"],
        ),
        (
            "authority",
            Some(SecureListener::Tls),
            other_authority,
            &["certificate verify failed", "set ssl.ca.location"],
        ),
        (
            "expired",
            Some(SecureListener::Expired),
            Client::tls(),
            &["certificate verify failed", "set ssl.ca.location"],
        ),
        (
            "misnamed",
            Some(SecureListener::Misnamed),
            Client::tls(),
            &["certificate verify failed", "set ssl.ca.location"],
        ),
        (
            "expired-client",
            Some(SecureListener::ClientCertificate),
            Client::tls().certificate("old.pem", "old.key"),
            &[" alert "],
        ),
        ("no-certificate", Some(SecureListener::ClientCertificate), Client::tls(), &[" alert "]),
        (
            "plain-to-tls",
            Some(SecureListener::Tls),
            Client::default(),
            &["set security.protocol to ssl"],
        ),
        (
            "plain-to-sasl",
            Some(SecureListener::Sasl),
            Client::default(),
            &["if it requires a user, to sasl_plaintext"],
        ),
        ("tls-to-plain", None, Client::tls(), &["use the port of the broker's TLS listener"]),
        ("user-to-plain", None, wrong_password("PLAIN"), &["PLAIN mechanism handshake failed"]),
    ]
}

fn every_refusal_is_explained(secured_broker: &SecuredBroker) {
    run_parallel(refusals(), |(name, listener, client, words)| {
        let client = client.with("message.timeout.ms", "1000");
        let config = secured_broker.config(name, &secured_broker.address(listener), &client);
        let output = dnscribe(&["check", "-o", "json"], &config);
        assert!(!output.status.success(), "{name}");
        let shown = String::from_utf8(output.stdout).unwrap();
        let report: Value = serde_json::from_str(&shown).unwrap();
        let probes = report["probes"].as_array().unwrap();
        let kafka = probes.iter().find(|probe| probe["name"] == "kafka").unwrap();
        let [detail, remedy] = ["detail", "remedy"].map(|name| kafka[name].as_str().unwrap());
        let detail = format!("{detail}; remedy: {remedy}");
        assert!(words.iter().all(|word| detail.contains(word)), "{name}: {detail}");
        assert_eq!(kafka["ok"], false, "{kafka}");

        let log = String::from_utf8(replay(&config).stderr).unwrap();
        let warnings: Vec<_> = log.lines().filter(|line| line.contains(" WARN ")).collect();
        let escaped = words.iter().map(|word| word.replace('"', "\\\""));
        assert!(escaped.clone().all(|word| warnings.concat().contains(&word)), "{name}: {log}");
        assert_eq!(warnings.len(), 1, "{name}: {log}");
        let everything = format!("{shown}{}{log}", String::from_utf8_lossy(&output.stderr));
        assert!(!everything.contains(WRONG_PASSWORD), "{name}: {everything}");
    });
}

/// Credentials of a user without rights.
pub fn unauthorised_user() -> Client {
    Client::user("PLAIN", UNAUTHORISED_USER, "password")
}
