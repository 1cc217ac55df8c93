//! Public keys, and whether this program can verify their signatures.

use crate::handshake::ProblemKind;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Curves, and algorithms without curves, whose signatures are verified: P-256, P-384 and Ed25519.
const VERIFIED: [&str; 3] = ["1.2.840.10045.3.1.7", "1.3.132.0.34", "1.3.101.112"];

/// Names of others.
const NAMES: [(&str, &str); 4] = [
    ("1.3.132.0.35", "P-521"),
    ("1.3.132.0.10", "secp256k1"),
    ("1.3.101.113", "Ed448"),
    ("1.2.840.113549.1.1.10", "RSA-PSS"),
];

/// Length limits of RSA keys in bits.
const RSA_BITS: [usize; 2] = [2048, 8192];

/// Returns why signatures of a key (in DER) are not verified, to be said of its certificate.
pub(super) fn problem(key: &[u8]) -> Option<(ProblemKind, String)> {
    let (_, key) = SubjectPublicKeyInfo::from_der(key).ok()?;
    if let Ok(PublicKey::RSA(rsa)) = key.parsed() {
        let (bits, [least, most]) = (rsa.key_size(), RSA_BITS);
        let problem = if bits < least {
            (ProblemKind::Unsuitable, format!("clients want {least} at least"))
        } else if bits > most {
            (ProblemKind::Unsupported, format!("this probe cannot verify more than {most}"))
        } else {
            return None;
        };
        return Some((problem.0, format!("has an RSA key of {bits} bits: {}", problem.1)));
    }
    let curve = key.algorithm.parameters.as_ref().and_then(|one| one.as_oid().ok());
    let id = curve.unwrap_or(key.algorithm.algorithm).to_id_string();
    if VERIFIED.contains(&id.as_str()) {
        return None;
    }
    let name = NAMES.iter().find(|(known, _)| *known == id).map_or(id.as_str(), |(_, name)| name);
    let what = format!("has a key of type {name}, whose signatures this probe cannot verify");
    Some((ProblemKind::Unsupported, what))
}
