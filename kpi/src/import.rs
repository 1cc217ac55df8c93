//! Import: files become immutable facts, and rows that do not fit become rejected rows with their reason.

pub mod again;
mod parse;
pub mod position;
pub mod undo;

pub use parse::parse;

use crate::attributes::{ATTRIBUTES, Attributes, Kind};
use crate::dead_letter;
use crate::error::KpiError;
use crate::event::{self, EventType, Rejection};
use crate::facts::{self, Alert, DnsWindow, Fact, Origin, ProbeResult, Rejected};
use crate::input::{self, Columns, Digest, Format, Row, event_id, hex, with_event_id};
use crate::mapping::Mapping;
use crate::privacy::Policy;
use crate::raw::{KEYS, ROWS, RawWriter, Subjects, random};
use crate::sources::{KeyRule, Sources};
use crate::store::{
    CommitKind, DeliveredCommit, FactFile, ImportCommit, RawFile, RawImport, State, Store, Table,
};
use crate::tombstones::Tombstones;
use datafusion::arrow::array::RecordBatch;
use dnscribe_delivery::KafkaConfig;
use dnscribe_record::RegistrarEventRecord;
use jiff::civil::Date;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// Rows in memory before files are written.
const BUFFERED_ROWS: usize = 1 << 20;

/// Earliest time of a fact, in microseconds since the Unix epoch: 1985, when the first domains were registered.
const EARLIEST_US: i64 = 473_385_600_000_000;

/// Largest time of a fact after its import, in microseconds: a day, for clocks that are wrong.
const FUTURE_US: i64 = 86_400_000_000;

/// What one import has done.
#[derive(Clone, Debug, PartialEq)]
pub enum Imported {
    /// Nothing was added, since a file with equal content was imported before.
    Already(ImportCommit),
    /// The rows were added.
    Added(ImportCommit),
}

/// Imports a file under the name of a source.
///
/// # Errors
/// The file cannot be read, or the store cannot be written; then nothing is imported.
pub async fn import(
    store: &Store,
    file: &Path,
    request: &Request<'_>,
) -> Result<Imported, KpiError> {
    let mut digest = input::digest(file)?;
    let content = digest.sha256.clone();
    if let Some(mapping) = request.mapping {
        digest.sha256 = mapping.identity(&digest.sha256);
    }
    let mut state = store.state().await?;
    state.require_sources(request.sources)?;
    if let Some((_, _, import)) = state.imports.get(&digest.sha256) {
        return already(import, request);
    }
    refuse_collision(&state, &digest)?;
    let format = match request.format {
        Some(format) => format,
        None => input::detect(file)?,
    };
    if format == Format::Parquet && request.dimension.is_none() {
        let problem =
            "Parquet is read for dimension tables: give --dimension KIND, or export it as CSV";
        return Err(KpiError::Usage(format!("{}: {problem}", file.display())));
    }
    let columns = input::columns(file, format)?;
    if let Some(columns) = &columns {
        columns.require_known(file, |name| request.knows(name), request.remedy())?;
    }
    let mut importer = Importer::new(store, request, &digest, format)?;
    importer.tombstones = Tombstones::read(store, state.tombstones.as_deref()).await?;
    if request.sources.raw_days() > 0 {
        importer.keep_rows(content, columns.filter(|_| format == Format::Csv))?;
    }
    let imported = importer.import(&mut state, file, format).await;
    if !matches!(imported, Ok(Imported::Added(_)) | Err(KpiError::Undecided { .. })) {
        store.discard(&state, importer.commit.paths()).await;
    }
    imported
}

/// Leaves an import as it is. What it replaces was decided when it was imported.
fn already(import: &ImportCommit, request: &Request<'_>) -> Result<Imported, KpiError> {
    if request.replaces.is_some() && request.replaces != import.replaces {
        let problem = "was imported before, and so replaces nothing now: take it back with `import --undo`, and import it again \
                       with --replaces";
        return Err(KpiError::Usage(format!("{}: {problem}", request.name)));
    }
    Ok(Imported::Already(import.clone()))
}

