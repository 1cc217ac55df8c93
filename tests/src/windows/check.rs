//! Checks one group of one window.

use super::Options;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const STATUSES: [&str; 8] =
    ["answered", "timeout", "late", "icmp_error", "duplicate", "orphan", "evicted", "open"];
/// Statuses of transactions with a captured query.
const QUERIES: [&str; 5] = ["answered", "timeout", "icmp_error", "evicted", "open"];

/// Allowed relative error of latencies, with a margin for rounding.
const ACCURACY: f64 = 0.01 * 1.000_001;

/// Compares a group's record with its transactions.
pub(super) fn group(group: &Value, members: &[&Value], options: Options) -> Result<()> {
    let all = Members(members);
    counts(group, &all, options)?;
    check_list(&group["rcodes"], "rcode", &all.by(|member| member["rcode"].as_str()))?;
    check_list(&group["qtypes"], "qtype", &all.by(|member| member["qtype"].as_str()))?;
    latencies(&group["latency_ms"], &all)?;
    check_distinct(&group["unique_qnames"], &all.by(|member| member["qname"].as_str()))?;
    check_distinct(&group["unique_clients"], &all.by(|member| member["client_ip"].as_str()))?;
    check_distinct(&group["unique_resolvers"], &all.by(|member| member["resolver"].as_str()))?;
    if ["node", "resolver"].map(Value::from).contains(&group["grouping"]) {
        top(&group["top_qnames"], &all.by(|member| member["qname"].as_str()))?;
        top(&group["top_zones"], &all.by(|member| member["zone"].as_str()))?;
        top(&group["top_clients"], &all.by(|member| member["client_ip"].as_str()))?;
        top(&group["top_processes"], &all.by(|member| member["process"]["comm"].as_str()))?;
    }
    check_distributions(group, members)
}

