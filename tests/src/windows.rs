//! Recomputes `dns.window/1` records from the `dns.transaction/1` records of the same run: counts,
//! shares and distributions exactly, estimates within the errors that they state.

mod check;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Nanoseconds per second.
const SECOND: i128 = 1_000_000_000;

/// Length and step of a window in seconds.
type Kind = (u64, u64);
/// Common properties of the groups of a grouping that share an `other` group.
type GroupFamily = (String, String, Option<String>);

/// Totals of the verified windows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verified {
    /// Number of windows.
    pub windows: usize,
    /// Number of groups (records).
    pub groups: usize,
    /// Number of transactions in the windows of each kind that do not overlap.
    pub transactions: usize,
}

/// Options of the comparison.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether a query's EDNS options are in its record: they are the response's if it has some.
    pub edns: bool,
    /// Whether every value must have its own group.
    pub all_named: bool,
}

/// Compares all windows with all transactions: each group of each window, and that no window or
/// group is missing. Fails with the first difference.
pub fn verify(records: &[Value], options: Options) -> Result<Verified> {
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
        window(&members, groups, options).with_context(|| format!("{kind:?} from {start}"))?;
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
fn window(members: &[&Value], groups: &[&Value], options: Options) -> Result<()> {
    let mut truth: BTreeMap<(GroupFamily, String), Vec<&Value>> = BTreeMap::new();
    for member in members {
        for (grouping, value) in values(member) {
            truth.entry((family(member, grouping), value)).or_default().push(member);
        }
    }
    let mut named = BTreeSet::new();
    for group in groups.iter().filter(|group| group["other"].is_null()) {
        let grouping = group["grouping"].as_str().context("no grouping")?;
        let value = value(group, grouping);
        ensure!(named.insert((family(group, grouping), value)), "twice: {group}");
    }
    for group in groups {
        let grouping = group["grouping"].as_str().context("no grouping")?;
        let own_sort = family(group, grouping);
        let inside: Vec<&Value> = if group["other"] == true {
            ensure!(!options.all_named, "a value has no group of its own: {group}");
            let rest = truth.iter().filter(|(key, _)| key.0 == own_sort && !named.contains(*key));
            rest.flat_map(|(_, members)| members).copied().collect()
        } else {
            truth.get(&(own_sort, value(group, grouping))).cloned().unwrap_or_default()
        };
        let has_split = groups
            .iter()
            .any(|other| other["undercounted"] == true && other["grouping"] == group["grouping"]);
        if !has_split {
            check::group(group, &inside, options).with_context(|| format!("{group}"))?;
        }
    }
    // Transactions without their own group are in an `other` group.
    for (family, _) in truth.keys().filter(|key| !named.contains(*key)) {
        let other = groups
            .iter()
            .any(|group| group["other"] == true && self::family(group, &family.0) == *family);
        ensure!(other, "no group for some {family:?}");
    }
    Ok(())
}

/// Returns the groups that a transaction belongs to.
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

/// Returns the value that identifies a group in its grouping; empty for the group of all
/// transactions of a node.
fn value(group: &Value, grouping: &str) -> String {
    let field = match grouping {
        "process" => &group["process"]["comm"],
        "pod" => &group["container"]["id"],
        _ => &group[grouping],
    };
    let value = field.as_str().filter(|_| grouping != "node");
    value.unwrap_or_default().to_owned()
}

fn family(record: &Value, grouping: &str) -> GroupFamily {
    let text = |name: &str| record[name].as_str().map(str::to_owned);
    let transport = text("transport").filter(|_| grouping == "resolver");
    (grouping.to_owned(), text("vantage").unwrap_or_default(), transport)
}

fn nanoseconds(ts: &Value) -> Result<i128> {
    let text = ts.as_str().with_context(|| format!("no time: {ts}"))?;
    let time: jiff::Timestamp = text.parse().with_context(|| format!("no time: {text}"))?;
    Ok(time.as_nanosecond())
}
