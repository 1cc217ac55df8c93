//! Indicators of threats: hosts files, response policy zones, plain lists, CSV, NDJSON.

use super::table::{self, Row};
use super::{Imported, Refusal, domain, rpz, shortened};
use dnscribe_record::IntelFields;
use dnscribe_record::time::Timestamp;
use ipnet::IpNet;
use std::net::IpAddr;

/// Format of a file of indicators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum IntelFormat {
    /// Lines of an address and names, as in /etc/hosts; the names are the indicators.
    Hosts,
    /// Response policy zone (RPZ) as a master file.
    Rpz,
    /// One domain, address or prefix of addresses a line.
    Plain,
    /// CSV with a header: indicator, category, confidence, `valid_until`.
    Csv,
    /// JSON objects by line: `dns.intel/1`.
    Ndjson,
}

/// Values of indicators that do not have their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntelDefaults {
    /// Name of the list.
    pub source: String,
    /// What the indicators indicate.
    pub category: Option<String>,
    /// Confidence, 0 to 100.
    pub confidence: Option<u8>,
    /// Time from which the indicators no longer hold.
    pub valid_until: Option<Timestamp>,
}

/// Names of columns that hold the indicator in lists of other programs.
const INDICATOR: [&str; 7] = ["indicator", "domain", "ip", "prefix", "value", "host", "ip_address"];

impl IntelFormat {
    /// Detects the format from the content.
    #[must_use]
    pub fn detect(data: &str) -> Self {
        let data = data.trim_start_matches('\u{feff}').trim_start();
        if data.starts_with('{') {
            return Self::Ndjson;
        }
        for line in data.lines().map(without_comment).filter(|line| !line.is_empty()).take(50) {
            let mut words = line.split_whitespace();
            let first = words.next().unwrap_or_default();
            if host_address(first).is_some() && words.clone().next().is_some() {
                return Self::Hosts;
            }
            let is = |word: &str, known: &[&str]| {
                known.iter().any(|known| word.eq_ignore_ascii_case(known))
            };
            let record = rpz::type_and_data(words.map(str::to_owned));
            if is(first, &["$TTL", "$ORIGIN", "$INCLUDE", "$GENERATE"])
                || record.is_some_and(|(rtype, data)| {
                    is(&rtype, &["SOA", "CNAME", "NS"]) && data.is_some()
                })
            {
                return Self::Rpz;
            }
            let is_header = |column: &str| {
                let column = column.trim().trim_matches('"').to_ascii_lowercase();
                INDICATOR.contains(&column.as_str())
            };
            if line.split(',').any(is_header) {
                return Self::Csv;
            }
        }
        Self::Plain
    }
}

/// Beginnings of comments.
const COMMENTS: [char; 3] = ['#', ';', '!'];

/// Reads a file of indicators. The first line of an indicator counts; those that no longer hold at
/// `now` are left out.
#[must_use]
pub fn read(
    data: &str,
    format: IntelFormat,
    defaults: &IntelDefaults,
    now: Timestamp,
) -> Imported<IntelFields> {
    let mut imported = read_lines(data, format, defaults);
    let before = imported.items.len();
    imported.items.retain(|item| item.valid_until.is_none_or(|until| until > now));
    imported.expired += (before - imported.items.len()) as u64;
    imported.deduplicate(|item| item.indicator.clone());
    imported
}

/// Reads a file of indicators for matching at any time. The line of an indicator that holds longest counts, the first of
/// those that hold equally long. The indicators are in their own order.
#[must_use]
pub fn read_longest(
    data: &str,
    format: IntelFormat,
    defaults: &IntelDefaults,
) -> Imported<IntelFields> {
    let mut imported = read_lines(data, format, defaults);
    let before = imported.items.len();
    imported.items.sort_by(|one, other| {
        let end = |item: &IntelFields| (item.valid_until.is_none(), item.valid_until);
        one.indicator.cmp(&other.indicator).then_with(|| end(other).cmp(&end(one)))
    });
    imported.items.dedup_by(|later, kept| later.indicator == kept.indicator);
    imported.duplicates = (before - imported.items.len()) as u64;
    imported
}

fn read_lines(data: &str, format: IntelFormat, defaults: &IntelDefaults) -> Imported<IntelFields> {
    let data = data.trim_start_matches('\u{feff}');
    let mut imported = Imported::empty();
    match format {
        IntelFormat::Hosts => hosts(data, defaults, &mut imported),
        IntelFormat::Plain => plain(data, defaults, &mut imported),
        IntelFormat::Rpz => {
            for policy in rpz::read(data) {
                let value = policy.and_then(|policy| {
                    indicator(&policy.trigger, true)
                        .map_err(|problem| Refusal::new(policy.line, problem))
                });
                add(&mut imported, value.map(|value| with(value, defaults)));
            }
        }
        IntelFormat::Csv => rows(table::csv(data), defaults, &mut imported),
        IntelFormat::Ndjson => rows(table::ndjson(data), defaults, &mut imported),
    }
    imported
}

