//! Single values of the configuration, the same in files, environment variables and flags.

mod detect;
mod kafka;

pub use detect::{Base, Clock, Days, Moment, Pattern, Share, Times};
pub use kafka::{Broker, Partitions, Replicas, Retention, Topic};

use crate::capture::live::MOST_RINGS;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

/// Why something is not a value of its kind: a sentence that says what to give.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadValue(String);

impl BadValue {
    fn new(given: &str, not: &str, remedy: &str) -> Self {
        Self(format!("\"{given}\" is not {not}: give {remedy}"))
    }
}

/// A length of time: `5s`, `100ms`, `1m30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let bad =
            || BadValue::new(text, "a duration", "a number with its unit, such as 5s or 1m30s");
        let span: jiff::SignedDuration = text.parse().map_err(|_| bad())?;
        Duration::try_from(span).map(Self).map_err(|_| bad())
    }
}

/// A length of time that is longer than none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PositiveSpan(pub Duration);

impl FromStr for PositiveSpan {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text.parse()? {
            Span(Duration::ZERO) => Err(BadValue::new(text, "a positive duration", "at least 1ms")),
            Span(duration) => Ok(Self(duration)),
        }
    }
}

/// A name that identifies something: not empty, no control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(pub String);

impl FromStr for Name {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(BadValue::new(text, "a name", "at least one visible character"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The address of a resolver; an IPv4-mapped one as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(pub IpAddr);

impl FromStr for Address {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let bad =
            |_| BadValue::new(text, "an IP address", "one such as 192.0.2.53 or 2001:db8::53");
        text.parse().map_err(bad).map(|address: IpAddr| Self(address.to_canonical()))
    }
}

/// Where `/metrics` is served: `ADDR:PORT`, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub Option<SocketAddr>);

impl Listen {
    /// 127.0.0.1:9353.
    pub const DEFAULT: Self = Self(Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9353)));
}

impl FromStr for Listen {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        if text == "off" {
            return Ok(Self(None));
        }
        let address = match text.strip_prefix("localhost:") {
            Some(port) => &format!("127.0.0.1:{port}"),
            None => text,
        };
        address.parse().map(|address| Self(Some(address))).map_err(|_| {
            BadValue::new(
                text,
                "an address to listen on",
                "ADDR:PORT, such as 127.0.0.1:9353, or off",
            )
        })
    }
}

/// Reads a number of octets: `65536`, `64KiB`, `16MiB`.
fn octets(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit: u64 = match text.get(digits.len()..)? {
        "" | "B" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        _ => return None,
    };
    digits.trim_end().parse::<u64>().ok()?.checked_mul(unit)
}

/// Threads that read packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads(pub u32);

impl Threads {
    /// As many as take no more than they need: one for four CPUs, four at most. What these read, one more
    /// thread makes into records, and four keep that one busy.
    #[must_use]
    pub fn of_this_host() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self::for_cpus(cpus)
    }

    fn for_cpus(cpus: usize) -> Self {
        Self(u32::try_from(cpus / 4).unwrap_or(u32::MAX).clamp(1, 4))
    }
}

impl FromStr for Threads {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let threads = text.parse().ok().filter(|threads| (1..=MOST_RINGS).contains(threads));
        threads.map(Self).ok_or_else(|| {
            BadValue::new(text, "a number of threads", &format!("1 to {MOST_RINGS}, such as 4"))
        })
    }
}

/// How nice the threads are that read packets: a niceness of `setpriority(2)` that is none of
/// the privileged ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nice(pub u8);

impl Default for Nice {
    /// A tenth of the weight of what is not nice at all.
    fn default() -> Self {
        Self(10)
    }
}

impl FromStr for Nice {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let nice = text.parse().ok().filter(|nice| (0..=19).contains(nice));
        nice.map(Self).ok_or_else(|| BadValue::new(text, "a niceness", "0 to 19, such as 10"))
    }
}

/// The ring's size in octets: a power of two, as the kernel wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingBytes(pub u32);

impl FromStr for RingBytes {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        octets(text)
            .filter(|size| size.is_power_of_two() && (64 << 10..=1 << 30).contains(size))
            .and_then(|size| u32::try_from(size).ok())
            .map(Self)
            .ok_or_else(|| {
                BadValue::new(
                    text,
                    "a ring size",
                    "a power of two from 64KiB to 1GiB, such as 16MiB",
                )
            })
    }
}

/// Octets on disk: at least 1 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskBytes(pub u64);

impl FromStr for DiskBytes {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        octets(text)
            .filter(|size| *size >= 1 << 20)
            .map(Self)
            .ok_or_else(|| BadValue::new(text, "a size on disk", "1MiB or more, such as 10GiB"))
    }
}

/// Octets captured of a packet at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapBytes(pub u32);

impl FromStr for SnapBytes {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        octets(text)
            .filter(|size| (128..=131_072).contains(size))
            .and_then(|size| u32::try_from(size).ok())
            .map(Self)
            .ok_or_else(|| {
                BadValue::new(text, "a snap length", "from 128 to 131072 octets, such as 4096")
            })
    }
}

/// How many of something a table holds: at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub usize);

