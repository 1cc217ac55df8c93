//! The file of the memory: one line of JSON that describes it, then one line for each endpoint of a target.
//!
//! ```text
//! {"format":"dnscribe-probe memory","version":1,"xxh3":"…16 hex digits, of all bytes behind this line…"}
//! {"service":"shop","kind":"dns","target":"shop.example.com A","endpoint":"corp","last_round":"…",…}
//! ```

use super::subject::Subject;
use super::{SubjectKey, describe};
use dnscribe_delivery::StateFile;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use xxhash_rust::xxh3::xxh3_64;

const FORMAT: &str = "dnscribe-probe memory";
const VERSION: u32 = 1;
const NAME: &str = "memory.ndjson";

/// First line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    #[serde(default)]
    xxh3: String,
}

/// Line of an endpoint.
#[derive(Debug, Serialize, Deserialize)]
struct Line<K, S> {
    #[serde(flatten)]
    key: K,
    known: S,
}

/// Why a file cannot be read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// Error of the system.
    Io(io::Error),
    /// A newer program wrote it.
    Newer(u32),
    /// It is not what was written.
    Corrupt(String),
}

/// What is known, by endpoint.
type Subjects = Vec<(SubjectKey, Subject)>;

/// Opens the file in a directory, which is created, and returns what it holds.
pub(super) fn open(directory: &Path) -> io::Result<(StateFile, Subjects)> {
    fs::create_dir_all(directory)?;
    let path = directory.join(NAME);
    let subjects = match read(&path) {
        Ok(subjects) => subjects,
        Err(ReadError::Io(error)) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(ReadError::Io(error)) => return Err(error),
        Err(error) => {
            let aside = match error {
                ReadError::Newer(version) => path.with_extension(format!("version-{version}")),
                _ => path.with_extension("corrupt"),
            };
            fs::rename(&path, &aside)?;
            tracing::warn!(
                file = %path.display(), aside = %aside.display(), error = describe(&error),
                "the file of known answers cannot be used and was set aside; answers are learned anew"
            );
            Vec::new()
        }
    };
    Ok((StateFile::start(path, "known answers")?, subjects))
}

/// Returns the contents of the file, sorted by endpoint.
pub(super) fn encode(subjects: &HashMap<SubjectKey, Subject>) -> Vec<u8> {
    let mut sorted: Vec<_> = subjects.iter().collect();
    sorted.sort_unstable_by_key(|(key, _)| *key);
    let mut body = Vec::new();
    for (key, known) in sorted {
        write_line(&mut body, &Line { key, known });
    }
    let xxh3 = format!("{:016x}", xxh3_64(&body));
    let mut contents = Vec::with_capacity(body.len() + 100);
    write_line(&mut contents, &Header { format: FORMAT.to_owned(), version: VERSION, xxh3 });
    contents.append(&mut body);
    contents
}

fn write_line(to: &mut Vec<u8>, line: &impl Serialize) {
    // Writing to a Vec cannot fail, and these types have no keys that are not texts.
    let _ = serde_json::to_writer(&mut *to, line);
    to.push(b'\n');
}

fn read(path: &Path) -> Result<Subjects, ReadError> {
    let contents = fs::read(path)?;
    let corrupt = |error: serde_json::Error| ReadError::Corrupt(error.to_string());
    let (header, body) = match contents.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&contents[..end], &contents[end + 1..]),
        None => return Err(ReadError::Corrupt("it has no first line".to_owned())),
    };
    let header: Header = serde_json::from_slice(header).map_err(corrupt)?;
    if header.format != FORMAT {
        return Err(ReadError::Corrupt(format!("its format is \"{}\"", header.format)));
    }
    if header.version > VERSION {
        return Err(ReadError::Newer(header.version));
    }
    if header.xxh3 != format!("{:016x}", xxh3_64(body)) {
        return Err(ReadError::Corrupt("its checksum is wrong".to_owned()));
    }
    let lines = serde_json::Deserializer::from_slice(body).into_iter::<Line<SubjectKey, Subject>>();
    lines.map(|line| line.map(|line| (line.key, line.known)).map_err(corrupt)).collect()
}
