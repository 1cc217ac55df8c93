//! Values of section `kafka`.

use super::{BadValue, Span};
use std::str::FromStr;
use std::time::Duration;

/// A broker: `HOST:PORT`, `HOST`, or either with a protocol (`SSL://HOST:PORT`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker(pub String);

impl FromStr for Broker {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let bad = || BadValue::new(text, "a broker", "HOST:PORT, such as kafka-1:9092");
        let address = text.split_once("://").map_or(text, |(_, address)| address);
        let (host, port) = match address.rsplit_once(':') {
            // An IPv6 address without a port.
            Some(_) if address.ends_with(']') => (address, None),
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        };
        let port_is_good = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
        let host_is_good = !host.is_empty() && !host.contains([' ', '/', ',']);
        if port_is_good && host_is_good { Ok(Self(text.to_owned())) } else { Err(bad()) }
    }
}

/// The topic of a stream: what Kafka takes as a topic's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic(pub String);

impl FromStr for Topic {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let legal = |octet: u8| octet.is_ascii_alphanumeric() || b"._-".contains(&octet);
        if text.is_empty()
            || text.len() > 249
            || !text.bytes().all(legal)
            || matches!(text, "." | "..")
        {
            let remedy = "1 to 249 of the characters a-z A-Z 0-9 . _ -";
            return Err(BadValue::new(text, "a topic name", remedy));
        }
        Ok(Self(text.to_owned()))
    }
}

/// How many partitions a topic has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partitions(pub u16);

impl FromStr for Partitions {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text.parse() {
            Ok(count @ 1..=10_000) => Ok(Self(count)),
            _ => Err(BadValue::new(text, "a number of partitions", "1 to 10000, such as 12")),
        }
    }
}

/// How many brokers keep a copy of each partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replicas(pub u16);

impl FromStr for Replicas {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text.parse() {
            Ok(count @ 1..=1000) => Ok(Self(count)),
            _ => Err(BadValue::new(text, "a replication factor", "1 to 1000, such as 3")),
        }
    }
}

/// How long a topic keeps its records: `7d`, `36h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention(pub Duration);

impl FromStr for Retention {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        const CENTURY: u64 = 36_500 * 24 * 60 * 60;
        let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
        let length = match days.map(|days| days.checked_mul(24 * 60 * 60)) {
            Some(seconds) => seconds.map(Duration::from_secs),
            None => text.parse().ok().map(|Span(length)| length),
        };
        let legal = Duration::from_secs(1)..=Duration::from_secs(CENTURY);
        length
            .filter(|length| legal.contains(length))
            .map(Self)
            .ok_or_else(|| BadValue::new(text, "a retention", "1s to 36500d, such as 36h or 7d"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_brokers() {
        for good in ["kafka:9092", "kafka", "[::1]:9092", "[::1]", "SASL_SSL://k:9093"] {
            assert!(good.parse::<Broker>().is_ok(), "{good}");
        }
        for bad in ["", ":9092", "kafka:", "kafka:0", "kafka:x", "a b:1"] {
            assert!(bad.parse::<Broker>().is_err(), "{bad}");
        }
    }

    #[test]
    fn reads_what_topics_have() {
        let read = |text: &str| text.parse().map(|Retention(length)| length.as_secs());
        assert_eq!((read("7d"), read("36h")), (Ok(604_800), Ok(129_600)));
        for bad in ["", "d", "0d", "7", "-1d", "36501d", "999999999999999999d", "10ms"] {
            assert!(read(bad).unwrap_err().to_string().contains("36h or 7d"), "{bad}");
        }
        assert!("dns/raw".parse::<Topic>().is_err() && "dns.raw".parse::<Topic>().is_ok());
        assert_eq!("24".parse(), Ok(Partitions(24)));
        assert!("0".parse::<Partitions>().is_err() && "0".parse::<Replicas>().is_err());
    }
}
