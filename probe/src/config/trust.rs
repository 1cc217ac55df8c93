//! Section `trust`.

use super::layer::Layer;
use crate::revocation::RevocationOptions;
use crate::trust::Trust;
use dnscribe_config::value::Switch;
use dnscribe_config::{ConfigError, section};
use std::path::PathBuf;

section! {
    /// Section `trust`.
    TrustLayer {
        /// Files of trusted certificates, in PEM. Default: those of the system.
        items roots: Option<Vec<PathBuf>> = example("[/etc/ssl/corp-ca.pem]"),
        /// Files of trust anchors for DNSSEC: DS or DNSKEY records. Default: the root zone's.
        items dnssec_anchors: Option<Vec<PathBuf>> = example("[/etc/dnscribe/anchors.ds]"),
        /// Whether the revocation lists (CRLs) that certificates of tls and http targets name are fetched, by
        /// HTTP from their authorities: each list once in six hours for all targets.
        text crls: Option<Switch> = default(true),
        /// Whether they may be fetched from special addresses (private, loopback, link-local, ...), as those of an
        /// authority of your own.
        text crls_from_private: Option<Switch> = default(false),
    }
}

/// Reads the files of the section.
pub(super) fn resolve(layer: &Layer) -> Result<Trust, ConfigError> {
    let layer = &layer.trust;
    let revocation =
        RevocationOptions { enabled: layer.crls().0, from_private: layer.crls_from_private().0 };
    Trust::load(layer.roots.as_deref(), layer.dnssec_anchors.as_deref())
        .map(|trust| trust.with_revocation(revocation))
        .or_else(|problem| ConfigError::in_section("trust", problem))
}
