//! Helpers of tests: a context, targets and certificates.

use super::Context;
use crate::client_certificate::ClientCertificate;
use crate::source::Source;
use crate::target::{AddressFamily, Host, HostName};
use crate::trust::Trust;
use dnscribe_record::ProbeFields;
use hickory_proto::rr::Name;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};

/// Creates a context that trusts no certificate.
pub(super) fn context() -> Context {
    context_with(RootCertStore::empty())
}

/// Creates a context that trusts these roots.
pub(super) fn context_with(roots: RootCertStore) -> Context {
    let trust = Trust::load(Some(&[]), None).unwrap();
    Context::new("test".to_owned(), Trust { roots: Arc::new(roots), ..trust })
}

/// Creates the fields of a measurement.
pub(super) fn fields() -> ProbeFields {
    ProbeFields { ok: true, attempt: 1, ..ProbeFields::default() }
}

/// Creates a host that the system resolves.
pub(super) fn host(name: &str, port: u16) -> Host {
    let name = name.parse().map_or_else(
        |_| HostName::Name(Name::from_ascii(format!("{name}.")).unwrap()),
        HostName::Address,
    );
    let (family, source) = (AddressFamily::Any, Source::default());
    Host { name, port, resolver: None, family, source }
}

/// Key with certificates of a test: an authority, or a server.
pub(super) type Authority = CertifiedIssuer<'static, KeyPair>;

/// A server's certificates, its own first, with its key.
pub(super) struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: KeyPair,
}

/// Creates a root, or an intermediate of `parent`. The organization may be empty.
pub(super) fn authority(name: &str, organization: &str, parent: Option<&Authority>) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if !organization.is_empty() {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    match parent {
        Some(parent) => CertifiedIssuer::signed_by(params, key, parent).unwrap(),
        None => CertifiedIssuer::self_signed(params, key).unwrap(),
    }
}

/// Creates parameters of a server's certificate.
pub(super) fn server_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2099, 1, 1);
    params
}

/// Creates a server's certificate, signed by `issuer`, and the certificates to be sent with it.
pub(super) fn identity(
    params: &CertificateParams,
    issuer: &Authority,
    sent: &[&Authority],
) -> Identity {
    let key = KeyPair::generate().unwrap();
    let own = params.signed_by(&key, issuer).unwrap().der().clone();
    let chain = std::iter::once(own).chain(sent.iter().map(|one| one.der().clone())).collect();
    Identity { chain, key }
}

/// Issues a certificate for the probe.
pub(super) fn client_certificate(
    issuer: &Authority,
    change: impl FnOnce(&mut CertificateParams),
) -> ClientCertificate {
    let mut params = server_params("probe.example");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (own, secret) = (folder.path().join("own.pem"), folder.path().join("own.key"));
    std::fs::write(&own, certificate.pem()).unwrap();
    std::fs::write(&secret, key.serialize_pem()).unwrap();
    ClientCertificate::load(&own, &secret).unwrap()
}

/// Creates a store of roots.
pub(super) fn roots(trusted: &[&CertificateDer<'static>]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for der in trusted {
        roots.add((*der).clone()).unwrap();
    }
    roots
}

/// Creates the settings of a TLS server.
pub(super) fn server_config(
    identity: &Identity,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&str],
    ocsp: Vec<u8>,
) -> ServerConfig {
    let key = PrivateKeyDer::Pkcs8(identity.key.serialize_der().into());
    let mut config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert_with_ocsp(identity.chain.clone(), key, ocsp)
            .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

/// Listens at a port of 127.0.0.1, and runs `serve` for each connection.
pub(super) async fn listen<S, F>(serve: S) -> SocketAddr
where
    S: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Ends a connection with a reset.
pub(super) fn reset(stream: &TcpStream) {
    stream.set_zero_linger().unwrap();
}
