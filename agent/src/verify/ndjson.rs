//! Reads newline-delimited JSON as the file sink writes it.

use super::Verifier;
use std::io::{self, BufRead, Read as _};

/// Maximum length of a line in bytes. Kafka accepts no record of this size, and a file without line
/// ends must not fill the memory.
const MAX_LINE_BYTES: usize = 16 << 20;

/// Adds the records of a newline-delimited JSON file to `verifier`; empty lines are skipped.
///
/// A writer that was killed may have left its last line or compressed block incomplete: that is
/// noted, and the balance shows whether a record is missing.
///
/// # Errors
/// The file cannot be read or is not NDJSON.
pub fn read_ndjson(
    verifier: &mut Verifier,
    name: &str,
    input: &mut dyn BufRead,
    mut on_record: impl FnMut(u64),
) -> io::Result<()> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        match input.take(MAX_LINE_BYTES as u64).read_until(b'\n', &mut line) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                verifier.add_note(&format_args!("{name}: the compressed data ends early"));
            }
            Err(error) => return Err(error),
        }
        if line.len() == MAX_LINE_BYTES {
            let problem = format!("line {number} is longer than 16 MiB: this is not NDJSON");
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        let last = line.last() != Some(&b'\n');
        let text = line.trim_ascii();
        if last && is_torn(text) {
            verifier.add_note(&format_args!("{name}:{number}: the last record is incomplete"));
        } else if !text.is_empty() {
            on_record(number);
            if verifier.add_record(text, None, &format_args!("{name}:{number}")).is_break() {
                break;
            }
        }
        if last {
            break;
        }
    }
    Ok(())
}

/// Returns whether a line without its end is the beginning of a JSON value.
fn is_torn(text: &[u8]) -> bool {
    let whole: Result<serde::de::IgnoredAny, _> = serde_json::from_slice(text);
    !text.is_empty() && whole.is_err_and(|error| error.is_eof())
}
