//! Encrypts Initial packets for tests.

use super::{Cipher, DirectionKeys, InitialKeys, MAX_NUMBER, SAMPLE_BYTES, TAG_BYTES, Version};
use openssl::symm::encrypt_aead;

fn short(number: usize) -> [u8; 2] {
    (u16::try_from(number).unwrap() | 0x4000).to_be_bytes()
}

/// Builds an Initial packet of connection `id` with `frames`, padded to 1,162 bytes.
pub(in crate::encrypted) fn initial(
    version: Version,
    id: &[u8],
    from_client: bool,
    number: u8,
    frames: &[u8],
) -> Vec<u8> {
    let keys = InitialKeys::new(version, id).unwrap();
    let DirectionKeys { key, iv, .. } = if from_client { &keys.client } else { &keys.server };
    let mut frames = frames.to_vec();
    frames.resize(frames.len().max(1162), 0);
    let (first, code) = match version {
        Version::V1 => (0xc3, 1_u32),
        Version::V2 => (0xd3, 0x6b33_43cf),
    };
    let mut packet = vec![first];
    packet.extend(code.to_be_bytes());
    let (to, from): (&[u8], &[u8]) = if from_client { (id, b"from") } else { (b"from", b"srv") };
    for id in [to, from] {
        packet.push(u8::try_from(id.len()).unwrap());
        packet.extend(id);
    }
    packet.push(0);
    packet.extend(short(MAX_NUMBER + frames.len() + TAG_BYTES));
    let number_at = packet.len();
    packet.extend([0, 0, 0, number]);
    let mut nonce = *iv;
    nonce[11] ^= number;
    let mut tag = [0; TAG_BYTES];
    let encrypted =
        encrypt_aead(Cipher::aes_128_gcm(), key, Some(&nonce), &packet, &frames, &mut tag).unwrap();
    packet.extend(encrypted);
    packet.extend(tag);
    let sample = number_at + MAX_NUMBER;
    let side = if from_client { &keys.client } else { &keys.server };
    let mask = side.mask(&packet[sample..sample + SAMPLE_BYTES]).unwrap();
    packet[0] ^= mask[0] & 0x0f;
    for place in 0..MAX_NUMBER {
        packet[number_at + place] ^= mask[1 + place];
    }
    packet
}

/// Builds a CRYPTO frame.
pub(in crate::encrypted) fn crypto(offset: usize, bytes: &[u8]) -> Vec<u8> {
    [&[6], &short(offset)[..], &short(bytes.len()), bytes].concat()
}
