//! Indicators of STIX 2.1 bundles (OASIS): patterns that compare a domain or an address with fixed
//! values.

use super::Refusal;
use dnscribe_record::time::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The values of one indicator object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Indicator {
    /// Line where the object begins, from 1.
    pub line: usize,
    /// Domains, addresses and prefixes of addresses.
    pub values: Vec<String>,
    /// First of `indicator_types`.
    pub category: Option<String>,
    /// Confidence, 0 to 100.
    pub confidence: Option<u8>,
    /// Time from which the indicator no longer holds.
    pub valid_until: Option<Timestamp>,
    /// Whether its source has taken it back.
    pub revoked: bool,
}

#[derive(Deserialize)]
struct Bundle<'a> {
    #[serde(borrow, default)]
    objects: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct StixObject {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    pattern: String,
    #[serde(default)]
    pattern_type: Option<String>,
    #[serde(default)]
    indicator_types: Vec<String>,
    #[serde(default)]
    confidence: Option<u8>,
    #[serde(default)]
    valid_until: Option<Timestamp>,
    #[serde(default)]
    revoked: bool,
}

/// Reads the indicators of a bundle, or of a single object. Other objects are passed over; indicators
/// about other things than domains and addresses are refused.
pub(super) fn read(data: &str) -> Vec<Result<Indicator, Refusal>> {
    let bundle: Bundle<'_> = match serde_json::from_str(data) {
        Ok(bundle) => bundle,
        Err(error) => {
            return vec![Err(Refusal::new(error.line(), format!("not a STIX bundle: {error}")))];
        }
    };
    let (mut line, mut counted) = (1, 0);
    let mut found = Vec::new();
    for raw in bundle.objects {
        // The object borrows from `data`, in order.
        let start = raw.get().as_ptr().addr().saturating_sub(data.as_ptr().addr()).min(data.len());
        line += data[counted..start].matches('\n').count();
        counted = start;
        match serde_json::from_str::<StixObject>(raw.get()) {
            Ok(object) if object.kind == "indicator" => found.push(indicator(line, object)),
            Ok(_) => {}
            Err(error) => {
                found.push(Err(Refusal::new(line, format!("not a STIX object: {error}"))));
            }
        }
    }
    found
}

fn indicator(line: usize, object: StixObject) -> Result<Indicator, Refusal> {
    let refusal = |problem: String| Refusal::new(line, problem);
    if let Some(other) = object.pattern_type.filter(|kind| kind != "stix") {
        return Err(refusal(format!("the pattern is of type {other}, not stix")));
    }
    let values = pattern_values(&object.pattern).map_err(|problem| {
        refusal(format!("pattern {}: {problem}", super::shortened(&object.pattern)))
    })?;
    Ok(Indicator {
        line,
        values,
        category: object.indicator_types.into_iter().next(),
        confidence: object.confidence.map(|confidence| confidence.min(100)),
        valid_until: object.valid_until,
        revoked: object.revoked,
    })
}

/// Returns the values of a pattern such as `[domain-name:value = 'a.example' OR ipv4-addr:value IN
/// ('192.0.2.1')]`.
///
/// # Errors
/// Returns a sentence if the pattern says more than that any of some values was seen.
fn pattern_values(pattern: &str) -> Result<Vec<String>, String> {
    const OBJECTS: [&str; 3] = ["domain-name:value", "ipv4-addr:value", "ipv6-addr:value"];
    const OPERATORS: [&str; 4] = ["=", "==", "IN", "ISSUBSET"];
    let mut values = Vec::new();
    let mut tokens = pattern_tokens(pattern)?.into_iter().peekable();
    loop {
        while tokens.next_if(|token| token.is_word("[") || token.is_word("(")).is_some() {}
        match tokens.next() {
            Some(PatternToken::Word(word)) if OBJECTS.contains(&word.as_str()) => {}
            other => return Err(format!("cannot use {}", shown(other))),
        }
        match tokens.next() {
            Some(PatternToken::Word(word)) if OPERATORS.contains(&word.as_str()) => {}
            other => return Err(format!("cannot use the comparison {}", shown(other))),
        }
        let in_set = tokens.next_if(|token| token.is_word("(")).is_some();
        loop {
            match tokens.next() {
                Some(PatternToken::Text(text)) => values.push(text),
                other => return Err(format!("expected a text, not {}", shown(other))),
            }
            if !in_set || tokens.next_if(|token| token.is_word(",")).is_none() {
                break;
            }
        }
        while tokens.next_if(|token| token.is_word("]") || token.is_word(")")).is_some() {}
        match tokens.next() {
            None => return Ok(values),
            Some(token) if token.is_word("OR") => {}
            other => return Err(format!("cannot use {}", shown(other))),
        }
    }
}