struct Members<'a>(&'a [&'a Value]);

impl<'a> Members<'a> {
    fn count(&self, is: impl Fn(&Value) -> bool) -> u64 {
        self.0.iter().filter(|member| is(member)).count() as u64
    }

    fn sum(&self, of: impl Fn(&Value) -> Option<u64>) -> u64 {
        self.0.iter().filter_map(|member| of(member)).sum()
    }

    fn by(&self, of: impl Fn(&'a Value) -> Option<&'a str>) -> BTreeMap<&'a str, u64> {
        let mut counts = BTreeMap::new();
        for value in self.0.iter().filter_map(|member| of(member)) {
            *counts.entry(value).or_default() += 1;
        }
        counts
    }
}

fn is_query(member: &Value) -> bool {
    QUERIES.iter().any(|status| member["status"] == **status)
}

fn counts(group: &Value, all: &Members<'_>, options: Options) -> Result<()> {
    let status = |name: &str| all.count(|member| member["status"] == name);
    for name in STATUSES {
        check_count(&group["statuses"][name], status(name), name)?;
    }
    let queries = all.count(is_query);
    let responses = all.count(|member| member["rcode"].is_string());
    let rcode = |name: &str| all.count(|member| member["rcode"] == name);
    let truncated = all.count(|member| {
        let flags = member["flags"].as_array();
        member["rcode"].is_string() && flags.is_some_and(|flags| flags.contains(&"tc".into()))
    });
    let successes = all.count(|member| {
        let success = member["rcode"] == "NOERROR" || member["rcode"] == "NXDOMAIN";
        member["status"] == "answered" && success
    });
    // Second responses repeat what their query has.
    let of_queries =
        |name: &'static str| all.sum(|member| member[name].as_u64().filter(|_| is_query(member)));
    let retries = of_queries("retries");
    let fallbacks = all.count(|member| member["tcp_fallback_of"].is_string());
    let hits = all.count(|member| member["cache"] == "hit" || member["cache"] == "stale");
    let misses = all.count(|member| member["cache"] == "miss");
    let octets = |name: &'static str| all.sum(|member| member[name].as_u64());
    let (query_bytes, response_bytes) = (of_queries("query_bytes"), octets("response_bytes"));
    let exact = [
        ("transactions", all.0.len() as u64),
        ("queries", queries),
        ("successes", successes),
        ("truncated", truncated),
        ("retries", retries),
        ("tcp_fallbacks", fallbacks),
        ("cache_hits", hits),
        ("cache_misses", misses),
        ("conflicts", all.count(|member| member["conflict"] == true)),
        ("query_bytes", query_bytes),
        ("response_bytes", response_bytes),
    ];
    for (name, count) in exact {
        check_count(&group[name], count, name)?;
    }
    let known = status("answered") + status("timeout") + status("icmp_error");
    let ratios = [
        ("nxdomain_ratio", rcode("NXDOMAIN"), responses),
        ("servfail_ratio", rcode("SERVFAIL"), responses),
        ("timeout_ratio", status("timeout"), queries),
        ("truncation_ratio", truncated, responses),
        ("success_ratio", successes, known),
        ("retry_ratio", retries, queries),
        ("tcp_fallback_ratio", fallbacks, queries),
        ("cache_hit_ratio", hits, hits + misses),
        ("amplification", response_bytes, query_bytes),
        ("query_rate", queries, group["window_seconds"].as_u64().unwrap_or(0)),
    ];
    for (name, part, whole) in ratios {
        let expected = (whole > 0).then(|| float(part) / float(whole));
        let is = match (group[name].as_f64(), expected) {
            // Parsing JSON may change the last digit.
            (Some(found), Some(expected)) => (found - expected).abs() <= expected * 1e-12,
            (found, expected) => found == expected,
        };
        ensure!(is, "{name} is not {expected:?}");
    }
    if options.edns {
        let edns = |name: &str, is: fn(&Value) -> bool| {
            all.count(|member| is_query(member) && is(&member["edns"][name]))
        };
        check_count(&group["dnssec_queries"], edns("do", |value| value == true), "dnssec_queries")?;
        check_count(&group["ecs_queries"], edns("ecs", Value::is_string), "ecs_queries")?;
    }
    Ok(())
}

fn check_count(found: &Value, expected: u64, name: &str) -> Result<()> {
    ensure!(found.as_u64() == Some(expected), "{name} is {found}, not {expected}");
    Ok(())
}

/// Checks a list of counts by name, in which the rarest names may be combined.
fn check_list(list: &Value, name: &str, exact: &BTreeMap<&str, u64>) -> Result<()> {
    let list = list.as_array().with_context(|| format!("no list by {name}"))?;
    let mut sum = 0;
    for one in list {
        let (value, count) = (one[name].as_str().context("no name")?, one["count"].as_u64());
        if value != "other" {
            ensure!(count == exact.get(value).copied(), "{name} {one}, not {:?}", exact.get(value));
        }
        sum += count.context("no count")?;
    }
    let total: u64 = exact.values().sum();
    ensure!(sum == total, "{name}: {sum} of {total}");
    Ok(())
}

fn latencies(found: &Value, all: &Members<'_>) -> Result<()> {
    let answered = all.0.iter().filter(|member| member["status"] == "answered");
    let mut exact: Vec<f64> = answered.filter_map(|member| member["latency_ms"].as_f64()).collect();
    exact.sort_by(f64::total_cmp);
    let Some(greatest) = exact.last() else {
        ensure!(found.is_null(), "latencies of nothing");
        return Ok(());
    };
    check_count(&found["count"], exact.len() as u64, "latency_ms.count")?;
    let max = found["max"].as_f64().context("no max")?;
    ensure!((max - greatest).abs() <= greatest * 1e-12, "max is {max}, not {greatest}");
    for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)] {
        let truth = exact[rank(share, exact.len())];
        let value = found[name].as_f64().context("no quantile")?;
        ensure!((value - truth).abs() <= truth * ACCURACY, "{name} is {value}, not {truth}");
    }
    Ok(())
}

/// Index of a quantile among `count` sorted values.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "fewer than 2^53"
)]
fn rank(share: f64, count: usize) -> usize {
    (share * (count - 1) as f64) as usize
}

