//! The other way round: packets for tests.

use super::{Cipher, Initial, Keys, MOST_NUMBER, SAMPLE_BYTES, TAG_BYTES, Version};
use openssl::symm::encrypt_aead;

fn short(number: usize) -> [u8; 2] {
    (u16::try_from(number).unwrap() | 0x4000).to_be_bytes()
}

/// A first packet of the connection that `id` names, with these frames, padded to 1,162 octets.
pub(in crate::connection) fn initial(
    version: Version,
    id: &[u8],
    from_client: bool,
    number: u8,
    frames: &[u8],
) -> Vec<u8> {
    let keys = Initial::new(version, id).unwrap();
    let Keys { key, iv, .. } = if from_client { &keys.client } else { &keys.server };
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
    packet.extend(short(MOST_NUMBER + frames.len() + TAG_BYTES));
    let number_at = packet.len();
    packet.extend([0, 0, 0, number]);
    let mut nonce = *iv;
    nonce[11] ^= number;
    let mut tag = [0; TAG_BYTES];
    let sealed =
        encrypt_aead(Cipher::aes_128_gcm(), key, Some(&nonce), &packet, &frames, &mut tag).unwrap();
    packet.extend(sealed);
    packet.extend(tag);
    let sample = number_at + MOST_NUMBER;
    let side = if from_client { &keys.client } else { &keys.server };
    let mask = side.mask(&packet[sample..sample + SAMPLE_BYTES]).unwrap();
    packet[0] ^= mask[0] & 0x0f;
    for place in 0..MOST_NUMBER {
        packet[number_at + place] ^= mask[1 + place];
    }
    packet
}

/// A CRYPTO frame.
pub(in crate::connection) fn crypto(offset: usize, octets: &[u8]) -> Vec<u8> {
    [&[6], &short(offset)[..], &short(octets.len()), octets].concat()
}