enum PatternToken {
    /// A word or a punctuation mark.
    Word(String),
    /// A text in quotes.
    Text(String),
}

impl PatternToken {
    fn is_word(&self, expected: &str) -> bool {
        matches!(self, Self::Word(word) if word == expected)
    }
}

fn shown(token: Option<PatternToken>) -> String {
    match token {
        Some(PatternToken::Word(word)) => word,
        Some(PatternToken::Text(text)) => format!("'{text}'"),
        None => "the end".to_owned(),
    }
}

fn pattern_tokens(pattern: &str) -> Result<Vec<PatternToken>, String> {
    let mut tokens = Vec::new();
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => {
                let mut text = String::new();
                loop {
                    match letters.next() {
                        Some('\\') => text.extend(letters.next()),
                        Some('\'') => break,
                        Some(letter) => text.push(letter),
                        None => return Err("a text has no end".to_owned()),
                    }
                }
                tokens.push(PatternToken::Text(text));
            }
            '[' | ']' | '(' | ')' | ',' => tokens.push(PatternToken::Word(letter.into())),
            _ if letter.is_whitespace() => {}
            _ => {
                let is_operator = |letter: char| matches!(letter, '=' | '<' | '>' | '!');
                let is_inside = |next: &char| {
                    !next.is_whitespace()
                        && !"[](),'".contains(*next)
                        && is_operator(*next) == is_operator(letter)
                };
                let mut word = String::from(letter);
                while let Some(next) = letters.next_if(is_inside) {
                    word.push(next);
                }
                tokens.push(PatternToken::Word(word));
            }
        }
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_patterns() {
        for (pattern, expected) in [
            ("[domain-name:value = 'a.example']", vec!["a.example"]),
            (
                "[domain-name:value='a.example' OR domain-name:value='b.example']",
                vec!["a.example", "b.example"],
            ),
            (
                "[ipv4-addr:value IN ('192.0.2.1', '192.0.2.2')] OR [ipv6-addr:value = '2001:db8::1']",
                vec!["192.0.2.1", "192.0.2.2", "2001:db8::1"],
            ),
            ("[(ipv4-addr:value ISSUBSET '198.51.100.0/24')]", vec!["198.51.100.0/24"]),
        ] {
            assert_eq!(pattern_values(pattern).unwrap(), expected, "{pattern}");
        }
        for pattern in [
            "",
            "[file:hashes.MD5 = 'x']",
            "[domain-name:value = 'a' AND ipv4-addr:value = '192.0.2.1']",
            "[domain-name:value LIKE '%.example']",
            "[domain-name:value != 'a.example']",
            "[domain-name:value = 'a",
            "[domain-name:value = 'a'] FOLLOWEDBY [domain-name:value = 'b']",
        ] {
            assert!(pattern_values(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn reads_bundles_with_lines() {
        let bundle = r#"{"type": "bundle", "objects": [
  {"type": "malware", "name": "x"},
  {"type": "indicator", "pattern": "[domain-name:value = 'a.example']", "pattern_type": "stix",
   "indicator_types": ["malicious-activity"], "confidence": 80, "valid_until": "2027-01-01T00:00:00Z"},
  {"type": "indicator", "pattern": "alert", "pattern_type": "snort"},
  {"type": "indicator", "pattern": "[ipv4-addr:value = '192.0.2.1']", "revoked": true}
]}"#;
        let found = read(bundle);
        let lines: Vec<usize> = found
            .iter()
            .map(|one| one.as_ref().map_or_else(|refusal| refusal.line, |one| one.line))
            .collect();
        assert_eq!(lines, [3, 5, 6]);
        let first = found[0].as_ref().unwrap();
        assert_eq!(
            (first.confidence, first.category.as_deref()),
            (Some(80), Some("malicious-activity"))
        );
        assert!(found[1].is_err() && found[2].as_ref().unwrap().revoked);
        assert_eq!(read("{").first().unwrap().as_ref().unwrap_err().line, 1);
    }
}
