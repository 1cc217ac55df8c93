//! `dnscribe zones import`, `dnscribe intel import` and `dnscribe annotate`: write records of
//! operators to Kafka.

use crate::cli::{AnnotateArgs, IntelArgs, PublishArgs, ZonesArgs};
use clap::ValueEnum as _;
use clap::builder::PossibleValue;
use dnscribe_agent::config::Config;
use dnscribe_cli::exit::Exit;
use dnscribe_cli::input::decompressed;
use dnscribe_cli::print;
use dnscribe_config::log;
use dnscribe_config::value::{Output, Topic};
use dnscribe_delivery::kafka::topics::{Retention, TopicSpec, create_topic};
use dnscribe_delivery::kafka::{Diagnosis, KeyedRecord, TimeSpan, publish, read_topic};
use dnscribe_import::intel::{self, IntelDefaults, IntelFormat};
use dnscribe_import::zones::{self, ZoneFormat};
use dnscribe_import::{Imported, domain};
use dnscribe_record::time::Timestamp;
use dnscribe_record::{
    ChangeFields, ChangeRecord, EventId, IntelRecord, Namespace, RecordHead, ZoneRecord,
};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

/// Time for which the topic of changes keeps them.
const CHANGES_RETENTION: Duration = Duration::from_hours(9600);

/// A topic of records that operators write.
struct OperatorTopic {
    schema: &'static str,
    name: &'static str,
    partitions: u16,
    cleanup: &'static str,
}

const ZONES: OperatorTopic =
    OperatorTopic { schema: "dns.zone/1", name: "dns.zones", partitions: 1, cleanup: "compact" };
const INTEL: OperatorTopic =
    OperatorTopic { schema: "dns.intel/1", name: "dns.intel", partitions: 3, cleanup: "compact" };
const CHANGES: OperatorTopic =
    OperatorTopic { schema: "dns.change/1", name: "dns.changes", partitions: 1, cleanup: "delete" };

/// Imports a file of zones.
pub(super) fn zones(args: &ZonesArgs) -> Result<(), Exit> {
    let (name, data) = read_file(&args.file)?;
    let format = args.format.unwrap_or_else(|| ZoneFormat::detect(&name, &data));
    let imported = zones::read(&data, format);
    let config = load(&args.publish)?;
    let mut writer = Writer::open(&config, &ZONES, &args.publish, Timestamp::now())?;
    for zone in &imported.items {
        let head = writer.head(&zone.zone);
        writer.add(&zone.zone, head.event_id, &ZoneRecord { head, zone: zone.clone() });
    }
    if args.replace {
        writer.remove_others(|_| true)?;
    }
    writer.finish(&name, &imported)
}

/// Imports a file of indicators.
pub(super) fn intel(args: &IntelArgs) -> Result<(), Exit> {
    let now = Timestamp::now();
    let (name, data) = read_file(&args.file)?;
    let format = args.format.unwrap_or_else(|| IntelFormat::detect(&data));
    let defaults = IntelDefaults {
        source: args.source.clone().unwrap_or_else(|| stem(&args.file)),
        category: args.category.clone(),
        confidence: args.confidence,
        valid_until: args.valid_until.map(|until| until.since(now)),
    };
    let imported = intel::read(&data, format, &defaults, now);
    let config = load(&args.publish)?;
    let mut writer = Writer::open(&config, &INTEL, &args.publish, now)?;
    for intel in &imported.items {
        let head = writer.head(&intel.indicator);
        let record = IntelRecord { head, intel: intel.clone() };
        writer.add(&intel.indicator, head.event_id, &record);
    }
    if args.replace {
        let sources: HashSet<&str> = imported.items.iter().map(|one| one.source.as_str()).collect();
        let is_same = |source: &str| source == defaults.source || sources.contains(source);
        writer.remove_others(|value| {
            serde_json::from_slice(value).is_ok_and(|old: SourceOnly| is_same(&old.source))
        })?;
    }
    writer.finish(&name, &imported)
}

/// The field of `dns.intel/1` that says which import an indicator belongs to.
#[derive(Deserialize)]
struct SourceOnly {
    source: String,
}

