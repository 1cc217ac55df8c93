//! Destinations of connections by name, and messages that the kernel discarded.

use super::record::{LostFields, UseFields};
use super::section::{NAMES, ROWS};
use super::words::failure_tone;
use dnscribe_report::{Cell, Column, Section, Table, Tone, count, html, percent};
use dnscribe_sketch::{Binned, QuantileSketch};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Number of names, and of kinds of losses, that have a row.
const CAPACITY: usize = 20_000;

/// Answers that expired this long ago are stale here: closer than that, nothing has gone wrong yet.
const STALE_MS: f64 = 60_000.0;

/// A process waited for its lookup if it connected this soon after the answer; else it used what it had kept.
const FRESH_MS: f64 = 1_000.0;

/// Connections to one name, or to all.
#[derive(Clone, Debug, Default)]
pub(super) struct Destination {
    connections: u64,
    failed: u64,
    stale: u64,
    lookups: QuantileSketch,
    connects: QuantileSketch,
}

/// Connections by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Destinations {
    total: Destination,
    by_name: BTreeMap<String, Destination>,
    /// To addresses that no lookup gave.
    unnamed: u64,
    /// To addresses of several names.
    ambiguous: u64,
}

impl Destination {
    fn add(&mut self, one: &UseFields<'_>) {
        self.connections += one.count;
        if matches!(&*one.outcome, "refused" | "timeout" | "reset") {
            self.failed += one.count;
        }
        if one.ttl_left_ms.is_some_and(|left| left < -STALE_MS) {
            self.stale += one.count;
        }
        let valid = |ms: &f64| (0.0..1e12).contains(ms);
        let is_fresh = one.answer_age_ms.is_some_and(|age| age < FRESH_MS);
        if let Some(ms) = one.lookup_ms.filter(|ms| is_fresh && valid(ms)) {
            self.lookups.add(Binned::new(ms));
        }
        if let Some(ms) = one.connect_ms.filter(valid) {
            self.connects.add(Binned::new(ms));
        }
    }
}

impl Destinations {
    pub(super) fn add(&mut self, one: &UseFields<'_>) {
        self.total.add(one);
        match &*one.found {
            "none" => self.unnamed += one.count,
            "ambiguous" => self.ambiguous += one.count,
            _ => {}
        }
        let Some(name) = one.name.as_deref() else { return };
        if let Some(known) = self.by_name.get_mut(name) {
            known.add(one);
        } else if self.by_name.len() < CAPACITY {
            self.by_name.entry(name.to_owned()).or_default().add(one);
        }
    }

    /// Returns the table of the names with the highest `rank`, which is above zero.
    fn table(&self, id: &str, caption: &str, rank: impl Fn(&Destination) -> u64) -> Table {
        let mut ranked: Vec<_> = self.by_name.iter().filter(|(_, one)| rank(one) > 0).collect();
        ranked.sort_by_key(|(_, one)| Reverse(rank(one)));
        let numbers = ["connections", "share", "failed", "stale", "lookup", "connect"];
        let columns = std::iter::once(Column::long("name")).chain(numbers.map(Column::number));
        let more = ranked.len().saturating_sub(NAMES);
        let table = ranked.into_iter().take(NAMES).fold(
            Table::new(id, caption).columns(columns),
            |table, (name, one)| {
                let bad = |part: u64| match failure_tone(part, one.connections) {
                    Tone::Good => Tone::Plain,
                    tone => tone,
                };
                table.row([
                    Cell::text(name),
                    Cell::count(one.connections),
                    Cell::share(one.connections, self.total.connections),
                    Cell::share(one.failed, one.connections).tone(bad(one.failed)),
                    Cell::share(one.stale, one.connections).tone(bad(one.stale)),
                    Cell::milliseconds(one.lookups.quantile(0.95)),
                    Cell::milliseconds(one.connects.quantile(0.95)),
                ])
            },
        );
        if more == 0 {
            table
        } else {
            table.note(format!("{} more are not shown.", count(more as u64)))
        }
    }

    pub(super) fn section(&self) -> Option<Section> {
        let total = &self.total;
        if total.connections == 0 {
            return None;
        }
        let tables = [
            self.table("destinations-most", "Names by connections", |one| one.connections),
            self.table("destinations-failed", "Names by failed connections", |one| one.failed),
            self.table("destinations-stale", "Names by connections to stale addresses", |one| {
                one.stale
            }),
        ];
        let body = html! { @for table in &tables { @if !table.is_empty() { (table.render()) } } };
        let share = |part| match part {
            0 => "none".to_owned(),
            _ => format!("{} ({})", count(part), percent(part, total.connections)),
        };
        Some(Section::new("destinations", "Destinations", body).intro(&format!(
            "{} connections: {} failed; {} used an address more than a minute after its answer had expired; {} led to addresses that \
             no lookup of the process had given, {} to addresses of several names. Lookup and connect are 95th percentiles; the lookup counts for connections within a second after it.",
            count(total.connections), share(total.failed), share(total.stale), share(self.unnamed), share(self.ambiguous)
        )))
    }
}

/// Transactions whose query or response the kernel of the agent's host discarded.
#[derive(Clone, Debug, Default)]
pub(super) struct LostMessages {
    total: u64,
    by_place: BTreeMap<[String; 5], u64>,
}

impl LostMessages {
    pub(super) fn add(&mut self, lost: &LostFields<'_>, node: &str, process: &str) {
        self.total += 1;
        let (stage, hook) = (&*lost.stage, lost.hook.as_deref());
        let place = hook.map_or_else(|| stage.to_owned(), |hook| format!("{stage}/{hook}"));
        let key = [
            node.to_owned(),
            lost.message.to_string(),
            place,
            lost.reason.to_string(),
            process.to_owned(),
        ];
        if self.by_place.len() < CAPACITY || self.by_place.contains_key(&key) {
            *self.by_place.entry(key).or_default() += 1;
        }
    }

    /// Returns the places, that with most transactions first.
    fn ranked(&self) -> Vec<(&[String; 5], u64)> {
        let mut ranked: Vec<_> = self.by_place.iter().map(|(key, number)| (key, *number)).collect();
        ranked.sort_by_key(|(_, number)| Reverse(*number));
        ranked
    }

    /// Returns a sentence of the summary.
    pub(super) fn sentence(&self) -> Option<(Tone, String)> {
        let ranked = self.ranked();
        let ([node, message, place, reason, process], most) = ranked.first()?;
        let text = format!(
            "{} transactions lost messages on the host of their process or server. Most of them, {}, are of {process} at {node}: the {message} at {place} ({reason}).",
            count(self.total),
            count(*most)
        );
        Some((Tone::Warning, text))
    }

    pub(super) fn section(&self) -> Option<Section> {
        let columns = ["node", "message", "lost at", "reason"].map(Column::text);
        let last = [Column::long("process and place"), Column::number("transactions")];
        let table = Table::new("lost-messages", "Transactions with lost messages")
            .columns(columns.into_iter().chain(last))
            .rows(self.ranked().into_iter().take(ROWS).map(|(key, number)| {
                let [node, message, place, reason, process] = key.each_ref().map(Cell::text);
                [node, message, place, reason, process, Cell::count(number)]
            }));
        (!table.is_empty()).then(|| {
            Section::new("lost", "Lost messages", table.render()).intro(
                "Queries and responses that the kernel of the agent's own host discarded, with its reason. The resolver is innocent of these.",
            )
        })
    }
}
