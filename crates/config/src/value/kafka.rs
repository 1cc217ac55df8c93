//! Values of section `kafka`.

use super::{BadValue, read_duration};
use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

/// A broker: `HOST:PORT`, `HOST`, or either with a protocol (`SSL://HOST:PORT`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker(pub String);

impl FromStr for Broker {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        // In a list of a flag, a space may follow the comma.
        let text = text.trim();
        let address = text.split_once("://").map_or(text, |(_, address)| address);
        if address.contains('@') {
            // It may be a password.
            let problem = "a broker with a name in it: give HOST:PORT, such as kafka-1:9092, and the options sasl.username \
                           and sasl.password";
            return Err(BadValue::unquoted(problem));
        }
        let (host, port) = match address.rsplit_once(':') {
            // IPv6 address without a port.
            Some(_) if address.ends_with(']') => (address, None),
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        };
        let port_is_good = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
        let is_bracketed = host.starts_with('[') && host.ends_with(']');
        let host_is_good = !host.is_empty()
            && !host.contains([' ', '/', ','])
            && (is_bracketed || !host.contains([':', '[', ']']));
        if port_is_good && host_is_good {
            return Ok(Self(text.to_owned()));
        }
        Err(BadValue::new(
            text,
            "a broker",
            "HOST:PORT, such as kafka-1:9092 or [2001:db8::1]:9092",
        ))
    }
}

value! {
    /// The name of a topic, as Kafka accepts it.
    #[derive(Clone, Debug, PartialEq, Eq)]
    Topic(String): "a topic name", "1 to 249 of the characters a-z A-Z 0-9 . _ -";
    |text| {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_legal = (1..=249).contains(&text.len()) && text.bytes().all(legal);
        (is_legal && !matches!(text, "." | "..")).then(|| text.to_owned())
    }
}

/// The name of a topic, in which `{NAME}` stands for the region or the value of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicTemplate(pub String);

impl TopicTemplate {
    /// Returns the topic's name. `placeholders` are the values of labels and `region`.
    ///
    /// # Errors
    /// A placeholder has no value, a brace has no partner, or the result is no topic name.
    pub fn expand(&self, placeholders: &BTreeMap<String, String>) -> Result<String, BadValue> {
        let Self(template) = self;
        let refusal = |why: String| BadValue::unquoted(&format!("\"{template}\": {why}"));
        let mut name = String::new();
        let mut rest = template.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            let (placeholder, behind) =
                after.split_once('}').ok_or_else(|| refusal("\"{\" without \"}\"".to_owned()))?;
            let value = placeholders.get(placeholder).ok_or_else(|| {
                let known: Vec<_> = placeholders.keys().map(String::as_str).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                refusal(format!(
                    "nothing is called \"{placeholder}\"; there are labels and region: {known}"
                ))
            })?;
            name.extend([before, value]);
            rest = behind;
        }
        name.push_str(rest);
        Ok(name.parse::<Topic>()?.0)
    }
}

impl FromStr for TopicTemplate {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let plain: String =
            text.chars().map(|one| if "{}".contains(one) { '_' } else { one }).collect();
        plain.parse::<Topic>().map(|_| Self(text.to_owned())).map_err(|_| {
            BadValue::new(
                text,
                "a topic name",
                "1 to 249 of the characters a-z A-Z 0-9 . _ - and {LABEL}",
            )
        })
    }
}

value! {
    /// Beginning of all topic names.
    #[derive(Clone, Debug, PartialEq, Eq)]
    TopicPrefix(String): "a beginning of topic names", "up to 100 of the characters a-z A-Z 0-9 . _ -";
    |text| {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        ((1..=100).contains(&text.len()) && text.bytes().all(legal)).then(|| text.to_owned())
    }
}

value! {
    /// Number of partitions of a topic.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    Partitions(u16): "a number of partitions", "1 to 10000, such as 12";
    |text| text.parse().ok().filter(|count| (1..=10_000).contains(count))
}

value! {
    /// Number of brokers that keep a copy of each partition.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    Replicas(u16): "a replication factor", "1 to 1000, such as 3";
    |text| text.parse().ok().filter(|count| (1..=1000).contains(count))
}

value! {
    /// Time for which a topic keeps its records: `7d`, `36h`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    Retention(Duration): "a retention", "1s to 36500d, such as 36h or 7d";
    |text| read_duration(text).filter(|length| *length >= Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_brokers() {
        for good in ["kafka:9092", "kafka", "[::1]:9092", "[::1]", "SASL_SSL://k:9093"] {
            assert!(good.parse::<Broker>().is_ok(), "{good}");
        }
        for bad in [
            "",
            ":9092",
            "kafka:",
            "kafka:0",
            "kafka:x",
            "a b:1",
            "::1:9092",
            "a:b:9092",
            "[::1:9092",
            "a]:9092",
        ] {
            let why = bad.parse::<Broker>().unwrap_err().to_string();
            assert!(why.contains("HOST:PORT"), "{why}");
        }
        assert_eq!(" kafka:9092 ".parse(), Ok(Broker("kafka:9092".to_owned())));
        for secret in ["u:hunter2@h:9092", "SASL_SSL://hunter2@h:9092"] {
            let why = secret.parse::<Broker>().unwrap_err().to_string();
            assert!(why.contains("sasl.password") && !why.contains("hunter2"), "{why}");
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
