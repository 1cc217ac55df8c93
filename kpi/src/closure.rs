//! What new facts have to do with: the facts that a computation needs to know what the new ones change, and no others.
//!
//! Facts that share no key do not influence each other. So the values of all facts change by the difference between those of
//! the facts that are found here, with the new ones and without them:
//!
//! - A fact is **changed** if it is new, or if a new one may make it count or not: it has the same technical or business key, or one of
//!   both corrects the other.
//! - A fact is **context** if a model joins or numbers it with a changed one (`keys` of the model), or if it decides whether such a
//!   fact counts.
//!
//! Keys are compared by their hashes. That two keys have the same one does no harm: facts that were not needed are in both sides of
//! the difference. Older events are found by the [`crate::index`] of their keys, which knows less of each hash, and read as far as needed.

use crate::dictionary::Dictionary;
use crate::engine::Engine;
use crate::error::KpiError;
use crate::facts;
use crate::index::{self, Index, Wanted, types_condition};
use crate::keys::{Keys, hash};
use crate::rows::{Columns, failed, text, texts, with_schema};
use crate::sources::BEFORE_FIRST_DAY;
use crate::store::{FactFile, State, Store, Table};
use datafusion::arrow::array::{BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use jiff::civil::Date;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Instant;

/// Rows of each table.
pub type Rows = BTreeMap<Table, Vec<RecordBatch>>;

/// Facts that are needed to know what new ones change.
#[derive(Debug, Default)]
pub struct Closure {
    /// New facts.
    pub new: Rows,
    /// Older ones that they have to do with.
    pub old: Rows,
}

/// Hashes of keys: those that were asked for, and those that are to be asked for next.
#[derive(Debug, Default)]
struct Asked {
    known: HashSet<i64>,
    next: HashSet<i64>,
}

impl Asked {
    fn add(&mut self, hash: i64) {
        if self.known.insert(hash) {
            self.next.insert(hash);
        }
    }

    fn take(&mut self) -> HashSet<i64> {
        std::mem::take(&mut self.next)
    }
}

/// Keys by which events repeat or correct each other.
#[derive(Debug, Default)]
struct Links {
    technical: Asked,
    business: Asked,
    /// Business keys that corrections name.
    corrected: Asked,
    /// Technical keys that corrections name.
    corrected_ids: Asked,
}

impl Links {
    /// Adds the keys of events. A correction names no type, or part of one, and so goes with events of all `types`.
    fn add(&mut self, events: &RecordBatch, types: &BTreeSet<String>) -> Result<(), KpiError> {
        let columns = Columns(events);
        let (technical, business) =
            (columns.integers("technical_hash")?, columns.integers("business_hash")?);
        let (ids, keys) = (columns.texts("event_id")?, columns.texts("business_key")?);
        let (systems, sources) = (columns.texts("source_system")?, columns.texts("source")?);
        let (corrects, corrects_ids) =
            (columns.texts("corrects")?, columns.texts("corrects_event_id")?);
        for row in 0..events.num_rows() {
            self.technical.add(technical.value(row));
            self.business.add(business.value(row));
            self.corrected.add(hash(keys.value(row)));
            self.corrected_ids.add(hash(ids.value(row)));
            if let Some(key) = text(&corrects, row) {
                self.add_fact(key, types);
            }
            if let Some(id) = text(&corrects_ids, row) {
                let system = text(&systems, row).or_else(|| text(&sources, row));
                self.technical.add(facts::hash([system.unwrap_or_default(), id]));
            }
        }
        Ok(())
    }

    /// Adds a business key, of events of all `types`.
    fn add_fact(&mut self, key: &str, types: &BTreeSet<String>) {
        for kind in types {
            self.business.add(facts::hash([kind, key]));
        }
    }

    /// Condition on events that have one of the keys that were not yet asked for, which are added to `wanted`.
    fn condition(&mut self, engine: &Engine, prefix: &str, wanted: &mut Wanted) -> Option<String> {
        let asked = [
            (&mut self.technical, "technical_hash"),
            (&mut self.business, "business_hash"),
            (&mut self.corrected, "corrects"),
            (&mut self.corrected_ids, "corrects_event_id"),
        ];
        let asked = asked.into_iter().filter(|(keys, _)| !keys.next.is_empty());
        let conditions = asked.map(|(keys, column)| {
            let hashes = keys.take();
            wanted.add(column, &hashes);
            engine.register_keys(&format!("{prefix}_{column}"), Keys::new(hashes), column)
        });
        let conditions: Vec<String> = conditions.collect();
        (!conditions.is_empty()).then(|| format!("({})", conditions.join(" OR ")))
    }
}

/// A key by which models join or number events.
#[derive(Debug)]
struct ModelKey {
    expression: String,
    /// Types of these events, if not all.
    types: Option<BTreeSet<String>>,
    asked: Asked,
}

impl ModelKey {
    /// Keys of all models that follow nothing; none if one of these says none.
    fn all(dictionary: &Dictionary) -> Option<Vec<Self>> {
        let mut types: BTreeMap<&str, Option<BTreeSet<&str>>> = BTreeMap::new();
        for model in dictionary.models.iter().filter(|model| model.follows.is_none()) {
            let of_model = dictionary.types_of_model(model);
            for expression in model.keys.as_ref()? {
                let known = types.entry(expression).or_insert_with(|| Some(BTreeSet::new()));
                *known = known.take().zip(of_model.as_ref()).map(|(known, more)| &known | more);
            }
        }
        let all = types.into_iter().map(|(expression, types)| {
            let owned = |types: BTreeSet<&str>| types.into_iter().map(str::to_owned).collect();
            let types = types.map(owned);
            Self { expression: expression.to_owned(), types, asked: Asked::default() }
        });
        Some(all.collect())
    }

    /// Condition on the types of these events.
    fn of_types(&self) -> String {
        self.types.as_ref().map_or_else(|| "1 = 1".to_owned(), types_condition)
    }
}

/// Events of a model that follows: which of those that end something are needed depends on those that begin it, since one may have
/// thousands of ends, and the first in time alone counts.
#[derive(Debug)]
struct Following {
    link: &'static str,
    start: String,
    end: String,
    within_us: i64,
    /// Links of beginnings that are needed.
    starts: Asked,
    /// Links of ends that are needed.
    ends: Asked,
    /// Times of known beginnings by link.
    known_starts: HashMap<i64, Vec<i64>>,
    /// Times of changed ends by link.
    changed_ends: HashMap<i64, Vec<i64>>,
}

impl Following {
    fn all(dictionary: &Dictionary) -> Vec<Self> {
        let follows = dictionary.models.iter().filter_map(|model| model.follows.as_ref());
        let following = follows.map(|follows| Self {
            link: follows.by.columns().1,
            start: follows.start.clone(),
            end: follows.end.clone(),
            within_us: follows.within_us().unwrap_or(i64::MAX),
            starts: Asked::default(),
            ends: Asked::default(),
            known_starts: HashMap::new(),
            changed_ends: HashMap::new(),
        });
        following.collect()
    }

    /// Adds events of the table `events`.
    async fn add(
        &mut self,
        engine: &Engine,
        events: &str,
        is_changed: bool,
    ) -> Result<(), KpiError> {
        let Self { link, start, end, .. } = self;
        let sql = format!(
            "SELECT {link} AS link, event_us, event_type = '{start}' AS is_start FROM {events} \
             WHERE event_type IN ('{start}', '{end}') AND {link} IS NOT NULL"
        );
        let mut links = HashSet::new();
        for batch in engine.query("beginnings and ends", &sql).await? {
            let columns = Columns(&batch);
            let (texts, times) = (columns.texts("link")?, columns.integers("event_us")?);
            let flags = columns.flags("is_start")?;
            for row in 0..batch.num_rows() {
                let (link, time) = (hash(texts.value(row)), times.value(row));
                if flags.value(row) {
                    self.known_starts.entry(link).or_default().push(time);
                    if is_changed {
                        self.starts.add(link);
                        self.ends.add(link);
                    }
                } else if is_changed {
                    self.starts.add(link);
                    self.changed_ends.entry(link).or_default().push(time);
                }
                links.insert(link);
            }
        }
        for link in links {
            let (Some(starts), Some(ends)) =
                (self.known_starts.get(&link), self.changed_ends.get(&link))
            else {
                continue;
            };
            let follows = |start: &i64| {
                let last = start.saturating_add(self.within_us);
                ends.iter().any(|end| (*start..=last).contains(end))
            };
            if starts.iter().any(follows) {
                self.ends.add(link);
            }
        }
        Ok(())
    }

    /// Conditions on the events that are to be found next, whose keys are added to `wanted`.
    fn conditions(&mut self, engine: &Engine, name: &str, wanted: &mut Wanted) -> Vec<String> {
        let Self { link, start, end, .. } = self;
        let sides = [(&*start, &mut self.starts, "start"), (&*end, &mut self.ends, "end")];
        let sides = sides.into_iter().filter(|(_, asked, _)| !asked.next.is_empty());
        let conditions = sides.map(|(kind, asked, side)| {
            let hashes = asked.take();
            wanted.add_typed(link, [kind.as_str()], &hashes);
            let is_among = engine.register_keys(&format!("{name}_{side}"), Keys::new(hashes), link);
            format!("(event_type = '{kind}' AND {is_among})")
        });
        conditions.collect()
    }
}

/// The search for events.
struct Search<'a> {
    store: &'a Store,
    engine: &'a Engine,
    index: &'a Index,
    /// Older files that are in the index, with their rows.
    indexed: BTreeMap<&'a str, u64>,
    types: BTreeSet<String>,
    models: Vec<ModelKey>,
    following: Vec<Following>,
    /// Rows that were found, and whether they are changed.
    rows: HashMap<i64, bool>,
    found: Vec<RecordBatch>,
    changed: Links,
    context: Links,
}

