//! Whether a server's certificate is revoked: by the stapled OCSP response, else by the lists of its issuer.

use super::certificate::{Presented, Problem};
use super::x509::{day, from_seconds};
use crate::handshake::ProblemKind;
use crate::revocation::{Revocation, Unknown};
use crate::trust::Trust;
use dnscribe_record::CertificateFields;
use rustls::pki_types::{CertificateDer, UnixTime};
use std::sync::Arc;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use url::Url;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;

/// Most URLs of one certificate that are tried.
const MAX_URLS: usize = 4;
/// Longest URL in bytes.
const MAX_URL_BYTES: usize = 2048;

/// Fills in the fields of `cert` about revocation, and adds the problem that it is revoked. Lists are fetched
/// for a certificate only that leads to a trusted root and has not expired: their URLs are its issuer's word.
/// Waits for half of the time that is left to `deadline`.
pub(super) async fn check(
    trust: &Trust,
    presented: &Presented,
    cert: &mut CertificateFields,
    problems: &mut Vec<Problem>,
    deadline: Instant,
) {
    if let Some(status @ ("good" | "revoked")) = cert.ocsp_status.as_deref() {
        cert.revocation = Some(status.to_owned());
        cert.revocation_source = Some("stapled_ocsp".to_owned());
        return;
    }
    let is_out_of_time =
        |(kind, _): &Problem| matches!(kind, ProblemKind::Expired | ProblemKind::NotYetValid);
    if !trust.revocation.enabled() || !cert.chain_ok || problems.iter().any(is_out_of_time) {
        return;
    }
    let (status, reason) = match by_lists(trust, &presented.chain, deadline).await {
        Ok((Revocation::Good, _)) => ("good", None),
        Ok((Revocation::Revoked { since, reason }, url)) => {
            let since = day(from_seconds(i64::try_from(since).unwrap_or(i64::MAX)));
            let why = reason.map(|reason| format!(", {reason}")).unwrap_or_default();
            let detail = format!("{} is revoked since {since}{why} ({url})", cert.subject);
            problems.push((ProblemKind::Revoked, detail));
            problems.sort();
            ("revoked", reason)
        }
        Err(reason) => ("unknown", Some(reason)),
    };
    cert.revocation = Some(status.to_owned());
    cert.revocation_source = (status != "unknown").then(|| "crl".to_owned());
    cert.revocation_reason = reason.map(str::to_owned);
}

/// Returns what the first list that tells says, with its URL; else why the first does not.
async fn by_lists(
    trust: &Trust,
    chain: &[CertificateDer<'static>],
    deadline: Instant,
) -> Result<(Revocation, Url), Unknown> {
    let mut unknown = None;
    for url in chain.first().map(urls).unwrap_or_default() {
        let limit = deadline.saturating_duration_since(Instant::now()) / 2;
        let list = match trust.revocation.get(&url, limit).await {
            Ok(list) => list,
            Err(why) => {
                unknown.get_or_insert(why);
                continue;
            }
        };
        let (chain, roots) = (chain.to_vec(), Arc::clone(&trust.roots));
        // Lists have up to some hundred thousand entries.
        let status = spawn_blocking(move || list.status(&chain, &roots, UnixTime::now())).await;
        match status {
            Ok(Ok(status)) => return Ok((status, url)),
            Ok(Err(why)) => _ = unknown.get_or_insert(why),
            Err(error) => {
                tracing::error!("the revocation list of {url} cannot be read: {error}");
                unknown.get_or_insert("crl_malformed");
            }
        }
    }
    Err(unknown.unwrap_or("no_crl"))
}

/// Returns the http URLs at which the issuer publishes lists with this certificate (RFC 5280, section
/// 4.2.1.13): neither those for some reasons only nor those of other issuers.
fn urls(certificate: &CertificateDer<'_>) -> Vec<Url> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let mut urls = Vec::new();
    for extension in certificate.extensions() {
        let ParsedExtension::CRLDistributionPoints(points) = extension.parsed_extension() else {
            continue;
        };
        let whole =
            points.iter().filter(|point| point.reasons.is_none() && point.crl_issuer.is_none());
        for point in whole {
            let Some(DistributionPointName::FullName(names)) = &point.distribution_point else {
                continue;
            };
            let found = names.iter().filter_map(|name| match name {
                GeneralName::URI(url) if url.len() <= MAX_URL_BYTES => Url::parse(url).ok(),
                _ => None,
            });
            urls.extend(found.filter(|url| url.scheme() == "http"));
        }
    }
    urls.truncate(MAX_URLS);
    urls
}