/// Writes one change event.
pub(super) fn annotate(args: &AnnotateArgs) -> Result<(), Exit> {
    let now = Timestamp::now();
    let begin = args.at.map_or(now, |at| at.since(now));
    let zone = args.zone.as_deref().map(domain).transpose().map_err(Exit::usage)?;
    let ends = args.ends.map(|ends| ends.since(begin));
    if args.summary.trim().is_empty() {
        return Err(Exit::usage("the summary is empty").with_remedy("say what is changed"));
    }
    if ends.is_some_and(|ends| ends <= begin) {
        return Err(Exit::usage("the change ends before it begins").with_remedy("correct --ends"));
    }
    let name = |value: Option<PossibleValue>| value.map(|value| value.get_name().to_owned());
    let change = ChangeFields {
        kind: name(args.kind.to_possible_value()).unwrap_or_default(),
        zone,
        service: args.service.clone(),
        summary: args.summary.clone(),
        actor: args.actor.clone(),
        url: args.url.clone(),
        ends,
        incident: name(args.incident.and_then(|verdict| verdict.to_possible_value())),
    };
    let config = load(&args.publish)?;
    let mut writer = Writer::open(&config, &CHANGES, &args.publish, begin)?;
    let key = change.zone.clone().or_else(|| change.service.clone()).unwrap_or_default();
    // Two changes of one moment differ in what they say.
    let content = serde_json::to_string(&change).unwrap_or_default();
    let head = writer.head(&content);
    writer.add(&key, head.event_id, &ChangeRecord { head, change });
    writer.finish("", &Imported::<()>::empty())
}

fn load(args: &PublishArgs) -> Result<Config, Exit> {
    let config = Config::load(&args.sources())?;
    log::start(config.log);
    Ok(config)
}

/// Returns a file's name for messages and its content.
fn read_file(path: &Path) -> Result<(String, String), Exit> {
    let name = path.display().to_string();
    let input: Box<dyn io::Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        let opened = File::open(path);
        Box::new(opened.map_err(|error| Exit::usage(format!("cannot open {name}: {error}")))?)
    };
    let mut data = Vec::new();
    decompressed(input)
        .and_then(|mut input| input.read_to_end(&mut data))
        .map_err(|error| Exit::usage(format!("cannot read {name}: {error}")))?;
    // A name with other characters is refused with its line.
    Ok((name, String::from_utf8_lossy(&data).into_owned()))
}

/// Returns the file's name without folder and ending.
fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.split('.').next().unwrap_or_default();
    if stem.is_empty() || stem == "-" { "stdin".to_owned() } else { stem.to_owned() }
}

/// Collects records and sends them to one topic.
struct Writer<'a> {
    config: &'a Config,
    args: &'a PublishArgs,
    wanted: &'a OperatorTopic,
    topic: String,
    ts: Timestamp,
    records: Vec<KeyedRecord>,
    removed: usize,
}

/// Result of a command, for `-o json`.
#[derive(Serialize)]
struct Report<'a> {
    topic: &'a str,
    written: usize,
    removed: usize,
    duplicates: u64,
    expired: u64,
    refused: usize,
}

impl<'a> Writer<'a> {
    fn open(
        config: &'a Config,
        wanted: &'a OperatorTopic,
        args: &'a PublishArgs,
        ts: Timestamp,
    ) -> Result<Self, Exit> {
        let topic = match &args.topic {
            Some(topic) => topic.parse::<Topic>().map_err(|why| Exit::usage(why.to_string()))?.0,
            None => format!("{}{}", config.kafka.topic_prefix, wanted.name),
        };
        let writer = Self { config, args, wanted, topic, ts, records: Vec::new(), removed: 0 };
        if !writer.prints_records() {
            if writer.config.kafka.brokers.is_empty() {
                let remedy = "give --brokers HOST:PORT or kafka.brokers, or --dry-run";
                return Err(Exit::usage("there is no broker to write to").with_remedy(remedy));
            }
            writer.create_topic().map_err(failed)?;
        }
        Ok(writer)
    }

    /// Whether records are printed instead of sent.
    fn prints_records(&self) -> bool {
        let is_json = self.args.output == Some(Output::Json);
        self.args.dry_run || is_json && self.config.kafka.brokers.is_empty()
    }

    fn create_topic(&self) -> Result<(), Diagnosis> {
        let spec = TopicSpec {
            topic: self.topic.clone(),
            streams: Vec::new(),
            partitions: self.wanted.partitions,
            replication_factor: self.config.kafka.creation.replication_factor,
            retention: Retention(CHANGES_RETENTION),
            cleanup_policy: self.wanted.cleanup,
        };
        if create_topic(&self.config.kafka, spec)? {
            tracing::info!("created topic {}", self.topic);
        }
        Ok(())
    }

