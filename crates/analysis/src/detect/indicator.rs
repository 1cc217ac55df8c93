//! Rule `indicator`: a process or client asks for names, or gets addresses, that are on the operator's lists.

use super::attribution::{Attribution, EvidenceSample, is_echo, is_multicast};
use super::finding::{Detector, Figure, Finding, Rule, Severity};
use super::rolling::Rolling;
use super::table::AssociativeTable;
use crate::view::TransactionView;
use dnscribe_record::IntelMatchFields;
use dnscribe_record::number::to_f64;
use dnscribe_record::time::Timestamp;
use std::time::Duration;

const MAX_CLIENTS: usize = 1024;
/// Half of the look-back.
const SPAN: Duration = Duration::from_mins(5);
/// Confidence from which a match is critical: high, in the scale of STIX 2.1, appendix A.
const HIGH_CONFIDENCE: u8 = 70;
/// Indicators that the summary names.
const MAX_NAMED: usize = 3;

/// Finds who uses names and addresses that are on lists.
#[derive(Debug, Default)]
pub struct Indicators {
    clients: AssociativeTable<Client, MAX_CLIENTS>,
}

#[derive(Debug)]
struct Client {
    attribution: Attribution,
    counts: Rolling<Counts>,
    /// The newest indicators, each once.
    named: Vec<IntelMatchFields>,
    sample: EvidenceSample,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    transactions: u64,
    confident: u64,
}

impl Client {
    fn add(&mut self, observation: &TransactionView<'_>) {
        self.counts.roll(observation.ts, SPAN);
        let is_confident = |one: &IntelMatchFields| one.confidence >= Some(HIGH_CONFIDENCE);
        self.counts.current.transactions += 1;
        self.counts.current.confident += u64::from(observation.indicators.iter().any(is_confident));
        for one in observation.indicators {
            if self.named.iter().all(|other| other.indicator != one.indicator) {
                self.named.truncate(MAX_NAMED - 1);
                self.named.insert(0, one.clone());
            }
        }
        self.sample.record(observation);
    }

    fn finding(&mut self, now: Timestamp) -> Option<Finding> {
        self.counts.roll(now, SPAN);
        let transactions = self.counts.sum(|counts| counts.transactions);
        if transactions == 0 {
            return None;
        }
        let confident = self.counts.sum(|counts| counts.confident);
        let named: Vec<String> = self.named.iter().map(describe).collect();
        let summary = format!(
            "{} asked {transactions} times within 10 min for what is on a list of indicators: {}",
            self.attribution,
            named.join(", ")
        );
        let figures = vec![
            Figure::new("matching_queries", to_f64(transactions), Some(1.0)),
            Figure::new("of_high_confidence", to_f64(confident), None),
        ];
        let level = Severity::at_least_warning(confident > 0);
        Some(self.sample.finding(
            Rule::Indicator,
            self.attribution.entity(),
            level,
            (summary, figures),
        ))
    }
}

/// Returns an indicator with what its list says: `bad.example (c2, urlhaus, confidence 90)`.
fn describe(one: &IntelMatchFields) -> String {
    let confidence = one.confidence.map(|confidence| format!("confidence {confidence}"));
    let details: Vec<String> =
        [one.category.clone(), one.source.clone(), confidence].into_iter().flatten().collect();
    format!("{} ({})", one.indicator, details.join(", "))
}

impl Detector for Indicators {
    fn rules(&self) -> &'static [Rule] {
        &[Rule::Indicator]
    }

    fn observe(&mut self, observation: &TransactionView<'_>) {
        if observation.indicators.is_empty() || is_echo(observation) || is_multicast(observation) {
            return;
        }
        let key = Attribution::hash(observation);
        let client = self.clients.entry(key, observation.ts, || Client {
            attribution: Attribution::new(observation),
            counts: Rolling::default(),
            named: Vec::new(),
            sample: EvidenceSample::default(),
        });
        client.add(observation);
    }

    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(Finding)) {
        self.clients.evaluate(now, SPAN * 3, |client| client.finding(now), each);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::helpers::{findings, query};
    use crate::heap;

    fn one(indicator: &str, confidence: u8) -> IntelMatchFields {
        IntelMatchFields {
            indicator: indicator.to_owned(),
            kind: "domain".to_owned(),
            category: Some("c2".to_owned()),
            source: Some("urlhaus".to_owned()),
            confidence: Some(confidence),
        }
    }

    fn observe(indicators: &mut Indicators, seconds: f64, found: &[IntelMatchFields]) {
        query(seconds, "www.bad.example", |query| {
            indicators.observe(&TransactionView { indicators: found, ..*query });
        });
    }

    #[test]
    fn names_who_asked_and_what_is_on_which_list() {
        let mut indicators = Indicators::default();
        observe(&mut indicators, 0.0, &[]);
        assert_eq!(findings(&mut indicators, 10.0), []);
        observe(&mut indicators, 11.0, &[one("bad.example", 69)]);
        let found = findings(&mut indicators, 20.0);
        assert_eq!((found.len(), found[0].level), (1, Severity::Warning));
        let listed = "1 times within 10 min for what is on a list of indicators: bad.example (c2, urlhaus, confidence 69)";
        assert!(found[0].summary.ends_with(listed), "{}", found[0].summary);
        assert_eq!(found[0].evidence.qnames, ["www.bad.example".into()]);
        observe(&mut indicators, 21.0, &[one("worse.example", 70)]);
        assert_eq!(findings(&mut indicators, 30.0)[0].level, Severity::Critical);
        assert_eq!(findings(&mut indicators, 2000.0), []);
    }

    #[test]
    fn memory_is_bounded() {
        let (_indicators, bytes) = heap::measure(|| {
            let mut indicators = Indicators::default();
            for number in 0..5_000_u32 {
                let found = [one(&format!("{number}{}", ".a".repeat(120)), 1)];
                query(f64::from(number) / 100.0, &"a.".repeat(120), |query| {
                    let address = std::net::Ipv4Addr::from_bits(0x0A00_0000 + number);
                    let client = (address, 53_000).into();
                    indicators.observe(&TransactionView {
                        indicators: &found,
                        client,
                        process: None,
                        ..*query
                    });
                });
            }
            indicators
        });
        assert!(bytes <= 8 << 20, "{bytes}");
    }
}