fn add<T>(imported: &mut Imported<T>, item: Result<T, Refusal>) {
    match item {
        Ok(item) => imported.items.push(item),
        Err(refusal) => imported.refused.push(refusal),
    }
}

/// An indicator and its kind.
type Indicator = (String, &'static str);

fn with((indicator, kind): Indicator, defaults: &IntelDefaults) -> IntelFields {
    IntelFields {
        indicator,
        kind: kind.to_owned(),
        category: defaults.category.clone(),
        source: defaults.source.clone(),
        confidence: defaults.confidence,
        valid_until: defaults.valid_until,
    }
}

/// Returns a line without its comment.
fn without_comment(line: &str) -> &str {
    let line = line.split(COMMENTS).next().unwrap_or_default().trim();
    match line.split_once(" //") {
        _ if line.starts_with("//") => "",
        Some((line, _)) => line.trim_end(),
        None => line,
    }
}

fn hosts(data: &str, defaults: &IntelDefaults, imported: &mut Imported<IntelFields>) {
    for (line, text) in (1..).zip(data.lines()) {
        let mut words = without_comment(text).split_whitespace();
        let Some(address) = words.next() else { continue };
        if host_address(address).is_none() {
            imported.refuse(line, format!("\"{}\" is not an address", shortened(address)));
            continue;
        }
        for name in words.filter(|name| !is_local(name)) {
            let value = domain_indicator(name, false);
            let value = value.map_err(|problem| Refusal::new(line, problem));
            add(imported, value.map(|value| with(value, defaults)));
        }
    }
}

/// Returns the address at the beginning of a line of a hosts file, which may have a zone: `fe80::1%lo0`.
fn host_address(text: &str) -> Option<IpAddr> {
    text.split('%').next()?.parse().ok()
}

/// Returns whether a name of a hosts file is one that every system has.
fn is_local(name: &str) -> bool {
    matches!(name, "localhost" | "localhost.localdomain" | "local" | "broadcasthost" | "0.0.0.0")
        || name.starts_with("ip6-") && !name.contains('.')
}

fn plain(data: &str, defaults: &IntelDefaults, imported: &mut Imported<IntelFields>) {
    for (line, text) in (1..).zip(data.lines()) {
        let text = without_comment(text);
        if !text.is_empty() {
            let value = indicator(text, false).map_err(|problem| Refusal::new(line, problem));
            add(imported, value.map(|value| with(value, defaults)));
        }
    }
}

fn rows(
    rows: Vec<Result<Row, Refusal>>,
    defaults: &IntelDefaults,
    imported: &mut Imported<IntelFields>,
) {
    for row in rows {
        let item = row.and_then(|row| {
            let line = row.line;
            from_row(row, defaults).map_err(|problem| Refusal::new(line, problem))
        });
        add(imported, item);
    }
}

/// Reads a row. Columns of other programs are passed over.
fn from_row(mut row: Row, defaults: &IntelDefaults) -> Result<IntelFields, String> {
    let text = row.take(&INDICATOR).ok_or("indicator is missing")?;
    let confidence = row.take(&["confidence"]);
    let confidence = confidence.map(|text| confidence_of(&text)).transpose()?;
    let until = row.take(&["valid_until"]);
    let until = until.map(|text| text.parse().map_err(|error| format!("valid_until: {error}")));
    let defaults = IntelDefaults {
        source: row.take(&["source"]).unwrap_or_else(|| defaults.source.clone()),
        category: row.take(&["category", "threat"]).or_else(|| defaults.category.clone()),
        confidence: confidence.or(defaults.confidence),
        valid_until: until.transpose()?.or(defaults.valid_until),
    };
    Ok(with(indicator(&text, true)?, &defaults))
}

fn confidence_of(text: &str) -> Result<u8, String> {
    let number = text.parse().ok().filter(|number| *number <= 100);
    number.ok_or_else(|| format!("confidence \"{}\" is not 0 to 100", shortened(text)))
}

/// Returns the indicator that a text stands for: a domain, also written as `*.NAME`, `.NAME` or
/// `||NAME^`; an address; a prefix of addresses.
fn indicator(text: &str, may_be_top_level: bool) -> Result<Indicator, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return prefix(canonical(address.into()));
    }
    if let Ok(net) = text.parse::<IpNet>() {
        return prefix(canonical(net.trunc()));
    }
    domain_indicator(text, may_be_top_level)
}

