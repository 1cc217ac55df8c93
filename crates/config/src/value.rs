//! Values of the configuration: each is read from the same text in files, environment variables and
//! flags.

mod kafka;

pub use kafka::{Broker, Partitions, Replicas, Retention, Topic, TopicPrefix, TopicTemplate};

use dnscribe_delivery::OutputFormat;
use dnscribe_record::named_enum;
use std::io::IsTerminal as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

/// A text that is not a value of its kind: what it is not, and what to give instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadValue(String);

impl BadValue {
    /// Creates the error of `given`, which is `not` what was expected.
    #[must_use]
    pub fn new(given: &str, not: &str, remedy: &str) -> Self {
        Self(format!("\"{given}\" is not {not}: give {remedy}"))
    }

    /// Creates an error that does not repeat what was given, which may contain a password.
    #[must_use]
    pub fn unquoted(problem: &str) -> Self {
        Self(problem.to_owned())
    }
}

/// The longest duration: 100 years. A time to which some of them are added is still a time.
const LONGEST: Duration = Duration::from_hours(36_500 * 24);

/// Reads a duration such as `5s`, `100ms`, `1m30s` or `7d`, up to [`LONGEST`]. A day has 24 hours.
fn read_duration(text: &str) -> Option<Duration> {
    let days =
        text.split_once('d').and_then(|(days, rest)| Some((days.parse::<u32>().ok()?, rest)));
    let (days, rest) = days.unwrap_or((0, text));
    let rest = if rest.is_empty() && !text.is_empty() {
        Duration::ZERO
    } else {
        rest.parse::<jiff::SignedDuration>().ok()?.try_into().ok()?
    };
    let length = Duration::from_secs(u64::from(days) * 86_400) + rest;
    (length <= LONGEST).then_some(length)
}

/// Writes a duration as the configuration spells it.
#[must_use]
pub fn show_duration(duration: &Duration) -> String {
    jiff::SignedDuration::try_from(*duration)
        .map_or_else(|_| String::new(), |span| format!("{span:#}"))
}

value! {
    /// A duration: `5s`, `100ms`, `1m30s`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    Span(Duration): "a duration", "a number with its unit, such as 5s or 1m30s, at most 36500d"; read_duration; show_duration
}

/// A duration of at least a millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PositiveSpan(pub Duration);

impl FromStr for PositiveSpan {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let Span(duration) = text.parse()?;
        if duration < Duration::from_millis(1) {
            return Err(BadValue::new(text, "a positive duration", "at least 1ms"));
        }
        Ok(Self(duration))
    }
}

impl From<Duration> for PositiveSpan {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl std::fmt::Display for PositiveSpan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Span(self.0).fmt(f)
    }
}

value! {
    /// A name: not empty, no control characters.
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    Name(String): "a name", "at least one visible character, and no tab, newline or other control character";
    |text| (!text.trim().is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

value! {
    /// The name of a label.
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    LabelName(String): "the name of a label", "1 to 63 of the characters a-z 0-9 _, a letter first";
    |text| {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let begins = text.starts_with(|first: char| first.is_ascii_lowercase());
        (begins && text.len() <= 63 && text.bytes().all(legal)).then(|| text.to_owned())
    }
}

value! {
    /// The value of a label.
    #[derive(Clone, Debug, PartialEq, Eq)]
    LabelValue(String): "the value of a label", "1 to 128 bytes without control characters";
    |text| {
        let legal = (1..=128).contains(&text.len()) && !text.chars().any(char::is_control);
        legal.then(|| text.to_owned())
    }
}

value! {
    /// The address of a resolver. An IPv4-mapped IPv6 address becomes IPv4.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    Address(IpAddr): "an IP address", "one such as 192.0.2.53 or 2001:db8::53";
    |text| text.parse().ok().map(|address: IpAddr| address.to_canonical())
}

value! {
    /// The address at which `/metrics` is served: `ADDR:PORT`, or `off`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    Listen(Option<SocketAddr>): "an address to listen on", "ADDR:PORT, such as 127.0.0.1:9353, or off";
    |text| match (text, text.strip_prefix("localhost:")) {
        ("off", _) => Some(None),
        (_, Some(port)) => format!("127.0.0.1:{port}").parse().ok().map(Some),
        (_, None) => text.parse().ok().map(Some),
    };
    |address| address.map_or_else(|| "off".to_owned(), |address| address.to_string())
}

impl Listen {
    /// 127.0.0.1:9353.
    pub const DEFAULT: Self = Self(Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9353)));
}

