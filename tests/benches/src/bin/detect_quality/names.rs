//! Names as people give them, by chance.

use crate::event::{BASE36, Chance, HEX, LETTERS};

/// Parts of names of sites. None is meant.
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

/// The sites of a world: the more popular come first.
#[derive(Debug)]
pub struct Sites {
    names: Vec<Vec<String>>,
}

impl Sites {
    pub fn new(chance: &mut Chance, count: u64) -> Self {
        let names = (0..count).map(|_| site(chance)).collect();
        Self { names }
    }

    /// A name, popular ones more often: the n-th site about n times less than the first.
    pub fn name(&self, chance: &mut Chance) -> &str {
        // The inverse of a distribution function that grows with the logarithm.
        #[expect(clippy::cast_precision_loss, reason = "some thousands")]
        let rank = (self.names.len() as f64).powf(chance.unit()) - 1.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "below the length"
        )]
        let site = &self.names[(rank as usize).min(self.names.len() - 1)];
        let (one, other) = (chance.below(site.len() as u64), chance.below(site.len() as u64));
        &site[usize::try_from(one.min(other)).unwrap_or(0)]
    }
}

/// A registrable domain as companies choose them.
pub fn domain(chance: &mut Chance) -> String {
    let suffix = *chance.pick(SUFFIXES);
    if chance.chance(0.06) {
        // Abbreviations, which sound like nothing.
        let length = 3 + chance.below(3);
        return format!("{}.{suffix}", chance.text(LETTERS, length));
    }
    let hyphen = if chance.chance(0.1) { "-" } else { "" };
    let digit = if chance.chance(0.05) { "24" } else { "" };
    format!("{}{hyphen}{}{digit}.{suffix}", chance.pick(STARTS), chance.pick(ENDS))
}

fn site(chance: &mut Chance) -> Vec<String> {
    let zone = domain(chance);
    let mut names: Vec<String> =
        (0..=chance.below(6)).map(|_| format!("{}.{zone}", chance.pick(HOSTS))).collect();
    match chance.below(12) {
        0 => names.push(format!("d{}.cloudfront.net", chance.text(BASE36, 13))),
        1 => names.push(format!(
            "{}-elb-{}.eu-west-1.elb.amazonaws.com",
            "web",
            chance.text(HEX, 16)
        )),
        2 => names.push(format!("e{}.dsc{}.akamaiedge.net", chance.below(90_000), "g")),
        3 => names.push(format!(
            "rr{}---sn-{}.googlevideo.com",
            chance.below(8),
            chance.text(BASE36, 8)
        )),
        4 => names
            .push(format!("{}.execute-api.eu-central-1.amazonaws.com", chance.text(BASE36, 10))),
        5 => names.push(format!("scontent-fra{}-1.xx.fbcdn.net", chance.below(9))),
        6 => names.push(format!("ipv4-c{:03}-fra001-ix.1.oca.nflxvideo.net", chance.below(200))),
        7 => names.push(format!("{}.azurefd.net", chance.text(BASE36, 12))),
        _ => {}
    }
    names
}

/// An address below `in-addr.arpa`, or nibbles below `ip6.arpa`.
pub fn reverse(chance: &mut Chance) -> String {
    if chance.chance(0.1) {
        let mut nibbles = chance.text(HEX, 32).into_bytes();
        nibbles[31] = b'2';
        let labels: Vec<String> =
            nibbles.iter().map(|nibble| char::from(*nibble).to_string()).collect();
        return format!("{}.ip6.arpa", labels.join("."));
    }
    let mut octet = || chance.below(256);
    format!("{}.{}.{}.{}.in-addr.arpa", octet(), octet(), octet(), octet())
}

/// Some words, as malware makes domains of them too.
pub fn words(chance: &mut Chance) -> String {
    format!("{}{}{}", chance.pick(STARTS), chance.pick(STARTS), chance.pick(ENDS))
}
