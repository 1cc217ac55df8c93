//! The jobs `enrich` and `store` with TLS and a password to each of its servers, and no more rights than the
//! documentation gives it; roles of the stores.

use crate::running::{CAUGHT_UP, Running, Shared};
use dnscribe_tests::certificates::Validity;
use dnscribe_tests::environment::{self, lab_capture};
use dnscribe_tests::kafka::security::{PASSWORD, ROLES, SecureListener, Security};
use dnscribe_tests::kafka::{Broker, Tool};
use dnscribe_tests::shell;
use dnscribe_tests::stack::flink::Submission;
use dnscribe_tests::stack::{Component, clickhouse, jobs, timescaledb};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Database of this test in the server that all share.
const DATABASE: &str = "secured";
/// Rules by which clients reach that database with TLS and a password only.
const RULES: &str = "hostssl secured all 127.0.0.1/32 scram-sha-256\nhost secured all all reject\n";

#[test]
fn the_job_works_with_tls_passwords_and_the_least_rights() {
    let Some(shared) = Shared::get() else { return };
    let running = shared.beside();
    let folder = tempfile::tempdir().unwrap();
    let files = Files(folder.path().to_owned());
    let security = Security::new().unwrap();
    files.write("ca.pem", &security.authority.pem().unwrap());
    files.write("password", PASSWORD);
    let identity = security.authority.server(&["127.0.0.1"], Validity::Current).unwrap();
    let certificate = files.write("server.crt", &identity.certificate);
    let key = files.write("server.key", &identity.key);

    let broker = Broker::secured(&folder.path().join("kafka"), &security).unwrap();
    for rule in documented_rules() {
        let words: Vec<&str> = rule.split_whitespace().collect();
        broker.tool(Tool::Acls, &words).unwrap();
    }
    let brokers = format!("127.0.0.1:{}", broker.secure_port(SecureListener::SaslTls));
    let [agent, job, admin, reader] = ROLES;
    let rows = clickhouse::start_with_tls(&folder.path().join("rows"), &certificate, &key).unwrap();
    let tables = secure_timescaledb(&running, [&identity.certificate, &identity.key]);
    let config = |name: &str, user: &str, role: &str| {
        files.write(
            name,
            &files.jobs(&brokers, user, role, rows.address.port(), &tables).to_string(),
        )
    };
    let prepare = config("prepare.yaml", admin, "dnscribe_migrator");
    jobs::prepare(&prepare).unwrap();

    let written = files.replay(&brokers, agent);
    let config = config("stream.yaml", job, "dnscribe_writer");
    let flink = running.flink();
    let submitted = [jobs::ENRICH, "store-clickhouse", "store-timescaledb"].map(|job| {
        let program_args_list = jobs::arguments(job, config.to_str().unwrap());
        let submission = Submission { program_args_list, ..Submission::default() };
        flink.submit(&jobs::build().unwrap(), &submission).unwrap()
    });
    let enriched = shell::wait_for("enriched records", CAUGHT_UP, || {
        let count = files.records(&brokers, reader, "dns.enriched")?;
        Ok((count >= written).then_some(count))
    });
    let ledgers = shell::wait_for("rows of the ledger", CAUGHT_UP, || {
        let statement = "SELECT count(*) FROM stream_ledger";
        let count = query(&running, "dnscribe_reader", statement)?;
        Ok((count.trim() != "0").then_some(()))
    });
    let roles = check_roles(&running);
    for id in submitted {
        flink.cancel(&id).unwrap();
    }
    rows.stop(Signal::TERM).unwrap();
    assert_eq!(enriched.unwrap(), written);
    ledgers.unwrap();
    roles.unwrap();
    // A topic that no rule names.
    broker.create_topic("other", 1).unwrap();
    assert!(files.records(&brokers, reader, "other").is_err());
}

