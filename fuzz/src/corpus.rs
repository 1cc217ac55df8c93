//! What inputs are made from: real messages and captures where they are at hand, and some of our own
//! everywhere.

use crate::{Target, craft};
use anyhow::{Context as _, Result};
use dnscribe_tests::environment;
use std::fs;
use std::path::{Path, PathBuf};

/// The largest capture that is worth mutating as a file, in octets.
const MAX_CAPTURE: u64 = 32 << 10;

/// Real octets.
#[derive(Clone, Debug, Default)]
pub struct Corpus {
    /// DNS messages.
    pub messages: Vec<Vec<u8>>,
    /// Small capture files.
    pub captures: Vec<Vec<u8>>,
}

impl Corpus {
    /// Our own messages, and what [`environment::corpus`] names.
    pub fn load() -> Result<Self> {
        let mut corpus = Self { messages: own(), captures: Vec::new() };
        let Some(folder) = environment::corpus() else { return Ok(corpus) };
        for file in files(&folder.join("raw"))? {
            if file.file_name().is_some_and(|name| name == "messages.bin") {
                corpus.messages.extend(messages(&fs::read(&file)?));
            }
        }
        for file in files(&folder.join("pcap"))? {
            if file.metadata()?.len() <= MAX_CAPTURE {
                corpus.captures.push(fs::read(&file)?);
            }
        }
        Ok(corpus)
    }
}

/// Every capture of [`environment::corpus`].
pub fn captures() -> Result<Vec<PathBuf>> {
    environment::corpus().map_or_else(|| Ok(Vec::new()), |folder| files(&folder.join("pcap")))
}

/// Writes a target's first inputs.
pub fn write_seeds(target: Target, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    for (number, seed) in target.seeds(&Corpus::load()?).iter().enumerate() {
        fs::write(folder.join(format!("seed-{number:05}")), seed)?;
    }
    Ok(())
}

fn own() -> Vec<Vec<u8>> {
    let mut notify = craft::query(3, b"zone");
    notify[2] = 4 << 3;
    // DSO (RFC 8490): no question, a keepalive TLV.
    let dso = [0, 0, 6 << 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 8, 0, 0, 39, 16, 0, 0, 39, 16];
    vec![craft::query(1, b"www"), craft::response(1, b"www"), notify, dso.to_vec()]
}

/// Messages after their lengths in two octets.
fn messages(mut octets: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while let Some((length, rest)) = octets.split_first_chunk::<2>()
        && let Some((message, rest)) = rest.split_at_checked(u16::from_be_bytes(*length).into())
    {
        messages.push(message.to_vec());
        octets = rest;
    }
    messages
}

/// Every file below a folder, by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
