//! What the probe trusts: roots of certificates with the lists of those that are revoked, and trust anchors of
//! DNSSEC.

use crate::name::parse_name;
use crate::revocation::{RevocationLists, RevocationOptions};
use hickory_proto::ProtoError;
use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS};
use hickory_proto::dnssec::{DigestType, PublicKey as _};
use hickory_proto::rr::{Name, RData, RecordSet};
use hickory_proto::serialize::txt::{Parser, trust_anchor};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Trust anchors of the root zone, as IANA publishes them (`root-anchors.xml`): the keys of 2017 and 2024.
const ROOT_ANCHORS: &str = "\
. 86400 IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D
. 86400 IN DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16
";

/// Largest size in bytes of a file with trust anchors.
const MAX_ANCHOR_BYTES: u64 = 1 << 20;

/// Roots of certificates and trust anchors of DNSSEC.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Certificates at which chains must end.
    pub roots: Arc<RootCertStore>,
    /// Keys of zones from which DNSSEC is validated.
    pub anchors: Arc<[Anchor]>,
    /// Lists of revoked certificates.
    pub revocation: Arc<RevocationLists>,
}

/// A trust anchor: the digest of a zone's key (RFC 4033, section 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The zone.
    pub zone: Name,
    /// Digest of its key.
    pub ds: DS,
}

impl Trust {
    /// Reads what the configuration names. No files of roots stand for those of the system, no files of
    /// anchors for those of the root zone.
    ///
    /// # Errors
    /// A file cannot be read, or holds no certificate or no anchor. The message names the file.
    pub fn load(roots: Option<&[PathBuf]>, anchors: Option<&[PathBuf]>) -> Result<Self, String> {
        let roots = match roots {
            Some(files) => read_roots(files)?,
            None => system_roots(),
        };
        let anchors = match anchors {
            Some(files) => {
                let read = files.iter().map(|path| read_anchors(path));
                read.collect::<Result<Vec<_>, _>>()?.concat()
            }
            None => parse_anchors(ROOT_ANCHORS)?,
        };
        let revocation = Arc::new(RevocationLists::new(RevocationOptions::default()));
        Ok(Self { roots: Arc::new(roots), anchors: anchors.into(), revocation })
    }

    /// Changes whether revocation lists are fetched, and from where.
    #[must_use]
    pub fn with_revocation(self, options: RevocationOptions) -> Self {
        Self { revocation: Arc::new(RevocationLists::new(options)), ..self }
    }

    /// Returns the settings of a TLS client that offers these application protocols. Sessions are not
    /// resumed, so that each handshake is a whole one.
    ///
    /// # Errors
    /// The TLS library refuses its own defaults.
    pub fn tls_client(&self, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, rustls::Error> {
        let provider = Arc::new(ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config =
            builder.with_root_certificates(Arc::clone(&self.roots)).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Arc::new(config))
    }
}

/// Reads the roots of the system. Those that cannot be read are logged; a system without any makes every
/// chain untrusted.
fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!("cannot read a trusted certificate of the system: {error}");
    }
    let mut roots = RootCertStore::empty();
    let (_, ignored) = roots.add_parsable_certificates(found.certs);
    if ignored > 0 {
        tracing::debug!("{ignored} trusted certificates of the system cannot be used");
    }
    if roots.is_empty() {
        tracing::warn!(
            "the system has no trusted certificates: install ca-certificates, or set trust.roots"
        );
    }
    roots
}

fn read_roots(files: &[PathBuf]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for path in files {
        let place = path.display();
        let found = rustls_native_certs::load_certs_from_paths(Some(path), None);
        if let Some(error) = found.errors.first() {
            return Err(format!("roots: {place}: {error}"));
        }
        if found.certs.is_empty() {
            return Err(format!("roots: {place}: there is no certificate in PEM"));
        }
        for certificate in found.certs {
            roots.add(certificate).map_err(|error| format!("roots: {place}: {error}"))?;
        }
    }
    Ok(roots)
}