/// Records that a declared source has delivered all of a day.
///
/// # Errors
/// The source is not declared, the day is not over or none of its days, or the store cannot be written.
pub async fn complete(
    store: &Store,
    sources: &Sources,
    name: &str,
    day: Date,
) -> Result<(), KpiError> {
    let fail = |why: String| Err(KpiError::Usage(format!("--complete {day}: {why}")));
    let Some(source) = sources.find(name) else {
        return fail(format!("{name} is not in sources: give --config with its declaration"));
    };
    if day < source.first_day {
        return fail(format!("{name} delivers from {} on", source.first_day));
    }
    if day >= source.day_of(crate::clock::now().as_microsecond()) {
        return fail(format!("this day of {name} is not over"));
    }
    let mut state = store.state().await?;
    loop {
        if state.delivered.get(name).is_some_and(|days| days.contains(&day)) {
            return Ok(());
        }
        let delivered = DeliveredCommit { source: name.to_owned(), day };
        if store.commit(&mut state, CommitKind::Delivered(delivered)).await? {
            return Ok(());
        }
        store.refresh(&mut state).await?;
    }
}

/// How a file is imported.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Name of the source.
    pub source: &'a str,
    /// Name of the file.
    pub name: &'a str,
    /// Whether `source` was given, and so names the source system of events without one.
    pub is_named: bool,
    /// What becomes of personal data.
    pub policy: &'a Policy,
    /// Sources that are declared.
    pub sources: &'a Sources,
    /// How its rows become events, if they are not events already.
    pub mapping: Option<&'a Mapping>,
    /// What its rows describe, if it is a dimension table.
    pub dimension: Option<Kind>,
    /// Format of the content, if it is not decided by its beginning.
    pub format: Option<Format>,
    /// SHA-256 of an earlier import whose rejected rows this file replaces.
    pub replaces: Option<String>,
    /// Kafka that refused rows go to as dead letters, too.
    pub dead_letters: Option<&'a KafkaConfig>,
    /// Topic: next offset by partition.
    pub offsets: BTreeMap<i32, i64>,
    /// Topic: the end of each partition, and a hash of its newest message.
    pub last_messages: BTreeMap<String, String>,
    /// Topic: what the store had as `offsets` when reading began.
    pub earlier_offsets: BTreeMap<i32, i64>,
    /// Pull: up to where the source was read.
    pub position: Option<String>,
    /// Pull: what the store had as `position` when reading began.
    pub earlier_position: Option<String>,
}

impl<'a> Request<'a> {
    /// Creates a request for a file of events whose source is not known otherwise.
    #[must_use]
    pub const fn new(name: &'a str, policy: &'a Policy, sources: &'a Sources) -> Self {
        Self {
            source: name,
            name,
            is_named: false,
            policy,
            sources,
            mapping: None,
            dimension: None,
            format: None,
            replaces: None,
            dead_letters: None,
            offsets: BTreeMap::new(),
            last_messages: BTreeMap::new(),
            earlier_offsets: BTreeMap::new(),
            position: None,
            earlier_position: None,
        }
    }
}

impl Request<'_> {
    /// Refuses what another import has read of the same topic or source since this one began to read it.
    fn require_unmoved(&self, state: &State) -> Result<(), KpiError> {
        let offsets = state.offsets.get(self.name).cloned().unwrap_or_default();
        let key = (self.source.to_owned(), self.name.to_owned());
        if (self.offsets.is_empty() || offsets == self.earlier_offsets)
            && (self.position.is_none()
                || state.positions.get(&key) == self.earlier_position.as_ref())
        {
            return Ok(());
        }
        let problem = "was imported meanwhile, and so nothing was added: run it again";
        Err(KpiError::Failed(format!("{}: {problem}", self.name)))
    }

    /// Whether rows can have a column of this name.
    fn knows(&self, column: &str) -> bool {
        match (self.mapping, self.dimension) {
            (Some(mapping), _) => mapping.has_column(column),
            (None, Some(kind)) => column == kind.key() || ATTRIBUTES.contains(&column),
            (None, None) => event::FIELDS.contains(&column),
        }
    }

    /// What to do with a file without a known column.
    const fn remedy(&self) -> &'static str {
        match (self.mapping, self.dimension) {
            (Some(_), _) => "its map names others",
            (None, Some(_)) => "a dimension table has a column of its key",
            (None, None) => "give --map FILE, which says what its columns are",
        }
    }
}

