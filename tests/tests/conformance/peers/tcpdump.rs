//! tcpdump's lines for UDP messages: `44845+ [1au] URI? _http.dns.test. (55)`.

use super::{ComparedCapture, Statements, absolute, has_flag, written_qname};
use crate::conformance::agent_records::text;
use anyhow::Result;
use serde_json::Value;
use std::fs;

/// Compares each line of a complete message.
pub fn compare(capture: &ComparedCapture<'_>, statements: &mut Statements) -> Result<()> {
    let stem = capture.file.split('.').next().unwrap_or_default();
    for entry in fs::read_dir(capture.peer.join("tcpdump"))? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        if name != stem && !name.starts_with(&format!("{stem}-")) {
            continue;
        }
        for line in fs::read_to_string(&path)?.lines() {
            if let Some(parsed) = ParsedLine::of(line) {
                parsed.compare(capture, statements);
            }
        }
    }
    Ok(())
}

/// A parsed line.
struct ParsedLine<'a> {
    src: &'a str,
    dst: &'a str,
    id: &'a str,
    /// `+`: RD in a query. `*`: AA, `-`: RA not set, `|`: TC in a response.
    marks: &'a str,
    /// Text after the id, without the message size.
    rest: &'a str,
    bytes: &'a str,
}

impl<'a> ParsedLine<'a> {
    /// Parses a line; `None` if it is not of DNS, or if the message is cut off.
    fn of(line: &'a str) -> Option<Self> {
        let (before, behind) = line.rsplit_once(" > ")?;
        let src = before.rsplit(' ').next()?;
        let (dst, mut behind) = behind.split_once(": ")?;
        if behind.starts_with('[') {
            behind = behind.split_once("] ")?.1;
        }
        let (message, bytes) = behind.strip_suffix(')')?.rsplit_once(" (")?;
        let (head, rest) = message.split_once(' ')?;
        let digits = head.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(head.len());
        let (id, marks) = head.split_at(digits);
        (!id.is_empty()).then_some(Self { src, dst, id, marks, rest, bytes })
    }

    fn compare(&self, capture: &ComparedCapture<'_>, statements: &mut Statements) {
        let end = |message: &Value, ip: &str, port: &str| {
            format!("{}.{}", text(&message[ip]), text(&message[port]))
        };
        let message = capture.actual.messages.iter().find(|message| {
            text(&message["id"]) == self.id
                && end(message, "src_ip", "src_port") == self.src
                && end(message, "dst_ip", "dst_port") == self.dst
        });
        let Some(message) = message else {
            return statements.check("tcpdump message", format!("{} {}", self.src, self.id), "");
        };
        statements.check("tcpdump length", self.bytes, text(&message["wire_bytes"]));
        if message["qr"] == "query" {
            statements.check("tcpdump +", self.marks.contains('+'), has_flag(message, "rd"));
            let asked =
                format!("{}? {}", text(&message["qtype"]), absolute(&written_qname(message)));
            statements.check("tcpdump question", true, self.rest.contains(&asked));
            return;
        }
        // An rcode is written between id and flags: `36787 BadVers- 0/0/1`.
        let marks = self.rest.split(' ').next().filter(|word| word.starts_with(char::is_uppercase));
        let marks = marks.unwrap_or(self.marks);
        statements.check("tcpdump *", marks.contains('*'), has_flag(message, "aa"));
        statements.check("tcpdump -", marks.contains('-'), !has_flag(message, "ra"));
        let counts = ["answer_count", "authority_count", "additional_count"];
        let counts = counts.map(|name| text(&message[name])).join("/");
        statements.check("tcpdump counts", true, self.rest.split(' ').any(|word| word == counts));
    }
}
