//! `ClickHouse`'s own Kafka engine: it reads the transactions from the topic into the table that the job `enrich` writes.

use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::http;
use std::net::SocketAddr;

/// A table that reads a topic, and a materialized view that inserts its rows.
pub struct KafkaEngine {
    address: SocketAddr,
    database: String,
}

impl KafkaEngine {
    /// Starts to read a topic into `dns_transactions` of a database that has been migrated.
    pub fn start(url: &str, database: &str, brokers: &str, topic: &str) -> Result<Self> {
        let address = url.trim_start_matches("http://").parse().context("no address")?;
        let engine = Self { address, database: database.to_owned() };
        let columns = engine.query(&format!(
            "SELECT '`' || name || '` ' || type FROM system.columns WHERE database = '{database}' \
             AND table = 'dns_transactions' FORMAT TSVRaw"
        ))?;
        let columns: Vec<&str> = columns.lines().collect();
        engine.query(&format!(
            "CREATE TABLE queue ({}) ENGINE = Kafka SETTINGS kafka_broker_list = '{brokers}', \
             kafka_topic_list = '{topic}', kafka_group_name = '{database}', \
             kafka_format = 'JSONEachRow', input_format_skip_unknown_fields = 1, \
             date_time_input_format = 'best_effort'",
            columns.join(", ")
        ))?;
        engine.query("CREATE MATERIALIZED VIEW feed TO dns_transactions AS SELECT * FROM queue")?;
        Ok(engine)
    }

    /// Returns the number of rows so far.
    pub fn rows(&self) -> Result<u64> {
        Ok(self.query("SELECT count() FROM dns_transactions")?.trim().parse()?)
    }

    /// Ends reading.
    pub fn stop(self) -> Result<()> {
        self.query("DROP TABLE feed")?;
        self.query("DROP TABLE queue").map(drop)
    }

    fn query(&self, sql: &str) -> Result<String> {
        let path = format!("/?database={}", self.database);
        let answer = http::send(self.address, "POST", &path, "", sql.as_bytes())?;
        ensure!(answer.status == 200, "ClickHouse refuses {sql}: {}", answer.body);
        Ok(answer.body)
    }
}
