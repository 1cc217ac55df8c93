//! Correlation of a resolver's client side and server side, and inference of cache hits, compared
//! with unbound's own log and statistics.

use crate::support::{RECORD_LIMIT, agent, is_transaction, lab, lab_with};
use dnscribe_record::time::Timestamp;
use dnscribe_tests::dnsperf::Load;
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::{environment, shell};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::env;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Number of names of each kind.
const NAMES: u32 = 400;
/// Minimum share of verdicts that agree with unbound's log.
const AGREEMENT: f64 = 0.99;
/// Minimum share of answers with a verdict.
const COVERAGE: f64 = 0.95;

#[test]
fn links_resolver_queries_to_client_query() {
    let Some((lab, _alone)) = lab() else { return };
    let agent = agent(&[]);
    for _ in 0..2 {
        lab.dig(&["tree.wild.example.com", "A"]).unwrap();
    }
    let name = "tree.wild.example.com";
    let upstream =
        |record: &&Value| record["vantage"] == "client" && is_from_resolver(record, &lab);
    let whole = |records: &[Value]| {
        let named = || records.iter().filter(|record| record["qname"] == name);
        let client =
            named().filter(|record| is_transaction(record, "client", lab.client_addr(), name));
        client.count() == 2 && named().any(|record| upstream(&record))
    };
    let records = agent.wait_for("the lookups", RECORD_LIMIT, whole).unwrap();
    let of = |vantage: &str| -> Vec<&Value> {
        records.iter().filter(|r| is_transaction(r, vantage, lab.client_addr(), name)).collect()
    };
    let (clients, servers) = (of("client"), of("server"));
    assert_eq!(servers.len(), 2);
    for (client, server) in clients.iter().zip(&servers) {
        assert_eq!(server["parent_event_id"], client["event_id"], "{server}");
        assert_eq!(server["parent_match"], "exchange");
        assert_eq!(client["cache"], server["cache"]);
        assert!(client.get("parent_event_id").is_none(), "{client}");
    }
    assert_eq!(servers[0]["cache"], "miss", "{}", servers[0]);
    assert_eq!(servers[1]["cache"], "hit", "{}", servers[1]);
    for asked in records.iter().filter(upstream).filter(|record| record["qname"] == name) {
        assert_eq!(asked["parent_event_id"], servers[0]["event_id"], "{asked}");
        assert_eq!(asked["parent_match"], "question", "{asked}");
    }
}

#[test]
fn infers_cache_hits_like_unbound() {
    let more = env::var("JOIN_UNBOUND").unwrap_or_default();
    let more = more.split(';').filter(|option| !option.is_empty());
    let options: Vec<&str> =
        ["log-replies: yes", "msg-cache-size: 64m"].into_iter().chain(more).collect();
    let Some((lab, _alone)) = lab_with(&options) else { return };
    let agent = agent(&[]);
    // A first miss lets the agent learn that this process is a resolver.
    lab.dig(&["first.wild.example.com", "A"]).unwrap();
    let counted = || ["hits", "miss"].map(|what| statistic(&lab, what));
    let before = counted();
    let logged = lab.log(Host::Resolver).unwrap().len();
    let queries = env::var("JOIN_QUERIES").map_or(8_000, |count| count.parse().unwrap());
    let capture = lab.capture(Host::Resolver).unwrap();
    let load = Load {
        queries,
        qps: Some(env::var("JOIN_QPS").map_or(2500, |qps| qps.parse().unwrap())),
        questions: questions(queries),
        ..Load::default()
    };
    // Some milliseconds in which other clients send the same question.
    let pauses = lab.pause_server(Duration::from_millis(4), Duration::from_millis(2));
    let perf = lab.dnsperf(&load).unwrap();
    drop(pauses);
    assert!(perf.completed > u64::from(queries) * 9 / 10, "{perf:?}");
    let after = counted();
    let end = agent.terminate().unwrap();
    let outside = replay(&capture.finish().unwrap());
    let parse_unbound_log = parse_unbound_log(&lab.log(Host::Resolver).unwrap()[logged..], &lab);
    let live: Vec<&Value> = end.records_of("dns.transaction/1").collect();
    let seen = compare(&live, ["client", "server"], &lab, parse_unbound_log.clone());
    let [hits, misses] = [after[0] - before[0], after[1] - before[1]];
    eprintln!("unbound: {hits} hits, {misses} misses; inferred: {seen:?}");
    assert!(seen.coverage() >= COVERAGE, "{seen:?}");
    assert!(seen.agreement() >= AGREEMENT, "{seen:?}");
    // Sums, which do not depend on the log.
    let off = u64::from(seen.hits - seen.composed).abs_diff(hits);
    assert!(off * 100 <= hits + misses, "{off} of {hits} and {misses}");
    check_links(&live, "client", &lab);
    // Repeat with a capture, which has no processes.
    let outside: Vec<&Value> = outside.iter().collect();
    let seen = compare(&outside, ["passive", "passive"], &lab, parse_unbound_log);
    eprintln!("from a capture: {seen:?}");
    assert!(seen.coverage() >= COVERAGE && seen.agreement() >= AGREEMENT, "{seen:?}");
    check_links(&outside, "passive", &lab);
}