/// Rows are identified by the beginning of the hash: two files must differ in it.
fn refuse_collision(state: &State, digest: &Digest) -> Result<(), KpiError> {
    let origin = |sha256: &str| Origin { sha256: sha256.into(), ..Origin::default() };
    let id = origin(&digest.sha256).row_id()?;
    for known in state.imports.keys() {
        if origin(known).row_id()? == id {
            let problem = "the file's hash begins as that of another one: append an empty line";
            return Err(KpiError::Usage(problem.to_owned()));
        }
    }
    Ok(())
}

/// Collects rows by table and day.
struct Importer<'a> {
    store: &'a Store,
    request: &'a Request<'a>,
    origin: Origin,
    events: BTreeMap<Date, Vec<(Origin, Box<RegistrarEventRecord>)>>,
    dns: BTreeMap<Date, Vec<(Origin, DnsWindow)>>,
    probes: BTreeMap<Date, Vec<(Origin, ProbeResult)>>,
    alerts: BTreeMap<Date, Vec<(Origin, Alert)>>,
    attributes: Vec<(Origin, Attributes)>,
    rejected: Vec<Rejected>,
    buffered: usize,
    part: u32,
    /// What names of files have between hash and part.
    suffix: String,
    raw: Option<RawWriter>,
    has_event_ids: bool,
    /// What is known of erased events.
    tombstones: Option<Tombstones>,
    commit: ImportCommit,
}

impl<'a> Importer<'a> {
    fn new(
        store: &'a Store,
        request: &'a Request<'a>,
        digest: &Digest,
        format: Format,
    ) -> Result<Self, KpiError> {
        let commit = ImportCommit {
            sha256: digest.sha256.clone(),
            source: request.source.to_owned(),
            name: request.name.to_owned(),
            bytes: digest.bytes,
            format: Some(format),
            dimension: request.dimension,
            rows: 0,
            accepted: 0,
            skipped: 0,
            rejected: BTreeMap::new(),
            filled: BTreeMap::new(),
            unknown_types: BTreeMap::new(),
            systems: BTreeSet::new(),
            newest: None,
            replaces: request.replaces.clone(),
            offsets: request.offsets.clone(),
            last_messages: request.last_messages.clone(),
            position: request.position.clone(),
            files: Vec::new(),
            raw: None,
            again: None,
        };
        let source = request.sources.find(request.source);
        let origin = Origin {
            source: request.source.into(),
            sha256: Arc::from(digest.sha256.as_str()),
            line: 0,
            imported_us: crate::clock::now().as_microsecond(),
        };
        Ok(Self {
            store,
            request,
            origin,
            events: BTreeMap::new(),
            dns: BTreeMap::new(),
            probes: BTreeMap::new(),
            alerts: BTreeMap::new(),
            attributes: Vec::new(),
            rejected: Vec::new(),
            buffered: 0,
            part: 0,
            // No other import writes these files: what has failed is removed, while another one of the same file is at work.
            suffix: format!("-{}", hex(&random::<8>()?)),
            raw: None,
            has_event_ids: source.is_none_or(|source| source.key == KeyRule::EventId),
            tombstones: None,
            commit,
        })
    }

