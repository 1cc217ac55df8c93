//! Import from a topic of Kafka: what the topic has since the last import of it becomes one import.
//!
//! The commit of an import holds the next offset of each partition, together with its facts. So a crash between two
//! commits neither loses a message nor counts one twice, without consumer groups.

use crate::error::KpiError;
use crate::import::{self, Imported, Request, position};
use crate::input::{self, Format, MAX_LINE_BYTES};
use crate::privacy::Policy;
use crate::scratch::ScratchFile;
use crate::sources::Sources;
use crate::store::Store;
use dnscribe_cli::input::Compression;
use dnscribe_delivery::KafkaConfig;
use dnscribe_delivery::kafka::{TopicMessage, TopicReader};
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::ops::{ControlFlow, Range};

/// Imports what a topic has had since its last import, or since its beginning (`is_restart`).
///
/// # Errors
/// Kafka cannot be read, messages were removed before they were imported, or the store cannot be written; then nothing is
/// imported.
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
    let earlier_offsets = state.offsets.remove(&name).unwrap_or_default();
    let marks = state.last_messages.remove(&name).unwrap_or_default();
    let earlier =
        if is_restart { Progress::default() } else { Progress::new(&earlier_offsets, &marks) };
    let content = tokio::task::block_in_place(|| Content::read(config, topic, &earlier))?;
    let request = Request {
        source: topic,
        // A message that is no JSON must not decide how the others are read.
        format: Some(Format::Json),
        dead_letters: Some(config),
        offsets: content.progress.offsets(),
        last_messages: content.progress.marks(),
        earlier_offsets,
        ..Request::new(&name, policy, sources)
    };
    let mut imported = None;
    if content.messages > 0 {
        let result = import::import(store, content.file.path(), &request).await;
        imported = Some(result.map_err(|error| error.renamed(content.file.path(), topic))?);
    }
    if !matches!(imported, Some(Imported::Added(_))) {
        position::record(store, &request).await?;
    }
    Ok(imported)
}

/// How far a partition was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Position {
    /// Offset after the newest message.
    next: i64,
    /// End of the partition: from `next` on, it had no messages, but may have had marks of transactions.
    end: i64,
    /// Hash of the newest message.
    hash: Option<String>,
}

impl Position {
    /// Reads the end and the hash from text. Former versions had the hash alone.
    fn parse(next: i64, mark: Option<&String>) -> Self {
        let mark = mark.map_or("", String::as_str);
        let (end, hash) = mark.split_once(':').unwrap_or(("", mark));
        let hash = (!hash.is_empty()).then(|| hash.to_owned());
        Self { next, end: end.parse().unwrap_or(next), hash }
    }

    fn mark(&self) -> String {
        format!("{}:{}", self.end, self.hash.as_deref().unwrap_or_default())
    }
}

/// How far a topic was read, by partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Progress(BTreeMap<i32, Position>);

impl Progress {
    fn new(offsets: &BTreeMap<i32, i64>, marks: &BTreeMap<String, String>) -> Self {
        let position = |(partition, next): (&i32, &i64)| {
            (*partition, Position::parse(*next, marks.get(&partition.to_string())))
        };
        Self(offsets.iter().map(position).collect())
    }

    fn offsets(&self) -> BTreeMap<i32, i64> {
        self.0.iter().map(|(partition, position)| (*partition, position.next)).collect()
    }

    fn marks(&self) -> BTreeMap<String, String> {
        self.0
            .iter()
            .map(|(partition, position)| (partition.to_string(), position.mark()))
            .collect()
    }

