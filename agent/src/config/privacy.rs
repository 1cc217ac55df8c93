//! Section `privacy`.

use super::ConfigError;
use super::layer::{Over, PerStream, layer, per_stream};
use super::registry::Secret;
use super::secret;
use super::shape::{Entry, text};
use super::value::{Hiding, Masking, PositiveSpan};
use crate::privacy::{KeyMaterial, KeyOptions, Mask, Method, Privacy};
use crate::sink::Stream;
use serde::Deserialize;
use serde::de::MapAccess;
use std::path::PathBuf;

layer! {
    /// Section `privacy`.
    PrivacyLayer {
        /// Names asked for, their zones, owners of answers, SNI: keep, truncate, hash or drop.
        #[serde(deserialize_with = "text")]
        qname: Option<Masking> = default("keep"),
        /// Addresses of clients.
        #[serde(deserialize_with = "text")]
        client: Option<Masking> = default("keep"),
        /// Addresses of servers.
        #[serde(deserialize_with = "text")]
        server: Option<Masking> = default("keep"),
        /// What records of answers hold; as qname unless given.
        #[serde(deserialize_with = "text")]
        answers: Option<Masking> = example("hash"),
        /// Client subnets; as client unless given.
        #[serde(deserialize_with = "text")]
        ecs: Option<Masking> = example("truncate"),
        /// Names of processes and paths of executables: keep, hash or drop.
        #[serde(deserialize_with = "text")]
        process: Option<Hiding> = default("keep"),
        /// Ids of containers, and pods.
        #[serde(deserialize_with = "text")]
        container: Option<Hiding> = default("keep"),
        /// What the keys of the pseudonyms are made of, at least 16 octets: random at each start
        /// unless given. Best as DNSCRIBE_PRIVACY__KEY, or in a file.
        #[serde(deserialize_with = "text")]
        key: Option<Secret> = example("0123456789abcdef0123456789abcdef"),
        /// The file with that.
        #[serde(deserialize_with = "text")]
        key_file: Option<PathBuf> = example("/etc/dnscribe/privacy.key"),
        /// How long a key is used.
        #[serde(deserialize_with = "text")]
        rotate: Option<PositiveSpan> = default("24h"),
        /// Other rules for the records of one stream; what is not given here is as above.
        #[serde(deserialize_with = "per_stream")]
        streams: PerStream<MaskLayer> = example("{ alerts: { qname: keep } }"),
    }
}

layer! {
    /// Section `privacy.streams.STREAM`.
    MaskLayer {
        /// As in section `privacy`.
        #[serde(deserialize_with = "text")]
        qname: Option<Masking>,
        /// As in section `privacy`.
        #[serde(deserialize_with = "text")]
        client: Option<Masking>,
        /// As in section `privacy`.
        #[serde(deserialize_with = "text")]
        server: Option<Masking>,
        /// As in section `privacy`.
        #[serde(deserialize_with = "text")]
        answers: Option<Masking>,
        /// As in section `privacy`.
        #[serde(deserialize_with = "text")]
        ecs: Option<Masking>,
        /// As in section `privacy`.
        #[serde(deserialize_with = "text")]
        process: Option<Hiding>,
        /// As in section `privacy`.
        #[serde(deserialize_with = "text")]
        container: Option<Hiding>,
    }
}

impl Entry for MaskLayer {
    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Self, A::Error> {
        Ok(map.next_value::<Option<Self>>()?.unwrap_or_default())
    }
}

impl MaskLayer {
    fn mask(&self) -> Mask {
        let method = |given: Option<Masking>| given.map_or(Method::Keep, Method::from);
        let hiding = |given: Option<Hiding>| given.map_or(Method::Keep, Method::from);
        let (qname, client) = (method(self.qname), method(self.client));
        Mask {
            qname,
            client,
            server: method(self.server),
            answers: self.answers.map_or(qname, Method::from),
            ecs: self.ecs.map_or(client, Method::from),
            process: hiding(self.process),
            container: hiding(self.container),
        }
    }
}

/// What records do not tell. `wire`: records of messages hold their octets.
pub(super) fn resolve(layer: PrivacyLayer, wire: bool) -> Result<Privacy, ConfigError> {
    let wrong = |what: String| Err(ConfigError::Privacy(what));
    let material = material(&layer)?;
    let PrivacyLayer { qname, client, server, answers, ecs, process, container, .. } = layer;
    let general = MaskLayer { qname, client, server, answers, ecs, process, container };
    let mut privacy = Privacy { general: general.mask(), ..Privacy::default() };
    let mut own = layer.streams.0;
    if own.contains_key(&Stream::Ledger) {
        return wrong("streams.ledger: its records hold counters alone: leave it out".to_owned());
    }
    for stream in Stream::ALL.into_iter().filter(|stream| *stream != Stream::Ledger) {
        let mask = own.remove(&stream).unwrap_or_default().over(general.clone());
        privacy.masks[stream as usize] = mask.mask();
    }
    if wire && privacy.mask(Stream::Messages).hides_octets() {
        let what = "messages.wire: true would tell what is masked in the stream messages: leave one of them out";
        return wrong(what.to_owned());
    }
    let default = KeyOptions::default();
    let period = layer.rotate.map_or(default.period, |span| span.0);
    privacy.keys = KeyOptions { material, period };
    Ok(privacy)
}

fn material(layer: &PrivacyLayer) -> Result<Option<KeyMaterial>, ConfigError> {
    let wrong = |what: String| ConfigError::Privacy(what);
    let (name, key) = match (&layer.key, &layer.key_file) {
        (Some(_), Some(_)) => return Err(wrong("both key and key_file: keep one of them".into())),
        (Some(Secret(key)), None) => ("key".to_owned(), key.clone()),
        (None, Some(path)) => {
            let name = format!("key_file {}", path.display());
            let key = secret::read(path).map_err(|why| wrong(format!("{name}: {why}")))?;
            (name, key)
        }
        (None, None) => return Ok(None),
    };
    KeyMaterial::new(&key).map(Some).map_err(|why| wrong(format!("{name} {why}")))
}

#[cfg(test)]
mod tests;
