//! Builds `dns.use/1` from connections that are alike.

use super::{RecordBuilder, record_tail};
use dnscribe_analysis::uses::Use;
use dnscribe_record::number::milliseconds;
use dnscribe_record::{Stream, UseRecord};
use std::time::Duration;

impl RecordBuilder {
    /// Builds `dns.use/1`.
    #[must_use]
    pub fn use_record<'a>(&'a self, one: &'a Use) -> UseRecord<'a> {
        let left = |(age, ttl): (Duration, Duration)| milliseconds(ttl) - milliseconds(age);
        UseRecord {
            head: self.head(Stream::Uses, self.namespace.message(one.id), one.first),
            protocol: one.transport.name(),
            address: one.remote.ip(),
            port: one.remote.port(),
            matched: one.matched.name(),
            name: one.name.as_deref(),
            candidates: one.candidates.iter().map(|name| &**name).collect(),
            lookup_event_id: one.lookup.map(|(first, _)| self.namespace.lookup(first)),
            lookup_scope: one.lookup.map(|(_, scope)| scope.name()),
            answer_age_ms: one.age_and_ttl.map(|(age, _)| milliseconds(age)),
            ttl_left_ms: one.age_and_ttl.map(left),
            lookup_ms: one.lookup_time.map(milliseconds),
            connect_ms: one.connect_time.map(milliseconds),
            rtt_ms: one.rtt.map(milliseconds),
            first_byte_ms: one.first_byte_time.map(milliseconds),
            outcome: one.outcome.name(),
            count: one.count,
            first: self.clock.apply(one.first),
            last: self.clock.apply(one.last),
            tail: record_tail(&one.attribution),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dnscribe_analysis::attribution::{Attribution, Process};
    use dnscribe_analysis::uses::{LookupScope, Match, UseOutcome};
    use dnscribe_record::time::Timestamp;
    use dnscribe_record::{MessageId, PacketId};
    use dnscribe_transaction::packet::{Task, Transport};
    use std::collections::HashMap;
    use std::path::Path;

    fn uses() -> [Use; 3] {
        let at = |ms: u64| Timestamp::from_nanos(1_795_719_600_000_000_000 + ms * 1_000_000);
        let mut task = Task { pid: 4711, uid: 1000, ..Task::default() };
        task.comm[..4].copy_from_slice(b"curl");
        let process = Some(Process::new(&task, Some("/usr/bin/curl".into())));
        let id = |seq| MessageId { packet: PacketId { cpu: 1, seq }, index: 0 };
        let first = Use {
            id: id(7),
            count: 1,
            first: at(0),
            last: at(0),
            transport: Transport::Tcp,
            remote: "198.51.100.7:443".parse().unwrap(),
            matched: Match::Sole,
            name: Some("shop.example".into()),
            candidates: Vec::new(),
            lookup: Some((id(3), LookupScope::Process)),
            age_and_ttl: Some((Duration::from_micros(1_500), Duration::from_mins(1))),
            lookup_time: Some(Duration::from_millis(12)),
            connect_time: Some(Duration::from_micros(12_250)),
            rtt: Some(Duration::from_micros(12_130)),
            first_byte_time: Some(Duration::from_millis(61)),
            outcome: UseOutcome::Established,
            attribution: Attribution { process, ..Attribution::default() },
        };
        let stale = Use {
            id: id(8),
            count: 3,
            last: at(2_000),
            matched: Match::Newest,
            lookup: Some((id(3), LookupScope::Parent)),
            age_and_ttl: Some((Duration::from_secs(90), Duration::from_mins(1))),
            rtt: None,
            first_byte_time: None,
            outcome: UseOutcome::Refused,
            ..first.clone()
        };
        let ambiguous = Use {
            id: id(9),
            transport: Transport::Udp,
            remote: "[2001:db8::7]:443".parse().unwrap(),
            matched: Match::Ambiguous,
            name: None,
            candidates: vec!["shop.example".into(), "pay.example".into()],
            lookup: None,
            age_and_ttl: None,
            lookup_time: None,
            connect_time: None,
            rtt: None,
            first_byte_time: None,
            outcome: UseOutcome::Unknown,
            ..first.clone()
        };
        [first, stale, ambiguous]
    }

    #[test]
    fn golden_records_are_what_the_schema_says() {
        let epoch = Timestamp::from_nanos(1_795_719_000_000_000_000);
        let builder = RecordBuilder::new("resolver-1".into(), None, epoch, HashMap::new());
        let schema = dnscribe_record::json_schema("dns.use/1").unwrap();
        let (mut made, mut lines) = (String::new(), Vec::new());
        for one in &uses() {
            let record = builder.use_record(one);
            let json = serde_json::to_value(&record).unwrap();
            assert!(jsonschema::is_valid(&schema, &json), "{json:#}");
            made += &(serde_json::to_string(&record).unwrap() + "\n");
            let json = serde_json::to_vec(&record).unwrap();
            assert!(dnscribe_record::text_line(&mut lines, Stream::Uses, &json));
        }
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/uses.ndjson");
        if std::env::var_os("DNSCRIBE_BLESS").is_some() {
            std::fs::write(&file, &made).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap_or_default(), made, "`cargo xtask bless`");
        let lines = String::from_utf8(lines).unwrap();
        for part in [
            "curl[4711]   established  12.2ms > 198.51.100.7:443 shop.example lookup=12.0ms\n",
            " refused   12.2ms > 198.51.100.7:443 shop.example (newest) lookup=12.0ms stale=30.000s count=3\n",
            " unknown        - > [2001:db8::7]:443 udp ambiguous: one of 2 names\n",
        ] {
            assert!(lines.contains(part), "{part}{lines}");
        }
    }
}
