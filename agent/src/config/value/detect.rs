//! Values of section `detect`.

use super::BadValue;
use crate::time::Timestamp;
use std::str::FromStr;
use wildmatch::WildMatch;

/// A share: more than 0, less than 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share(pub f64);

impl FromStr for Share {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text.parse() {
            Ok(share) if share > 0.0 && share < 1.0 => Ok(Self(share)),
            _ => Err(BadValue::new(text, "a share", "a number between 0 and 1, such as 0.98")),
        }
    }
}

/// How many times as much: more than 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times(pub f64);

impl FromStr for Times {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text.parse::<f64>() {
            Ok(times) if times > 1.0 && times.is_finite() => Ok(Self(times)),
            _ => Err(BadValue::new(text, "a factor", "a number above 1, such as 3")),
        }
    }
}

/// A base for links: not empty, no control characters; without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base(pub String);

impl FromStr for Base {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let base = text.trim_end_matches('/');
        if base.is_empty() || base.chars().any(|letter| letter.is_control() || letter == ' ') {
            let remedy = "one such as https://wiki.example.com/runbooks";
            return Err(BadValue::new(text, "a base for links", remedy));
        }
        Ok(Self(base.to_owned()))
    }
}

/// A pattern: `*` for anything, `?` for any one character.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern(pub WildMatch);

impl FromStr for Pattern {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        if text.is_empty() {
            return Err(BadValue::new(text, "a pattern", "one such as 192.0.2.* or *.example.com"));
        }
        Ok(Self(WildMatch::new(text)))
    }
}

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub Timestamp);

impl FromStr for Moment {
    type Err = crate::time::BadTimestamp;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Days of the week: bit 0 is Monday.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days(pub u8);

impl Days {
    /// Every day.
    pub const ALL: Self = Self(0x7F);
}

impl FromStr for Days {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let bad = |day| BadValue::new(day, "a day", "some of mon tue wed thu fri sat sun");
        let mut days = 0;
        for day in text.split(',').map(str::trim) {
            let number = NAMES.iter().position(|name| *name == day);
            days |= 1 << number.ok_or_else(|| bad(day))?;
        }
        Ok(Self(days))
    }
}

/// A time of day, in seconds after midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock(pub u32);

impl FromStr for Clock {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let parts = text.split_once(':').filter(|(hours, minutes)| {
            hours.len() <= 2 && minutes.len() == 2 && !text.contains(['+', '-'])
        });
        let number = |text: &str, most| text.parse().ok().filter(|number: &u32| *number < most);
        parts
            .and_then(|(hours, minutes)| {
                Some(number(hours, 24)? * 3600 + number(minutes, 60)? * 60)
            })
            .map(Self)
            .ok_or_else(|| BadValue::new(text, "a time of day", "hours and minutes, such as 22:30"))
    }
}
