//! One revocation list, and what it says of certificates.

use super::Unknown;
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, UnixTime};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use webpki::{
    BorrowedCertRevocationList, CertRevocationList, EndEntityCert, Error, ExpirationPolicy,
    KeyUsage, RevocationCheckDepth, RevocationOptionsBuilder, RevocationReason,
    UnknownStatusPolicy,
};
use x509_parser::asn1_rs::Any;
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;

/// Most certificates whose status is remembered with a list.
const MAX_STATUSES: usize = 4096;

/// What a list says of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// It is not in the list.
    Good,
    /// It is in the list.
    Revoked {
        /// Seconds since the Unix epoch.
        since: u64,
        /// Why (RFC 5280, section 5.3.1), in snake case; absent if the list does not say.
        reason: Option<&'static str>,
    },
}

/// A revocation list in DER whose signature has not been verified.
#[derive(Debug)]
pub struct RevocationList {
    bytes: Vec<u8>,
    next_update: UnixTime,
    /// Status by the SHA-256 of the certificate.
    statuses: Mutex<HashMap<[u8; 32], Result<Revocation, Unknown>>>,
}

impl RevocationList {
    /// Reads a list. Returns nothing if it is none, or does not say when the next comes.
    pub(super) fn read(bytes: Vec<u8>) -> Option<Self> {
        let next_update = next_update(&bytes)?;
        Some(Self { bytes, next_update, statuses: Mutex::default() })
    }

    /// Length in bytes.
    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Time until the next list; zero once it should be there.
    pub(super) fn time_left(&self, now: UnixTime) -> Duration {
        Duration::from_secs(self.next_update.as_secs().saturating_sub(now.as_secs()))
    }

    /// Returns the status of the first certificate of a chain that leads to one of `roots`.
    ///
    /// # Errors
    /// Why the list does not tell: `crl_expired`, `crl_malformed`, `crl_delta`, `crl_signature` (it is not signed
    /// by the certificate's issuer), `crl_other_scope` (it is about other certificates), or `chain`.
    pub fn status(
        &self,
        chain: &[CertificateDer<'_>],
        roots: &RootCertStore,
        now: UnixTime,
    ) -> Result<Revocation, Unknown> {
        let (leaf, others) = chain.split_first().ok_or("chain")?;
        if self.time_left(now).is_zero() {
            return Err("crl_expired");
        }
        let digest: [u8; 32] = Sha256::digest(leaf).into();
        let lock = || self.statuses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(&digest) {
            return *known;
        }
        let status = verify(&self.bytes, leaf, others, roots, now);
        let mut statuses = lock();
        if statuses.len() >= MAX_STATUSES {
            statuses.clear();
        }
        statuses.insert(digest, status);
        status
    }
}

fn verify(
    list: &[u8],
    leaf: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    roots: &RootCertStore,
    now: UnixTime,
) -> Result<Revocation, Unknown> {
    let list = BorrowedCertRevocationList::from_der(list).map_err(|error| match error {
        Error::UnsupportedDeltaCrl => "crl_delta",
        _ => "crl_malformed",
    })?;
    let list = CertRevocationList::from(list);
    let lists = [&list];
    let options = RevocationOptionsBuilder::new(&lists).map_err(|_| "crl_malformed")?;
    let options = options
        .with_depth(RevocationCheckDepth::EndEntity)
        .with_status_policy(UnknownStatusPolicy::Deny)
        .with_expiration_policy(ExpirationPolicy::Enforce);
    let own = EndEntityCert::try_from(leaf).map_err(|_| "chain")?;
    let verified = own.verify_for_usage(
        ring::default_provider().signature_verification_algorithms.all,
        &roots.roots,
        others,
        now,
        KeyUsage::server_auth(),
        Some(options.build()),
        None,
    );
    match verified.map(drop) {
        Ok(()) => Ok(Revocation::Good),
        Err(Error::CertRevoked) => {
            let serial = own.serial();
            let found = list.find_serial(serial).map_err(|_| "crl_malformed")?;
            let found = found.ok_or("crl_malformed")?;
            let reason = found.reason_code.map(reason_name);
            Ok(Revocation::Revoked { since: found.revocation_date.as_secs(), reason })
        }
        Err(Error::CrlExpired { .. }) => Err("crl_expired"),
        Err(Error::UnknownRevocationStatus) => Err("crl_other_scope"),
        Err(
            Error::InvalidCrlSignatureForPublicKey
            | Error::IssuerNotCrlSigner
            | Error::UnsupportedCrlSignatureAlgorithmContext(_)
            | Error::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_),
        ) => Err("crl_signature"),
        Err(_) => Err("chain"),
    }
}

const fn reason_name(reason: RevocationReason) -> &'static str {
    match reason {
        RevocationReason::Unspecified => "unspecified",
        RevocationReason::KeyCompromise => "key_compromise",
        RevocationReason::CaCompromise => "ca_compromise",
        RevocationReason::AffiliationChanged => "affiliation_changed",
        RevocationReason::Superseded => "superseded",
        RevocationReason::CessationOfOperation => "cessation_of_operation",
        RevocationReason::CertificateHold => "certificate_hold",
        RevocationReason::RemoveFromCrl => "remove_from_crl",
        RevocationReason::PrivilegeWithdrawn => "privilege_withdrawn",
        RevocationReason::AaCompromise => "aa_compromise",
    }
}

/// Reads the time of the next list (RFC 5280, section 5.1.2.5) without reading the entries.
fn next_update(list: &[u8]) -> Option<UnixTime> {
    let (_, list) = Any::from_der(list).ok()?;
    let (_, signed) = Any::from_der(list.data).ok()?;
    // version, signature, issuer, thisUpdate
    let rest = (0..4).try_fold(signed.data, |rest, _| Some(Any::from_der(rest).ok()?.0))?;
    let (_, next) = ASN1Time::from_der(rest).ok()?;
    let seconds = u64::try_from(next.timestamp()).ok()?;
    Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
}