/// The writer cannot change tables, the reader cannot write, and neither reaches the server without
/// TLS or without a password.
fn check_roles(running: &Running) -> anyhow::Result<()> {
    for (role, statement) in [
        ("dnscribe_writer", "DROP TABLE stream_ledger"),
        ("dnscribe_writer", "DELETE FROM stream_ledger"),
        ("dnscribe_writer", "CREATE TABLE own (a int)"),
        ("dnscribe_reader", "INSERT INTO dns_migrations (name) VALUES ('x')"),
        (
            "dnscribe_reader",
            "SET default_transaction_read_only = off; UPDATE dns_migrations SET name = ''",
        ),
    ] {
        let Err(error) = query(running, role, statement) else {
            anyhow::bail!("{role} may {statement}")
        };
        let error = error.to_string();
        let refused = ["permission denied", "must be owner", "read-only transaction"];
        anyhow::ensure!(refused.iter().any(|text| error.contains(text)), "{statement}: {error}");
    }
    // Retention, which needs the owner's rights, is the writer's by functions that do nothing else.
    let retention =
        "SELECT dns_drop_chunks('stream_ledger', '400 days'), dns_fleet_expire(10, '2 days')";
    query(running, "dnscribe_writer", retention)?;
    anyhow::ensure!(query(running, "dnscribe_reader", retention).is_err(), "the reader may drop");
    for connection in ["sslmode=disable", "sslmode=require password=wrong"] {
        let connection = format!("dbname={DATABASE} user=dnscribe_reader {connection}");
        anyhow::ensure!(query_as(running, &connection, "SELECT 1").is_err(), "{connection}");
    }
    Ok(())
}

fn query(running: &Running, role: &str, statement: &str) -> anyhow::Result<String> {
    let password = PASSWORD.replace('\'', "\\'");
    let connection = format!("dbname={DATABASE} user={role} sslmode=require password='{password}'");
    query_as(running, &connection, statement)
}

fn query_as(running: &Running, connection: &str, statement: &str) -> anyhow::Result<String> {
    let folder = running.stack().folder(Component::TimescaleDb);
    let server = running.stack().service(Component::TimescaleDb)?.clone();
    timescaledb::query_as(&folder, &server, connection, statement)
}

/// Makes the shared server speak TLS and creates a database with the roles; returns the beginning of
/// its URL for JDBC.
fn secure_timescaledb(running: &Running, identity: [&str; 2]) -> String {
    let folder = running.stack().folder(Component::TimescaleDb);
    let server = running.stack().service(Component::TimescaleDb).unwrap().clone();
    timescaledb::query(&folder, &server, &format!("CREATE DATABASE {DATABASE}")).unwrap();
    let roles = environment::workspace().join("stores/timescaledb/roles.sql");
    let owner = format!("dbname={DATABASE} user={}", timescaledb::DATABASE);
    let extension = "CREATE EXTENSION IF NOT EXISTS timescaledb";
    query_as(running, &owner, extension).unwrap();
    let roles = fs::read_to_string(roles).unwrap();
    // Twice: it may be applied again.
    for _ in 0..2 {
        query_as(running, &owner, &roles).unwrap();
    }
    for role in ["dnscribe_migrator", "dnscribe_writer", "dnscribe_reader"] {
        let password = PASSWORD.replace('\'', "''");
        query_as(running, &owner, &format!("ALTER ROLE {role} PASSWORD '{password}'")).unwrap();
    }
    timescaledb::secure(&folder, &server, identity, RULES).unwrap();
    format!("jdbc:postgresql://{}/{DATABASE}", server.address)
}

/// Access rules as the documentation gives them, without the name of the program.
fn documented_rules() -> Vec<String> {
    let page = environment::workspace().join("docs/stream-security.md");
    let page = fs::read_to_string(page).unwrap();
    let rules: Vec<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("kafka-acls "))
        .map(str::to_owned)
        .collect();
    assert!(rules.len() > 4, "{rules:?}");
    rules
}

/// Files that configurations name.
struct Files(PathBuf);