    /// Reads a file, writes its rows and commits them.
    async fn import(
        &mut self,
        state: &mut State,
        file: &Path,
        format: Format,
    ) -> Result<Imported, KpiError> {
        let tombstones = state.tombstones.clone();
        input::read_raw_rows(file, format, |line, row, raw| {
            self.add(line, row, raw)?;
            self.write_if_full()
        })?;
        self.write().await?;
        let commit = &mut self.commit;
        commit.raw = commit.raw.take().filter(|raw| !raw.files.is_empty());
        loop {
            self.request.require_unmoved(state)?;
            let kind = CommitKind::Import(Box::new(commit.clone()));
            if self.store.commit(state, kind).await? {
                return Ok(Imported::Added(commit.clone()));
            }
            self.store.refresh(state).await?;
            if let Some((_, _, import)) = state.imports.get(&commit.sha256) {
                return already(import, self.request);
            }
            if state.tombstones != tombstones {
                let problem = "persons were erased meanwhile, who may be in it: import it again";
                return Err(KpiError::Failed(format!("{}: {problem}", self.request.name)));
            }
        }
    }

    /// Keeps rows as they came, of a file with this content.
    fn keep_rows(
        &mut self,
        content_sha256: String,
        columns: Option<Columns>,
    ) -> Result<(), KpiError> {
        self.raw = Some(RawWriter::new()?);
        self.commit.raw = Some(RawImport {
            imported_us: self.origin.imported_us,
            content_sha256,
            is_named: self.request.is_named,
            dimension: self.request.dimension,
            map: self.request.mapping.map(|mapping| mapping.text().to_owned()),
            columns,
            files: Vec::new(),
        });
        Ok(())
    }

    /// Adds a row, which came as `raw`.
    fn add(&mut self, line: u64, row: Row, raw: &[u8]) -> Result<(), KpiError> {
        let row = if self.has_event_ids { row } else { with_event_id(row) };
        self.commit.rows += 1;
        self.buffered += 1;
        let mut origin = Origin { line, ..self.origin.clone() };
        // Messages of a topic come one after the other: each has a time of its own, so that a later one corrects a refused one.
        if !self.request.offsets.is_empty() {
            origin.imported_us = origin.imported_us.saturating_add_unsigned(line);
        }
        let (row, mapped) = match self.request.mapping {
            None => (row, Ok(())),
            Some(mapping) => mapping.apply(&row),
        };
        let parse = |row: &Row| match self.request.dimension {
            Some(kind) => Attributes::parse(kind, row).map(Fact::Attributes),
            None => parse(row),
        };
        let parsed = mapped.and_then(|()| parse(&row)).and_then(|fact| self.check_time(fact));
        let parsed = parsed.and_then(|fact| self.check_source(fact));
        let subjects = self.raw.is_some().then(|| match &parsed {
            Ok(fact) => Subjects::of_fact(fact),
            Err(_) => Subjects::of_row(&row),
        });
        let mut parsed = parsed.and_then(|fact| self.protect(fact));
        let was_erased = match (&self.tombstones, &mut parsed) {
            (Some(tombstones), Ok(Fact::Event(event))) => tombstones.replace(event, &origin.source),
            _ => false,
        };
        // Of a refused row, and of a column that a map leaves out, nobody knows whether it has what the policy refuses.
        let is_kept = match &parsed {
            Ok(Fact::Skipped) => false,
            Ok(_) => self.request.mapping.is_none() || !self.request.policy.refuses(),
            Err(_) => !self.request.policy.refuses(),
        };
        let is_kept = is_kept && !was_erased;
        if let (Some(writer), Some(subjects), true) = (&mut self.raw, subjects, is_kept) {
            writer.add(line, &subjects, raw)?;
        }
        match parsed {
            Ok(fact) => self.accept(origin, fact),
            Err(rejection) => self.reject(origin, rejection, row),
        }
        Ok(())
    }

    /// Refuses times that cannot be right, since one of them would move the first or the last day of all values.
    fn check_time(&self, fact: Fact) -> Result<Fact, Rejection> {
        if matches!(fact, Fact::Skipped | Fact::Attributes(_)) {
            return Ok(fact);
        }
        let (at, latest) = (fact.ts_us(), self.origin.imported_us + FUTURE_US);
        if at >= EARLIEST_US && at <= latest {
            return Ok(fact);
        }
        let (day, bound) = (facts::day_of(at), facts::day_of(EARLIEST_US));
        let detail = if at > latest {
            format!("{day}: more than a day after the import")
        } else {
            format!("{day}: before {bound}")
        };
        Err(Rejection::new("implausible_time", detail))
    }

