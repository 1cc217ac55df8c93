//! Random names that look like real ones.

use crate::event::{BASE36, HEX, LETTERS, Rng};

/// Parts of site names; no real site is meant.
const STARTS: &[&str] = &[
    "news", "shop", "cloud", "data", "green", "north", "blue", "fast", "micro", "open", "smart",
    "web", "home", "travel", "music", "photo", "video", "game", "sport", "health", "bank", "trust",
    "light", "media", "social", "quick", "river", "stone", "apple", "metro", "pixel", "solar",
    "tech", "star", "market", "book", "chat", "code", "forum", "auto", "euro", "asia", "tele",
    "inter", "global", "ultra",
];
const ENDS: &[&str] = &[
    "ly", "ify", "hub", "base", "works", "zone", "line", "point", "land", "store", "net", "soft",
    "box", "world", "today", "press", "mart", "lab", "link", "stream", "desk", "cast", "path",
    "wave", "house", "bridge", "garden", "field", "forge", "berg", "kraft", "ville", "corp",
    "group", "dienst", "boutique",
];
const SUFFIXES: &[&str] =
    &["com", "com", "com", "net", "org", "de", "fr", "co.uk", "io", "nl", "pl", "it"];
const HOSTS: &[&str] = &[
    "www",
    "www",
    "www",
    "api",
    "cdn",
    "static",
    "img",
    "images",
    "login",
    "mail",
    "m",
    "assets",
    "js",
    "ws",
    "edge",
    "media",
    "api-v2",
    "eu-west-1",
    "fra1",
    "lb-03",
    "video-edge-12",
    "gateway",
    "push",
    "events",
    "collector",
    "telemetry",
    "status",
    "auth",
    "accounts",
    "download",
    "ns1",
    "mx1",
    "tracking",
    "pixel",
    "consent",
    "fonts",
    "maps",
    "search",
    "content-autofill",
    "safebrowsing",
    "update",
    "k8s-prod",
];

/// Sites in order of popularity.
#[derive(Debug)]
pub struct Sites {
    names: Vec<Vec<String>>,
}

impl Sites {
    pub fn new(rng: &mut Rng, count: u64) -> Self {
        let names = (0..count).map(|_| site(rng)).collect();
        Self { names }
    }

    /// Returns a name. The n-th site is chosen about n times less often than the first.
    pub fn name(&self, rng: &mut Rng) -> &str {
        // The inverse of a distribution function that grows with the logarithm.
        #[expect(clippy::cast_precision_loss, reason = "some thousands")]
        let rank = (self.names.len() as f64).powf(rng.unit()) - 1.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "below the length"
        )]
        let site = &self.names[(rank as usize).min(self.names.len() - 1)];
        let (one, other) = (rng.below(site.len() as u64), rng.below(site.len() as u64));
        &site[usize::try_from(one.min(other)).unwrap_or(0)]
    }
}

/// Returns a registrable domain that looks like a company's.
pub fn domain(rng: &mut Rng) -> String {
    let suffix = *rng.pick(SUFFIXES);
    if rng.chance(0.06) {
        // Abbreviations, which look random.
        let length = 3 + rng.below(3);
        return format!("{}.{suffix}", rng.text(LETTERS, length));
    }
    let hyphen = if rng.chance(0.1) { "-" } else { "" };
    let digit = if rng.chance(0.05) { "24" } else { "" };
    format!("{}{hyphen}{}{digit}.{suffix}", rng.pick(STARTS), rng.pick(ENDS))
}

fn site(rng: &mut Rng) -> Vec<String> {
    let zone = domain(rng);
    let mut names: Vec<String> =
        (0..=rng.below(6)).map(|_| format!("{}.{zone}", rng.pick(HOSTS))).collect();
    match rng.below(12) {
        0 => names.push(format!("d{}.cloudfront.net", rng.text(BASE36, 13))),
        1 => names.push(format!("{}-elb-{}.eu-west-1.elb.amazonaws.com", "web", rng.text(HEX, 16))),
        2 => names.push(format!("e{}.dsc{}.akamaiedge.net", rng.below(90_000), "g")),
        3 => names.push(format!("rr{}---sn-{}.googlevideo.com", rng.below(8), rng.text(BASE36, 8))),
        4 => names.push(format!("{}.execute-api.eu-central-1.amazonaws.com", rng.text(BASE36, 10))),
        5 => names.push(format!("scontent-fra{}-1.xx.fbcdn.net", rng.below(9))),
        6 => names.push(format!("ipv4-c{:03}-fra001-ix.1.oca.nflxvideo.net", rng.below(200))),
        7 => names.push(format!("{}.azurefd.net", rng.text(BASE36, 12))),
        _ => {}
    }
    names
}

/// Returns a reverse name below `in-addr.arpa` or `ip6.arpa`.
pub fn reverse(rng: &mut Rng) -> String {
    if rng.chance(0.1) {
        let mut nibbles = rng.text(HEX, 32).into_bytes();
        nibbles[31] = b'2';
        let labels: Vec<String> =
            nibbles.iter().map(|nibble| char::from(*nibble).to_string()).collect();
        return format!("{}.ip6.arpa", labels.join("."));
    }
    let mut octet = || rng.below(256);
    format!("{}.{}.{}.{}.in-addr.arpa", octet(), octet(), octet(), octet())
}

/// Returns joined words, as some malware uses them for domains.
pub fn words(rng: &mut Rng) -> String {
    format!("{}{}{}", rng.pick(STARTS), rng.pick(STARTS), rng.pick(ENDS))
}
