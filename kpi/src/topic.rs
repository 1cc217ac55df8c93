//! Import from a topic of Kafka: what the topic has since the last import of it becomes one import.
//!
//! The commit of an import holds the next offset of each partition, together with its facts. So a crash between two
//! commits neither loses a message nor counts one twice, without consumer groups.

use crate::error::KpiError;
use crate::import::{self, Imported, Request};
use crate::privacy::Policy;
use crate::store::Store;
use dnscribe_delivery::KafkaConfig;
use dnscribe_delivery::kafka::{TimeSpan, read_topic};
use std::io::Write as _;
use std::ops::ControlFlow;

/// Imports what a topic has had since its last import.
///
/// # Errors
/// Kafka cannot be read, or the store cannot be written; then nothing is imported.
pub async fn import_topic(
    store: &Store,
    config: &KafkaConfig,
    topic: &str,
    policy: &Policy,
) -> Result<Option<Imported>, KpiError> {
    let name = format!("kafka:{topic}");
    let known = store.state().await?.offsets.remove(&name).unwrap_or_default();
    let mut next = known.clone();
    let fail = |error: std::io::Error| KpiError::Failed(format!("temporary file: {error}"));
    let mut file = tempfile::NamedTempFile::new().map_err(fail)?;
    let mut messages = 0_u64;
    let span = TimeSpan::default();
    let mut write = |partition: i32, offset: i64, value: Option<&[u8]>| -> std::io::Result<()> {
        if known.get(&partition).is_some_and(|first| offset < *first) {
            return Ok(());
        }
        let after = next.entry(partition).or_insert(0);
        *after = (*after).max(offset + 1);
        // A line is a message: JSON has no line breaks but as white space.
        let value: Vec<u8> = value
            .unwrap_or_default()
            .iter()
            .map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte })
            .collect();
        if !value.is_empty() {
            messages += 1;
            file.write_all(&value)?;
            file.write_all(b"\n")?;
        }
        Ok(())
    };
    let missing = tokio::task::block_in_place(|| {
        read_topic(config, topic, span, &mut |message| {
            write(message.partition, message.offset, message.value)
                .map_err(|error| format!("temporary file: {error}"))?;
            Ok(ControlFlow::Continue(()))
        })
    });
    for sentence in missing.map_err(KpiError::Failed)? {
        tracing::warn!("{sentence}");
    }
    if messages == 0 {
        return Ok(None);
    }
    file.flush().map_err(fail)?;
    let request = Request {
        source: topic,
        name: &name,
        is_named: false,
        policy,
        replaces: None,
        dead_letters: Some(config),
        offsets: next,
    };
    import::import(store, file.path(), &request).await.map(Some)
}