    /// Refuses what the row's source was not declared to deliver, and gives events the technical key of its rule.
    fn check_source(&self, mut fact: Fact) -> Result<Fact, Rejection> {
        let at = fact.ts_us();
        let sources = self.request.sources;
        match &mut fact {
            Fact::Event(event) => {
                let name = event.source_system.as_deref().unwrap_or(self.request.source);
                sources.check(name, &event.event_type, at)?;
                let rule = sources.find(name).map(|source| source.key);
                if rule == Some(KeyRule::BusinessKey) {
                    event.event_id = event_id(&event.event_type, &event.business_key);
                }
            }
            Fact::Dns(_) => sources.check(self.request.source, "dns.fleet/1", at)?,
            Fact::Probe(_) => sources.check(self.request.source, "dns.probe/1", at)?,
            Fact::Alert(_) => sources.check(self.request.source, "dns.alert/1", at)?,
            Fact::Skipped | Fact::Attributes(_) => {}
        }
        Ok(fact)
    }

    fn protect(&self, fact: Fact) -> Result<Fact, Rejection> {
        let mut event = match fact {
            Fact::Event(event) => event,
            Fact::Attributes(mut attributes) => {
                attributes.key = self.request.policy.key_of(attributes.kind, &attributes.key)?;
                return Ok(Fact::Attributes(attributes));
            }
            other => return Ok(other),
        };
        if event.source_system.is_none() && self.request.is_named {
            event.source_system = Some(self.request.source.to_owned());
        }
        self.request.policy.apply(&mut event)?;
        Ok(Fact::Event(event))
    }

    fn accept(&mut self, origin: Origin, fact: Fact) {
        if matches!(fact, Fact::Skipped) {
            self.commit.skipped += 1;
            return;
        }
        let micros = fact.ts_us();
        let day = facts::day_of(micros);
        self.commit.accepted += 1;
        if let Fact::Attributes(attributes) = fact {
            self.attributes.push((origin, attributes));
            return;
        }
        let time = jiff::Timestamp::from_microsecond(micros).ok();
        self.commit.newest = self.commit.newest.max(time);
        match fact {
            Fact::Event(event) => {
                self.count_fields(&event);
                let system = event.source_system.as_deref().unwrap_or(self.request.source);
                if self.request.sources.are_declared() && !self.commit.systems.contains(system) {
                    self.commit.systems.insert(system.to_owned());
                }
                self.events.entry(day).or_default().push((origin, event));
            }
            Fact::Dns(window) => self.dns.entry(day).or_default().push((origin, window)),
            Fact::Probe(probe) => self.probes.entry(day).or_default().push((origin, probe)),
            Fact::Alert(alert) => self.alerts.entry(day).or_default().push((origin, alert)),
            Fact::Skipped | Fact::Attributes(_) => {}
        }
    }

    fn count_fields(&mut self, event: &RegistrarEventRecord) {
        if EventType::find(&event.event_type).is_none() {
            *self.commit.unknown_types.entry(event.event_type.clone()).or_default() += 1;
        }
        for (name, filled) in [
            ("tld", event.tld.is_some()),
            ("country", event.country.is_some()),
            ("channel", event.channel.is_some()),
            ("tier", event.tier.is_some()),
            ("account_id", event.account_id.is_some()),
            ("domain", event.domain.is_some()),
        ] {
            *self.commit.filled.entry(name.to_owned()).or_default() += u64::from(filled);
        }
    }

