//! The three views of a lookup, and the cache seen from outside, against unbound's own account.

use crate::support::{SOON, agent, is, lab, lab_with};
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

/// Names that are asked for, of each kind.
const NAMES: u32 = 400;
/// The share of verdicts that agree with unbound's own, one by one.
const AGREEMENT: f64 = 0.99;
/// The share of answers with a verdict.
const COVERAGE: f64 = 0.95;

#[test]
fn a_lookup_is_one_tree() {
    let Some((lab, _alone)) = lab() else { return };
    let agent = agent(&[]);
    for _ in 0..2 {
        lab.dig(&["tree.wild.example.com", "A"]).unwrap();
    }
    let name = "tree.wild.example.com";
    let upstream = |record: &&Value| record["vantage"] == "client" && of_resolver(record, &lab);
    let whole = |records: &[Value]| {
        let named = || records.iter().filter(|record| record["qname"] == name);
        let client = named().filter(|record| is(record, "client", lab.client_addr(), name));
        client.count() == 2 && named().any(|record| upstream(&record))
    };
    let records = agent.wait_for("the lookups", SOON, whole).unwrap();
    let of = |vantage: &str| -> Vec<&Value> {
        records.iter().filter(|r| is(r, vantage, lab.client_addr(), name)).collect()
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
fn the_cache_is_inferred_as_unbound_counts_it() {
    let more = env::var("JOIN_UNBOUND").unwrap_or_default();
    let more = more.split(';').filter(|option| !option.is_empty());
    let options: Vec<&str> =
        ["log-replies: yes", "msg-cache-size: 64m"].into_iter().chain(more).collect();
    let Some((lab, _alone)) = lab_with(&options) else { return };
    let agent = agent(&[]);
    // So that a first miss has shown what kind of process this is.
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
    // Some milliseconds in which other clients ask the same.
    let stutter = lab.stutter(Duration::from_millis(4), Duration::from_millis(2));
    let perf = lab.dnsperf(&load).unwrap();
    drop(stutter);
    assert!(perf.completed > u64::from(queries) * 9 / 10, "{perf:?}");
    let after = counted();
    let end = agent.terminate().unwrap();
    let outside = replay(&capture.finish().unwrap());
    let replies = replies(&lab.log(Host::Resolver).unwrap()[logged..], &lab);
    let live: Vec<&Value> = end.of("dns.transaction/1").collect();
    let seen = compare(&live, ["client", "server"], &lab, replies.clone());
    let [hits, misses] = [after[0] - before[0], after[1] - before[1]];
    eprintln!("unbound: {hits} hits, {misses} misses; inferred: {seen:?}");
    assert!(seen.coverage() >= COVERAGE, "{seen:?}");
    assert!(seen.agreement() >= AGREEMENT, "{seen:?}");
    // The sums, which do not rely on the log.
    let off = u64::from(seen.hits - seen.composed).abs_diff(hits);
    assert!(off * 100 <= hits + misses, "{off} of {hits} and {misses}");
    links(&live, "client", &lab);
    // The same from outside, without processes.
    let outside: Vec<&Value> = outside.iter().collect();
    let seen = compare(&outside, ["passive", "passive"], &lab, replies);
    eprintln!("from a capture: {seen:?}");
    assert!(seen.coverage() >= COVERAGE && seen.agreement() >= AGREEMENT, "{seen:?}");
    links(&outside, "passive", &lab);
}

/// What replay makes of a capture.
fn replay(capture: &Path) -> Vec<Value> {
    let mut command = Command::new(environment::binary().unwrap());
    let output = shell::output(command.arg("replay").arg(capture).args(["-o", "json"])).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Inferred verdicts by what unbound logged: hit and miss.
#[derive(Debug, Default)]
struct Seen {
    /// All that was told to be a hit.
    hits: u32,
    right: u32,
    /// Unbound has looked for the answer, and found its parts in its cache.
    composed: u32,
    hit_for_miss: u32,
    miss_for_hit: u32,
    unsaid: u32,
    unknown: u32,
}

impl Seen {
    fn said(&self) -> u32 {
        self.right + self.composed + self.hit_for_miss + self.miss_for_hit
    }

    fn agreement(&self) -> f64 {
        f64::from(self.right + self.composed) / f64::from(self.said())
    }

    fn coverage(&self) -> f64 {
        f64::from(self.said()) / f64::from(self.said() + self.unsaid)
    }
}

type Question = (String, String);

/// From the log: for each question, whether its answers came out of the cache, in order.
fn replies(log: &str, lab: &Lab) -> HashMap<Question, Vec<bool>> {
    let client = lab.client_addr().to_string();
    let mut replies: HashMap<Question, Vec<bool>> = HashMap::new();
    for line in log.lines() {
        let Some((_, told)) = line.split_once(" info: ") else { continue };
        let words: Vec<&str> = told.split_whitespace().collect();
        let [from, name, qtype, _, _, _, cached, _] = words[..] else { continue };
        if from == client {
            let question = (name.trim_end_matches('.').to_owned(), qtype.to_owned());
            replies.entry(question).or_default().push(cached == "1");
        }
    }
    replies
}

/// When the resolver asked for which name.
struct Upstream(HashMap<String, Vec<(Timestamp, Timestamp)>>);

impl Upstream {
    fn of(records: &[&Value], vantage: &str, lab: &Lab) -> Self {
        let mut asked: HashMap<String, Vec<_>> = HashMap::new();
        let upstream = records.iter().filter(|r| r["vantage"] == vantage);
        for record in upstream.filter(|r| of_resolver(r, lab) && r["status"] == "answered") {
            let name = record["qname"].as_str().unwrap().to_owned();
            asked.entry(name).or_default().push((began(record), ended(record)));
        }
        Self(asked)
    }

    /// Whether the resolver asked for a name of this answer while its client waited.
    fn asked_during(&self, record: &Value) -> bool {
        let targets = record["answers"].as_array().into_iter().flatten();
        let names = targets.filter_map(|answer| answer["data"].as_str());
        let asked = names.chain(record["qname"].as_str()).filter_map(|name| self.0.get(name));
        let (since, until) = (began(record), ended(record));
        asked.flatten().any(|(sent, answered)| *sent <= until && *answered >= since)
    }
}

/// Compares the resolver's transactions, given the vantages of what it asks and of what it is asked.
fn compare(
    records: &[&Value],
    [asking, asked]: [&str; 2],
    lab: &Lab,
    mut replies: HashMap<Question, Vec<bool>>,
) -> Seen {
    let client = lab.client_addr().to_string();
    let mut answered: Vec<&Value> = records
        .iter()
        .copied()
        .filter(|r| r["vantage"] == asked && r["client_ip"] == client)
        .filter(|r| r["status"] == "answered" && r["qname"] != "first.wild.example.com")
        .collect();
    answered.sort_by_key(|r| ended(r));
    for of_one in replies.values_mut() {
        of_one.reverse();
    }
    let upstream = Upstream::of(records, asking, lab);
    let mut seen = Seen::default();
    let mut wrong = BTreeMap::new();
    for record in answered {
        let text = |field: &str| record[field].as_str().unwrap_or_default().to_owned();
        let Some(cached) = replies.get_mut(&(text("qname"), text("qtype"))).and_then(Vec::pop)
        else {
            seen.unknown += 1;
            continue;
        };
        let place = match (record["cache"].as_str(), cached) {
            (Some("hit"), true) | (Some("miss"), false) => &mut seen.right,
            (Some("hit"), false) if !upstream.asked_during(record) => &mut seen.composed,
            (Some("hit"), false) => &mut seen.hit_for_miss,
            (Some("miss"), true) => &mut seen.miss_for_hit,
            _ => &mut seen.unsaid,
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

fn began(record: &Value) -> Timestamp {
    record["ts"].as_str().unwrap().parse().unwrap()
}

/// When an answered transaction ended.
fn ended(record: &Value) -> Timestamp {
    began(record).plus(Duration::from_secs_f64(record["latency_ms"].as_f64().unwrap() / 1e3))
}

/// What the resolver asked for belongs to what it was asked.
fn links(records: &[&Value], vantage: &str, lab: &Lab) {
    let id = |record: &&Value| record["event_id"].as_str().unwrap().to_owned();
    let by_id: HashMap<String, &Value> = records.iter().map(|r| (id(r), *r)).collect();
    let mut matches: BTreeMap<&str, u64> = BTreeMap::new();
    for record in records.iter().filter(|r| r["vantage"] == vantage && of_resolver(r, lab)) {
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

/// Whether the lab's resolver sent the query, over IPv4 or IPv6.
fn of_resolver(record: &Value, lab: &Lab) -> bool {
    let addresses: [IpAddr; 2] = [lab.resolver_addr(), lab.address_v6(Host::Resolver).into()];
    addresses.iter().any(|address| record["client_ip"] == address.to_string())
}

fn statistic(lab: &Lab, what: &str) -> u64 {
    lab.unbound_statistic(&format!("total.num.cache{what}")).unwrap()
}

/// Questions of all kinds, few of them often and many seldom.
fn questions(count: u32) -> Vec<String> {
    let mut state = 1_u64;
    let mut random = |below: u32| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((state >> 33) % u64::from(below)).unwrap()
    };
    let mut question = |_| {
        // The harmonic series, near enough: each octave of names is asked for as often.
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