/// Finds what the facts of the imports after `snapshot` have to do with; nothing if these are more than `limit` rows, if a
/// model does not say what its rows have to do with, or if the index is gone. `types` are the types of all older events.
///
/// # Errors
/// A file cannot be read.
pub async fn find(
    store: &Store,
    state: &State,
    (snapshot, index): (u64, &Index),
    dictionary: &Dictionary,
    types: &BTreeSet<String>,
    (memory, limit): (usize, usize),
) -> Result<Option<Closure>, KpiError> {
    let Some(models) = ModelKey::all(dictionary) else { return Ok(None) };
    let engine = Engine::new(memory)?;
    let mut closure = Closure::default();
    let in_index = index.files();
    let mut indexed = BTreeMap::new();
    for table in Table::ALL {
        let (new, old): (Vec<_>, Vec<_>) =
            state.numbered_files(table).partition(|(number, _)| *number > snapshot);
        let old = match table {
            // Windows of a day are compared with each other, and with none of another.
            Table::Dns => {
                let days: BTreeSet<Option<Date>> = new.iter().map(|(_, file)| file.day).collect();
                old.into_iter().filter(|(_, file)| days.contains(&file.day)).collect()
            }
            Table::Events => {
                let is_in_index = |(_, file): &(u64, &FactFile)| in_index.contains(&*file.path);
                let (known, unknown): (Vec<_>, Vec<_>) = old.into_iter().partition(is_in_index);
                indexed.extend(known.into_iter().map(|(_, file)| (&*file.path, file.rows)));
                unknown
            }
            _ => old,
        };
        for (name, files) in [(new_table(table), new), (old_table(table), old)] {
            let files = files.into_iter().map(|(_, file)| file).collect();
            engine.register_facts(store, table, &name, files).await?;
        }
        if table != Table::Attributes {
            let sql = format!("SELECT * FROM {}", new_table(table));
            closure.new.insert(table, engine.query("new facts", &sql).await?);
        }
    }
    let types = types.iter().cloned().chain(texts(&closure.new[&Table::Events], "event_type")?);
    let mut search = Search {
        store,
        engine: &engine,
        index,
        indexed,
        types: types.collect(),
        models,
        following: Following::all(dictionary),
        rows: HashMap::new(),
        found: Vec::new(),
        changed: Links::default(),
        context: Links::default(),
    };
    let corrected = search.corrected_refused(&closure.new).await?;
    let new = closure.new[&Table::Events].clone();
    if !search.run(&new, limit).await? {
        return Ok(None);
    }
    let refused = search.all_refused(&corrected, &new).await?;
    closure.old.insert(Table::Rejected, refused);
    closure.old.insert(Table::Events, search.found);
    let sql = format!("SELECT * FROM {}", old_table(Table::Dns));
    let windows = engine.query("windows of changed days", &sql).await?;
    closure.old.insert(Table::Dns, windows);
    for (table, key) in [(Table::Probes, "event_id"), (Table::Alerts, "alert_id")] {
        let keys = texts(&closure.new[&table], key)?.iter().map(|key| hash(key)).collect();
        let condition = engine.register_keys("of_new", Keys::new(keys), key);
        let sql = format!("SELECT * FROM {} WHERE {condition}", old_table(table));
        let repeated = engine.query("facts that are repeated", &sql).await?;
        closure.old.insert(table, repeated);
    }
    Ok(Some(closure))
}

