//! Masks records on their way out.

use super::fields;
use super::key::{Domain, KeyMaterial, KeyRing};
use super::pen::{Pen, Shallow, no_object, write};
use super::{BadKey, Mask, Method, Privacy};
use crate::sink::Stream;
use crate::time::Timestamp;
use serde_json::Error;

/// What masks records: what becomes of each stream's, the keys, and room that is used again. By default
/// nothing is masked.
#[derive(Default)]
pub struct Masker {
    privacy: Privacy,
    /// There where anything is masked, or was.
    keys: Option<KeyRing>,
    clear: Vec<u8>,
    masked: Vec<u8>,
    partition: String,
}

/// A masked record.
#[derive(Clone, Copy, Debug)]
pub struct Masked<'a> {
    /// JSON, without a newline.
    pub line: &'a [u8],
    /// The partitioning key.
    pub key: &'a [u8],
}

impl Masker {
    /// That does what was said.
    pub fn new(privacy: Privacy) -> Result<Self, BadKey> {
        let mut masker = Self::default();
        masker.adopt(privacy)?;
        Ok(masker)
    }

    /// Does something else from here on. Random keys stay as long as nothing else is said of keys.
    pub fn adopt(&mut self, privacy: Privacy) -> Result<(), BadKey> {
        let is_on = privacy.masks.iter().any(|mask| mask.is_on());
        if is_on && (self.keys.is_none() || privacy.keys != self.privacy.keys) {
            let material = match &privacy.keys.material {
                Some(material) => material.clone(),
                None => KeyMaterial::random()?,
            };
            let period = u64::try_from(privacy.keys.period.as_nanos()).unwrap_or(u64::MAX);
            self.keys = Some(KeyRing::new(&material, period));
        }
        self.privacy = privacy;
        Ok(())
    }

    /// Whether records of the stream are not told as they are.
    #[must_use]
    pub fn covers(&self, stream: Stream) -> bool {
        self.mask(stream).is_on()
    }

    /// Whether `/metrics` must not tell addresses of servers.
    #[must_use]
    pub fn hides_servers(&self) -> bool {
        self.privacy.general.server != Method::Keep
    }

    /// Masks a record, which `render` writes as JSON without a newline, and its partitioning key.
    pub fn masked(
        &mut self,
        stream: Stream,
        render: impl FnOnce(&mut Vec<u8>),
        key: &[u8],
    ) -> Masked<'_> {
        self.clear.clear();
        self.masked.clear();
        render(&mut self.clear);
        if let Err(error) = self.write(stream, key) {
            // Its words are about syntax, and tell nothing of the record.
            tracing::error!(
                line = error.line(),
                column = error.column(),
                "a record could not be masked"
            );
            self.masked.clear();
            self.masked.extend(b"{}");
        }
        Masked { line: &self.masked, key: self.partition.as_bytes() }
    }

    fn write(&mut self, stream: Stream, key: &[u8]) -> Result<(), Error> {
        self.partition.clear();
        let mask = self.mask(stream);
        let clear = std::str::from_utf8(&self.clear).map_err(|_| no_object())?;
        let record: Shallow<'_> = serde_json::from_str(clear)?;
        let ts = record.text("ts").and_then(|ts| ts.parse().ok());
        let ts: Timestamp = ts.ok_or_else(no_object)?;
        let (current, steady) = self.keys.as_mut().ok_or_else(no_object)?.at(ts.as_nanos());
        let key = String::from_utf8_lossy(key);
        self.partition = match stream {
            // The node's name.
            Stream::Dlq | Stream::Ledger => key.into_owned(),
            _ => current.text(Domain::Partition, &key),
        };
        Pen { mask, key: current, steady }.object(&mut self.masked, fields::of(stream), &record)?;
        self.masked.pop();
        self.masked.extend_from_slice(b",\"masking\":");
        write(&mut self.masked, &mask.told(current.id()))?;
        self.masked.push(b'}');
        Ok(())
    }

    fn mask(&self, stream: Stream) -> Mask {
        self.privacy.mask(stream)
    }
}
