//! Realistic domain names: each rank always gives the same name.

use crate::rng::Rng;
use std::fmt::Write as _;

/// Labels of hosts, zones and services.
const WORDS: [&str; 24] = [
    "api",
    "app",
    "assets",
    "auth",
    "blue",
    "cdn",
    "cloud",
    "connect",
    "data",
    "edge",
    "fonts",
    "graph",
    "images",
    "login",
    "mail",
    "media",
    "metrics",
    "north",
    "push",
    "static",
    "store",
    "sync",
    "telemetry",
    "video",
];
/// Suffixes with their weights.
const SUFFIXES: [(u64, &str); 10] = [
    (50, "com"),
    (14, "net"),
    (10, "org"),
    (7, "io"),
    (5, "de"),
    (4, "co.uk"),
    (3, "fr"),
    (3, "com.br"),
    (2, "co.jp"),
    (2, "gov.in"),
];

/// Approximate number of ranks that share a registrable domain.
const RANKS_PER_ZONE: u32 = 6;

/// Returns the registrable domain of a rank's name, if it is a public name.
#[must_use]
pub fn zone(rank: u32) -> String {
    let number = rank / RANKS_PER_ZONE;
    let mut rng = Rng::new(u64::from(number) ^ 0x5a6f_6e65);
    let (one, other) = (word(&mut rng), word(&mut rng));
    let suffix = rng.weighted(&SUFFIXES);
    match number {
        0..2000 => format!("{one}{other}{number}.{suffix}"),
        _ => format!("{one}-{other}{number}.{suffix}"),
    }
}

/// Returns the host name of a rank.
#[must_use]
pub fn host(rank: u32) -> String {
    let mut rng = Rng::new(u64::from(rank) ^ 0x686f_7374);
    let zone = zone(rank);
    match rng.below(20) {
        0..5 => format!("www.{zone}"),
        5..7 => zone,
        7..12 => format!("{}.{zone}", word(&mut rng)),
        12..15 => format!("{}-{}.{}.{zone}", word(&mut rng), rng.below(100), word(&mut rng)),
        15 => format!("e{}.dsc{}.{zone}", rng.below(100_000), letters(&mut rng, 1)),
        16 => format!("d{}.{}.{zone}", letters(&mut rng, 13), word(&mut rng)),
        17 => {
            let (high, low) = (rng.below(256), rng.below(256));
            format!("ec2-3-12-{high}-{low}.eu-west-1.compute.{zone}")
        }
        18 => format!("{}.{}.svc.cluster.local", word(&mut rng), word(&mut rng)),
        _ => format!("{}.{}.prod.{}.{zone}", letters(&mut rng, 8), rng.below(9), word(&mut rng)),
    }
}

/// Returns a name below a rank's zone that does not exist: from a search list, mistyped, or random.
#[must_use]
pub fn missing(rank: u32, rng: &mut Rng) -> String {
    let zone = zone(rank);
    match rng.below(10) {
        0..5 => format!("{}.corp.{zone}", host(rank)),
        5..8 => format!("{}{}.{zone}", word(rng), rng.below(1000)),
        _ => format!("{}.{zone}", letters(rng, 12)),
    }
}

/// Returns the reverse lookup name of a rank's address (RFC 1035, section 3.5).
#[must_use]
pub fn reverse(rank: u32) -> String {
    let [one, two, three, four] = rank.wrapping_mul(0x9e37_79b1).to_be_bytes();
    format!("{four}.{three}.{two}.{one}.in-addr.arpa")
}

/// Returns the name in mixed case, as some resolvers send it.
#[must_use]
pub fn mixed(name: &str, rng: &mut Rng) -> String {
    let upper = |octet: char| if rng.chance(0.5) { octet.to_ascii_uppercase() } else { octet };
    name.chars().map(upper).collect()
}

/// Returns the target of an alias, in a content delivery network.
#[must_use]
pub fn alias(name: &str, hop: u64, rng: &mut Rng) -> String {
    let mut alias = String::new();
    // Writing to a string cannot fail.
    let _ = match hop {
        0 if name.len() < 60 => write!(alias, "{name}.edgekey{}.net", rng.below(4)),
        _ => write!(alias, "e{}.dscx.edge{}.net", rng.below(100_000), rng.below(4)),
    };
    alias
}

fn word(rng: &mut Rng) -> &'static str {
    WORDS[usize::try_from(rng.below(24)).unwrap_or(0)]
}

fn letters(rng: &mut Rng, count: u32) -> String {
    let letter = |rng: &mut Rng| char::from(b'a' + u8::try_from(rng.below(26)).unwrap_or(0));
    (0..count).map(|_| letter(rng)).collect()
}