fn read_anchors(path: &Path) -> Result<Vec<Anchor>, String> {
    let place = path.display();
    let fail = |problem: String| format!("dnssec_anchors: {place}: {problem}");
    let size = std::fs::metadata(path).map_err(|error| fail(error.to_string()))?.len();
    if size > MAX_ANCHOR_BYTES {
        return Err(fail("the file is too large to be one of trust anchors".to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    parse_anchors(&text).map_err(fail)
}

/// Reads DS and DNSKEY records in zone-file format (RFC 1035, section 5), without control entries. A DNSKEY
/// becomes its digest; one that is no key of a zone, or is revoked (RFC 5011), is left out.
fn parse_anchors(text: &str) -> Result<Vec<Anchor>, String> {
    let mut anchors = Vec::new();
    for line in logical_lines(text) {
        let anchor = parse_anchor(&line).map_err(|problem| format!("{problem}, in \"{line}\""))?;
        anchors.extend(anchor);
    }
    if anchors.is_empty() {
        return Err("there is no DS or DNSKEY record of a zone's key".to_owned());
    }
    Ok(anchors)
}

/// Returns the lines that are not empty, without comments; what stands in parentheses is one line.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut depth = 0_usize;
    for line in text.lines() {
        let line = line.split(';').next().unwrap_or_default();
        let joined = line.replace(['(', ')'], " ");
        if let Some(last) = lines.last_mut() {
            last.push_str(&joined);
            last.push(' ');
        }
        let opened = depth + line.matches('(').count();
        depth = opened.saturating_sub(line.matches(')').count());
        if depth == 0 {
            lines.push(String::new());
        }
    }
    lines.retain(|line| !line.trim().is_empty());
    lines.into_iter().map(|line| line.trim().to_owned()).collect()
}

fn parse_anchor(line: &str) -> Result<Option<Anchor>, String> {
    let words: Vec<_> = line.split_whitespace().collect();
    let kind = words
        .iter()
        .take(4)
        .position(|word| word.eq_ignore_ascii_case("DS") || word.eq_ignore_ascii_case("DNSKEY"));
    let (Some(kind), [owner, ..]) = (kind.filter(|index| *index > 0), words.as_slice()) else {
        return Err("expected a DS or DNSKEY record".to_owned());
    };
    let zone = parse_name(owner).ok_or("the owner is no name of DNS")?.to_lowercase();
    let data = words[kind + 1..].join(" ");
    if words[kind].eq_ignore_ascii_case("DS") {
        let parser = Parser::new(format!("{zone} 86400 IN DS {data}\n"), None, Some(Name::root()));
        let (_, sets) = parser.parse().map_err(|error| error.to_string())?;
        let record = sets.values().next().and_then(RecordSet::record);
        let Some(RData::DNSSEC(DNSSECRData::DS(ds))) = record.map(|record| &record.data) else {
            return Err("expected a DS record".to_owned());
        };
        return Ok(Some(Anchor { zone, ds: ds.clone() }));
    }
    let parser = trust_anchor::Parser::new(format!("{zone} 86400 IN DNSKEY {data}\n"));
    let mut records = parser.parse().map_err(|error| error.to_string())?;
    let Some(trust_anchor::Entry::DNSKEY(record)) = records.pop() else {
        return Err("expected a DNSKEY record".to_owned());
    };
    let key = record.data();
    if !key.zone_key() || key.revoke() {
        return Ok(None);
    }
    let ds = digest(&zone, key).map_err(|error| error.to_string())?;
    Ok(Some(Anchor { zone, ds }))
}

/// Makes the DS record of a zone's key.
fn digest(zone: &Name, key: &DNSKEY) -> Result<DS, ProtoError> {
    let digest_type = DigestType::SHA256;
    let hash = key.to_digest(zone, digest_type)?;
    let algorithm = key.public_key().algorithm();
    Ok(DS::new(key.calculate_key_tag()?, algorithm, digest_type, hash.as_ref().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::dnssec::TrustAnchors;

    #[test]
    fn root_anchors_are_the_keys_that_hickory_has() {
        let anchors = parse_anchors(ROOT_ANCHORS).unwrap();
        let keys = TrustAnchors::default();
        assert_eq!(anchors.len(), keys.len());
        for (index, tag) in [20326, 38696].into_iter().enumerate() {
            let key = DNSKEY::with_flags(257, keys.get(index).unwrap().clone());
            let anchor = anchors.iter().find(|anchor| anchor.ds.key_tag() == tag).unwrap();
            assert!(anchor.ds.covers(&Name::root(), &key).unwrap(), "{tag}");
        }
    }

    #[test]
    fn keys_become_digests() {
        // RFC 4509, section 2.3.
        let key = "dskey.example.com. 86400 IN DNSKEY 256 3 5 ( AQOeiiR0GOMYkDshWoSKz9XzfwJr1AYtsmx3TGkJaNXVbfi/ 2pHm822aJ5iI9BMzNXxeYCmZDRD99WYwYqUSdjMmmAphXdvx egXd/M5+X7OrzKBaMbCVdFLUUh6DhweJBjEVv5f2wwjM9Xzc nOf+EPbtG9DMBmADjFDc2w/rljwvFw== ) ; key id = 60485";
        let ds = "dskey.example.com. IN DS 60485 5 2 ( D4B7D520E7BB5F0F67674A0CCEB1E3E0614B93C4F9E99B83 83F6A1E4469DA50A )";
        assert_eq!(parse_anchors(key).unwrap(), parse_anchors(ds).unwrap());
    }

    #[test]
    fn refuses_what_is_no_anchor() {
        for text in ["", "example. 60 IN A 192.0.2.1\n", "example. 60 IN DS 1 8 2 zz\n"] {
            assert!(parse_anchors(text).is_err(), "{text}");
        }
    }
}
