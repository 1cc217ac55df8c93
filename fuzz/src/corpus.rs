//! Seed inputs: real messages and captures if available, and generated ones.

use crate::{Target, test_packets};
use anyhow::{Context as _, Result};
use dnscribe_tests::environment;
use std::fs;
use std::path::{Path, PathBuf};

/// Largest capture that is used as a seed file, in bytes.
const MAX_CAPTURE: u64 = 32 << 10;

/// Real inputs.
#[derive(Clone, Debug, Default)]
pub struct Corpus {
    /// DNS messages.
    pub messages: Vec<Vec<u8>>,
    /// Small capture files.
    pub captures: Vec<Vec<u8>>,
}

impl Corpus {
    /// Loads the generated messages and the inputs in [`environment::find_corpus`].
    pub fn load() -> Result<Self> {
        let mut corpus = Self { messages: own(), captures: Vec::new() };
        let Some(folder) = environment::find_corpus() else { return Ok(corpus) };
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

/// Returns every capture in [`environment::corpus`].
pub fn captures() -> Result<Vec<PathBuf>> {
    environment::corpus().map_or_else(|| Ok(Vec::new()), |folder| files(&folder.join("pcap")))
}

/// Writes the seeds of a target to `folder`.
pub fn write_seeds(target: Target, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    for (number, seed) in target.seeds(&Corpus::load()?).iter().enumerate() {
        fs::write(folder.join(format!("seed-{number:05}")), seed)?;
    }
    Ok(())
}

fn own() -> Vec<Vec<u8>> {
    let mut notify = test_packets::query(3, b"zone");
    notify[2] = 4 << 3;
    // DSO (RFC 8490): no question, a keepalive TLV.
    let dso = [0, 0, 6 << 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 8, 0, 0, 39, 16, 0, 0, 39, 16];
    vec![test_packets::query(1, b"www"), test_packets::response(1, b"www"), notify, dso.to_vec()]
}

/// Splits messages with 16-bit length prefixes.
fn messages(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>()
        && let Some((message, rest)) = rest.split_at_checked(u16::from_be_bytes(*length).into())
    {
        messages.push(message.to_vec());
        bytes = rest;
    }
    messages
}

/// Returns every file below a folder, sorted by path.
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