/// Checks that the exact count is within twice the bounds. The bounds are two standard deviations:
/// this fails once in 15,000 cases.
fn check_distinct(found: &Value, exact: &BTreeMap<&str, u64>) -> Result<()> {
    let figure = |name: &str| found[name].as_f64().with_context(|| format!("no {name}"));
    let (estimate, lower, upper) = (figure("estimate")?, figure("lower")?, figure("upper")?);
    let truth = float(exact.len() as u64);
    let bounds = 2.0 * lower - estimate - 0.5..=2.0 * upper - estimate + 0.5;
    ensure!(bounds.contains(&truth), "{truth} is not in {bounds:?}: {found}");
    Ok(())
}

/// Checks that each value is within its bounds, and that every value more frequent than the tenth
/// is listed.
fn top(found: &Value, exact: &BTreeMap<&str, u64>) -> Result<()> {
    let empty = Vec::new();
    let list = found.as_array().unwrap_or(&empty);
    ensure!(list.len() >= exact.len().min(1), "no list of {} values", exact.len());
    let mut listed = BTreeSet::new();
    for one in list {
        let value = one["value"].as_str().context("no value")?;
        let count = exact.get(value).copied().unwrap_or(0);
        let (lower, upper) = (one["lower"].as_u64(), one["upper"].as_u64());
        ensure!(lower <= Some(count) && Some(count) <= upper, "{one}: {count}");
        listed.insert(value);
    }
    let least = list.last().and_then(|one| one["upper"].as_u64()).unwrap_or(0);
    let missed = exact.iter().find(|(value, count)| **count > least && !listed.contains(*value));
    ensure!(missed.is_none(), "not listed: {missed:?}");
    Ok(())
}

fn check_distributions(group: &Value, members: &[&Value]) -> Result<()> {
    let names =
        || members.iter().filter_map(|member| member["qname"].as_str()).filter(|name| *name != ".");
    check_buckets(&group["qname_entropy"], names().map(entropy))?;
    let lengths = names().flat_map(|name| labels(name).into_iter());
    check_buckets(&group["label_lengths"], lengths)?;
    let ttls = members.iter().filter_map(|member| member["min_ttl_seconds"].as_f64());
    check_buckets(&group["min_ttls"], ttls)
}

fn check_buckets(found: &Value, values: impl Iterator<Item = f64>) -> Result<()> {
    let found = found.as_array().context("no distribution")?;
    let bounds: Vec<f64> =
        found.iter().map(|bucket| bucket["up_to"].as_f64().unwrap_or(f64::INFINITY)).collect();
    let mut counts = vec![0_u64; bounds.len()];
    for value in values {
        // Sums of floats differ in their last digits.
        let place = bounds.iter().position(|bound| value - 1e-9 <= *bound).context("no bucket")?;
        counts[place] += 1;
    }
    let counted: Vec<u64> = found.iter().filter_map(|bucket| bucket["count"].as_u64()).collect();
    ensure!(counted == counts, "{found:?}, not {counts:?}");
    Ok(())
}

/// Entropy as defined in textbooks: the sum of -p log2 p over all bytes except dots.
fn entropy(name: &str) -> f64 {
    let mut counts: BTreeMap<u8, u64> = BTreeMap::new();
    for octet in name.bytes().filter(|octet| *octet != b'.') {
        *counts.entry(octet).or_default() += 1;
    }
    let all = float(counts.values().sum());
    counts.values().map(|count| float(*count) / all).map(|p| -p * p.log2()).sum()
}

/// Lengths of the labels; an escaped dot is part of its label.
fn labels(name: &str) -> Vec<f64> {
    let mut lengths = vec![0_u64];
    let mut escaped = false;
    for letter in name.bytes() {
        if letter == b'.' && !escaped {
            lengths.push(0);
        } else if let Some(last) = lengths.last_mut() {
            *last += 1;
        }
        escaped = letter == b'\\' && !escaped;
    }
    lengths.into_iter().map(float).collect()
}

#[expect(clippy::cast_precision_loss, reason = "fewer than 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}
