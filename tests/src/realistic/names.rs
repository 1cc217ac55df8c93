//! Names as resolvers are asked for them: by rank, the same one for the same rank.

use crate::dice::Dice;
use std::fmt::Write as _;

/// What hosts, zones and services are called.
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

/// Names of one zone, about: so many ranks share a registrable domain.
const RANKS_PER_ZONE: u32 = 6;

/// The registrable domain in which the name of this rank is, if it is one of the public name space.
#[must_use]
pub fn zone(rank: u32) -> String {
    let number = rank / RANKS_PER_ZONE;
    let mut dice = Dice::new(u64::from(number) ^ 0x5a6f_6e65);
    let (one, other) = (word(&mut dice), word(&mut dice));
    let suffix = dice.weighted(&SUFFIXES);
    match number {
        0..2000 => format!("{one}{other}{number}.{suffix}"),
        _ => format!("{one}-{other}{number}.{suffix}"),
    }
}

/// The host name of this rank.
#[must_use]
pub fn host(rank: u32) -> String {
    let mut dice = Dice::new(u64::from(rank) ^ 0x686f_7374);
    let zone = zone(rank);
    match dice.below(20) {
        0..5 => format!("www.{zone}"),
        5..7 => zone,
        7..12 => format!("{}.{zone}", word(&mut dice)),
        12..15 => format!("{}-{}.{}.{zone}", word(&mut dice), dice.below(100), word(&mut dice)),
        15 => format!("e{}.dsc{}.{zone}", dice.below(100_000), letters(&mut dice, 1)),
        16 => format!("d{}.{}.{zone}", letters(&mut dice, 13), word(&mut dice)),
        17 => {
            let (high, low) = (dice.below(256), dice.below(256));
            format!("ec2-3-12-{high}-{low}.eu-west-1.compute.{zone}")
        }
        18 => format!("{}.{}.svc.cluster.local", word(&mut dice), word(&mut dice)),
        _ => format!("{}.{}.prod.{}.{zone}", letters(&mut dice, 8), dice.below(9), word(&mut dice)),
    }
}

/// A name below the zone of this rank that does not exist: one of a search list, a mistyped one, or a
/// random one.
#[must_use]
pub fn missing(rank: u32, dice: &mut Dice) -> String {
    let zone = zone(rank);
    match dice.below(10) {
        0..5 => format!("{}.corp.{zone}", host(rank)),
        5..8 => format!("{}{}.{zone}", word(dice), dice.below(1000)),
        _ => format!("{}.{zone}", letters(dice, 12)),
    }
}

/// The name by which an address is asked for backwards (RFC 1035, 3.5).
#[must_use]
pub fn reverse(rank: u32) -> String {
    let [one, two, three, four] = rank.wrapping_mul(0x9e37_79b1).to_be_bytes();
    format!("{four}.{three}.{two}.{one}.in-addr.arpa")
}

/// A name with letters of either case, as some resolvers send it.
#[must_use]
pub fn mixed(name: &str, dice: &mut Dice) -> String {
    let upper = |octet: char| if dice.chance(0.5) { octet.to_ascii_uppercase() } else { octet };
    name.chars().map(upper).collect()
}

/// Where an alias of a name leads to, at a network that delivers content.
#[must_use]
pub fn alias(name: &str, hop: u64, dice: &mut Dice) -> String {
    let mut alias = String::new();
    // Writing to a string does not fail.
    let _ = match hop {
        0 if name.len() < 60 => write!(alias, "{name}.edgekey{}.net", dice.below(4)),
        _ => write!(alias, "e{}.dscx.edge{}.net", dice.below(100_000), dice.below(4)),
    };
    alias
}

fn word(dice: &mut Dice) -> &'static str {
    WORDS[usize::try_from(dice.below(24)).unwrap_or(0)]
}

fn letters(dice: &mut Dice, count: u32) -> String {
    let letter = |dice: &mut Dice| char::from(b'a' + u8::try_from(dice.below(26)).unwrap_or(0));
    (0..count).map(|_| letter(dice)).collect()
}
