//! What a server's certificates say, and what is wrong with them. No I/O: chain, staple, roots and time are arguments.

use super::x509::{
    contents, date, day, from_seconds, hex, names, operator, presentation, seconds, timestamp,
    unix, wrapped,
};
use super::{key, ocsp};
use crate::handshake::{ProblemKind, certificate_problem, other};
use dnscribe_record::CertificateFields;
use dnscribe_record::time::Timestamp;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::{X509Name, X509Version};

/// Names of a certificate that are listed where none of them matches.
const NAMES_SHOWN: usize = 5;
const SECONDS_PER_DAY: f64 = 86_400.0;

/// What a server presented in a handshake.
#[derive(Clone, Debug, Default)]
pub(super) struct Presented {
    /// Certificates in DER, the server's own first.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// Stapled OCSP response in DER; empty if there is none.
    pub(super) ocsp: Vec<u8>,
}

impl Presented {
    /// Returns why no handshake with the server's own key can be verified.
    pub(super) fn key_problem(&self) -> Option<Problem> {
        let leaf = self.chain.first().and_then(parse)?;
        let (kind, what) = key::problem(leaf.public_key().raw)?;
        Some((kind, format!("{} {what}", presentation(leaf.subject()))))
    }
}

/// A problem with its explanation for people.
pub(super) type Problem = (ProblemKind, String);

/// Describes the server's certificate and lists its problems by weight. Returns no fields if it cannot be
/// read.
pub(super) fn inspect(
    presented: &Presented,
    roots: &RootCertStore,
    server_name: &ServerName<'_>,
    now: Timestamp,
) -> (Option<CertificateFields>, Vec<Problem>) {
    let Some(leaf) = presented.chain.first().and_then(parse) else {
        let problem = "the server's certificate cannot be read".to_owned();
        return (None, vec![(ProblemKind::Malformed, problem)]);
    };
    let others = presented.chain.iter().skip(1).filter_map(parse).collect();
    let chain = Chain { presented, roots, now, leaf, others };
    let mut problems = Vec::new();
    let chain_ok = chain.check(&mut problems);
    let san_match = chain.check_name(server_name, &mut problems);
    let ocsp_status = chain.check_staple(&mut problems);
    problems.sort();
    (Some(chain.describe(chain_ok, san_match, ocsp_status)), problems)
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate)
}

struct Chain<'a> {
    presented: &'a Presented,
    roots: &'a RootCertStore,
    now: Timestamp,
    leaf: X509Certificate<'a>,
    /// Other certificates that could be read, in the order sent.
    others: Vec<X509Certificate<'a>>,
}