fn new_table(table: Table) -> String {
    format!("{}_new", table.name())
}

fn old_table(table: Table) -> String {
    format!("{}_old", table.name())
}

impl Search<'_> {
    /// Asks for all events that correct new refused rows, or older ones whose corrections are among the new events. Returns the
    /// condition on these older ones.
    async fn corrected_refused(&mut self, new: &Rows) -> Result<String, KpiError> {
        let keys = texts(&new[&Table::Events], "business_key")?;
        let keys = Keys::new(keys.iter().map(|key| hash(key)).collect());
        let condition = self.engine.register_keys("of_new", keys, "business_key");
        let sql = format!("SELECT * FROM {} WHERE {condition}", old_table(Table::Rejected));
        let found = self.engine.query("rows that are corrected", &sql).await?;
        for batches in [&found, &new[&Table::Rejected]] {
            for key in texts(batches, "business_key")? {
                self.context.add_fact(&key, &self.types);
            }
        }
        // Events that correct what came before the first day of its source lack no fact.
        for key in texts(&new[&Table::Rejected], "business_key")? {
            self.context.corrected.add(hash(&key));
        }
        for id in texts(&new[&Table::Rejected], "event_id")? {
            self.context.corrected_ids.add(hash(&id));
        }
        Ok(condition)
    }

    /// Returns older refused rows, each once: those of `condition`, and those from before the first day of a source that an event of
    /// the closure corrects.
    async fn all_refused(
        &self,
        condition: &str,
        new: &[RecordBatch],
    ) -> Result<Vec<RecordBatch>, KpiError> {
        let mut early = Vec::new();
        for (named, column) in [("corrects", "business_key"), ("corrects_event_id", "event_id")] {
            let mut keys = HashSet::new();
            for batches in [new, &self.found] {
                keys.extend(texts(batches, named)?.iter().map(|key| hash(key)));
            }
            let name = format!("early_{column}");
            early.push(self.engine.register_keys(&name, Keys::new(keys), column));
        }
        let sql = format!(
            "SELECT * FROM {} WHERE {condition} OR (reason = '{BEFORE_FIRST_DAY}' AND ({}))",
            old_table(Table::Rejected),
            early.join(" OR ")
        );
        self.engine.query("refused rows", &sql).await
    }

    /// Finds events until nothing more is found; false if these are too many.
    async fn run(&mut self, new: &[RecordBatch], limit: usize) -> Result<bool, KpiError> {
        let changed: Vec<_> = new.iter().map(|batch| (batch.clone(), true)).collect();
        self.ask_for(&changed).await?;
        while let Some((condition, is_changed, wanted)) = self.condition() {
            let start = Instant::now();
            let Some(rows) = self.index.find(self.store, wanted).await? else { return Ok(false) };
            // The index knows less of keys than the condition, but not so much less that it has many other rows.
            if rows.values().map(Vec::len).sum::<usize>() > limit {
                return Ok(false);
            }
            let seconds = start.elapsed().as_secs_f64();
            tracing::debug!(files = rows.len(), seconds, "asked the index");
            let read = index::read(self.store, &self.indexed, rows).await?;
            tracing::debug!(seconds = start.elapsed().as_secs_f64(), "read what it has found");
            self.engine.register_batches(Table::Events, "events_indexed", read)?;
            let mut found = Vec::new();
            for table in ["events_indexed", &old_table(Table::Events)] {
                let sql =
                    format!("SELECT *, {is_changed} AS is_changed FROM {table} WHERE {condition}");
                let mut rows = self.engine.stream("facts that new ones change", &sql).await?;
                while let Some(batch) = rows.next().await? {
                    found.extend(self.take(&batch)?);
                    if self.rows.len() > limit {
                        return Ok(false);
                    }
                }
            }
            tracing::debug!(rows = self.rows.len(), "found facts that new ones change");
            self.ask_for(&found).await?;
        }
        Ok(true)
    }

    /// Condition on the events that are to be found next, the one of them that makes an event changed, and their keys.
    fn condition(&mut self) -> Option<(String, String, Wanted)> {
        let mut wanted = Wanted::default();
        let changed = self.changed.condition(self.engine, "changed", &mut wanted);
        let context = self.context.condition(self.engine, "context", &mut wanted);
        let models = self.models.iter_mut().enumerate();
        let models = models.filter(|(_, model)| !model.asked.next.is_empty());
        let models = models.map(|(index, model)| {
            let hashes = model.asked.take();
            let types = model.types.as_ref().unwrap_or(&self.types);
            wanted.add_typed(&model.expression, types.iter().map(String::as_str), &hashes);
            let name = format!("model_{index}");
            let is_among = self.engine.register_keys(&name, Keys::new(hashes), &model.expression);
            format!("({} AND {is_among})", model.of_types())
        });
        let is_changed = changed.clone().unwrap_or_else(|| "false".to_owned());
        let mut all: Vec<String> = changed.into_iter().chain(context).chain(models).collect();
        for (index, following) in self.following.iter_mut().enumerate() {
            let name = format!("following_{index}");
            all.extend(following.conditions(self.engine, &name, &mut wanted));
        }
        (!all.is_empty()).then(|| (all.join(" OR "), is_changed, wanted))
    }

    /// Keeps rows that are new here. Returns those to go on from, and whether they are changed.
    fn take(&mut self, batch: &RecordBatch) -> Result<Vec<(RecordBatch, bool)>, KpiError> {
        let ids = Columns(batch).integers("row_id")?;
        let flags = Columns(batch).flags("is_changed")?;
        let batch = with_schema(&facts::schema(Table::Events), batch)?;
        let is_new: BooleanArray =
            ids.values().iter().map(|id| Some(!self.rows.contains_key(id))).collect();
        // A row that was context until now may be changed.
        let is_next: BooleanArray = (0..batch.num_rows())
            .map(|row| {
                let (id, is_changed) = (ids.value(row), flags.value(row));
                let known = self.rows.insert(id, is_changed || self.rows.get(&id) == Some(&true));
                Some(known.is_none_or(|known| is_changed && !known))
            })
            .collect();
        self.found.push(filter_record_batch(&batch, &is_new).map_err(failed)?);
        let mut next = Vec::new();
        for wanted in [true, false] {
            let pick = |(next, flag): (Option<bool>, Option<bool>)| {
                Some(next == Some(true) && flag == Some(wanted))
            };
            let picked: BooleanArray = is_next.iter().zip(flags.iter()).map(pick).collect();
            next.push((filter_record_batch(&batch, &picked).map_err(failed)?, wanted));
        }
        Ok(next)
    }

    /// Asks for what goes with these events.
    async fn ask_for(&mut self, events: &[(RecordBatch, bool)]) -> Result<(), KpiError> {
        let (mut changed, mut context) = (Vec::new(), Vec::new());
        for (batch, is_changed) in events {
            let (links, list) = if *is_changed {
                (&mut self.changed, &mut changed)
            } else {
                (&mut self.context, &mut context)
            };
            links.add(batch, &self.types)?;
            list.push(batch.clone());
        }
        for (name, list) in [("changed_events", changed), ("context_events", context)] {
            self.engine.register_batches(Table::Events, name, list)?;
        }
        for following in &mut self.following {
            following.add(self.engine, "context_events", false).await?;
            following.add(self.engine, "changed_events", true).await?;
        }
        for model in &mut self.models {
            let sql = format!(
                "SELECT DISTINCT {} AS key FROM changed_events WHERE {}",
                model.expression,
                model.of_types()
            );
            for key in texts(&self.engine.query("keys of changed events", &sql).await?, "key")? {
                model.asked.add(hash(&key));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_asked_for_once() {
        let mut asked = Asked::default();
        asked.add(1);
        asked.add(2);
        asked.take();
        asked.add(2);
        asked.add(3);
        assert_eq!(asked.next, HashSet::from([3]));
    }
}
