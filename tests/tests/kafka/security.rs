//! TLS and SASL: who may comes in, by every mechanism, and who may not is told why, in `check` and
//! in the log, without the secret. Needs no root.

use crate::consume::consume;
use crate::{TRANSACTIONS, ids};
use dnscribe_tests::kafka::Broker;
use dnscribe_tests::kafka::certificates::{Authority, Validity};
use dnscribe_tests::kafka::security::{
    CLIENT, Door, ELSEWHERE, PASSWORD, STRANGER, Security, USER,
};
use dnscribe_tests::{environment, ledger};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::thread;

/// A secret that is wrong, and must not be seen anywhere.
const HUNTER: &str = "hunter2-is-secret";
/// What unlocks the client's key.
const SESAME: &str = "open sesame";

/// A broker with guarded doors, and a folder with the keys to some.
pub struct Guarded {
    pub broker: Broker,
    folder: tempfile::TempDir,
}

impl Guarded {
    pub fn up() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let security = Security::new().unwrap();
        let broker = Broker::secured(&folder.path().join("kafka"), &security).unwrap();
        let guarded = Self { broker, folder };
        let authority = &security.authority;
        guarded.write("ca.pem", &authority.pem().unwrap());
        guarded.write("other.pem", &Authority::new("somebody else").unwrap().pem().unwrap());
        let clients = [
            ("client", authority.client(CLIENT, Validity::Current, Some(SESAME))),
            ("old", authority.client(CLIENT, Validity::Expired, None)),
        ];
        for (name, client) in clients {
            let client = client.unwrap();
            guarded.write(&format!("{name}.pem"), &client.certificate);
            guarded.write(&format!("{name}.key"), &client.key);
        }
        guarded.write("password", &format!("{PASSWORD}\n"));
        guarded.write("sesame", &format!("{SESAME}\n"));
        guarded.write("hunter", &format!("{HUNTER}\n"));
        guarded
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// A configuration for a client at an address: settings, and settings from files of the folder,
    /// those that name files among them.
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

    pub fn address(&self, door: Option<Door>) -> String {
        match door {
            Some(door) => format!("127.0.0.1:{}", self.broker.door(door)),
            None => self.broker.bootstrap(),
        }
    }
}

/// How a client introduces itself.
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

    /// A user without TLS.
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
    let capture = environment::workspace().join("tests/goldens/lab.pcap");
    let capture = capture.display().to_string();
    let sinks = ["--sink", "kafka", "--sink", "stdout", "--stream", "transactions,ledger"];
    dnscribe(&[&["replay", &capture, "-o", "json"], &sinks[..]].concat(), config)
}

