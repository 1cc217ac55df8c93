//! Kafka's program files, from Maven Central.

use super::VERSION;
use crate::cache;
use anyhow::Result;
use std::path::PathBuf;

/// Returns the folder with Kafka's jars; downloads them if they are missing.
pub fn libraries() -> Result<PathBuf> {
    let artefacts = [
        format!("org.apache.kafka:kafka_2.13:{VERSION}"),
        format!("org.apache.kafka:kafka-tools:{VERSION}"),
        "org.slf4j:slf4j-simple:1.7.36".to_owned(),
    ];
    cache::folder("kafka", VERSION, |scratch| cache::maven(scratch, &artefacts))
}
