//! What records do not tell: names, addresses and more, kept, cut, hashed or left out before any
//! record leaves the process.
//!
//! Masking works on rendered JSON, once for all sinks, just before a record goes into a batch. A table
//! says of every field what it holds; a field that is not in the table does not get through, so that a
//! new one cannot leak unnoticed.

#![forbid(unsafe_code)]

mod entity;
mod fields;
mod key;
mod masker;
mod pen;
#[cfg(test)]
mod tests;

pub use key::{BadKey, KeyMaterial};
pub use masker::{Masked, Masker};

use crate::record::MaskingFields;
use crate::sink::Stream;
use std::time::Duration;

/// What becomes of something that a record could tell, the least strict first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// It is told.
    #[default]
    Keep,
    /// A part is told: of an address its prefix, of a name its registrable domain.
    Truncate,
    /// A pseudonym is told.
    Hash,
    /// It is not told.
    Drop,
}

impl Method {
    /// As the configuration spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Truncate => "truncate",
            Self::Hash => "hash",
            Self::Drop => "drop",
        }
    }
}

/// What becomes of what the records of a stream could tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    /// Names asked for, and their zones.
    pub qname: Method,
    /// Addresses of clients.
    pub client: Method,
    /// Addresses of servers. The names that the configuration gives resolvers are told.
    pub server: Method,
    /// What records of answers hold.
    pub answers: Method,
    /// Client subnets.
    pub ecs: Method,
    /// Names of processes and paths of executables.
    pub process: Method,
    /// Ids of containers, and pods.
    pub container: Method,
}

/// One of those.
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
    /// Whether anything is not told.
    #[must_use]
    pub fn is_on(self) -> bool {
        self != Self::default()
    }

    pub(crate) const fn of(self, class: Class) -> Method {
        match class {
            Class::Qname => self.qname,
            Class::Client => self.client,
            Class::Server => self.server,
            Class::Answers => self.answers,
            Class::Process => self.process,
            Class::Container => self.container,
        }
    }

    /// Whether octets of a message could tell what is not to be told.
    #[must_use]
    pub fn hides_octets(self) -> bool {
        let Self { qname, client, server, answers, ecs, .. } = self;
        [qname, client, server, answers, ecs].iter().any(|method| *method != Method::Keep)
    }

    fn hashes(self) -> bool {
        let Self { qname, client, server, answers, ecs, process, container } = self;
        [qname, client, server, answers, ecs, process, container].contains(&Method::Hash)
    }

    /// What a record says of it; `key_id` names the key.
    fn told(self, key_id: &str) -> MaskingFields {
        let word = |method: Method| (method != Method::Keep).then(|| method.name());
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

/// What becomes of what each stream could tell, and the key of the pseudonyms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Privacy {
    /// By stream, in the order of [`Stream::ALL`].
    pub masks: [Mask; Stream::ALL.len()],
    /// What is said for all streams, and for `/metrics`.
    pub general: Mask,
    /// Of the pseudonyms.
    pub keys: KeyOptions,
}

/// Where the keys of the pseudonyms come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOptions {
    /// What they are made of; random, and gone with the process, where absent.
    pub material: Option<KeyMaterial>,
    /// How long each is used. Periods begin at multiples of it since 1970.
    pub period: Duration,
}

impl Default for KeyOptions {
    fn default() -> Self {
        Self { material: None, period: Duration::from_secs(24 * 3600) }
    }
}

impl Privacy {
    /// What becomes of what a stream could tell.
    #[must_use]
    pub const fn mask(&self, stream: Stream) -> Mask {
        self.masks[stream as usize]
    }
}