/// Does the same for each of some cases, several at a time, as most of the time is waited.
fn for_each<T: Send>(cases: Vec<T>, work: impl Fn(T) + Sync) {
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
fn who_may_comes_in_and_who_may_not_is_told_why() {
    let guarded = Guarded::up();
    guarded.broker.add_scram().unwrap();
    let per_replay = every_mechanism_delivers(&guarded);
    assert!(per_replay > 10);
    every_refusal_is_explained(&guarded);
    assert_eq!(replays_on_topic(&guarded, per_replay), MECHANISMS, "a refused client wrote");
}

/// How many ways in are tried.
const MECHANISMS: usize = 8;

fn every_mechanism_delivers(guarded: &Guarded) -> usize {
    let locked = Client::tls()
        .certificate("client.pem", "client.key")
        .with_file("ssl.key.password", "sesame");
    let user = |mechanism| Client::user(mechanism, USER, "password");
    let cases = vec![
        ("tls", Door::Tls, Client::tls()),
        ("certificate", Door::ClientCertificate, locked),
        ("plain", Door::Sasl, user("PLAIN")),
        ("scram-256", Door::Sasl, user("SCRAM-SHA-256")),
        ("scram-512", Door::Sasl, user("SCRAM-SHA-512")),
        ("tls-plain", Door::SaslTls, Client::user_in_tls("PLAIN")),
        ("tls-scram-256", Door::SaslTls, Client::user_in_tls("SCRAM-SHA-256")),
        ("tls-scram-512", Door::SaslTls, Client::user_in_tls("SCRAM-SHA-512")),
    ];
    assert_eq!(cases.len(), MECHANISMS);
    let per_replay = Mutex::new(0);
    for_each(cases, |(name, door, client)| {
        let config = guarded.config(name, &guarded.address(Some(door)), &client);
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
        for secret in [PASSWORD, SESAME] {
            assert!(!stderr.contains(secret), "{name}: {stderr}");
        }
        *per_replay.lock().unwrap() = usize::try_from(of("records")).unwrap();
    });
    per_replay.into_inner().unwrap()
}

/// How often the whole capture is on the topic.
fn replays_on_topic(guarded: &Guarded, per_replay: usize) -> usize {
    let records = consume(&guarded.broker.bootstrap(), TRANSACTIONS);
    let distinct = ids(&records.iter().collect::<Vec<_>>()).len();
    assert_eq!(distinct, per_replay, "each replay has the event ids of the first");
    assert_eq!(records.len() % per_replay, 0);
    records.len() / per_replay
}

/// A client that is refused: its name, the door that it tries or the open one, and words of the
/// sentence that it is told.
type Refusal = (&'static str, Option<Door>, Client, &'static [&'static str]);

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
        ("password-plain", Some(Door::Sasl), wrong_password("PLAIN"), &[USER, "wrong password"]),
        (
            "password-scram",
            Some(Door::Sasl),
            wrong_password("SCRAM-SHA-512"),
            &[USER, "SCRAM-SHA-512", "wrong password"],
        ),
        (
            "unknown-user",
            Some(Door::Sasl),
            Client::user("SCRAM-SHA-256", "nobody", "hunter"),
            &["\"nobody\"", "unknown user"],
        ),
        ("mechanism", Some(Door::Sasl), not_ours, &["does not take SASL mechanism OAUTHBEARER"]),
        (
            "authority",
            Some(Door::Tls),
            other_authority,
            &["is not trusted", "CN=dnscribe tests", "other.pem"],
        ),
        ("expired", Some(Door::Expired), Client::tls(), &["the certificate of", "expired on"]),
        ("misnamed", Some(Door::Misnamed), Client::tls(), &[ELSEWHERE, "not for 127.0.0.1"]),
        (
            "expired-client",
            Some(Door::ClientCertificate),
            Client::tls().certificate("old.pem", "old.key"),
            &["the client certificate", "old.pem", "expired on"],
        ),
        (
            "no-certificate",
            Some(Door::ClientCertificate),
            Client::tls(),
            &["asks for a client certificate", "none is configured"],
        ),
        ("plain-to-tls", Some(Door::Tls), Client::default(), &["speaks TLS", "is plaintext"]),
        ("plain-to-sasl", Some(Door::Sasl), Client::default(), &["asks for a user"]),
        ("tls-to-plain", None, Client::tls(), &["does not speak TLS"]),
        ("user-to-plain", None, wrong_password("PLAIN"), &["knows no users"]),
    ]
}

fn every_refusal_is_explained(guarded: &Guarded) {
    for_each(refusals(), |(name, door, client, words)| {
        let client = client.with("message.timeout.ms", "1000");
        let config = guarded.config(name, &guarded.address(door), &client);
        let output = dnscribe(&["check", "-o", "json"], &config);
        assert!(!output.status.success(), "{name}");
        let shown = String::from_utf8(output.stdout).unwrap();
        let report: Value = serde_json::from_str(&shown).unwrap();
        let probes = report["probes"].as_array().unwrap();
        let kafka = probes.iter().find(|probe| probe["name"] == "kafka").unwrap();
        let detail = kafka["detail"].as_str().unwrap();
        assert!(words.iter().all(|word| detail.contains(word)), "{name}: {detail}");
        assert!(kafka["ok"] == false && kafka["remedy"].is_string(), "{kafka}");

        let log = String::from_utf8(replay(&config).stderr).unwrap();
        let told: Vec<_> = log.lines().filter(|line| line.contains(" WARN ")).collect();
        let escaped = words.iter().map(|word| word.replace('"', "\\\""));
        assert!(escaped.clone().all(|word| told.concat().contains(&word)), "{name}: {log}");
        assert_eq!(told.len(), 1, "{name}: {log}");
        let everything = format!("{shown}{}{log}", String::from_utf8_lossy(&output.stderr));
        assert!(!everything.contains(HUNTER), "{name}: {everything}");
    });
}

/// Whom the authoriser lets do nothing.
pub fn stranger() -> Client {
    Client::user("PLAIN", STRANGER, "password")
}
