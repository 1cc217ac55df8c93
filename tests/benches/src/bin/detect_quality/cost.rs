//! Cost of the detectors: CPU time per transaction of ordinary traffic and of a flood of random names, and
//! memory after the flood.

use crate::benign::{Node, Profile};
use crate::cpu::cpu_time;
use crate::event::{A, BASE36, Client, Event, NXDOMAIN, Rng, seconds};
use crate::heap;
use dnscribe_analysis::detect::{
    Amplification, Bypass, CachePoisoning, ConntrackRace, DetectOptions, Detector, Dga, HostFacts,
    Indicators, NoLookup, Spoofing, Tunnel, UnusedAnswers,
};
use dnscribe_dns::registrable_domain;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::time::Duration;

/// Number of names in the flood.
const NAMES: u32 = 1_000_000;

/// A detector, with its name, and the memory of this thread before it was made.
struct Measured<D> {
    name: &'static str,
    detector: D,
    bytes_before: usize,
}

/// Returns a JSON line for each detector.
pub fn lines() -> Vec<Value> {
    let mut ordinary = Vec::new();
    for profile in Profile::ALL {
        Node::new(profile, 99).generate(43_200.0, 43_200.0 + 14_400.0, &mut ordinary);
    }
    ordinary.sort_by_key(Event::ends_at);
    let flood = flood();
    let options = DetectOptions::default();
    macro_rules! measured {
        ($name:literal, $detector:expr) => {
            Measured { name: $name, bytes_before: heap::bytes(), detector: $detector }
                .line(&ordinary, &flood)
        };
    }
    vec![
        measured!("tunnel", Tunnel::default()),
        measured!("dga", Dga::default()),
        measured!("spoofing", Spoofing::default()),
        measured!("cache_poisoning", CachePoisoning::default()),
        measured!("amplification", Amplification::default()),
        measured!("bypass", Bypass::default()),
        measured!("conntrack_race", ConntrackRace::default()),
        measured!("indicator", Indicators::default()),
        measured!("no_lookup", NoLookup::new(&options, &HostFacts::default(), 0)),
        measured!("unused_answers", UnusedAnswers::new(&options, 0)),
    ]
}

/// Returns a flood: a million names in many zones, queried by many clients, 100,000 per second.
fn flood() -> Vec<Event> {
    let mut rng = Rng::new(5);
    (0..NAMES)
        .map(|number| {
            let [_, b, c, d] = u32::try_from(rng.below(1 << 24)).unwrap_or(0).to_be_bytes();
            let client = Client::remote(Ipv4Addr::new(10, b, c, d));
            let zone = rng.text(BASE36, 8);
            let name = format!("{}.{}.com", rng.text(BASE36, 16), &zone[..=(number as usize % 8)]);
            let at = seconds(43_200.0 + f64::from(number) / 1e5);
            Event::new(at, &client, Ipv4Addr::new(10, 0, 0, 53).into(), name, A).rcode(NXDOMAIN)
        })
        .collect()
}

impl<D: Detector> Measured<D> {
    fn line(mut self, ordinary: &[Event], flood: &[Event]) -> Value {
        let usual: Vec<f64> = (0..5).map(|_| self.time(ordinary)).collect();
        let flooded = self.time(flood);
        json!({
            "bench": "detect", "cost": self.name,
            "ns_per_ordinary_transaction": usual.into_iter().fold(f64::INFINITY, f64::min),
            "ns_per_random_name": flooded,
            "bytes_after_a_million_names": heap::bytes().wrapping_sub(self.bytes_before),
        })
    }

    /// Nanoseconds of CPU time per transaction, without making the view.
    fn time(&mut self, events: &[Event]) -> f64 {
        let mut total = Duration::ZERO;
        for events in events.chunks(64) {
            let owned: Vec<OwnedTexts> = events.iter().map(OwnedTexts::new).collect();
            let began = cpu_time();
            for (event, owned) in events.iter().zip(&owned) {
                self.detector.observe(&event.observation(0, &owned.resolver, owned.zone(event)));
            }
            total += cpu_time().saturating_sub(began);
        }
        #[expect(clippy::cast_precision_loss, reason = "a count of events")]
        let count = events.len() as f64;
        total.as_secs_f64() * 1e9 / count
    }
}

/// Texts that a view borrows in addition to its event.
struct OwnedTexts {
    resolver: String,
    /// Position of the registrable domain in the name.
    zone: Option<usize>,
}

impl OwnedTexts {
    fn new(event: &Event) -> Self {
        let zone = registrable_domain(&event.qname).map(|zone| event.qname.len() - zone.len());
        Self { resolver: event.server.to_string(), zone }
    }

    fn zone<'a>(&self, event: &'a Event) -> Option<&'a str> {
        event.qname.get(self.zone?..)
    }
}
