//! The keys of QUIC's Initial packets, which any observer can compute (RFC 9001, 5.2 to 5.4; RFC
//! 9369, 3.3).

use openssl::error::ErrorStack;
use openssl::md::Md;
use openssl::pkey::Id;
use openssl::pkey_ctx::{HkdfMode, PkeyCtx};
use openssl::symm::{Cipher, Crypter, Mode, decrypt_aead};

const KEY_BYTES: usize = 16;
const IV_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
/// Bytes of the sample for the header protection mask.
const SAMPLE_BYTES: usize = 16;
/// Longest packet number in bytes.
const MAX_NUMBER: usize = 4;

/// A QUIC version whose Initial packets can be decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// RFC 9000.
    V1,
    /// RFC 9369.
    V2,
}

impl Version {
    pub(super) const fn of(number: u32) -> Option<Self> {
        match number {
            0x0000_0001 => Some(Self::V1),
            0x6b33_43cf => Some(Self::V2),
            _ => None,
        }
    }

    const fn salt(self) -> [u8; 20] {
        match self {
            Self::V1 => [
                0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8,
                0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a,
            ],
            Self::V2 => [
                0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26,
                0x9d, 0xcb, 0xf9, 0xbd, 0x2e, 0xd9,
            ],
        }
    }

    const fn labels(self) -> [&'static str; 3] {
        match self {
            Self::V1 => ["quic key", "quic iv", "quic hp"],
            Self::V2 => ["quicv2 key", "quicv2 iv", "quicv2 hp"],
        }
    }
}

/// The keys of one direction.
#[derive(Clone)]
struct DirectionKeys {
    key: [u8; KEY_BYTES],
    iv: [u8; IV_BYTES],
    header: [u8; KEY_BYTES],
}

/// The keys of both directions.
#[derive(Clone)]
pub(super) struct InitialKeys {
    client: DirectionKeys,
    server: DirectionKeys,
}

/// Omits the keys.
impl std::fmt::Debug for InitialKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InitialKeys").finish_non_exhaustive()
    }
}

impl InitialKeys {
    /// Derives the keys from the connection id that the client chose for the server.
    pub(super) fn new(version: Version, connection_id: &[u8]) -> Result<Self, ErrorStack> {
        let mut secret = [0; SECRET_BYTES];
        let mut extract = hkdf(HkdfMode::EXTRACT_ONLY, connection_id)?;
        extract.set_hkdf_salt(&version.salt())?;
        extract.derive(Some(&mut secret))?;
        let keys = |label| {
            let side: [u8; SECRET_BYTES] = expand(&secret, label)?;
            let [key, iv, header] = version.labels();
            Ok(DirectionKeys {
                key: expand(&side, key)?,
                iv: expand(&side, iv)?,
                header: expand(&side, header)?,
            })
        };
        Ok(Self { client: keys("client in")?, server: keys("server in")? })
    }

    /// Decrypts the packet at the beginning of `packet`. Its packet number begins at `number_at`,
    /// and it ends at `end`. `None` if the keys do not fit, or if the packet is damaged or
    /// incomplete.
    pub(super) fn decrypt(
        &self,
        from_client: bool,
        packet: &[u8],
        number_at: usize,
        end: usize,
    ) -> Option<Vec<u8>> {
        let keys = if from_client { &self.client } else { &self.server };
        let packet = packet.get(..end)?;
        let sample = packet.get(number_at + MAX_NUMBER..)?.get(..SAMPLE_BYTES)?;
        let mask = keys.mask(sample).ok()?;
        let number_bytes = usize::from((packet.first()? ^ mask[0]) & 0x03) + 1;
        let mut header = packet.get(..number_at + number_bytes)?.to_vec();
        let (first, _) = header.split_first_mut()?;
        *first ^= mask[0] & 0x0f;
        let mut nonce = keys.iv;
        let number = header.get_mut(number_at..)?;
        for (byte, mask) in number.iter_mut().zip(&mask[1..]) {
            *byte ^= mask;
        }
        for (place, byte) in nonce.iter_mut().rev().zip(number.iter().rev()) {
            *place ^= byte;
        }
        let encrypted = packet.get(header.len()..)?;
        let (bytes, tag) = encrypted.split_at_checked(encrypted.len().checked_sub(TAG_BYTES)?)?;
        decrypt_aead(Cipher::aes_128_gcm(), &keys.key, Some(&nonce), &header, bytes, tag).ok()
    }
}

impl DirectionKeys {
    /// Returns the header protection mask (RFC 9001, 5.4.3).
    fn mask(&self, sample: &[u8]) -> Result<[u8; 5], ErrorStack> {
        let mut crypter = Crypter::new(Cipher::aes_128_ecb(), Mode::Encrypt, &self.header, None)?;
        crypter.pad(false);
        let mut block = [0; SAMPLE_BYTES * 2];
        crypter.update(sample, &mut block)?;
        Ok(block.first_chunk().copied().unwrap_or_default())
    }
}

fn hkdf(mode: HkdfMode, key: &[u8]) -> Result<PkeyCtx<()>, ErrorStack> {
    let mut context = PkeyCtx::new_id(Id::HKDF)?;
    context.derive_init()?;
    context.set_hkdf_mode(mode)?;
    context.set_hkdf_md(Md::sha256())?;
    context.set_hkdf_key(key)?;
    Ok(context)
}

/// HKDF-Expand-Label (RFC 8446, 7.1) with an empty context.
fn expand<const N: usize>(secret: &[u8], label: &str) -> Result<[u8; N], ErrorStack> {
    const PREFIX: &[u8] = b"tls13 ";
    let lengths = [N, PREFIX.len() + label.len()].map(|length| u8::try_from(length).unwrap_or(0));
    let info = [&[0, lengths[0], lengths[1]], PREFIX, label.as_bytes(), &[0]].concat();
    let mut context = hkdf(HkdfMode::EXPAND_ONLY, secret)?;
    context.add_hkdf_info(&info)?;
    let mut bytes = [0; N];
    context.derive(Some(&mut bytes))?;
    Ok(bytes)
}

#[cfg(test)]
#[path = "keys/testing.rs"]
pub(in crate::encrypted) mod seal;
