//! Key `client_certificate` of targets.

use crate::client_certificate::ClientCertificate;
use dnscribe_config::section;
use std::path::PathBuf;

section! {
    /// Section `client_certificate` of a target.
    ClientCertificateLayer {
        /// File with the certificate and the intermediate ones behind it, in PEM.
        text certificate: Option<PathBuf> = example("/etc/dnscribe-probe/client.pem"),
        /// File with its key, in PEM and without a passphrase.
        text key: Option<PathBuf> = example("/etc/dnscribe-probe/client.key"),
    }
}

/// Reads the files of the key, if a target of `kind` has it.
pub(super) fn resolve(
    kind: &str,
    layer: Option<&ClientCertificateLayer>,
) -> Result<Option<ClientCertificate>, String> {
    match layer {
        None => Ok(None),
        Some(ClientCertificateLayer { certificate: Some(certificate), key: Some(key) }) => {
            let found = ClientCertificate::load(certificate, key);
            found.map(Some).map_err(|problem| format!("{kind}.client_certificate: {problem}"))
        }
        Some(_) => Err(format!("{kind}.client_certificate needs certificate and key")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    #[test]
    fn says_what_is_wrong_with_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let own = CertificateParams::new(["probe".to_owned()]).unwrap().self_signed(&key).unwrap();
        std::fs::write(path("own.pem"), own.pem()).unwrap();
        std::fs::write(path("own.key"), key.serialize_pem()).unwrap();
        std::fs::write(path("other.key"), other.serialize_pem()).unwrap();
        std::fs::write(path("empty"), "").unwrap();
        let load = |certificate: &str, key: &str| {
            let (certificate, key) = (Some(path(certificate)), Some(path(key)));
            resolve("tls", Some(&ClientCertificateLayer { certificate, key }))
        };
        let good = load("own.pem", "own.key").unwrap().unwrap();
        assert!(!format!("{good:?}").contains("key"), "{good:?}");
        for (certificate, key, expected) in [
            ("own.pem", "other.key", "other.key: the key is not that of "),
            ("empty", "own.key", "empty: there is no certificate in PEM"),
            ("own.pem", "empty", "empty: there is no private key without a passphrase in PEM"),
            ("own.pem", "own.pem", "own.pem: there is no private key"),
            ("gone.pem", "own.key", "gone.pem: "),
            ("own.pem", "gone.key", "gone.key: "),
        ] {
            let problem = load(certificate, key).unwrap_err();
            assert!(problem.starts_with("tls.client_certificate: "), "{problem}");
            assert!(problem.contains(expected), "{problem}");
        }
        let half = ClientCertificateLayer { key: Some(path("own.key")), certificate: None };
        assert!(resolve("http", Some(&half)).unwrap_err().contains("needs certificate and key"));
    }
}
