//! Indicators of threats: names and prefixes of addresses from an operator's lists, with which transactions are matched as
//! the job `enrich` does. A domain stands for itself and all names below it, a prefix for the addresses in it.
//!
//! A table takes some 80 bytes for each indicator, and a transaction one look-up for each label of its name and each length of
//! prefixes.

use dnscribe_dns::rtype::{A, AAAA, CNAME, DNAME};
use dnscribe_dns::{Answer, Answers};
use dnscribe_record::time::Timestamp;
use dnscribe_record::{IntelFields, IntelMatchFields};
use hashbrown::HashMap;
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;

/// Most matches of a transaction. Further ones are left out.
const MAX_MATCHES: usize = 16;

/// The indicators of all lists. Of those that are alike, the one that is valid longest counts, else the first.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct IndicatorTable {
    domains: HashMap<Box<str>, Listed>,
    prefixes: HashMap<IpNet, Listed>,
    /// Lengths of these prefixes, longest first: of IPv4 and of IPv6.
    lengths: [Vec<u8>; 2],
    /// What indicators have in common: lists repeat it.
    details: Vec<Details>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listed {
    /// Index of its details.
    details: u32,
    valid_until: Option<Timestamp>,
}

impl Listed {
    /// Puts `other` in its place if that is valid longer.
    fn extend_to(&mut self, other: Self) {
        let end = |listed: Self| (listed.valid_until.is_none(), listed.valid_until);
        if end(other) > end(*self) {
            *self = other;
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Details {
    category: Option<String>,
    source: String,
    confidence: Option<u8>,
}

impl fmt::Debug for IndicatorTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IndicatorTable").field("indicators", &self.len()).finish_non_exhaustive()
    }
}

impl IndicatorTable {
    /// Creates a table of the indicators of all lists. Those that are neither a domain nor a prefix are left out.
    #[must_use]
    pub fn new(indicators: impl IntoIterator<Item = IntelFields>) -> Self {
        let (mut table, mut known) = (Self::default(), HashMap::new());
        for IntelFields { indicator, kind, category, source, confidence, valid_until } in indicators
        {
            let details = Details { category, source, confidence };
            let details = *known.entry(details).or_insert_with_key(|details: &Details| {
                table.details.push(details.clone());
                u32::try_from(table.details.len() - 1).unwrap_or(u32::MAX)
            });
            let listed = Listed { details, valid_until };
            if kind == "domain" {
                table.domains.entry(indicator.into()).or_insert(listed).extend_to(listed);
            } else if let Ok(prefix) = indicator.parse::<IpNet>() {
                table.prefixes.entry(prefix.trunc()).or_insert(listed).extend_to(listed);
            }
        }
        for prefix in table.prefixes.keys() {
            let lengths = &mut table.lengths[family(prefix.addr())];
            if let Err(place) = lengths.binary_search_by(|length| prefix.prefix_len().cmp(length)) {
                lengths.insert(place, prefix.prefix_len());
            }
        }
        table.domains.shrink_to_fit();
        table
    }

