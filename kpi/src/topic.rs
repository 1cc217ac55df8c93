//! Import from a topic of Kafka: what the topic has since the last import of it becomes one import.
//!
//! The commit of an import holds the next offset of each partition, together with its facts. So a crash between two
//! commits neither loses a message nor counts one twice, without consumer groups.

use crate::error::KpiError;
use crate::import::{self, Imported, Request};
use crate::input::Format;
use crate::privacy::Policy;
use crate::scratch::ScratchFile;
use crate::sources::Sources;
use crate::store::Store;
use dnscribe_delivery::KafkaConfig;
use dnscribe_delivery::kafka::{TimeSpan, read_topic};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::ops::ControlFlow;

/// Imports what a topic has had since its last import, or since its beginning (`is_restart`).
///
/// # Errors
/// Kafka cannot be read, or the store cannot be written; then nothing is imported.
pub async fn import_topic(
    store: &Store,
    config: &KafkaConfig,
    topic: &str,
    policy: &Policy,
    sources: &Sources,
    is_restart: bool,
) -> Result<Option<Imported>, KpiError> {
    let name = format!("kafka:{topic}");
    let mut state = store.state().await?;
    let known = state.offsets.remove(&name).filter(|_| !is_restart).unwrap_or_default();
    let known_last = state.last_messages.remove(&name).unwrap_or_default();
    let mut last_messages = known_last.clone();
    let mut changed = None;
    let mut next = known.clone();
    let mut ends = BTreeMap::new();
    let mut file = ScratchFile::new()?;
    let mut messages = 0_u64;
    let span = TimeSpan::default();
    let mut write = |partition: i32, offset: i64, value: Option<&[u8]>| -> std::io::Result<()> {
        ends.insert(partition, offset + 1);
        let hash = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(value.unwrap_or_default()));
        if known.get(&partition) == Some(&(offset + 1))
            && known_last.get(&partition.to_string()).is_some_and(|last| *last != hash)
        {
            changed = Some((partition, offset));
        }
        last_messages.insert(partition.to_string(), hash);
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
                .map_err(|error| KpiError::temporary(error).to_string())?;
            Ok(ControlFlow::Continue(()))
        })
    });
    for sentence in missing.map_err(KpiError::Failed)? {
        tracing::warn!("{sentence}");
    }
    for (partition, end) in ends {
        if let Some(first) = known.get(&partition).filter(|first| end < **first) {
            return Err(KpiError::Usage(format!(
                "{topic}: partition {partition} ends at offset {end}, but {first} were imported: the topic was made \
                 anew; import it with --from-beginning"
            )));
        }
    }
    if let Some((partition, offset)) = changed {
        return Err(KpiError::Usage(format!(
            "{topic}: partition {partition} has another message at offset {offset} than was imported: the topic was \
             made anew; import it with --from-beginning"
        )));
    }
    if messages == 0 {
        return Ok(None);
    }
    file.flush().map_err(KpiError::temporary)?;
    let request = Request {
        source: topic,
        // A message that is no JSON must not decide how the others are read.
        format: Some(Format::Json),
        dead_letters: Some(config),
        offsets: next,
        last_messages,
        ..Request::new(&name, policy, sources)
    };
    import::import(store, file.path(), &request).await.map(Some)
}