/// Returns a prefix of IPv4 in IPv6 (`::ffff:0:0/96`) as one of IPv4: so are the addresses that are matched.
fn canonical(net: IpNet) -> IpNet {
    let short = net.prefix_len().checked_sub(96).filter(|_| net.addr().is_ipv6());
    match (net.addr().to_canonical(), short) {
        (address @ IpAddr::V4(_), Some(length)) => IpNet::new(address, length).unwrap_or(net),
        _ => net,
    }
}

fn prefix(net: IpNet) -> Result<Indicator, String> {
    match net.prefix_len() {
        0 => Err(format!("{net} contains every address")),
        _ => Ok((net.to_string(), "prefix")),
    }
}

fn domain_indicator(text: &str, may_be_top_level: bool) -> Result<Indicator, String> {
    let blocked = text.strip_prefix("||").map(|text| text.strip_suffix('^').unwrap_or(text));
    let bare = blocked.unwrap_or(text);
    let bare = bare.strip_prefix("*.").or_else(|| bare.strip_prefix('.')).unwrap_or(bare);
    let name = domain(bare)?;
    if !may_be_top_level && !name.contains('.') {
        return Err(format!(
            "\"{name}\" is a single label, which contains a whole top-level domain"
        ));
    }
    if name
        .split('.')
        .next_back()
        .is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()))
    {
        return Err(format!("\"{name}\" is neither an address nor a domain name"));
    }
    Ok((name, "domain"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn defaults() -> IntelDefaults {
        IntelDefaults {
            source: "list".into(),
            category: Some("malware".into()),
            confidence: Some(50),
            valid_until: None,
        }
    }

    const NOW: Timestamp = Timestamp::from_nanos(1_800_000_000_000_000_000);

    fn read_as(data: &str, expected: IntelFormat) -> Imported<IntelFields> {
        assert_eq!(IntelFormat::detect(data), expected, "{data}");
        read(data, expected, &defaults(), NOW)
    }

    fn names(imported: &Imported<IntelFields>) -> Vec<&str> {
        imported.items.iter().map(|item| item.indicator.as_str()).collect()
    }

    fn lines(imported: &Imported<IntelFields>) -> Vec<usize> {
        imported.refused.iter().map(|refusal| refusal.line).collect()
    }

    #[test]
    fn reads_hosts_files() {
        let data = "# block list\n127.0.0.1 localhost\n0.0.0.0 Bad.Example. worse.example # two\n\
            ::1 ip6-localhost\n0.0.0.0 bad.example\nnot-an-address x.example\n0.0.0.0 com\n";
        let found = read_as(data, IntelFormat::Hosts);
        assert_eq!(names(&found), ["bad.example", "worse.example"]);
        assert_eq!((lines(&found), found.duplicates), (vec![6, 7], 1));
        let first = &found.items[0];
        assert_eq!((first.kind.as_str(), first.source.as_str()), ("domain", "list"));
    }

    #[test]
    fn reads_plain_lists() {
        let data = "! comment\n*.bad.example\n.worse.example\n||ads.example^\nbücher.example\n\
            198.51.100.7\n198.51.100.9/24 ; note\n2001:DB8::/32\n::ffff:192.0.2.1\n0.0.0.0/0\n\
            http://bad.example/\n1.2.3\nbad.example\n::ffff:203.0.113.9/120\n::ffff:0:0/96\n";
        let found = read_as(data, IntelFormat::Plain);
        let expected = [
            "bad.example",
            "worse.example",
            "ads.example",
            "xn--bcher-kva.example",
            "198.51.100.7/32",
            "198.51.100.0/24",
            "2001:db8::/32",
            "192.0.2.1/32",
            "203.0.113.0/24",
        ];
        assert_eq!(names(&found), expected);
        assert_eq!((lines(&found), found.duplicates), (vec![10, 11, 12, 15], 1));
    }

    #[test]
    fn comments_decide_no_format() {
        for word in ["NS", "cname", "SOA", "domain,ip", "$TTL 60"] {
            for mark in ["#", ";", "!", "//"] {
                let own = format!("{mark} {word} records\n\n  {mark}{word}\n");
                let comment = format!("{mark} {word} of tracker.example 0.0.0.0 x.example");
                let hosts = format!("{own}0.0.0.0 bad.example {comment}\n");
                assert_eq!(names(&read_as(&hosts, IntelFormat::Hosts)), ["bad.example"]);
                let plain = format!("{own}bad.example {comment}\n198.51.100.7 {comment}\n");
                let found = read_as(&plain, IntelFormat::Plain);
                assert_eq!(names(&found), ["bad.example", "198.51.100.7/32"]);
                assert_eq!(lines(&found), [0; 0], "{plain}");
                let zone =
                    format!("; {word} 0.0.0.0 x.example\nbad.example 60 IN CNAME . ; {word}\n");
                assert_eq!(names(&read_as(&zone, IntelFormat::Rpz)), ["bad.example"]);
            }
        }
        // Words that are no comments, but do not stand where a record has its type, either.
        assert_eq!(IntelFormat::detect("bad.example serves NS . records\n"), IntelFormat::Plain);
        assert_eq!(IntelFormat::detect("0.0.0.0 ns cname soa\n"), IntelFormat::Hosts);
    }

    #[test]
    fn hosts_files_leave_out_only_names_of_the_system() {
        let data = "fe80::1%lo0 localhost\nff02::1 ip6-allnodes\n\
            0.0.0.0 ip6-tracker.example\nfe80::2%eth0 bad.example\n";
        let found = read_as(data, IntelFormat::Hosts);
        assert_eq!(names(&found), ["ip6-tracker.example", "bad.example"]);
        assert_eq!(lines(&found), [0; 0]);
    }

    #[test]
    fn reads_tables() {
        let csv = "Indicator,Threat,Confidence,Valid_Until,first_seen\nbad.example,phishing,90,,x\n\
            gone.example,,,2020-01-01T00:00:00Z,\n192.0.2.0/24,,101,,\n192.0.2.0/24,,,,\n";
        let found = read_as(csv, IntelFormat::Csv);
        assert_eq!(names(&found), ["bad.example", "192.0.2.0/24"]);
        assert_eq!((lines(&found), found.expired), (vec![4], 1));
        assert_eq!(found.items[0].category.as_deref(), Some("phishing"));
        assert_eq!(found.items[1].confidence, Some(50));
        let again: String =
            found.items.iter().map(|item| serde_json::to_string(item).unwrap() + "\n").collect();
        assert_eq!(read_as(&again, IntelFormat::Ndjson).items, found.items);
    }

    /// One that has expired hides none that is valid.
    #[test]
    fn the_line_that_holds_longest_counts() {
        let csv = "indicator,category,valid_until\n\
            b.example,old,2020-01-01T00:00:00Z\nb.example,new,2040-01-01T00:00:00Z\n\
            a.example,first,\na.example,second,\na.example,old,2020-01-01T00:00:00Z\n\
            c.example,first,2040-01-01T00:00:00Z\nc.example,ever,\n";
        let found = read_longest(csv, IntelFormat::Csv, &defaults());
        let kept: Vec<_> = found.items.iter().map(|item| item.category.as_deref()).collect();
        assert_eq!(names(&found), ["a.example", "b.example", "c.example"]);
        assert_eq!(kept, [Some("first"), Some("new"), Some("ever")]);
        assert_eq!((found.duplicates, found.expired), (4, 0));
    }

    #[test]
    fn reads_policy_zones() {
        let zone = "$TTL 60\n@ SOA a. b. 1 2 3 4 5\nbad.example CNAME .\n*.bad.example CNAME .\n\
            32.7.100.51.198.rpz-ip CNAME .\nzip CNAME .\n";
        let found = read_as(zone, IntelFormat::Rpz);
        assert_eq!(names(&found), ["bad.example", "198.51.100.7/32", "zip"]);
    }

    fn any_indicator() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z0-9]{1,10}(\\.[a-z0-9-]{1,10}){0,3}\\.example",
            any::<u32>().prop_map(|bits| IpAddr::from(bits.to_be_bytes()).to_string() + "/32"),
            (any::<u128>(), 16..=128_u8).prop_map(|(bits, length)| {
                let net = IpNet::new(IpAddr::from(bits.to_be_bytes()), length);
                net.map(|net| net.trunc().to_string()).unwrap_or_default()
            }),
        ]
    }

    proptest! {
        #[test]
        fn never_panics(data in "(?s).{0,400}", words in "[a-z0-9.*/:'\\[\\]{}()\" ,;$#|^\n\\\\-]{0,300}") {
            for data in [&data, &words] {
                for format in <IntelFormat as clap::ValueEnum>::value_variants() {
                    let found = read(data, *format, &defaults(), NOW);
                    for item in &found.items {
                        prop_assert_eq!(indicator(&item.indicator, true).unwrap().0, item.indicator.clone());
                    }
                }
            }
        }

        #[test]
        fn every_format_gives_what_was_written(wanted in prop::collection::hash_set(any_indicator(), 1..20)) {
            let wanted: Vec<String> = wanted.into_iter().collect();
            let files = [
                (IntelFormat::Plain, wanted.join("\n")),
                (IntelFormat::Csv, format!("indicator\n{}\n", wanted.join("\n"))),
            ];
            for (format, data) in files {
                let found = read(&data, format, &defaults(), NOW);
                prop_assert_eq!(&found.refused, &[]);
                prop_assert_eq!(names(&found), wanted.iter().map(String::as_str).collect::<Vec<_>>());
            }
        }
    }
}
