//! The sink `evidence`: a flight recorder. The last messages stay in memory; an alert that fires writes those behind it
//! to a pcapng file named by its `alert_id`.
//!
//! Input: `dns.message/1` with the bytes of the message (`messages.wire`), and `dns.alert/1`. A message is *delivered*
//! once a file has it, and *filtered* if it leaves memory without; until then it is in flight.

use super::frames::{ContainerFields, MessageFields, PodFields, ProcessFields};
use super::open::create_directory;
use super::pcapng::PacketEncoder;
use super::tally::{DropReason, Location, PerStream, Tally};
use super::threaded::{LONG_WAIT, NextStep, QueueLimits, SharedState, SinkReceiver, ThreadedSink};
use super::{Batch, OutputFormat, SinkError, Stream, StreamSet};
use dnscribe_record::EventId;
use dnscribe_record::time::Timestamp;
use ipnet::IpNet;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const REASONS: &[DropReason] = &[
    DropReason::QueueFull,
    DropReason::NotEncodable,
    DropReason::WriteError,
    DropReason::Shutdown,
];

/// Extensions of files that are complete, and of those that are not.
const COMPLETE: &str = "pcapng";
const PART: &str = "part";

/// Limits of a sink `evidence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvidenceLimits {
    /// Most bytes of messages in memory.
    pub memory: u64,
    /// Longest time that a message stays in memory, by the time of its capture.
    pub before: Duration,
    /// Most files in the directory.
    pub max_files: usize,
}

impl Default for EvidenceLimits {
    fn default() -> Self {
        Self { memory: 16 << 20, before: Duration::from_mins(2), max_files: 100 }
    }
}

/// Opens the sink. Creates its directory where it is missing.
pub(super) fn open(
    name: String,
    streams: StreamSet,
    directory: &Path,
    node: &str,
    limits: EvidenceLimits,
) -> Result<ThreadedSink, SinkError> {
    create_directory(directory)?;
    let mut recorder = Recorder {
        directory: directory.to_path_buf(),
        header: PacketEncoder::header(node),
        limits,
        messages: VecDeque::new(),
        bytes: 0,
    };
    let shared = SharedState::new(streams, REASONS);
    let work = move |receiver: &SinkReceiver| recorder.run(receiver);
    ThreadedSink::start(name, OutputFormat::Json, QueueLimits::default(), shared, work)
}

/// A message in memory.
struct RecordedMessage {
    ts: Timestamp,
    /// [`MessageFields`] as JSON.
    fields: Box<[u8]>,
    is_written: bool,
}

impl RecordedMessage {
    fn size_bytes(&self) -> u64 {
        (size_of::<Self>() + self.fields.len()) as u64
    }
}

struct Recorder {
    directory: PathBuf,
    /// Blocks that begin each file.
    header: Vec<u8>,
    limits: EvidenceLimits,
    /// In the order of their arrival.
    messages: VecDeque<RecordedMessage>,
    bytes: u64,
}

impl Recorder {
    fn run(&mut self, receiver: &SinkReceiver) {
        let tally = &receiver.shared.tally;
        loop {
            match receiver.next(LONG_WAIT) {
                NextStep::Batch(taken) => self.take(&taken.batch, tally),
                NextStep::Idle => {}
                NextStep::Stop => break,
            }
        }
        while self.forget_oldest(tally) {}
    }

    fn take(&mut self, batch: &Batch, tally: &Tally) {
        for record in batch.iter() {
            match record.stream {
                Stream::Messages => self.keep(record.line, record.key, tally),
                Stream::Alerts => self.alert(record.line, tally),
                _ => {}
            }
        }
    }

    /// Keeps a message of the resolver `key`.
    fn keep(&mut self, line: &[u8], key: &[u8], tally: &Tally) {
        let Some(mut fields) = MessageFields::read(line) else {
            return tally.dropped(&one(Stream::Messages), DropReason::NotEncodable);
        };
        fields.resolver = Some(String::from_utf8_lossy(key));
        // Serializing into memory does not fail.
        let json = serde_json::to_vec(&fields).unwrap_or_default();
        let message = RecordedMessage { ts: fields.ts, fields: json.into(), is_written: false };
        let oldest = fields
            .ts
            .as_nanos()
            .saturating_sub(u64::try_from(self.limits.before.as_nanos()).unwrap_or(u64::MAX));
        let size = message.size_bytes();
        let memory = self.limits.memory;
        let is_full = |bytes: u64| bytes + size > memory;
        while self
            .messages
            .front()
            .is_some_and(|first| is_full(self.bytes) || first.ts.as_nanos() < oldest)
        {
            self.forget_oldest(tally);
        }
        if is_full(self.bytes) {
            return tally.filtered_at(Location::Memory, Stream::Messages);
        }
        self.bytes += size;
        self.messages.push_back(message);
        // Last, so that who waits for records in flight finds the others forgotten.
        tally.held(Stream::Messages, 1);
    }

    /// Removes the oldest message. Returns false if there is none.
    fn forget_oldest(&mut self, tally: &Tally) -> bool {
        let Some(message) = self.messages.pop_front() else { return false };
        self.bytes -= message.size_bytes();
        if !message.is_written {
            tally.released(Stream::Messages, 1, false);
        }
        true
    }