/// The largest size: 1,000,000 GiB. The sum of some of them is still a number.
const MAX_BYTES: u64 = 1_000_000 << 30;

/// Reads a number of bytes, up to 1,000,000 GiB: `65536`, `64KiB`, `16MiB`.
#[must_use]
pub fn read_bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit: u64 = match text.get(digits.len()..)? {
        "" | "B" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        _ => return None,
    };
    let bytes = digits.trim_end().parse::<u64>().ok()?.checked_mul(unit)?;
    (bytes <= MAX_BYTES).then_some(bytes)
}

/// Writes a number of bytes with the largest unit that divides it.
#[must_use]
pub fn show_bytes(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

value! {
    /// A size on disk in bytes: at least 1 MiB.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    DiskBytes(u64): "a size", "1MiB to 1000000GiB, such as 10GiB";
    |text| read_bytes(text).filter(|size| *size >= 1 << 20);
    |size| show_bytes(*size)
}

value! {
    /// Size at which a file is rotated, in bytes: at least 64 KiB.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    RotateBytes(u64): "a file size", "64KiB to 1000000GiB, such as 100MiB";
    |text| read_bytes(text).filter(|size| *size >= 64 << 10)
}

value! {
    /// Age at which a file is rotated: at least a second.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    RotateEvery(Duration): "a file's age", "1s to 36500d, such as 24h";
    |text| read_duration(text).filter(|age| *age >= Duration::from_secs(1))
}

value! {
    /// Base of links: not empty, no spaces or control characters, no slash at the end.
    #[derive(Clone, Debug, PartialEq, Eq)]
    BaseUrl(String): "a base for links", "one such as https://wiki.example.com/runbooks";
    |text| {
        let base = text.trim_end_matches('/');
        let is_legal = |letter: char| !letter.is_control() && letter != ' ';
        (!base.is_empty() && base.chars().all(is_legal)).then(|| base.to_owned())
    };
    ToString::to_string
}

value! {
    /// A number of entries: at least one. Products with the size of an entry are still numbers.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    Count(usize): "a number of entries", "1 to 1000000000, such as 100000";
    |text| text.replace('_', "").parse().ok().filter(|count| (1..=1_000_000_000).contains(count));
    ToString::to_string
}

value! {
    /// Yes or no.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    Switch(bool): "true or false", "one of them"; |text| text.parse().ok(); ToString::to_string
}

value! {
    /// The version of the configuration's format.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    Version(u8): "a version that this dnscribe reads", "1";
    |text| (text == "1").then_some(1); ToString::to_string
}

named_enum! {
    /// The format of what a command says on stdout.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Output: "an output format", "give one of" {
        /// Text on a terminal, else JSON.
        Auto = "auto",
        /// Text.
        Text = "text",
        /// JSON.
        Json = "json",
    }
}

named_enum! {
    /// The format of records on stdout.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum RecordOutput: "an output format", "give one of" {
        /// Text on a terminal, else JSON.
        Auto = "auto",
        /// One aligned readable line per record.
        Text = "text",
        /// One JSON object per record.
        Json = "json",
        /// One JSON object of the Elastic Common Schema per record.
        Ecs = "ecs",
    }
}

impl RecordOutput {
    /// Returns the format of records on the stdout of this process.
    #[must_use]
    pub fn stdout_format(self) -> OutputFormat {
        match self {
            Self::Text => OutputFormat::Text,
            Self::Auto if std::io::stdout().is_terminal() => OutputFormat::Text,
            Self::Json | Self::Auto => OutputFormat::Json,
            Self::Ecs => OutputFormat::Ecs,
        }
    }
}

named_enum! {
    /// The format of records in files.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum FileFormat: "a format of files", "give one of" {
        /// One JSON object per record.
        Json = "json",
        /// One JSON object of the Elastic Common Schema per record.
        Ecs = "ecs",
    }
}