impl<'a> Chain<'a> {
    /// Returns all certificates, the server's own first.
    fn all(&self) -> impl Iterator<Item = &X509Certificate<'a>> {
        std::iter::once(&self.leaf).chain(&self.others)
    }

    fn describe(
        &self,
        chain_ok: bool,
        san_match: bool,
        ocsp_status: Option<&str>,
    ) -> CertificateFields {
        let not_after = timestamp(self.leaf.validity().not_after);
        let expiry = self.leaf.validity().not_after.timestamp() - seconds(self.now);
        #[expect(
            clippy::cast_precision_loss,
            reason = "seconds of a certificate's lifetime are few"
        )]
        let expiry_days = (expiry as f64 / SECONDS_PER_DAY * 1e3).round() / 1e3;
        let earliest = self.all().map(|one| one.validity().not_after.timestamp()).min();
        CertificateFields {
            subject: presentation(self.leaf.subject()),
            issuer: presentation(self.leaf.issuer()),
            not_after: Some(not_after),
            expiry_days: Some(expiry_days),
            earliest_not_after: earliest.map(from_seconds),
            san_match: Some(san_match),
            chain_length: u32::try_from(self.presented.chain.len()).unwrap_or(u32::MAX),
            chain_ok,
            sha256: hex(&Sha256::digest(self.leaf.as_raw())),
            ocsp_stapled: !self.presented.ocsp.is_empty(),
            ocsp_status: ocsp_status.map(str::to_owned),
            revocation: None,
            revocation_source: None,
            revocation_reason: None,
        }
    }

    /// Checks validity and trust, and returns whether the chain leads to a root, whatever the time.
    fn check(&self, problems: &mut Vec<Problem>) -> bool {
        self.check_validity(&self.leaf, problems);
        let mut result = self.verify(unix(seconds(self.now)));
        if !problems.is_empty() || result.as_ref().is_err_and(is_time_error) {
            if problems.is_empty() {
                self.others.iter().for_each(|one| self.check_validity(one, problems));
            }
            // A time at which all have begun and the server's own has not ended.
            let begun = self.all().map(|one| one.validity().not_before.timestamp()).max();
            let end = self.leaf.validity().not_after.timestamp();
            result = self.verify(unix(begun.unwrap_or(end).min(end)));
        }
        match result {
            Ok(()) => true,
            // Certificates that never were valid together.
            Err(error) if is_time_error(&error) && !problems.is_empty() => false,
            Err(error) => {
                if self.leaf.is_ca() && self.is_trusted_itself() {
                    return true;
                }
                problems.push(self.classify(&error));
                false
            }
        }
    }

    fn verify(&self, at: UnixTime) -> Result<(), Error> {
        let (leaf, others) =
            self.presented.chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        let leaf = ParsedCertificate::try_from(leaf)?;
        let algorithms = ring::default_provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&leaf, self.roots, others, at, algorithms)
    }

    fn check_validity(&self, one: &X509Certificate<'_>, problems: &mut Vec<Problem>) {
        let validity = one.validity();
        let now = seconds(self.now);
        let (kind, end) = if validity.not_after.timestamp() < now {
            (ProblemKind::Expired, format!("expired on {}", date(validity.not_after)))
        } else if validity.not_before.timestamp() > now {
            (ProblemKind::NotYetValid, format!("is valid from {}", date(validity.not_before)))
        } else {
            return;
        };
        problems.push((kind, format!("{} {end}", presentation(one.subject()))));
    }

    /// Returns whether the server's certificate is one of those trusted, as self-signed ones are.
    fn is_trusted_itself(&self) -> bool {
        let key = self.leaf.public_key().raw;
        self.roots.roots.iter().any(|root| {
            contents(self.leaf.subject().as_raw()) == &*root.subject
                && contents(key) == &*root.subject_public_key_info
        })
    }

    /// Names the problem of a chain that does not verify.
    fn classify(&self, error: &Error) -> Problem {
        let is_self_issued =
            |one: &X509Certificate<'_>| one.subject().as_raw() == one.issuer().as_raw();
        let subject = presentation(self.leaf.subject());
        if is_self_issued(&self.leaf) && !self.is_trusted_itself() {
            return (ProblemKind::SelfSigned, format!("{subject} is signed with its own key"));
        }
        if let Error::InvalidCertificate(error) = error
            && *error != CertificateError::UnknownIssuer
        {
            return self.unusable_issuer(error).unwrap_or_else(|| {
                let (kind, what) = certificate_problem(error);
                (kind, format!("{} {what}", presentation(self.culprit(error).subject())))
            });
        }
        let top = self.top();
        let issuer = presentation(top.issuer());
        if is_self_issued(top) {
            return (ProblemKind::Untrusted, format!("the root {issuer} is not trusted"));
        }
        if let Some(evidence) = self.evidence_of_gap(top) {
            let missing = format!("the issuer {issuer} was not sent ({evidence})");
            return (ProblemKind::ChainIncomplete, missing);
        }
        (ProblemKind::Untrusted, format!("the issuer {issuer} is not trusted, and was not sent"))
    }

    /// Returns the certificate that an error is about: the server's own where that cannot be known.
    fn culprit(&self, error: &CertificateError) -> &X509Certificate<'a> {
        let is_meant = |one: &&X509Certificate<'_>| match error {
            CertificateError::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id,
                ..
            } => contents(signature_algorithm_id) == one.signature_algorithm.algorithm.as_bytes(),
            _ => match other(error) {
                Some(webpki::Error::UnsupportedCertVersion) => one.version() != X509Version::V3,
                Some(webpki::Error::UnsupportedCriticalExtension) => one
                    .extensions()
                    .iter()
                    .any(|one| one.critical && one.parsed_extension().unsupported()),
                _ => true,
            },
        };
        self.all().find(is_meant).unwrap_or(&self.leaf)
    }

    /// Returns the issuer whose key is why a signature cannot be verified.
    fn unusable_issuer(&self, error: &CertificateError) -> Option<Problem> {
        let is_of_signature = matches!(
            error,
            CertificateError::BadSignature
                | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
                | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
        );
        let mut issuers = self.all().map(|one| one.issuer()).filter(|_| is_of_signature);
        issuers.find_map(|issuer| {
            let (kind, what) = key::problem(&self.key_of(issuer)?)?;
            Some((kind, format!("{} {what}", presentation(issuer))))
        })
    }

    /// Returns the public key of an issuer that was sent or is trusted, as certificates have it.
    fn key_of(&self, issuer: &X509Name<'_>) -> Option<Vec<u8>> {
        let sent = self.others.iter().find(|one| one.subject().as_raw() == issuer.as_raw());
        sent.map(|one| one.public_key().raw.to_vec()).or_else(|| {
            let mut roots = self.roots.roots.iter();
            let root = roots.find(|root| contents(issuer.as_raw()) == &*root.subject);
            root.map(|root| wrapped(&root.subject_public_key_info))
        })
    }

    /// Returns the last certificate on the way from the server's own along the issuers that were sent.
    fn top(&self) -> &X509Certificate<'a> {
        let mut top = &self.leaf;
        // Each step leaves one certificate behind; more steps are a circle.
        for _ in 0..self.others.len() {
            let next =
                self.others.iter().find(|one| one.subject().as_raw() == top.issuer().as_raw());
            match next {
                Some(next) if next.subject().as_raw() != next.issuer().as_raw() => top = next,
                Some(next) => return next,
                None => break,
            }
        }
        top
    }

    /// Returns why the missing issuer of `top` is an intermediate and no root: what is known of it without
    /// asking others. A chain that lacks its intermediate and one of an unknown root that issues directly
    /// look alike otherwise.
    fn evidence_of_gap(&self, top: &X509Certificate<'_>) -> Option<String> {
        let issuer = top.issuer();
        for extension in top.extensions() {
            match extension.parsed_extension() {
                // RFC 5280, section 4.2.1.1: the issuer of the issuer.
                ParsedExtension::AuthorityKeyIdentifier(key) => {
                    let names = key.authority_cert_issuer.iter().flatten();
                    let above = names.filter_map(|name| match name {
                        GeneralName::DirectoryName(name) => Some(name),
                        _ => None,
                    });
                    let mut above = above.filter(|name| name.as_raw() != issuer.as_raw());
                    if let Some(root) = above.find(|name| self.is_root(name)) {
                        return Some(format!("its issuer {} is trusted", presentation(root)));
                    }
                }
                // RFC 5280, section 4.2.2.1. Intermediates name their root in the same way.
                ParsedExtension::AuthorityInfoAccess(access) if self.others.is_empty() => {
                    let mut urls = access.accessdescs.iter().filter_map(|one| {
                        match (one.access_method.to_id_string().as_str(), &one.access_location) {
                            (CA_ISSUERS, GeneralName::URI(url)) => Some(*url),
                            _ => None,
                        }
                    });
                    if let Some(url) = urls.next() {
                        return Some(format!("it is published at {url}"));
                    }
                }
                _ => {}
            }
        }
        // Another intermediate leads to a root, and the server's own certificate does not lead to it.
        let is_astray = |one: &&X509Certificate<'_>| {
            !std::ptr::eq(*one, top)
                && one.subject().as_raw() != one.issuer().as_raw()
                && self.is_root(one.issuer())
        };
        if let Some(sent) = self.others.iter().find(is_astray) {
            let [sent, root] = [sent.subject(), sent.issuer()].map(presentation);
            return Some(format!("{sent} was, of {root}, which is trusted"));
        }
        let operator = operator(issuer)?;
        let root = self.roots.roots.iter().map(|root| wrapped(&root.subject)).find(|root| {
            X509Name::from_der(root).is_ok_and(|(_, name)| self::operator(&name) == Some(operator))
        })?;
        let root = X509Name::from_der(&root).map(|(_, name)| presentation(&name)).ok()?;
        Some(format!("{root} is trusted"))
    }

    fn is_root(&self, name: &X509Name<'_>) -> bool {
        self.roots.roots.iter().any(|root| contents(name.as_raw()) == &*root.subject)
    }

    fn check_name(&self, server_name: &ServerName<'_>, problems: &mut Vec<Problem>) -> bool {
        let leaf = self.presented.chain.first().map(ParsedCertificate::try_from);
        if let Some(Ok(leaf)) = leaf
            && verify_server_name(&leaf, server_name).is_ok()
        {
            return true;
        }
        let names = names(&self.leaf);
        let mut listed = match names.len() {
            0 => "no name of a host".to_owned(),
            _ => names.iter().take(NAMES_SHOWN).cloned().collect::<Vec<_>>().join(", "),
        };
        if names.len() > NAMES_SHOWN {
            // Writing to a String cannot fail.
            let _ = write!(listed, " and {} more", names.len() - NAMES_SHOWN);
        }
        let wrong =
            format!("{} is not in the certificate, which has {listed}", server_name.to_str());
        problems.push((ProblemKind::NameMismatch, wrong));
        false
    }

    /// Returns the status in the stapled OCSP response: `invalid` if that cannot be relied on.
    fn check_staple(&self, problems: &mut Vec<Problem>) -> Option<&'static str> {
        if self.presented.ocsp.is_empty() {
            return None;
        }
        let status = self
            .key_of(self.leaf.issuer())
            .ok_or_else(|| "its issuer is not known".to_owned())
            .and_then(|key| ocsp::status(&self.presented.ocsp, &self.leaf, &key, self.now));
        match status {
            Ok(ocsp::Status::Revoked(since)) => {
                let since = from_seconds(since);
                let detail = format!(
                    "{} is revoked since {}",
                    presentation(self.leaf.subject()),
                    day(since)
                );
                problems.push((ProblemKind::Revoked, detail));
                Some("revoked")
            }
            Ok(ocsp::Status::Good) => Some("good"),
            Ok(ocsp::Status::Unknown) => Some("unknown"),
            Err(problem) => {
                tracing::debug!("stapled OCSP response: {problem}");
                Some("invalid")
            }
        }
    }
}

/// `id-ad-caIssuers` (RFC 5280, section 4.2.2.1).
const CA_ISSUERS: &str = "1.3.6.1.5.5.7.48.2";

const fn is_time_error(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }
        )
    )
}