    /// Writes the file of an alert, if it fires and has none.
    fn alert(&mut self, line: &[u8], tally: &Tally) {
        let Ok(alert) = serde_json::from_slice::<AlertFields<'_>>(line) else {
            return tally.dropped(&one(Stream::Alerts), DropReason::NotEncodable);
        };
        let path = file(&self.directory, &*alert.alert_id);
        let is_due = alert.state == "firing" && !path.exists();
        let written = if is_due { self.write(&alert, &path, tally) } else { Ok(0) };
        match written {
            // It has a file, or is over, or no message is in memory.
            Ok(0) => tally.filtered_at(Location::Memory, Stream::Alerts),
            Ok(count) => {
                tracing::info!("alert {}: {count} messages in {}", alert.rule, path.display());
                tally.delivered(&one(Stream::Alerts));
            }
            Err(error) => {
                tracing::warn!(
                    "cannot write {}: {error}; free space, or see evidence.max_files",
                    path.display()
                );
                tally.dropped(&one(Stream::Alerts), DropReason::WriteError);
            }
        }
    }

    /// Writes the messages behind an alert. Returns how many they are; without any, there is no file.
    fn write(&mut self, alert: &AlertFields<'_>, path: &Path, tally: &Tally) -> io::Result<u64> {
        let mut encoder = PacketEncoder::default();
        let mut content = self.header.clone();
        let mut concerned = Vec::new();
        for message in &mut self.messages {
            let fields = MessageFields::read(&message.fields);
            let fields = fields.filter(|fields| alert.concerns(fields));
            if fields.is_some_and(|fields| encoder.append(&fields, &mut content)) {
                concerned.push(message);
            }
        }
        if concerned.is_empty() {
            return Ok(0);
        }
        let part = path.with_extension(PART);
        let stored = store(&part, &content).and_then(|()| fs::rename(&part, path));
        if stored.is_err() {
            // What is left of it would only take space.
            let _ = fs::remove_file(&part);
        }
        stored?;
        let new = concerned.iter().filter(|message| !message.is_written).count();
        tally.released(Stream::Messages, new as u64, true);
        let count = concerned.len() as u64;
        for message in concerned {
            message.is_written = true;
        }
        remove_oldest(&self.directory, self.limits.max_files)?;
        Ok(count)
    }
}

/// Returns the path of the file of an alert.
#[must_use]
pub fn evidence_file(directory: &Path, alert_id: EventId) -> String {
    file(directory, alert_id).display().to_string()
}

fn file(directory: &Path, alert_id: impl Display) -> PathBuf {
    directory.join(format!("{alert_id}.{COMPLETE}"))
}

/// Writes a file and syncs it.
fn store(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o640).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Removes the oldest files of alerts, and what a crash left of them, so that `max` are left. Syncs the directory.
fn remove_oldest(directory: &Path, max: usize) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        let id = path.file_stem().and_then(|id| id.to_str()).unwrap_or_default();
        let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_id
            && path
                .extension()
                .is_some_and(|found| [COMPLETE, PART].iter().any(|one| found == *one))
        {
            files.push((entry.metadata()?.modified()?, path));
        }
    }
    files.sort();
    let excess = files.len().saturating_sub(max);
    files[..excess].iter().try_for_each(|(_, path)| fs::remove_file(path))?;
    File::open(directory)?.sync_all()
}

/// One record of a stream.
fn one(stream: Stream) -> PerStream {
    let mut share = PerStream::default();
    share[stream as usize] = 1;
    share
}

/// The fields of `dns.alert/1` that say which messages are behind it. A part that is absent is not distinguished.
#[derive(Debug, Default, Deserialize)]
struct AlertFields<'a> {
    #[serde(borrow)]
    alert_id: Cow<'a, str>,
    #[serde(borrow)]
    state: Cow<'a, str>,
    #[serde(borrow)]
    rule: Cow<'a, str>,
    #[serde(borrow, default)]
    resolver: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    zone: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    qname: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    process: Option<ProcessFields<'a>>,
    #[serde(borrow, default)]
    container: Option<ContainerFields<'a>>,
    #[serde(borrow, default)]
    k8s: Option<PodFields<'a>>,
    #[serde(default, deserialize_with = "network")]
    client_ip: Option<IpNet>,
    #[serde(borrow, default)]
    vantage: Option<Cow<'a, str>>,
}

/// Reads an address, or a network: that of an alert about many clients.
fn network<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpNet>, D::Error> {
    let Some(text) = Option::<Cow<'_, str>>::deserialize(deserializer)? else { return Ok(None) };
    let address = text.parse::<IpAddr>().map(|address| address.to_canonical().into());
    address.or_else(|_| text.parse()).map(Some).map_err(D::Error::custom)
}

impl AlertFields<'_> {
    /// Returns whether a message belongs to the alert's entity.
    fn concerns(&self, message: &MessageFields<'_>) -> bool {
        fn fits<T: PartialEq>(wanted: Option<&T>, found: Option<&T>) -> bool {
            wanted.is_none() || wanted == found
        }
        let client = message.client_and_server().0.ip().to_canonical();
        let is_below = |zone: &Cow<'_, str>| {
            let rest = message.qname.as_ref().and_then(|name| name.strip_suffix(&**zone));
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let comm =
            |process: &Option<ProcessFields<'_>>| process.as_ref().map(|one| one.comm.to_string());
        fits(self.resolver.as_ref(), message.resolver.as_ref())
            && fits(self.vantage.as_ref(), Some(&message.vantage))
            && fits(self.qname.as_ref(), message.qname.as_ref())
            && self.client_ip.is_none_or(|network| network.contains(&client))
            && self.zone.as_ref().is_none_or(is_below)
            && fits(comm(&self.process).as_ref(), comm(&message.process).as_ref())
            && fits(self.container.as_ref(), message.container.as_ref())
            && fits(self.k8s.as_ref(), message.k8s.as_ref())
    }
}

#[cfg(test)]
mod tests;