impl Files {
    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.0.join(name), text).unwrap();
        self.0.join(name)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// Configuration of the jobs for a user of Kafka and a role in the stores, with each password in
    /// a file.
    fn jobs(&self, brokers: &str, user: &str, role: &str, port: u16, tables: &str) -> Value {
        let login = format!(
            "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"{user}\" \
             password=\"${{directory:{}:password}}\";",
            self.0.display()
        );
        let provider = "org.apache.kafka.common.config.provider.DirectoryConfigProvider";
        json!({
            "version": 1,
            "kafka": {
                "brokers": brokers,
                "options": {
                    "security.protocol": "SASL_SSL",
                    "ssl.truststore.type": "PEM",
                    "ssl.truststore.location": self.path("ca.pem"),
                    "sasl.mechanism": "PLAIN",
                    "sasl.jaas.config": login,
                    "config.providers": "directory",
                    "config.providers.directory.class": provider,
                },
            },
            "store": { "stores": ["clickhouse", "timescaledb"] },
            "clickhouse": {
                "url": format!("https://127.0.0.1:{port}"),
                "ca_file": self.path("ca.pem"),
                "user": role,
                "password_file": self.path("password"),
                "retention": "18250d",
            },
            "timescaledb": {
                "url": format!("{tables}?sslmode=verify-full&sslrootcert={}", self.path("ca.pem")),
                "user": role,
                "password_file": self.path("password"),
            },
            "checkpoints": { "interval": "2s" },
        })
    }

    /// Writes the transactions of a capture as an agent; returns their number.
    fn replay(&self, brokers: &str, user: &str) -> usize {
        let config = json!({
            "version": 1, "metrics": { "listen": "off" }, "sinks": ["kafka", "stdout"],
            "kafka": {
                "brokers": [brokers],
                "options": {
                    "security.protocol": "sasl_ssl", "sasl.mechanism": "PLAIN",
                    "sasl.username": user, "ssl.ca.location": self.path("ca.pem"),
                },
                "option_files": { "sasl.password": self.path("password") },
            },
        });
        let config = self.write("dnscribe.yaml", &config.to_string());
        let mut replay = Command::new(environment::binary().unwrap());
        replay.arg("replay").arg(lab_capture()).args(["--stream", "transactions", "--config"]);
        let output = shell::output(replay.arg(config)).unwrap();
        String::from_utf8(output.stdout).unwrap().lines().count()
    }

    /// Number of committed records of a topic.
    fn records(&self, brokers: &str, user: &str, topic: &str) -> anyhow::Result<usize> {
        let mut kcat = Command::new("kcat");
        kcat.args(["-b", brokers, "-C", "-t", topic, "-e", "-q"]);
        for (name, value) in [
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", user),
            ("sasl.password", PASSWORD),
            ("ssl.ca.location", &self.path("ca.pem")),
            ("isolation.level", "read_committed"),
        ] {
            kcat.args(["-X", &format!("{name}={value}")]);
        }
        let text = shell::output(&mut kcat)?.stdout;
        Ok(String::from_utf8(text)?.lines().count())
    }
}

/// The grants of `stores/clickhouse/roles.sql`, enforced by the engine. It does not check `CREATE`
/// for impersonated users.
#[test]
fn roles_of_clickhouse_have_the_least_rights() {
    let python = clickhouse::prepare().unwrap().join("bin/python");
    let folder = environment::workspace();
    let mut roles = Command::new(python);
    roles.arg(folder.join("tests/clickhouse/roles.py"));
    roles.arg(folder.join("stores/clickhouse/roles.sql"));
    let mut child = roles.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let denied = "ACCESS_DENIED";
    let cases = [
        ("", "CREATE DATABASE other", "ok"),
        ("", "CREATE TABLE other.t (a Int32) ENGINE = MergeTree ORDER BY a", "ok"),
        ("dnscribe_migrator", "CREATE DATABASE IF NOT EXISTS dns", "ok"),
        (
            "dnscribe_migrator",
            "CREATE TABLE dns.t (a Int32, ts DateTime) ENGINE = ReplacingMergeTree ORDER BY a",
            "ok",
        ),
        ("dnscribe_migrator", "ALTER TABLE dns.t MODIFY TTL ts + INTERVAL 7 DAY", "ok"),
        ("dnscribe_migrator", "DROP TABLE other.t", denied),
        ("dnscribe_writer", "INSERT INTO dns.t SELECT 1, now()", "ok"),
        ("dnscribe_writer", "INSERT INTO dns.t SELECT 1, now()", "ok"),
        ("dnscribe_writer", "SELECT throwIf(count() != 2) FROM dns.t", "ok"),
        // A row that was written twice counts once.
        ("dnscribe_reader", "SELECT throwIf(count() != 1) FROM dns.t", "ok"),
        ("dnscribe_writer", "TRUNCATE TABLE dns.t", denied),
        ("dnscribe_writer", "ALTER TABLE dns.t DELETE WHERE 1", denied),
        ("dnscribe_writer", "DROP TABLE dns.t", denied),
        ("dnscribe_reader", "SELECT count() FROM dns.t FINAL", "ok"),
        ("dnscribe_reader", "INSERT INTO dns.t SELECT 2, now()", denied),
        ("dnscribe_reader", "SELECT count() FROM other.t", denied),
    ];
    let mut input = child.stdin.take().unwrap();
    for (user, statement, _) in cases {
        writeln!(input, "{}", json!([user, statement])).unwrap();
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    let results = String::from_utf8(output.stdout).unwrap();
    let expected: Vec<&str> = cases.iter().map(|(_, _, result)| *result).collect();
    assert_eq!(results.lines().collect::<Vec<_>>(), expected);
}