    /// Returns the head of a record; `name` identifies it among those of this moment.
    fn head(&self, name: &str) -> RecordHead<'a> {
        let event_id = self.event_id(name);
        let config = self.config;
        let labels = Some(&config.labels).filter(|labels| !labels.is_empty());
        let region = config.region.as_deref();
        RecordHead {
            schema: self.wanted.schema,
            event_id,
            ts: self.ts,
            node: &config.node,
            region,
            labels,
        }
    }

    fn event_id(&self, name: &str) -> EventId {
        let name = format!("{} {name}", self.wanted.schema);
        Namespace::new(&self.config.node, self.ts).for_name(name.as_bytes())
    }

    fn add(&mut self, key: &str, event_id: EventId, record: &impl Serialize) {
        let mut value = Vec::new();
        dnscribe_delivery::append_json(&mut value, record);
        let schema = self.wanted.schema;
        self.records.push(KeyedRecord {
            key: key.to_owned(),
            schema,
            event_id,
            value: Some(value),
        });
    }

    /// Removes the keys of the topic whose newest value is `ours` and that are not written now.
    fn remove_others(&mut self, ours: impl Fn(&[u8]) -> bool) -> Result<(), Exit> {
        if self.prints_records() {
            return Ok(());
        }
        let written: HashSet<&str> = self.records.iter().map(|one| one.key.as_str()).collect();
        let mut old = HashSet::new();
        read_topic(&self.config.kafka, &self.topic, TimeSpan::default(), &mut |message| {
            if let Some(key) = message.key.and_then(|key| std::str::from_utf8(key).ok()) {
                if message.value.is_some_and(&ours) && !written.contains(key) {
                    old.insert(key.to_owned());
                } else {
                    old.remove(key);
                }
            }
            Ok(ControlFlow::Continue(()))
        })
        .map_err(Exit::failed)?;
        self.removed = old.len();
        let schema = self.wanted.schema;
        let ids: Vec<_> = old.into_iter().map(|key| (self.event_id(&key), key)).collect();
        self.records.extend(ids.into_iter().map(|(event_id, key)| KeyedRecord {
            key,
            schema,
            event_id,
            value: None,
        }));
        Ok(())
    }

    /// Sends or prints the records, and prints what was refused and the counts.
    fn finish<T>(self, file: &str, imported: &Imported<T>) -> Result<(), Exit> {
        let say = |line: &str| {
            let said = writeln!(io::stderr(), "{line}");
            said.map_err(|error| Exit::failed(format!("cannot write to stderr: {error}")))
        };
        for refusal in &imported.refused {
            say(&format!("{file}:{refusal}"))?;
        }
        let report = Report {
            topic: &self.topic,
            written: self.records.len() - self.removed,
            removed: self.removed,
            duplicates: imported.duplicates,
            expired: imported.expired,
            refused: imported.refused.len(),
        };
        if self.prints_records() {
            let lines = self.records.iter().filter_map(|record| record.value.as_deref());
            let text: Vec<u8> = lines.flat_map(|line| [line, b"\n"].concat()).collect();
            print(&String::from_utf8_lossy(&text))?;
            say(&describe(&report, "would be written to"))?;
        } else {
            let Config { kafka, node, .. } = self.config;
            publish(kafka, &self.topic, node, &self.records).map_err(failed)?;
            match self.args.output {
                Some(Output::Json) => {
                    print(&format!("{}\n", serde_json::json!(report)))?;
                }
                _ => print(&format!("{}\n", describe(&report, "written to")))?,
            }
        }
        match report.refused {
            0 => Ok(()),
            1 => Err(Exit::failed("1 line was refused")),
            refused => Err(Exit::failed(format!("{refused} lines were refused"))),
        }
    }
}

fn failed(why: Diagnosis) -> Exit {
    Exit::failed(why.problem).with_remedy(why.remedy)
}

fn describe(report: &Report<'_>, what: &str) -> String {
    let Report { topic, written, .. } = *report;
    let noun = if written == 1 { "record" } else { "records" };
    let mut text = format!("{written} {noun} {what} {topic}");
    let others = [
        (report.removed as u64, "removed"),
        (report.duplicates, "duplicates left out"),
        (report.expired, "expired left out"),
        (report.refused as u64, "refused"),
    ];
    for (count, what) in others.into_iter().filter(|(count, _)| *count > 0) {
        // Writing to a string does not fail.
        let _ = write!(text, ", {count} {what}");
    }
    text
}