    fn reject(&mut self, origin: Origin, mut rejection: Rejection, row: Row) {
        *self.commit.rejected.entry(rejection.reason.to_owned()).or_default() += 1;
        if !self.request.policy.keeps_all() {
            rejection.leave_field();
        }
        let (raw, fields) = match row {
            Row::Json(text) => {
                let fields = input::readable_fields(&text).into_iter();
                let texts = fields.map(|(name, value)| (name, value.into_text()));
                let texts: BTreeMap<_, _> = texts.collect();
                (text, texts)
            }
            Row::Csv(text, fields) => (text, fields.into_iter().collect()),
            Row::Unreadable(text, _) => (text, BTreeMap::new()),
        };
        let field = |name: &str| fields.get(name).filter(|text| !text.is_empty()).cloned();
        let key =
            |name: &str| field(name).and_then(|text| self.request.policy.key(name, &text).ok());
        let key = |name: &str| match &self.tombstones {
            Some(tombstones) => key(name).map(|key| tombstones.key(key)),
            None => key(name),
        };
        // A day that cannot be right says nothing about which day lacks the row.
        let time = field("event_ts").filter(|_| rejection.reason != "implausible_time");
        let time = time.and_then(|text| event::time("event_ts", &text).ok());
        self.rejected.push(Rejected {
            origin,
            rejection,
            raw: if self.request.policy.keeps_all() { raw } else { String::new() },
            event_id: key("event_id"),
            business_key: key("business_key"),
            event_type: field("event_type").filter(|kind| self.is_type(kind)),
            day: time.map(|time| facts::day_of(facts::micros(time))),
        });
    }

    /// Whether a refused row may be of a type. Another text is in the wrong column, and may be a name.
    fn is_type(&self, kind: &str) -> bool {
        let is_declared = || self.request.sources.iter().any(|source| source.delivers(kind));
        event::has_type_form(kind)
            && (self.request.policy.keeps_all() || EventType::find(kind).is_some() || is_declared())
    }