    /// Refuses a topic that does not have all messages since, by the offsets that are kept.
    fn require_continued(
        &self,
        topic: &str,
        kept: &BTreeMap<i32, Range<i64>>,
    ) -> Result<(), KpiError> {
        for (partition, Position { next, .. }) in &self.0 {
            let end = kept.get(partition).map_or(0, |kept| kept.end);
            if end < *next {
                return Err(KpiError::Usage(format!(
                    "{topic}: partition {partition} ends at offset {end}, but {next} were imported: the topic was \
                     made anew; import it with --from-beginning"
                )));
            }
        }
        // A partition that was added since began at 0.
        let end = |partition: &i32| self.0.get(partition).map_or(0, |position| position.end);
        let lost = kept.iter().filter(|(partition, kept)| end(partition) < kept.start);
        let lost = lost.map(|(partition, kept)| {
            format!("{} to {} of partition {partition}", end(partition), kept.start - 1)
        });
        let lost = lost.collect::<Vec<_>>().join(", ");
        if self.0.is_empty() || lost.is_empty() {
            return Ok(());
        }
        Err(KpiError::Usage(format!(
            "{topic}: offsets {lost} were removed before they were imported: --from-beginning imports what is left, and \
             no day says that it lacks them"
        )))
    }
}

/// What a topic has had since it was read last.
struct Content {
    /// The messages that have a value, one a line.
    file: ScratchFile,
    messages: u64,
    progress: Progress,
}