    /// Number of indicators.
    #[must_use]
    pub fn len(&self) -> usize {
        self.domains.len() + self.prefixes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Finds the indicators that are valid at `ts` of a query name with its parents, of the names that its answers lead to, and of
    /// their addresses: there, the longest prefix. Each once.
    #[must_use]
    pub fn find(
        &self,
        ts: Timestamp,
        qname: Option<&str>,
        answers: &Answers,
    ) -> Vec<IntelMatchFields> {
        // Does not allocate where nothing matches.
        let mut found = Vec::new();
        if self.is_empty() {
            return found;
        }
        if let Some(qname) = qname.filter(|_| !self.domains.is_empty()) {
            self.find_name(ts, qname, &mut found);
        }
        for Answer { rtype, data, .. } in answers.iter() {
            match rtype {
                A | AAAA if !self.prefixes.is_empty() => self.find_address(ts, data, &mut found),
                CNAME | DNAME if !self.domains.is_empty() => {
                    self.find_name(ts, &data.to_ascii_lowercase(), &mut found);
                }
                _ => {}
            }
        }
        found
    }

    fn find_name(&self, ts: Timestamp, name: &str, found: &mut Vec<IntelMatchFields>) {
        for parent in with_parents(name) {
            if let Some(entry) = self.domains.get(parent) {
                self.add(ts, "domain", *entry, || parent.to_owned(), found);
            }
        }
    }

    fn find_address(&self, ts: Timestamp, text: &str, found: &mut Vec<IntelMatchFields>) {
        let Ok(address) = text.parse::<IpAddr>() else { return };
        for length in &self.lengths[family(address)] {
            let Ok(prefix) = IpNet::new(address, *length) else { continue };
            let prefix = prefix.trunc();
            if let Some(entry) = self.prefixes.get(&prefix)
                && self.add(ts, "prefix", *entry, || prefix.to_string(), found)
            {
                return;
            }
        }
    }

    /// Adds an indicator, if it is valid and not yet among those found. Returns whether it is valid.
    fn add(
        &self,
        ts: Timestamp,
        kind: &str,
        Listed { details, valid_until }: Listed,
        text: impl FnOnce() -> String,
        found: &mut Vec<IntelMatchFields>,
    ) -> bool {
        if valid_until.is_some_and(|until| until <= ts) {
            return false;
        }
        let indicator = text();
        let is_new = found.iter().all(|other| other.indicator != indicator);
        if let Some(details) = self.details.get(details as usize).filter(|_| is_new)
            && found.len() < MAX_MATCHES
        {
            found.push(IntelMatchFields {
                indicator,
                kind: kind.to_owned(),
                category: details.category.clone(),
                source: Some(details.source.clone()),
                confidence: details.confidence,
            });
        }
        true
    }
}

const fn family(address: IpAddr) -> usize {
    address.is_ipv6() as usize
}

/// Returns a name in presentation form, and the names above it but for the root.
fn with_parents(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| {
        let mut bytes = name.bytes().enumerate();
        while let Some((at, byte)) = bytes.next() {
            match byte {
                // The next character is part of the label.
                b'\\' => drop(bytes.next()),
                b'.' => return name.get(at + 1..).filter(|parent| !parent.is_empty()),
                _ => {}
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_nanos(1_800_000_000_000_000_000);

    fn indicator(text: &str) -> IntelFields {
        let kind = if text.contains('/') { "prefix" } else { "domain" };
        IntelFields {
            indicator: text.to_owned(),
            kind: kind.to_owned(),
            category: Some("c2".to_owned()),
            source: "list".to_owned(),
            confidence: Some(80),
            valid_until: None,
        }
    }

    fn table(texts: &[&str]) -> IndicatorTable {
        IndicatorTable::new(texts.iter().map(|text| indicator(text)))
    }

    fn find(table: &IndicatorTable, qname: &str, answers: &[(u16, &str)]) -> Vec<String> {
        let answers: Answers = answers
            .iter()
            .map(|(rtype, data)| Answer {
                name: qname,
                rtype: *rtype,
                class: 1,
                ttl_seconds: 60,
                data,
            })
            .collect();
        let found = table.find(NOW, Some(qname), &answers);
        found.into_iter().map(|one| one.indicator).collect()
    }

    #[test]
    fn matches_names_targets_and_the_longest_prefix() {
        let table = table(&[
            "bad.example",
            "deep.bad.example",
            "cdn.example",
            "198.51.100.0/24",
            "198.51.100.7/32",
            "2001:db8::/32",
        ]);
        assert_eq!(table.len(), 6);
        assert_eq!(find(&table, "a.deep.bad.example", &[]), ["deep.bad.example", "bad.example"]);
        assert_eq!(find(&table, "bad.example", &[]), ["bad.example"]);
        for other in ["notbad.example", "example", ".", "a\\.bad.example", "bad.example.org"] {
            assert!(find(&table, other, &[]).is_empty(), "{other}");
        }
        let answers = [
            (CNAME, "X.CDN.Example"),
            (A, "198.51.100.7"),
            (A, "198.51.100.8"),
            (AAAA, "2001:db8::1"),
        ];
        let wanted = ["cdn.example", "198.51.100.7/32", "198.51.100.0/24", "2001:db8::/32"];
        assert_eq!(find(&table, "good.example", &answers), wanted);
        // The text of a TXT record is no name.
        assert!(
            find(&table, "good.example", &[(16, "bad.example"), (A, "203.0.113.1")]).is_empty()
        );
    }

    #[test]
    fn a_shorter_prefix_holds_where_the_longer_has_expired() {
        let gone = IntelFields { valid_until: Some(NOW), ..indicator("198.51.100.7/32") };
        let table = IndicatorTable::new([gone, indicator("198.51.100.0/24")]);
        assert_eq!(find(&table, "a.example", &[(A, "198.51.100.7")]), ["198.51.100.0/24"]);
    }

    #[test]
    fn the_first_of_equal_indicators_counts() {
        let second = IntelFields { source: "other".to_owned(), ..indicator("bad.example") };
        let table = IndicatorTable::new([indicator("bad.example"), second]);
        let found = table.find(NOW, Some("bad.example"), Answers::NONE);
        let details =
            (found[0].source.as_deref(), found[0].category.as_deref(), found[0].confidence);
        assert_eq!((table.len(), details), (1, (Some("list"), Some("c2"), Some(80))));
    }

    /// Whatever their order in the lists.
    #[test]
    fn the_indicator_that_is_valid_longest_counts() {
        let until = |text: &str, source: &str, valid_until| IntelFields {
            source: source.to_owned(),
            valid_until,
            ..indicator(text)
        };
        let later = Some(NOW.plus(std::time::Duration::from_secs(1)));
        for text in ["bad.example", "198.51.100.7/32"] {
            let ends = [("gone", Some(NOW)), ("later", later), ("ever", None)];
            for (valid, count) in [("later", 2), ("ever", 3)] {
                let mut all: Vec<_> =
                    ends[..count].iter().map(|(source, end)| until(text, source, *end)).collect();
                for _ in 0..2 {
                    let table = IndicatorTable::new(all.clone());
                    let answer = Answer {
                        name: "a.bad.example",
                        rtype: A,
                        class: 1,
                        ttl_seconds: 60,
                        data: "198.51.100.7",
                    };
                    let answers: Answers = [answer].into_iter().collect();
                    let found = table.find(NOW, Some("a.bad.example"), &answers);
                    let sources: Vec<_> = found.iter().map(|one| one.source.as_deref()).collect();
                    assert_eq!(sources, [Some(valid)], "{text}");
                    all.reverse();
                }
            }
        }
    }

    #[test]
    fn memory_is_80_bytes_for_an_indicator() {
        let (table, bytes) = crate::heap::measure(|| {
            IndicatorTable::new(
                (0..200_000).map(|number| indicator(&format!("host-{number}.bad.example"))),
            )
        });
        assert!(bytes / table.len() <= 100, "{}", bytes / table.len());
    }

    proptest! {
        /// As a search over all indicators finds.
        #[test]
        fn finds_what_a_search_over_all_finds(
            listed in prop::collection::vec("([ab]\\.){0,3}[ab]", 0..8),
            prefixes in prop::collection::vec((any::<[u8; 4]>(), 1..=32_u8), 0..8),
            qname in "([ab]\\.){0,4}[ab]",
            address in any::<[u8; 4]>(),
            near in any::<bool>(),
        ) {
            let prefixes: Vec<IpNet> = prefixes.into_iter()
                .map(|(octets, length)| IpNet::new(octets.into(), length).unwrap().trunc())
                .collect();
            let address = prefixes.first().filter(|_| near).map_or(address.into(), IpNet::addr);
            let texts: Vec<String> = listed.iter().cloned().chain(prefixes.iter().map(IpNet::to_string)).collect();
            let table = table(&texts.iter().map(String::as_str).collect::<Vec<_>>());
            let mut wanted: Vec<String> =
                listed.iter().filter(|one| qname == **one || qname.ends_with(&format!(".{one}"))).cloned().collect();
            let longest = prefixes.iter().filter(|net| net.contains(&address)).max_by_key(|net| net.prefix_len());
            wanted.extend(longest.map(IpNet::to_string));
            let mut found = find(&table, &qname, &[(A, &address.to_string())]);
            wanted.sort();
            wanted.dedup();
            found.sort();
            prop_assert_eq!(found, wanted);
        }
    }
}
