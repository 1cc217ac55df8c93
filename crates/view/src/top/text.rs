//! Formatting of numbers, times and texts for the screen.

pub use dnscribe_report::count as group;

use std::borrow::Cow;
use std::fmt::Write as _;

/// Escapes characters that could control the terminal or mislead the reader: control characters, direction
/// marks, characters without width. They are written as `\x1b` or `\u{202e}`.
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) || !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        let code = u32::from(character);
        // Writing to a String cannot fail.
        let _ = match character {
            _ if !is_harmful(character) => write!(clean, "{character}"),
            _ if code < 0x100 => write!(clean, "\\x{code:02x}"),
            _ => write!(clean, "\\u{{{code:x}}}"),
        };
    }
    Cow::Owned(clean)
}

fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Returns the largest character boundary at or below `max_bytes`.
pub fn boundary(text: &str, max_bytes: usize) -> usize {
    let longest = max_bytes.min(text.len());
    (0..=longest).rev().find(|cut| text.is_char_boundary(*cut)).unwrap_or(0)
}

/// Fits a text into `columns` by leaving out its middle: both ends of a name matter.
pub fn fit(text: &str, columns: usize, dots: &str) -> String {
    let width = |text: &str| ratatui::text::Span::raw(text).width();
    if width(text) <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(width(dots));
    let (mut head, mut tail) = (String::new(), Vec::new());
    let (mut front, mut back) = (text.chars(), text.chars().rev());
    let mut used = 0;
    loop {
        let at_end = used % 2 == 0;
        let Some(next) = (if at_end { back.next() } else { front.next() }) else { break };
        let wide = width(next.encode_utf8(&mut [0; 4]));
        if used + wide > room {
            break;
        }
        used += wide.max(1);
        if at_end { tail.push(next) } else { head.push(next) }
    }
    let tail: String = tail.into_iter().rev().collect();
    // There may not be enough columns even for the dots.
    format!("{head}{dots}{tail}").chars().take(columns).collect()
}

/// Breaks a text into lines of at most `columns`, between words where that is possible.
pub fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let width = |text: &str| ratatui::text::Span::raw(text).width();
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split_inclusive(' ') {
        if !line.is_empty() && width(&line) + width(word.trim_end()) > columns {
            lines.push(std::mem::take(&mut line));
        }
        for character in word.chars() {
            let wide = width(character.encode_utf8(&mut [0; 4]));
            if !line.is_empty() && character != ' ' && width(&line) + wide > columns {
                lines.push(std::mem::take(&mut line));
            }
            line.push(character);
        }
    }
    lines.push(line);
    lines
}

/// Formats a count: `999`, `12.3k`, `4.56M`.
pub fn count(number: u64) -> String {
    match number {
        0..=99_999 => group(number),
        _ => scaled(super::model::to_f64(number)),
    }
}

/// Formats a rate per second: `0`, `0.3`, `42.0`, `1,234`, `56.7k`.
pub fn rate(rate: f64) -> String {
    match rate {
        _ if rate < 0.05 => "0".to_owned(),
        _ if rate < 99.95 => format!("{rate:.1}"),
        _ if rate < 9_999.5 => group(whole(rate)),
        _ => scaled(rate),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate below ten thousand, rounded"
)]
fn whole(rate: f64) -> u64 {
    rate.round() as u64
}

fn scaled(number: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    for (unit, name) in UNITS {
        if number >= unit {
            let digits = usize::from(number < unit * 100.0);
            return format!("{:.digits$}{name}", number / unit);
        }
    }
    format!("{number:.0}")
}

/// Formats a latency: `0.04ms`, `1.23ms`, `45.6ms`, `789ms`, `1.23s`; empty where there is none.
pub fn latency(milliseconds: Option<f64>) -> String {
    match milliseconds {
        None => String::new(),
        Some(value) if value < 9.995 => format!("{value:.2}ms"),
        Some(value) if value < 99.95 => format!("{value:.1}ms"),
        Some(value) if value < 999.5 => format!("{value:.0}ms"),
        Some(value) if value < 99_950.0 => format!("{:.2}s", value / 1e3),
        Some(value) => format!("{:.0}s", value / 1e3),
    }
}

/// Formats a share in percent: `0`, `<.1`, `0.4`, `12.3`, `100`.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        _ if percent <= 0.0 => "0".to_owned(),
        _ if percent < 0.05 => "<.1".to_owned(),
        _ if percent < 99.95 => format!("{percent:.1}"),
        _ => "100".to_owned(),
    }
}

/// Formats an age: `now`, `12s`, `3m`, `5h`, `2d`.
pub fn age(seconds: u64) -> String {
    match seconds {
        0 | 1 => "now".to_owned(),
        2..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        7200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Formats the time of day in UTC: `07:30:00`.
pub fn clock(second: u64) -> String {
    format!("{:02}:{:02}:{:02}", second / 3600 % 24, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_numbers() {
        let rates = [0.0, 0.31, 42.0, 1234.4, 56_700.0, 123_456.0].map(rate);
        assert_eq!(rates, ["0", "0.3", "42.0", "1,234", "56.7k", "123k"]);
        assert_eq!([99_999, 100_000, 4_560_000].map(count), ["99,999", "100k", "4.6M"]);
        let latencies = [0.04, 1.234, 45.61, 789.0, 1234.0, 120_000.0].map(|ms| latency(Some(ms)));
        assert_eq!(latencies, ["0.04ms", "1.23ms", "45.6ms", "789ms", "1.23s", "120s"]);
        assert_eq!(
            [0.0, 0.0001, 0.004, 0.123, 1.0].map(percent),
            ["0", "<.1", "0.4", "12.3", "100"]
        );
        assert_eq!([1, 12, 180, 18_000, 200_000].map(age), ["now", "12s", "3m", "5h", "2d"]);
        assert_eq!(clock(1_790_235_000), "07:30:00");
    }

    #[test]
    fn fits_by_leaving_out_the_middle() {
        assert_eq!(fit("www.example.com", 15, "…"), "www.example.com");
        assert_eq!(fit("www.example.com", 7, "…"), "www…com");
        assert_eq!(fit("www.example.com", 8, ".."), "www..com");
        assert_eq!(fit("abc", 1, "…"), "…");
        assert_eq!(fit("abc", 0, "…"), "");
    }

    #[test]
    fn escapes_what_controls_the_terminal() {
        assert_eq!(clean("curl"), "curl");
        assert_eq!(clean("grün"), "grün");
        assert_eq!(clean("\u{1b}]0;x\u{7}"), "\\x1b]0;x\\x07");
        assert_eq!(clean("a\u{202e}b\u{9b}"), "a\\u{202e}b\\x9b");
    }
}
