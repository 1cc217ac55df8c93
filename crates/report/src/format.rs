//! Numbers and times as reports show them.

use dnscribe_record::number::to_f64;
use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

/// Formats a count in groups of three digits: `1,234,567`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a ratio as percentage: `0`, `0.04 %`, `12.3 %`, `100 %`.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    if part == 0 || whole == 0 {
        return "0".to_owned();
    }
    let percent = 100.0 * to_f64(part) / to_f64(whole);
    match percent {
        _ if part == whole => "100 %".to_owned(),
        ..0.01 => "<0.01 %".to_owned(),
        ..1.0 => format!("{percent:.2} %"),
        // Never rounded to a whole that it is not.
        99.9.. => format!("{:.2} %", percent.min(99.99)),
        _ => format!("{percent:.1} %"),
    }
}

/// Formats a duration in milliseconds: `0.12 ms`, `45 ms`, `1.20 s`.
#[must_use]
pub fn milliseconds(value: f64) -> String {
    match value {
        ..9.95 => format!("{value:.2} ms"),
        ..999.5 => format!("{value:.0} ms"),
        ..99_950.0 => format!("{:.2} s", value / 1e3),
        _ => format!("{:.0} s", value / 1e3),
    }
}

/// Formats seconds since the Unix epoch as date and time in UTC: `2026-11-20 07:30:00`.
#[must_use]
pub fn time(seconds: u64) -> String {
    format_time(seconds, "%Y-%m-%d %H:%M:%S")
}

/// Formats seconds since the Unix epoch as time of day in UTC: `07:30:00`.
#[must_use]
pub fn clock(seconds: u64) -> String {
    format_time(seconds, "%H:%M:%S")
}

/// Formats a span of time, with the date of its end only if it differs: `2026-11-20 07:30:00 to 07:45:00 UTC`.
#[must_use]
pub fn time_range(start: u64, end: u64) -> String {
    let day = |seconds| format_time(seconds, "%Y-%m-%d");
    let until = if day(start) == day(end) { clock(end) } else { time(end) };
    format!("{} to {until} UTC", time(start))
}

/// Formats a moment on a time axis that covers `span` seconds.
pub(crate) fn tick(seconds: u64, span: u64) -> String {
    match span {
        ..600 => format_time(seconds, "%H:%M:%S"),
        600..172_800 => format_time(seconds, "%H:%M"),
        _ => format_time(seconds, "%d %b"),
    }
}

fn format_time(seconds: u64, format: &str) -> String {
    let second = i64::try_from(seconds).ok().and_then(|second| Timestamp::from_second(second).ok());
    let zoned = second.map(|second| second.to_zoned(TimeZone::fixed(Offset::UTC)));
    zoned.map_or_else(|| seconds.to_string(), |zoned| zoned.strftime(format).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_numbers() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        let ratios = [(0, 9), (1, 1_000_000), (1, 300), (1, 3), (99_999, 100_000), (7, 7), (1, 0)];
        assert_eq!(
            ratios.map(|(part, whole)| percent(part, whole)),
            ["0", "<0.01 %", "0.33 %", "33.3 %", "99.99 %", "100 %", "0"]
        );
        assert_eq!(
            [0.123, 45.4, 1_200.0, 120_000.0].map(milliseconds),
            ["0.12 ms", "45 ms", "1.20 s", "120 s"]
        );
    }

    #[test]
    fn formats_times_in_utc() {
        let monday = 1_795_332_600;
        assert_eq!(time(monday), "2026-11-22 07:30:00");
        assert_eq!(time_range(monday, monday + 60), "2026-11-22 07:30:00 to 07:31:00 UTC");
        assert_eq!(
            time_range(monday, monday + 86_400),
            "2026-11-22 07:30:00 to 2026-11-23 07:30:00 UTC"
        );
        assert_eq!(
            [60, 7_200, 864_000].map(|span| tick(monday, span)),
            ["07:30:00", "07:30", "22 Nov"]
        );
    }
}