    /// Writes the rows in memory as files once there are many.
    fn write_if_full(&mut self) -> Result<(), KpiError> {
        if self.buffered < BUFFERED_ROWS && !self.raw.as_ref().is_some_and(RawWriter::is_full) {
            return Ok(());
        }
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| runtime.block_on(self.write()))
    }

    /// Writes the rows in memory as files.
    async fn write(&mut self) -> Result<(), KpiError> {
        let mut files = Vec::new();
        for (day, mut rows) in std::mem::take(&mut self.events) {
            rows.sort_by(|(_, a), (_, b)| {
                (&a.event_type, a.event_ts).cmp(&(&b.event_type, b.event_ts))
            });
            files.push(self.file(Table::Events, Some(day), &facts::events(&rows)?)?);
        }
        for (day, rows) in std::mem::take(&mut self.dns) {
            files.push(self.file(Table::Dns, Some(day), &facts::dns(&rows)?)?);
        }
        for (day, rows) in std::mem::take(&mut self.probes) {
            files.push(self.file(Table::Probes, Some(day), &facts::probes(&rows)?)?);
        }
        for (day, rows) in std::mem::take(&mut self.alerts) {
            files.push(self.file(Table::Alerts, Some(day), &facts::alerts(&rows)?)?);
        }
        let attributes = std::mem::take(&mut self.attributes);
        if !attributes.is_empty() {
            files.push(self.file(Table::Attributes, None, &facts::attributes(&attributes)?)?);
        }
        let rejected = std::mem::take(&mut self.rejected);
        if !rejected.is_empty() {
            if let Some(kafka) = self.request.dead_letters {
                dead_letter::send(kafka, &rejected)?;
            }
            files.push(self.file(Table::Rejected, None, &facts::rejected(&rejected)?)?);
        }
        self.write_raw().await?;
        self.buffered = 0;
        self.part += 1;
        for (file, bytes) in files {
            self.commit.files.push(file.clone());
            self.store.write(&file.path, bytes).await?;
        }
        Ok(())
    }

    /// Writes the rows as they came.
    async fn write_raw(&mut self) -> Result<(), KpiError> {
        let (Some(writer), Some(raw)) = (&mut self.raw, &mut self.commit.raw) else {
            return Ok(());
        };
        let Some((rows, keys)) = writer.finish(self.request.policy)? else { return Ok(()) };
        let name = format!("{}{}-{}", &self.commit.sha256[..16], self.suffix, self.part);
        let file =
            RawFile { rows: format!("{ROWS}/{name}.parquet"), keys: format!("{KEYS}/{name}") };
        raw.files.push(file.clone());
        self.store.write(&file.keys, keys).await?;
        self.store.write(&file.rows, rows).await
    }

    fn file(
        &self,
        table: Table,
        day: Option<Date>,
        batch: &RecordBatch,
    ) -> Result<(FactFile, Vec<u8>), KpiError> {
        let name = format!("{}{}-{}.parquet", &self.commit.sha256[..16], self.suffix, self.part);
        let path = match day {
            Some(day) => format!("facts/{}/day={day}/{name}", table.name()),
            None => format!("facts/{}/{name}", table.name()),
        };
        let rows = u64::try_from(batch.num_rows()).unwrap_or(u64::MAX);
        Ok((FactFile { table, path, day, rows }, facts::parquet(batch)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, Value};

    /// In each format, the row lacks what its source left out.
    #[test]
    fn rows_get_the_same_technical_key_in_each_format() {
        let at = "2026-03-01T10:00:00Z";
        let parsed = |key: &str| {
            let fields = [("event_type", "expired"), ("business_key", key), ("event_ts", at)];
            let json: Map<String, Value> = fields
                .iter()
                .map(|(name, text)| ((*name).to_owned(), Value::from(*text)))
                .collect();
            let csv = fields.map(|(name, text)| (name.to_owned(), text.to_owned()));
            let rows =
                [Row::Json(Value::Object(json).to_string()), Row::Csv(String::new(), csv.to_vec())];
            rows.map(|row| match parse(&with_event_id(row)) {
                Ok(Fact::Event(event)) => event.event_id,
                Ok(_) => String::new(),
                Err(rejection) => rejection.detail,
            })
        };
        assert_eq!(parsed("b1"), ["expired/b1", "expired/b1"]);
        assert_eq!(parsed(""), ["business_key", "business_key"]);
        let text = format!(
            "{{\"event_type\":\"expired\",\"business_key\":123456789012345678901,\"event_ts\":\"{at}\"}}"
        );
        let Row::Json(text) = with_event_id(Row::Json(text)) else { panic!("another row") };
        let id = "\"event_id\":\"expired/123456789012345678901\"}";
        assert!(text.contains(":123456789012345678901,") && text.ends_with(id), "{text}");
    }

    /// Two that read the same place at the same time: the first one counts, whatever the other has read since.
    #[test]
    fn what_was_imported_meanwhile_is_not_imported_again() {
        let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("data").to_str().unwrap()).unwrap();
        let (policy, sources) = (Policy::default(), Sources::default());
        let base = Request { format: Some(Format::Json), ..Request::new("t", &policy, &sources) };
        let of_topic = |earlier: Option<i64>, next: i64| Request {
            offsets: BTreeMap::from([(0, next)]),
            earlier_offsets: earlier.map(|earlier| (0, earlier)).into_iter().collect(),
            ..base.clone()
        };
        let of_pull = |earlier: Option<&str>, next: &str| Request {
            position: Some(next.to_owned()),
            earlier_position: earlier.map(str::to_owned),
            ..base.clone()
        };
        for (number, (request, is_added)) in [
            (of_topic(None, 5), true),
            (of_topic(None, 7), false),
            (of_topic(Some(5), 7), true),
            (of_topic(Some(5), 6), false),
            (of_pull(None, "a"), true),
            (of_pull(None, "b"), false),
            (of_pull(Some("a"), "b"), true),
            (of_pull(Some("a"), "a"), false),
            // A file is no part of a topic.
            (base.clone(), true),
        ]
        .into_iter()
        .enumerate()
        {
            let file = folder.path().join(number.to_string());
            std::fs::write(&file, format!("{{\"number\": {number}}}\n")).unwrap();
            let before = runtime.block_on(store.state()).unwrap().number;
            let imported = runtime.block_on(import(&store, &file, &request));
            let state = runtime.block_on(store.state()).unwrap();
            assert_eq!(imported.is_ok(), is_added, "{number}: {imported:?}");
            assert_eq!(state.number - before, u64::from(is_added), "{number}");
        }
        let state = runtime.block_on(store.state()).unwrap();
        assert_eq!(state.offsets["t"], BTreeMap::from([(0, 7)]));
    }
}
