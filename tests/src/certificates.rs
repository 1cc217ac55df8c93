//! Certificates for tests: an authority, and certificates signed by it.

use anyhow::Result;
use openssl::asn1::{Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::symm::Cipher;
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509Extension, X509Name, X509NameBuilder};
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// URL at which subordinate authorities would publish their certificates.
const URL: &str = "http://ca.good.test/issuing.crt";
const DAY: Duration = Duration::from_hours(24);

/// A certificate authority.
pub struct Authority {
    name: X509Name,
    key: PKey<Private>,
    certificate: X509,
    /// Where certificates say that the authority's own certificate is published.
    url: Option<&'static str>,
}

/// A certificate with its key, both as PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The key, as PKCS #8.
    pub key: String,
}

/// Validity period of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Valid now.
    Current,
    /// Expired since yesterday.
    Expired,
    /// Valid from tomorrow on.
    Future,
    /// Valid for this number of days and half a day more.
    Days(u32),
}

impl Authority {
    /// Creates an authority that no client trusts yet.
    pub fn new(name: &str) -> Result<Self> {
        Self::with_name(common_name(name)?)
    }

    /// Creates an authority of an organization.
    pub fn of_organization(name: &str, organization: &str) -> Result<Self> {
        let mut builder = X509NameBuilder::new()?;
        builder.append_entry_by_nid(Nid::COMMONNAME, name)?;
        builder.append_entry_by_nid(Nid::ORGANIZATIONNAME, organization)?;
        Self::with_name(builder.build())
    }

    fn with_name(name: X509Name) -> Result<Self> {
        let key = new_key()?;
        let mut builder = builder(&name, &name, &key, Validity::Current)?;
        builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
        builder.sign(&key, MessageDigest::sha256())?;
        Ok(Self { name, key, certificate: builder.build(), url: None })
    }

    /// Creates an authority whose certificate this one signs. Certificates name its URL, which does not exist.
    pub fn subordinate(&self, name: &str) -> Result<Self> {
        let (name, key) = (common_name(name)?, new_key()?);
        let mut builder = builder(&name, &self.name, &key, Validity::Current)?;
        builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
        builder.sign(&self.key, MessageDigest::sha256())?;
        Ok(Self { name, key, certificate: builder.build(), url: Some(URL) })
    }

    /// Certificate of the authority, as PEM.
    pub fn pem(&self) -> Result<String> {
        Ok(String::from_utf8(self.certificate.to_pem()?)?)
    }

    /// Key of the authority, as PEM.
    pub fn key_pem(&self) -> Result<String> {
        Ok(String::from_utf8(self.key.private_key_to_pem_pkcs8()?)?)
    }

    /// Issues a server certificate for these names and addresses.
    pub fn server(&self, names: &[&str], validity: Validity) -> Result<Identity> {
        self.issue("broker", validity, None, |builder| {
            add_names(builder, names)?;
            if let Some(url) = self.url {
                builder.append_extension(authority_information_access(url)?)?;
            }
            Ok(builder.append_extension(ExtendedKeyUsage::new().server_auth().build()?)?)
        })
    }

    /// Issues a server certificate that names the URL of a revocation list.
    pub fn server_with_list(&self, names: &[&str], url: &str) -> Result<Identity> {
        self.issue("broker", Validity::Current, None, |builder| {
            add_names(builder, names)?;
            builder.append_extension(distribution_point(url)?)?;
            Ok(builder.append_extension(ExtendedKeyUsage::new().server_auth().build()?)?)
        })
    }

    /// Issues a client certificate; its key is encrypted if there is a password.
    pub fn client(
        &self,
        name: &str,
        validity: Validity,
        password: Option<&str>,
    ) -> Result<Identity> {
        self.issue(name, validity, password, |builder| {
            Ok(builder.append_extension(ExtendedKeyUsage::new().client_auth().build()?)?)
        })
    }

    fn issue(
        &self,
        name: &str,
        validity: Validity,
        password: Option<&str>,
        extend: impl FnOnce(&mut X509Builder) -> Result<()>,
    ) -> Result<Identity> {
        let key = new_key()?;
        let mut builder = builder(&common_name(name)?, &self.name, &key, validity)?;
        extend(&mut builder)?;
        builder.sign(&self.key, MessageDigest::sha256())?;
        let key = match password {
            Some(password) => {
                key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), password.as_bytes())?
            }
            None => key.private_key_to_pem_pkcs8()?,
        };
        Ok(Identity {
            certificate: String::from_utf8(builder.build().to_pem()?)?,
            key: String::from_utf8(key)?,
        })
    }
}