impl Content {
    fn read(config: &KafkaConfig, topic: &str, earlier: &Progress) -> Result<Self, KpiError> {
        let mut reader = TopicReader::open(config, topic).map_err(KpiError::Failed)?;
        let kept = reader.offsets();
        earlier.require_continued(topic, &kept)?;
        let mut progress = earlier.clone();
        for (partition, Range { start, end }) in kept {
            let position = progress.0.entry(partition).or_insert_with(|| {
                if start > 0 {
                    tracing::warn!(
                        "{topic}/{partition} begins at offset {start}: what was before is gone (retention)"
                    );
                }
                Position { next: start, ..Position::default() }
            });
            position.end = end;
            // The newest message that was imported says whether the topic is still the same.
            let known = i64::from(position.hash.is_some());
            reader.begin_at(partition, position.next - known);
        }
        let mut content = Self { file: ScratchFile::new()?, messages: 0, progress };
        let mut failure = None;
        let read = reader.read(&mut |message| {
            failure = content.add(message, earlier).err();
            Ok(if failure.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        read.map_err(KpiError::Failed)?;
        failure.map_or(Ok(()), Err)?;
        for hole in reader.holes() {
            tracing::warn!("{hole}");
        }
        content.file.flush().map_err(KpiError::temporary)?;
        Ok(content)
    }

    fn add(&mut self, message: TopicMessage<'_>, earlier: &Progress) -> Result<(), KpiError> {
        let TopicMessage { topic, partition, offset, value, .. } = message;
        let value = value.unwrap_or_default();
        let hash = Some(format!("{:016x}", xxhash_rust::xxh3::xxh3_64(value)));
        let known = earlier.0.get(&partition).filter(|known| offset < known.next);
        if let Some(known) = known {
            if known.hash == hash {
                return Ok(());
            }
            return Err(KpiError::Usage(format!(
                "{topic}: partition {partition} has another message at offset {offset} than was imported: the topic was \
                 made anew; import it with --from-beginning"
            )));
        }
        let position = self.progress.0.entry(partition).or_default();
        (position.next, position.hash) = (offset + 1, hash);
        if value.is_empty() {
            return Ok(());
        }
        self.messages += 1;
        let place = || format!("{topic}/{partition}, offset {offset}");
        self.file.write_all(&line(value, place)).map_err(KpiError::temporary)
    }
}

/// Returns the line that a message becomes. One that can be none is named instead by its place: it is refused as no JSON, and keeps
/// no others away.
fn line(value: &[u8], place: impl Fn() -> String) -> Vec<u8> {
    let is_blank = || {
        let text = std::str::from_utf8(value);
        text.is_ok_and(|text| text.trim_start_matches('\u{feff}').trim().is_empty())
    };
    let wrong = if value.len() >= MAX_LINE_BYTES {
        Some(input::too_long(&place(), value.len()))
    } else if Compression::detect(value).is_some() {
        // As the first line, it would say that all lines are compressed.
        Some(format!("{}: compressed by its producer", place()))
    } else if is_blank() {
        Some(format!("{}: white space alone", place()))
    } else {
        None
    };
    if let Some(wrong) = wrong {
        tracing::warn!("{wrong}: this message is refused");
        return (wrong + "\n").into_bytes();
    }
    let is_break = |byte: &u8| matches!(byte, b'\n' | b'\r');
    // JSON has line breaks as white space alone. Within a text, a space instead would make another text of what is no JSON.
    let is_wrong =
        value.iter().any(is_break) && serde_json::from_slice::<IgnoredAny>(value).is_err();
    let instead = if is_wrong { NO_JSON } else { b' ' };
    let bytes = value.iter().map(|byte| if is_break(byte) { instead } else { *byte });
    bytes.chain([b'\n']).collect()
}

/// Stands for a line break in a message that is no JSON: no JSON has this byte.
const NO_JSON: u8 = 0x0b;

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(partitions: &[(i32, i64, &str)]) -> Progress {
        let offsets = partitions.iter().map(|(partition, next, _)| (*partition, *next)).collect();
        let marks = partitions
            .iter()
            .map(|(partition, _, mark)| (partition.to_string(), (*mark).to_owned()));
        Progress::new(&offsets, &marks.collect())
    }

    #[test]
    fn positions_survive_their_text() {
        let position = |next: i64, end: i64, hash: Option<&str>| Position {
            next,
            end,
            hash: hash.map(str::to_owned),
        };
        let all = [position(4, 5, Some("00f3")), position(7, 7, None), position(0, 9, None)];
        let written = Progress((0..).zip(all).collect());
        assert_eq!(Progress::new(&written.offsets(), &written.marks()), written);
        // Of a former version: a hash of digits is no end.
        let former = progress(&[(0, 4, "1234567812345678")]);
        assert_eq!(former.0[&0], position(4, 4, Some("1234567812345678")));
    }

    #[test]
    fn what_was_removed_before_it_was_imported_is_refused() {
        let earlier = progress(&[(0, 100, "101:5e"), (1, 50, "50:5e"), (2, 0, "0:")]);
        let refusal = |earlier: &Progress, kept: &[(i64, i64)]| {
            let kept = kept.iter().map(|(start, end)| *start..*end);
            let kept = (0..).zip(kept).collect();
            earlier.require_continued("t", &kept).err().map(|error| error.to_string())
        };
        for (kept, expected) in [
            (vec![(0, 100), (0, 50), (0, 0)], None),
            // What is removed was imported, or was a mark of a transaction.
            (vec![(99, 100), (50, 60), (0, 10)], None),
            (vec![(101, 101), (50, 50), (0, 0)], None),
            (
                vec![(102, 200), (0, 50), (0, 0)],
                Some("offsets 101 to 101 of partition 0 were removed"),
            ),
            (
                vec![(300, 400), (60, 60), (0, 0)],
                Some("101 to 299 of partition 0, 50 to 59 of partition 1"),
            ),
            // Nothing was imported of it yet, or it was added since.
            (vec![(0, 100), (0, 50), (5, 9)], Some("offsets 0 to 4 of partition 2")),
            (vec![(0, 100), (0, 50), (0, 0), (3, 3)], Some("offsets 0 to 2 of partition 3")),
            (
                vec![(0, 99), (0, 50), (0, 0)],
                Some("partition 0 ends at offset 99, but 100 were imported"),
            ),
            (vec![(0, 100)], Some("partition 1 ends at offset 0, but 50 were imported")),
        ] {
            let refused = refusal(&earlier, &kept);
            match expected {
                None => assert_eq!(refused, None, "{kept:?}"),
                Some(expected) => assert!(refused.unwrap().contains(expected), "{kept:?}"),
            }
        }
        assert_eq!(refusal(&Progress::default(), &[(300, 400)]), None);
    }

    /// Each message is one row: what cannot be read is refused, and stops nothing.
    #[test]
    fn each_message_becomes_one_row_with_its_own_value() {
        let long = [b"\"".as_slice(), &vec![b'a'; MAX_LINE_BYTES - 2], b"\""].concat();
        let gzip = [&[0x1f, 0x8b, 8, 0][..], b"{}"].concat();
        for (value, expected) in [
            (b"{\"a\":\r\n1}".as_slice(), Some("{\"a\":  1}")),
            (b"\n{}\n", Some("{}")),
            // No JSON has a line break in a text.
            (b"{\"a\":\"b\nc\"}", None),
            (b"{\"a\":1}\n{\"a\":2}", None),
            (b" \n\t", None),
            (&gzip, None),
            (&long, None),
            (&long[1..], None),
        ] {
            let mut content = Content {
                file: ScratchFile::new().unwrap(),
                messages: 0,
                progress: Progress::default(),
            };
            let message = |offset: i64, value| TopicMessage {
                topic: "t",
                partition: 3,
                offset,
                written: None,
                is_first: offset == 0,
                key: None,
                event_id: None,
                value: Some(value),
            };
            content.add(message(0, value), &Progress::default()).unwrap();
            content.add(message(1, b"{}"), &Progress::default()).unwrap();
            content.file.flush().unwrap();
            let mut rows = Vec::new();
            let add = |_, row| {
                let read = match &row {
                    input::Row::Json(text) => input::parse_fields(text).is_ok(),
                    _ => false,
                };
                let text = match row {
                    input::Row::Json(text) | input::Row::Unreadable(text, _) => text,
                    input::Row::Csv(..) => String::new(),
                };
                rows.push((read, text));
                Ok(())
            };
            input::read_rows(content.file.path(), Format::Json, add).unwrap();
            let [(is_read, text), (true, _)] = rows.as_slice() else { panic!("{rows:?}") };
            assert_eq!(is_read.then_some(text.as_str()), expected);
        }
        let text = line(&long, || "t/3, offset 7".to_owned());
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text, "t/3, offset 7: 16777216 bytes, but a row may have 16 MiB\n");
    }

    /// A topic that was made anew may have what the one before had, or nothing; and marks of transactions move its end.
    #[test]
    fn positions_are_recorded_although_nothing_is_added() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("data").to_str().unwrap()).unwrap();
        let (policy, sources) = (Policy::default(), Sources::default());
        let mut earlier_offsets = BTreeMap::new();
        for (read, commits) in [
            (progress(&[(0, 0, "0:")]), 1),
            (progress(&[(0, 0, "0:")]), 1),
            (progress(&[(0, 4, "4:5e")]), 2),
            (progress(&[(0, 4, "6:5e")]), 3),
            (progress(&[(0, 4, "6:5e")]), 3),
            (progress(&[(0, 2, "2:5f")]), 4),
        ] {
            let request = Request {
                offsets: read.offsets(),
                last_messages: read.marks(),
                earlier_offsets,
                ..Request::new("kafka:t", &policy, &sources)
            };
            runtime.block_on(position::record(&store, &request)).unwrap();
            let state = runtime.block_on(store.state()).unwrap();
            earlier_offsets = state.offsets["kafka:t"].clone();
            assert_eq!(Progress::new(&earlier_offsets, &state.last_messages["kafka:t"]), read);
            assert_eq!(state.number, commits, "{read:?}");
            // Whoever has begun to read before others went on takes nothing back.
            let late = Request {
                offsets: BTreeMap::from([(0, 1)]),
                earlier_offsets: BTreeMap::from([(0, 77)]),
                ..request.clone()
            };
            runtime.block_on(position::record(&store, &late)).unwrap();
            assert_eq!(runtime.block_on(store.state()).unwrap().number, commits);
        }
    }
}
