//! Masks whole records just before they are added to a batch.

use super::field_masker::{FieldMasker, RawObject, not_an_object, write};
use super::key::{Domain, KeyMaterial, KeyRing};
use super::{KeyError, Mask, MaskingMethod, MaskingRules, fields};
use crate::Stream;
use crate::time::Timestamp;
use serde_json::Error;

/// Masks records by the rules of their stream. By default nothing is masked. Buffers are reused.
#[derive(Default)]
pub struct Masker {
    privacy: MaskingRules,
    /// Present once any stream has been masked.
    keys: Option<KeyRing>,
    clear: Vec<u8>,
    masked: Vec<u8>,
    partition: String,
}

/// A masked record and its partitioning key.
#[derive(Clone, Copy, Debug)]
pub struct MaskedRecord<'a> {
    /// The record as JSON, without a newline.
    pub json: &'a [u8],
    /// The partitioning key.
    pub key: &'a [u8],
}

impl Masker {
    /// Creates a masker that applies `privacy`.
    ///
    /// # Errors
    /// The system has no random numbers for a key.
    pub fn new(privacy: MaskingRules) -> Result<Self, KeyError> {
        let mut masker = Self::default();
        masker.reconfigure(privacy)?;
        Ok(masker)
    }

    /// Applies other rules from now on. Random keys stay as long as the key options do not change.
    ///
    /// # Errors
    /// The system has no random numbers for a key.
    pub fn reconfigure(&mut self, privacy: MaskingRules) -> Result<(), KeyError> {
        let is_on = privacy.masks.iter().any(|mask| mask.is_on());
        if is_on && (self.keys.is_none() || privacy.keys != self.privacy.keys) {
            let material = match &privacy.keys.material {
                Some(material) => material.clone(),
                None => KeyMaterial::random()?,
            };
            let period = u64::try_from(privacy.keys.period.as_nanos()).unwrap_or(u64::MAX);
            self.keys = Some(KeyRing::new(&material, period).after(self.keys.take()));
        }
        self.privacy = privacy;
        Ok(())
    }

    /// Returns whether records of the stream are masked.
    #[must_use]
    pub fn masks(&self, stream: Stream) -> bool {
        self.rules_of(stream).is_on()
    }

    /// Returns whether `/metrics` must hide containers and pods.
    #[must_use]
    pub fn hides_containers(&self) -> bool {
        self.privacy.general.container != MaskingMethod::Keep
    }

    /// Returns whether `/metrics` must hide server addresses.
    #[must_use]
    pub fn hides_servers(&self) -> bool {
        self.privacy.general.server != MaskingMethod::Keep
    }

    /// Masks a record, which `render` writes as JSON without a newline, and its partitioning key.
    pub fn mask(
        &mut self,
        stream: Stream,
        render: impl FnOnce(&mut Vec<u8>),
        key: &[u8],
    ) -> MaskedRecord<'_> {
        self.clear.clear();
        self.masked.clear();
        render(&mut self.clear);
        if let Err(error) = self.write(stream, key) {
            // The error describes syntax only and reveals nothing of the record.
            tracing::error!(
                line = error.line(),
                column = error.column(),
                "cannot mask a record: writing an empty one instead"
            );
            self.masked.clear();
            self.masked.extend(b"{}");
        }
        MaskedRecord { json: &self.masked, key: self.partition.as_bytes() }
    }

    fn write(&mut self, stream: Stream, key: &[u8]) -> Result<(), Error> {
        self.partition.clear();
        let mask = self.rules_of(stream);
        let clear = std::str::from_utf8(&self.clear).map_err(|_| not_an_object())?;
        let record: RawObject<'_> = serde_json::from_str(clear)?;
        let ts = record.text("ts").and_then(|ts| ts.parse().ok());
        let ts: Timestamp = ts.ok_or_else(not_an_object)?;
        let (current, constant) =
            self.keys.as_mut().ok_or_else(not_an_object)?.keys_at(ts.as_nanos());
        let key = String::from_utf8_lossy(key);
        self.partition = match stream {
            // The key is the node's name, which is public.
            Stream::Dlq | Stream::Ledger => key.into_owned(),
            _ => current.text(Domain::Partition, &key),
        };
        let masker = FieldMasker { mask, key: current, constant };
        masker.write_object(&mut self.masked, fields::of_stream(stream), &record)?;
        if stream == Stream::Ledger {
            // Its schema has no such field: only names of senders are masked in it.
            return Ok(());
        }
        self.masked.pop();
        self.masked.extend_from_slice(b",\"masking\":");
        write(&mut self.masked, &mask.record_fields(&current.id))?;
        self.masked.push(b'}');
        Ok(())
    }

    /// Returns the rules for records of the stream.
    #[must_use]
    pub fn rules_of(&self, stream: Stream) -> Mask {
        self.privacy.mask(stream)
    }
}
