//! Masks records before they leave the process: each class of values is kept, truncated, hashed or
//! dropped.
//!
//! The masker works on rendered JSON, once for all sinks, just before a record is added to a batch.
//! A table says what each field contains; a field that is missing in the table is left out, so that
//! new fields cannot leak unnoticed.

mod alert;
mod field_masker;
mod fields;
mod key;
mod masker;
mod probe;
#[cfg(test)]
mod tests;

pub(crate) use key::is_pseudonym;
pub use key::{KeyError, KeyMaterial};
pub use masker::{MaskedRecord, Masker};

use crate::MaskingFields;
use crate::{Stream, named_enum};
use std::time::Duration;

named_enum! {
    /// How a value is masked, the least strict method first.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
    pub enum MaskingMethod: "a way to mask", "give one of" {
        /// The value stays.
        #[default]
        Keep = "keep",
        /// A part stays: of an address its prefix, of a name its registrable domain.
        Truncate = "truncate",
        /// A pseudonym replaces the value.
        Hash = "hash",
        /// The value is removed.
        Drop = "drop",
    }
}

/// Masking methods for the records of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    /// Query names and their zones.
    pub qname: MaskingMethod,
    /// Client addresses.
    pub client: MaskingMethod,
    /// Server addresses. Configured names of resolvers are never masked.
    pub server: MaskingMethod,
    /// Data of answer records.
    pub answers: MaskingMethod,
    /// Client subnets (ECS).
    pub ecs: MaskingMethod,
    /// Process names and paths of executables.
    pub process: MaskingMethod,
    /// Container ids and pods.
    pub container: MaskingMethod,
}

/// Class of values that one method of a [`Mask`] applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Qname,
    Client,
    Server,
    Answers,
    Process,
    Container,
}

impl Mask {
    /// Returns whether anything is masked.
    #[must_use]
    pub fn is_on(self) -> bool {
        self != Self::default()
    }

    pub(crate) const fn method(self, class: Class) -> MaskingMethod {
        match class {
            Class::Qname => self.qname,
            Class::Client => self.client,
            Class::Server => self.server,
            Class::Answers => self.answers,
            Class::Process => self.process,
            Class::Container => self.container,
        }
    }

    /// Returns whether raw bytes of a message could reveal something that is masked.
    #[must_use]
    pub fn hides_message_bytes(self) -> bool {
        let Self { qname, client, server, answers, ecs, .. } = self;
        [qname, client, server, answers, ecs].iter().any(|method| *method != MaskingMethod::Keep)
    }

    fn hashes(self) -> bool {
        let Self { qname, client, server, answers, ecs, process, container } = self;
        [qname, client, server, answers, ecs, process, container].contains(&MaskingMethod::Hash)
    }

    /// Returns the record's field `masking`; `key_id` identifies the key.
    fn record_fields(self, key_id: &str) -> MaskingFields {
        let word = |method: MaskingMethod| (method != MaskingMethod::Keep).then(|| method.name());
        MaskingFields {
            key_id: self.hashes().then(|| key_id.to_owned()),
            qname: word(self.qname),
            client: word(self.client),
            server: word(self.server),
            answers: word(self.answers),
            ecs: word(self.ecs),
            process: word(self.process),
            container: word(self.container),
        }
    }
}

/// Masking rules of all streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MaskingRules {
    /// By stream, in the order of [`Stream::ALL`].
    pub masks: [Mask; Stream::ALL.len()],
    /// Rules for all streams unless configured otherwise, and for `/metrics`.
    pub general: Mask,
    /// Keys of the pseudonyms.
    pub keys: KeyOptions,
}

/// Source and lifetime of the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOptions {
    /// Key material; if absent, random material that ends with the process.
    pub material: Option<KeyMaterial>,
    /// Lifetime of each key. Periods begin at multiples of it since 1970.
    pub period: Duration,
}

impl Default for KeyOptions {
    fn default() -> Self {
        Self { material: None, period: Duration::from_hours(24) }
    }
}

impl MaskingRules {
    /// Returns the masking methods of a stream.
    #[must_use]
    pub const fn mask(&self, stream: Stream) -> Mask {
        self.masks[stream as usize]
    }
}