/// Replays a capture.
fn replay(capture: &Path) -> Vec<Value> {
    let mut command = Command::new(environment::binary().unwrap());
    let output = shell::output(command.arg("replay").arg(capture).args(["-o", "json"])).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Inferred verdicts by unbound's own verdict.
#[derive(Debug, Default)]
struct Verdicts {
    /// Number of inferred hits.
    hits: u32,
    right: u32,
    /// unbound searched for the answer and found its parts in the cache.
    composed: u32,
    hit_for_miss: u32,
    miss_for_hit: u32,
    without_verdict: u32,
    unknown: u32,
}

impl Verdicts {
    fn with_verdict(&self) -> u32 {
        self.right + self.composed + self.hit_for_miss + self.miss_for_hit
    }

    fn agreement(&self) -> f64 {
        f64::from(self.right + self.composed) / f64::from(self.with_verdict())
    }

    fn coverage(&self) -> f64 {
        f64::from(self.with_verdict()) / f64::from(self.with_verdict() + self.without_verdict)
    }
}

type Question = (String, String);

/// Parses unbound's log: for each question, whether its answers came from the cache, in order.
fn parse_unbound_log(log: &str, lab: &Lab) -> HashMap<Question, Vec<bool>> {
    let client = lab.client_addr().to_string();
    let mut parse_unbound_log: HashMap<Question, Vec<bool>> = HashMap::new();
    for line in log.lines() {
        let Some((_, message)) = line.split_once(" info: ") else { continue };
        let words: Vec<&str> = message.split_whitespace().collect();
        let [from, name, qtype, _, _, _, cached, _] = words[..] else { continue };
        if from == client {
            let question = (name.trim_end_matches('.').to_owned(), qtype.to_owned());
            parse_unbound_log.entry(question).or_default().push(cached == "1");
        }
    }
    parse_unbound_log
}

/// Times of the resolver's own queries, by name.
struct Upstream(HashMap<String, Vec<(Timestamp, Timestamp)>>);

impl Upstream {
    fn of(records: &[&Value], vantage: &str, lab: &Lab) -> Self {
        let mut asked: HashMap<String, Vec<_>> = HashMap::new();
        let upstream = records.iter().filter(|r| r["vantage"] == vantage);
        for record in upstream.filter(|r| is_from_resolver(r, lab) && r["status"] == "answered") {
            let name = record["qname"].as_str().unwrap().to_owned();
            asked.entry(name).or_default().push((start_time(record), end_time(record)));
        }
        Self(asked)
    }

    /// Returns whether the resolver queried a name of this answer while its client waited.
    fn asked_during(&self, record: &Value) -> bool {
        let targets = record["answers"].as_array().into_iter().flatten();
        let names = targets.filter_map(|answer| answer["data"].as_str());
        let asked = names.chain(record["qname"].as_str()).filter_map(|name| self.0.get(name));
        let (since, until) = (start_time(record), end_time(record));
        asked.flatten().any(|(sent, answered)| *sent <= until && *answered >= since)
    }
}

/// Compares the resolver's transactions with its log, given the vantages of its two sides.
fn compare(
    records: &[&Value],
    [asking, asked]: [&str; 2],
    lab: &Lab,
    mut parse_unbound_log: HashMap<Question, Vec<bool>>,
) -> Verdicts {
    let client = lab.client_addr().to_string();
    let mut answered: Vec<&Value> = records
        .iter()
        .copied()
        .filter(|r| r["vantage"] == asked && r["client_ip"] == client)
        .filter(|r| r["status"] == "answered" && r["qname"] != "first.wild.example.com")
        .collect();
    answered.sort_by_key(|r| end_time(r));
    for of_one in parse_unbound_log.values_mut() {
        of_one.reverse();
    }
    let upstream = Upstream::of(records, asking, lab);
    let mut seen = Verdicts::default();
    let mut wrong = BTreeMap::new();
    for record in answered {
        let text = |field: &str| record[field].as_str().unwrap_or_default().to_owned();
        let Some(cached) =
            parse_unbound_log.get_mut(&(text("qname"), text("qtype"))).and_then(Vec::pop)
        else {
            seen.unknown += 1;
            continue;
        };
        let place = match (record["cache"].as_str(), cached) {
            (Some("hit"), true) | (Some("miss"), false) => &mut seen.right,
            (Some("hit"), false) if !upstream.asked_during(record) => &mut seen.composed,
            (Some("hit"), false) => &mut seen.hit_for_miss,
            (Some("miss"), true) => &mut seen.miss_for_hit,
            _ => &mut seen.without_verdict,
        };
        *place += 1;
        seen.hits += u32::from(record["cache"] == "hit");
        if record["cache"] != if cached { "hit" } else { "miss" } {
            let zone = text("qname").split_once('.').map(|(_, zone)| zone.to_owned());
            *wrong.entry((zone, text("cache"), cached)).or_insert(0) += 1;
        }
    }
    eprintln!("{wrong:#?}");
    seen
}

fn start_time(record: &Value) -> Timestamp {
    record["ts"].as_str().unwrap().parse().unwrap()
}

/// End time of an answered transaction.
fn end_time(record: &Value) -> Timestamp {
    start_time(record).plus(Duration::from_secs_f64(record["latency_ms"].as_f64().unwrap() / 1e3))
}

/// Checks that the resolver's queries are linked to queries of its clients.
fn check_links(records: &[&Value], vantage: &str, lab: &Lab) {
    let id = |record: &&Value| record["event_id"].as_str().unwrap().to_owned();
    let by_id: HashMap<String, &Value> = records.iter().map(|r| (id(r), *r)).collect();
    let mut matches: BTreeMap<&str, u64> = BTreeMap::new();
    for record in records.iter().filter(|r| r["vantage"] == vantage && is_from_resolver(r, lab)) {
        let by = record["parent_match"].as_str().unwrap_or("none");
        *matches.entry(by).or_default() += 1;
        if by == "none" {
            continue;
        }
        let parent = by_id[record["parent_event_id"].as_str().unwrap()];
        assert!(parent["vantage"] != "client", "{record} {parent}");
        assert_eq!(parent["process"]["pid"], record["process"]["pid"]);
        assert!(parent["ts"].as_str() <= record["ts"].as_str());
        let name = record["qname"].as_str().unwrap();
        let answers = parent["answers"].as_array().into_iter().flatten();
        let mut targets = answers.filter_map(|answer| answer["data"].as_str());
        let asked = parent["qname"].as_str().unwrap();
        let sensible = match by {
            "question" | "prefetch" => asked == name,
            "cname" => targets.any(|target| target == name),
            "ancestor" => name == "." || targets.chain([asked]).any(|below| below.ends_with(name)),
            _ => true,
        };
        assert!(sensible || parent["status"] != "answered", "{by}: {record} of {parent}");
    }
    eprintln!("upstream: {matches:?}");
}

/// Returns whether the lab's resolver sent the query, over IPv4 or IPv6.
fn is_from_resolver(record: &Value, lab: &Lab) -> bool {
    let addresses: [IpAddr; 2] = [lab.resolver_addr(), lab.address_v6(Host::Resolver).into()];
    addresses.iter().any(|address| record["client_ip"] == address.to_string())
}

fn statistic(lab: &Lab, what: &str) -> u64 {
    lab.unbound_statistic(&format!("total.num.cache{what}")).unwrap()
}

/// Returns questions of all kinds; few names are frequent and many are rare.
fn questions(count: u32) -> Vec<String> {
    let mut state = 1_u64;
    let mut random = |below: u32| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((state >> 33) % u64::from(below)).unwrap()
    };
    let mut question = |_| {
        // Approximates a harmonic series: each octave of names is equally frequent.
        let octave = random(NAMES.ilog2() + 1);
        let number = (1 << octave) + random(1 << octave);
        match random(10) {
            0..=3 => format!("n{number}.wild.example.com A"),
            4 => format!("n{number}.wild.example.com AAAA"),
            5 => format!("n{number}.brief.example.com A"),
            6 => format!("n{number}.aliases.example.com A"),
            7 => format!("x{number}.example.com A"),
            8 => format!("a.b.c{number}.com A"),
            _ => format!("n{number}.a{number}.wild.example.com TXT"),
        }
    };
    (0..count).map(&mut question).collect()
}
