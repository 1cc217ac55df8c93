//! What `dns.window/1` records should say, worked out again from the `dns.transaction/1` records of
//! the same run: counts, shares and distributions exactly, estimates within the errors that they
//! state.

mod check;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Nanoseconds of a second.
const SECOND: i128 = 1_000_000_000;

/// A kind of window: length and step in seconds.
type Kind = (u64, u64);
/// What the groups of a grouping that share an `other` have in common.
type Sort = (String, String, Option<String>);

/// How much of the truth was found in the windows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verified {
    /// Windows, by kind and beginning.
    pub windows: usize,
    /// Groups in them, which are records.
    pub groups: usize,
    /// Transactions in the windows of each kind that do not slide.
    pub transactions: usize,
}

/// What may be compared.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Whether a query's EDNS options are those of its record: they are its response's, where that has
    /// some.
    pub edns: bool,
    /// Whether every value should be a group of its own.
    pub all_named: bool,
}

/// Compares all windows with all transactions: each group of each window, and that no window or group
/// is missing. An error says what differs first.
pub fn verify(records: &[Value], terms: Terms) -> Result<Verified> {
    let transactions = of(records, "dns.transaction/1")
        .map(|record| Ok((nanoseconds(&record["ts"])?, record)))
        .collect::<Result<Vec<_>>>()?;
    let mut windows: BTreeMap<(Kind, i128), Vec<&Value>> = BTreeMap::new();
    for record in of(records, "dns.window/1") {
        let number =
            |name: &str| record[name].as_u64().with_context(|| format!("{name}: {record}"));
        let kind = (number("window_seconds")?, number("step_seconds")?);
        windows.entry((kind, nanoseconds(&record["ts"])?)).or_default().push(record);
    }
    let mut verified = Verified { windows: windows.len(), ..Verified::default() };
    let mut by_kind: BTreeMap<Kind, usize> = BTreeMap::new();
    for ((kind, start), groups) in &windows {
        ensure!(start % (i128::from(kind.1) * SECOND) == 0, "begins at {start}: {kind:?}");
        let inside = *start..*start + i128::from(kind.0) * SECOND;
        let members: Vec<&Value> = transactions
            .iter()
            .filter(|(ts, _)| inside.contains(ts))
            .map(|(_, record)| *record)
            .collect();
        window(&members, groups, terms).with_context(|| format!("{kind:?} from {start}"))?;
        verified.groups += groups.len();
        if kind.0 == kind.1 {
            *by_kind.entry(*kind).or_default() += members.len();
        }
    }
    ensure!(by_kind.len() == 3, "windows of {by_kind:?}");
    for (kind, count) in by_kind {
        ensure!(count == transactions.len(), "{kind:?}: {count} of {}", transactions.len());
        verified.transactions = count;
    }
    Ok(verified)
}

fn of<'a>(records: &'a [Value], schema: &'a str) -> impl Iterator<Item = &'a Value> {
    records.iter().filter(move |record| record["schema"] == schema)
}

/// Compares the groups of one window with its transactions.
fn window(members: &[&Value], groups: &[&Value], terms: Terms) -> Result<()> {
    let mut truth: BTreeMap<(Sort, String), Vec<&Value>> = BTreeMap::new();
    for member in members {
        for (grouping, value) in values(member) {
            truth.entry((sort(member, grouping), value)).or_default().push(member);
        }
    }
    let mut named = BTreeSet::new();
    for group in groups.iter().filter(|group| group["other"].is_null()) {
        let grouping = group["grouping"].as_str().context("no grouping")?;
        let value = value(group, grouping);
        ensure!(named.insert((sort(group, grouping), value)), "twice: {group}");
    }
    for group in groups {
        let grouping = group["grouping"].as_str().context("no grouping")?;
        let own_sort = sort(group, grouping);
        let inside: Vec<&Value> = if group["other"] == true {
            ensure!(!terms.all_named, "no room for all: {group}");
            let rest = truth.iter().filter(|(key, _)| key.0 == own_sort && !named.contains(*key));
            rest.flat_map(|(_, members)| members).copied().collect()
        } else {
            truth.get(&(own_sort, value(group, grouping))).cloned().unwrap_or_default()
        };
        let has_split = groups
            .iter()
            .any(|other| other["undercounted"] == true && other["grouping"] == group["grouping"]);
        if !has_split {
            check::group(group, &inside, terms).with_context(|| format!("{group}"))?;
        }
    }
    // What has no group of its own is in an `other`.
    for (sort, _) in truth.keys().filter(|key| !named.contains(*key)) {
        let other = groups
            .iter()
            .any(|group| group["other"] == true && self::sort(group, &sort.0) == *sort);
        ensure!(other, "no group for some {sort:?}");
    }
    Ok(())
}

/// The groups that a transaction belongs to.
fn values(transaction: &Value) -> Vec<(&'static str, String)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let all = [
        ("node", Some(String::new())),
        ("resolver", text(&transaction["resolver"])),
        ("zone", text(&transaction["zone"])),
        ("qtype", text(&transaction["qtype"])),
        ("process", text(&transaction["process"]["comm"])),
        ("pod", text(&transaction["container"]["id"])),
    ];
    all.into_iter().filter_map(|(grouping, value)| Some((grouping, value?))).collect()
}

/// What names a group among those of its grouping; nothing does for all of a node.
fn value(group: &Value, grouping: &str) -> String {
    let value = group[grouping].as_str().filter(|_| grouping != "node");
    value.unwrap_or_default().to_owned()
}

fn sort(record: &Value, grouping: &str) -> Sort {
    let text = |name: &str| record[name].as_str().map(str::to_owned);
    let transport = text("transport").filter(|_| grouping == "resolver");
    (grouping.to_owned(), text("vantage").unwrap_or_default(), transport)
}

fn nanoseconds(ts: &Value) -> Result<i128> {
    let text = ts.as_str().with_context(|| format!("no time: {ts}"))?;
    let time: jiff::Timestamp = text.parse().with_context(|| format!("no time: {text}"))?;
    Ok(time.as_nanosecond())
}
