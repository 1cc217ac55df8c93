//! Values of section `detect`.

use dnscribe_config::value;
use dnscribe_config::value::BadValue;
use std::str::FromStr;
use wildmatch::WildMatch;

value! {
    /// A share: more than 0, less than 1.
    #[derive(Clone, Copy, Debug, PartialEq)]
    Share(f64): "a share", "a number between 0 and 1, such as 0.98";
    |text| text.parse().ok().filter(|share| *share > 0.0 && *share < 1.0);
    ToString::to_string
}

value! {
    /// A factor: more than 1.
    #[derive(Clone, Copy, Debug, PartialEq)]
    Times(f64): "a factor", "a number above 1, such as 3";
    |text| text.parse().ok().filter(|times: &f64| *times > 1.0 && times.is_finite())
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
    /// A pattern: `*` for any characters, `?` for any one character.
    #[derive(Clone, Debug, PartialEq)]
    Pattern(WildMatch): "a pattern", "one such as 192.0.2.* or *.example.com";
    |text| (!text.is_empty()).then(|| WildMatch::new(text))
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

value! {
    /// A time of day, in seconds after midnight.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    TimeOfDay(u32): "a time of day", "hours and minutes, such as 22:30";
    |text| {
        let (hours, minutes) = text.split_once(':')?;
        let is_plain = hours.len() <= 2 && minutes.len() == 2 && !text.contains(['+', '-']);
        let number = |text: &str, end| text.parse().ok().filter(|number: &u32| *number < end);
        is_plain.then_some(number(hours, 24)? * 3600 + number(minutes, 60)? * 60)
    }
}