impl FromStr for Count {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text.replace('_', "").parse() {
            Ok(count) if count > 0 => Ok(Self(count)),
            _ => Err(BadValue::new(text, "a number of entries", "1 or more, such as 100000")),
        }
    }
}

/// A part of a whole that is not nothing, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Millionths(pub u32);

impl FromStr for Millionths {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 100 and a million"
        )]
        match text.parse::<f64>() {
            Ok(share) if (0.0001..=1.0).contains(&share) => Ok(Self((share * 1e6) as u32)),
            _ => Err(BadValue::new(text, "a share", "0.0001 to 1, such as 0.01")),
        }
    }
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch(pub bool);

impl FromStr for Switch {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text {
            "true" => Ok(Self(true)),
            "false" => Ok(Self(false)),
            _ => Err(BadValue::new(text, "true or false", "one of them")),
        }
    }
}

/// The version of the configuration's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version;

impl FromStr for Version {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text {
            "1" => Ok(Self),
            _ => Err(BadValue::new(text, "a version that this dnscribe reads", "1")),
        }
    }
}

/// Makes an enum that is written as one of a few words.
macro_rules! words {
    ($(#[$about:meta])* $name:ident: $what:literal { $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant),+ }

        impl $name {
            /// The word for it.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl FromStr for $name {
            type Err = BadValue;

            fn from_str(text: &str) -> Result<Self, BadValue> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(BadValue::new(text, $what, concat!("one of", $(" ", $word),+))),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

words! {
    /// Where the programs are attached.
    Hook: "a hook" {
        /// The first that works: cgroup, then socket.
        Auto = "auto",
        /// `cgroup_skb` at a cgroup2 (Linux 5.8).
        Cgroup = "cgroup",
        /// `AF_PACKET` on interfaces.
        Socket = "socket",
    }
}

words! {
    /// What happens when more comes than can be handled.
    SamplingMode: "a mode of sampling" {
        /// Whole transactions are left out.
        Auto = "auto",
        /// The ring fills, and what comes then is lost.
        Off = "off",
    }
}

words! {
    /// Whether privileges are given up once capture has begun.
    Drop: "a way to drop privileges" {
        /// All that can be; what cannot is said.
        Auto = "auto",
        /// All; what cannot be given up ends the run.
        Strict = "strict",
        /// None.
        Off = "off",
    }
}

words! {
    /// Whether the transactions of one lookup at a resolver are joined.
    Join: "a way to join" {
        /// Wherever there is a resolver.
        Auto = "auto",
        /// Not at all.
        Off = "off",
    }
}

words! {
    /// How stdout looks.
    Output: "a look" {
        /// Text on a terminal, else JSON.
        Auto = "auto",
        /// One aligned readable line per record.
        Text = "text",
        /// One JSON object per record.
        Json = "json",
    }
}

words! {
    /// How log lines look.
    LogFormat: "a log format" {
        /// For people.
        Text = "text",
        /// For machines.
        Json = "json",
    }
}

words! {
    /// From which importance on log lines are written.
    LogLevel: "a log level" {
        /// Failures only.
        Error = "error",
        /// And what an operator should look at.
        Warn = "warn",
        /// And what happens.
        Info = "info",
        /// And how.
        Debug = "debug",
        /// And every step.
        Trace = "trace",
    }
}

mod file;
mod privacy;
pub use file::{Compress, RotateBytes, RotateEvery};
pub use privacy::{ContainerId, Hiding, Masking, Qtype};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations() {
        for (text, millis) in
            [("5s", 5000), ("100ms", 100), ("1m30s", 90_000), ("0s", 0), ("2h", 7_200_000)]
        {
            assert_eq!(text.parse(), Ok(Span(Duration::from_millis(millis))), "{text}");
        }
        for bad in ["5", "", "-5s", "5 parsecs", "s"] {
            let why = bad.parse::<Span>().unwrap_err().to_string();
            assert!(why.contains("5s"), "{why}");
        }
        assert!("0s".parse::<PositiveSpan>().is_err());
    }

    #[test]
    fn reads_sizes() {
        assert_eq!("16MiB".parse(), Ok(RingBytes(16 << 20)));
        assert_eq!("65536".parse(), Ok(RingBytes(65_536)));
        assert!("100000".parse::<RingBytes>().is_err() && "2GiB".parse::<RingBytes>().is_err());
        assert!("99999999999GiB".parse::<RingBytes>().is_err());
        assert_eq!("4096".parse(), Ok(SnapBytes(4096)));
        assert!("12".parse::<SnapBytes>().is_err() && "x".parse::<SnapBytes>().is_err());
    }

    #[test]
    fn reads_addresses() {
        assert_eq!("off".parse(), Ok(Listen(None)));
        assert_eq!("localhost:9353".parse(), Ok(Listen::DEFAULT));
        assert!("[::]:1".parse::<Listen>().is_ok() && "9353".parse::<Listen>().is_err());
    }

    #[test]
    fn reads_words() {
        assert_eq!("socket".parse(), Ok(Hook::Socket));
        let why = "kprobe".parse::<Hook>().unwrap_err().to_string();
        assert_eq!(why, "\"kprobe\" is not a hook: give one of auto cgroup socket");
    }
}
