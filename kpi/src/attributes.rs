//! Dimension tables: what accounts, domains, campaigns, partners and top-level domains are, from when on.

use crate::event::{NAMELESS, Rejection, contradicts_itself, host_name};
use crate::input::{FieldValue, Row, parse_fields};
use clap::ValueEnum;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What a dimension table describes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Domains, by `domain`.
    Domain,
    /// Accounts, by `account_id`.
    Account,
    /// Campaigns, by `campaign`.
    Campaign,
    /// Partners, by `partner` of the event.
    Partner,
    /// Top-level domains, by `tld`.
    Tld,
}

impl Kind {
    /// Every kind. Where several say something of an event, the first one counts.
    pub const ALL: [Self; 5] =
        [Self::Domain, Self::Account, Self::Campaign, Self::Partner, Self::Tld];

    /// Name in the store and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Domain => "domain",
            Self::Account => "account",
            Self::Campaign => "campaign",
            Self::Partner => "partner",
            Self::Tld => "tld",
        }
    }

    /// Column of events, and of the table, that names the thing.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Account => "account_id",
            other => other.name(),
        }
    }
}

/// What a table may say of a thing. What an event says itself comes first.
pub const ATTRIBUTES: [&str; 7] =
    ["segment", "owner", "product", "risk", "partner", "channel", "tier"];

/// What a thing is from a time on, until the next row of the same thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// What is described.
    pub kind: Kind,
    /// Which one.
    pub key: String,
    /// From when on, in microseconds since the Unix epoch; 0: ever.
    pub from_us: i64,
    /// Values in the order of [`ATTRIBUTES`].
    pub values: [Option<String>; ATTRIBUTES.len()],
}

impl Attributes {
    /// Parses a row of a table.
    ///
    /// # Errors
    /// The row has no key, a column that is not known, or a wrong time.
    pub fn parse(kind: Kind, row: &Row) -> Result<Self, Rejection> {
        let fields = match row {
            Row::Csv(_, fields) => fields.clone(),
            Row::Json(text) => {
                let fields =
                    parse_fields(text).map_err(|error| Rejection::new("bad_json", error))?;
                let text = |(name, value): (String, FieldValue)| match value {
                    FieldValue::Nested(text) => {
                        Err(Rejection::new("bad_type", format!("{name}: {text}")))
                    }
                    value => Ok((name, value.into_text())),
                };
                fields.into_iter().map(text).collect::<Result<_, _>>()?
            }
            Row::Unreadable(_, why) => return Err(Rejection::new("unreadable", why)),
        };
        let mut attributes =
            Self { kind, key: String::new(), from_us: 0, values: Default::default() };
        let mut seen = BTreeSet::new();
        for (name, text) in fields {
            if !seen.insert(name.clone()) {
                return Err(Rejection::new("ambiguous_column", name));
            }
            let place = ATTRIBUTES.iter().position(|known| *known == name);
            match (name.as_str(), place) {
                (name, _) if name == kind.key() => attributes.key = key(kind, &text)?,
                ("valid_from", _) if text.is_empty() => {}
                ("valid_from", _) => attributes.from_us = time(&text)?,
                (_, Some(place)) => {
                    attributes.values[place] = Some(text).filter(|text| !text.is_empty());
                }
                ("", None) => return Err(Rejection::new("unknown_field", NAMELESS)),
                (name, None) => {
                    let known = ATTRIBUTES.join(", ");
                    let detail = format!("{name}: a table has {}, valid_from, {known}", kind.key());
                    return Err(Rejection::new("unknown_field", detail));
                }
            }
        }
        if attributes.key.is_empty() {
            return Err(Rejection::new("missing_field", kind.key()));
        }
        Ok(attributes)
    }
}

/// Names are those of events.
fn key(kind: Kind, text: &str) -> Result<String, Rejection> {
    let name = match kind {
        Kind::Domain => text.trim_end_matches('.'),
        Kind::Tld => text.trim_matches('.'),
        Kind::Account | Kind::Campaign | Kind::Partner => return Ok(text.to_owned()),
    };
    host_name(name).ok_or_else(|| Rejection::new("bad_domain", format!("\"{text}\"")))
}

/// Reads a day in UTC, or a time with its offset.
fn time(text: &str) -> Result<i64, Rejection> {
    let wrong = || {
        let detail = format!("valid_from: \"{text}\": give a day, or a time with its offset");
        Rejection::new("bad_timestamp", detail)
    };
    let time = match text.parse::<Timestamp>() {
        Ok(_) if contradicts_itself(text) => return Err(wrong()),
        Ok(time) => time,
        // A day; nothing that is longer, such as a time without offset.
        Err(_) if text.len() > 10 => return Err(wrong()),
        Err(_) => {
            let day = text.parse::<Date>().map_err(|_| wrong())?;
            Offset::UTC.to_timestamp(day.at(0, 0, 0, 0)).map_err(|_| wrong())?
        }
    };
    let micros = time.as_microsecond();
    if micros < 0 { Err(wrong()) } else { Ok(micros) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(fields: &[(&str, &str)]) -> Result<Attributes, &'static str> {
        let fields = fields.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        let row = Row::Csv(String::new(), fields.collect());
        Attributes::parse(Kind::Account, &row).map_err(|rejection| rejection.reason)
    }

    #[test]
    fn rows_say_what_a_thing_is_from_when_on() {
        let found = parse(&[("account_id", "7"), ("segment", "smb"), ("owner", "")]).unwrap();
        assert_eq!((&*found.key, found.from_us), ("7", 0));
        assert_eq!((found.values[0].as_deref(), found.values[1].as_deref()), (Some("smb"), None));
        let from =
            |text| parse(&[("account_id", "7"), ("valid_from", text)]).map(|row| row.from_us);
        assert_eq!(from("1970-01-02"), Ok(86_400_000_000));
        assert_eq!(from("1970-01-02T01:00:00+01:00"), Ok(86_400_000_000));
        for wrong in [
            "2026-03-01T00:00:00",
            "01.03.2026",
            "1969-12-31",
            "2026-07-01T00:00:00+01:00[Europe/Berlin]",
        ] {
            assert_eq!(from(wrong), Err("bad_timestamp"), "{wrong}");
        }
        assert_eq!(parse(&[("segment", "smb")]), Err("missing_field"));
        assert_eq!(parse(&[("account_id", "7"), ("colour", "red")]), Err("unknown_field"));
    }

    #[test]
    fn a_row_says_each_thing_once() {
        for twice in ["account_id", "valid_from", "segment"] {
            let fields = [("account_id", "7"), ("valid_from", ""), ("segment", "smb")];
            let fields = [&fields[..], &[(twice, "8")]].concat();
            assert_eq!(parse(&fields), Err("ambiguous_column"), "{twice}");
        }
        assert_eq!(parse(&[("account_id", "7"), ("", "")]), Err("unknown_field"));
        let json = |text: &str| {
            let row = Row::Json(text.to_owned());
            let parsed = Attributes::parse(Kind::Account, &row);
            parsed.map(|row| row.key).map_err(|rejection| rejection.reason)
        };
        let key = "123456789012345678901";
        assert_eq!(json(&format!("{{\"account_id\": {key}}}")).as_deref(), Ok(key));
        for (text, reason) in [
            (r#"{"account_id":"7","segment":"a","segment":"b"}"#, "bad_json"),
            (r#"{"account_id":"7","segment":{"a":1}}"#, "bad_type"),
            (r#"{"account_id":["7"]}"#, "bad_type"),
        ] {
            assert_eq!(json(text), Err(reason), "{text}");
        }
    }
}