impl From<FileFormat> for OutputFormat {
    fn from(format: FileFormat) -> Self {
        match format {
            FileFormat::Json => Self::Json,
            FileFormat::Ecs => Self::Ecs,
        }
    }
}

named_enum! {
    /// The format of log lines.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum LogFormat: "a log format", "give one of" {
        /// For people.
        Text = "text",
        /// For machines.
        Json = "json",
    }
}

named_enum! {
    /// The least severe log lines that are written.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum LogLevel: "a log level", "give one of" {
        /// Failures.
        Error = "error",
        /// Problems that an operator should solve.
        Warn = "warn",
        /// Events of normal operation.
        Info = "info",
        /// Details.
        Debug = "debug",
        /// Every step.
        Trace = "trace",
    }
}

named_enum! {
    /// Compression of rotated files.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Compress: "a compression", "give one of" {
        /// None.
        None = "none",
        /// zstd (RFC 8878).
        Zstd = "zstd",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations() {
        for (text, millis) in [
            ("5s", 5000),
            ("100ms", 100),
            ("1m30s", 90_000),
            ("0s", 0),
            ("2h", 7_200_000),
            ("7d", 604_800_000),
            ("1d2h", 93_600_000),
            ("36500d", 3_153_600_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_millis(millis))), "{text}");
        }
        for bad in [
            "5",
            "",
            "-5s",
            "5 parsecs",
            "s",
            "d",
            "-1d",
            "1d-1h",
            "1.5d",
            "36500d1ms",
            "100000000000h",
        ] {
            let why = bad.parse::<Span>().unwrap_err().to_string();
            assert!(why.contains("5s"), "{why}");
        }
        for short in ["0s", "1ns", "999us"] {
            let why = short.parse::<PositiveSpan>().unwrap_err().to_string();
            assert!(why.contains("at least 1ms"), "{why}");
        }
        assert!("1ms".parse::<PositiveSpan>().is_ok());
    }

    #[test]
    fn reads_sizes() {
        assert_eq!("16MiB".parse(), Ok(DiskBytes(16 << 20)));
        assert_eq!("1048576".parse(), Ok(DiskBytes(1 << 20)));
        assert!("100000".parse::<DiskBytes>().is_err() && "x".parse::<DiskBytes>().is_err());
        for bad in ["99999999999GiB", "1000001GiB", "18446744073709551615"] {
            assert!(bad.parse::<DiskBytes>().is_err() && bad.parse::<RotateBytes>().is_err());
            assert!(bad.parse::<Count>().is_err());
        }
        for (size, shown) in [(16 << 20, "16MiB"), (3 << 10, "3KiB"), (1000, "1000"), (0, "0")] {
            assert_eq!(show_bytes(size), shown);
        }
    }

    #[test]
    fn reads_addresses() {
        assert_eq!("off".parse(), Ok(Listen(None)));
        assert_eq!("localhost:9353".parse(), Ok(Listen::DEFAULT));
        assert!("[::]:1".parse::<Listen>().is_ok() && "9353".parse::<Listen>().is_err());
    }

    #[test]
    fn reads_words() {
        assert_eq!("json".parse(), Ok(Output::Json));
        let why = "xml".parse::<Output>().unwrap_err().to_string();
        assert_eq!(why, "\"xml\" is not an output format: give one of auto text json");
    }

    #[test]
    fn reads_rotation() {
        assert_eq!("100MiB".parse(), Ok(RotateBytes(100 << 20)));
        assert_eq!("24h".parse(), Ok(RotateEvery(Duration::from_hours(24))));
        assert_eq!("zstd".parse(), Ok(Compress::Zstd));
        for bad in ["100", "", "100 MB", "-1"] {
            assert!(bad.parse::<RotateBytes>().unwrap_err().to_string().contains("100MiB"));
        }
        for bad in ["100ms", "0s", "1", "daily"] {
            assert!(bad.parse::<RotateEvery>().unwrap_err().to_string().contains("24h"));
        }
        assert!("gzip".parse::<Compress>().unwrap_err().to_string().contains("none zstd"));
    }
}
