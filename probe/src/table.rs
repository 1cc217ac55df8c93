//! The table that `run --once` prints, and the lines that `run` writes to a terminal.

use crate::measure::Round;
use dnscribe_record::ProbeFields;
use dnscribe_record::number::to_f64;
use dnscribe_record::time::Timestamp;
use std::fmt::Write as _;

/// Cells of a line: state, service, kind, target, where it was asked, result.
type Row = [String; 6];

/// Formats the measurements of rounds as an aligned table, in the order given. A round that was skipped has a line too.
#[must_use]
pub fn render<'a>(rounds: impl IntoIterator<Item = &'a Round>, color: bool) -> String {
    let rows = |round: &Round| {
        let found = round.found.iter().map(row);
        found.chain(skipped_row(round)).collect::<Vec<Row>>()
    };
    render_rows(&rounds.into_iter().flat_map(rows).collect::<Vec<Row>>(), color)
}

fn render_rows(rows: &[Row], color: bool) -> String {
    let head = ["", "SERVICE", "KIND", "TARGET", "VIA", "RESULT"].map(str::to_owned);
    let mut widths = head.clone().map(|text| text.chars().count());
    for row in rows {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.chars().count());
        }
    }
    widths[0] = 4;
    let mut table = String::new();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (index, (text, width)) in row.iter().zip(widths).enumerate() {
            // The last column may be of any length: a server chooses its answers.
            let width = if index + 1 < row.len() { width } else { 0 };
            let padded = format!("{text:<width$}");
            let code = match (index, text.as_str()) {
                (0, "ok") if color => Some(32),
                (0, "FAIL") if color => Some(31),
                _ => None,
            };
            // Writing to a String cannot fail.
            let _ = match code {
                Some(code) => write!(line, "\x1b[{code}m{padded}\x1b[0m  "),
                None => write!(line, "{padded}  "),
            };
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

/// Appends one line for a measurement: time, state, service, kind, target, where it was asked, result. The line ends with
/// a newline and contains no control characters.
pub fn line(out: &mut Vec<u8>, ts: Timestamp, fields: &ProbeFields) {
    let time = ts.to_string();
    let [state, service, kind, target, via, result] = row(fields);
    let time = time.get(11..23).unwrap_or_default();
    let via = if via.is_empty() { via } else { format!("@{via} ") };
    let text = format!("{time} {state:<4} {service}  {kind} {target} {via} {result}");
    let visible = text.chars().filter(|letter| !letter.is_control());
    out.extend(visible.collect::<String>().as_bytes());
    out.push(b'\n');
}

fn skipped_row(round: &Round) -> Option<Row> {
    let skip = round.skipped?;
    let target = &round.target;
    let result = format!("not measured: {}", skip.name());
    Some([
        "skip".to_owned(),
        target.service.to_string(),
        target.kind.name().to_owned(),
        target.name.clone(),
        String::new(),
        result,
    ])
}

fn row(fields: &ProbeFields) -> Row {
    let via = fields.resolver.clone().or_else(|| fields.nameserver.clone()).unwrap_or_default();
    let state = if fields.ok { "ok" } else { "FAIL" };
    [
        state.to_owned(),
        fields.service.clone(),
        fields.kind.clone(),
        fields.target.clone(),
        via,
        result(fields),
    ]
}

fn result(fields: &ProbeFields) -> String {
    let mut parts = Vec::new();
    if let Some(error) = &fields.error {
        let detail = error.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
        parts.push(format!("{} {}{detail}", error.stage, error.reason));
    } else if let Some(rcode) = &fields.rcode {
        parts.push(rcode.clone());
        parts.push(fields.answers.join(" "));
        let left = fields
            .answer_count
            .map(|count| to_f64(count.into()) - to_f64(fields.answers.len() as u64));
        parts.extend(left.map(|left| format!("and {left} more")));
    }
    parts.extend(fields.ede.iter().map(ToString::to_string));
    parts.extend(fields.http_status.map(|status| status.to_string()));
    parts.extend(fields.tls_version.clone());
    let expiry = fields.cert.as_ref().and_then(|cert| cert.expiry_days);
    parts.extend(expiry.map(|days| format!("expires in {days:.1} days")));
    let signed = fields.signature.as_ref().map(|signature| signature.expiry_days);
    parts.extend(signed.map(|days| format!("signed for {days:.1} days")));
    if let (Some(sent), Some(received)) = (fields.sent, fields.received) {
        parts.push(format!("{received} of {sent} replies"));
    }
    let times = [
        ("", fields.latency_ms),
        ("resolve ", fields.resolve_ms),
        ("connect ", fields.connect_ms),
        ("handshake ", fields.handshake_ms),
        ("response ", fields.ttfb_ms),
        ("rtt ", fields.rtt_ms),
    ];
    parts.extend(times.iter().filter_map(|(name, ms)| ms.map(|ms| format!("{name}{ms:.1} ms"))));
    if fields.attempt > 1 {
        parts.push(format!("{} attempts", fields.attempt));
    }
    if !fields.differs_from.is_empty() {
        parts.push(format!("differs from {}", fields.differs_from.join(", ")));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_may_be_of_any_length() {
        let (rcode, answers) = (Some("NOERROR".to_owned()), vec!["x".repeat(70_000)]);
        let fields = ProbeFields { rcode, answers, ..ProbeFields::default() };
        let table = render_rows(&[row(&fields), row(&fields)], false);
        assert!(table.lines().skip(1).all(|line| line.ends_with(&"x".repeat(70_000))));
    }
}