/// Returns the extension that names the URL of the issuer's certificate (RFC 5280, section 4.2.2.1).
fn authority_information_access(url: &str) -> Result<X509Extension> {
    // caIssuers, then a URI.
    let method = [0x06, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 2];
    let location = [&[0x86, u8::try_from(url.len())?], url.as_bytes()].concat();
    let description = [&method[..], &location].concat();
    let one = [&[0x30, u8::try_from(description.len())?], &description[..]].concat();
    let all = [&[0x30, u8::try_from(one.len())?], &one[..]].concat();
    let name = Asn1Object::from_str("1.3.6.1.5.5.7.1.1")?;
    let contents = Asn1OctetString::new_from_bytes(&all)?;
    Ok(X509Extension::new_from_der(&name, false, &contents)?)
}

/// Returns the extension that names the URL of a revocation list (RFC 5280, section 4.2.1.13).
fn distribution_point(url: &str) -> Result<X509Extension> {
    let mut contents = [&[0x86, u8::try_from(url.len())?], url.as_bytes()].concat();
    // fullName, distributionPoint, the point, all points.
    for tag in [0xa0, 0xa0, 0x30, 0x30] {
        contents = [&[tag, u8::try_from(contents.len())?], &contents[..]].concat();
    }
    let name = Asn1Object::from_str("2.5.29.31")?;
    let contents = Asn1OctetString::new_from_bytes(&contents)?;
    Ok(X509Extension::new_from_der(&name, false, &contents)?)
}

/// Creates a server certificate that no authority has signed.
pub fn self_signed(names: &[&str]) -> Result<Identity> {
    let (name, key) = (common_name("self-signed")?, new_key()?);
    let mut builder = builder(&name, &name, &key, Validity::Current)?;
    add_names(&mut builder, names)?;
    builder.sign(&key, MessageDigest::sha256())?;
    Ok(Identity {
        certificate: String::from_utf8(builder.build().to_pem()?)?,
        key: String::from_utf8(key.private_key_to_pem_pkcs8()?)?,
    })
}

fn add_names(builder: &mut X509Builder, names: &[&str]) -> Result<()> {
    let mut extension = SubjectAlternativeName::new();
    for name in names {
        let is_address = name.parse::<IpAddr>().is_ok();
        if is_address {
            extension.ip(name)
        } else {
            extension.dns(name)
        };
    }
    let context = builder.x509v3_context(None, None);
    let extension = extension.build(&context)?;
    Ok(builder.append_extension(extension)?)
}

fn new_key() -> Result<PKey<Private>> {
    let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    Ok(PKey::from_ec_key(EcKey::generate(&curve)?)?)
}

fn common_name(name: &str) -> Result<X509Name> {
    let mut builder = X509NameBuilder::new()?;
    builder.append_entry_by_nid(Nid::COMMONNAME, name)?;
    Ok(builder.build())
}

fn builder(
    subject: &X509Name,
    issuer: &X509Name,
    key: &PKey<Private>,
    validity: Validity,
) -> Result<X509Builder> {
    let now = SystemTime::now();
    let (start, end) = match validity {
        Validity::Current => (now - 10 * DAY, now + 60 * DAY),
        Validity::Expired => (now - 10 * DAY, now - DAY),
        Validity::Future => (now + DAY, now + 30 * DAY),
        Validity::Days(days) => (now - 10 * DAY, now + days * DAY + DAY / 2),
    };
    let mut serial = BigNum::new()?;
    serial.rand(120, MsbOption::MAYBE_ZERO, false)?;
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(&*serial.to_asn1_integer()?)?;
    builder.set_subject_name(subject)?;
    builder.set_issuer_name(issuer)?;
    builder.set_pubkey(key)?;
    builder.set_not_before(&*time(start)?)?;
    builder.set_not_after(&*time(end)?)?;
    Ok(builder)
}

fn time(at: SystemTime) -> Result<Asn1Time> {
    let seconds = at.duration_since(UNIX_EPOCH)?.as_secs();
    Ok(Asn1Time::from_unix(seconds.try_into()?)?)
}
