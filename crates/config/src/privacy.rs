//! Section `privacy`.

use crate::ConfigError;
use crate::reader::{Field as _, PerStream};
use crate::secret::{self, Secret};
use crate::value::PositiveSpan;
use dnscribe_record::Stream;
use dnscribe_record::privacy::{KeyMaterial, KeyOptions, Mask, MaskingMethod, MaskingRules};
use std::path::PathBuf;

section! {
    /// Section `privacy`.
    PrivacyLayer {
        /// Masking of all streams.
        flatten mask: MaskLayer,
        /// Key material of the pseudonyms, at least 16 bytes. Default: random at each start. Best given
        /// as DNSCRIBE_PRIVACY__KEY, or in a file.
        text key: Option<Secret> = example("0123456789abcdef0123456789abcdef"),
        /// File that contains the key material.
        text key_file: Option<PathBuf> = example("/etc/dnscribe/privacy.key"),
        /// Time after which the next key is derived and used.
        text rotate: Option<PositiveSpan> = default(KeyOptions::default().period),
        /// Other rules for the records of one stream; keys that are not given here are as above.
        per_stream streams: PerStream<MaskLayer> = example("{ alerts: { qname: keep } }"),
    }
}

section! {
    /// Section `privacy.streams.STREAM`, and the same keys of section `privacy`.
    MaskLayer {
        /// Names, their zones, owners of answers, SNI: keep, truncate, hash or drop.
        text qname: Option<MaskingMethod> = default(MaskingMethod::Keep),
        /// Addresses of clients: keep, truncate, hash or drop.
        text client: Option<MaskingMethod> = default(MaskingMethod::Keep),
        /// Addresses of servers: keep, truncate, hash or drop.
        text server: Option<MaskingMethod> = default(MaskingMethod::Keep),
        /// Data of answer records: keep, truncate, hash or drop. Default: as qname.
        text answers: Option<MaskingMethod> = example("hash"),
        /// Client subnets (EDNS): keep, truncate, hash or drop. Default: as client.
        text ecs: Option<MaskingMethod> = example("truncate"),
        /// Names of processes and paths of executables: keep, hash or drop.
        text process: Option<Hiding> = default(MaskingMethod::Keep),
        /// Ids of containers, and pods: keep, hash or drop.
        text container: Option<Hiding> = default(MaskingMethod::Keep),
    }
}

value! {
    /// Way to mask a value that has no parts.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    Hiding(MaskingMethod): "a way to mask what has no parts", "one of keep hash drop";
    |text| text.parse().ok().filter(|method: &MaskingMethod| *method != MaskingMethod::Truncate);
    ToString::to_string
}

impl MaskLayer {
    fn mask(&self) -> Mask {
        let (qname, client) = (self.qname(), self.client());
        Mask {
            qname,
            client,
            server: self.server(),
            answers: self.answers.unwrap_or(qname),
            ecs: self.ecs.unwrap_or(client),
            process: self.process().0,
            container: self.container().0,
        }
    }
}

/// Checks the section and reads the key. `wire`: message records contain the message's bytes.
///
/// # Errors
/// Settings do not fit together, or a file cannot be read.
pub fn resolve(layer: PrivacyLayer, wire: bool) -> Result<MaskingRules, ConfigError> {
    let material = material(&layer)?;
    let period = layer.rotate().0;
    let general = layer.mask;
    let mut own = layer.streams.0;
    let masks = Stream::ALL
        .map(|stream| own.remove(&stream).unwrap_or_default().over(general.clone()).mask());
    let keys = KeyOptions { material, period };
    let privacy = MaskingRules { masks, general: general.mask(), keys };
    if wire && privacy.mask(Stream::Messages).hides_message_bytes() {
        return ConfigError::in_section(
            "privacy",
            "messages.wire: true, or a sink dnstap, pcapng or evidence, would export what is masked in the stream \
             messages: leave one of them out",
        );
    }
    Ok(privacy)
}

/// Returns the key of the pseudonyms, if one is given.
fn material(layer: &PrivacyLayer) -> Result<Option<KeyMaterial>, ConfigError> {
    let wrong = |problem: String| ConfigError::Invalid(format!("privacy: {problem}"));
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
mod tests {
    use super::*;
    use dnscribe_record::privacy::MaskingMethod::{Drop, Hash, Keep};

    #[test]
    fn every_stream_is_masked_unless_it_has_rules_of_its_own() {
        let hidden = MaskLayer { server: Some(Hash), ..MaskLayer::default() };
        let own = MaskLayer { server: Some(Drop), ..MaskLayer::default() };
        let streams = PerStream([(Stream::Alerts, own)].into());
        let layer = PrivacyLayer { mask: hidden, streams, ..PrivacyLayer::default() };
        let rules = resolve(layer, false).unwrap();
        for stream in Stream::ALL {
            let expected = if stream == Stream::Alerts { Drop } else { Hash };
            assert_eq!(rules.mask(stream).server, expected, "{}", stream.name());
            assert_eq!(rules.mask(stream).client, Keep, "{}", stream.name());
        }
    }
}
